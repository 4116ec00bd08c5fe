"""Telling images of unknown classes from those a model was trained for.

Hendrycks and Gimpel, arXiv 1610.02136: the largest softmax probability. The
largest logit (Hendrycks et al., arXiv 1911.11132) and the negative energy (Liu
et al., arXiv 2010.03759) are for comparison. All scores are higher for images
that look in-distribution.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.special
from sklearn.metrics import average_precision_score, roc_auc_score

from bit_keras.benchmarks.calibration.scores import (
    blocks,
    check_logits,
    log_softmax,
)


def max_softmax_probability(logits: np.ndarray) -> np.ndarray:
    """The largest probability of each example, `(n,)`.

    >>> max_softmax_probability(np.log([[0.75, 0.25]])).round(12)
    array([0.75])
    """
    return _each(logits, lambda z: np.exp(log_softmax(z).max(axis=1)))


def max_logit(logits: np.ndarray) -> np.ndarray:
    """The largest logit of each example, `(n,)`.

    >>> max_logit(np.array([[1.0, 3.0]]))
    array([3.])
    """
    return _each(logits, lambda z: z.max(axis=1))


def negative_energy(logits: np.ndarray) -> np.ndarray:
    """log(sum(exp(logits))) of each example, `(n,)`; at temperature 1.

    >>> negative_energy(np.log([[3.0, 4.0]])).round(12)
    array([1.94591015])
    """
    return _each(logits, lambda z: scipy.special.logsumexp(z, axis=1))


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_softmax_probability": max_softmax_probability,
    "max_logit": max_logit,
    "negative_energy": negative_energy,
}


def _each(
    logits: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    check_logits("logits", logits)
    return np.concatenate([function(block) for _, block in blocks(logits)])


@dataclasses.dataclass(frozen=True)
class Detection:
    """How well a score tells in- from out-of-distribution examples.

    Attributes:
        auroc: Probability that a random in-distribution example has the higher
            score; a tie counts half.
        aupr_in: Average precision, in-distribution being positive.
        aupr_out: Average precision of the negated score, the others being
            positive. Chance level of both is the share of the positive ones.
        fpr95: Share of out-of-distribution examples that pass the highest
            threshold which at least 95 % of the others pass (score >= it).
        fpr95_threshold: That threshold.
        fpr95_out: The other way round: share of in-distribution examples that
            are flagged (score <= threshold) when at least 95 % of the others
            are.
    """

    auroc: float
    aupr_in: float
    aupr_out: float
    fpr95: float
    fpr95_threshold: float
    fpr95_out: float


def detect(inside: np.ndarray, outside: np.ndarray) -> Detection:
    """Measures a score on examples of both kinds.

    Args:
        inside: Scores of in-distribution examples, `(n,)`.
        outside: Scores of the others, `(m,)`.

    Raises:
        ValueError: If there are none of one kind, or a score is not finite.

    Example:

    >>> found = detect(np.array([3.0, 2.0]), np.array([2.5, 1.0]))
    >>> found.auroc, found.fpr95, found.fpr95_threshold
    (0.75, 0.5, 2.0)
    """
    for name, values in (("inside", inside), ("outside", outside)):
        if np.ndim(values) != 1 or not len(values):
            raise ValueError(f"{name} must be (n,) with n >= 1 scores.")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has scores that are not finite.")
    both = np.concatenate([inside, outside])
    is_inside = np.arange(len(both)) < len(inside)
    threshold = _threshold(inside)
    return Detection(
        auroc=float(roc_auc_score(is_inside, both)),
        aupr_in=float(average_precision_score(is_inside, both)),
        aupr_out=float(average_precision_score(~is_inside, -both)),
        fpr95=float((outside >= threshold).mean()),
        fpr95_threshold=float(threshold),
        fpr95_out=float((-inside >= _threshold(-outside)).mean()),
    )


def _threshold(scores: np.ndarray) -> float:
    """The highest threshold that at least 95 % of the scores pass."""
    least = -(-95 * len(scores) // 100)
    return np.sort(scores)[len(scores) - least]
