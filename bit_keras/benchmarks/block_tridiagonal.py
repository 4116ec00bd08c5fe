"""Symmetric matrices in block tridiagonal form, for many shifts of one matrix.

LAPACK's tridiagonal form (`dsytrd`) is reached at the pace of the memory, not
of the processor, and SciPy's wrapper of it keeps other threads waiting. Blocks
of 64 rows are reached by products of matrices; what solving then costs more is
little. All of it is NumPy, which lets other threads run.
"""

import dataclasses

import numpy as np
from numpy.typing import DTypeLike

# Rows of a block, and columns reflected at a time.
_BLOCK = 64
# Rows of the matrix that are updated at a time: their product stays in cache.
_ROWS = 128


class BlockTridiagonal:
    """`matrix = Q B Q'`: B is block tridiagonal, Q a product of reflections.

    Args:
        matrix: Symmetric float64 matrix `(n, n)` in C order; overwritten.

    Example:

    >>> matrix = np.diag(np.arange(1.0, 101))
    >>> form = BlockTridiagonal(matrix.copy())
    >>> rotated = form.rotate(np.ones((100, 1)), transpose=True)
    >>> solutions = form.factorize(np.array([0.0, 1.0])).solve(rotated)
    >>> form.rotate(solutions[1])[:3].ravel().round(6)
    array([0.5     , 0.333333, 0.25    ])
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self.size = len(matrix)
        self._reflections: list[tuple[int, np.ndarray, np.ndarray]] = []
        for start in range(_BLOCK, self.size, _BLOCK):
            v, t, r = _reflect(matrix[start:, start - _BLOCK : start])
            matrix[start : start + len(r), start - _BLOCK : start] = r
            _rotate_both_sides(matrix, start, v, t)
            if start // _BLOCK % 2:
                self._reflections.append((start, v, t))
            else:
                self._reflections.append(_join(self._reflections.pop(), v, t))
        self._blocks = [
            slice(start, min(start + _BLOCK, self.size))
            for start in range(0, self.size, _BLOCK)
        ]
        self._diagonal = [matrix[rows, rows].copy() for rows in self._blocks]
        self._below = [
            matrix[rows, rows.start - _BLOCK : rows.start].copy()
            for rows in self._blocks[1:]
        ]

    def multiply(self, matrix: np.ndarray) -> np.ndarray:
        """Returns `B @ matrix`, `(n, m)`."""
        out = np.empty_like(matrix)
        for rows, block in zip(self._blocks, self._diagonal, strict=True):
            out[rows] = block @ matrix[rows]
        pairs = zip(self._blocks, self._blocks[1:], strict=False)
        for (above, rows), block in zip(pairs, self._below, strict=True):
            out[rows] += block @ matrix[above]
            out[above] += block.T @ matrix[rows]
        return out

    def factorize(self, shifts: np.ndarray) -> "Factors":
        """Cholesky decompositions of `B + shift I`.

        Args:
            shifts: Shape `(k,)`; each makes the matrix positive definite.
        """
        below: list[np.ndarray] = []
        inverses: list[np.ndarray] = []
        for i, diagonal in enumerate(self._diagonal):
            left = diagonal + shifts[:, None, None] * np.eye(len(diagonal))
            if i:
                below.append(self._below[i - 1] @ inverses[-1].swapaxes(1, 2))
                left -= below[-1] @ below[-1].swapaxes(1, 2)
            inverses.append(_invert_lower(np.linalg.cholesky(left)))
        return Factors(inverses, below)

    def rotate(
        self,
        matrix: np.ndarray,
        transpose: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> np.ndarray:
        """Returns the product of Q, or of its transpose, and a matrix.

        Args:
            matrix: `(n, m)`.
            transpose: Whether to multiply with `Q'`.
            dtype: In which to compute.
        """
        out = np.array(matrix, dtype)
        steps = self._reflections if transpose else self._reflections[::-1]
        for start, v, t in steps:
            v = v.astype(dtype, copy=False)
            t = t.astype(dtype, copy=False)
            inner = (t.T if transpose else t) @ (v.T @ out[start:])
            out[start:] -= v @ inner
        return out


@dataclasses.dataclass(frozen=True)
class Factors:
    """Cholesky factors `L L' = B + shift I` of k shifts.

    Attributes:
        inverses: Of the diagonal blocks of L, each `(k, rows, rows)`. The
            inverse of a triangle loses no more digits than solving with it
            would; that of a block of B would lose twice as many.
        below: The blocks of L below these, each `(k, rows, columns)`.
    """

    inverses: list[np.ndarray]
    below: list[np.ndarray]

    def select(self, shifts: np.ndarray) -> "Factors":
        """Returns the factors of the shifts with these indices."""
        return Factors(
            [inverse[shifts] for inverse in self.inverses],
            [block[shifts] for block in self.below],
        )

    def solve(self, targets: np.ndarray) -> np.ndarray:
        """Solves `(B + shift I) x = targets`, `(n, m)`: returns `(k, n, m)`."""
        out = np.empty((len(self.inverses[0]), *targets.shape))
        out[:] = targets
        stops = np.cumsum([inverse.shape[1] for inverse in self.inverses])
        blocks = np.split(out, stops[:-1], axis=1)  # views
        for i, inverse in enumerate(self.inverses):
            if i:
                blocks[i] -= self.below[i - 1] @ blocks[i - 1]
            blocks[i][:] = inverse @ blocks[i]
        for i, inverse in reversed(list(enumerate(self.inverses))):
            if i + 1 < len(blocks):
                blocks[i] -= self.below[i].swapaxes(1, 2) @ blocks[i + 1]
            blocks[i][:] = inverse.swapaxes(1, 2) @ blocks[i]
        return out


def _invert_lower(matrix: np.ndarray) -> np.ndarray:
    """Inverts lower triangles `(k, n, n)`.

    By halves, for products are what processors are fast at.
    """
    half = matrix.shape[-1] // 2
    if half < 8:
        return np.tril(np.linalg.inv(matrix))
    out = np.zeros_like(matrix)
    out[:, :half, :half] = first = _invert_lower(matrix[:, :half, :half])
    out[:, half:, half:] = last = _invert_lower(matrix[:, half:, half:])
    out[:, half:, :half] = -last @ matrix[:, half:, :half] @ first
    return out


def _reflect(panel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns V, T and R of `panel = (I - V T V') [R; 0]`.

    The product of b reflections in the form of Schreiber and Van Loan (A
    storage-efficient WY representation, 1989).
    """
    packed, tau = np.linalg.qr(panel, mode="raw")
    packed = packed.T
    v = np.tril(packed[:, : len(tau)], -1)
    np.fill_diagonal(v, 1.0)
    # Nothing to reflect: the column is zero below its first row.
    idle = tau == 0
    v[:, idle] = 0
    inverse = np.triu(v.T @ v, 1) + np.diag(1 / np.where(idle, 1, tau))
    return v, np.linalg.inv(inverse), np.triu(packed[: len(tau)])


