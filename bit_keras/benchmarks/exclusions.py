"""The list of near-duplicates on disk: which test images to leave out.

A JSON file, made by the sub-command `duplicates`.  It is for people, too: a
pair that is none after all can be deleted from it.
"""

import argparse
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from bit_keras import json_files
from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.row import config_hash
from bit_keras.checkpoint_report import first_names
from bit_keras.recipe import did_you_mean

FILE_NAME = "duplicates.json"
_FORMAT, _VERSION = "bit_keras duplicates", 1


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--exclude` to a sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_argument(parser)
    >>> parser.parse_args(["--exclude", "duplicates.json"]).exclude
    'duplicates.json'
    """
    parser.add_argument(
        "--exclude",
        metavar="JSON",
        help="leave the test images of this list out; from the sub-command "
        f"duplicates, its OUT/{FILE_NAME}",
    )


def read(path: str | None) -> dict[str, frozenset[str]]:
    """Returns which test images of each task are in its upstream's training.

    Args:
        path: Of the list; None: there is none.

    Returns:
        Name of each task that was looked through -> ids of its test split,
        perhaps none; {} for None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a list.

    Example:

    >>> read(None)
    {}
    """
    if path is None:
        return {}
    found: dict[str, set[str]] = {}
    content = load(path)
    for task in content["tasks"]:
        found[task["task"]] = set()
    for number, pair in enumerate(content["pairs"], 1):
        if pair["task"] not in found:
            raise ValueError(
                f'{path}: pair {number} is of task "{pair["task"]}", which is '
                'not among its "tasks".'
            )
        if pair["split"] == "test":
            found[pair["task"]].add(pair["id"])
    return {name: frozenset(ids) for name, ids in found.items()}


def load(path: str | Path) -> dict[str, Any]:
    """Reads a list as it is on disk.

    Args:
        path: Of the list.

    Returns:
        At least "upstream" (text), "settings" (dict), "tasks" (one dict for
        each task) and "pairs" (dicts with "task", "split", "id",
        "upstream_id").

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a list.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise FileNotFoundError(
            f'--exclude: there is no file "{path}". The sub-command duplicates '
            f"writes OUT/{FILE_NAME}."
        )
    content = json_files.read(path)
    name = content.get("format") if isinstance(content, dict) else None
    if name != _FORMAT:
        raise ValueError(
            f"{path} is not a list of the sub-command duplicates "
            f'("format" must be "{_FORMAT}").'
        )
    if content.get("version") != _VERSION:
        raise ValueError(
            f"{path} is of version {content.get('version')}; this program "
            f"reads version {_VERSION}. Make it anew."
        )
    if not isinstance(content.get("tasks"), list) or not content["tasks"]:
        raise ValueError(f'{path}: "tasks" must list at least one task.')
    _check_entries(path, content, "tasks", ("task",))
    _check_entries(
        path, content, "pairs", ("task", "split", "id", "upstream_id")
    )
    return content


def _check_entries(
    path: Path, content: dict, name: str, fields: tuple[str, ...]
) -> None:
    entries = content.get(name)
    if not isinstance(entries, list):
        raise ValueError(f'{path}: "{name}" must be a list.')
    for number, entry in enumerate(entries, 1):
        for field in fields:
            value = entry.get(field) if isinstance(entry, dict) else None
            if not isinstance(value, str) or not value:
                raise ValueError(
                    f'{path}: entry {number} of "{name}" needs the text '
                    f'"{field}"; got {value!r}.'
                )


def write(
    path: Path,
    upstream: str,
    settings: Mapping[str, Any],
    tasks: Iterable[Mapping[str, Any]],
    pairs: Iterable[Mapping[str, Any]],
) -> None:
    """Writes a list, whole or not at all; one pair per line.

    Args:
        path: Of the file.
        upstream: Images that were searched.
        settings: What a duplicate is.
        tasks: Those looked through: "task", and counts.
        pairs: "task", "split", "id", "upstream_id", and how alike they are.
    """

    def lines(entries: Iterable[Mapping[str, Any]]) -> str:
        text = ",\n".join(f"  {json.dumps(dict(entry))}" for entry in entries)
        return f"[\n{text}\n ]" if text else "[]"

    head = {"format": _FORMAT, "version": _VERSION, "upstream": upstream}
    parts = [f' "{key}": {json.dumps(value)}' for key, value in head.items()]
    parts.append(f' "settings": {json.dumps(dict(settings))}')
    parts.append(f' "tasks": {lines(tasks)}')
    parts.append(f' "pairs": {lines(pairs)}')
    write_atomic(path, "{\n" + ",\n".join(parts) + "\n}\n")


def check_tasks(
    exclude: Mapping[str, Collection[str]], names: Iterable[str]
) -> None:
    """Raises a ValueError for a task that the list was not made for.

    Args:
        exclude: From `read`; {}: nothing is to be excluded.
        names: Of the tasks to measure.

    Example:

    >>> check_tasks({"pets": frozenset()}, ["pest"])
    Traceback (most recent call last):
    ValueError: --exclude: the list says nothing of pest. Did you mean...
    """
    for name in names:
        if exclude and name not in exclude:
            raise ValueError(
                f"--exclude: the list says nothing of {name}."
                f"{did_you_mean(name, exclude)} It has: "
                f"{first_names(exclude)}. Add the task with the sub-command "
                "duplicates."
            )


def protocol(name: str, exclude: Mapping[str, Collection[str]]) -> str:
    """Returns the protocol of rows: deduplicated ones are never averaged in.

    Args:
        name: Of the protocol on all test images.
        exclude: From `read`.

    Example:

    >>> protocol("big_vision", {}), protocol("big_vision", {"pets": ["a"]})
    ('big_vision', 'big_vision, deduplicated')
    """
    return f"{name}, deduplicated" if exclude else name


def label(exclude: Mapping[str, Collection[str]]) -> str:
    """Names a list by its content: rows of different ones are kept apart.

    Args:
        exclude: From `read`.

    Example:

    >>> label({}), label({"pets": ["b", "a"]})
    ('', 'list f66ad8f9')
    """
    if not exclude:
        return ""
    return f"list {config_hash(config(exclude, sorted(exclude)))[:8]}"


def config(
    exclude: Mapping[str, Collection[str]], names: Iterable[str]
) -> dict[str, Any]:
    """Returns what a list adds to the configuration that is hashed.

    Args:
        exclude: From `read`.
        names: Of the tasks that decide the number.

    Example:

    >>> config({}, ["pets"]), config({"pets": ["b", "a"]}, ["pets"])
    ({}, {'excluded': {'pets': ['a', 'b']}})
    """
    if not exclude:
        return {}
    return {"excluded": {name: sorted(exclude[name]) for name in names}}
