"""Least squares with what is held fixed taken out first."""

import dataclasses

import numpy as np
import pandas as pd
from scipy import stats

# Of a factor, the share that must be left once the others are taken out.
_LEFT = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Regression:
    """Coefficients of factors, and whether they explain anything.

    Attributes:
        factors: Names.
        coefficients: Of each factor.
        stderr: Of the coefficients.
        degrees: Degrees of freedom of the t and F distributions.
        f: F statistic of all factors together.
        p_value: Of `f`: how likely factors without effect give it or more.
        partial_r2: Share of the variance left by what is held fixed that all
            factors explain together.
        n: Points.
        clusters: Groups of points that are not independent; None: all are.
    """

    factors: tuple[str, ...]
    coefficients: np.ndarray
    stderr: np.ndarray
    degrees: int
    f: float
    p_value: float
    partial_r2: float
    n: int
    clusters: int | None

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """Returns one row per factor.

        Args:
            level: Of the confidence interval.

        Returns:
            Columns factor, coefficient, stderr, low, high and p_value.
        """
        t = self.coefficients / self.stderr
        reach = stats.t.ppf((1 + level) / 2, self.degrees) * self.stderr
        return pd.DataFrame(
            {
                "factor": self.factors,
                "coefficient": self.coefficients,
                "stderr": self.stderr,
                "low": self.coefficients - reach,
                "high": self.coefficients + reach,
                "p_value": 2 * stats.t.sf(np.abs(t), self.degrees),
            }
        )


def regress(
    y: np.ndarray,
    factors: pd.DataFrame,
    fixed: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Regression:
    """Regresses `y` on factors with other regressors held fixed.

    Args:
        y: `(points,)`.
        factors: `(points, factors)`.
        fixed: Regressors that are no factors, the constant among them,
            `(points, regressors)`; they may depend on each other.
        clusters: Group of each point; points of a group may depend on each
            other (standard errors of Liang and Zeger, with the small-sample
            factor of Stata, and groups - 1 degrees of freedom).

    Raises:
        ValueError: If there are too few points or groups, or a factor follows
            from the others and what is fixed.

    Example:

    >>> x = np.array([0.0, 1, 2, 3])
    >>> y = np.array([1.0, 2.9, 5.1, 7])
    >>> result = regress(y, pd.DataFrame({"x": x}), np.ones((4, 1)))
    >>> result.coefficients.round(6), round(result.partial_r2, 4)
    (array([2.02]), 0.9991)
    """
    y = np.asarray(y, float)
    x = factors.to_numpy(float)
    basis = _basis(np.asarray(fixed, float))
    n, q = x.shape
    held = basis.shape[1]
    if n <= held + q:
        raise ValueError(
            f"{q} factors with {held} held fixed need more than {held + q} "
            f"points; got {n}."
        )
    size = np.linalg.norm(x, axis=0)
    y = y - basis @ (basis.T @ y)
    x = x - basis @ (basis.T @ x)
    _check_independent(x, size, tuple(factors))
    beta, *_ = np.linalg.lstsq(x, y)
    rest = y - x @ beta
    degrees = n - held - q
    count = None if clusters is None else int(pd.Series(clusters).nunique())
    if count is None:
        covariance = np.linalg.inv(x.T @ x) * (rest @ rest) / degrees
    else:
        covariance = _clustered(x, rest, clusters, count)
        covariance *= (n - 1) / degrees
        degrees = count - 1
    f = float(beta @ np.linalg.solve(covariance, beta)) / q
    return Regression(
        factors=tuple(factors),
        coefficients=beta,
        stderr=np.sqrt(np.diag(covariance)),
        degrees=degrees,
        f=f,
        p_value=float(stats.f.sf(f, q, degrees)),
        partial_r2=float(1 - (rest @ rest) / (y @ y)),
        n=n,
        clusters=count,
    )


def _clustered(
    x: np.ndarray, rest: np.ndarray, clusters: np.ndarray, count: int
) -> np.ndarray:
    """Returns the covariance of Liang and Zeger, 1986."""
    q = x.shape[1]
    if count <= q:
        raise ValueError(
            f"{q} factors need more than {q} clusters; got {count}."
        )
    sums = pd.DataFrame(x * rest[:, None]).groupby(clusters).sum().to_numpy()
    inverse = np.linalg.inv(x.T @ x)
    return count / (count - 1) * inverse @ (sums.T @ sums) @ inverse


def _basis(fixed: np.ndarray) -> np.ndarray:
    """Returns an orthonormal basis of the columns, whatever their scale."""
    size = np.linalg.norm(fixed, axis=0)
    left, values, _ = np.linalg.svd(
        fixed / np.where(size > 0, size, 1), full_matrices=False
    )
    return left[:, values > 1e-10 * values[0]]


def _check_independent(
    x: np.ndarray, size: np.ndarray, names: tuple[str, ...]
) -> None:
    """Raises if a factor is a combination of the others and what is fixed."""
    for i, name in enumerate(names):
        others = np.delete(x, i, axis=1)
        left = x[:, i]
        if others.shape[1]:
            left = left - others @ np.linalg.lstsq(others, left)[0]
        if np.linalg.norm(left) <= _LEFT * size[i]:
            raise ValueError(
                f'factor "{name}" follows from the others; leave one out.'
            )
