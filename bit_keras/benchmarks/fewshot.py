"""Few-shot linear evaluation of frozen features.

A linear probe in closed form is fitted on k images per class and measured on
the whole test set. `linear_probe` measures one task for any number of shots,
seeds and penalties at once; `bit_keras.benchmarks.protocols` says which
penalty counts.
"""

import math
import numbers
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.leave_one_out import (
    leave_one_out_dual,
    leave_one_out_primal,
)
from bit_keras.benchmarks.probe import (
    Classifier,
    Moments,
    blocks,
    fit_dual,
    fit_primal,
)
from bit_keras.benchmarks.subsets import SUBSETS, check_enough, nested_order
from bit_keras.recipe import did_you_mean


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
    shots = _positive("shots", shots, numbers.Integral)
    penalties = np.array(_positive("l2", np.ravel(l2), numbers.Real))
    seeds = _draws(subset, seeds)
    train_labels = _checked("train", train_features, train_labels, num_classes)
    test_labels = _checked("test", test_features, test_labels, num_classes)
    if train_features.shape[1] != test_features.shape[1]:
        raise ValueError(
            f"train_features have {train_features.shape[1]} columns and "
            f"test_features {test_features.shape[1]}: both must come from one "
            "endpoint of one model."
        )
    if not allow_fewer:
        check_enough(train_labels, num_classes, shots[-1])
    tables = []
    for seed in seeds:
        order, rank = nested_order(train_labels, num_classes, shots[-1], seed)
        moments = Moments(train_features, train_labels, num_classes)
        for k in shots:
            images = order[: (rank < k).sum()]
            probe, left_out = _fit(
                moments, images, penalties, validation and k > 1
            )
            correct = probe.correct(test_features, test_labels)
            table = pd.DataFrame({"shots": k, "l2": penalties})
            table.insert(1, "seed", pd.array([seed] * len(table), "Int64"))
            table["accuracy"] = correct / len(test_labels)
            if validation:
                table["validation"] = left_out
            tables.append(table)
    table = pd.concat(tables).sort_values(["shots", "seed", "l2"])
    return table.reset_index(drop=True)


def stderr(accuracy: float, n: int) -> float:
    """The standard error of an accuracy over n images, `sqrt(p (1 - p) / n)`.

    >>> stderr(0.5, 100)
    0.05
    """
    return math.sqrt(accuracy * (1 - accuracy) / n)


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


def _positive(name: str, values: Iterable, kind: type) -> list:
    """Returns positive finite numbers, sorted and without repeats."""
    values = list(values)
    what = "whole number" if kind is numbers.Integral else "number"
    for value in values:
        legal = isinstance(value, kind) and not isinstance(value, bool)
        if not (legal and 0 < value < math.inf):
            raise ValueError(f"{name} must be positive {what}s; got {value!r}.")
    if not values:
        raise ValueError(f"{name} must have at least one {what}; got none.")
    return sorted(set(values))


def _draws(subset: str, seeds: Iterable[int]) -> list[int | None]:
    """Returns the seeds to draw with; None: no draw."""
    if subset not in SUBSETS:
        raise ValueError(
            f'subset must be one of {", ".join(SUBSETS)}; got "{subset}".'
            f"{did_you_mean(str(subset), SUBSETS)}"
        )
    if subset == "first":
        return [None]
    seeds = list(seeds)
    for seed in seeds:
        if not isinstance(seed, numbers.Integral) or seed < 0:
            raise ValueError(f"seeds must be whole and >= 0; got {seed!r}.")
    if not seeds:
        raise ValueError("seeds must have at least one number; got none.")
    return sorted({int(seed) for seed in seeds})


def _checked(
    split: str, features: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Checks the features and labels of a split, and returns the labels."""
    labels = np.asarray(labels)
    if features.ndim != 2 or 0 in features.shape[1:]:
        raise ValueError(
            f"{split}_features must have shape (images, features); got "
            f"{features.shape}. Pool spatial features over height and width."
        )
    if not len(features):
        raise ValueError(f"{split}_features is empty: there are no images.")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"{split}_labels must have one label for each of the "
            f"{len(features)} rows of {split}_features; got shape "
            f"{labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{split}_labels must be integers; got {labels.dtype}."
        )
    _check_range(f"{split}_labels", labels, num_classes)
    _check_finite(f"{split}_features", features)
    return labels


def _check_range(name: str, labels: np.ndarray, num_classes: int) -> None:
    (wrong,) = np.nonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{name} must be in [0, {num_classes}) for num_classes="
            f"{num_classes}; row {wrong[0]} has {labels[wrong[0]]} "
            f"({len(wrong)} such rows)."
        )


def _check_finite(name: str, features: np.ndarray) -> None:
    for rows in blocks(*features.shape):
        finite = np.isfinite(np.asarray(features[rows], np.float32)).all(1)
        if not finite.all():
            row = rows.start + int(np.argmin(finite))
            raise ValueError(
                f"{name} must be finite; row {row} (counted from 0) has NaN or "
                "infinite values. Check the image it comes from, or the model."
            )
