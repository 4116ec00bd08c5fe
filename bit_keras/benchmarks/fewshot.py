"""Few-shot linear evaluation of frozen features.

A linear probe in closed form is fitted on k images per class and measured on
the whole test set. `linear_probe` measures one task for any number of shots,
seeds and penalties at once; `bit_keras.benchmarks.protocols` says which
penalty counts.
"""

import dataclasses
import math
import numbers
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.leave_one_out import (
    leave_one_out_dual,
    leave_one_out_primal,
)
from bit_keras.benchmarks.probe import (
    Classifier,
    Moments,
    fit_dual,
    fit_primal,
)
from bit_keras.benchmarks.probe_inputs import check_split, draws, positive
from bit_keras.benchmarks.subsets import check_enough, nested_order
from bit_keras.benchmarks.workers import side_by_side

# Memory of one fit beside its matrices: weights and blocks of rows.
_OVERHEAD = 2**27


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    num_classes: int,
    shots: Sequence[int] = (1, 5, 10, 25),
    seeds: Sequence[int] = (0, 1, 2),
    l2: float | Sequence[float] = 2.0**10,
    subset: str = "seeded",
    validation: bool = False,
    allow_fewer: bool = False,
) -> pd.DataFrame:
    """Measures few-shot accuracies of frozen features on one task.

    The algorithm of big_vision's fewshot_lsr, with all shots, seeds and
    penalties solved together. The defaults are its protocol, too.

    Features may be memory-mapped: the chosen training images and the test set
    are read in blocks, and neither is ever copied whole.

    Args:
        train_features: `(images, features)`, any floating type.
        train_labels: Integers in `[0, num_classes)`, `(images,)`.
        test_features: `(images, features)`.
        test_labels: `(images,)`.
        num_classes: Number of classes.
        shots: Training images per class.
        seeds: Seeds of the subsets.
        l2: Penalty or penalties.
        subset: "seeded": k random images per class, nested over shots; "first":
            the first k of each class, for which `seeds` are not used.
        validation: Whether to measure each penalty by leaving one training
            image out as well; see `bit_keras.benchmarks.leave_one_out`.
        allow_fewer: Whether a class with fewer than k images may contribute
            what it has, as the original code lets it do silently.

    Returns:
        A table of `shots`, `seed` (missing for "first"), `l2`, `accuracy` (in
        [0, 1]) and, with `validation`, `validation` (in [0, 1]; missing for one
        shot); sorted by shots, seed and l2.

    Raises:
        ValueError: For arguments out of range, features that are not finite
            or do not fit their labels, or too few images in a class.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> features = rng.normal(size=(200, 8)) + labels[:, None]
    >>> linear_probe(features[:100], labels[:100], features[100:],
    ...              labels[100:], num_classes=2, shots=(5, 25), seeds=(0,))
       shots  seed      l2  accuracy
    0      5     0  1024.0      0.89
    1     25     0  1024.0      0.91
    """
    shots = positive("shots", shots, numbers.Integral)
    penalties = np.array(positive("l2", np.ravel(l2), numbers.Real))
    seeds = draws(subset, seeds)
    train_labels = check_split(
        "train", train_features, train_labels, num_classes
    )
    test_labels = check_split("test", test_features, test_labels, num_classes)
    width = train_features.shape[1]
    if test_features.shape[1] != width:
        raise ValueError(
            f"train_features have {width} columns and test_features "
            f"{test_features.shape[1]}: both must come from one endpoint of "
            "one model."
        )
    if not allow_fewer:
        check_enough(train_labels, num_classes, shots[-1])
    task = _Task(
        train_features,
        train_labels,
        test_features,
        test_labels,
        num_classes,
        penalties,
        validation,
    )
    jobs = [(seed, nest) for nest in task.nests(shots) for seed in seeds]
    smaller = min(task.images(shots[-1]), width)
    # Images in float64, their whitened copy, and two of their products.
    tables = side_by_side(task.measure, jobs, _OVERHEAD + 32 * smaller * width)
    table = pd.concat(tables).sort_values(["shots", "seed", "l2"])
    return table.reset_index(drop=True)


def stderr(accuracy: float, n: int) -> float:
    """The standard error of an accuracy over n images, `sqrt(p (1 - p) / n)`.

    >>> stderr(0.5, 100)
    0.05
    """
    return math.sqrt(accuracy * (1 - accuracy) / n)


@dataclasses.dataclass(frozen=True)
class _Task:
    """All that does not change over shots and seeds."""

    train_features: np.ndarray
    train_labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    l2: np.ndarray
    validation: bool

    def images(self, shots: int) -> int:
        """The number of training images of so many shots."""
        counts = np.bincount(self.train_labels, minlength=self.num_classes)
        return int(np.minimum(counts, shots).sum())

    def nests(self, shots: Sequence[int]) -> list[list[int]]:
        """Groups shots that share their sums; the largest first."""
        width = self.train_features.shape[1]
        primal = [k for k in shots if self.images(k) >= width]
        dual = [[k] for k in reversed(shots) if k not in primal]
        return [primal, *dual] if primal else dual

    def measure(self, job: tuple[int | None, list[int]]) -> pd.DataFrame:
        """Returns the accuracies for a seed and a group of shots."""
        seed, nest = job
        order, rank = nested_order(
            self.train_labels, self.num_classes, nest[-1], seed
        )
        moments = Moments(
            self.train_features, self.train_labels, self.num_classes
        )
        tables = []
        for k in nest:
            images = order[: (rank < k).sum()]
            left_one_out = self.validation and k > 1
            probe, left_out = _fit(moments, images, self.l2, left_one_out)
            correct = probe.correct(self.test_features, self.test_labels)
            table = pd.DataFrame({"shots": k, "l2": self.l2})
            table.insert(1, "seed", pd.array([seed] * len(table), "Int64"))
            table["accuracy"] = correct / len(self.test_labels)
            if self.validation:
                table["validation"] = left_out
            tables.append(table)
        return pd.concat(tables)


def _fit(
    moments: Moments, images: np.ndarray, l2: np.ndarray, validation: bool
) -> tuple[Classifier, np.ndarray | float]:
    """Returns the probe of the images and its leave-one-out accuracies.

    Smaller subsets of the nest must have been fitted before.
    """
    correct = np.nan
    # Of images and features, the fewer make the smaller matrix.
    if len(images) < moments.features.shape[1]:
        labels, num_classes = moments.labels[images], len(moments.counts)
        few = (moments.features[images], labels, num_classes, l2)
        probe = fit_dual(*few)
        if validation:
            correct = leave_one_out_dual(*few)
    else:
        moments.add(images[moments.counts.sum() :])
        probe = fit_primal(moments, l2)
        if validation:
            correct = leave_one_out_primal(moments, images, l2)
    return probe, correct / len(images)
