"""Straight lines to measure the law against: of errors, logs and logits.

`log-linear` is the power law e_DS = a * e_US^b, which the paper rejects as too
simple (arXiv 2110.02095, Section 2); `logit-linear` is the logit scaling that
it shows in an appendix. None of them saturates at an e_IR.
"""

import dataclasses

import numpy as np
from scipy.special import expit, logit

# Name -> (scale the line is straight on, the way back).
_SCALES = {
    "linear": (np.asarray, np.asarray),
    "log-linear": (np.log, np.exp),
    # Of errors or of accuracies: logit(1 - e) = -logit(e), the same line.
    "logit-linear": (logit, expit),
}
NAMES = tuple(_SCALES)


@dataclasses.dataclass(frozen=True)
class Line:
    """A straight line on some scale of the errors.

    Attributes:
        name: One of `NAMES`.
        intercept: On that scale.
        slope: On that scale; of "log-linear", the exponent.
        n: Points it was fitted to.
    """

    name: str
    intercept: float
    slope: float
    n: int

    def predict(self, upstream_error: np.ndarray) -> np.ndarray:
        """Returns the downstream error; "linear" may leave [0, 1]."""
        forth, back = _SCALES[self.name]
        with np.errstate(divide="ignore", over="ignore"):
            x = forth(np.asarray(upstream_error, float))
            return np.asarray(back(self.intercept + self.slope * x))


def fit(
    name: str, upstream_error: np.ndarray, downstream_error: np.ndarray
) -> Line:
    """Fits a line by least squares on its own scale.

    Points that the scale has no number for (an error of 0 on "log-linear"; of
    0 or 1 on "logit-linear") do not count.

    Args:
        name: One of `NAMES`.
        upstream_error: In [0, 1], `(points,)`.
        downstream_error: In [0, 1], `(points,)`.

    Raises:
        ValueError: For another name, or fewer than two upstream errors that
            count.

    Example:

    >>> x = np.array([0.2, 0.4, 0.8])
    >>> line = fit("log-linear", x, 0.5 * x**2)
    >>> round(line.slope, 6), line.predict(np.array([0.1])).round(6)
    (2.0, array([0.005]))
    """
    if name not in _SCALES:
        raise ValueError(
            f'name must be one of {", ".join(NAMES)}; got "{name}".'
        )
    forth, _ = _SCALES[name]
    with np.errstate(divide="ignore"):
        x = forth(np.asarray(upstream_error, float))
        y = forth(np.asarray(downstream_error, float))
    counts = np.isfinite(x) & np.isfinite(y)
    x, y = x[counts], y[counts]
    if len(np.unique(x)) < 2:
        raise ValueError(
            f"{name}: a line needs two upstream errors; got {len(np.unique(x))}"
            f" among {len(counts)} points."
        )
    center = x.mean()
    slope = float((x - center) @ (y - y.mean()) / ((x - center) @ (x - center)))
    return Line(name, float(y.mean() - slope * center), slope, len(x))
