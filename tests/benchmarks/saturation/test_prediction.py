"""Predicting the models with the highest upstream accuracy."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation import baselines, prediction
from bit_keras.benchmarks.saturation.pairs import pair_curves

# saturation.md 8.1, held-out mean squared errors (top 20 % upstream):
# (set, shots) -> rising part densified, all points.
REFERENCE = {
    ("bird", 5): (2.7e-5, 1.1e-3),
    ("bird", 10): (5.0e-5, 1.3e-3),
    ("bird", 25): (5.6e-5, 4.7e-4),
    ("c", 5): (5.2e-4, 5.2e-4),
    ("c", 10): (1.1e-5, 7.4e-4),
    ("c", 25): (7.7e-4, 4.7e-4),
    ("cal", 5): (1.9e-4, 9.3e-5),
    ("cal", 10): (5.8e-4, 3.2e-4),
    ("cal", 25): (3.2e-4, 3.2e-4),
}
# The same: full hull on its vertices, densified.
FULL = {
    ("bird", 25): (1.2e-3, 1.9e-4),
    ("c", 5): (2.7e-3, 2.3e-4),
    ("bird", 10): (1.5e-3, 3.2e-4),
    ("cal", 5): (1.9e-4, 2.3e-4),
    ("c", 25): (4.7e-4, 7.0e-4),
}
# They are given to two digits.
ROUNDING = 0.06


@pytest.fixture(scope="module")
def curves(shared):
    return pd.read_csv(shared / "data" / "tables" / "nsl_vision.csv")


def pair(curves, name, shots):
    """Pairs a task with ImageNet, as saturation.md 8.1 says."""
    found = pair_curves(
        curves[curves["Task"] == f"inet_{shots}"],
        curves[curves["Task"] == f"{name}_{shots}"],
        by=["Model"],
        at="Seen Examples",
        value="Loss",
    )
    return 1 - found["upstream"].to_numpy(), 1 - found["downstream"].to_numpy()


def law_scores(result, kind):
    table = result.frame().query("method == 'law'")
    return table.set_index(["on", "scored_on"]).loc[kind]


@pytest.mark.parametrize("task", REFERENCE)
def test_the_reference_errors_of_real_curves(curves, task):
    result = prediction.predict_held_out(*pair(curves, *task))
    rising, everything = REFERENCE[task]
    found = law_scores(result, ("rising", "hull"))
    assert found["mse"] == pytest.approx(rising, rel=ROUNDING)
    found = law_scores(result, ("all", "models"))
    assert found["mse"] == pytest.approx(everything, rel=ROUNDING)


@pytest.mark.parametrize("task", FULL)
def test_the_reference_errors_of_full_hulls(curves, task):
    points = pair(curves, *task)
    for densify, known in zip((None, 50), FULL[task], strict=True):
        result = prediction.predict_held_out(
            *points, on=("hull",), densify=densify
        )
        found = law_scores(result, ("hull", "hull"))
        assert found["mse"] == pytest.approx(known, rel=ROUNDING)


def make_models(n=300, noise=0.0, seed=0):
    """Draws models below a known curve; `noise` pushes them further down."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.05, 0.6, n)
    y = 1 - (0.57 * (1 - x) ** 3.79 + 0.1)
    return x, np.clip(y - rng.exponential(noise or 1e-300, n), 0, 1)


def test_the_best_models_are_held_out():
    x = np.random.default_rng(0).permutation(np.arange(10) / 10)
    parts = prediction.split(x, 0.3)
    assert sorted(x[parts.held_out]) == [0.7, 0.8, 0.9]
    np.testing.assert_array_equal(parts.fitted, ~parts.held_out)


def test_models_of_equal_upstream_accuracy_stay_together():
    parts = prediction.split(np.array([0.1, 0.2, 0.5, 0.5, 0.5]), 0.6)
    assert parts.held_out.sum() == 3


def test_the_law_predicts_what_follows_it_and_lines_do_not():
    result = prediction.predict_held_out(*make_models(), on=("all",))
    table = result.frame().set_index("method")
    assert table.index.tolist() == ["law", *baselines.NAMES]
    assert table.loc["law", "mse"] < 1e-10
    assert (table.loc[list(baselines.NAMES), "mse"] > 1e-5).all()
    assert (
        table.loc["law", "fitted"] == 240 and table.loc["law", "scored"] == 60
    )


def test_the_measures_are_what_they_say():
    x, y = make_models(noise=0.02)
    result = prediction.predict_held_out(x, y, on=("all",))
    row = result.frame().set_index("method").loc["linear"]
    fitted, held_out = result.split.fitted, result.split.held_out
    slope, intercept = np.polyfit(x[fitted], y[fitted], 1)
    wrong = intercept + slope * x - y
    assert row["fit_mse"] == pytest.approx(np.mean(wrong[fitted] ** 2))
    assert row["mse"] == pytest.approx(np.mean(wrong[held_out] ** 2))
    spread = np.std(wrong[held_out]) / np.std(y[held_out])
    assert row["nrmse"] == pytest.approx(spread)


def test_the_mean_has_a_normalized_error_of_one():
    x = np.linspace(0.1, 0.9, 50)
    y = np.where(x < 0.75, 0.5, 0.5 + 0.1 * np.sin(40 * x))
    result = prediction.predict_held_out(x, y, on=("all",))
    row = result.frame().set_index("method").loc["linear"]
    assert row["nrmse"] == pytest.approx(1, abs=1e-6)


def test_a_fit_on_the_hull_does_not_mind_dominated_models():
    x, y = make_models()
    rng = np.random.default_rng(1)
    more = rng.choice(len(x), 200)
    worse = np.concatenate([y, y[more] - rng.uniform(0.01, 0.1, 200)])
    threshold = prediction.split(x).threshold
    one = prediction.points_on(x, y, "hull", 50)
    other = prediction.points_on(np.append(x, x[more]), worse, "hull", 50)
    np.testing.assert_array_equal(one, other)
    goal = prediction.targets(x, y, prediction.split(x), "hull", 50)
    assert len(goal[0]) and (goal[0] > threshold).all()


def test_the_order_of_models_does_not_matter():
    x, y = make_models(noise=0.02)
    order = np.random.default_rng(2).permutation(len(x))
    one = prediction.predict_held_out(x, y).frame()
    other = prediction.predict_held_out(x[order], y[order]).frame()
    pd.testing.assert_frame_equal(one, other, rtol=1e-6)


def test_a_hull_that_ends_before_the_threshold_has_no_target():
    x = np.linspace(0.1, 0.6, 30)
    y = 0.8 - (x - 0.3) ** 2
    result = prediction.predict_held_out(x, y, on=("rising",))
    found = law_scores(result, ("rising", "hull"))
    assert found["scored"] == 0 and np.isnan(found["mse"])
    assert law_scores(result, ("rising", "models"))["scored"] == 6


def test_where_no_line_can_be_drawn_its_scores_are_missing():
    x = np.linspace(0.1, 0.6, 30)
    result = prediction.predict_held_out(
        x, 0.9 - x, on=("rising",), densify=None
    )
    table = result.frame().query("scored_on == 'models'").set_index("method")
    # The hull is the first model alone.
    assert (table["fitted"] == 1).all()
    assert table.loc[list(baselines.NAMES), "mse"].isna().all()
    assert not table.loc["law", "identified"]


def test_slips_are_named():
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        prediction.split(np.array([0.1, 0.2]), 1)
    with pytest.raises(ValueError, match="No model exceeds"):
        prediction.split(np.full(10, 0.5))
    with pytest.raises(ValueError, match="no models"):
        prediction.split(np.array([]))
