"""The sub-command `calibration`: how honest a model's probabilities are."""

import argparse
import sys

from bit_keras.benchmarks import selection
from bit_keras.benchmarks.tasks import Task
from bit_keras.quiet import quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).shifted is None
    True
    """
    selection.add_arguments(parser)
    selection.add_tasks_file(parser)
    add = parser.add_argument
    add(
        "--validation-split",
        metavar="SLICE",
        help="of each task, that a temperature is fitted on, such as "
        "'train[90%%:]' (not the images the model was trained on); default: "
        "that of VTAB's tasks, and none for others",
    )
    add(
        "--shifted",
        metavar="NAME,NAME",
        help="tasks of the same classes: their test splits are measured, too, "
        "at the temperature of each of --tasks",
    )
    add(
        "--ood",
        metavar="NAME,NAME",
        help="tasks of other classes, to be told from --tasks by the logits",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model, folder or tasks-file that is not there.
        ValueError: For anything misspelt, and for splits that no temperature
            may be fitted on.
    """
    selection.check(args)
    own = selection.read_tasks_file(args.tasks_file)
    if args.tasks is None:
        raise ValueError(
            "--tasks is missing: name the task that the model was trained for, "
            "or --tasks-file and one of its names."
        )
    named = {
        option: _named(option, getattr(args, option), own)
        for option in ("tasks", "shifted", "ood")
    }
    for option in ("shifted", "ood"):
        twice = [t.name for t in named[option] if t in named["tasks"]]
        if twice:
            raise ValueError(
                f"--{option}: {twice[0]} is one of --tasks, too; name it once."
            )
    if args.validation_split is not None:
        # Imports NumPy, of which --help has no need.
        from bit_keras.benchmarks.calibration import temperature

        for task in named["tasks"]:
            temperature.check_split(task, args.validation_split)


def _named(
    option: str, names: str | None, own: tuple[Task, ...]
) -> tuple[Task, ...]:
    """Returns the tasks an option names, with its name in error messages."""
    if names is None:
        return ()
    try:
        return tuple(selection.wanted(names, (), own))
    except ValueError as error:
        text = str(error).replace("--tasks", f"--{option}", 1)
        raise ValueError(text) from None


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    What is there already is not measured again.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code: 1 if something could not be measured.
    """
    own = selection.read_tasks_file(args.tasks_file)
    tasks, shifted, ood = (
        selection.choose(names, (), own, args.data_dir, say) if names else ()
        for names in (args.tasks, args.shifted, args.ood)
    )
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.calibration.run import run as measure

        tf.get_logger().setLevel("ERROR")
    return measure(args, tasks, shifted, ood, say)


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
