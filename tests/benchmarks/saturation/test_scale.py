"""Whether size, data and epochs add to upstream accuracy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bit_keras.benchmarks.saturation import scale


def make_points(n=200, effect=0.0, noise=0.003, seed=0):
    """Draws models whose upstream accuracy comes from size, data and luck."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(6, 9, n)
    data = 10 ** rng.uniform(5, 8, n)
    upstream = np.clip(
        0.1 * (np.log10(size) - 6)
        + 0.08 * (np.log10(data) - 5)
        + rng.uniform(0.05, 0.15, n),
        0,
        1,
    )
    error = 0.6 * (1 - upstream) ** 2.5 + 0.15
    error += effect * (np.log10(size) - 7.5) + rng.normal(0, noise, n)
    return pd.DataFrame(
        {
            "model": [f"m{i}" for i in range(n)],
            "size": size,
            "data": data,
            "epochs": np.nan,
            "upstream_accuracy": upstream,
            "downstream_accuracy": 1 - error,
        }
    )


def test_what_acts_through_upstream_accuracy_alone_adds_nothing():
    p_values = [
        scale.beyond_upstream(make_points(seed=s)).regression.p_value
        for s in range(60)
    ]
    # Under no effect, p values are uniform.
    assert stats.kstest(p_values, "uniform").pvalue > 0.001
    effect = scale.beyond_upstream(make_points())
    assert effect.regression.factors == ("size", "data")
    assert effect.law_r2 > 0.98


def test_an_effect_of_size_is_found_at_its_size():
    effect = scale.beyond_upstream(make_points(effect=-0.01))
    table = effect.frame().set_index("factor")
    assert effect.adds()
    row = table.loc["size"]
    assert row["low"] < -0.01 < row["high"] and row["high"] < -0.007
    assert table.loc["data", "low"] < 0 < table.loc["data", "high"]
    assert table.loc["together", "partial_r2"] > 0.5
    assert "size changes downstream error by -0.0" in effect.summary()
    assert "Scale adds to upstream accuracy" in effect.summary()


def test_residuals_alone_would_understate_it():
    """The fitted curve takes part of an effect that follows upstream."""
    points = make_points(effect=-0.01)
    effect = scale.beyond_upstream(points)
    naive = stats.linregress(
        np.log10(points["size"]), effect.points["residual"]
    ).slope
    assert abs(naive) < 0.008 < abs(effect.regression.coefficients[0])


def test_the_points_lie_where_law_and_residual_say():
    effect = scale.beyond_upstream(make_points())
    points = effect.points
    error = 1 - points["downstream_accuracy"]
    np.testing.assert_allclose(
        points["predicted_error"] + points["residual"], error
    )
    assert points["residual"].mean() == pytest.approx(0, abs=1e-6)


def test_checkpoints_of_a_run_are_one_model():
    points = make_points(40)
    once = scale.beyond_upstream(points).regression
    assert once.clusters is None
    repeated = pd.concat([points] * 4, ignore_index=True)
    again = scale.beyond_upstream(repeated).regression
    assert again.clusters == 40 and again.degrees == 39
    few = repeated[repeated["model"].isin([f"m{i}" for i in range(9)])]
    assert "p comes out too small" in scale.beyond_upstream(few).summary()
    alone = repeated.assign(model=range(160))
    naive = scale.beyond_upstream(alone).regression
    assert (naive.stderr < 0.7 * again.stderr).all()


def test_factors_that_say_nothing_are_left_out():
    points = make_points(50).assign(epochs=90.0)
    effect = scale.beyond_upstream(points)
    assert effect.constant == ("epochs",)
    points.loc[:9, "size"] = np.nan
    assert scale.beyond_upstream(points).left_out == 10
    bare = points.assign(size=np.nan, data=1e6)
    effect = scale.beyond_upstream(bare)
    assert effect.regression is None and effect.adds() is None
    assert effect.frame().empty
    assert effect.summary() == "No factor varies: nothing to test."


def test_slips_are_named():
    points = make_points(50)
    points.loc[3, "size"] = 0
    with pytest.raises(ValueError, match="size must be positive; got 0"):
        scale.beyond_upstream(points)
