"""Temperature scaling: one number that makes probabilities honest.

Guo et al., arXiv 1706.04599, section 4.2. Logits are divided by T > 0, which
changes no prediction. T is chosen on validation images: never on those that
are measured, never on a shifted set, never on an evaluation-only one. And if
the network was trained on the validation images, it is surer of them than of
new ones, and T comes out too small.
"""

import re
from collections.abc import Collection, Mapping

import numpy as np

from bit_keras.benchmarks.calibration.scores import blocks, check
from bit_keras.benchmarks.tasks import Task

# Published for evaluation only, by their TFDS names. ObjectNet's licence
# forbids tuning on it (Barbu et al., NeurIPS 2019); the others have no training
# split, and are of use as a shift only while nothing was fitted to them.
EVALUATION_ONLY = (
    "cifar10_1",
    "cifar10_corrupted",
    "imagenet2012_corrupted",
    "imagenet2012_real",
    "imagenet_a",
    "imagenet_r",
    "imagenet_sketch",
    "imagenet_v2",
    "mnist_corrupted",
    "objectnet",
    "siscore",
)


def fit(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    ids: Collection[str] = (),
    evaluated: Mapping[str, Collection[str]] | None = None,
) -> float:
    """Finds the temperature that minimizes the negative log-likelihood.

    Args:
        logits: Of validation examples, `(n, classes)`.
        labels: Integers in `[0, classes)`, `(n,)`.
        ids: Names of these examples.
        evaluated: Name -> ids of each split that the temperature will be
            measured on; they may share no example with `ids`.

    Returns:
        T > 0, to about 10 digits: larger than 1 if the model is too sure.

    Raises:
        ValueError: If an example is in both; if labels do not fit logits; and
            if there is no best T: where all examples are classified correctly
            (T towards 0), or the logits say nothing of the labels (towards
            infinity).

    Example:

    Three of four are right, so the best probability is 3/4, and log 3 is the
    logit of that:

    >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
    >>> bool(np.isclose(fit(logits, labels), 2 / np.log(3)))
    True
    """
    labels = check(logits, labels)
    _check_apart(ids, evaluated or {})
    _check_best(logits, labels)
    # In the inverse temperature the NLL is convex, so its slope rises: below
    # zero at 0 and above it at infinity, as was just checked.
    low = high = 0.0
    while _slope(logits, labels, np.exp(low)) > 0:
        low -= 2
    while _slope(logits, labels, np.exp(high)) < 0:
        high += 2
    if low == high:
        return 1.0
    # Loading it takes longer than all that --help needs.
    from scipy.optimize import brentq

    root = brentq(
        lambda x: _slope(logits, labels, np.exp(x)), low, high, xtol=1e-11
    )
    return float(np.exp(-root))


def _check_best(logits: np.ndarray, labels: np.ndarray) -> None:
    """Raises if no finite positive temperature is the best."""
    if _slope(logits, labels, 0.0) >= 0:
        raise ValueError(
            f"There is no best temperature: on these {len(labels)} validation "
            "examples the logits say nothing of the labels, so the larger the "
            "better. Does the model know these classes, in this order?"
        )
    for rows, block in blocks(logits):
        own = block[np.arange(len(block)), labels[rows]]
        if (own < block.max(axis=1)).any():
            return
    raise ValueError(
        f"There is no best temperature: all {len(labels)} validation examples "
        "are classified correctly, so the smaller the better. Take more "
        "examples, and some that the model was not trained on."
    )


def _slope(logits: np.ndarray, labels: np.ndarray, inverse: float) -> float:
    """The derivative of the NLL by the inverse temperature."""
    total = 0.0
    for rows, block in blocks(logits):
        shifted = block - block.max(axis=1, keepdims=True)
        weights = np.exp(shifted * inverse)
        mean = (weights * shifted).sum(axis=1) / weights.sum(axis=1)
        total += (mean - shifted[np.arange(len(block)), labels[rows]]).sum()
    return total / len(labels)


def _check_apart(
    ids: Collection[str], evaluated: Mapping[str, Collection[str]]
) -> None:
    for name, others in evaluated.items():
        both = set(ids).intersection(others)
        if both:
            raise ValueError(
                f"The validation split and {name} share {len(both)} examples, "
                f"such as {min(both)}. A temperature may not be fitted on what "
                "it is measured on; choose a slice apart from it."
            )


def check_split(task: Task, split: str) -> None:
    """Raises a ValueError for a split that no temperature may be fitted on.

    Legal are slices of what the task learns from, and of a split "validation"
    that it is not tested on. That no example of them is measured is checked by
    `fit`.

    Args:
        task: Whose images it would be fitted on.
        split: In TFDS's syntax, such as "train[80%:]".

    Example:

    >>> task = Task(name="a", dataset="mnist", train="train", test="test")
    >>> check_split(task, "train[90%:]")
    >>> check_split(task, "test[:10%]")
    Traceback (most recent call last):
    ValueError: --validation-split: "test" is what a is tested on...
    """
    name = re.split("[/:]", task.dataset)[0]
    if any(f"{name}_".startswith(f"{known}_") for known in EVALUATION_ONLY):
        raise ValueError(
            f"task {task.name}: {name} is for evaluation only; no temperature "
            "may be fitted on it. Name it in --shifted, with the task that the "
            "model was trained for in --tasks."
        )
    tested, learnt = _splits(task.test), _splits(task.train) - {"test"}
    legal = sorted(learnt | ({"validation"} - tested))
    for word in sorted(_splits(split)):
        if word in legal and split.split() != task.test.split():
            continue
        about = (
            f"is what {task.name} is tested on"
            if word in tested
            else f"is not what {task.name} learns from"
        )
        raise ValueError(
            f'--validation-split: "{word}" {about}; a temperature is fitted '
            f"on a slice of {' or '.join(legal) or 'nothing here'}, such as "
            f'"{(legal or ["train"])[0]}[80%:]".'
        )


def _splits(spec: str) -> set[str]:
    """The names of the splits in `train[:80%]+validation`."""
    return {part.partition("[")[0].strip() for part in spec.split("+")}
