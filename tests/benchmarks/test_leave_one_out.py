import numpy as np
import pytest

from bit_keras.benchmarks.leave_one_out import (
    leave_one_out_dual,
    leave_one_out_primal,
)
from bit_keras.benchmarks.probe import Moments

GRID = 2.0 ** np.arange(-10, 20, 3)


def task(train, width, classes=4):
    rng = np.random.default_rng(1)
    labels = np.sort(np.arange(train) % classes)
    x = rng.standard_normal((classes, width))[labels]
    return (x + 2 * rng.standard_normal((train, width))), labels


def by_fitting_again(x, labels, classes, l2):
    """Leaves each image out; whitening and class sizes are of all images."""
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)
    x = np.pad(x, ((0, 0), (0, 1)), constant_values=100.0)
    y = 2 * np.eye(classes)[labels] - 1
    share = 1e4 * len(x) / (1e4 * len(x) + l2)
    correct = 0
    for i in range(len(x)):
        rest = np.delete(np.arange(len(x)), i)
        gram = x[rest].T @ x[rest] + l2 * np.eye(x.shape[1])
        scores = x[i] @ np.linalg.solve(gram, x[rest].T @ y[rest])
        scores += share * (y.mean(axis=0) - y[rest].mean(axis=0))
        correct += scores.argmax() == labels[i]
    return correct


def both(x, labels, classes, l2):
    images = np.arange(len(x))
    moments = Moments(x, labels, classes)
    moments.add(images)
    return (
        leave_one_out_dual(x, labels, classes, l2).tolist(),
        leave_one_out_primal(moments, images, l2).tolist(),
    )


@pytest.mark.parametrize("train, width", [(24, 40), (60, 10), (30, 29)])
def test_equals_fitting_again_without_each_image(train, width):
    x, labels = task(train, width)
    expected = [by_fitting_again(x, labels, 4, p) for p in GRID]
    dual, primal = both(x, labels, 4, GRID)
    assert dual == expected
    if train > width:
        assert primal == expected
    assert len(set(expected)) > 1


def test_unequal_classes():
    x, labels = task(60, 10)
    labels = np.minimum(labels, 1)
    expected = [by_fitting_again(x, labels, 2, p) for p in GRID]
    assert both(x, labels, 2, GRID) == (expected, expected)


@pytest.mark.parametrize("width", [300, 20], ids=["dual", "primal"])
def test_the_label_that_is_left_out_neither_helps_nor_harms(width):
    # Features without any relation to the labels: chance is 1 in 4. A probe
    # tested on its own training images would score much more, and one that
    # counted the images of each class, none at strong penalties.
    x = np.random.default_rng(2).standard_normal((200, width))
    labels = np.arange(200) % 4
    dual, primal = both(x, labels, 4, GRID)
    correct = np.array(dual if width > 200 else primal)
    assert (abs(correct / 200 - 0.25) < 0.1).all()
