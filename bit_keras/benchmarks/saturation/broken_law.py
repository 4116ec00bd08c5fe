"""The broken neural scaling law with one break.

E. Caballero, K. Gupta, I. Rish, D. Krueger, "Broken Neural Scaling Laws", 2023
(arXiv 2210.14891).
"""

import dataclasses

import numpy as np
from scipy.optimize import least_squares

from bit_keras.benchmarks.saturation.estimators import check_points

# The paper's grid of starts (appendix on experimental details): a, then b and
# d, then c0, c1 and f. An f of 0, which it also lists, divides by zero.
_A = np.arange(0, 1, 0.1)
_GEOMETRIC = 1.25 ** np.arange(0, 40, 2.5) - 1 + 1e-8
_C = np.arange(0, 1, 0.25)
_F = np.array([0.25, 0.5, 0.75])
# Ours: points of the curve that the grid sees, starts per pair of a and b that
# it offers, and how many of all are followed.
_GRID_POINTS, _PER_PAIR, _FOLLOWED = 24, 3, 5
_MAX_EVALUATIONS = 500
# Of a, log b, c0, c1, log d, f; only that of a depends on the curve.
_LOWEST = np.array([0, -60, 0, -50, -60, 0.01])
_HIGHEST = np.array([np.inf, 60, 50, 50, 60, 50])
_LARGEST = 100.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrokenLaw:
    """y = a + b z**-c0 (1 + (z / d)**(1 / f))**(-c1 f) with z = x / x_0.

    Attributes:
        a: Limit of the error.
        b: Factor.
        c0: Slope before the break, on logarithmic axes.
        c1: What the break adds to it.
        d: Where the break is.
        f: How gradual it is.
        x_0: Unit of x: the least that was fitted.

    Example:

    >>> law = BrokenLaw(a=0.1, b=1.0, c0=1.0, c1=0.0, d=1.0, f=1.0, x_0=2.0)
    >>> law.predict([2.0, 4.0])
    array([1.1, 0.6])
    """

    a: float
    b: float
    c0: float
    c1: float
    d: float
    f: float
    x_0: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns the error after `x` examples."""
        log_z = np.log(np.asarray(x, float) / self.x_0)
        break_at = np.log(self.d)
        return self.a + self.b * _shape(
            log_z, self.c0, self.c1, break_at, self.f
        )


def fit_broken_law(x: np.ndarray, y: np.ndarray) -> BrokenLaw:
    """Fits the law by least squares of log(y + 1), from a grid of starts.

    x is counted in units of its least value. (The paper's grid of breaks ends
    at 7523, which is below the first point of curves that begin at a million.)

    Args:
        x: Examples seen, `(points,)`.
        y: Errors, `(points,)`.

    Raises:
        ValueError: For fewer than 7 different x, or no positive numbers.

    Example:

    >>> x = np.geomspace(1e6, 1e8, 30)
    >>> law = fit_broken_law(x, 0.6 * (x / 1e6) ** -0.3 + 0.2)
    >>> round(float(law.predict([1e10])[0]), 3)
    0.238
    """
    x, y = check_points(x, y, parameters=6)
    log_z, target = np.log(x / x[0]), np.log1p(y)
    highest = _HIGHEST.copy()
    highest[0] = y.max()
    best = None
    for start in _starts(log_z, target):
        found = least_squares(
            lambda p: np.log1p(_law(p, log_z)) - target,
            np.clip(start, _LOWEST + 1e-9, highest - 1e-9),
            bounds=(_LOWEST, highest),
            x_scale="jac",
            max_nfev=_MAX_EVALUATIONS,
        )
        if best is None or found.cost < best.cost:
            best = found
    a, log_b, c0, c1, log_d, f = map(float, best.x)
    b, d = float(np.exp(log_b)), float(np.exp(log_d))
    return BrokenLaw(a=a, b=b, c0=c0, c1=c1, d=d, f=f, x_0=float(x[0]))


def _shape(log_z, c0, c1, log_d, f):
    """z**-c0 (1 + (z / d)**(1 / f))**(-c1 f), bounded while it is searched."""
    power = -c0 * log_z - c1 * f * np.logaddexp(0, (log_z - log_d) / f)
    return np.exp(np.minimum(power, _LARGEST))


def _law(parameters: np.ndarray, log_z: np.ndarray) -> np.ndarray:
    a, log_b, c0, c1, log_d, f = parameters
    return a + np.exp(log_b) * _shape(log_z, c0, c1, log_d, f)


def _starts(log_z: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the best of the grid, `(starts, 6)`, each as `_law` takes it."""
    seen = np.linspace(0, len(log_z) - 1, min(_GRID_POINTS, len(log_z)))
    seen = seen.round().astype(int)
    log_z, target = log_z[seen], target[seen]
    shapes = np.meshgrid(_C, _C, np.log(_GEOMETRIC), _F, indexing="ij")
    shapes = np.column_stack([axis.ravel() for axis in shapes])
    curves = _shape(log_z, *(column[:, None] for column in shapes.T))
    losses, starts = [], []
    for a in _A:
        for b in _GEOMETRIC:
            squares = (np.log1p(a + b * curves) - target) ** 2
            loss = squares.sum(axis=1)
            for place in np.argpartition(loss, _PER_PAIR)[:_PER_PAIR]:
                losses.append(loss[place])
                starts.append([a, np.log(b), *shapes[place]])
    return np.array(starts)[np.argsort(losses, kind="stable")[:_FOLLOWED]]
