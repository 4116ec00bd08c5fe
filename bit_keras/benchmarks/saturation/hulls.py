"""The upper hulls of many subsets of the same models, for resampling."""

import numpy as np

from bit_keras.benchmarks.saturation.hull import (
    Part,
    concave_chains,
    upper_hull,
)

# A subset's hull is nearly always among the points of the outermost hulls of
# all, peeled off one by one; whether it is, is checked.
_LAYERS = 10


def upper_hulls(
    x: np.ndarray, y: np.ndarray, members: np.ndarray, part: Part = "full"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the upper hull of each subset, as `upper_hull` would.

    Args:
        x: Upstream accuracy, `(points,)`.
        y: Downstream accuracy, `(points,)`.
        members: Which points each subset has, `(subsets, points)`, bool; one
            at least.
        part: "full" or "rising".

    Returns:
        The subset and the index of each vertex, in order, `(vertices,)` each.

    Example:

    >>> x, y = np.array([0.1, 0.2, 0.4]), np.array([0.1, 0.3, 0.4])
    >>> upper_hulls(x, y, np.array([[True, True, True], [True, False, True]]))
    (array([0, 0, 0, 1, 1]), array([0, 1, 2, 0, 2]))
    """
    order = np.lexsort((-y, x))
    outer, inner = _peel(x, y, order)
    rows, indices = _chains(x, y, outer, members)
    if len(inner):
        unsure = _reach_beyond(x, y, rows, indices, inner, len(members))
        again, others = _chains(x, y, order, members[unsure])
        sure = ~np.isin(rows, unsure)
        rows = np.concatenate([rows[sure], unsure[again]])
        indices = np.concatenate([indices[sure], others])
        by_row = np.argsort(rows, kind="stable")
        rows, indices = rows[by_row], indices[by_row]
    if part == "full":
        return rows, indices
    # A concave chain that no longer rises does not rise again.
    falls = (np.diff(rows) == 0) & (np.diff(y[indices]) <= 0)
    rising = np.append(True, ~falls)
    return rows[rising], indices[rising]


def _peel(
    x: np.ndarray, y: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points of the outer hulls, in order, and the next hull."""
    rest, peeled = order, []
    for _ in range(_LAYERS):
        if not len(rest):
            break
        layer = upper_hull(x[rest], y[rest]).indices
        peeled.append(rest[layer])
        rest = np.delete(rest, layer)
    outer = order[np.isin(order, np.concatenate(peeled))]
    if len(rest):
        rest = rest[upper_hull(x[rest], y[rest]).indices]
    return outer, rest


def _chains(
    x: np.ndarray, y: np.ndarray, order: np.ndarray, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and indices of the hulls of the members among `order`."""
    rows, places = np.nonzero(members[:, order])
    indices = order[places]
    again = (np.diff(rows) == 0) & (np.diff(x[indices]) == 0)
    first = np.append(True, ~again)[: len(rows)]
    rows, indices = rows[first], indices[first]
    kept = concave_chains(x[indices], y[indices], rows)
    return rows[kept], indices[kept]


def _reach_beyond(
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    indices: np.ndarray,
    inner: np.ndarray,
    count: int,
) -> np.ndarray:
    """Returns the rows whose hull the inner points may reach beyond."""
    unsure = np.ones(count, bool)
    starts = np.searchsorted(rows, np.arange(count + 1))
    for row in np.unique(rows):
        hull = indices[starts[row] : starts[row + 1]]
        # -inf where there is no hull.
        height = np.interp(x[inner], x[hull], y[hull], -np.inf, -np.inf)
        unsure[row] = (y[inner] > height).any()
    return np.flatnonzero(unsure)
