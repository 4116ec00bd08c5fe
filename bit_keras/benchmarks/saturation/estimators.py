"""The scaling laws M1, M2 and M3 of error against examples seen, and fits.

I. Alabdulmohsin, B. Neyshabur, X. Zhai, "Revisiting Neural Scaling Laws in
Language and Vision", 2022 (arXiv 2209.06640). M4 is in `sigmoid_law`. All are
fitted in natural logarithms, as there.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar

# The paper's code keeps e_inf so far below the lowest error, and e_0 so far
# above the highest.
MARGIN = 1e-3
_PROFILE = 1000
_MAX_ROUNDS = 10_000
_TOLERANCE = 1e-10
# Exponents beyond this overflow.
_LARGEST = 700.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """M1 and M2: y = beta x**c + e_inf, with e_inf = 0 in M1.

    >>> PowerLaw(beta=2.0, c=-0.5).predict([4.0])
    array([1.])
    """

    beta: float
    c: float
    e_inf: float = 0.0

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns the error after `x` examples."""
        log_x = np.log(np.asarray(x, float))
        return np.exp(np.log(self.beta) + self.c * log_x) + self.e_inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevellingLaw:
    """M3: y = beta (1/x + gamma)**c, which levels off at beta gamma**c.

    Attributes:
        beta: Factor.
        c: Exponent, at least 0.
        gamma: What the examples cannot take away, at least 0.
        converged: Whether the rounds of the fit came to rest.

    Example:

    >>> LevellingLaw(beta=1.0, c=0.5, gamma=0.25).predict([np.inf])
    array([0.5])
    """

    beta: float
    c: float
    gamma: float
    converged: bool = True

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns the error after `x` examples."""
        shifted = np.log(1 / np.asarray(x, float) + self.gamma)
        return np.exp(np.log(self.beta) + self.c * shifted)


def check_points(
    x: np.ndarray, y: np.ndarray, parameters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a curve's points as arrays of floats, ascending in x.

    Args:
        x: Examples seen, positive, `(points,)`.
        y: Errors, positive, `(points,)`.
        parameters: Of the law; more different x than these are needed.

    Raises:
        ValueError: For points that no law can be fitted to.

    Example:

    >>> check_points([2, 1], [0.5, 0.6], parameters=2)
    Traceback (most recent call last):
    ValueError: x has 2 different values; a law of 2 parameters needs at least
    3.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            "x and y must be lists of equal length; got shapes "
            f"{x.shape} and {y.shape}."
        )
    for name, values in (("x", x), ("y", y)):
        bad = values[~(np.isfinite(values) & (values > 0))]
        if len(bad):
            raise ValueError(
                f"{name} must be positive and finite; got {bad[0]:g}. Leave "
                "such points out."
            )
    different = len(np.unique(x))
    if different <= parameters:
        raise ValueError(
            f"x has {different} different values; a law of {parameters} "
            f"parameters needs at least {parameters + 1}."
        )
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def ceiling(y: np.ndarray) -> float:
    """Returns the highest e_inf for errors `y`.

    It is MARGIN below the lowest error, as in the paper's code, or half of an
    error that is smaller than twice that.

    >>> round(ceiling(np.array([0.5, 0.2])), 4), ceiling(np.array([0.001]))
    (0.199, 0.0005)
    """
    lowest = float(y.min())
    return max(lowest - MARGIN, lowest / 2)


def fit_m1(x: np.ndarray, y: np.ndarray) -> PowerLaw:
    """Fits y = beta x**c, in closed form.

    Args:
        x: Examples seen, `(points,)`.
        y: Errors, `(points,)`.

    Returns:
        The least-squares line of log y on log x.

    Raises:
        ValueError: For fewer than 3 different x, or no positive numbers.

    Example:

    >>> law = fit_m1([1, 10, 100], [1, 0.1, 0.01])
    >>> round(law.beta, 6), round(law.c, 6)
    (1.0, -1.0)
    """
    x, y = check_points(x, y, parameters=2)
    intercept, slope = _line(np.log(x), np.log(y))
    return PowerLaw(beta=float(np.exp(intercept)), c=slope)


def fit_m2(x: np.ndarray, y: np.ndarray) -> PowerLaw:
    """Fits y = beta x**c + e_inf: the best of all e_inf.

    For every e_inf, log(y - e_inf) is a line in log x; what it leaves is
    minimized over 0 <= e_inf <= min(y) - 1e-3. That is the objective of the
    paper's code, which alternates from the upper end, and on some curves stops
    at a local minimum. The global one is often at 0, where M2 is M1: the
    closer e_inf is to the errors, the larger logarithms make the noise.

    Args:
        x: Examples seen, `(points,)`.
        y: Errors, `(points,)`.

    Raises:
        ValueError: For fewer than 4 different x, or no positive numbers.

    Example:

    >>> x = np.geomspace(1, 1000, 9)
    >>> round(fit_m2(x, 0.5 * x**-0.4 + 0.2).e_inf, 6)
    0.2
    """
    x, y = check_points(x, y, parameters=3)
    log_x = np.log(x)
    line = np.linalg.qr(np.column_stack([np.ones_like(log_x), log_x]))[0]

    def loss(e_inf):
        left = np.log(y[:, None] - np.atleast_1d(e_inf))
        left = left - line @ (line.T @ left)
        return (left**2).sum(axis=0)

    grid = np.linspace(0, ceiling(y), _PROFILE)
    losses = loss(grid)
    best = int(np.argmin(losses))
    around = grid[max(best - 1, 0)], grid[min(best + 1, _PROFILE - 1)]
    finer = minimize_scalar(
        lambda e: loss(e)[0],
        bounds=around,
        method="bounded",
        options={"xatol": 1e-12},
    )
    e_inf = finer.x if finer.fun < losses[best] else grid[best]
    intercept, slope = _line(log_x, np.log(y - e_inf))
    return PowerLaw(beta=float(np.exp(intercept)), c=slope, e_inf=float(e_inf))


def fit_m3(x: np.ndarray, y: np.ndarray) -> LevellingLaw:
    """Fits y = beta (1/x + gamma)**c by the paper's rounds.

    Each round fits log y by a line in log(1/x + gamma), then moves gamma to the
    best of those that put one of the points exactly on the curve. It starts at
    gamma = 0 and ends when beta rests. That is not the joint minimum, but it is
    what "M3" names in the paper's tables; the joint minimum extrapolates
    clearly worse on some of its curves.

    Args:
        x: Examples seen, `(points,)`.
        y: Errors, `(points,)`.

    Raises:
        ValueError: For fewer than 4 different x, or no positive numbers.

    Example:

    >>> law = fit_m3([1, 10, 100, 1000], [1, 0.1, 0.01, 0.001])
    >>> round(law.c, 6), round(law.gamma, 6)
    (1.0, 0.0)
    """
    x, y = check_points(x, y, parameters=3)
    log_y, gamma, beta = np.log(y), 0.0, np.nan
    for _ in range(_MAX_ROUNDS):
        before = beta
        intercept, c = _line(np.log(1 / x + gamma), log_y)
        if c <= 0:
            # Errors do not fall; a constant is the best with c >= 0.
            flat = float(np.exp(log_y.mean()))
            return LevellingLaw(beta=flat, c=0.0, gamma=gamma)
        beta = float(np.exp(intercept))
        exact = np.exp(np.minimum((log_y - intercept) / c, _LARGEST)) - 1 / x
        gammas = np.append(gamma, exact[exact >= 0])
        left = log_y - intercept - c * np.log(1 / x + gammas[:, None])
        gamma = float(gammas[np.argmin((left**2).sum(axis=1))])
        if abs(beta - before) < _TOLERANCE:
            return LevellingLaw(beta=beta, c=c, gamma=gamma)
    return LevellingLaw(beta=beta, c=c, gamma=gamma, converged=False)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Returns intercept and slope of the least-squares line."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return float(y.mean() - slope * x.mean()), slope
