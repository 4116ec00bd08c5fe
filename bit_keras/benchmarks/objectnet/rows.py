"""The rows of results of one model on ObjectNet."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bit_keras.benchmarks import exclusions, fewshot, results
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.images import ImageFunction
from bit_keras.benchmarks.objectnet.coverage import coverage
from bit_keras.benchmarks.objectnet.maps import Maps
from bit_keras.benchmarks.objectnet.scoring import Scores, confusion
from bit_keras.data.sources import Source

METRICS = ("top1", "top5")
# Wrong predictions that a row keeps, the most frequent first.
_CONFUSED = 20


@dataclasses.dataclass(frozen=True)
class View:
    """One way to show the images to the model.

    Attributes:
        name: "" for whole images, or "boxes".
        source: The images.
        preprocessing: What is done to them.
    """

    name: str
    source: Source
    preprocessing: ImageFunction


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model, and all but the images that decides its numbers.

    Attributes:
        backbone: The model.
        endpoint: Where its logits are.
        maps: The classes.
        exclude: "objectnet" -> ids of images that are left out; {}: no list.
    """

    backbone: Backbone
    endpoint: str
    maps: Maps
    exclude: Mapping[str, frozenset[str]]

    def protocol(self, view: View, scoring: str) -> str:
        """Names a scoring: "full", "restricted, boxes, deduplicated"."""
        name = f"{scoring}, {view.name}" if view.name else scoring
        return exclusions.protocol(name, self.exclude)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a model says of the images of one view.

    Attributes:
        view: The images.
        classes: Their true classes, `(images,)`.
        scores: Scoring -> what it says of each image.
    """

    view: View
    classes: np.ndarray
    scores: dict[str, Scores]


def rows(subject: Subject, measured: Measured) -> list[results.Row]:
    """Returns the rows of one view: two scorings, each with top1 and top5.

    The details of each have the counts of classes and images, and those of top1
    also the right images of each class; those of the full scoring the ImageNet
    classes that wrong predictions name most.

    Args:
        subject: The model.
        measured: What it says.
    """
    made = []
    view, n = measured.view, len(measured.classes)
    for scoring, scores in measured.scores.items():
        for metric in METRICS:
            value = float(np.mean(getattr(scores, metric)))
            details = _details(subject, measured, scoring, metric)
            made.append(
                results.Row(
                    benchmark="objectnet",
                    model=subject.backbone.name,
                    model_sha256=subject.backbone.sha256,
                    upstream=subject.backbone.upstream,
                    task="objectnet",
                    group=None,
                    protocol=subject.protocol(view, scoring),
                    preprocessing=str(view.preprocessing),
                    metric=metric,
                    value=value,
                    stderr=fewshot.stderr(value, n),
                    n=n,
                    endpoint=subject.endpoint,
                    details=details,
                    config_hash=_hash(subject, view, scoring, metric),
                )
            )
    return made


def _hash(subject: Subject, view: View, scoring: str, metric: str) -> str:
    source = view.source
    return results.config_hash(
        {
            "benchmark": "objectnet",
            "model": subject.backbone.sha256,
            "input_range": subject.backbone.input_range,
            "endpoint": subject.endpoint,
            # The fingerprint is also of the mapping files and boxes.
            "data": [source.name, source.split, source.fingerprint],
            "preprocessing": str(view.preprocessing),
            "protocol": subject.protocol(view, scoring),
            "metric": metric,
            **exclusions.config(subject.exclude, ["objectnet"]),
        }
    )


def _details(
    subject: Subject, measured: Measured, scoring: str, metric: str
) -> dict[str, Any]:
    maps, classes = subject.maps, measured.classes
    found = coverage(maps.labels, classes)
    details: dict[str, Any] = {
        "classes": found.classes,
        "images": len(classes),
        "partial": found.partial,
    }
    if metric != "top1":
        return details
    scores = measured.scores[scoring]
    right = np.bincount(classes, scores.top1, minlength=len(maps.labels))
    total = np.bincount(classes, minlength=len(maps.labels))
    details["right_of_images"] = {
        label: [int(right[i]), int(total[i])]
        for i, label in enumerate(maps.labels)
        if total[i]
    }
    if scoring == "full":
        table = confusion(classes, maps, scores)
        wrong = table[~table["right"].astype(bool)]
        wrong = wrong.sort_values("images", ascending=False, kind="stable")
        columns = ["class", "imagenet_id", "imagenet_name", "images", "share"]
        details["confused"] = wrong[columns].head(_CONFUSED).to_dict("records")
    return details
