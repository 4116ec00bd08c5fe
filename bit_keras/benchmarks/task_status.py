"""Which tasks can be run at once, and what the others need.

Looks at folders on disk only: no network, no TensorFlow.
"""

import fnmatch
import os
from collections.abc import Iterable
from typing import Literal

from bit_keras.benchmarks.tasks import Task
from bit_keras.data.prepared import (
    BUILTIN,
    NAME,
    is_folder,
    manual_download,
    prepare_command,
    root,
    variants,
)

_HEADER = ("task", "dataset", "classes", "train", "test", "groups", "status")


def versions_on_disk(task: Task, data_dir: str | None) -> tuple[str, ...]:
    """Returns the prepared versions of a task's dataset, accepted or not.

    Args:
        task: A built-in task or a user's.
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Example:

    >>> from bit_keras.benchmarks import tasks
    >>> versions_on_disk(tasks.get("dtd"), "no_such_folder")
    ()
    """
    name, config = NAME.fullmatch(task.dataset).group("name", "config")
    found = []
    for variant in variants(os.path.join(root(data_dir), name)):
        its_config, _, version = variant.partition(":")
        if config is None or its_config == f"/{config}":
            found.append(version)
    return tuple(found)


def accepted(task: Task, versions: Iterable[str]) -> tuple[str, ...]:
    """Returns those versions that hold the task's examples, best first.

    >>> from bit_keras.benchmarks import tasks
    >>> accepted(tasks.get("vtab_clevr_count"), ["2.0.0", "3.0.0", "3.1.0"])
    ('3.1.0', '3.0.0')
    """
    versions = tuple(versions)
    if task.versions:
        return tuple(v for v in task.versions if v in versions)
    pattern = NAME.fullmatch(task.dataset)["version"] or "*"
    return tuple(v for v in versions if fnmatch.fnmatchcase(v, pattern))


def status(
    task: Task, data_dir: str | None
) -> Literal["present", "downloadable", "manual"]:
    """Says whether a task's data are there.

    Args:
        task: A built-in task or a user's.
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Returns:
        "present": prepared in an accepted version; "downloadable": TFDS can
        download and prepare them; "manual": they must first be brought by hand
        (as must data that TFDS does not know).

    Example:

    >>> from bit_keras.benchmarks import tasks
    >>> [status(tasks.get(t), "no_such_folder") for t in ("dtd", "imagenet")]
    ['downloadable', 'manual']
    """
    if task.dataset in BUILTIN or is_folder(task.dataset):
        return "present"
    if accepted(task, versions_on_disk(task, data_dir)):
        return "present"
    return "downloadable" if _instructions(task) == "" else "manual"


def _instructions(task: Task) -> str | None:
    """Returns TFDS's words on what to do by hand; None: it knows no such data.

    Empty words mean that TFDS downloads by itself.
    """
    if task.versions:
        return task.manual or ""
    # A user's task: only TFDS can say whether it knows the name.
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_cls(NAME.fullmatch(task.dataset)["name"])
    except tfds.core.DatasetNotFoundError:
        return None
    return builder.MANUAL_DOWNLOAD_INSTRUCTIONS or ""


def how_to_prepare(task: Task, data_dir: str | None) -> str:
    """Returns how to get the data of a task that are not on disk.

    >>> from bit_keras.benchmarks import tasks
    >>> how_to_prepare(tasks.get("dtd"), "/data")
    'Prepare it once with: python -c "import ...builder(\\'dtd:3.0.1\\', ...'
    """
    folder = root(data_dir)
    words = _instructions(task)
    if words is None:
        name = NAME.fullmatch(task.dataset)["name"]
        return (
            f"TFDS does not know {name}, and there is no folder "
            f'"{task.dataset}". Say with --data-dir where {name}/<version> is '
            f"(not in {folder}), or correct the name."
        )
    version = f":{task.versions[0]}" if task.versions else ""
    command = prepare_command(task.dataset + version, data_dir)
    manual = manual_download(words, folder)
    return f"{manual} Prepare it once with: {command}".strip()


def listing(tasks: Iterable[Task], data_dir: str | None) -> list[str]:
    """Returns a table of tasks as lines of text.

    Args:
        tasks: Which.
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Returns:
        A header, one line for each task, and below them how to get the data
        that must be downloaded by hand.

    Example:

    >>> from bit_keras.benchmarks import tasks
    >>> print(*listing([tasks.get("pets")], "no_such_folder"), sep="\\n")
    task  dataset          classes  train  test  groups        status
    pets  oxford_iiit_pet  37       3680   3669  fewshot, bit  downloadable
    """
    rows, notes = [_HEADER], []
    for task in tasks:
        try:
            state = status(task, data_dir)
        except FileNotFoundError as error:
            # A folder or CSV file of the user's.
            state = "missing"
            notes.append(f"{task.name}: {error}")
        sizes = (task.num_classes, task.num_train, task.num_test)
        texts = ("?" if size is None else str(size) for size in sizes)
        groups = ", ".join(task.groups) or "-"
        rows.append((task.name, task.dataset, *texts, groups, state))
        if state == "manual":
            notes.append(f"{task.name}: {how_to_prepare(task, data_dir)}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [*lines, "", *notes] if notes else lines
