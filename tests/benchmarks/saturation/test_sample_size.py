"""Errors against the number of models that are fitted."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation import prediction, sample_size


def make_models(n=500, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.05, 0.6, n)
    y = 1 - (0.57 * (1 - x) ** 3.79 + 0.1)
    return x, np.clip(y - rng.exponential(0.03, n), 0, 1)


def test_every_size_is_drawn_and_all_models_once():
    table = sample_size.by_sample_size(
        *make_models(), sizes=(50, 100, 400, 1000), repeats=3
    )
    counts = table.groupby(["on", "models"]).size()
    assert counts.loc["all"].to_dict() == {50: 3, 100: 3, 400: 1}
    assert counts.loc["hull"].to_dict() == {50: 3, 100: 3, 400: 1}
    everything = table.query("on == 'all'")
    assert everything["fitted"].tolist() == [50] * 3 + [100] * 3 + [400]
    assert (everything["scored"] == 100).all()


def test_all_models_are_the_plain_prediction():
    points = make_models()
    table = sample_size.by_sample_size(*points, sizes=(), on=("all", "hull"))
    plain = prediction.predict_held_out(*points, on=("all", "hull")).frame()
    plain = plain[plain["method"] == "law"].set_index(["on", "scored_on"])
    for row in table.itertuples():
        known = plain.loc[(row.on, row.scored_on)]
        assert row.mse == pytest.approx(known["mse"], rel=1e-6)
        assert row.fit_mse == pytest.approx(known["fit_mse"], rel=1e-6)


def test_a_seed_fixes_the_subsets():
    draw = dict(sizes=(60,), repeats=2, on=("all",))
    one = sample_size.by_sample_size(*make_models(), **draw, seed=1)
    same = sample_size.by_sample_size(*make_models(), **draw, seed=1)
    other = sample_size.by_sample_size(*make_models(), **draw, seed=2)
    pd.testing.assert_frame_equal(one, same)
    assert (one["mse"] != other["mse"])[:2].all()


def test_more_models_bring_the_hull_and_not_the_average_to_the_curve():
    table = sample_size.by_sample_size(
        *make_models(3000), sizes=(100,), repeats=10
    )
    fits = table.groupby(["on", "models"])["fit_mse"].mean()
    # The spread below the curve does not go away; the hull closes in on it.
    assert fits["all", 2400] == pytest.approx(fits["all", 100], rel=0.3)
    assert fits["hull", 2400] < fits["hull", 100] / 3


def test_errors_are_averaged_over_tasks_before_repeats():
    rows = [
        dict(task=t, shots=1, on="all", models=m, repeat=r, mse=e, fit_mse=e)
        for t, m, r, e in [
            ("a", 100, 0, 1.0),
            ("a", 100, 1, 3.0),
            ("b", 100, 0, 3.0),
            ("b", 100, 1, 5.0),
            ("a", 800, 0, 7.0),
            ("b", 500, 0, 1.0),
            ("a", 200, 0, 9.0),
        ]
    ]
    table = sample_size.average_sample_sizes(pd.DataFrame(rows))
    table = table.set_index("models")
    # Size 200 is of one task only; "all" is 800 of one and 500 of the other.
    assert table.index.tolist()[0] == 100 and table.index.isna()[1]
    assert len(table) == 2
    assert table["mse"].tolist() == [3.0, 4.0]
    assert table["mse_std"].iloc[0] == pytest.approx(np.sqrt(2))
    assert table["tasks"].tolist() == [2, 2]


def test_the_published_errors_are_those_of_the_reference(shared):
    text = (shared / "reference" / "saturation.md").read_text()
    section = text.partition("## 2.")[2].partition("## 3.")[0]
    for value in sample_size.published()["mse"]:
        number = value.removeprefix("<= ")
        assert number in section, number
