"""Accuracy on a test set and on shifted versions of it, by one model."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bit_keras.benchmarks import task_data
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.images import ImageFunction, Preprocessing
from bit_keras.benchmarks.predictions import Predictions, predict
from bit_keras.benchmarks.results import Row
from bit_keras.benchmarks.robustness import label_space
from bit_keras.benchmarks.robustness.columns import joined, read_column
from bit_keras.benchmarks.robustness.rows import (
    Accuracy,
    accuracy_row,
    drop_row,
)
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Job:
    """One model, and how it is run.

    Attributes:
        backbone: A model with a head.
        data_dir: Folder of TFDS data; None: TFDS's default.
        cache_dir: Folder of what it answered before.
        batch_size: Images per step.
        endpoint: Where its logits are.
        say: Is given each message.
    """

    backbone: Backbone
    data_dir: str | None
    cache_dir: Path
    batch_size: int
    endpoint: str
    say: Callable[[str], None]

    def predict(
        self,
        name: str,
        source: Source,
        how: ImageFunction,
        num_classes: int,
        own_classes: bool = True,
    ) -> Predictions:
        """Runs the model on a split; raises ValueError for another head.

        Args:
            name: Of the task.
            source: The split.
            how: What is done to its images.
            num_classes: Of the head.
            own_classes: Whether labels are outputs of the head.
        """
        return predict(
            self.backbone,
            name,
            source,
            how,
            self.cache_dir,
            num_classes=num_classes,
            say=self.say,
            batch_size=self.batch_size,
            endpoint=self.endpoint,
            own_classes=own_classes,
        )

    def fields(self, how: ImageFunction) -> dict[str, Any]:
        """Returns what all rows of this model share."""
        return {
            "model": self.backbone.name,
            "model_sha256": self.backbone.sha256,
            "upstream": self.backbone.upstream,
            "group": None,
            "preprocessing": str(how),
            "endpoint": self.endpoint,
        }

    def config(self, source: Source, **more: Any) -> dict[str, Any]:
        """Returns what decides the numbers of a split."""
        data = [source.name, source.split, source.fingerprint]
        return {"range": self.backbone.input_range, "data": data, **more}


def pairs(
    job: Job, source: Task, shifted: Sequence[Task], by: str | None
) -> list[Row]:
    """Measures a user's own source task and its shifted versions.

    Args:
        job: The model, with a head of the source's classes.
        source: The task it was made for.
        shifted: Tasks with the same classes.
        by: A feature of the data; accuracy is given for each of its values.

    Returns:
        For each task its accuracy, and for the shifted ones what they lose.

    Raises:
        ValueError: If the classes differ, naming which.
    """
    # Whole images, as in the evaluation of a transferred model.
    side = job.backbone.resolution
    how = Preprocessing(resize=side, crop=side)
    opened = {
        task: task_data.open_split(task, "test", job.data_dir)
        for task in (source, *shifted)
    }
    for task in shifted:
        label_space.check_classes(
            source.name,
            opened[source].class_names,
            task.name,
            opened[task].class_names,
        )
    rows, first = [], None
    for task, split in opened.items():
        found = job.predict(task.name, split, how, split.num_classes)
        answered = label_space.predictions(found.logits)
        name = task.name if first is None else f"{source.name} -> {task.name}"
        config = job.config(split)
        here = Accuracy(name, "shift", answered == found.labels, config)
        parts = _by(job, here, split, found.ids, by) if by else []
        rows += [
            accuracy_row(part, **job.fields(how)) for part in (here, *parts)
        ]
        if first is None:
            first = here
        else:
            rows.append(drop_row(first, here, **job.fields(how)))
    return rows


def _by(
    job: Job, whole: Accuracy, source: Source, ids: Sequence[str], feature: str
) -> list[Accuracy]:
    column = read_column(source, feature, job.data_dir)
    return split_by(whole, feature, joined(feature, ids, column))


def split_by(
    whole: Accuracy, feature: str, values: Sequence[Any]
) -> list[Accuracy]:
    """Returns the accuracy at each value of a feature, sorted by value.

    Args:
        whole: Over all images.
        feature: Its name.
        values: Of each image.

    Example:

    >>> all_ = Accuracy("pacs", "shift", np.array([True, False, True]), {})
    >>> for part in split_by(all_, "domain", ["photo", "sketch", "photo"]):
    ...     print(part.task, part.value)
    pacs/domain=photo 1.0
    pacs/domain=sketch 0.0
    """
    at = np.array([str(value) for value in values])
    return [
        Accuracy(
            f"{whole.task}/{feature}={value}",
            whole.protocol,
            whole.right[at == str(value)],
            {**whole.config, "by": [feature, str(value)]},
        )
        for value in sorted(set(values))
    ]
