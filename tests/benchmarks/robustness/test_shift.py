import numpy as np
import pytest

from bit_keras.benchmarks.robustness.label_space import check_classes
from bit_keras.benchmarks.robustness.rows import (
    Accuracy,
    accuracy_row,
    drop_row,
)
from bit_keras.benchmarks.robustness.shift import split_by

FIELDS = {
    "model": "m",
    "model_sha256": "0",
    "upstream": None,
    "group": None,
    "preprocessing": "none",
}


def made(task, *right, **config):
    return Accuracy(task, "shift", np.array(right, bool), config)


def test_rows_hold_accuracy_and_what_is_lost():
    source = made("a", *[True] * 9, False)
    shifted = made("a -> b", *[True] * 2, *[False] * 6)
    row = accuracy_row(shifted, **FIELDS)
    assert (row.metric, row.value, row.n) == ("accuracy", 0.25, 8)
    assert row.stderr == pytest.approx((0.25 * 0.75 / 8) ** 0.5)
    drop = drop_row(source, shifted, **FIELDS)
    assert (drop.task, drop.metric) == ("a -> b", "accuracy_drop")
    assert drop.value == pytest.approx(0.65)
    assert drop.stderr**2 == pytest.approx(0.09 / 10 + 0.1875 / 8)
    assert drop.details["source_accuracy"] == 0.9


def test_the_hash_holds_what_decides_the_number():
    one = accuracy_row(made("a", True, data="x"), **FIELDS)
    same = accuracy_row(made("a", True, data="x"), **FIELDS)
    assert one.config_hash == same.config_hash
    others = [
        accuracy_row(made("a", True, data="y"), **FIELDS),
        accuracy_row(made("b", True, data="x"), **FIELDS),
        accuracy_row(
            made("a", True, data="x"), **{**FIELDS, "preprocessing": "x"}
        ),
        accuracy_row(
            made("a", True, data="x"), **{**FIELDS, "model_sha256": "1"}
        ),
    ]
    assert len({one.config_hash, *(row.config_hash for row in others)}) == 5


def test_parts_weighted_by_their_size_are_the_whole():
    rng = np.random.default_rng(0)
    values = rng.integers(3, size=200)
    whole = made("a", *(rng.random(200) < 0.3 + 0.2 * values))
    parts = split_by(whole, "angle", values.tolist())
    assert [part.task for part in parts] == [
        "a/angle=0",
        "a/angle=1",
        "a/angle=2",
    ]
    assert sum(part.right.sum() for part in parts) == whole.right.sum()
    assert sum(len(part.right) for part in parts) == 200
    assert parts[2].value == whole.right[values == 2].mean()


def test_classes_may_differ_in_their_words_but_not_in_their_ids():
    check_classes("a", ["n01440764 tench"], "b", ["n01440764"])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["x", "z"], "classes differ .2 and 2.; only in a: y; only in b: z"),
        (["x", "y", "z"], "2 and 3.; only in a: none; only in b: z"),
        (["y", "x"], "in another order; class 0 is x and y"),
    ],
)
def test_other_classes_are_refused_by_name(found, words):
    with pytest.raises(ValueError, match=words):
        check_classes("a", ["x", "y"], "b", found)
