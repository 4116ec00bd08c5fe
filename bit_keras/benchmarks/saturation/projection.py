"""Least squares of `y = k x^alpha + e_IR`, for many weightings at once.

For a fixed alpha the law is linear in k and e_IR, so the best of them is known
in closed form, bounds included, from a few weighted sums. What is left is a
function of alpha alone, which is looked at over its whole range: no start
values, no local optimum. The sums are smooth in log alpha, so they are taken at
Chebyshev points, by one matrix product for all weightings, and interpolated to
rounding error between them.
"""

import dataclasses

import numpy as np
from numpy.polynomial.chebyshev import chebder
from scipy.optimize.elementwise import find_root

# Published fits have alpha from 0.9 to 13 (saturation.md 3 and 8.1).
ALPHA_BOUNDS = (0.05, 50.0)
# Interpolates x^alpha over that range to 1e-12 for all x in [0, 1].
_DEGREE = 64
# Numbers held at once while sums over many points are taken.
_CHUNK = 8_000_000


@dataclasses.dataclass(frozen=True)
class Solution:
    """The least-squares parameters for each of the weightings.

    Attributes:
        k: Factor of the law, `(weightings,)`.
        alpha: Exponent of the law, `(weightings,)`.
        e_ir: Irreducible error, `(weightings,)`.
        loss: Weighted sum of squared residuals, `(weightings,)`.
    """

    k: np.ndarray
    alpha: np.ndarray
    e_ir: np.ndarray
    loss: np.ndarray


def solve(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    e_ir_max: float | np.ndarray = 1.0,
    alpha_bounds: tuple[float, float] = ALPHA_BOUNDS,
) -> Solution:
    """Returns the global optimum, with k >= 0, for each row of weights.

    Args:
        x: Upstream errors, `(points,)`; not negative, not all zero.
        y: Downstream errors, `(points,)`, or `(weightings, points)`.
        weights: Not negative, `(weightings, points)`; None: one row of ones.
        e_ir_max: Largest e_IR, one or `(weightings,)`; the least is 0.
        alpha_bounds: Least and largest alpha.

    Example:

    >>> x = np.linspace(0.4, 1, 50)
    >>> found = solve(x, 0.8 * x**3 + 0.1)
    >>> found.k.round(6), found.alpha.round(6), found.e_ir.round(6)
    (array([0.8]), array([3.]), array([0.1]))
    """
    x = np.asarray(x, float)
    y = np.atleast_2d(np.asarray(y, float))
    if weights is None:
        weights = np.ones((len(y), len(x)))
    e_ir_max = np.broadcast_to(e_ir_max, len(weights))
    # In units of the largest x, powers neither overflow nor vanish; with the
    # mean of y taken off, the sums of squares lose no digits.
    scale, shift = x.max(), y.mean()
    profile = _Profile.take(
        x / scale,
        y - shift,
        weights,
        (-shift, e_ir_max - shift),
        np.log(alpha_bounds),
    )
    u = profile.minimum()
    k, e_ir, loss, _ = profile.at(u, np.arange(len(u)))
    alpha = profile.alpha(u)
    # Rounding leaves e_IR a hair outside of a bound that it is shifted back to.
    e_ir = np.clip(e_ir + shift, 0, e_ir_max)
    return Solution(k / scale**alpha, alpha, e_ir, np.maximum(loss, 0))


