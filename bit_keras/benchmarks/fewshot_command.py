"""The sub-command `fewshot`: accuracy from a few images per class."""

import argparse
import sys

from bit_keras.benchmarks import selection
from bit_keras.quiet import quiet

_PROTOCOLS = ("big_vision", "vit", "leave_self_out", "validation")
# Trials of each number of shots: big_vision's probe; BiT, section 4.2.
_SEEDS = {"probe": 3, "finetune": 5}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).shots
    '1,5,10,25'
    """
    selection.add_arguments(parser)
    selection.add_tasks_file(parser)
    add = parser.add_argument
    add("--shots", default="1,5,10,25", help="images per class; 1,5,10,25")
    add("--seeds", type=int, help="draws of those; default 3 (finetune: 5)")
    add(
        "--protocol",
        choices=_PROTOCOLS,
        default="big_vision",
        help="which l2: big_vision (2^10; default), vit and leave_self_out "
        "(best by test accuracy on all or the other tasks; no seeds), "
        "validation (never looks at test labels; recommended for new work)",
    )
    add(
        "--endpoint",
        default="pre_logits",
        metavar="NAME,NAME",
        help="layers to probe, all in one pass; default pre_logits",
    )
    add(
        "--allow-fewer",
        action="store_true",
        help="let a class with fewer than k images give what it has, as the "
        "original code does silently",
    )
    add(
        "--mode",
        choices=("probe", "finetune"),
        default="probe",
        help="probe: linear, features frozen; finetune: the whole network by "
        "BiT-HyperRule (BiT's protocol)",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.FIELD=VALUE",
        help="finetune: override a field of the transfer recipe",
    )


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    What is there already is not measured again.

    Args:
        args: With the attributes of `add_arguments`.
    """
    shots = selection.numbers("--shots", args.shots)
    seeds = args.seeds or _SEEDS[args.mode]
    if seeds < 1:
        raise ValueError(f"--seeds must be >= 1; got {seeds}.")
    own = selection.read_tasks_file(args.tasks_file)
    chosen = selection.choose(
        args.tasks, own or "fewshot", own, args.data_dir, say
    )
    if args.overrides and args.mode == "probe":
        raise ValueError("--set is for --mode finetune; a probe has no recipe.")
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks import fewshot_finetune, fewshot_job

        tf.get_logger().setLevel("ERROR")
    module = fewshot_finetune if args.mode == "finetune" else fewshot_job
    return module.run(args, chosen, shots, tuple(range(seeds)), say)


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
