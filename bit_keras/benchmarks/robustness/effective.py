"""Effective robustness: accuracy under a shift beyond what is to be expected.

R. Taori et al., "Measuring robustness to natural distribution shifts in image
classification", arXiv 2007.00644, section 2: over many reference models, the
accuracy on a shifted set is nearly a straight line in that on the usual test
set, both on a logit scale. A model's effective robustness is its distance from
that line, in accuracy.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from bit_keras.recipe import did_you_mean


class _Scale(NamedTuple):
    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


# Logit: Taori et al.; probit: Miller et al., arXiv 2107.04649.
_SCALES = {
    "logit": _Scale(special.logit, special.expit),
    "probit": _Scale(special.ndtri, special.ndtr),
    "linear": _Scale(np.asarray, np.asarray),
}
SCALES = tuple(_SCALES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """What reference models let expect.

    Attributes:
        scale: On which the line is straight: "logit", "probit" or "linear".
        slope: On that scale.
        intercept: On that scale.
        r2: Share of the variance explained, on that scale.
        residual_sd: Standard deviation about the line, on that scale.
        n: Reference models.
        x_mean: Mean of their accuracies on the usual set, on that scale.
        x_spread: Sum of squares about that mean.
    """

    scale: str
    slope: float
    intercept: float
    r2: float = float("nan")
    residual_sd: float = float("nan")
    n: int = 0
    x_mean: float = float("nan")
    x_spread: float = float("nan")

    def expected(self, source: np.ndarray | float) -> np.ndarray:
        """Returns the accuracy under shift that the line expects.

        Args:
            source: Accuracy on the usual set, a fraction.

        Example:

        >>> line = Line(scale="linear", slope=2.0, intercept=-1.0)
        >>> float(line.expected(0.75))
        0.5
        """
        scale = _SCALES[self.scale]
        return scale.back(self.slope * scale.to(source) + self.intercept)

    def effective(
        self, source: np.ndarray | float, shifted: np.ndarray | float
    ) -> np.ndarray:
        """Returns the effective robustness, a difference of accuracies.

        Args:
            source: Accuracy on the usual set, a fraction.
            shifted: Accuracy on the shifted set.
        """
        return np.asarray(shifted) - self.expected(source)

    def interval(
        self, source: np.ndarray | float, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns where another such model would be, with this probability.

        The prediction interval of ordinary least squares, mapped back to
        accuracies.

        Args:
            source: Accuracy on the usual set, a fraction.
            level: Probability.

        Returns:
            Its lower and upper ends.
        """
        scale = _SCALES[self.scale]
        x = scale.to(source)
        far = 1 + 1 / self.n + (x - self.x_mean) ** 2 / self.x_spread
        half = stats.t.ppf((1 + level) / 2, self.n - 2) * self.residual_sd
        middle = self.slope * x + self.intercept
        half = half * np.sqrt(far)
        return scale.back(middle - half), scale.back(middle + half)


def fit(source: np.ndarray, shifted: np.ndarray, scale: str = "logit") -> Line:
    """Fits the line through reference models by least squares.

    Models with an accuracy of exactly 0 or 1, which logit and probit do not
    have, must be left out before (`usable`).

    Args:
        source: Accuracy of each model on the usual set, a fraction.
        shifted: Accuracy on the shifted set.
        scale: "logit", "probit" or "linear".

    Raises:
        ValueError: For an unknown scale, accuracies that it does not have, and
            fewer than three models.

    Example:

    >>> accuracy = np.array([0.5, 0.6, 0.8, 0.9])
    >>> line = fit(accuracy, accuracy**2, "linear")
    >>> round(line.slope, 2), line.n
    (1.4, 4)
    """
    if scale not in _SCALES:
        raise ValueError(
            f"scale must be one of {', '.join(SCALES)}; got "
            f'"{scale}".{did_you_mean(scale, SCALES)}'
        )
    source, shifted = np.asarray(source, float), np.asarray(shifted, float)
    good = usable(source, shifted, scale)
    if not good.all():
        raise ValueError(
            f"accuracies must be fractions between 0 and 1 on a {scale} scale; "
            f"{int((~good).sum())} models have others. Leave them out."
        )
    if len(source) < 3 or np.ptp(source) == 0:
        raise ValueError(
            "A line needs at least 3 reference models of differing accuracy; "
            f"got {len(source)}."
        )
    x, y = _SCALES[scale].to(source), _SCALES[scale].to(shifted)
    found = stats.linregress(x, y)
    rest = y - (found.slope * x + found.intercept)
    return Line(
        scale=scale,
        slope=float(found.slope),
        intercept=float(found.intercept),
        r2=float(found.rvalue**2),
        residual_sd=float(np.sqrt(np.sum(rest**2) / (len(x) - 2))),
        n=len(x),
        x_mean=float(x.mean()),
        x_spread=float(np.sum((x - x.mean()) ** 2)),
    )


def usable(source: np.ndarray, shifted: np.ndarray, scale: str) -> np.ndarray:
    """Says which pairs of accuracies a scale has.

    >>> usable(np.array([0.5, 0.5]), np.array([0.0, 0.1]), "logit")
    array([False,  True])
    """
    pair = np.stack([np.asarray(source, float), np.asarray(shifted, float)])
    if scale == "linear":
        return ((pair >= 0) & (pair <= 1)).all(axis=0)
    return ((pair > 0) & (pair < 1)).all(axis=0)
