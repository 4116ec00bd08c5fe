"""The sub-command `robustness shift`: accuracy before and after a shift."""

import argparse
import sys
from pathlib import Path

from bit_keras.benchmarks import selection, task_status, tasks
from bit_keras.benchmarks.robustness import shifts
from bit_keras.benchmarks.tasks import Task
from bit_keras.quiet import quiet
from bit_keras.recipe import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).endpoint
    'logits'
    """
    selection.add_model(parser)
    selection.add_tasks_file(parser)
    add = parser.add_argument
    add("--data-dir", help="where TFDS data are prepared")
    add(
        "--source",
        metavar="TASK",
        help="what the model was made for; a task of ImageNet for the named "
        "sets, without which only these are measured",
    )
    add(
        "--shifted",
        metavar="NAME,NAME",
        help="tasks with the source's classes, or named sets of ImageNet: "
        + ", ".join(shifts.names()),
    )
    add(
        "--by",
        metavar="FEATURE",
        help="own tasks: accuracy at each value of another feature, too",
    )
    add(
        "--metadata",
        metavar="CSV",
        help="metadata.csv of a siscore set: accuracy by factor, too",
    )
    add(
        "--images",
        metavar="DIR",
        help="own images of ImageNet's classes, class/image, such as BiT's "
        "out-of-context set; with --class-map",
    )
    add(
        "--class-map",
        metavar="JSON",
        help="folder of --images -> list of its ids in ImageNet (0..999)",
    )
    add_endpoint(parser)


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Adds where the logits are."""
    parser.add_argument(
        "--endpoint",
        default="logits",
        metavar="NAME",
        help="where the logits are; of a SavedModel of others pre_logits "
        "means what calling it returns; default logits",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model, folder or file that is not there.
        ValueError: For anything misspelt, or without effect.
    """
    selection.check(args)
    own, named = _shifted(args)
    _source(args)
    if own and (named or args.images):
        raise ValueError(
            "--shifted: named sets of ImageNet are prepared in another way "
            f"than own tasks ({own[0].name}). Measure each kind in a run of "
            "its own."
        )
    if own and not args.source:
        raise ValueError(f"--source: what is {own[0].name} a shift of?")
    if not (own or named or args.images or (args.source and args.by)):
        raise ValueError(
            "--shifted needs the name of a task, or of a set of ImageNet: "
            f"{', '.join(shifts.names())}."
        )
    _check_extras(args, named)


def _check_extras(
    args: argparse.Namespace, named: tuple[shifts.Shift, ...]
) -> None:
    if args.by and (named or args.images):
        raise ValueError(
            "--by is for own tasks; the factors of SI-Score are in --metadata."
        )
    with_factors = [shift for shift in named if shift.factors]
    if args.metadata and len(with_factors) != 1:
        raise ValueError(
            "--metadata belongs to one of siscore_rotation, siscore_size and "
            f"siscore_location; got {len(with_factors)} of them."
        )
    if bool(args.images) != bool(args.class_map):
        raise ValueError("--images and --class-map need each other.")
    if args.images and not Path(args.images).is_dir():
        raise FileNotFoundError(f'--images: there is no folder "{args.images}"')
    for option in ("metadata", "class_map"):
        path = getattr(args, option)
        if path and not Path(path).is_file():
            name = option.replace("_", "-")
            raise FileNotFoundError(f'--{name}: there is no file "{path}".')


def _shifted(
    args: argparse.Namespace,
) -> tuple[tuple[Task, ...], tuple[shifts.Shift, ...]]:
    """Returns the tasks, and the named sets, of --shifted."""
    own = selection.read_tasks_file(args.tasks_file)
    mine, named = [], []
    for word in filter(None, map(str.strip, (args.shifted or "").split(","))):
        if word in shifts.names():
            named.append(shifts.get(word))
        else:
            mine.append(_task("--shifted", word, own, shifts.names()))
            if word == args.source:
                raise ValueError(f"--shifted: {word} is the --source itself.")
    return tuple(mine), tuple(named)


def _source(args: argparse.Namespace) -> Task | None:
    own = selection.read_tasks_file(args.tasks_file)
    return _task("--source", args.source, own, ()) if args.source else None


def _task(
    option: str, word: str, own: tuple[Task, ...], others: tuple[str, ...]
) -> Task:
    known = (*tasks.names(), *(task.name for task in own))
    if word not in known:
        named = f" Named sets: {', '.join(others)}." if others else ""
        raise ValueError(
            f'{option}: there is no task "{word}".'
            f"{did_you_mean(word, (*known, *others))}{named} Tasks: "
            f"{', '.join(known)}. Own ones come from --tasks-file."
        )
    return tasks.get(word, own)


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code.

    Raises:
        FileNotFoundError: For data that are not prepared.
        ValueError: For classes that differ, and a model with another head.
    """
    own, named = _shifted(args)
    source = _source(args)
    everything = [*own, *(shift.task for shift in named)]
    _check_present([source, *everything] if source else everything, args)
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.robustness import imagenet_shift, shift
        from bit_keras.benchmarks.robustness.rows import store, text

        tf.get_logger().setLevel("ERROR")
    job = open_job(args)
    if named or args.images:
        seen = [imagenet_shift.answer(job, one, args.metadata) for one in named]
        if args.images:
            seen.append(imagenet_shift.folder(job, args.images, args.class_map))
        clean = imagenet_shift.clean(job, source) if source else None
        rows = imagenet_shift.rows(job, clean, seen)
    else:
        rows = shift.pairs(job, source, own, args.by)
    store(args, rows, say)
    print(text(rows))
    return 0


def _check_present(wanted: list[Task], args: argparse.Namespace) -> None:
    for task in wanted:
        if task_status.status(task, args.data_dir) == "present":
            continue
        # Of versions that are not accepted, the error says more on opening.
        if task_status.versions_on_disk(task, args.data_dir):
            continue
        how = task_status.how_to_prepare(task, args.data_dir)
        raise FileNotFoundError(
            f"{task.name}: its data are not prepared. {how}"
        )


def open_job(args: argparse.Namespace):
    """Opens the model of the arguments; returns a `shift.Job`."""
    from bit_keras.benchmarks.backbone import open_backbone
    from bit_keras.benchmarks.robustness.shift import Job

    backbone = open_backbone(
        args.model,
        args.init,
        resolution=args.resolution,
        input_range=selection.input_range(args),
    )
    return Job(
        backbone=backbone,
        data_dir=args.data_dir,
        cache_dir=selection.cache_dir(args),
        batch_size=args.batch_size or 64,
        endpoint=args.endpoint,
        say=say,
    )


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
