"""The arguments that several sub-commands share: which model, which tasks."""

import argparse
from collections.abc import Callable
from pathlib import Path

from bit_keras.benchmarks import task_status, tasks, tasks_file
from bit_keras.benchmarks.tasks import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every measurement needs.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).model
    'm'
    """
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="export (folder or .tar.gz), hub handle, .keras, official .npz, "
        "run directory, released name, or model name (with --init)",
    )
    add("--init", help='weights of a model named by --model, or "random"')
    add(
        "--tasks",
        metavar="NAME,NAME",
        help="tasks or groups of them; the tasks sub-command lists all",
    )
    add("--data-dir", help="where TFDS data are prepared")
    add("--out", required=True, metavar="DIR", help="for results.jsonl")
    add(
        "--cache-dir",
        metavar="DIR",
        help="for extracted features; default: OUT/features",
    )
    add(
        "--resolution",
        type=int,
        metavar="PIXELS",
        help="side the model sees; default: what its export says, or 224",
    )
    add(
        "--batch-size",
        type=int,
        help="images per step; extraction: default 64, no influence on "
        "results; fine-tuning: default 512, scales the learning rate",
    )


def add_tasks_file(parser: argparse.ArgumentParser) -> None:
    """Adds `--tasks-file`, for the user's own tasks."""
    parser.add_argument(
        "--tasks-file",
        metavar="JSON",
        help='own tasks: a list of {"name", "dataset", "train", "test", '
        '"label", "group"} with TFDS names and slices',
    )


def read_tasks_file(path: str | None) -> tuple[Task, ...]:
    """Returns the tasks of a tasks-file; none for None."""
    return tasks_file.from_json(path) if path else ()


def choose(
    names: str | None,
    default: str | tuple[Task, ...],
    own: tuple[Task, ...],
    data_dir: str | None,
    say: Callable[[str], None],
) -> tuple[Task, ...]:
    """Returns the tasks to measure: those asked for whose data are there.

    Of a group, tasks without data are left out and said so; a task asked for
    by its own name must be there.

    Args:
        names: Tasks and groups, separated by commas; None: `default`.
        default: The group, or the tasks, if nobody says.
        own: Tasks of the user's tasks-file.
        data_dir: Folder of TFDS data; None: TFDS's default.
        say: Is given one line on each task left out.

    Raises:
        FileNotFoundError: If a task's data, or those of all, are not there.
        ValueError: For an unknown name.

    Example:

    >>> own = (Task(name="mine", dataset="digits", train="train", test="test"),)
    >>> [task.name for task in choose("mine", "fewshot", own, None, print)]
    ['mine']
    """
    if names is None and not isinstance(default, str):
        wanted = dict.fromkeys(default, True)
    else:
        wanted = _named(names or default, own)
    present, missing = [], []
    for task, must in wanted.items():
        if task_status.status(task, data_dir) == "present":
            present.append(task)
            continue
        missing.append(task.name)
        if must:
            how = task_status.how_to_prepare(task, data_dir)
            raise FileNotFoundError(
                f"task {task.name}: its data are not prepared. {how}"
            )
    if missing:
        say(f"left out, not prepared: {', '.join(missing)}")
    if not present:
        raise FileNotFoundError(
            "The data of none of the tasks are there. The tasks sub-command "
            "says how to get them; --data-dir says where they are."
        )
    return tuple(present)


def _named(names: str, own: tuple[Task, ...]) -> dict[Task, bool]:
    """Returns the tasks, and whether each was asked for by its own name."""
    wanted: dict[Task, bool] = {}
    for name in filter(None, (word.strip() for word in names.split(","))):
        if name in tasks.groups(own):
            for task in tasks.group(name, own):
                wanted.setdefault(task, False)
        else:
            wanted[tasks.get(name, own)] = True
    return wanted


def cache_dir(args: argparse.Namespace) -> Path:
    """Returns the folder for features.

    >>> str(cache_dir(argparse.Namespace(cache_dir=None, out="results")))
    'results/features'
    """
    return Path(args.cache_dir or Path(args.out) / "features")


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Returns the positive whole numbers of "1,5,10", sorted.

    Raises:
        ValueError: Naming the option, for anything else.

    Example:

    >>> numbers("--shots", "5,1,25")
    (1, 5, 25)
    """
    try:
        found = sorted({int(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise ValueError(
            f"{option} takes positive whole numbers separated by commas, such "
            f'as 1,5,10,25; got "{text}".'
        )
    return tuple(found)
