"""Tasks of a user's own, from a JSON file (`--tasks-file`)."""

import json
import os
import re
from typing import Any

from bit_keras import json_files
from bit_keras.benchmarks import tasks
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.prepared import NAME
from bit_keras.recipe import did_you_mean

# Key -> (whether it must be there, type, what is legal).
_KEYS = {
    "name": (True, str, "letters, digits, and . _ -"),
    "dataset": (
        True,
        str,
        "a TFDS name[/config][:version], or the path of a folder of images or "
        "a CSV file",
    ),
    "train": (True, str, "a TFDS split such as train[:80%]"),
    "test": (True, str, "a TFDS split such as train[80%:]"),
    "label": (False, str, "the name of a feature"),
    "group": (False, str, "letters, digits, and . _ -"),
    "num_classes": (False, int, "an integer of at least 2"),
}
_BOUND = r"\s*(-?\d+(%|shard)?)?\s*"
_PART = rf"\s*\w+(\[{_BOUND}:{_BOUND}\](\(\w+\))?)?\s*"
_PATTERNS = {
    "name": r"[\w.-]+",
    # What is no name can only be a path.
    "dataset": rf"{NAME.pattern}|.*[/\\].*|.*\.csv",
    "train": rf"{_PART}(\+{_PART})*",
    "test": rf"{_PART}(\+{_PART})*",
    "label": r".*\S.*",
    "group": r"[\w.-]+",
}
# Lists with published numbers: nothing may be added to them.
_CLOSED = ("fewshot", "bit", "vtab")


def from_json(path: str | os.PathLike) -> tuple[Task, ...]:
    """Reads tasks from a JSON file.

    Args:
        path: A list of objects with the keys "name"; "dataset" (TFDS
            `name[/config][:version]`, "digits", "shapes", or the path of a
            folder of images or CSV file, as for training); "train" and "test"
            (splits with slices); and, if need be, "label" (default "label"),
            "group", and "num_classes" (makes a plain integer feature legal as
            label).

    Returns:
        The tasks, in the file's order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: For anything wrong in it; says where, and what is legal.

    Example:

    >>> entry = '{"name": "a", "dataset": "mnist", "train": "train[:99%]", '
    >>> with open("mine.json", "w") as file:
    ...     _ = file.write("[" + entry + '"test": "test"}]')
    >>> [task.name for task in from_json("mine.json")]
    ['a']
    """
    path = os.path.expanduser(path)
    made: dict[str, Task] = {}
    for number, entry in enumerate(_entries(path), start=1):
        where = f"{path}, entry {number}"
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            where += f' ("{entry["name"]}")'
        task = _task(where, entry)
        if task.name in made:
            raise ValueError(f'{where}: "name" stands in the file twice.')
        made[task.name] = task
    return tuple(made.values())


def _entries(path: str) -> list[Any]:
    try:
        entries = json_files.read(path)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f'--tasks-file: there is no file "{path}".'
        ) from None
    if not isinstance(entries, list):
        raise ValueError(
            f"{path} must be a JSON list of tasks, [{{...}}, {{...}}]; it is "
            f"{_kind(entries)}."
        )
    if not entries:
        raise ValueError(f"{path} is an empty list; it needs a task.")
    return entries


def _task(where: str, entry: Any) -> Task:
    if not isinstance(entry, dict):
        raise ValueError(
            f"{where} must be an object {{...}} with the keys "
            f"{', '.join(_KEYS)}; it is {_kind(entry)}."
        )
    for key in entry:
        if key not in _KEYS:
            raise ValueError(
                f'{where}: there is no key "{key}".{did_you_mean(key, _KEYS)} '
                f"Legal: {', '.join(_KEYS)}."
            )
    for key, (required, _, legal) in _KEYS.items():
        if key in entry:
            _check_value(where, key, entry[key])
        elif required:
            raise ValueError(f'{where}: the key "{key}" is missing: {legal}.')
    _check_whole(where, entry)
    return Task(
        name=entry["name"],
        dataset=entry["dataset"],
        train=entry["train"],
        test=entry["test"],
        label=entry.get("label", "label"),
        num_classes=entry.get("num_classes"),
        groups=(entry["group"],) if "group" in entry else (),
    )


def _check_value(where: str, key: str, value: Any) -> None:
    _, kind, legal = _KEYS[key]
    # In Python, true is an integer.
    good = isinstance(value, kind) and not isinstance(value, bool)
    if good and kind is int:
        good = value >= 2
    elif good:
        good = re.fullmatch(_PATTERNS[key], value) is not None
    if not good:
        raise ValueError(
            f'{where}: "{key}" must be {legal}; it is {json.dumps(value)}.'
        )


def _check_whole(where: str, entry: dict[str, Any]) -> None:
    name, group = entry["name"], entry.get("group")
    if name in tasks.names() or name in tasks.groups():
        raise ValueError(
            f'{where}: "name" is that of a built-in task or group. Choose '
            f'another, such as "my_{name}".'
        )
    if group in _CLOSED:
        raise ValueError(
            f'{where}: "group" may not be {", ".join(_CLOSED)}, which are '
            "fixed lists. Choose another."
        )
    if entry["train"].split() == entry["test"].split():
        raise ValueError(
            f'{where}: "train" and "test" are the same split. Cut it in two, '
            "such as train[:80%] and train[80%:]."
        )


def _kind(value: Any) -> str:
    words = {dict: "an object", list: "a list", str: "a text", bool: "a bool"}
    words |= {int: "a number", float: "a number", type(None): "null"}
    return words[type(value)]
