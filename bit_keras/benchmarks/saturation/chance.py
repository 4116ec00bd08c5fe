"""Hulls of models as they would scatter around a law without e_IR.

Whether a hull needs e_IR at all is asked of hulls that were drawn without it.
"""

from collections.abc import Iterator

import numpy as np

from bit_keras.benchmarks.saturation.bootstrap import fitted_points
from bit_keras.benchmarks.saturation.hull import Part, upper_hull
from bit_keras.benchmarks.saturation.projection import solve


def losses_by_chance(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    law: np.ndarray,
    part: Part,
    densify: int | None,
    resamples: int,
    seed: int,
    *,
    bounded: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fits hulls of models as they would scatter around a law without e_IR.

    Each model is put as far behind that law as another, drawn anew, is behind
    the hull that was found; vertices, which are on it by being chosen, are not
    drawn. Models of one group get the distances of another group, in order
    from a random place on, so that what changes slowly along one training does
    so again, elsewhere.

    Args:
        x: Upstream errors, `(models,)`.
        y: Downstream errors, `(models,)`; one at least is behind the hull.
        groups: Group of each model, from 0 on, `(models,)`.
        law: Downstream errors without e_IR, `(models,)`.
        part: Of the hull.
        densify: Points along each hull; None: vertices.
        resamples: Number of hulls.
        seed: Of the draw.
        bounded: Whether e_IR is at most the lowest error fitted of each hull.

    Returns:
        The losses without e_IR and with it, and the number of vertices,
        `(resamples,)` each.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0.4, 1, 200)
    >>> without, best, vertices = losses_by_chance(
    ...     x, 0.8 * x + rng.exponential(0.03, 200), np.arange(200), 0.8 * x,
    ...     "full", None, 20, seed=0, bounded=True)
    >>> bool((without >= best).all()), vertices.shape
    (True, (20,))
    """
    rng = np.random.default_rng(seed)
    hull = upper_hull(1 - x, 1 - y)
    behind = np.maximum(y - 1 + np.interp(1 - x, hull.x, hull.y), 0)
    drawn = np.ones(len(x), bool)
    drawn[hull.indices] = False
    redrawn = _redrawn(rng, resamples, behind, drawn, x, groups)
    hulls = [
        upper_hull(1 - x, 1 - np.minimum(law + distances, 1), part)
        for distances in redrawn
    ]
    vertices = np.array([len(hull.x) for hull in hulls])
    points, lowest = fitted_points(
        np.repeat(np.arange(resamples), vertices),
        1 - np.concatenate([hull.x for hull in hulls]),
        1 - np.concatenate([hull.y for hull in hulls]),
        densify,
    )
    best = solve(*points, e_ir_max=lowest if bounded else 1.0)
    return solve(*points, e_ir_max=0.0).loss, best.loss, vertices


def _redrawn(rng, times, behind, drawn, x, groups) -> Iterator[np.ndarray]:
    """Gives the models of each group what those drawn of another have."""
    order = np.lexsort((x, groups))
    # Of each model, its place in its group, from 0 up to 1.
    own = groups[order]
    sizes = np.bincount(groups)
    place = (np.arange(len(x)) - (np.cumsum(sizes) - sizes)[own]) / sizes[own]
    given = order[drawn[order]]
    donors, sizes = np.unique(groups[given], return_counts=True)
    starts = np.cumsum(sizes) - sizes
    made = np.empty(len(x))
    for _ in range(times):
        donor = rng.integers(0, len(donors), own[-1] + 1)[own]
        turned = (place + rng.random(own[-1] + 1)[own]) % 1
        taken = starts[donor] + (turned * sizes[donor]).astype(int)
        made[order] = behind[given[taken]]
        yield made
