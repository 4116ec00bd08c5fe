"""The upper convex hull of models: the best that is reached at each accuracy.

Lemma 2.1 of arXiv 2110.02095: answering each input by model j with probability
p_j gives the accuracies `sum_j p_j (upstream_j, downstream_j)`, so any point
between two models can be had by mixing them. What no mixture exceeds is the
upper hull; its vertices are the best models.
"""

import dataclasses
from typing import Literal

import numpy as np

Part = Literal["full", "rising"]
PARTS = ("full", "rising")
# Directions whose farthest points rule out most others before sorting.
_DIRECTIONS = 32
# Passes over all points at once, before going one by one.
_PASSES = 40


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Two models that are drawn from, anew for each input.

    Attributes:
        indices: Positions of both models in the points given.
        probabilities: How often each answers; they sum to one.
        downstream_accuracy: The accuracy of the mixture.
    """

    indices: tuple[int, int]
    probabilities: tuple[float, float]
    downstream_accuracy: float


@dataclasses.dataclass(frozen=True)
class Hull:
    """Vertices of an upper hull, from the lowest upstream accuracy on.

    Attributes:
        indices: Positions of the vertices in the points given, `(vertices,)`.
        x: Upstream accuracy of the vertices, strictly increasing.
        y: Downstream accuracy of the vertices.
        part: "full" or "rising".
    """

    indices: np.ndarray
    x: np.ndarray
    y: np.ndarray
    part: Part

    def mixture(self, upstream_accuracy: float) -> Mixture:
        """Returns the mixture that lies on the hull at an upstream accuracy.

        Raises:
            ValueError: If the hull does not reach there.

        Example:

        >>> hull = upper_hull([0.2, 0.3, 0.6], [0.1, 0.1, 0.5])
        >>> mixture = hull.mixture(0.3)
        >>> mixture.indices, np.round(mixture.probabilities, 3)
        ((0, 2), array([0.75, 0.25]))
        >>> round(mixture.downstream_accuracy, 3)
        0.2
        """
        if not self.x[0] <= upstream_accuracy <= self.x[-1]:
            raise ValueError(
                f"upstream_accuracy must be from {self.x[0]:g} to "
                f"{self.x[-1]:g}, where the hull is; got {upstream_accuracy:g}."
            )
        right = int(np.searchsorted(self.x, upstream_accuracy))
        left = max(right - 1, 0)
        width = self.x[right] - self.x[left]
        share = (upstream_accuracy - self.x[left]) / width if width else 1.0
        return Mixture(
            indices=(int(self.indices[left]), int(self.indices[right])),
            probabilities=(float(1 - share), float(share)),
            downstream_accuracy=float(
                (1 - share) * self.y[left] + share * self.y[right]
            ),
        )

    def densify(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns points along the edges, evenly spaced in upstream accuracy.

        Args:
            points: How many, the two ends included.

        Returns:
            Upstream and downstream accuracies, `(points,)` each.
        """
        x = np.linspace(self.x[0], self.x[-1], points)
        return x, np.interp(x, self.x, self.y)


def upper_hull(
    upstream_accuracy: np.ndarray,
    downstream_accuracy: np.ndarray,
    part: Part = "full",
) -> Hull:
    """Returns the upper convex hull, without points inside of its edges.

    It starts at the lowest upstream accuracy, at the best model there, and ends
    at the highest ("full") or at the best downstream accuracy ("rising"). A
    full hull thus has a falling tail where the model that is best downstream is
    not the best upstream. Of models with equal accuracies the first counts.

    Args:
        upstream_accuracy: `(models,)`.
        downstream_accuracy: `(models,)`.
        part: "full" or "rising".

    Raises:
        ValueError: If the arrays differ in shape, are empty or not finite, or
            `part` is another.

    Example:

    >>> x, y = [0.1, 0.2, 0.3, 0.5, 0.6], [0.2, 0.4, 0.3, 0.7, 0.6]
    >>> upper_hull(x, y).indices
    array([0, 1, 3, 4])
    >>> upper_hull(x, y, part="rising").indices
    array([0, 1, 3])
    """
    if part not in PARTS:
        raise ValueError(f"part must be 'full' or 'rising'; got {part!r}.")
    x = np.asarray(upstream_accuracy, float)
    y = np.asarray(downstream_accuracy, float)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            "upstream_accuracy and downstream_accuracy must be two lists of "
            f"one length, not empty; got shapes {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            "accuracies must be finite; drop the models where one is missing."
        )
    near = _not_far_below(x, y)
    order = near[np.lexsort((-y[near], x[near]))]
    first = np.append(True, np.diff(x[order]) > 0)
    order = order[first]
    rows = np.zeros(len(order), int)
    indices = order[concave_chains(x[order], y[order], rows)]
    if part == "rising":
        indices = indices[: np.argmax(y[indices]) + 1]
    return Hull(indices, x[indices], y[indices], part)


def _not_far_below(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the indices of points that may be on the hull."""
    if len(x) < 1000:
        return np.arange(len(x))
    spans = np.ptp(x) or 1.0, np.ptp(y) or 1.0
    farthest = {x.argmin(), x.argmax()}
    for angle in np.linspace(0, np.pi, _DIRECTIONS):
        reach = np.cos(angle) / spans[0] * x + np.sin(angle) / spans[1] * y
        farthest.add(reach.argmax())
    corners = sorted(farthest, key=lambda i: (x[i], y[i]))
    # A hair lower, so that rounding drops no point of the chain itself.
    chain = np.interp(x, x[corners], y[corners]) - 1e-9 * spans[1]
    return np.flatnonzero(y >= chain)


def concave_chains(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Returns the positions of the hull of each row, of points sorted by x.

    A point that is not above the line through its neighbours is no vertex,
    whatever else is dropped with it; when none is left, the rest is the hull.
    """
    kept = np.arange(len(x))
    for _ in range(_PASSES):
        a, b, c = kept[:-2], kept[1:-1], kept[2:]
        keep = np.ones(len(kept), bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            keep[1:-1] = _above(x[a], y[a], x[b], y[b], x[c], y[c])
        keep[1:-1] |= rows[a] != rows[c]
        if keep.all():
            return kept
        kept = kept[keep]
    # A point that towers over the end of a long chain: one by one.
    chain: list[int] = []
    start = 0
    for i in kept:
        if chain and rows[chain[-1]] != rows[i]:
            start = len(chain)
        while len(chain) > start + 1:
            a, b = chain[-2:]
            if _above(x[a], y[a], x[b], y[b], x[i], y[i]):
                break
            chain.pop()
        chain.append(int(i))
    return np.array(chain)


def _above(ax, ay, bx, by, cx, cy):
    """Whether b is above the line from a to c by more than rounding."""
    height = (by - ay) - (cy - ay) * ((bx - ax) / (cx - ax))
    return height > 4e-16 * (abs(ay) + abs(by) + abs(cy))
