"""How well a classifier's probabilities agree with how often it is right.

Definitions are those of robustness_metrics, computed in float64 from logits.
Probabilities are the softmax of the logits over all classes, also for a model
that was trained with sigmoids (BiT-M): an image has one label here, so its
probabilities must sum to one.
"""

import dataclasses
import math
import operator

import numpy as np

from bit_keras.benchmarks.calibration.bins import (
    BINS,
    Reliability,
    equal_mass,
    equal_width,
)
from bit_keras.benchmarks.calibration.decomposition import (
    BrierParts,
    brier_parts,
)
from bit_keras.benchmarks.calibration.scores import Scores, score


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """All metrics of one set of examples.

    Attributes:
        n: Examples.
        accuracy: Fraction whose label has the largest logit.
        top5: Fraction whose label is among the five largest logits.
        nll: Negative log-likelihood, nats per example.
        brier: Brier score, summed over classes: 0 to 2.
        nll_stderr: Standard error of `nll` as a mean; None for one example.
        brier_stderr: Standard error of `brier` as a mean; None likewise.
        mean_confidence: Mean of the largest probability.
        curve: Bins of equal width.
        adaptive_curve: Bins of equal numbers of examples.
        parts: Of the Brier score.
    """

    n: int
    accuracy: float
    top5: float
    nll: float
    brier: float
    nll_stderr: float | None
    brier_stderr: float | None
    mean_confidence: float
    curve: Reliability
    adaptive_curve: Reliability
    parts: BrierParts

    @property
    def ece(self) -> float:
        """Expected calibration error, bins of equal width."""
        return self.curve.ece

    @property
    def mce(self) -> float:
        """Maximum calibration error, bins of equal width."""
        return self.curve.mce

    @property
    def ece_adaptive(self) -> float:
        """Expected calibration error, bins of equal numbers of examples."""
        return self.adaptive_curve.ece


def measure(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    temperature: float = 1.0,
    bins: int = BINS,
) -> Calibration:
    """Computes all metrics at once.

    Args:
        logits: `(n, classes)`, any floating type, perhaps memory-mapped.
        labels: Integers in `[0, classes)`, `(n,)`.
        temperature: That logits are divided by; from
            `temperature.fit`, on other examples.
        bins: Of the reliability curves.

    Raises:
        ValueError: For arguments out of range or that do not fit each other,
            and for logits that are not finite.

    Example:

    >>> found = measure(np.log([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1]))
    >>> found.accuracy, round(found.ece, 12), round(found.brier, 12)
    (0.5, 0.25, 0.625)
    """
    scores = score(logits, labels, temperature)
    return Calibration(
        n=len(logits),
        accuracy=_top(scores, 1),
        top5=_top(scores, 5),
        nll=_nll(scores),
        brier=float(scores.squared_error.mean()),
        nll_stderr=_standard_error(scores.log_likelihood),
        brier_stderr=_standard_error(scores.squared_error),
        mean_confidence=float(scores.confidence.mean()),
        curve=equal_width(scores.confidence, scores.correct, bins),
        adaptive_curve=equal_mass(scores.confidence, scores.correct, bins),
        parts=brier_parts(logits, labels, temperature=temperature),
    )


def ece(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the largest probability.

    Bins are of equal width, (i / bins, (i + 1) / bins].

    >>> round(ece(np.log([[0.75, 0.25]]), np.array([1])), 12)
    0.75
    """
    return reliability_curve(logits, labels, bins).ece


def mce(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Maximum calibration error, in the bins of `ece`.

    >>> two = np.log([[0.75, 0.25], [0.4, 0.6]])
    >>> round(mce(two, np.array([0, 0])), 12)
    0.6
    """
    return reliability_curve(logits, labels, bins).mce


def adaptive_ece(
    logits: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> float:
    """Expected calibration error in bins of equal numbers of examples.

    >>> two = np.log([[0.75, 0.25], [0.4, 0.6]])
    >>> round(adaptive_ece(two, np.array([0, 0]), bins=1), 12)
    0.175
    """
    scores = score(logits, labels)
    return equal_mass(scores.confidence, scores.correct, bins).ece


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Negative log-likelihood: the mean of -log p(label), in nats.

    Nothing is clipped, while robustness_metrics replaces probabilities below
    1e-7 by that: it differs where a model is that sure and wrong.

    >>> nll(np.array([[0.0, 2000.0]]), np.array([0]))
    2000.0
    """
    return _nll(score(logits, labels))


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    """Brier score: squared error summed over classes, mean over examples.

    From 0 to 2; some others divide it by the number of classes.

    >>> round(brier(np.log([[0.75, 0.25]]), np.array([0])), 12)
    0.125
    """
    return float(score(logits, labels).squared_error.mean())


def reliability_curve(
    logits: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> Reliability:
    """Count, mean confidence and accuracy in bins of confidence.

    >>> curve = reliability_curve(np.log([[0.75, 0.25]]), np.array([0]), bins=2)
    >>> curve.count, curve.accuracy
    (array([0, 1]), array([nan,  1.]))
    """
    scores = score(logits, labels)
    return equal_width(scores.confidence, scores.correct, bins)


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Fraction of examples whose label is among the k largest logits.

    Of equal logits, the class with the smaller index comes first.

    >>> top_k_accuracy(np.array([[3.0, 2.0, 1.0]]), np.array([1]), k=2)
    1.0
    """
    if operator.index(k) < 1:
        raise ValueError(f"k must be >= 1; got {k}.")
    return _top(score(logits, labels), k)


def _top(scores: Scores, k: int) -> float:
    return float((scores.rank < k).mean())


def _nll(scores: Scores) -> float:
    return float(0 - scores.log_likelihood.mean())


def _standard_error(values: np.ndarray) -> float | None:
    """The standard error of a mean over examples."""
    if len(values) < 2:
        return None
    return float(values.std(ddof=1) / math.sqrt(len(values)))
