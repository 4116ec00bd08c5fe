"""Accuracy on the shifted versions of ImageNet, in each label space."""

import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bit_keras import csv_files, json_files
from bit_keras.benchmarks import task_data
from bit_keras.benchmarks.images import ShortSide
from bit_keras.benchmarks.results import Row
from bit_keras.benchmarks.robustness import label_space
from bit_keras.benchmarks.robustness.columns import joined, read_column
from bit_keras.benchmarks.robustness.rows import (
    Accuracy,
    accuracy_row,
    drop_row,
)
from bit_keras.benchmarks.robustness.shift import Job, split_by
from bit_keras.benchmarks.robustness.shifts import NUM_CLASSES, Shift
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.folder import open_folder


@dataclasses.dataclass(frozen=True)
class Answered:
    """A set in ImageNet's label space, after a model has seen it.

    Attributes:
        name: Of the set.
        logits: `(images, 1000)`.
        answers: The classes that are right, of each image; at least one.
        config: What decides the numbers.
        values: Factor of SI-Score -> its value at each image.
    """

    name: str
    logits: np.ndarray
    answers: Sequence[Collection[int]]
    config: dict[str, Any]
    values: dict[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    @property
    def classes(self) -> list[int]:
        """Those that are the right answer of an image, sorted."""
        return sorted({one for answers in self.answers for one in answers})

    def accuracy(
        self, task: str, protocol: str, classes: Sequence[int]
    ) -> Accuracy:
        """Measures the images of some classes in one label space.

        Args:
            task: Of the row.
            protocol: "full": all logits compete; "restricted": only those of
                `classes`.
            classes: Of the images that count.
        """
        space = classes if protocol == "restricted" else None
        answered = label_space.predictions(self.logits, space)
        allowed = set(classes)
        counts = [not allowed.isdisjoint(one) for one in self.answers]
        right = label_space.is_right(answered, self.answers)[counts]
        config = {**self.config, "classes": list(classes)}
        return Accuracy(task, protocol, right, config)

    def parts(self, whole: Accuracy) -> list[Accuracy]:
        """Returns an accuracy over all images at each value of each factor."""
        return [
            one
            for factor, values in self.values.items()
            for one in split_by(whole, factor, values)
        ]


def answer(job: Job, shift: Shift, metadata: str | None) -> Answered:
    """Runs the model on a named set.

    Args:
        job: A model with 1000 logits.
        shift: The set.
        metadata: SI-Score's metadata.csv, for its accuracy by factor.

    Raises:
        ValueError: If classes that should have images have none.
    """
    task = shift.task
    source = task_data.open_split(task, "test", job.data_dir)
    found = job.predict(task.name, source, _how(job), NUM_CLASSES)
    answers: list[Collection[int]] = [{one} for one in found.labels.tolist()]
    if shift.answers:
        index = {name: i for i, name in enumerate(source.class_names)}
        column = read_column(source, shift.answers, job.data_dir)
        several = joined(shift.answers, found.ids, column)
        answers = [{index[name] for name in names} for names in several]
    values = {}
    if metadata and shift.factors:
        column = read_column(source, "image_id", job.data_dir)
        image_ids = joined("image_id", found.ids, column)
        values = si_score(metadata, image_ids, shift.factors)
    config = job.config(source, answers=shift.answers)
    made = Answered(
        task.name, *_answerable(found.logits, answers), config, values
    )
    if len(made.classes) != shift.classes:
        raise ValueError(
            f"{task.name} must have images of {shift.classes} classes; "
            f"{source.name} has some of {len(made.classes)}. Prepare it again."
        )
    return made


def _answerable(
    logits: np.ndarray, answers: list[Collection[int]]
) -> tuple[np.ndarray, list[Collection[int]]]:
    """Leaves out the images that have no right answer, as ReaL's do."""
    keep = [bool(one) for one in answers]
    if all(keep):
        return logits, answers
    return logits[keep], [one for one in answers if one]


def si_score(
    path: str, image_ids: Sequence[str], factors: Sequence[str]
) -> dict[str, list[float]]:
    """Reads the factors of SI-Score's images, which TFDS leaves out.

    Args:
        path: Its metadata.csv, from the bucket si-score-dataset,
            object_{rotation,size,location}/metadata.csv.
        image_ids: Of the images.
        factors: Columns; two of them are one place, "x_coord,y_coord".

    Returns:
        The factors' names, joined by commas -> value at each image.

    Raises:
        ValueError: If the file lacks a column or an image.
    """
    try:
        header, lines = csv_files.read(path)
    except ValueError as error:
        raise ValueError(f"--metadata {error}") from None
    missing = [n for n in ("image_id", *factors) if n not in header]
    if missing:
        raise ValueError(
            f"--metadata {path} has no column {missing[0]}; it has "
            f"{', '.join(header) or 'none'}. It must be the metadata.csv of "
            "the same SI-Score set."
        )
    table = {}
    for number, cells in lines:
        row = dict(zip(header, cells, strict=True))
        try:
            values = tuple(float(row[name]) for name in factors)
        except ValueError as error:
            raise ValueError(
                f"--metadata {path}, line {number}: {error}."
            ) from None
        table[row["image_id"]] = values
    rows = joined(f"--metadata {path}", image_ids, table)
    one = len(factors) == 1
    return {",".join(factors): [row[0] if one else row for row in rows]}


def folder(job: Job, images: str, class_map: str) -> Answered:
    """Runs the model on a user's folder of images of ImageNet classes.

    Such as BiT's out-of-context images (arXiv 1912.11370, appendix), which are
    in no TFDS.

    Args:
        job: A model with 1000 logits.
        images: Folder `class/image`.
        class_map: JSON: name of a class folder -> list of ImageNet's ids
            (0..999) that are right.
    """
    ids = read_class_map(class_map)
    source = open_folder(images, "all")
    unknown = [name for name in source.class_names if name not in ids]
    if unknown:
        raise ValueError(
            f"--class-map {class_map} has no entry for {len(unknown)} folders "
            f"of {images}, {unknown[0]} first."
        )
    name = Path(images).resolve().name
    # The map joins the folders to the head's classes.
    found = job.predict(name, source, _how(job), NUM_CLASSES, own_classes=False)
    classes = [ids[name] for name in source.class_names]
    answers = [classes[label] for label in found.labels]
    config = job.config(source, class_map=[sorted(one) for one in classes])
    return Answered(name, found.logits, answers, config)


def read_class_map(path: str) -> dict[str, frozenset[int]]:
    """Reads which ImageNet ids are right for which folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is anything but name -> ids in 0..999.
    """
    try:
        found = json_files.read(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'--class-map: there is no file "{path}".'
        ) from None
    except ValueError as error:
        raise ValueError(f"--class-map {error}") from None
    legal = isinstance(found, dict) and found
    for name, ids in found.items() if legal else ():
        good = isinstance(ids, list) and ids
        if not good or not all(type(i) is int and 0 <= i < 1000 for i in ids):
            raise ValueError(
                f'--class-map {path}: "{name}" must be a list of ImageNet ids '
                f"in 0..999; it is {json.dumps(ids)}."
            )
    if not legal:
        raise ValueError(
            f"--class-map {path} must be a JSON object, "
            '{"folder name": [ImageNet ids], ...}.'
        )
    return {name: frozenset(ids) for name, ids in found.items()}


def clean(job: Job, source: Task) -> Answered:
    """Runs the model on ImageNet itself.

    Raises:
        ValueError: If the task's classes are not ImageNet's.
    """
    split = task_data.open_split(source, "test", job.data_dir)
    ids = label_space.imagenet_classes()
    label_space.check_classes("ImageNet", ids, source.name, split.class_names)
    found = job.predict(source.name, split, _how(job), NUM_CLASSES)
    answers = [{one} for one in found.labels.tolist()]
    return Answered(source.name, found.logits, answers, job.config(split))


def rows(
    job: Job, source: Answered | None, shifted: Sequence[Answered]
) -> list[Row]:
    """Returns accuracies in each label space, and what is lost.

    The source counts with its images of the same classes, and in the same label
    space, as in the tables of timm (`imagenet-a-clean`).

    Args:
        job: Of both.
        source: ImageNet itself; None: nothing is said about losses.
        shifted: The sets.
    """
    fields = job.fields(_how(job))
    made = []
    for found in shifted:
        classes = found.classes
        part = len(classes) < NUM_CLASSES
        arrow = f"{source.name} -> {found.name}" if source else found.name
        for protocol in ("full", "restricted") if part else ("full",):
            here = found.accuracy(arrow, protocol, classes)
            made += [
                accuracy_row(one, **fields)
                for one in (here, *found.parts(here))
            ]
            if source:
                subset = f"/classes of {found.name}" if part else ""
                there = source.accuracy(source.name + subset, protocol, classes)
                made.append(accuracy_row(there, **fields))
                made.append(drop_row(there, here, **fields))
    # The source is the same beside all sets of all classes.
    return list({row.config_hash: row for row in made}.values())


def _how(job: Job) -> ShortSide:
    return ShortSide.imagenet(job.backbone.resolution)
