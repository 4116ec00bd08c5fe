"""The sub-command results: filter, summarize, pivot and export rows."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bit_keras.messages import one_line

# pandas takes a second to load; a slip on the command line should not.
if TYPE_CHECKING:
    import pandas as pd

_FORMATS = ("table", "csv", "markdown", "parquet")
# Of these, by default, those that differ in the rows; the others always.
_IF_DIFFERENT = (
    "model_sha256",
    "benchmark",
    "protocol",
    "preprocessing",
    "metric",
    "endpoint",
)
_ALWAYS = ("model", "task", "shots")


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which rows: paths and `--where`."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="results.jsonl files, or folders that hold them at any depth",
    )
    add_where(parser)


def add_where(parser: argparse._ActionsContainer) -> None:
    """Adds the argument that filters rows.

    >>> parser = argparse.ArgumentParser()
    >>> add_where(parser)
    >>> parser.parse_args(["--where", "task=dtd", "shots=5"]).where
    ['task=dtd', 'shots=5']
    """
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=VALUE",
        help="keep these rows; one column twice: either value. Columns are "
        "those of a row (task, model, shots, ...) and details.NAME",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["runs", "--where", "task=dtd"]).where
    ['task=dtd']
    """
    add_paths(parser)
    parser.add_argument(
        "--by",
        metavar="COLUMN,COLUMN",
        help="what tells measurements apart; median, mean and standard error "
        f"go over the seeds of each (default: {','.join(_ALWAYS)}, and of "
        f"{', '.join(_IF_DIFFERENT)} what differs)",
    )
    parser.add_argument(
        "--pivot",
        metavar="COLUMN",
        help="one column per value of it, showing the median",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="table",
        help="default: table",
    )
    parser.add_argument("--out", metavar="FILE", help="default: the screen")


def read(paths: Sequence[str], where: Sequence[str]) -> "pd.DataFrame":
    """Loads and filters rows; warnings become lines on standard error.

    Raises:
        ValueError: If no row is left, or for a mistake in a file or filter.
        FileNotFoundError: For a path that does not exist.
    """
    from bit_keras.benchmarks import results

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        frame = results.load(paths)
    for note in notes:
        print(f"warning: {one_line(note.message)}", file=sys.stderr)
    if frame.empty:
        raise ValueError(
            f"{', '.join(map(str, paths))}: no rows yet. The benchmark has "
            "not measured anything so far."
        )
    return results.select(frame, where)


def _by(text: str | None, frame: "pd.DataFrame") -> list[str]:
    if text is not None:
        return [name.strip() for name in text.split(",") if name.strip()]
    differing = [n for n in _IF_DIFFERENT if frame[n].nunique() > 1]
    return [*_ALWAYS[:-1], *differing, _ALWAYS[-1]]


def run(args: argparse.Namespace) -> int:
    """Carries out the sub-command.

    Args:
        args: With the attributes of `add_arguments`.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong arguments.
    """
    if args.format == "parquet" and not args.out:
        print("error: --format parquet needs --out FILE.", file=sys.stderr)
        return 2
    from bit_keras.benchmarks import results, results_export

    try:
        frame = read(args.paths, args.where)
        by = _by(args.by, frame)
        if args.pivot and args.pivot not in by:
            by.append(args.pivot)
        table = results.summarize(frame, by)
        if args.pivot:
            table = results.pivot(table, args.pivot)
        data = results_export.render(table, args.format)
        if args.out:
            results_export.replace_file(args.out, data)
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    if args.out:
        print(f"{args.out}: {len(table)} rows", file=sys.stderr)
    else:
        print(data.decode(), end="")
    return 0
