"""Refits of the law to resampled models, and the intervals they give.

A fit to all points is refitted to as many models drawn with replacement, or as
many groups of models where those in a group are not independent. The 95 %
interval is from the 2.5th to the 97.5th percentile of the refits; it holds the
parameters that the models scatter around.

That does not work for a hull. A drawn set always has its hull inside of the one
it was drawn from, and repeats of a vertex, most of a drawn set's, add nothing.
Hence a hull is refitted to random halves of the models, without repeats: half
of n drawn from n varies as n drawn from all there could be. Halves have less to
choose the best from, so the refits are taken both as they are and moved so that
their median is the fit, and the interval covers both. Where e_IR is held by the
lowest error, it varies as that does, by more than halves say: their lowest is
as often as not the same, and never lower. There the interval covers the mirror
image as well, and what refits give that let go of the bound.

What it holds is the median fit to the hulls of as many other models. The fit to
one such hull varies itself, and is inside less often. It knows nothing of how
far these hulls are from the law that models scatter around: too low by the luck
of the best, too high by what was not tried. No resampling tells the two apart.
"""

from collections.abc import Iterator

import numpy as np

from bit_keras.benchmarks.saturation.hull import Part
from bit_keras.benchmarks.saturation.hulls import upper_hulls
from bit_keras.benchmarks.saturation.projection import solve

# Numbers of a (resamples, models) array held at once.
_CHUNK = 4_000_000


