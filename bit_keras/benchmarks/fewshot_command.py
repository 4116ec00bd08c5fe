"""The sub-command `fewshot`: accuracy from a few images per class."""

import argparse
import sys

from bit_keras.benchmarks import exclusions, selection
from bit_keras.quiet import quiet
from bit_keras.recipe import override
from bit_keras.recipes import transfer

_PROTOCOLS = ("big_vision", "vit", "leave_self_out", "validation")
# Those that take the first images of each class, and draw none.
_NO_SEEDS = ("vit", "leave_self_out")
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
    exclusions.add_argument(parser)
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


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model, folder or tasks-file that is not there.
        ValueError: For anything misspelt, out of range, or without effect.
    """
    selection.check(args)
    own = selection.read_tasks_file(args.tasks_file)
    selection.wanted(args.tasks, own or "fewshot", own)
    exclusions.read(args.exclude)
    selection.numbers("--shots", args.shots)
    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds must be >= 1; got {args.seeds}.")
    if args.mode == "finetune":
        _check_finetune(args)
    elif args.overrides:
        raise ValueError("--set is for --mode finetune; a probe has no recipe.")
    elif args.seeds is not None and args.protocol in _NO_SEEDS:
        raise ValueError(
            f"--seeds: protocol {args.protocol} takes the first images of each "
            "class, so there is nothing to draw. Leave it out."
        )


def _check_finetune(args: argparse.Namespace) -> None:
    only_probe = {
        "--protocol": args.protocol != _PROTOCOLS[0],
        "--endpoint": args.endpoint != "pre_logits",
        "--allow-fewer": args.allow_fewer,
        "--cache-dir": args.cache_dir,
        "--input-range": args.input_range,
    }
    for option, given in only_probe.items():
        if given:
            raise ValueError(
                f"{option} is for --mode probe. Leave it out, or --mode "
                "finetune."
            )
    recipe = transfer.recipe()
    for assignment in args.overrides:
        recipe = override(recipe, assignment)


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    What is there already is not measured again.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code: 1 if something could not be measured.
    """
    own = selection.read_tasks_file(args.tasks_file)
    chosen = selection.choose(
        args.tasks, own or "fewshot", own, args.data_dir, say
    )
    exclude = exclusions.read(args.exclude)
    exclusions.check_tasks(exclude, (task.name for task in chosen))
    if args.protocol == "leave_self_out" and len(chosen) == 1:
        raise ValueError(
            "Protocol leave_self_out chooses the l2 of a task by the other "
            f"tasks, but {chosen[0].name} is the only one. Add tasks, or use "
            "--protocol validation."
        )
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks import fewshot_finetune, fewshot_probe

        tf.get_logger().setLevel("ERROR")
    module = fewshot_finetune if args.mode == "finetune" else fewshot_probe
    shots = selection.numbers("--shots", args.shots)
    seeds = range(args.seeds or _SEEDS[args.mode])
    return module.run(args, chosen, shots, tuple(seeds), say)


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
