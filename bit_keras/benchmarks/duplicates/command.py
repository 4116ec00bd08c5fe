"""The sub-command `duplicates`: test images that are in the upstream."""

import argparse
import os
import sys
from pathlib import Path

from bit_keras.benchmarks import exclusions, selection, tasks
from bit_keras.quiet import quiet

_RADIUS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--upstream imagenet2012 --tasks pets --out o"
    >>> parser.parse_args(words.split()).radius
    10
    """
    add = parser.add_argument
    add(
        "--upstream",
        required=True,
        metavar="TASK_OR_DATASET",
        help="what the model was trained on: the train split of a task, a "
        "TFDS name or a folder; for another split, a task of --tasks-file",
    )
    selection.add_tasks(parser)
    selection.add_tasks_file(parser)
    add(
        "--images",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="look through the test images in a folder, too, as task NAME: "
        "objectnet=DIR for the sub-command objectnet",
    )
    add(
        "--out",
        required=True,
        metavar="DIR",
        help=f"for {exclusions.FILE_NAME}, contact sheets and results.jsonl",
    )
    add(
        "--cache-dir",
        metavar="DIR",
        help="for hashes and features; default: OUT/features",
    )
    add(
        "--model",
        help="compare candidates by the cosine of its features (as for "
        "fewshot); default: by the correlation of 16x16 thumbnails",
    )
    add("--init", help='weights of a model named by --model, or "random"')
    add(
        "--radius",
        type=int,
        default=_RADIUS,
        metavar="BITS",
        help="most bits, of 64, in which the hashes of candidates differ; "
        f"default {_RADIUS}",
    )
    add(
        "--min-similarity",
        type=float,
        metavar="X",
        help="least similarity of duplicates; default: correlation 0.92; for "
        "the cosine of a network there is none, as networks differ",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model, folder or tasks-file that is not there.
        ValueError: For anything misspelt or out of range.
    """
    if args.init and not args.model:
        raise ValueError("--init is for --model. Add --model, or leave it out.")
    if args.model and args.min_similarity is None:
        raise ValueError(
            "--model needs --min-similarity: cosines of networks differ. Begin "
            "with 0.9, and look at the contact sheets."
        )
    if args.model:
        fixed = {"resolution": None, "batch_size": None, "input_range": None}
        selection.check(argparse.Namespace(**{**vars(args), **fixed}))
    elif args.data_dir and not Path(os.path.expanduser(args.data_dir)).is_dir():
        raise FileNotFoundError(
            f'--data-dir: there is no folder "{args.data_dir}".'
        )
    own = selection.read_tasks_file(args.tasks_file)
    if args.tasks or not args.images:
        selection.wanted(args.tasks, own or "fewshot", own)
    _folders(args.images)
    if args.upstream in tasks.groups(own):
        raise ValueError(
            f'--upstream: "{args.upstream}" is a group of tasks. Give one '
            "task, a dataset or a folder."
        )
    # Imports NumPy, of which --help has no need.
    from bit_keras.benchmarks.duplicates.hash_search import check_radius

    check_radius("--radius", args.radius)
    least = args.min_similarity
    if least is not None and not 0 < least <= 1:
        raise ValueError(f"--min-similarity must be in (0, 1]; got {least:g}.")


def run(args: argparse.Namespace) -> int:
    """Searches; writes the list, a contact sheet per task, and rows.

    A list that is there already is completed, if it is of the same upstream
    and criterion.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code: 1 if a task could not be searched.
    """
    own = selection.read_tasks_file(args.tasks_file)
    chosen: tuple[tasks.Task, ...] = ()
    if args.tasks or not args.images:
        chosen = selection.choose(
            args.tasks, own or "fewshot", own, args.data_dir, say
        )
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.duplicates.run import run as search

        tf.get_logger().setLevel("ERROR")
    folders = _folders(args.images)
    return search(args, chosen, folders, own, say)


def _folders(words: list[str]) -> dict[str, str]:
    """Returns the names and folders of --images."""
    found = {}
    for word in words:
        name, _, folder = word.partition("=")
        if not name or not folder:
            raise ValueError(
                "--images takes NAME=FOLDER, such as objectnet=images/; got "
                f'"{word}".'
            )
        if not Path(os.path.expanduser(folder)).exists():
            raise FileNotFoundError(f'--images: there is no "{folder}".')
        found[name] = folder
    return found


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
