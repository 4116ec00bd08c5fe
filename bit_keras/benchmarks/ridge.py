"""Ridge regression for many penalties at the price of few."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike
from scipy import linalg
from scipy.linalg import lapack

# Error of a solution relative to its norm that float32 predictions do not see.
_TOLERANCE = 1e-6
# Solutions are rotated back in groups of about so many columns.
_COLUMNS = 2048
# Width of the panels that LAPACK works in.
_PANEL = 64


def solve_path(
    gram: np.ndarray,
    targets: np.ndarray,
    l2: np.ndarray,
    dtype: DTypeLike = np.float64,
) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Solves `(gram + l2 I) x = targets` for every `l2` at once.

    The solutions of neighbouring penalties are almost linearly dependent: over
    the 30 powers of two from 2^-10 to 2^19, some 8 to 20 solutions span all of
    them to a relative 1e-6. Only these are computed, with the matrix that mixes
    them into the rest. Predictions are linear in the solution, so they mix in
    the same way and cost as much less.

    Instead of an eigendecomposition, one reduction `gram = Q T Q'` to
    tridiagonal form serves all penalties (`T + l2 I` is solved in linear time).
    It takes less than half the time, so float64 is affordable, and needed: in
    float32 the eigenvalues are off by 1e-7 of the largest, which for thousands
    of images and features is no longer small beside penalties below 1.

    Args:
        gram: Symmetric positive semi-definite float64 matrix `(n, n)`;
            overwritten.
        targets: Right-hand sides, float64 `(n, m)`.
        l2: Penalties, shape `(k,)`, all positive.
        dtype: Precision in which the solutions, found in float64, are rotated
            back and returned.

    Returns:
        `mix`, float64 `(k, p)`, and an iterator over p solutions side by side,
        in arrays of shape `(n, some * m)`: the solution of `l2[i]` is the sum
        over j of `mix[i, j]` times the j-th.

    Example:

    >>> gram, targets = np.diag([1.0, 4.0]), np.array([[1.0], [1.0]])
    >>> mix, solutions = solve_path(gram, targets, np.array([1.0, 4.0, 8.0]))
    >>> (np.hstack(list(solutions)) @ mix.T).round(6)
    array([[0.5     , 0.2     , 0.111111],
           [0.2     , 0.125   , 0.083333]])
    """
    form = _Tridiagonal(gram)
    nodes, mix = _independent(form.eigenvalues(), l2)

    def solutions() -> Iterator[np.ndarray]:
        rotated = form.rotate(targets, "T")
        group = max(1, _COLUMNS // targets.shape[1])
        for start in range(0, len(nodes), group):
            chosen = l2[nodes[start : start + group]]
            found = [form.solve(rotated, penalty) for penalty in chosen]
            yield form.rotate(np.hstack(found).astype(dtype), "N")

    return mix, solutions()


class _Tridiagonal:
    """`gram = Q T Q'`: T is tridiagonal, Q a product of reflections."""

    def __init__(self, gram: np.ndarray) -> None:
        # The transpose of a symmetric matrix in C order is itself in Fortran
        # order, so that LAPACK works in place.
        packed, self.diagonal, self.off, tau, info = lapack.dsytrd(
            gram.T, lower=1, lwork=_PANEL * len(gram), overwrite_a=1
        )
        assert info == 0, info
        # Column i holds the reflection of the rows below i, as after a QR
        # decomposition of these rows; the first row is not reflected.
        self.reflections = packed[1:, :-1], tau

    def eigenvalues(self) -> np.ndarray:
        values = linalg.eigvalsh_tridiagonal(
            self.diagonal, self.off, lapack_driver="sterf"
        )
        return np.maximum(values, 0)

    def solve(self, targets: np.ndarray, l2: float) -> np.ndarray:
        if not len(self.off):
            return targets / (self.diagonal + l2)
        band = np.stack([np.append(0, self.off), self.diagonal + l2])
        return linalg.solveh_banded(band, targets, check_finite=False)

    def rotate(self, matrix: np.ndarray, trans: str) -> np.ndarray:
        """Returns the product with Q ("N") or with its transpose ("T")."""
        out = np.array(matrix, order="F")
        if len(out) > 1:
            (ormqr,) = linalg.get_lapack_funcs(("ormqr",), (out,))
            lwork = _PANEL * out.shape[1]
            out[1:], _, info = ormqr(
                "L", trans, *self.reflections, out[1:], lwork
            )
            assert info == 0, info
        return out


def _independent(
    eigenvalues: np.ndarray, l2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Picks penalties whose solutions span those of all, and the mixture.

    A column of `shrink` is what ridge keeps of each component of the fit. The
    pivoted QR decomposition picks columns until the rest are combinations.
    """
    shrink = eigenvalues[:, None] / (eigenvalues[:, None] + l2)
    norm = np.linalg.norm(shrink, axis=0)
    if not norm.all():  # gram is zero, and so are the solutions
        return np.array([0]), np.ones((len(l2), 1))
    r, pivots = linalg.qr(shrink / norm, mode="r", pivoting=True)
    r = r[: len(l2)]
    rank = int((abs(np.diagonal(r)) > _TOLERANCE).sum())
    nodes = pivots[:rank]
    mix = np.empty((len(l2), rank))
    mix[pivots] = linalg.solve_triangular(r[:rank, :rank], r[:rank]).T
    return nodes, mix * norm[:, None] / norm[nodes]
