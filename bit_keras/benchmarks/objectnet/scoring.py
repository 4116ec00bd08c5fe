"""Scores on ObjectNet, from the 1000 logits of an ImageNet model.

Two scorings are in use, and they differ by several points:

- "full": all 1000 logits compete, and a prediction that is none of the 125
  ImageNet classes of ObjectNet is wrong (ObjectNet's own scorer).
- "restricted": only the logits of those 125 classes compete
  (imagenet-testbed).
"""

import dataclasses

import numpy as np
import pandas as pd

from bit_keras.benchmarks.objectnet.maps import LOGITS, Maps

SCORINGS = ("full", "restricted")
# Images whose logits are sorted at once.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a scoring says of each image.

    Attributes:
        top1: Whether the best prediction is right, bool `(images,)`.
        top5: Whether one of the best five is, bool `(images,)`.
        predicted: ImageNet id of the best prediction, int `(images,)`.
    """

    top1: np.ndarray
    top5: np.ndarray
    predicted: np.ndarray


def score(
    logits: np.ndarray, classes: np.ndarray, maps: Maps, scoring: str
) -> Scores:
    """Scores predictions under one of the two scorings.

    Each of the five best ImageNet ids is mapped to its ObjectNet class; two ids
    of the same class take two of the five places, as in the official
    validate_and_score.py. Of equal logits the lower id comes first.

    Args:
        logits: `(images, 1000)`, any monotone function of the probabilities.
        classes: True classes, indices into `maps.labels`, `(images,)`.
        maps: From `maps.read`.
        scoring: "full" or "restricted".

    Returns:
        `Scores`.

    Raises:
        ValueError: For other shapes, and for an unknown scoring.
    """
    if scoring not in SCORINGS:
        raise ValueError(
            f'scoring must be one of {", ".join(SCORINGS)}; got "{scoring}".'
        )
    if logits.shape != (len(classes), LOGITS):
        raise ValueError(
            f"logits must be (images, {LOGITS}), for {len(classes)} images; "
            f"got {logits.shape}."
        )
    ids = (
        np.arange(LOGITS) if scoring == "full" else np.array(maps.imagenet_ids)
    )
    # (images, 5): the best five ids.
    best = np.concatenate(
        [
            ids[np.argsort(-block[:, ids], axis=1, kind="stable")[:, :5]]
            for block in _blocks(logits)
        ]
    )
    right = np.array(maps.class_of)[best] == np.asarray(classes)[:, None]
    return Scores(right[:, 0], right.any(axis=1), best[:, 0])


def _blocks(logits: np.ndarray) -> list[np.ndarray]:
    starts = range(0, max(len(logits), 1), _BLOCK)
    return [logits[start : start + _BLOCK] for start in starts]


def per_class(classes: np.ndarray, maps: Maps, scores: Scores) -> pd.DataFrame:
    """Returns one line per class: images, and how many are right.

    Args:
        classes: True classes, `(images,)`.
        maps: From `maps.read`.
        scores: From `score`.

    Returns:
        Columns `class`, `n`, `top1`, `stderr` (of top1) and `top5`, as
        fractions; NaN for classes without images.
    """
    size = len(maps.labels)
    counts = np.bincount(classes, minlength=size)
    known = np.where(counts > 0, counts, np.nan)
    top1 = np.bincount(classes, scores.top1, minlength=size) / known
    top5 = np.bincount(classes, scores.top5, minlength=size) / known
    return pd.DataFrame(
        {
            "class": list(maps.labels),
            "n": counts,
            "top1": top1,
            "stderr": np.sqrt(top1 * (1 - top1) / known),
            "top5": top5,
        }
    )


def confusion(
    classes: np.ndarray, maps: Maps, scores: Scores, most: int = 5
) -> pd.DataFrame:
    """Returns which ImageNet classes the images of each class are taken for.

    Args:
        classes: True classes, `(images,)`.
        maps: From `maps.read`.
        scores: Of the scoring "full": all 1000 ImageNet classes compete.
        most: ImageNet classes listed for each class, the most frequent first.

    Returns:
        Columns `class`, `rank` (from 1), `imagenet_id`, `imagenet_name`,
        `images`, `share` (of the class's images) and `right`.
    """
    lines = []
    for index, label in enumerate(maps.labels):
        predicted = scores.predicted[classes == index]
        counts = np.bincount(predicted, minlength=LOGITS)
        order = np.argsort(-counts, kind="stable")[:most]
        for rank, found in enumerate(order[counts[order] > 0], 1):
            lines.append(
                {
                    "class": label,
                    "rank": rank,
                    "imagenet_id": int(found),
                    "imagenet_name": maps.imagenet_names[found],
                    "images": int(counts[found]),
                    "share": counts[found] / len(predicted),
                    "right": maps.class_of[found] == index,
                }
            )
    return pd.DataFrame(lines)
