"""The arguments of the sub-command saturation that say what to read.

Four kinds of input: our own rows; CSV files with one model's numbers per row;
one CSV file of upstream accuracies joined with one per task (--join); and one
CSV file of curves over training (--curves).
"""

import argparse
from pathlib import Path

from bit_keras import csv_files
from bit_keras.benchmarks.results_command import add_where

# Argument -> what a column holds; see `saturation.columns.Columns`.
ABOUT = {
    "family": "architecture family",
    "size": "number of parameters",
    "data": "images pre-trained on",
    "epochs": "passes over them",
    "endpoint": "layer that was probed",
}
_QUANTITIES = ("accuracy", "error")
_UNITS = ("fraction", "percent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say what to read.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--results", "runs"]).results
    ['runs']
    """
    add = parser.add_argument
    add(
        "--results",
        required=True,
        nargs="+",
        metavar="PATH",
        help="our results.jsonl files or folders that hold them (needs no "
        "further argument), or CSV files",
    )
    add_where(parser.add_argument_group("our own rows"))
    add("--upstream", metavar="COLUMN", help="upstream accuracy or error")
    add(
        "--downstream",
        metavar="COLUMN[,COLUMN]",
        help="downstream accuracy or error; several columns: one task each",
    )
    add("--task", metavar="COLUMN", help="downstream task")
    add("--shots", metavar="COLUMN", help="downstream images per class")
    add(
        "--model-id",
        metavar="COLUMN[,COLUMN]",
        help="what tells models apart; default: every row is a model",
    )
    for name, text in ABOUT.items():
        add(f"--{name}", metavar="COLUMN", help=text)
    for side in ("upstream", "downstream"):
        add_quantity(parser, side)
    _add_joined(parser.add_argument_group("one table per task"))
    _add_curves(parser.add_argument_group("curves over training"))


def add_quantity(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds the arguments that say what the column of --NAME holds.

    >>> parser = argparse.ArgumentParser()
    >>> add_quantity(parser, "y")
    >>> parser.parse_args(["--y-is", "error"])
    Namespace(y_is='error', y_unit=None)
    """
    parser.add_argument(
        f"--{name}-is",
        choices=_QUANTITIES,
        help="default: error if the column's name says error, loss, ...",
    )
    parser.add_argument(
        f"--{name}-unit",
        choices=_UNITS,
        help="default: percent if more than a tenth of the values exceed 1",
    )


def _add_joined(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--join",
        metavar="COLUMN[,COLUMN]",
        help="what names a model in --results, which is upstream, and in all "
        "the tables below",
    )
    add(
        "--downstream-tables",
        nargs="+",
        default=[],
        metavar="TASK=CSV",
        help="each with the column --downstream",
    )
    add(
        "--upstream-tables",
        nargs="+",
        default=[],
        metavar="TASK=CSV",
        help="tasks whose upstream accuracy is there and not in --results",
    )


