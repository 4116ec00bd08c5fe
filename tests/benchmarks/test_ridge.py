import numpy as np
import pytest

from bit_keras.benchmarks.ridge import solve_path

GRID = 2.0 ** np.arange(-10, 20)


def gram_of(rows, columns, seed=0):
    x = np.random.default_rng(seed).standard_normal((rows, columns))
    return (x * np.arange(1, columns + 1) ** -0.5).T @ x


def solve_all(gram, targets, l2, dtype=np.float64):
    mix, directions = solve_path(gram.copy(), targets, l2)
    found = np.concatenate(list(directions(dtype)), axis=2)
    assert found.dtype == dtype
    return np.einsum("kp,npm->knm", mix, found), mix.shape[1]


@pytest.mark.parametrize(
    "rows, columns", [(300, 80), (40, 80), (300, 150), (9, 1), (9, 2)]
)
def test_solves_for_every_penalty(rows, columns):
    x = np.random.default_rng(0).standard_normal((rows, columns))
    x *= np.arange(1, columns + 1) ** -0.5
    gram, targets = x.T @ x, x.T @ np.sign(x[:, :1] - [[0, 0.5, 1]])
    found, _ = solve_all(gram, targets, GRID)
    for l2, solution in zip(GRID, found, strict=True):
        direct = np.linalg.solve(gram + l2 * np.eye(columns), targets)
        error = np.linalg.norm(solution - direct) / np.linalg.norm(direct)
        assert error < 1e-5


def test_few_solutions_span_the_grid():
    x = np.random.default_rng(0).standard_normal((300, 80))
    _, solved = solve_all(x.T @ x, np.ones((80, 1)), GRID)
    assert solved < len(GRID) / 2


def test_groups_of_columns_come_in_order(monkeypatch):
    x = np.random.default_rng(0).standard_normal((60, 12))
    targets = x.T @ np.ones((60, 5))
    expected, _ = solve_all(x.T @ x, targets, GRID)
    monkeypatch.setattr("bit_keras.benchmarks.ridge._COLUMNS", 11)
    found, _ = solve_all(x.T @ x, targets, GRID)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_float32_only_rounds_the_result():
    x = np.random.default_rng(0).standard_normal((60, 12))
    targets = x.T @ np.ones((60, 1))
    exact, _ = solve_all(x.T @ x, targets, GRID)
    rounded, _ = solve_all(x.T @ x, targets, GRID, dtype=np.float32)
    assert 0 < abs(rounded - exact).max() < 1e-6 * abs(exact).max()


def test_directions_can_be_had_again_in_another_precision():
    x = np.random.default_rng(0).standard_normal((60, 12))
    _, directions = solve_path(x.T @ x, x.T @ np.ones((60, 1)), GRID)
    first, again = next(directions(np.float32)), next(directions(np.float64))
    np.testing.assert_allclose(first, again, atol=1e-6 * abs(again).max())


def test_the_first_directions_carry_the_most():
    """What the rest adds falls, as a classifier that stops early needs."""
    x = np.random.default_rng(0).standard_normal((300, 80))
    x *= np.arange(1, 81) ** -0.5
    mix, directions = solve_path(x.T @ x, x.T @ np.sign(x[:, :3]), GRID)
    norms = np.linalg.norm(next(directions(np.float64)), axis=(0, 2))
    sizes = norms * abs(mix)
    total = sizes[:, 0]
    # Which penalties are picked, and so how soon it falls, is a matter of the
    # processor's rounding: between one and two times 0.3 ** (j - 3) at j = 4.
    for j in range(4, mix.shape[1]):
        most = 4 * total * 0.3 ** (j - 3) + 1e-4
        assert (sizes[:, j:].sum(axis=1) < most).all()


def test_a_zero_matrix_has_the_zero_solution():
    found, solved = solve_all(np.zeros((4, 4)), np.zeros((4, 2)), GRID)
    assert solved == 1
    assert not found.any()


def test_targets_are_left_as_they_are():
    targets = np.ones((4, 2))
    _, directions = solve_path(np.eye(4), targets, GRID)
    assert list(directions(np.float64))
    assert (targets == 1).all()
