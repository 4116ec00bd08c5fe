import numpy as np
import pytest

from bit_keras.benchmarks.block_tridiagonal import BlockTridiagonal

SIZES = [1, 2, 63, 64, 65, 100, 128, 129, 200, 321]


def positive(n, condition=1e3, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    matrix = basis * np.geomspace(1, 1 / condition, n) @ basis.T
    return (matrix + matrix.T) / 2


def solve(matrix, shifts, targets):
    form = BlockTridiagonal(matrix.copy())
    rotated = form.rotate(targets, transpose=True)
    found = form.factorize(shifts).solve(rotated)
    return np.stack([form.rotate(part) for part in found])


@pytest.mark.parametrize("n", SIZES)
def test_solves_like_numpy(n):
    matrix, targets = positive(n), np.ones((n, 3))
    shifts = np.array([0.0, 1e-2, 5.0])
    found = solve(matrix, shifts, targets)
    for shift, solution in zip(shifts, found, strict=True):
        expected = np.linalg.solve(matrix + shift * np.eye(n), targets)
        np.testing.assert_allclose(solution, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n", SIZES)
def test_the_rotation_is_orthogonal(n):
    form = BlockTridiagonal(positive(n))
    q = form.rotate(np.eye(n))
    np.testing.assert_allclose(q @ q.T, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(
        form.rotate(np.eye(n), transpose=True), q.T, atol=1e-12
    )


@pytest.mark.parametrize("n", SIZES)
def test_the_form_is_the_matrix_rotated(n):
    matrix = positive(n)
    form = BlockTridiagonal(matrix.copy())
    q, b = form.rotate(np.eye(n)), form.multiply(np.eye(n))
    np.testing.assert_allclose(q @ b @ q.T, matrix, atol=1e-13)
    rows, columns = np.indices((n, n)) // 64
    assert not b[abs(rows - columns) > 1].any()


@pytest.mark.parametrize("condition", [1e8, 1e12])
def test_small_shifts_lose_no_more_digits_than_eigenvectors_do(condition):
    """Explicit inverses of the blocks would: the square of the condition."""
    n = 200
    matrix, targets = positive(n, condition), np.ones((n, 1))
    shift = 1 / condition
    (found,) = solve(matrix, np.array([shift]), targets)
    residual = matrix @ found + shift * found - targets
    values, vectors = np.linalg.eigh(matrix)
    plain = vectors @ (vectors.T @ targets / (values + shift)[:, None])
    usual = matrix @ plain + shift * plain - targets
    assert np.linalg.norm(residual) < 10 * np.linalg.norm(usual)


@pytest.mark.parametrize("rank", [0, 1, 70])
def test_a_singular_matrix_is_solved_with_its_shift(rank):
    x = np.random.default_rng(0).standard_normal((150, rank))
    x = np.concatenate([x, x], axis=1)
    matrix, targets = x @ x.T, np.ones((150, 2))
    (found,) = solve(matrix, np.array([1e-3]), targets)
    expected = np.linalg.solve(matrix + 1e-3 * np.eye(150), targets)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_some_of_the_shifts_can_be_selected():
    form = BlockTridiagonal(positive(130))
    targets = np.ones((130, 2))
    factors = form.factorize(np.array([1.0, 2.0, 3.0]))
    some = factors.select(np.array([2, 0])).solve(targets)
    np.testing.assert_array_equal(some, factors.solve(targets)[[2, 0]])


def test_rotates_in_float32():
    form = BlockTridiagonal(positive(130))
    x = np.random.default_rng(0).standard_normal((130, 4))
    rounded = form.rotate(x, dtype=np.float32)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, form.rotate(x), atol=1e-5)