def _add_curves(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--curves",
        metavar="COLUMN",
        help="examples seen: each --model-id has a curve per --task, which "
        "are paired with that of --upstream-task by interpolation",
    )
    add(
        "--upstream-task",
        metavar="TASK",
        help="the task that is upstream",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for files or columns that are not there.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a missing file.
        ValueError: For arguments that miss, or do not go together, and columns
            that do not exist.
    """
    for path in args.results:
        if not Path(path).exists():
            raise FileNotFoundError(f'--results: there is no "{path}".')
    if is_ours(args):
        _check_ours(args)
        return
    if args.where:
        raise ValueError(
            "--where is for our own rows, not for CSV files. Leave it out, and "
            "give a file with the lines that count."
        )
    if args.curves:
        _check_curves(args)
        return
    if args.upstream_task:
        raise ValueError("--upstream-task is for --curves COLUMN. Add that.")
    for name in ("upstream", "downstream"):
        if getattr(args, name) is None:
            raise ValueError(
                f"--{name} COLUMN is needed to read a CSV file. Columns: "
                f"{', '.join(header(args.results[0]))}."
            )
    if args.join or args.downstream_tables or args.upstream_tables:
        _check_joined(args)
        return
    for path in args.results:
        _require(_column_arguments(args), path)


def is_ours(args: argparse.Namespace) -> bool:
    """Whether --results are our own rows, and not CSV files.

    Raises:
        ValueError: If they are both.
    """
    paths = [Path(path) for path in args.results]
    ours = [path.is_dir() or path.suffix == ".jsonl" for path in paths]
    if any(ours) and not all(ours):
        raise ValueError(
            "--results mixes our own rows with CSV files. Analyse them apart."
        )
    return all(ours)


def _check_ours(args: argparse.Namespace) -> None:
    names = ["upstream", "downstream", "task", "shots", "model_id", *ABOUT]
    names += ["join", "downstream_tables", "upstream_tables"]
    names += ["curves", "upstream_task"]
    names += [
        f"{side}_{what}"
        for side in ("upstream", "downstream")
        for what in ("is", "unit")
    ]
    for name in names:
        if getattr(args, name):
            raise ValueError(
                f"--{name.replace('_', '-')} is for CSV files; our own rows "
                "say it themselves. Leave it out."
            )


def _check_curves(args: argparse.Namespace) -> None:
    for name in ("downstream", "task", "model_id", "upstream_task"):
        if getattr(args, name) is None:
            raise ValueError(f"--curves needs --{name.replace('_', '-')}, too.")
    for name in ("upstream", "join", "upstream_is", "upstream_unit"):
        if getattr(args, name):
            raise ValueError(
                f"--{name.replace('_', '-')} has no effect with --curves: the "
                "upstream accuracy is that of --upstream-task. Leave it out."
            )
    if len(args.results) > 1:
        raise ValueError("--curves reads one file of --results; got several.")
    wanted = [("--curves", args.curves), ("--task", args.task)]
    wanted += [("--downstream", args.downstream)]
    wanted += [("--model-id", name) for name in split(args.model_id)]
    for name in ("shots", "family"):
        if getattr(args, name):
            wanted.append((f"--{name}", getattr(args, name)))
    _require(wanted, args.results[0])
    if args.family and args.family not in split(args.model_id):
        raise ValueError("--family must be a column of --model-id for curves.")


def _check_joined(args: argparse.Namespace) -> None:
    if not args.join or not args.downstream_tables:
        raise ValueError(
            "--join COLUMN,... and --downstream-tables TASK=CSV ... go "
            "together. Give both."
        )
    if len(args.results) > 1 or args.task or len(split(args.downstream)) > 1:
        raise ValueError(
            "--join takes one file of --results, one column --downstream and "
            "no --task: a table is a task."
        )
    down, up = joined(args.downstream_tables), joined(args.upstream_tables)
    for task, path in (*down.items(), *up.items()):
        if not Path(path).is_file():
            raise FileNotFoundError(f'{task}: there is no file "{path}".')
        if task not in down:
            raise ValueError(
                f'--upstream-tables: "{task}" is no task of '
                f"--downstream-tables: {', '.join(down)}."
            )
    keys = [("--join", name) for name in split(args.join)]
    about = [c for c in _column_arguments(args) if c[0] != "--downstream"]
    for path in (args.results[0], *up.values()):
        _require(keys + about, path)
    for path in down.values():
        _require([*keys, ("--downstream", args.downstream)], path)


def joined(pairs: list[str]) -> dict[str, str]:
    """Reads TASK=CSV.

    >>> joined(["v2=imagenetv2.csv"])
    {'v2': 'imagenetv2.csv'}
    """
    found: dict[str, str] = {}
    for pair in pairs:
        task, equals, path = pair.partition("=")
        if not (task and equals and path):
            raise ValueError(f'TASK=CSV is needed; got "{pair}".')
        if task in found:
            raise ValueError(f'Task "{task}" has two tables. Give one.')
        found[task] = path
    return found


def split(names: str | None) -> tuple[str, ...]:
    """Returns names that commas part.

    >>> split("model, img_size")
    ('model', 'img_size')
    """
    return tuple(n.strip() for n in (names or "").split(",") if n.strip())


def _column_arguments(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Returns (argument, column) of all columns that were named."""
    names = ["upstream", "downstream", "task", "shots", "model_id", *ABOUT]
    return [
        (f"--{name.replace('_', '-')}", column)
        for name in names
        for column in split(getattr(args, name))
    ]


def _require(wanted: list[tuple[str, str]], path: str) -> None:
    from bit_keras.benchmarks.saturation.curves import check_columns

    try:
        check_columns(wanted, header(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def header(path: str) -> list[str]:
    """Returns the names of the columns of a CSV file.

    Raises:
        ValueError: If it is no CSV file.
    """
    return csv_files.header(path)
