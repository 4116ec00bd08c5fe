"""What the few-shot probe is given, checked."""

import math
import numbers
from collections.abc import Iterable

import numpy as np

from bit_keras.benchmarks.row_blocks import blocks
from bit_keras.benchmarks.subsets import SUBSETS
from bit_keras.recipe import did_you_mean


def positive(name: str, values: Iterable, kind: type) -> list:
    """Returns positive finite numbers, sorted and without repeats.

    >>> positive("shots", (5, 1, 5), numbers.Integral)
    [1, 5]
    """
    values = list(values)
    what = "whole number" if kind is numbers.Integral else "number"
    for value in values:
        legal = isinstance(value, kind) and not isinstance(value, bool)
        if not (legal and 0 < value < math.inf):
            raise ValueError(f"{name} must be positive {what}s; got {value!r}.")
    if not values:
        raise ValueError(f"{name} must have at least one {what}; got none.")
    return sorted(set(values))


def draws(subset: str, seeds: Iterable[int]) -> list[int | None]:
    """Returns the seeds to draw subsets with; None: the first images.

    >>> draws("first", (0, 1)), draws("seeded", (0, 1))
    ([None], [0, 1])
    """
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


def check_split(
    split: str, features: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Returns the labels of a split, if they and the features are fit for use.

    >>> check_split("test", np.ones((2, 8)), [0, 3], num_classes=3)
    Traceback (most recent call last):
    ...
    ValueError: test_labels must be in [0, 3) for num_classes=3; row 1 has 3...
    """
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
