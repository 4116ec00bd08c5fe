"""Calibration metrics against fixtures, scikit-learn, closed forms."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special
from sklearn.metrics import log_loss, top_k_accuracy_score

from bit_keras.benchmarks import calibration
from bit_keras.benchmarks.calibration import scores
from bit_keras.benchmarks.calibration.decomposition import brier_parts


@pytest.fixture(scope="module")
def fixture(shared):
    """Logits, labels and what is expected of them."""
    folder = shared / "fixtures"
    with np.load(folder / "calibration_logits.npz") as file:
        logits, labels = file["logits"], file["labels"]
    return (
        logits,
        labels,
        json.loads((folder / "metrics_expected.json").read_text()),
    )


def drawn(n=500, classes=7, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * scale
    return logits, rng.integers(classes, size=n)


NAMES = {
    "accuracy": "accuracy",
    "top5": "top5",
    "nll": "nll",
    "brier_sum": "brier",
    "ece_15": "ece",
    "mce_15": "mce",
    "ece_15_equal_mass": "ece_adaptive",
    "mean_confidence": "mean_confidence",
}


@pytest.mark.parametrize("part", ["calibration", "temperature_scaling"])
@pytest.mark.parametrize("name", NAMES)
def test_metrics_equal_the_fixture(fixture, part, name):
    logits, labels, expected = fixture
    temperature = expected[part].get("temperature", 1.0)
    found = calibration.measure(logits, labels, temperature=temperature)
    value = getattr(found, NAMES[name])
    assert value == pytest.approx(expected[part][name], abs=1e-9)


def test_all_bins_equal_the_fixture(fixture):
    logits, labels, expected = fixture
    curve = calibration.reliability_curve(logits, labels)
    bins = expected["calibration"]["bins_count_confidence_accuracy"]
    count, confidence, accuracy = np.array(bins, float).T
    np.testing.assert_array_equal(curve.count, count)
    np.testing.assert_allclose(curve.confidence, confidence, rtol=1e-9)
    np.testing.assert_allclose(curve.accuracy, accuracy, rtol=1e-9)
    np.testing.assert_allclose(curve.lower * 15, np.arange(15))


def test_the_single_metrics_are_those_of_measure():
    logits, labels = drawn()
    found = calibration.measure(logits, labels)
    assert calibration.nll(logits, labels) == found.nll
    assert calibration.brier(logits, labels) == found.brier
    assert calibration.ece(logits, labels) == found.ece
    assert calibration.mce(logits, labels) == found.mce
    assert calibration.adaptive_ece(logits, labels) == found.ece_adaptive
    assert calibration.top_k_accuracy(logits, labels, 1) == found.accuracy
    assert calibration.top_k_accuracy(logits, labels) == found.top5


def test_scikit_learn_agrees():
    logits, labels = drawn()
    probabilities = scipy.special.softmax(logits, axis=1)
    assert calibration.nll(logits, labels) == pytest.approx(
        log_loss(labels, probabilities, labels=range(7)), rel=1e-12
    )
    for k in (1, 3, 5):
        assert calibration.top_k_accuracy(logits, labels, k) == (
            top_k_accuracy_score(labels, logits, k=k, labels=range(7))
        )


def test_a_uniform_forecast_in_closed_form():
    """p = 1/5 lies on the edge 3/15, and belongs to the bin below it."""
    logits, labels = np.zeros((40, 5)), np.arange(40) % 5
    found = calibration.measure(logits, labels)
    assert found.nll == pytest.approx(np.log(5), rel=1e-15)
    assert found.brier == pytest.approx(0.8, rel=1e-15)
    assert found.curve.count.tolist() == [0, 0, 40] + [0] * 12
    assert found.ece == pytest.approx(0, abs=1e-15)
    assert found.brier_stderr == pytest.approx(0, abs=1e-15)


def test_equal_logits_rank_by_index():
    logits = np.array([[1.0, 1.0, 0.0]] * 3)
    tops = [
        calibration.top_k_accuracy(logits, np.array([0, 1, 2]), k)
        for k in (1, 2, 3)
    ]
    assert tops == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
def test_extreme_logits_are_exact(size):
    logits = np.array([[size, -size], [-size, size]], np.float32)
    found = calibration.measure(logits, np.array([0, 0]))
    gap = 2 * float(np.float32(size))
    assert found.nll == pytest.approx(gap / 2)
    assert (found.brier, found.accuracy, found.ece) == (1.0, 0.5, 0.5)


def test_a_small_error_is_not_lost_in_rounding():
    """The other class has exp(-50): 1 - p would be 0 in float64."""
    one = np.array([[50.0, 0.0]]), np.array([0])
    assert calibration.nll(*one) == pytest.approx(np.exp(-50), rel=1e-9, abs=0)


def test_standard_errors_are_those_of_a_mean():
    logits, labels = drawn()
    found = calibration.measure(logits, labels)
    losses = -np.log(
        scipy.special.softmax(logits, axis=1)[np.arange(500), labels]
    )
    assert found.nll_stderr == pytest.approx(losses.std(ddof=1) / 500**0.5)
    alone = calibration.measure(logits[:1], labels[:1])
    assert alone.nll_stderr is None and alone.brier_stderr is None


def test_equal_mass_bins_hold_equal_numbers():
    logits, labels = drawn(n=100)
    curve = calibration.measure(logits, labels).adaptive_curve
    assert curve.count.tolist() == [7] * 10 + [6] * 5
    assert (curve.upper[:-1] <= curve.lower[1:]).all()
    few = calibration.measure(logits[:4], labels[:4]).adaptive_curve
    assert few.count.tolist() == [1] * 4


def test_blocks_change_nothing(monkeypatch):
    logits, labels = drawn()
    whole = calibration.measure(logits, labels)
    monkeypatch.setattr(scores, "_BLOCK", 7 * 33)
    blocks = calibration.measure(logits, labels)
    assert whole.nll == blocks.nll and whole.ece == blocks.ece
    for name, value in dataclasses.asdict(whole.parts).items():
        assert getattr(blocks.parts, name) == pytest.approx(value, rel=1e-12)


def test_the_parts_make_up_the_brier_score(fixture):
    logits, labels, expected = fixture
    rng = np.random.default_rng(0)
    for groups in (None, labels.astype(int), rng.integers(40, size=2000) * 3):
        parts = brier_parts(logits, labels, groups=groups)
        assert parts.brier == pytest.approx(
            expected["calibration"]["brier_sum"], abs=1e-12
        )
        assert min(parts.resolution, parts.reliability) > 0
    scaled = brier_parts(logits, labels, temperature=2.5)
    assert scaled.brier == pytest.approx(
        calibration.measure(logits, labels, temperature=2.5).brier, abs=1e-12
    )


def test_the_parts_are_those_of_robustness_metrics(fixture):
    """Its formulas, written out on a dense confusion matrix."""
    logits, labels, _ = fixture
    probabilities = scipy.special.softmax(logits.astype(float), axis=1)
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((20, 20))
    np.add.at(confusion, (predicted, labels), 1)
    weights = confusion.sum(1) / confusion.sum()
    mean = confusion.sum(0) / confusion.sum()
    means = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    parts = brier_parts(logits, labels)
    assert parts.uncertainty - 1 == pytest.approx(-(mean**2).sum())
    assert parts.resolution == pytest.approx(
        weights @ ((mean - means) ** 2).sum(1)
    )
    assert parts.reliability == pytest.approx(
        ((means[predicted] - probabilities) ** 2).sum(1).mean()
    )


def test_murphys_case_has_three_parts():
    """Rain forecasts of 0.8 (right 3 of 4 times) and 0.1 (1 of 6), by hand."""
    rain = np.array([0.8] * 4 + [0.1] * 6)
    labels = np.array([1, 1, 1, 0] + [1] + [0] * 5)
    logits = np.log(np.stack([1 - rain, rain], axis=1))
    parts = brier_parts(logits, labels)
    # Both classes have the same error, hence the factors of 2.
    assert parts.uncertainty == pytest.approx(2 * 0.4 * 0.6)
    assert parts.resolution == pytest.approx(
        2 * (0.4 * (0.75 - 0.4) ** 2 + 0.6 * (1 / 6 - 0.4) ** 2)
    )
    assert parts.reliability == pytest.approx(
        2 * (0.4 * (0.8 - 0.75) ** 2 + 0.6 * (0.1 - 1 / 6) ** 2)
    )
    assert parts.covariance == pytest.approx(0, abs=1e-15)


def test_each_forecast_a_group_of_its_own_resolves_all():
    logits, labels = drawn(n=50)
    parts = brier_parts(logits, labels, groups=np.arange(50))
    assert parts.resolution == pytest.approx(parts.uncertainty)
    assert parts.reliability == pytest.approx(calibration.brier(logits, labels))
    assert parts.covariance == pytest.approx(0, abs=1e-12)


BAD = np.zeros((3, 4))
BAD[1, 2] = np.nan


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        (BAD, [0, 1, 2], "logits of example 1 are not finite"),
        (np.zeros((3, 4)), [0, 4, 2], "must be 0..3, .* example 1 has 4"),
        (np.zeros((3, 4)), [0, -1, 2], "example 1 has -1"),
        (np.zeros((3, 4)), [0, 1], r"shape \(3,\), one for each"),
        (np.zeros((3, 4)), [0.0, 1.0, 2.0], "labels must be integers"),
        (np.zeros(3), [0, 1, 2], r"shape \(examples, classes\)"),
        (np.zeros((0, 4)), [], "an example and two classes at least"),
        (np.zeros((3, 1)), [0, 0, 0], "an example and two classes at least"),
    ],
)
def test_bad_arrays_are_named(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        calibration.measure(logits, np.array(labels))


def test_bad_options_are_named():
    logits, labels = drawn(n=9)
    with pytest.raises(ValueError, match="temperature must be positive"):
        calibration.measure(logits, labels, temperature=0.0)
    with pytest.raises(ValueError, match="bins must be >= 1; got 0"):
        calibration.ece(logits, labels, bins=0)
    with pytest.raises(ValueError, match="k must be >= 1; got 0"):
        calibration.top_k_accuracy(logits, labels, k=0)
    with pytest.raises(ValueError, match="groups must be 9 integers >= 0"):
        brier_parts(logits, labels, groups=np.arange(9) - 1)