@dataclasses.dataclass(frozen=True)
class _Profile:
    """The smallest loss at each alpha; u in [-1, 1] stands for log alpha."""

    # (3, weightings, degree): Chebyshev series of the weighted sums over the
    # points of z, of z^2 and of z y, where z = x^alpha.
    series: np.ndarray
    # The same of their derivatives by u.
    slopes: np.ndarray
    # (3, weightings): weighted sums of 1, y and y^2.
    totals: np.ndarray
    # The least, and the largest of each row.
    e_bounds: tuple[float, np.ndarray]
    log_alpha: tuple[float, float]

    @classmethod
    def take(cls, x, y, weights, e_bounds, log_alpha):
        """Takes the sums over the points."""
        angles = _angles()
        with np.errstate(divide="ignore"):
            log_x = np.log(x)
        alphas = _alpha(np.cos(angles), log_alpha)
        sums = np.zeros((3, len(weights), _DEGREE))
        step = max(1, _CHUNK // (3 * _DEGREE + len(weights)))
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            w, z = weights[:, part], np.exp(log_x[part, None] * alphas)
            sums[0] += w @ z
            if len(y) == 1:
                sums[2] += w @ (y[0, part, None] * z)
            else:
                sums[2] += (w * y[:, part]) @ z
            sums[1] += w @ np.square(z, out=z)
        to_series = np.cos(np.outer(angles, np.arange(_DEGREE))) * 2 / _DEGREE
        to_series[:, 0] /= 2
        if len(y) == 1:
            of_y = [weights @ y[0], weights @ y[0] ** 2]
        else:
            of_y = [(weights * y).sum(1), (weights * y**2).sum(1)]
        totals = np.stack([weights.sum(axis=1), *of_y])
        series = sums @ to_series
        # Of the derivatives of the Chebyshev polynomials; the last is 0.
        to_slopes = np.zeros((_DEGREE, _DEGREE))
        to_slopes[:, :-1] = chebder(np.eye(_DEGREE)).T
        return cls(series, series @ to_slopes, totals, e_bounds, log_alpha)

    def alpha(self, u):
        return _alpha(u, self.log_alpha)

    def at(self, u, rows):
        """Returns k, e_IR, the loss and its slope in u, for pairs of both."""
        theta = np.arccos(np.clip(u, -1, 1))[:, None]
        basis = np.cos(np.arange(_DEGREE) * theta)
        sums = np.einsum("srd,rd->sr", self.series[:, rows], basis)
        slopes = np.einsum("srd,rd->sr", self.slopes[:, rows], basis)
        dz, dzz, dzy = slopes
        low, high = self.e_bounds
        k, e, loss = _best(sums, self.totals[:, rows], low, high[rows])
        # The envelope theorem: k and e_IR may be held while alpha moves.
        return k, e, loss, k * (k * dzz + 2 * (e * dz - dzy))

    def minimum(self):
        """Returns the u of the smallest loss of each row."""
        angles = np.concatenate([[0], _angles(), [np.pi]])
        nodes = np.cos(angles)
        sums = self.series @ np.cos(np.outer(np.arange(_DEGREE), angles))
        low, high = self.e_bounds
        grid = _best(sums, self.totals[..., None], low, high[:, None])[2]
        best = grid.argmin(axis=1)
        found = find_root(
            lambda u, row: self.at(u, row)[3],
            (
                nodes[np.minimum(best + 1, len(nodes) - 1)],
                nodes[np.maximum(best - 1, 0)],
            ),
            args=(np.arange(len(best)),),
            tolerances={"xatol": 1e-13},
        )
        # No change of sign: the optimum is a bound of alpha, or k is 0.
        return np.where(found.success, found.x, nodes[best])


def _angles():
    return (np.arange(_DEGREE) + 0.5) * np.pi / _DEGREE


def _alpha(u, log_alpha):
    low, high = log_alpha
    return np.exp(low + (u + 1) / 2 * (high - low))


def _best(sums, totals, low, high):
    """Returns k >= 0, e in [low, high] of least loss, and the loss."""
    z, zz, zy = sums
    n, y, yy = totals
    with np.errstate(divide="ignore", invalid="ignore"):
        k = (n * zy - z * y) / (n * zz - z * z)
        e = (y - k * z) / n
        inside = (k >= 0) & (e >= low) & (e <= high)
        # Otherwise the best is on one of the three edges of the region.
        at_low = np.maximum((zy - low * z) / zz, 0)
        at_high = np.maximum((zy - high * z) / zz, 0)
    flat = np.clip(y / n, low, high)

    def loss(k, e):
        return yy + k * (k * zz + 2 * (e * z - zy)) + e * (n * e - 2 * y)

    def better(one, other):
        first = loss(*one) <= loss(*other)
        return tuple(
            np.where(first, a, b) for a, b in zip(one, other, strict=True)
        )

    zero = np.zeros_like(zy)
    edge = better((at_low, zero + low), (at_high, zero + high))
    edge = better(edge, (zero, zero + flat))
    k, e = np.where(inside, k, edge[0]), np.where(inside, e, edge[1])
    return k, e, loss(k, e)
