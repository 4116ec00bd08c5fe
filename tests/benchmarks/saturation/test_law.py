"""The fit of the saturation law."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from bit_keras.benchmarks.saturation.hull import upper_hull
from bit_keras.benchmarks.saturation.law import SaturationLaw
from bit_keras.benchmarks.saturation.pairs import pair_curves
from bit_keras.benchmarks.saturation.projection import ALPHA_BOUNDS, solve

# Section 8.1: downstream, shots, and of the full hull, its rising part, and all
# points: (k, alpha, e_IR) and vertices. All with e_IR up to 1.
SECTION_8_1 = """
bird 5    .857 1.62 .134 9    .988 1.21 0 6      1.055 1.07 0
bird 10   .880 1.63 .109 12   .974 1.31 .013 7   1.044 1.12 0
bird 25   .941 1.51 .050 10   .974 1.40 .015 8   1.032 1.20 0
c 5       .643 3.46 .283 10   .643 3.47 .283 8   .814 1.03 .077
c 10      .668 2.18 .215 11   .672 2.15 .211 9   .823 .92 .023
c 25      .653 2.42 .213 14   .650 2.44 .216 11  .768 1.11 .063
cal 5     .715 12.5 .184 17   .711 13.0 .192 15  .640 7.97 .198
cal 10    .676 10.9 .151 11   .676 10.9 .151 11  .620 6.65 .166
cal 25    .617 8.51 .123 13   .617 8.51 .123 13  .598 6.13 .142
""".split("\n")[1:-1]
# The same of all points with e_IR at most the lowest error, where it differs.
AT_BOUND = {"5": (0.624, 5.90, 0.162), "10": (0.612, 4.90, 0.122)}
AT_BOUND["25"] = (0.593, 4.80, 0.107)
ROWS = ("pets", "cifar100", "imagenet", "cars", "col_hist", "dtd", "caltech")
ROWS += ("uc_merced",)


@pytest.fixture(scope="module")
def digitised(shared):
    path = shared / "data" / "tables" / "saturation_jft25_digitised.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def nsl(shared):
    return pd.read_csv(shared / "data" / "tables" / "nsl_vision.csv")


def pairs(nsl, name, shots):
    return pair_curves(
        nsl[nsl["Task"] == f"inet_{shots}"],
        nsl[nsl["Task"] == f"{name}_{shots}"],
        by=["Model"],
        at="Seen Examples",
        value="Loss",
    )


def scattered(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.3, 1, n)
    return x, 0.7 * x**2.5 + 0.15 + rng.exponential(0.02, n)


def values(fit):
    return list(fit.params.values())


@pytest.mark.parametrize("line", SECTION_8_1)
def test_reproduces_section_8_1(nsl, line):
    name, shots, *numbers = line.split()
    numbers = np.array(numbers, float)
    data = pairs(nsl, name, shots)
    law = SaturationLaw(bounded=False, resamples=0)
    for on, start in (("hull", 2), ("rising", 6), ("all", 10)):
        fit = law.fit(data["upstream"], data["downstream"], on=on)
        k, alpha, e_ir = numbers[start - 2 : start + 1]
        assert fit.e_ir == pytest.approx(e_ir, abs=0.001)
        assert fit.k == pytest.approx(k, abs=0.001)
        assert fit.alpha == pytest.approx(alpha, rel=0.006)
        if on != "all":
            assert fit.vertices == numbers[start + 1]


@pytest.mark.parametrize("shots", AT_BOUND)
def test_reproduces_the_fits_at_the_bound_of_section_8_1(nsl, shots):
    data = pairs(nsl, "cal", shots)
    law = SaturationLaw(bounded=True)
    fit = law.fit(data["upstream"], data["downstream"], on="all")
    np.testing.assert_allclose(values(fit), AT_BOUND[shots], atol=6e-3)
    assert fit.e_ir == data["downstream"].min()
    assert "above a model that exists" in fit.verdict[0]


def test_the_lowest_error_bounds_the_hull_by_default(nsl):
    data = pairs(nsl, "cal", "5")
    fit = SaturationLaw().fit(data["upstream"], data["downstream"])
    assert fit.e_ir == fit.bounds["e_ir"][1] == data["downstream"].min()
    assert fit.released.e_ir == pytest.approx(0.184, abs=0.001)


@pytest.mark.parametrize("kind", ["convex_hull_fit", "all_points_fit"])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("on", ["all", "hull", "rising"])
def test_recovers_the_digitised_rows(digitised, kind, row, on):
    truth = list(digitised[kind][row].values())
    k, alpha, e_ir = truth
    x = 1 - np.random.default_rng(0).uniform(0, 0.6, 200)
    # k + e_IR exceeds 1 in one row; accuracies are not negative.
    y = k * x**alpha + e_ir
    x, y = x[y <= 1], y[y <= 1]
    fit = SaturationLaw(resamples=0).fit(x, y, on=on)
    np.testing.assert_allclose(values(fit), truth, rtol=1e-5)
    assert fit.identified


def test_is_the_optimum_that_curve_fit_finds_from_the_truth():
    x, y = scattered()
    start, bounds = (0.7, 2.5, 0.15), ([0, 0.05, 0], [np.inf, 50, 1])
    expected, covariance = curve_fit(
        lambda x, k, alpha, e_ir: k * x**alpha + e_ir,
        x,
        y,
        start,
        bounds=bounds,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    fit = SaturationLaw().fit(x, y, on="all")
    np.testing.assert_allclose(values(fit), expected, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_no_start_of_curve_fit_finds_a_lower_loss(seed):
    # Few, noisy points, where there are local optima.
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.2, 0.9, 8), rng.uniform(0, 1, 8)
    fit = SaturationLaw(resamples=0).fit(x, y, on="all")
    for start in rng.uniform([0.1, 0.1, 0], [2, 20, 1], (20, 3)):
        found, _ = curve_fit(
            lambda x, k, alpha, e_ir: k * x**alpha + e_ir,
            x,
            y,
            start,
            bounds=([0, 0.05, 0], [np.inf, 50, 1]),
            max_nfev=5000,
        )
        loss = np.sum((found[0] * x ** found[1] + found[2] - y) ** 2)
        assert fit.loss <= loss * (1 + 1e-6)


def test_weights_are_repeats():
    x, y = scattered(40)
    times = np.random.default_rng(1).integers(0, 4, (5, 40))
    weighted = solve(x, y, times.astype(float))
    for i, row in enumerate(times):
        repeated = solve(np.repeat(x, row), np.repeat(y, row))
        for name in ("k", "alpha", "e_ir", "loss"):
            np.testing.assert_allclose(
                getattr(weighted, name)[i], getattr(repeated, name), rtol=1e-6
            )


def test_many_points_are_summed_in_parts(monkeypatch):
    x, y = scattered(5000)
    whole = solve(x, y)
    path = "bit_keras.benchmarks.saturation.projection._CHUNK"
    monkeypatch.setattr(path, 70_000)
    parts = solve(x, y)
    np.testing.assert_allclose(parts.alpha, whole.alpha, rtol=1e-9)
    np.testing.assert_allclose(parts.e_ir, whole.e_ir, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_the_scale_of_upstream_errors_does_not_matter(scale):
    x, y = scattered()
    one, other = solve(x, y), solve(x * scale, y)
    np.testing.assert_allclose(one.alpha, other.alpha, rtol=1e-8)
    np.testing.assert_allclose(one.k, other.k * scale**other.alpha, rtol=1e-8)
    np.testing.assert_allclose(one.e_ir, other.e_ir, rtol=1e-8)


@pytest.mark.parametrize("alpha", ALPHA_BOUNDS)
def test_alpha_reaches_its_bounds(alpha):
    x = np.linspace(0.2, 1, 100)
    found = solve(x, 0.5 * x**alpha + 0.1)
    np.testing.assert_allclose(found.alpha, alpha, rtol=1e-3)


def test_no_falling_error_has_no_negative_factor():
    x = np.linspace(0.2, 1, 100)
    found = solve(x, 0.9 - 0.5 * x)
    assert found.k == 0
    np.testing.assert_allclose(found.e_ir, 0.6)


@pytest.mark.parametrize("on", ["hull", "rising"])
def test_order_and_dominated_models_do_not_matter_on_the_hull(on):
    x, y = scattered()
    fit = SaturationLaw().fit(x, y, on=on)
    shuffle = np.random.default_rng(1).permutation(len(x))
    again = SaturationLaw().fit(x[shuffle], y[shuffle], on=on)
    np.testing.assert_array_equal(values(again), values(fit))
    hull = upper_hull(1 - x, 1 - y)
    inside = np.linspace(hull.x[0], hull.x[-1], 500)
    worse = 1 - np.interp(inside, hull.x, hull.y) + 0.01
    more = np.append(x, 1 - inside), np.append(y, worse.clip(0, 1))
    more = SaturationLaw().fit(*more, on=on)
    np.testing.assert_array_equal(values(more), values(fit))


def test_points_along_the_hull_are_fitted():
    x, y = scattered()
    fit = SaturationLaw(resamples=0).fit(x, y, densify=50)
    assert len(fit.residuals) == 50 and fit.vertices < 50
    hull = upper_hull(1 - x, 1 - y)
    on_edges = 1 - np.interp(1 - fit.fitted_upstream, hull.x, hull.y)
    np.testing.assert_allclose(fit.fitted_downstream, on_edges)


def test_what_a_fit_says():
    x, y = scattered()
    fit = SaturationLaw(resamples=50).fit(x, y, on="all")
    assert fit.saturation_value == 1 - fit.e_ir
    assert fit.n == 300 and fit.vertices is None and fit.space == "linear"
    np.testing.assert_allclose(fit.residuals, y - fit.predict(x))
    assert fit.loss == pytest.approx(np.sum(fit.residuals**2))
    lines = fit.summary().splitlines()
    assert lines[0] == "e_DS = k e_US^alpha + e_IR on all points"
    assert lines[2].startswith(f"k: {fit.k:.4g} (95 %: ")
    assert lines[-1].startswith(f"saturation value: {1 - fit.e_ir:.4g}")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"upstream_error": [0.1, 85.2]}, "Divide percent by 100"),
        ({"downstream_error": [0.1, np.nan]}, "downstream_error must be error"),
        ({"downstream_error": [0.1]}, "one length; got 2 and 1"),
        ({"upstream_error": [0.0, 0.0]}, "must not be 0 throughout"),
        ({"upstream_error": []}, "must be a list"),
        ({"on": "convex"}, "got 'convex'"),
        ({"on": "all", "densify": 50}, "densify must be"),
        ({"groups": ["a"]}, "one group per model, 2"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    good = {"upstream_error": [0.1, 0.5], "downstream_error": [0.2, 0.4]}
    with pytest.raises(ValueError, match=message):
        SaturationLaw().fit(**good | change)
