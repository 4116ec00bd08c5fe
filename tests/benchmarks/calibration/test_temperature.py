"""Temperature scaling: the best number, and what it may not be fitted on."""

import json

import numpy as np
import pytest
import scipy.optimize

from bit_keras.benchmarks import calibration, tasks
from bit_keras.benchmarks.calibration import temperature
from bit_keras.benchmarks.tasks import Task


def task(name="mine", dataset="mnist", train="train", test="test", **fields):
    return Task(name=name, dataset=dataset, train=train, test=test, **fields)


def drawn(true_temperature, n=4000, seed=0):
    """Labels drawn from the softmax of logits / true_temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 6)) * 3
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / true_temperature + noise).argmax(axis=1)


def test_the_temperature_equals_the_fixture(shared):
    folder = shared / "fixtures"
    with np.load(folder / "calibration_logits.npz") as file:
        fitted = temperature.fit(file["logits"], file["labels"])
    expected = json.loads((folder / "metrics_expected.json").read_text())
    assert fitted == pytest.approx(
        expected["temperature_scaling"]["temperature"], abs=1e-6
    )


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_it_recovers_the_temperature_of_labels(true_temperature):
    fitted = temperature.fit(*drawn(true_temperature))
    assert fitted == pytest.approx(true_temperature, rel=0.06)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_grows_with_the_logits_and_is_the_minimum(scale):
    logits, labels = drawn(2.0, n=300)
    fitted = temperature.fit(logits * scale, labels)
    assert fitted == pytest.approx(temperature.fit(logits, labels) * scale)

    def loss(candidate):
        return calibration.measure(
            logits * scale, labels, temperature=candidate
        ).nll

    found = scipy.optimize.minimize_scalar(
        loss, bounds=(fitted / 2, fitted * 2), method="bounded"
    )
    assert loss(fitted) <= found.fun + 1e-12


def test_without_a_best_temperature_it_says_why():
    logits, labels = drawn(1.0, n=200)
    with pytest.raises(ValueError, match="all 200 .* classified correctly"):
        temperature.fit(logits, logits.argmax(axis=1))
    with pytest.raises(ValueError, match="say nothing of the labels"):
        temperature.fit(logits, logits.argmin(axis=1))
    with pytest.raises(ValueError, match="say nothing of the labels"):
        temperature.fit(np.zeros((9, 3)), np.arange(9) % 3)


def test_it_is_never_fitted_on_what_is_measured():
    logits, labels = drawn(1.0, n=3)
    evaluated = {"mnist test": ["c", "x", "b"], "mnist_m test": ["m"]}
    with pytest.raises(ValueError, match="and mnist test share 2 examples.* b"):
        temperature.fit(
            logits, labels, ids=["a", "b", "c"], evaluated=evaluated
        )
    shifted = {"mnist test": ["x"], "mnist_m test": ["a"]}
    with pytest.raises(ValueError, match="and mnist_m test share 1 example"):
        temperature.fit(logits, labels, ids=["a", "b", "c"], evaluated=shifted)


@pytest.mark.parametrize(
    "made, split",
    [
        (task(), "train[80%:]"),
        (task(), "train[:10]+train[20:30]"),
        (task(), "validation"),
        # Cut from one split: `fit` sees to it that they do not overlap.
        (tasks.get("uc_merced"), "train[:500]"),
        (tasks.get("vtab_eurosat"), "train[16200:16400]"),
    ],
)
def test_slices_of_what_is_learnt_from_are_legal(made, split):
    temperature.check_split(made, split)


@pytest.mark.parametrize(
    "made, split, message",
    [
        (task(), "test", '"test" is what mine is tested on'),
        (task(), " test[:5%]", '"test" is what mine is tested on'),
        (task(), "train+test[:9]", '"test" is what mine is tested on'),
        (task(test="validation"), "test", '"test" is not what mine learns'),
        (
            task(test="validation"),
            "validation[:9]",
            "is what mine is tested on",
        ),
        (task(train="test[:9]", test="test[9:]"), "test[:9]", "tested on"),
        (task(test="train[9:]"), "train[9:]", '"train" is what mine is tested'),
        (task(), "dev", '"dev" is not what mine learns from'),
        (task(dataset="objectnet"), "train", "objectnet is for evaluation"),
        (task(dataset="objectnet_mini:1.0.0"), "train", "evaluation only"),
        (task(dataset="imagenet_v2/top-images"), "train", "evaluation only"),
        (task(dataset="imagenet_a"), "validation", "evaluation only"),
    ],
)
def test_other_splits_are_refused(made, split, message):
    with pytest.raises(ValueError, match=message):
        temperature.check_split(made, split)


def test_a_set_is_not_refused_for_the_beginning_of_its_name():
    resized = task(dataset="imagenet_resized/32x32")
    temperature.check_split(resized, "train[99%:]")
