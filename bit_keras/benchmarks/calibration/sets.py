"""The splits that calibration is measured on, and those it is fitted on."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from bit_keras.benchmarks import task_data
from bit_keras.benchmarks.backbone import is_weights
from bit_keras.benchmarks.calibration import temperature
from bit_keras.benchmarks.predictions import Predictions
from bit_keras.benchmarks.source_subset import ids_of
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.prepared import is_folder
from bit_keras.data.sources import Source, open_source
from bit_keras.data.subset import few_shot
from bit_keras.export import handles, manifest


@dataclasses.dataclass(frozen=True)
class Split:
    """A split, and what the model says of it once somebody asks.

    Attributes:
        name: As shown in the column "task".
        group: Of the task.
        source: The images.
        predict: Runs the model over them.
    """

    name: str
    group: str | None
    source: Source
    predict: Callable[[], Predictions]

    @property
    def title(self) -> str:
        """For messages: "mnist test"."""
        return f"{self.name} {self.source.split}"

    @functools.cached_property
    def found(self) -> Predictions:
        """Logits, labels and ids."""
        return self.predict()


def open_validation(
    task: Task, split: str | None, data_dir: str | None
) -> Source | None:
    """Opens the split that a task's temperature is fitted on.

    Args:
        task: Of the temperature.
        split: In TFDS's syntax; None: what VTAB chooses hyperparameters on.
        data_dir: Folder of TFDS data; None: TFDS's default.

    Returns:
        The images; None if nobody says which.

    Raises:
        ValueError: For a split that no temperature may be fitted on, or that
            is not there.

    Example:

    >>> task = Task(name="a", dataset="digits", train="train", test="test")
    >>> open_validation(task, "train[:100]", None).num_examples
    100
    """
    if split is None and task.val200 is None:
        return None
    if split is not None:
        temperature.check_split(task, split)
        task = dataclasses.replace(task, val200=split)
    return task_data.open_split(task, "val200", data_dir)


def trained_on(
    handle: str, task: Task, validation: Source, data_dir: str | None
) -> int:
    """Counts the validation images that an export was trained on.

    By the dataset and split in its model.json; what its backbone was
    pre-trained on before is not known there.

    Args:
        handle: That the model was opened from.
        task: Whose validation split it is.
        validation: That split.
        data_dir: Folder of TFDS data; None: TFDS's default.

    Returns:
        The number; 0 also if it is not known.
    """
    if is_weights(handle):
        return 0
    directory = Path(handles.resolve(handle))
    if not (directory / manifest.FILE).exists():
        return 0
    card = manifest.read(directory)
    if not card.recipe or not card.data:
        return 0
    data = card.recipe.get("data", {})
    split = card.data.get("train", {}).get("split")
    if not split or _place(task.dataset) != _place(data.get("dataset", "")):
        return 0
    if data.get("examples_per_class") is None:
        return task_data.overlap(task, split, validation.split, data_dir)
    # A few of each class; their split says in brackets how many.
    whole = open_source(
        task.dataset,
        split.partition(" (")[0],
        data_dir=data_dir,
        label=data["label"],
    )
    few = few_shot(whole, data["examples_per_class"], data["subset_seed"])
    return len(set(ids_of(few)).intersection(ids_of(validation)))


def _place(dataset: str) -> str:
    """Returns a dataset without its version; of a folder, the whole path."""
    try:
        is_place = is_folder(dataset)
    except FileNotFoundError:  # It has been moved since.
        is_place = True
    if is_place:
        return str(Path(dataset).expanduser().resolve())
    return dataset.partition(":")[0]