def _join(
    before: tuple[int, np.ndarray, np.ndarray], v: np.ndarray, t: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Returns V and T of two products of reflections, one after the other.

    Twice as wide, they pass over a matrix half as often.
    """
    start, v0, t0 = before
    rows = len(v0) - len(v)
    both = np.hstack([v0, np.vstack([np.zeros((rows, v.shape[1])), v])])
    corner = -t0 @ (v0[rows:].T @ v) @ t
    return start, both, np.block([[t0, corner], [np.zeros(corner.T.shape), t]])


def _rotate_both_sides(
    matrix: np.ndarray, start: int, v: np.ndarray, t: np.ndarray
) -> None:
    """Replaces the rest A of a matrix by `(I - V T' V') A (I - V T V')`.

    The lower triangle only, and what of the upper lies in the same `_ROWS`
    rows: `A - V W' - W V'` with `W = A V T - V T' V' A V T / 2`.
    """
    edges = [start, *range(start - start % _ROWS + _ROWS, len(matrix), _ROWS)]
    parts = [
        (slice(a, b), slice(a - start, b - start), slice(0, b - start))
        for a, b in zip(edges, [*edges[1:], len(matrix)], strict=True)
    ]
    vt = v @ t
    w = np.zeros_like(v)
    for rows, own, upto in parts:
        part = matrix[rows, start : rows.stop]
        w[own] += part @ vt[upto]
        w[: own.start] += part[:, : own.start].T @ vt[own]
    w -= v @ (t.T @ (v.T @ w)) / 2
    left, right = np.hstack([v, w]), np.hstack([w, v])
    for rows, own, upto in parts:
        matrix[rows, start : rows.stop] -= left[own] @ right[upto].T
