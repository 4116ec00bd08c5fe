"""Examples in bins of confidence: reliability curves, ECE and MCE.

Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599, section 2.
"""

import dataclasses
import operator
from typing import Any

import numpy as np

# Guo et al., section 5, and robustness_metrics.
BINS = 15


@dataclasses.dataclass(frozen=True)
class Reliability:
    """A reliability curve; each array has one number per bin.

    Attributes:
        lower: Lower edge; of equal-mass bins, the smallest confidence in it.
        upper: Upper edge; of equal-mass bins, the largest confidence in it.
        count: int64, examples in the bin.
        confidence: Their mean confidence; NaN if there are none.
        accuracy: Fraction of them that is correct; NaN if there are none.
    """

    lower: np.ndarray
    upper: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """|accuracy - confidence| of each bin; 0 where it is empty."""
        return np.nan_to_num(np.abs(self.accuracy - self.confidence))

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap over examples."""
        return float(self.gap @ self.count / self.count.sum())

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest gap."""
        return float(self.gap.max())

    def as_details(self) -> dict[str, list[Any]]:
        """Returns the columns as JSON values; None for empty bins."""
        return {
            name: [None if value != value else value for value in column]
            for name, column in vars(self).items()
        }


def equal_width(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> Reliability:
    """Bins of equal width: number i is (i / bins, (i + 1) / bins].

    Args:
        confidence: In (0, 1], `(n,)`.
        correct: Booleans, `(n,)`.
        bins: How many.

    Raises:
        ValueError: If `bins` is not a positive integer.

    Example:

    >>> curve = equal_width(np.array([0.5, 0.75]), np.array([True, False]), 2)
    >>> curve.count, curve.ece
    (array([1, 1]), 0.625)
    """
    bins = _positive(bins)
    # Quotients, not multiples of 1 / bins, so that a confidence of 1/5 lies on
    # the edge 3/15.
    edges = np.arange(bins + 1) / bins
    place = np.searchsorted(edges, confidence, side="left") - 1
    return _curve(edges[:-1], edges[1:], place, confidence, correct)


def equal_mass(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> Reliability:
    """Bins of equal numbers of examples, by rising confidence.

    Where these cannot be equal, the first bins have one more. Which examples
    of the same confidence go to which bin is decided by their order.

    Args:
        confidence: In (0, 1], `(n,)`.
        correct: Booleans, `(n,)`.
        bins: How many, or as many as there are examples.

    Raises:
        ValueError: If `bins` is not a positive integer.

    Example:

    >>> curve = equal_mass(np.array([0.5, 0.9, 0.7]), np.ones(3, bool), 2)
    >>> curve.count, curve.upper
    (array([2, 1]), array([0.7, 0.9]))
    """
    bins = min(_positive(bins), len(confidence))
    order = np.argsort(confidence, kind="stable")
    groups = np.array_split(order, bins)
    place = np.empty(len(order), np.int64)
    place[order] = np.repeat(np.arange(bins), [len(g) for g in groups])
    lower = confidence[[group[0] for group in groups]]
    upper = confidence[[group[-1] for group in groups]]
    return _curve(lower, upper, place, confidence, correct)


def _curve(
    lower: np.ndarray,
    upper: np.ndarray,
    place: np.ndarray,
    confidence: np.ndarray,
    correct: np.ndarray,
) -> Reliability:
    bins = len(lower)
    count = np.bincount(place, minlength=bins)
    filled = np.where(count, count, np.nan)
    return Reliability(
        lower=lower,
        upper=upper,
        count=count,
        confidence=np.bincount(place, confidence, bins) / filled,
        accuracy=np.bincount(place, correct, bins) / filled,
    )


def _positive(bins: int) -> int:
    if operator.index(bins) < 1:
        raise ValueError(f"bins must be >= 1; got {bins}.")
    return operator.index(bins)
