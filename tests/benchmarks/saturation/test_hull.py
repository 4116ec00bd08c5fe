"""Upper hulls, against exact arithmetic and Qhull."""

import time
from fractions import Fraction

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from bit_keras.benchmarks.saturation.hull import upper_hull
from bit_keras.benchmarks.saturation.hulls import upper_hulls


def models(n, decimals=9, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 0.8, n)
    y = 0.9 - 0.8 * (1 - x) ** 3 - rng.exponential(0.03, n)
    return x.round(decimals), y.round(decimals)


def exact_hull(x, y):
    """Andrew's monotone chain over the decimals that the floats stand for."""
    best = {}
    for a, b in zip(x, y, strict=True):
        a, b = Fraction(repr(float(a))), Fraction(repr(float(b)))
        best[a] = max(b, best.get(a, b))
    chain = []
    for x2, y2 in sorted(best.items()):
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y2 - y0) < (y1 - y0) * (x2 - x0):
                break
            chain.pop()
        chain.append((x2, y2))
    return np.array(chain, float).T


@pytest.mark.parametrize("n", [1, 2, 3, 7, 60, 3000])
@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_is_the_exact_hull_with_ties_and_collinear_points(n, decimals):
    for seed in range(5):
        x, y = models(n, decimals, seed)
        hull = upper_hull(x, y)
        expected = exact_hull(x, y)
        np.testing.assert_array_equal([hull.x, hull.y], expected)
        np.testing.assert_array_equal(hull.x, x[hull.indices])
        np.testing.assert_array_equal(hull.y, y[hull.indices])


def test_equals_the_upper_side_of_qhull():
    x, y = models(5000)
    corners = ConvexHull(np.stack([x, y], axis=1))
    facing_up = corners.simplices[corners.equations[:, 1] > 1e-12]
    hull = upper_hull(x, y)
    assert set(hull.indices) == set(facing_up.ravel())


def test_rising_ends_at_the_best_downstream_model():
    x, y = models(500)
    y[x.argmax()] = 0.3
    full, rising = upper_hull(x, y), upper_hull(x, y, part="rising")
    assert full.x[-1] == x.max() and full.y[-1] == 0.3
    assert rising.y[-1] == y.max() and (np.diff(rising.y) > 0).all()
    np.testing.assert_array_equal(rising.x, full.x[: len(rising.x)])


def test_a_level_top_does_not_rise():
    assert upper_hull([0.1, 0.2, 0.3], [0.1, 0.5, 0.5], "rising").x[-1] == 0.2
    assert upper_hull([0.1, 0.2, 0.3], [0.1, 0.5, 0.5], "full").x[-1] == 0.3


def test_of_equal_models_the_first_counts():
    hull = upper_hull([0.2, 0.5, 0.2, 0.5, 0.5], [0.3, 0.4, 0.3, 0.6, 0.6])
    np.testing.assert_array_equal(hull.indices, [0, 3])


@pytest.mark.parametrize("order", ["shuffled", "reversed"])
def test_order_does_not_matter(order):
    x, y = models(2000, decimals=3)
    shuffle = np.random.default_rng(1).permutation(len(x))
    if order == "reversed":
        shuffle = np.arange(len(x))[::-1]
    one, other = upper_hull(x, y), upper_hull(x[shuffle], y[shuffle])
    np.testing.assert_array_equal([one.x, one.y], [other.x, other.y])


def test_a_tower_beside_a_long_concave_chain():
    x = np.linspace(0, 0.5, 900)
    y = 0.9 - 0.8 * (1 - x) ** 3
    y[-1] = 5.0
    np.testing.assert_array_equal(
        [upper_hull(x, y).x, upper_hull(x, y).y], exact_hull(x, y)
    )


@pytest.mark.parametrize("shape", ["scattered", "all on the hull"])
def test_a_million_models_take_no_more_than_a_few_seconds(shape):
    # About 0.2 s and 0.5 s on 2 cores; the rest is for busy machines.
    x, y = models(1_000_000)
    if shape != "scattered":
        y = 0.9 - 0.8 * (1 - x) ** 3
    began = time.perf_counter()
    hull = upper_hull(x, y)
    assert time.perf_counter() - began < 5
    assert (y <= np.interp(x, hull.x, hull.y) + 1e-10).all()


def test_a_mixture_has_the_accuracies_that_it_says():
    x, y = models(300)
    hull = upper_hull(x, y)
    for us in np.linspace(hull.x[0], hull.x[-1], 40):
        mixture = hull.mixture(us)
        i, j = mixture.indices
        p, q = mixture.probabilities
        assert min(p, q) >= 0 and p + q == pytest.approx(1)
        assert p * x[i] + q * x[j] == pytest.approx(us)
        height = p * y[i] + q * y[j]
        assert height == pytest.approx(mixture.downstream_accuracy)
        assert height == pytest.approx(np.interp(us, hull.x, hull.y))


def test_a_mixture_drawn_at_random_is_as_accurate():
    # Lemma 2.1: each input is answered by one of the two models.
    rng = np.random.default_rng(0)
    right = rng.random((2, 200_000)) < np.array([[0.5], [0.9]])
    mixture = upper_hull([0.2, 0.6], [0.5, 0.9]).mixture(0.3)
    drawn = (rng.random(200_000) > mixture.probabilities[0]).astype(int)
    measured = right[drawn, np.arange(200_000)].mean()
    assert measured == pytest.approx(mixture.downstream_accuracy, abs=0.004)


def test_a_mixture_beyond_the_hull_is_refused():
    with pytest.raises(ValueError, match="from 0.2 to 0.6"):
        upper_hull([0.2, 0.6], [0.5, 0.9]).mixture(0.7)


def test_points_along_the_hull():
    x, y = upper_hull([0.0, 0.2, 0.8], [0.1, 0.5, 0.6]).densify(5)
    np.testing.assert_allclose(x, [0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(y, [0.1, 0.5, 0.5 + 1 / 30, 0.5 + 2 / 30, 0.6])


@pytest.mark.parametrize(
    "x, y, part, message",
    [
        ([], [], "full", "not empty"),
        ([0.1, 0.2], [0.3], "full", "one length"),
        ([0.1, np.nan], [0.3, 0.4], "full", "finite"),
        ([0.1], [0.3], "upper", "'full' or 'rising'; got 'upper'"),
    ],
)
def test_bad_points_are_refused(x, y, part, message):
    with pytest.raises(ValueError, match=message):
        upper_hull(x, y, part)


@pytest.mark.parametrize("part", ["full", "rising"])
@pytest.mark.parametrize("n, decimals", [(3, 9), (40, 1), (800, 2), (800, 9)])
def test_hulls_of_subsets_are_those_taken_one_by_one(part, n, decimals):
    x, y = models(n, decimals)
    members = np.random.default_rng(1).random((60, n)) < 0.5
    # Not at random: these have none of the best models.
    members[:20] &= y < np.median(y)
    members[np.arange(60), np.arange(60) % n] = True
    rows, indices = upper_hulls(x, y, members, part)
    for row, chosen in enumerate(members):
        expected = upper_hull(x[chosen], y[chosen], part)
        mine = indices[rows == row]
        assert chosen[mine].all()
        np.testing.assert_array_equal(x[mine], expected.x)
        np.testing.assert_array_equal(y[mine], expected.y)
