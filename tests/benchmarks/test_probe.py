import numpy as np
import pytest

from bit_keras.benchmarks import probe, row_blocks

GRID = 2.0 ** np.arange(-10, 20)


def task(train=60, width=100, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, width))
    labels = np.arange(train) % classes
    x = centres[labels] + 2 * rng.standard_normal((train, width))
    test = centres[np.arange(50) % classes] + 2 * rng.standard_normal(
        (50, width)
    )
    return x.astype(np.float32), labels, test.astype(np.float32)


def reference(x, labels, test, classes, l2):
    """Scores by the textbook formula in float64, with the constant feature."""
    x, test = x.astype(np.float64), test.astype(np.float64)
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-5
    x, test = (
        np.pad((z - mean) / std, ((0, 0), (0, 1)), constant_values=100.0)
        for z in (x, test)
    )
    y = 2 * np.eye(classes)[labels] - 1
    return np.stack(
        [
            test @ x.T @ np.linalg.solve(x @ x.T + p * np.eye(len(x)), y)
            for p in l2
        ],
        axis=1,
    )


def fit(x, labels, classes, l2):
    if len(x) < x.shape[1]:
        return probe.fit_dual(x, labels, classes, l2)
    moments = probe.Moments(x, labels, classes)
    # In two goes, as for nested subsets.
    moments.add(np.arange(len(x) // 3))
    moments.add(np.arange(len(x) // 3, len(x)))
    return probe.fit_primal(moments, l2)


def relative_error(x, labels, test, classes=5, l2=GRID):
    found = fit(x, labels, classes, l2).scores(test)
    expected = reference(x, labels, test, classes, l2)
    # A number added to all classes makes no difference.
    found = found - found.mean(axis=2, keepdims=True)
    expected = expected - expected.mean(axis=2, keepdims=True)
    scale = np.sqrt((expected**2).mean(axis=(0, 2)))
    return (abs(found - expected).max(axis=(0, 2)) / scale).max()


@pytest.mark.parametrize("train", [60, 300], ids=["dual", "primal"])
def test_scores_are_those_of_the_textbook_formula(train):
    assert relative_error(*task(train)) < 3e-5


def test_projected_test_features_give_the_same_scores():
    x, labels, test = task(10, 400, 5)
    assert fit(x, labels, 5, GRID).basis is not None
    assert relative_error(x, labels, test) < 3e-5


@pytest.mark.parametrize("train", [60, 300], ids=["dual", "primal"])
def test_unequal_classes_keep_their_bias(train):
    x, _, test = task(train)
    labels = np.minimum(np.arange(train) % 12, 3)
    assert relative_error(x, labels, test) < 3e-5


@pytest.mark.parametrize("train", [60, 300], ids=["dual", "primal"])
def test_features_far_from_zero_keep_their_digits(train):
    x, labels, test = task(train)
    # float32 leaves these features 1e-5 of their spread.
    assert relative_error(x + 300, labels, test + 300) < 1e-3


@pytest.mark.parametrize("train", [60, 300], ids=["dual", "primal"])
def test_a_dead_feature_has_no_weight(train):
    x, labels, test = task(train)
    x[:, 7] = 0.3
    alive = np.delete(np.arange(100), 7)
    found = fit(x, labels, 5, GRID).scores(test)
    expected = fit(x[:, alive], labels, 5, GRID).scores(test[:, alive])
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("train", [60, 300], ids=["dual", "primal"])
def test_equal_images_with_different_labels_do_not_upset_it(train):
    x, labels, test = task(train)
    x[1], x[7] = x[0], x[5]
    assert relative_error(x, labels, test) < 3e-5


@pytest.mark.parametrize("train", [60, 300], ids=["dual", "primal"])
def test_equal_features_do_not_upset_it(train):
    x, labels, test = task(train)
    x[:, 40:80], test[:, 40:80] = x[:, :40], test[:, :40]
    assert relative_error(x, labels, test) < 3e-5


def test_images_that_are_all_equal_get_the_first_class():
    x = np.ones((4, 3), np.float32)
    classifier = fit(x, np.array([0, 0, 1, 1]), 2, GRID)
    assert (classifier.scores(x).argmax(axis=2) == 0).all()


def test_blocks_do_not_change_the_counts(monkeypatch):
    x, labels, test = task()
    classifier = fit(x, labels, 5, GRID)
    test_labels = np.arange(50) % 5
    whole = classifier.correct(test, test_labels)
    monkeypatch.setattr(row_blocks, "_BLOCK", 3000)
    assert classifier.correct(test, test_labels).tolist() == whole.tolist()
    assert whole.max() > 25


def sums_in_float32(x, directions):
    return list(probe._products(x, directions))[0].dtype == np.float32


def test_weights_are_float32_only_where_their_sums_keep_their_digits():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 30)).T
    assert sums_in_float32(x, lambda dtype: iter([np.ones((20, 1, 1), dtype)]))
    # Equal images with opposite signs: nothing but rounding would remain.
    x = np.hstack([x[:, :10], x[:, :10] * (1 + 1e-6)])
    signs = np.repeat([1.0, -1.0], 10)[:, None, None]
    assert not sums_in_float32(x, lambda dtype: iter([signs.astype(dtype)]))
