import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bit_keras.benchmarks.saturation.correlation import (
    by_model,
    matrix,
    saturates_at,
    spearman,
    task_order,
)


@pytest.mark.parametrize("n", [2, 5, 30, 200])
def test_rho_is_scipys(n):
    random = np.random.default_rng(n)
    x = random.normal(size=n)
    y = x + random.normal(size=n)
    assert spearman(x, y).rho == pytest.approx(stats.spearmanr(x, y).statistic)


def test_rho_with_ties_is_scipys():
    random = np.random.default_rng(0)
    x, y = random.integers(0, 4, size=(2, 50))
    found = spearman(x, y)
    assert len(np.unique(x)) == 4
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)


def test_rho_without_ties_is_the_closed_form():
    x = np.arange(8)
    y = np.array([2, 0, 1, 5, 3, 4, 7, 6])
    n = len(x)
    expected = 1 - 6 * ((x - y) ** 2).sum() / (n * (n**2 - 1))
    assert spearman(x, y).rho == pytest.approx(expected)


def test_the_interval_is_the_closed_form():
    random = np.random.default_rng(1)
    x = random.normal(size=40)
    y = x + random.normal(size=40)
    found = spearman(x, y)
    error = np.sqrt((1 + found.rho**2 / 2) / 37)
    ends = np.tanh(np.arctanh(found.rho) + np.array([-1, 1]) * 1.959964 * error)
    assert [found.low, found.high] == pytest.approx(ends, abs=1e-6)
    assert found.low < found.rho < found.high
    wider = spearman(x, y, level=0.99)
    assert wider.low < found.low and wider.high > found.high


def test_the_interval_covers():
    random = np.random.default_rng(2)
    strength, covered = 0.7, 0
    # Of normal pairs (K. Pearson, 1907).
    truth = 6 / np.pi * np.arcsin(strength / 2)
    for _ in range(400):
        x, noise = random.normal(size=(2, 60))
        y = strength * x + np.sqrt(1 - strength**2) * noise
        found = spearman(x, y)
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / 400 < 0.98


def test_pairs_with_nan_do_not_count():
    x = [1, 2, np.nan, 4, 5, 6]
    y = [1, np.nan, 9, 3, 2, 7]
    found = spearman(x, y)
    assert found.n == 4
    assert found.rho == pytest.approx(
        stats.spearmanr([1, 4, 5, 6], [1, 3, 2, 7]).statistic
    )


def test_what_cannot_be_said_is_nan():
    assert np.isnan(spearman([], []).rho)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]).rho)
    three = spearman([1, 2, 3], [1, 3, 2])
    assert three.rho == pytest.approx(0.5)
    assert np.isnan(three.low) and np.isnan(three.high)
    full = spearman(range(9), range(9))
    assert full.rho == 1 and np.isnan(full.low)


def test_pairs_of_unequal_length():
    with pytest.raises(ValueError, match="got 2 and 3 numbers"):
        spearman([1, 2], [1, 2, 3])


def test_a_matrix_counts_each_pair():
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(20, 3)), columns=["up", "a", "b"])
    frame.loc[:4, "a"] = np.nan
    frame.loc[3:6, "b"] = np.nan
    made = matrix(frame)
    assert made.n.loc["up", "a"] == 15
    assert made.n.loc["a", "b"] == 13
    assert np.diag(made.rho).tolist() == [1, 1, 1]
    assert made.rho.equals(made.rho.T) and made.low.equals(made.low.T)
    expected = frame.corr(method="spearman")
    pd.testing.assert_frame_equal(made.rho, expected)
    pairs = made.frame()
    assert pairs[["first", "second"]].values.tolist() == [
        ["up", "a"],
        ["up", "b"],
        ["a", "b"],
    ]
    assert pairs["n"].tolist() == [15, 16, 13]


def test_points_become_one_row_per_model():
    points = pd.DataFrame(
        {
            "model": ["a", "a", "a", "b"],
            "task": ["dtd", "pets", "pets", "dtd"],
            "upstream_accuracy": [0.5, 0.5, 0.5, 0.6],
            "downstream_accuracy": [0.7, 0.8, 0.9, 0.6],
        }
    )
    made = by_model(points)
    assert list(made.columns) == ["upstream", "dtd", "pets"]
    assert made.loc["a"].tolist() == pytest.approx([0.5, 0.7, 0.85])
    assert np.isnan(made.loc["b", "pets"])
    with pytest.raises(ValueError, match='a task is called "dtd", too'):
        by_model(points, upstream="dtd")


def test_the_place_of_saturation_solves_the_law():
    k, alpha, e_ir = 0.8, 3.0, 0.1
    error = 1 - saturates_at(k, alpha, e_ir)
    reached = 1 - (k * error**alpha + e_ir)
    assert reached == pytest.approx(0.95 * (1 - e_ir))
    assert saturates_at(0.01, alpha, e_ir) == 0


def test_published_laws_saturate_in_the_order_the_paper_says(shared):
    """Section 4 of the reference: fast, gradual, nearly linear."""
    path = shared / "data" / "tables" / "saturation_jft25_digitised.json"
    laws = json.loads(path.read_text())["convex_hull_fit"]
    fits = pd.DataFrame(
        {"task": task, "k": v["k"], "alpha": v["alpha"], "e_ir": v["e_IR"]}
        for task, v in laws.items()
    ).assign(identified=True)
    order = task_order(fits)
    tasks = order["task"].tolist()
    assert set(tasks[:2]) == {"col_hist", "uc_merced"}
    assert set(tasks[2:4]) == {"caltech", "cars"}
    assert tasks[-1] == "imagenet"
    assert order["place"].tolist() == list(range(1, 9))
    assert order["saturation_value"].iloc[-1] == pytest.approx(0.877)


def test_laws_that_are_not_identified_have_no_place():
    fits = pd.DataFrame(
        {
            "task": ["a", "b"],
            "k": [0.01, 0.9],
            "alpha": 2.0,
            "e_ir": 0.1,
            "identified": [False, True],
        }
    )
    order = task_order(fits)
    assert order["task"].tolist() == ["b", "a"]
    assert order["place"].iloc[0] == 1
    assert order[["place", "saturates_at"]].iloc[1].isna().all()
