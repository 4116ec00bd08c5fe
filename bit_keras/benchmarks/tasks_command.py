"""The sub-command `tasks`: what can be measured, and what is missing for it."""

import argparse

from bit_keras.benchmarks import selection, task_status, tasks
from bit_keras.benchmarks.tasks import Task


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


def check(args: argparse.Namespace) -> None:
    """Raises an error for an unknown group or a mistake in the tasks-file.

    Args:
        args: With the attributes of `add_arguments`.
    """
    _chosen(args)


def _chosen(args: argparse.Namespace) -> tuple[Task, ...]:
    own = selection.read_tasks_file(args.tasks_file)
    if args.group:
        return tasks.group(args.group, own)
    return own or tuple(tasks.get(name) for name in tasks.names())


def run(args: argparse.Namespace) -> int:
    """Prints the table of tasks.

    Args:
        args: With the attributes of `add_arguments`.
    """
    lines = task_status.listing(_chosen(args), args.data_dir)
    print(*lines, sep="\n")
    return 0
