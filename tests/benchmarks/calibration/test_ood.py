"""Out-of-distribution detection against fixtures and closed forms."""

import json

import numpy as np
import pytest
import scipy.stats

from bit_keras.benchmarks.calibration import ood

NAMES = {
    "auroc": "auroc",
    "aupr_in": "aupr_in",
    "aupr_out": "aupr_out",
    "fpr95_in_positive": "fpr95",
    "fpr95_threshold": "fpr95_threshold",
    "fpr95_out_positive": "fpr95_out",
}


@pytest.mark.parametrize("score", ood.SCORES)
def test_detection_equals_the_fixture(shared, score):
    folder = shared / "fixtures"
    with np.load(folder / "ood_logits.npz") as file:
        scores = [
            ood.SCORES[score](file[name])
            for name in ("in_logits", "out_logits")
        ]
    expected = json.loads((folder / "metrics_expected.json").read_text())
    found = ood.detect(*scores)
    assert set(expected["ood"][score]) == set(NAMES)
    for name, value in expected["ood"][score].items():
        assert getattr(found, NAMES[name]) == pytest.approx(value, abs=1e-9)


def test_auroc_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    # Whole numbers, so that there are ties.
    inside, outside = rng.poisson(5, size=300), rng.poisson(4, size=200)
    statistic = scipy.stats.mannwhitneyu(inside, outside).statistic
    found = ood.detect(inside, outside)
    assert found.auroc == pytest.approx(statistic / (300 * 200))


def test_both_directions_of_fpr95_by_hand():
    # 19 of 20 is 95 % exactly: the threshold is the second lowest score.
    inside = np.array([0.0, *range(10, 29)])
    outside = np.array([9.0, 10.0, 11.0, 28.0])
    found = ood.detect(inside, outside)
    assert (found.fpr95, found.fpr95_threshold) == (0.75, 10.0)
    # All 4 must be flagged, by a threshold of 28, which flags all.
    assert found.fpr95_out == 1.0
    assert ood.detect(inside, np.arange(-20.0, 0.0)).fpr95_out == 0.0


def test_perfect_and_hopeless_detection():
    high, low = np.arange(10.0, 20.0), np.arange(5.0)
    best = ood.detect(high, low)
    assert (best.auroc, best.aupr_out) == (1.0, 1.0)
    assert best.aupr_in == pytest.approx(1.0)
    assert (best.fpr95, best.fpr95_out) == (0.0, 0.0)
    same = ood.detect(np.ones(30), np.ones(10))
    assert (same.auroc, same.aupr_in, same.aupr_out) == (0.5, 0.75, 0.25)
    assert (same.fpr95, same.fpr95_out) == (1.0, 1.0)


def test_scores_of_extreme_logits_are_exact():
    logits = np.array([[-1e30, 3.0], [1e30, 1e30]], np.float32)
    big = float(np.float32(1e30))
    assert ood.max_softmax_probability(logits).tolist() == [1.0, 0.5]
    assert ood.max_logit(logits).tolist() == [3.0, big]
    assert ood.negative_energy(logits).tolist() == [3.0, big]


@pytest.mark.parametrize(
    "inside, outside, message",
    [
        ([], [1.0], "inside must be"),
        ([1.0], [], "outside must be"),
        ([[1.0]], [1.0], "inside must be"),
        ([1.0], [np.nan], "outside has scores that are not finite"),
    ],
)
def test_bad_scores_are_named(inside, outside, message):
    with pytest.raises(ValueError, match=message):
        ood.detect(np.array(inside), np.array(outside))


def test_logits_must_be_a_matrix():
    with pytest.raises(ValueError, match="logits must be an array of shape"):
        ood.max_logit(np.zeros(3))
