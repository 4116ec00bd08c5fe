"""What the metrics of calibration need to know of each example.

Logits are read in blocks, so they may be memory-mapped; all that is kept are
a few numbers per example, in float64.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

# Logits at a time: 32 MiB in float64, and a few copies of that.
_BLOCK = 2**22


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of each example, what probabilities and label say; each `(n,)`.

    Attributes:
        predicted: int64, the class of the largest logit, the first if several
            are equal.
        confidence: The largest probability.
        rank: int64, how many classes come before the label: those of larger
            logits, and of equal ones with a smaller index. 0 is correct.
        log_likelihood: Logarithm of the label's probability.
        squared_error: Of the probabilities, to 1 for the label and 0 for the
            other classes, summed over classes.
    """

    predicted: np.ndarray
    confidence: np.ndarray
    rank: np.ndarray
    log_likelihood: np.ndarray
    squared_error: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether the predicted class is the label, `(n,)`."""
        return self.rank == 0


def score(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> Scores:
    """Computes the scores of every example.

    Args:
        logits: `(n, classes)`, any floating type.
        labels: Integers in `[0, classes)`, `(n,)`.
        temperature: That logits are divided by.

    Returns:
        `Scores`; rank and predicted class do not depend on the temperature.

    Raises:
        ValueError: For arguments that do not fit each other, logits that are
            not finite, labels out of range, or a temperature that is not
            positive.

    Example:

    >>> scores = score(np.log([[0.5, 0.25, 0.25]]), np.array([2]))
    >>> scores.rank, scores.confidence.round(12)
    (array([2]), array([0.5]))
    """
    labels = check(logits, labels)
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature must be positive and finite; got {temperature}."
        )
    parts = []
    for rows, block in blocks(logits):
        parts.append(_score(block, labels[rows], temperature))
    return Scores(*map(np.concatenate, zip(*parts, strict=True)))


def _score(
    block: np.ndarray, labels: np.ndarray, temperature: float
) -> tuple[np.ndarray, ...]:
    """Returns the fields of `Scores` for some examples."""
    rows = np.arange(len(block))
    own = block[rows, labels][:, None]
    before = np.arange(block.shape[1]) < labels[:, None]
    rank = ((block > own) | ((block == own) & before)).sum(axis=1)
    predicted = block.argmax(axis=1)
    log_probabilities = log_softmax(block, temperature)
    log_likelihood = log_probabilities[rows, labels]
    errors = np.exp(log_probabilities)
    confidence = errors[rows, predicted]
    errors[rows, labels] -= 1
    squared = np.einsum("ij,ij->i", errors, errors)
    return predicted, confidence, rank, log_likelihood, squared


def log_softmax(block: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Returns logarithms of probabilities, accurate for any finite logits.

    Args:
        block: Logits, float64 `(n, classes)`.
        temperature: That they are divided by.

    Example:

    >>> log_softmax(np.array([[0.0, -2000.0]]))
    array([[    0., -2000.]])
    """
    rows, largest = np.arange(len(block)), block.argmax(axis=1)
    shifted = (block - block[rows, largest][:, None]) / temperature
    others = np.exp(shifted)
    others[rows, largest] = 0
    # 1 for the largest itself, beside which small ones would be lost.
    return shifted - np.log1p(others.sum(axis=1, keepdims=True))


def blocks(logits: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields rows of logits, and which they are, as many as fit in memory.

    Args:
        logits: `(n, classes)`, perhaps memory-mapped.

    Yields:
        The rows' place, and they themselves as float64.

    Raises:
        ValueError: For a logit that is not finite; names the example.
    """
    size = max(1, _BLOCK // logits.shape[1])
    for first in range(0, len(logits), size):
        rows = slice(first, first + size)
        block = np.asarray(logits[rows], np.float64)
        if not np.isfinite(block).all():
            bad = first + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise ValueError(
                f"logits of example {bad} are not finite. Look at the image, "
                "or at the model's weights."
            )
        yield rows, block


def check(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns labels as int64 if they fit the logits.

    Args:
        logits: `(n, classes)`.
        labels: `(n,)`.

    Raises:
        ValueError: If they do not.

    Example:

    >>> check(np.zeros((1, 3)), np.array([3]))
    Traceback (most recent call last):
    ValueError: labels must be 0..2, as logits have 3 columns; example 0 has 3.
    """
    check_logits("logits", logits)
    labels, classes = np.asarray(labels), logits.shape[1]
    if labels.shape != (len(logits),):
        raise ValueError(
            f"labels must have the shape ({len(logits)},), one for each row of "
            f"logits; got {labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers; got {labels.dtype}.")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"labels must be 0..{classes - 1}, as logits have {classes} "
            f"columns; example {first} has {labels[first]}."
        )
    return labels.astype(np.int64)


def check_logits(name: str, logits: np.ndarray) -> None:
    """Raises a ValueError, naming the argument, if these are no logits."""
    if getattr(logits, "ndim", 0) != 2:
        raise ValueError(
            f"{name} must be an array of shape (examples, classes); got "
            f"{getattr(logits, 'shape', type(logits).__name__)}."
        )
    if logits.shape[0] < 1 or logits.shape[1] < 2:
        raise ValueError(
            f"{name} must have an example and two classes at least; got the "
            f"shape {logits.shape}."
        )
