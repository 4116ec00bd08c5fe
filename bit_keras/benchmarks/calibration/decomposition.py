"""The Brier score in parts: uncertainty, resolution, reliability.

Murphy, "A new vector partition of the probability score", J. Appl. Meteor. 12
(1973), pages 595-600. The forecasts of a classifier hardly ever repeat, so
they are grouped by predicted class, as robustness_metrics and TensorFlow
Probability do. Then a fourth part is left, which those leave out; see
`BrierParts`.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from bit_keras.benchmarks.calibration.scores import (
    blocks,
    check,
    log_softmax,
)

if TYPE_CHECKING:
    import scipy.sparse


@dataclasses.dataclass(frozen=True)
class BrierParts:
    """The parts of a Brier score.

    brier = uncertainty - resolution + reliability - covariance holds exactly
    for any grouping. Covariance is zero if all forecasts of a group are the
    same (Murphy's case), and if labels do not depend on the forecasts within a
    group.

    Attributes:
        uncertainty: 1 - sum of squares of the label frequencies; of the data
            alone. (robustness_metrics leaves out the 1.)
        resolution: Mean squared distance between the label frequencies of an
            example's group and those of all examples; large is good.
        reliability: Mean squared distance between an example's forecast and
            the label frequencies of its group; 0 is good.
        covariance: Twice the sum over classes of the covariance of forecast
            and label within groups: what forecasts know of labels beyond the
            group. Stephenson et al., Weather and Forecasting 23 (2008), pages
            752-757.
    """

    uncertainty: float
    resolution: float
    reliability: float
    covariance: float

    @property
    def brier(self) -> float:
        """The score that these are the parts of."""
        gained = self.resolution + self.covariance
        return self.uncertainty - gained + self.reliability


def brier_parts(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    temperature: float = 1.0,
    groups: np.ndarray | None = None,
) -> BrierParts:
    """Takes a Brier score apart.

    Args:
        logits: `(n, classes)`.
        labels: Integers in `[0, classes)`, `(n,)`.
        temperature: That logits are divided by.
        groups: Integers >= 0, `(n,)`: which examples belong together; None:
            those of the same predicted class.

    Raises:
        ValueError: For arguments that do not fit each other.

    Example:

    Two forecasts, (0.75, 0.25) twice and (0.25, 0.75) once:

    >>> forecasts = np.array([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75]])
    >>> parts = brier_parts(np.log(forecasts), np.array([0, 1, 1]))
    >>> round(parts.brier, 12), abs(round(parts.covariance, 12))
    (0.458333333333, 0.0)
    """
    labels = check(logits, labels)
    groups = _groups(logits, groups)
    n, classes = logits.shape
    sizes = np.bincount(groups)
    shares = _shares(groups, labels, classes)
    overall = np.bincount(labels, minlength=classes) / n
    squares = shares.multiply(shares).sum(axis=1)
    # The mean of the groups' shares is `overall`, hence the difference.
    resolution = float(sizes @ squares / n - overall @ overall)
    distance, excess = 0.0, 0.0
    for rows, block in blocks(logits):
        forecasts = np.exp(log_softmax(block, temperature))
        expected = shares[groups[rows]].toarray()
        own = forecasts[np.arange(len(block)), labels[rows]]
        excess += own.sum() - np.einsum("ij,ij", forecasts, expected)
        expected -= forecasts
        distance += np.einsum("ij,ij", expected, expected)
    return BrierParts(
        uncertainty=float(1 - overall @ overall),
        resolution=resolution,
        reliability=float(distance / n),
        covariance=float(2 * excess / n),
    )


def _shares(
    groups: np.ndarray, labels: np.ndarray, classes: int
) -> "scipy.sparse.csr_array":
    """Returns the label frequencies of each group, `(groups, classes)`."""
    # Loading it takes longer than all that --help needs.
    from scipy.sparse import csr_array

    # Sparse, as most groups see few labels.
    weights = 1 / np.bincount(groups)[groups]
    shape = (groups.max() + 1, classes)
    return csr_array((weights, (groups, labels)), shape)


def _groups(logits: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    if groups is None:
        found = [block.argmax(axis=1) for _, block in blocks(logits)]
        return np.concatenate(found)
    groups = np.asarray(groups)
    integers = np.issubdtype(groups.dtype, np.integer)
    if groups.shape != (len(logits),) or not integers or groups.min() < 0:
        raise ValueError(
            f"groups must be {len(logits)} integers >= 0, one for each row of "
            f"logits; got {groups.dtype} of shape {groups.shape}."
        )
    return groups
