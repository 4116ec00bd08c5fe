"""Curves over training made into pairs of numbers."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation.pairs import pair_curves


def curve(model, seen, error):
    return pd.DataFrame({"model": model, "seen": seen, "error": error})


def pair(upstream, downstream):
    return pair_curves(
        upstream, downstream, by=["model"], at="seen", value="error"
    )


def test_values_between_are_linear_in_the_logarithm():
    made = pair(
        curve("a", [1e6, 1e8], [0.9, 0.5]), curve("a", [1e7, 1e6], [0.8, 0.95])
    )
    np.testing.assert_allclose(made["upstream"], [0.9, 0.7])
    np.testing.assert_allclose(made["downstream"], [0.95, 0.8])
    np.testing.assert_allclose(made["seen"], [1e6, 1e7])


def test_nothing_is_extrapolated_nor_borrowed_from_another_model():
    upstream = pd.concat(
        [curve("a", [1e6, 1e8], [0.9, 0.5]), curve("b", [1e5, 1e9], [1.0, 0])]
    )
    downstream = pd.concat(
        [curve("a", [1e5, 1e7, 1e9], 0.8), curve("c", [1e7], [0.7])]
    )
    made = pair(upstream, downstream)
    assert made[["model", "seen"]].values.tolist() == [["a", 1e7]]


def test_no_common_model_gives_no_pairs():
    made = pair(curve("a", [1.0], [0.5]), curve("b", [1.0], [0.5]))
    assert made.empty
    assert [*made] == ["model", "seen", "upstream", "downstream"]


@pytest.mark.parametrize(
    "upstream, message",
    [
        (curve("a", [1.0, 1.0], [0.5, 0.6]), "Average them"),
        (curve("a", [0.0, 1.0], [0.5, 0.6]), "seen must be positive"),
        (curve("a", [1.0], [np.nan]), "without a number"),
        (pd.DataFrame({"model": ["a"], "seen": 1}), 'no column "error"'),
    ],
)
def test_bad_curves_are_refused(upstream, message):
    with pytest.raises(ValueError, match=message):
        pair(upstream, curve("a", [1.0], [0.5]))


def test_the_published_curves_give_the_points_of_section_8_1(shared):
    table = pd.read_csv(shared / "data" / "tables" / "nsl_vision.csv")
    sizes = {}
    for name in ("bird", "c", "cal"):
        for shots in (5, 10, 25):
            made = pair_curves(
                table[table["Task"] == f"inet_{shots}"],
                table[table["Task"] == f"{name}_{shots}"],
                by=["Model"],
                at="Seen Examples",
                value="Loss",
            )
            sizes[name, shots] = len(made)
    assert list(sizes.values()) == [
        1907, 1702, 1522, 1605, 1788, 1572, 409, 297, 255,
    ]  # fmt: skip
