"""The arguments that several sub-commands share: which model, which tasks."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from bit_keras.benchmarks import task_status, tasks, tasks_file
from bit_keras.benchmarks.tasks import Task
from bit_keras.checks import check_init
from bit_keras.export.options import check_source
from bit_keras.recipe import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what a measurement over tasks needs.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).model
    'm'
    """
    add_model(parser)
    add_tasks(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds what every measurement of a model needs.

    >>> parser = argparse.ArgumentParser()
    >>> add_model(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).out
    'o'
    """
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="export (folder or .tar.gz), hub handle, .keras, official .npz, "
        "run directory, released name, or model name (with --init)",
    )
    add("--init", help='weights of a model named by --model, or "random"')
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
        "--input-range",
        metavar="LOW,HIGH",
        help="of the images that a SavedModel of others expects; default 0,1",
    )
    add(
        "--batch-size",
        type=int,
        help="images per step; extraction: default 64, no influence on "
        "results; fine-tuning: default 512, scales the learning rate",
    )


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """Adds which tasks, and where their data are."""
    parser.add_argument(
        "--tasks",
        metavar="NAME,NAME",
        help="tasks or groups of them; the tasks sub-command lists all",
    )
    parser.add_argument("--data-dir", help="where TFDS data are prepared")


def add_tasks_file(parser: argparse.ArgumentParser) -> None:
    """Adds `--tasks-file`, for the user's own tasks."""
    parser.add_argument(
        "--tasks-file",
        metavar="JSON",
        help='own tasks: a list of {"name", "dataset", "train", "test", '
        '"label", "group", "num_classes"} (the last three optional); dataset '
        "is a TFDS name, digits, shapes, or a folder of images or CSV file; "
        "train and test are its slices",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for arguments that cannot be, before TensorFlow loads.

    Args:
        args: With the attributes of `add_model`, and perhaps `add_tasks`.

    Raises:
        FileNotFoundError: For a model or folder that is not there.
        ValueError: For a value that is not legal.

    Example:

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--model bit_tiny --init random --out o --resolution 0"
    >>> check(parser.parse_args(words.split()))
    Traceback (most recent call last):
    ValueError: --resolution must be >= 1; got 0.
    """
    for option in ("resolution", "batch_size"):
        value = getattr(args, option)
        if value is not None and value < 1:
            name = option.replace("_", "-")
            raise ValueError(f"--{name} must be >= 1; got {value}.")
    input_range(args)
    data_dir = getattr(args, "data_dir", None)
    if data_dir and not Path(os.path.expanduser(data_dir)).is_dir():
        raise FileNotFoundError(f'--data-dir: there is no folder "{data_dir}".')
    # Handles and archives are looked into when they are opened.
    if args.init is None and _is_handle(args.model):
        return
    check_source(args.model, args.init)
    if args.init not in (None, "random"):
        check_init(args.init, args.model)


def _is_handle(model: str) -> bool:
    is_archive = model.endswith((".tar.gz", ".tgz", ".tar"))
    named = model.startswith(("bit/", "google/bit/"))
    return "://" in model or named or is_archive


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
    present, missing = [], []
    for task, must in wanted(names, default, own).items():
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


def wanted(
    names: str | None,
    default: str | tuple[Task, ...],
    own: tuple[Task, ...],
) -> dict[Task, bool]:
    """Returns the tasks asked for, whether their data are there or not.

    Args:
        names: As for `choose`.
        default: As for `choose`.
        own: As for `choose`.

    Returns:
        Task -> whether it was asked for by its own name.

    Raises:
        ValueError: For an unknown name, with the closest known one.

    Example:

    >>> {t.name: must for t, must in wanted("pets,bit", "vtab", ()).items()}
    {'pets': True, 'cifar100': False, 'cifar10': False, ...}
    """
    if names is None and not isinstance(default, str):
        return dict.fromkeys(default, True)
    text = default if names is None else names
    words = [word.strip() for word in text.split(",")]
    if not any(words):
        raise ValueError(f'--tasks needs the name of a task; got "{names}".')
    found: dict[Task, bool] = {}
    singles = (*tasks.names(), *(task.name for task in own))
    groups = tasks.groups(own)
    for name in filter(None, words):
        if name in groups:
            for task in tasks.group(name, own):
                found.setdefault(task, False)
        elif name in singles:
            found[tasks.get(name, own)] = True
        else:
            raise ValueError(
                f'--tasks: there is no task or group "{name}".'
                f"{did_you_mean(name, (*groups, *singles))} Groups: "
                f"{', '.join(groups)}. Tasks: {', '.join(singles)}. Images of "
                "your own become a task by --tasks-file."
            )
    return found


def make_out(args: argparse.Namespace) -> None:
    """Makes the folder for results, so that no measurement is lost for it.

    Raises:
        OSError: If it cannot be made.

    Example:

    >>> make_out(argparse.Namespace(out="results/mine"))
    >>> Path("results/mine").is_dir()
    True
    """
    try:
        Path(args.out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"--out {args.out} cannot be made ({error.strerror}). Choose "
            "another folder."
        ) from None


def cache_dir(args: argparse.Namespace) -> Path:
    """Returns the folder for features.

    >>> str(cache_dir(argparse.Namespace(cache_dir=None, out="results")))
    'results/features'
    """
    return Path(args.cache_dir or Path(args.out) / "features")


def input_range(args: argparse.Namespace) -> tuple[float, float] | None:
    """Returns `--input-range` as two numbers; None if it was not given.

    Raises:
        ValueError: For anything else.

    Example:

    >>> input_range(argparse.Namespace(input_range="-1,1"))
    (-1.0, 1.0)
    """
    if args.input_range is None:
        return None
    try:
        low, high = (float(word) for word in args.input_range.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            "--input-range takes two numbers, the smaller first, such as "
            f'--input-range=-1,1; got "{args.input_range}".'
        )
    return low, high


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
