"""The splits that calibration is measured on, and those it is fitted on."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path

from bit_keras import json_files
from bit_keras.benchmarks import task_data
from bit_keras.benchmarks.backbone import is_weights
from bit_keras.benchmarks.calibration import temperature
from bit_keras.benchmarks.predictions import Predictions
from bit_keras.benchmarks.source_subset import ids_of
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.prepared import is_folder
from bit_keras.data.sources import Source
from bit_keras.data.subset import few_shot
from bit_keras.export import handles, manifest

# What `few_shot` calls its splits.
_SUBSET = re.compile(
    r"(?P<split>.+) \((?P<shots>\d+) per class, seed (?P<seed>\d+)\)"
)


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
    """Counts the validation images that a run or an export was trained on.

    By the dataset and split in its recipe.json or model.json; what its backbone
    was pre-trained on before is not known there.

    Args:
        handle: That the model was opened from.
        task: Whose validation split it is.
        validation: That split.
        data_dir: Folder of TFDS data; None: TFDS's default.

    Returns:
        The number; 0 also if it is not known.
    """
    dataset, split = _training(handle)
    if not split or _place(task.dataset) != _place(dataset):
        return 0
    found = _SUBSET.fullmatch(split)
    if not found:
        return task_data.overlap(task, split, validation.split, data_dir)
    whole = dataclasses.replace(task, val200=found["split"])
    few = few_shot(
        task_data.open_split(whole, "val200", data_dir),
        int(found["shots"]),
        int(found["seed"]),
    )
    return len(set(ids_of(few)).intersection(ids_of(validation)))


def _training(handle: str) -> tuple[str, str | None]:
    """Returns dataset and split of the training; None: not known."""
    run = Path(handle).expanduser() / "recipe.json"
    if run.is_file():
        facts = json_files.read(run)
        recipe, data = facts.get("recipe"), facts.get("data")
    elif is_weights(handle):
        return "", None
    else:
        directory = Path(handles.resolve(handle))
        if not (directory / manifest.FILE).exists():
            return "", None
        card = manifest.read(directory)
        recipe, data = card.recipe, card.data
    if not recipe or not data:
        return "", None
    train = data.get("train", {})
    # Of a benchmark's fine-tuning it is a list, of split and fingerprint.
    split = train[0] if isinstance(train, list) else train.get("split")
    return recipe.get("data", {}).get("dataset", ""), split


def _place(dataset: str) -> str:
    """Returns a dataset without its version; of a folder, the whole path."""
    try:
        is_place = is_folder(dataset)
    except FileNotFoundError:  # It has been moved since.
        is_place = True
    if is_place:
        return str(Path(dataset).expanduser().resolve())
    return dataset.partition(":")[0]
