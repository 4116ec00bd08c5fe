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
    """Leaves each image out; whitening and intercept are of all images.

    The intercept of the fit is not penalized: what is fitted are differences
    from the mean of the images that are left.
    """
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)
    y = 2 * np.eye(classes)[labels] - 1
    correct = 0
    for i in range(len(x)):
        rest = np.delete(np.arange(len(x)), i)
        centre = x[rest].mean(axis=0)
        away, target = x[rest] - centre, y[rest] - y[rest].mean(axis=0)
        gram = away.T @ away + l2 * np.eye(x.shape[1])
        scores = (x[i] - centre) @ np.linalg.solve(gram, away.T @ target)
        correct += (scores + y.mean(axis=0)).argmax() == labels[i]
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


@pytest.mark.parametrize("width", [300, 8], ids=["dual", "primal"])
@pytest.mark.parametrize("classes, shots", [(2, 5), (10, 2)])
def test_chance_is_chance_with_few_images_and_any_penalty(
    width, classes, shots
):
    # With the penalized intercept, the strongest of the grid got all right.
    labels = np.repeat(np.arange(classes), shots)
    rng = np.random.default_rng(3)
    correct = np.zeros(len(GRID))
    for _ in range(40):
        x = rng.standard_normal((len(labels), width))
        dual, primal = both(x, labels, classes, GRID)
        correct += dual if width > len(labels) else primal
    accuracy = correct / (40 * len(labels))
    assert (abs(accuracy - 1 / classes) < 0.12).all()
