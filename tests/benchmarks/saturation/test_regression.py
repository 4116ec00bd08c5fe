"""Least squares with fixed regressors, against numbers from elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bit_keras.benchmarks.saturation.regression import regress

# NIST Statistical Reference Datasets, Longley: certified values.  y is total
# employment; columns: price deflator, GNP, unemployed, armed forces,
# population, year.
LONGLEY = """
60323 83.0 234289 2356 1590 107608 1947
61122 88.5 259426 2325 1456 108632 1948
60171 88.2 258054 3682 1616 109773 1949
61187 89.5 284599 3351 1650 110929 1950
63221 96.2 328975 2099 3099 112075 1951
63639 98.1 346999 1932 3594 113270 1952
64989 99.0 365385 1870 3547 115094 1953
63761 100.0 363112 3578 3350 116219 1954
66019 101.2 397469 2904 3048 117388 1955
67857 104.6 419180 2822 2857 118734 1956
68169 108.4 442769 2936 2798 120445 1957
66513 110.8 444546 4681 2637 121950 1958
68655 112.6 482704 3813 2552 123366 1959
69564 114.2 502601 3931 2514 125368 1960
69331 115.7 518173 4806 2572 127852 1961
70551 116.9 554894 4007 2827 130081 1962
"""
COEFFICIENTS = [
    15.0618722713733,
    -0.358191792925910e-01,
    -2.02022980381683,
    -1.03322686717359,
    -0.511041056535807e-01,
    1829.15146461355,
]
STDERR = [
    84.9149257747669,
    0.334910077722432e-01,
    0.488399681651699,
    0.214274163161675,
    0.226073200069370,
    455.478499142212,
]
F_STATISTIC = 330.285339234588
R_SQUARED = 0.995479004577296


def longley():
    data = np.array([line.split() for line in LONGLEY.split("\n") if line])
    data = data.astype(float)
    names = ["deflator", "gnp", "unemployed", "forces", "people", "year"]
    return data[:, 0], pd.DataFrame(data[:, 1:], columns=names)


def ones(n):
    return np.ones((n, 1))


def test_the_certified_values_of_longley():
    y, factors = longley()
    found = regress(y, factors, ones(len(y)))
    np.testing.assert_allclose(found.coefficients, COEFFICIENTS, rtol=1e-7)
    np.testing.assert_allclose(found.stderr, STDERR, rtol=1e-7)
    assert found.f == pytest.approx(F_STATISTIC, rel=1e-7)
    assert found.partial_r2 == pytest.approx(R_SQUARED, rel=1e-9)
    assert found.degrees == 9
    assert found.p_value == pytest.approx(stats.f.sf(F_STATISTIC, 6, 9))


def test_one_factor_is_the_line_of_scipy():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 25))
    y = 1 + 0.3 * x + noise
    known = stats.linregress(x, y)
    row = regress(y, pd.DataFrame({"x": x}), ones(25)).frame().iloc[0]
    assert row["coefficient"] == pytest.approx(known.slope)
    assert row["stderr"] == pytest.approx(known.stderr)
    assert row["p_value"] == pytest.approx(known.pvalue)
    reach = stats.t.ppf(0.975, 23) * known.stderr
    assert row["high"] - row["low"] == pytest.approx(2 * reach)


def test_what_is_fixed_is_a_regressor_like_any_other():
    y, factors = longley()
    together = regress(y, factors, ones(len(y)))
    fixed = factors[["gnp", "year"]].to_numpy()
    # Columns that depend on each other count once.
    fixed = np.column_stack([ones(len(y)), fixed, fixed.sum(axis=1)])
    apart = regress(y, factors.drop(columns=["gnp", "year"]), fixed)
    keep = [0, 2, 3, 4]
    np.testing.assert_allclose(
        apart.coefficients, together.coefficients[keep], rtol=1e-6
    )
    np.testing.assert_allclose(apart.stderr, together.stderr[keep], rtol=1e-6)
    assert apart.degrees == together.degrees


def test_clusters_of_one_are_the_sandwich_of_white():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 2))
    y = x @ [1, -1] + rng.normal(size=30) * np.abs(x[:, 0])
    found = regress(
        y, pd.DataFrame(x, columns=["a", "b"]), ones(30), np.arange(30)
    )
    design = np.column_stack([np.ones(30), x])
    beta, *_ = np.linalg.lstsq(design, y)
    rest = y - design @ beta
    inverse = np.linalg.inv(design.T @ design)
    inner = design.T @ (design * rest[:, None] ** 2)
    # HC1: n / (n - k).
    white = 30 / 27 * inverse @ inner @ inverse
    np.testing.assert_allclose(found.stderr, np.sqrt(np.diag(white))[1:])
    assert found.degrees == 29 and found.clusters == 30


def test_repeated_points_count_once_in_clusters():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 20))
    once = regress(y, pd.DataFrame({"x": x}), ones(20), np.arange(20))
    again = regress(
        np.repeat(y, 5),
        pd.DataFrame({"x": np.repeat(x, 5)}),
        ones(100),
        np.repeat(np.arange(20), 5),
    )
    naive = regress(
        np.repeat(y, 5), pd.DataFrame({"x": np.repeat(x, 5)}), ones(100)
    )
    assert again.coefficients == pytest.approx(once.coefficients)
    # But for the small-sample factor (n - 1) / (n - k).
    assert again.stderr == pytest.approx(once.stderr, rel=0.03)
    assert naive.stderr < 0.6 * again.stderr


def test_a_factor_without_effect_is_found_as_often_as_it_should():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(400):
        x, y = rng.normal(size=(2, 15))
        found += regress(y, pd.DataFrame({"x": x}), ones(15)).p_value < 0.05
    # 20 expected; the bounds are 4 standard deviations away.
    assert 3 <= found <= 37


def test_slips_are_named():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"a": rng.normal(size=9)})
    y = rng.normal(size=9)
    with pytest.raises(ValueError, match='factor "a" follows from the others'):
        regress(y, frame.assign(b=2 * frame["a"] + 1), ones(9))
    with pytest.raises(ValueError, match="more than 2 points; got 2"):
        regress(y[:2], frame[:2], ones(2))
    with pytest.raises(ValueError, match="more than 1 clusters; got 1"):
        regress(y, frame, ones(9), np.zeros(9))
