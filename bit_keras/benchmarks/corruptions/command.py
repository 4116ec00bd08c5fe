"""`robustness corruptions`: accuracy under the corruptions of ImageNet-C."""

import argparse
import sys

from bit_keras.benchmarks import corruptions, selection
from bit_keras.benchmarks.corruptions.constants import SEVERITIES
from bit_keras.quiet import quiet
from bit_keras.recipe import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).severities
    '1,2,3,4,5'
    """
    selection.add_arguments(parser)
    selection.add_tasks_file(parser)
    parser.add_argument(
        "--types",
        metavar="NAME,NAME",
        help=f"of {', '.join(corruptions.names())}; default: all, which the "
        "mean corruption error needs",
    )
    parser.add_argument(
        "--severities",
        default="1,2,3,4,5",
        metavar="N,N",
        help="of 1 to 5; default: all",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model, folder or tasks-file that is not there.
        ValueError: For anything misspelt or out of range.
    """
    selection.check(args)
    own = selection.read_tasks_file(args.tasks_file)
    if args.tasks is None and not own:
        raise ValueError(
            "--tasks is missing: which images are to be corrupted? Name the "
            "tasks whose classes the model's head knows."
        )
    selection.wanted(args.tasks, own, own)
    types(args.types)
    severities(args.severities)


def types(text: str | None) -> tuple[str, ...]:
    """Returns the types of `--types`, in the paper's order; None: all.

    Raises:
        ValueError: For a name that does not exist.

    Example:

    >>> types("fog,snow")
    ('snow', 'fog')
    """
    known = corruptions.names()
    if text is None:
        return known
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise ValueError(
                f'--types: there is no corruption "{word}".'
                f"{did_you_mean(word, known)} Known: {', '.join(known)}."
            )
    return tuple(name for name in known if name in words)


def severities(text: str) -> tuple[int, ...]:
    """Returns the severities of `--severities`, sorted.

    Raises:
        ValueError: For anything but numbers from 1 to 5.

    Example:

    >>> severities("5,1")
    (1, 5)
    """
    found = selection.numbers("--severities", text)
    if found[-1] > SEVERITIES[-1]:
        raise ValueError(f'--severities go from 1 to 5; got "{text}".')
    return found


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    What is there already is not measured again.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code: 1 if something could not be measured.
    """
    own = selection.read_tasks_file(args.tasks_file)
    chosen = selection.choose(args.tasks, own, own, args.data_dir, _say)
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.corruptions import measure

        tf.get_logger().setLevel("ERROR")
    return measure.run(
        args, chosen, types(args.types), severities(args.severities), _say
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
