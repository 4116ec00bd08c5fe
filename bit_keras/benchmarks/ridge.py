"""Ridge regression for many penalties at the price of few."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import DTypeLike
from scipy import linalg

from bit_keras.benchmarks.block_tridiagonal import BlockTridiagonal, Factors

# Error of a solution relative to its norm that float32 predictions do not see.
_TOLERANCE = 1e-6
# Solutions are rotated back in groups of about so many columns.
_COLUMNS = 2048
# Random right-hand sides by which the penalties are compared.
_PROBES = 4


def solve_path(
    gram: np.ndarray,
    targets: np.ndarray,
    l2: np.ndarray,
) -> tuple[np.ndarray, Callable[[DTypeLike], Iterator[np.ndarray]]]:
    """Solves `(gram + l2 I) x = targets` for every `l2` at once.

    The solutions of neighbouring penalties are almost linearly dependent: over
    the 30 powers of two from 2^-10 to 2^19, some 8 to 20 directions span all of
    them to a relative 1e-6. Only these are computed, with the matrix that mixes
    them. Predictions are linear in the solution, so they mix in the same way
    and cost as much less. The first directions carry the most: the mixture of
    a few is near that of all, and what is missing is known.

    One reduction of `gram` to block tridiagonal form serves all penalties. It
    takes less time than an eigendecomposition by so much that float64 is
    affordable, and needed: in float32 the eigenvalues are off by 1e-7 of the
    largest, which for thousands of images and features is no longer small
    beside penalties below 1.

    Args:
        gram: Symmetric positive semi-definite float64 matrix `(n, n)`;
            overwritten.
        targets: Right-hand sides, float64 `(n, m)`, in the range of `gram`.
        l2: Penalties, shape `(k,)`, all positive.

    Returns:
        `mix`, float64 `(k, p)`, and a function. It takes the precision in which
        directions, found in float64, are rotated back and returned, and yields
        the p directions of some of the right-hand sides at a time, in arrays
        `(n, p, some)`. The solution of `l2[i]` is the sum over j of
        `mix[i, j]` times the j-th.

    Example:

    >>> gram, targets = np.diag([1.0, 4.0]), np.array([[1.0], [1.0]])
    >>> mix, directions = solve_path(gram, targets, np.array([1.0, 4.0, 8.0]))
    >>> (next(directions(np.float64))[..., 0] @ mix.T).round(6)
    array([[0.5     , 0.2     , 0.111111],
           [0.2     , 0.125   , 0.083333]])
    """
    form = BlockTridiagonal(gram)
    factors = form.factorize(l2)
    nodes, transform, mix = _independent(_sketch(form, factors))
    chosen = factors.select(nodes)

    def directions(dtype: DTypeLike) -> Iterator[np.ndarray]:
        n, p = len(targets), len(nodes)
        rotated = form.rotate(targets, transpose=True)
        group = max(1, _COLUMNS // p)
        for start in range(0, rotated.shape[1], group):
            found = chosen.solve(rotated[:, start : start + group])
            found = transform.T @ found.transpose(1, 0, 2)
            back = form.rotate(found.reshape(n, -1), dtype=dtype)
            yield back.reshape(n, p, -1)

    return mix, directions


def _sketch(form: BlockTridiagonal, factors: Factors) -> np.ndarray:
    """Solves a random problem for each penalty; `(k, numbers)`.

    The components of each are what ridge keeps of all directions of the fit,
    times random factors of variance 1.
    """
    fit = np.random.default_rng(0).standard_normal((form.size, _PROBES))
    solved = factors.solve(form.multiply(fit))
    return solved.reshape(len(solved), -1)


def _independent(
    solved: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picks penalties whose solutions span those of all.

    The pivoted QR decomposition picks them until the rest are combinations.

    Returns:
        Indices of the penalties chosen, `(p,)`; the matrix `(p, p)` that turns
        their solutions into orthogonal directions, for solutions like those
        given of length 1; and the mixture of these for all penalties,
        `(k, p)`, of which column j is at most about as large as its row j.
    """
    k, numbers = solved.shape
    norm = np.linalg.norm(solved, axis=1)
    if not norm.all():  # gram is zero, and so are the solutions
        return np.array([0]), np.eye(1), np.ones((k, 1))
    # Twice: SciPy's, which pivots, then has a small matrix only.
    small = np.linalg.qr((solved / norm[:, None]).T, mode="r")
    r, pivots = linalg.qr(small, mode="r", pivoting=True)
    size = abs(np.diagonal(r))
    rank = int((size > _TOLERANCE).sum())
    nodes = pivots[:rank]
    transform = linalg.solve_triangular(r[:rank, :rank], np.eye(rank))
    mix = np.empty((k, rank))
    mix[pivots] = r[:rank].T
    return nodes, transform / norm[nodes, None], mix * norm[:, None]
