import pandas as pd
import pytest

from bit_keras.benchmarks.robustness import reference_models


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


def read(one, two):
    return reference_models.read_pairs(one, two, "model", "top1")


def test_tables_are_joined_by_model_and_size(tmp_path):
    one = write(
        tmp_path / "a.csv",
        model=["m", "m", "n"],
        img_size=[224, 448, 224],
        top1=[70.0, 75.0, 60.0],
    )
    two = write(
        tmp_path / "b.csv",
        model=["n", "m"],
        img_size=[224, 448],
        top1=[0.5, 0.6],
    )
    with pytest.warns(UserWarning, match="a.csv as percent and .*b.csv as fr"):
        found = read(one, two)
    assert found.columns.tolist() == ["model", "source", "shifted"]
    assert found["model"].tolist() == ["m@448", "n@224"]
    # One table is in percent, the other is not.
    assert found["source"].tolist() == [0.75, 0.6]
    assert found["shifted"].tolist() == [0.6, 0.5]


def test_tables_without_sizes_are_joined_by_model(tmp_path):
    one = write(tmp_path / "a.csv", model=["m"], top1=[70])
    two = write(tmp_path / "b.csv", model=["m"], img_size=[224], top1=[50])
    assert read(one, two)["model"].tolist() == ["m"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"model": ["m"], "top5": [1]},
            'no column "top1".* Did you mean "top5"',
        ),
        ({"model": ["m"], "top1": [101]}, "must hold accuracies"),
        ({"model": ["m"], "top1": ["x"]}, "must hold accuracies"),
        ({"model": ["m", "m"], "top1": [1, 2]}, "1 models stand there twice"),
        ({"model": ["k"], "top1": [1]}, "no model in common; joined on model"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, columns, words):
    good = write(tmp_path / "good.csv", model=["m"], top1=[50])
    with pytest.raises(ValueError, match=words):
        read(good, write(tmp_path / "bad.csv", **columns))


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such.csv"):
        read(str(tmp_path / "no_such.csv"), "b.csv")


def test_patterns_fit_with_and_without_the_size():
    names = ["bit_a@224", "bit_b@448", "vit@224"]
    assert reference_models.matching(names, "bit_a,vit@*").tolist() == [
        True,
        False,
        True,
    ]
    assert not reference_models.matching(names, "").any()
    with pytest.raises(ValueError, match='"bit_c".*Did you mean "bit_'):
        reference_models.matching(names, "bit_c")


def test_the_digest_depends_on_content_and_order(tmp_path):
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_text("1")
    two.write_text("2")
    found = reference_models.digest(one, two)
    assert found != reference_models.digest(two, one)
    two.write_text("3")
    assert found != reference_models.digest(one, two)
