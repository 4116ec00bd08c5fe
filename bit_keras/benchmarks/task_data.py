"""From a task to its images and labels."""

import os
import warnings

from bit_keras.benchmarks.labels import image_function, label_function
from bit_keras.benchmarks.task_status import (
    accepted,
    how_to_prepare,
    versions_on_disk,
)
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.prepared import BUILTIN, is_folder, root
from bit_keras.data.sources import Source, open_source
from bit_keras.data.splits import slice_split
from bit_keras.data.tfds_source import Rule, open_tfds
from bit_keras.recipe import did_you_mean

_SPLITS = ("train", "test", "train800", "val200")


def open_split(task: Task, split: str, data_dir: str | None = None) -> Source:
    """Opens one split of a task; never downloads anything.

    Args:
        task: A built-in task or a user's.
        split: "train" or "test"; for VTAB also "train800" or "val200".
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Returns:
        A `Source`: images still encoded, labels int64, both after the task's
        label and image functions.

    Raises:
        ValueError: For a split the task does not have or that is empty, a
            version it does not accept, and a label that is not one integer.
        FileNotFoundError: For data that are not prepared; the message says how
            to get them.

    Example:

    >>> task = Task(name="mine", dataset="digits", train="train", test="test")
    >>> open_split(task, "test").num_classes
    10
    """
    try:
        source = _open(task, _spec(task, split), data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"task {task.name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"task {task.name}: {error}") from None
    _check(task, split, source)
    return source


def open_both(task: Task, data_dir: str | None = None) -> tuple[Source, Source]:
    """Opens the train and the test split of a task that is to be learned.

    Args:
        task: A built-in task or a user's.
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Raises:
        ValueError: As `open_split`, and for training examples that are test
            examples.
        FileNotFoundError: As `open_split`.

    Example:

    >>> task = Task(name="mine", dataset="digits", train="train", test="test")
    >>> [split.num_examples for split in open_both(task)]
    [1297, 500]
    """
    train, test = (
        open_split(task, split, data_dir) for split in ("train", "test")
    )
    if _words(task.train) & _words(task.test):
        if shared := overlap(task, task.train, task.test, data_dir):
            raise ValueError(
                f'task {task.name}: {shared} examples are in "train" '
                f'({task.train}) and in "test" ({task.test}). Cut the split in '
                "two, such as train[:80%] and train[80%:]."
            )
    return train, test


def overlap(task: Task, one: str, other: str, data_dir: str | None) -> int:
    """Counts the examples that two splits of a task's dataset share.

    Args:
        task: Which dataset.
        one: A split, perhaps with slices: "train[:80%]".
        other: Another.
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Example:

    >>> task = Task(name="mine", dataset="digits", train="train", test="test")
    >>> overlap(task, "train[:100]", "test+train[90:]", None)
    10
    """
    lengths = {
        word: [_open(task, word, data_dir).num_examples]
        for word in _words(one) | _words(other)
    }
    places = [slice_split(task.dataset, spec, lengths) for spec in (one, other)]
    return sum(
        max(0, min(end, last) - max(first, start))
        for word, first, end in places[0]
        for key, start, last in places[1]
        if key == word
    )


def _words(spec: str) -> set[str]:
    """Returns the splits of which a split is made."""
    return {part.partition("[")[0].strip() for part in spec.split("+")}


def _spec(task: Task, split: str) -> str:
    legal = [s for s in _SPLITS if getattr(task, s) is not None]
    if split not in legal:
        raise ValueError(
            f'split must be one of {", ".join(legal)}; got "{split}".'
            f"{did_you_mean(split, legal)}"
        )
    return getattr(task, split)


def _open(task: Task, spec: str, data_dir: str | None) -> Source:
    if task.dataset in BUILTIN or is_folder(task.dataset):
        return open_source(task.dataset, spec, label=task.label)
    try:
        return open_tfds(
            _dataset(task, data_dir),
            spec,
            data_dir,
            task.label,
            num_classes=task.num_classes,
            rule=_rule(task),
        )
    except ValueError as error:
        if "does not say how many classes" not in str(error):
            raise
        hint = 'With "num_classes" in the tasks-file it may be a plain integer'
        if task.num_classes:
            hint += f', which "{task.label}" is not'
        raise ValueError(f"{error} {hint}.") from None


def _dataset(task: Task, data_dir: str | None) -> str:
    """Returns the dataset in the best accepted version on disk."""
    on_disk = versions_on_disk(task, data_dir)
    if not task.versions:
        return task.dataset
    if legal := accepted(task, on_disk):
        return f"{task.dataset}:{legal[0]}"
    folder = root(data_dir)
    if data_dir and not os.path.isdir(folder):
        raise FileNotFoundError(f'data_dir: there is no folder "{folder}".')
    how = how_to_prepare(task, data_dir)
    if on_disk:
        raise ValueError(
            f"dataset: {folder} has {task.dataset} in version "
            f"{', '.join(on_disk)}, whose examples or their order may differ; "
            f"accepted: {', '.join(task.versions)}. {how}"
        )
    raise FileNotFoundError(
        f"dataset: {task.dataset} is not prepared in {folder}. {how}"
    )


def _rule(task: Task) -> Rule | None:
    if task.label_function is None:
        return None
    label, class_names = label_function(task.label_function)
    image = task.image_function
    return Rule(
        name=f"{task.label_function}+{image}",
        class_names=class_names,
        label=label,
        image=image_function(image) if image else None,
    )


def _check(task: Task, split: str, source: Source) -> None:
    if source.multi_label:
        raise ValueError(
            f'task {task.name}: label: "{task.label}" of {source.name} gives '
            "an image several classes; a task needs one integer."
        )
    if task.num_classes not in (None, source.num_classes):
        raise ValueError(
            f"task {task.name}: num_classes is {task.num_classes}, but "
            f'"{task.label}" of {source.name} has {source.num_classes} classes.'
        )
    sizes = {"train": task.num_train, "test": task.num_test}
    expected = sizes.get(split)
    if expected not in (None, source.num_examples):
        warnings.warn(
            f"task {task.name}: {split} of {source.name} has "
            f"{source.num_examples} examples instead of {expected}; results "
            "are not comparable with published ones.",
            stacklevel=3,
        )
