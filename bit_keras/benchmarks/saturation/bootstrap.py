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
their median is the fit, and the interval covers both. What it holds is the fit
to the hull of another n models of the kind. It knows nothing of how far that
hull is from the best possible one: too low by what was not tried, too high by
the luck of the best. No resampling can tell these two apart.
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
) -> np.ndarray:
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
        k, alpha and e_IR, `(resamples, 3)`.

    Example:

    >>> x = np.linspace(0.4, 1, 50)
    >>> refits = refit_hulls(
    ...     x, 0.8 * x**3 + 0.1, np.arange(50), "full", None, 20, seed=0)
    >>> bool(np.ptp(refits, axis=0).max() < 1e-6)
    True
    """
    rng = np.random.default_rng(seed)
    count = groups.max() + 1
    found = []
    for size in _chunks(resamples, len(x)):
        chosen = _halves(rng, size, count)
        rows, indices = upper_hulls(1 - x, 1 - y, chosen[:, groups], part)
        if densify is None:
            columns, places = np.unique(indices, return_inverse=True)
            weights = np.zeros((size, len(columns)))
            weights[rows, places] = 1
            fit = solve(x[columns], y[columns], weights)
        else:
            grid = np.linspace(x[indices].max(), x[indices].min(), densify)
            fit = solve(grid, *_along(x, y, rows, indices, grid))
        found.append(np.stack([fit.k, fit.alpha, fit.e_ir], axis=1))
    return np.concatenate(found)


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
    estimate: np.ndarray, refits: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns an interval that covers the refits and the same, moved.

    They are moved so that their median is the estimate; nothing below zero is
    covered.

    Example:

    >>> low, high = around(0.2, np.linspace(0.25, 0.35, 101), 0.9)
    >>> round(float(low), 3), round(float(high), 3)
    (0.155, 0.345)
    """
    low, high = percentiles(refits, level)
    shift = estimate - np.median(refits, axis=0)
    low, high = np.minimum(low, low + shift), np.maximum(high, high + shift)
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


def _along(x, y, rows, indices, grid):
    """Returns the heights of all hulls on a grid, and where they have any."""
    count = rows[-1] + 1
    heights, inside = np.zeros((count, len(grid))), np.empty((count, len(grid)))
    ends = np.flatnonzero(np.diff(rows)) + 1
    for row, hull in enumerate(np.split(indices, ends)):
        # Upstream errors fall along a hull.
        heights[row] = np.interp(grid, x[hull][::-1], y[hull][::-1])
        inside[row] = (grid >= x[hull[-1]]) & (grid <= x[hull[0]])
    return heights, inside