def refit_points(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """Fits the law to points of models, or groups of them, drawn anew.

    Args:
        x: Upstream errors, `(models,)`.
        y: Downstream errors, `(models,)`.
        groups: Group of each model, from 0 on, `(models,)`.
        resamples: Number of refits.
        seed: Of the draw.

    Returns:
        k, alpha and e_IR, `(resamples, 3)`.

    Example:

    >>> x = np.linspace(0.4, 1, 50)
    >>> refits = refit_points(x, 0.8 * x**3 + 0.1, np.arange(50), 20, seed=0)
    >>> bool(np.ptp(refits, axis=0).max() < 1e-6)
    True
    """
    rng = np.random.default_rng(seed)
    count = groups.max() + 1
    found = []
    for size in _chunks(resamples, len(x)):
        times = np.empty((size, count))
        drawn = rng.integers(0, count, times.shape)
        for row, chosen in zip(times, drawn, strict=True):
            row[:] = np.bincount(chosen, minlength=count)
        # Where each model is a group, it does not matter which is which.
        weights = times if count == len(x) else times[:, groups]
        fit = solve(x, y, weights)
        found.append(np.stack([fit.k, fit.alpha, fit.e_ir], axis=1))
    return np.concatenate(found)


def refit_hulls(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    part: Part,
    densify: int | None,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the law to the hulls of random halves of the models.

    Args:
        x: Upstream errors, `(models,)`.
        y: Downstream errors, `(models,)`.
        groups: Group of each model, from 0 on, `(models,)`.
        part: Of the hull.
        densify: Points along the whole hull, of which a refit has those within
            its own; None: vertices.
        resamples: Number of refits.
        seed: Of the draw.

    Returns:
        k, alpha and e_IR, `(resamples, 3)`: with e_IR at most the lowest error
        fitted of each hull, and with e_IR up to 1.

    Example:

    >>> x = np.linspace(0.4, 1, 50)
    >>> refits, released = refit_hulls(
    ...     x, 0.8 * x**3 + 0.1, np.arange(50), "full", None, 20, seed=0)
    >>> bool(np.ptp(refits, axis=0).max() < 1e-6), released.shape
    (True, (20, 3))
    """
    rng = np.random.default_rng(seed)
    count = groups.max() + 1
    found: tuple[list, list] = [], []
    for size in _chunks(resamples, len(x)):
        chosen = _halves(rng, size, count)
        rows, indices = upper_hulls(1 - x, 1 - y, chosen[:, groups], part)
        points, lowest = fitted_points(rows, x[indices], y[indices], densify)
        for fits, e_ir_max in zip(found, (lowest, 1.0), strict=True):
            fit = solve(*points, e_ir_max=e_ir_max)
            fits.append(np.stack([fit.k, fit.alpha, fit.e_ir], axis=1))
    return np.concatenate(found[0]), np.concatenate(found[1])


def percentiles(
    refits: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the middle `level` of the refits, along axis 0.

    >>> low, high = percentiles(np.arange(101.0), 0.5)
    >>> float(low), float(high)
    (25.0, 75.0)
    """
    tail = (1 - level) / 2
    low, high = np.quantile(refits, [tail, 1 - tail], axis=0)
    return low, high


def around(
    estimate: np.ndarray,
    refits: np.ndarray,
    level: float,
    *,
    mirrored: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns an interval that covers the refits and the same, moved.

    They are moved so that their median is the estimate; nothing below zero is
    covered.

    Args:
        estimate: Of all models, `(...)`.
        refits: Of halves of them, `(resamples, ...)`.
        level: How much of the refits is inside.
        mirrored: Whether their mirror image at the estimate is covered as well.

    Example:

    >>> refits = np.linspace(0.25, 0.35, 101)
    >>> low, high = around(0.2, refits, 0.9)
    >>> round(float(low), 3), round(float(high), 3)
    (0.155, 0.345)
    >>> low, high = around(0.2, refits, 0.9, mirrored=True)
    >>> round(float(low), 3), round(float(high), 3)
    (0.055, 0.345)
    """
    low, high = percentiles(refits, level)
    shift = estimate - np.median(refits, axis=0)
    low, high = np.minimum(low, low + shift), np.maximum(high, high + shift)
    if mirrored:
        opposite = 2 * estimate - high, 2 * estimate - low
        low, high = np.minimum(low, opposite[0]), np.maximum(high, opposite[1])
    return np.maximum(low, 0), high


def _chunks(resamples: int, models: int) -> Iterator[int]:
    size = max(1, _CHUNK // models)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _halves(rng, size, count):
    """Tosses a coin for each of `count`, till it is neither all nor none."""
    chosen = rng.random((size, count)) < 0.5
    while (same := chosen.all(axis=1) | ~chosen.any(axis=1)).any():
        chosen[same] = rng.random((same.sum(), count)) < 0.5
    return chosen


def fitted_points(
    rows: np.ndarray, x: np.ndarray, y: np.ndarray, densify: int | None
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Returns what is fitted of hulls of these vertices, and its lowest errors.

    Args:
        rows: Hull of each vertex, from 0 on and sorted, `(vertices,)`.
        x: Upstream errors, falling along a hull, `(vertices,)`.
        y: Downstream errors, `(vertices,)`.
        densify: Points along the hulls; None: their vertices.

    Returns:
        Upstream errors, downstream errors and weights as `solve` takes them,
        and `(hulls,)`.

    Example:

    >>> rows, x, y = [0, 0, 1], np.array([0.9, 0.5, 0.5]), np.ones(3) / 2
    >>> points, lowest = fitted_points(np.array(rows), x, y, None)
    >>> points[2].tolist(), lowest.tolist()
    ([[1.0, 1.0], [1.0, 0.0]], [0.5, 0.5])
    """
    if densify is None:
        points = _side_by_side(rows, x, y)
    else:
        points = _along(rows, x, y, np.linspace(x.max(), x.min(), densify))
    _, heights, weights = points
    return points, np.where(weights > 0, heights, 1).min(axis=1)


def _side_by_side(rows, x, y):
    """Returns all upstream errors, and of each hull those that it has."""
    columns, places = np.unique(x, return_inverse=True)
    heights = np.full((rows[-1] + 1, len(columns)), y.mean())
    heights[rows, places] = y
    weights = np.zeros_like(heights)
    weights[rows, places] = 1
    return columns, heights, weights


def _along(rows, x, y, grid):
    """Returns a grid, all hulls' heights on it, and where they have any."""
    count = rows[-1] + 1
    heights, inside = np.zeros((count, len(grid))), np.empty((count, len(grid)))
    starts = np.searchsorted(rows, np.arange(count + 1))
    for row in range(count):
        hull = slice(starts[row], starts[row + 1])
        # Upstream errors fall along a hull.
        up, down = x[hull][::-1], y[hull][::-1]
        heights[row] = np.interp(grid, up, down)
        inside[row] = (grid >= up[0]) & (grid <= up[-1])
    return grid, heights, inside
