"""The sub-command `tasks`: what can be measured, and what is missing for it."""

import argparse

from bit_keras.benchmarks import selection, task_status, tasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--group", "vtab"]).group
    'vtab'
    """
    parser.add_argument("--group", help="fewshot, bit, vtab, natural, ...")
    parser.add_argument("--data-dir", help="where TFDS data are prepared")
    selection.add_tasks_file(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table of tasks.

    Args:
        args: With the attributes of `add_arguments`.
    """
    own = selection.read_tasks_file(args.tasks_file)
    if args.group:
        chosen = tasks.group(args.group, own)
    else:
        chosen = (*(tasks.get(name) for name in tasks.names()), *own)
    print(*task_status.listing(chosen, args.data_dir), sep="\n")
    return 0
