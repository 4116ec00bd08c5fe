"""The sub-command scaling: error against examples seen, extrapolated."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras import csv_files
from bit_keras.benchmarks.saturation_arguments import add_quantity

# pandas takes a second to load; a slip on the command line should not.
if TYPE_CHECKING:
    import pandas as pd

    from bit_keras.benchmarks.saturation import curves, scaling

_NAME = "scaling.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> given = "--results a.csv --x seen --y loss --curve model --fit-below 9"
    >>> parser.parse_args([*given.split(), "--out", "o"]).fit_below
    9.0
    """
    parser.add_argument(
        "--results",
        required=True,
        metavar="CSV",
        help="table with one point of a curve per row",
    )
    parser.add_argument(
        "--x", required=True, metavar="COLUMN", help="examples seen"
    )
    parser.add_argument(
        "--y", required=True, metavar="COLUMN", help="error or accuracy"
    )
    add_quantity(parser, "y")
    parser.add_argument(
        "--curve",
        required=True,
        metavar="COLUMN[,COLUMN]",
        help="what tells curves apart",
    )
    part = parser.add_mutually_exclusive_group(required=True)
    part.add_argument(
        "--fit",
        metavar="COLUMN",
        help="1: the row is fitted; 0: it judges the extrapolation",
    )
    part.add_argument(
        "--fit-below",
        type=float,
        metavar="X",
        help="rows with x below it are fitted, the others judge",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help=f"gets {_NAME}, report.html and the pictures",
    )


def _curve_columns(args: argparse.Namespace) -> list[str]:
    return [name.strip() for name in args.curve.split(",") if name.strip()]


def check(args: argparse.Namespace) -> None:
    """Raises an error for a table, or a column of it, that does not exist.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        ValueError: For an unknown column, one that the results would
            overwrite, or an --out that is a file.
        OSError: If the table cannot be read.
    """
    from bit_keras.benchmarks.saturation.curves import check_columns
    from bit_keras.benchmarks.saturation.scaling import check_names

    path, out = Path(args.results), Path(args.out)
    if not path.is_file():
        raise FileNotFoundError(f'--results: there is no file "{path}".')
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file. Name a directory.")
    known = csv_files.header(path)
    columns = _curve_columns(args)
    if not columns:
        raise ValueError("--curve must name a column; it is empty.")
    wanted = [("--x", args.x), ("--y", args.y)]
    wanted += [("--curve", name) for name in columns]
    wanted += [("--fit", args.fit)] if args.fit is not None else []
    try:
        check_columns(wanted, known)
        check_names(columns)
    except ValueError as error:
        raise ValueError(f"--results {path}: {error}") from None


def read(args: argparse.Namespace) -> "curves.Curves":
    """Reads the curves.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Raises:
        ValueError: For a table without a usable row; names the file.
    """
    from bit_keras.benchmarks.saturation import curves, reading

    frame = reading.read_text(args.results)
    try:
        found = curves.from_frame(
            frame,
            x=args.x,
            y=args.y,
            curve=_curve_columns(args),
            fit=args.fit,
            fit_below=args.fit_below,
            y_is=args.y_is,
            y_unit=args.y_unit,
        )
    except ValueError as error:
        raise ValueError(f"{args.results}: {error}") from None
    if not any(one.fitted.any() for one in found.curves):
        why = (
            "--fit-below is below all of them."
            if args.fit_below is not None
            else f"{args.fit} is 0 everywhere."
        )
        raise ValueError(f"{args.results}: no point is to be fitted on: {why}")
    return found


def run(args: argparse.Namespace) -> int:
    """Fits all curves, writes the table and the report, prints the table.

    Args:
        args: With the attributes of `add_arguments`.

    Returns:
        The exit code, 0.

    Raises:
        ValueError: For a table without a usable row.
        OSError: If --out cannot be written.
    """
    from bit_keras.benchmarks import results_export, scaling_panels
    from bit_keras.benchmarks.drawing import report
    from bit_keras.benchmarks.saturation import scaling
    from bit_keras.progress import duration

    started = time.monotonic()
    found = read(args)
    for note in found.notes:
        print(note, file=sys.stderr)
    fits, table = _fit(found)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results_export.replace_file(
        out / _NAME, results_export.render(table, "csv")
    )
    print(results_export.aligned(scaling.wide(table, found.columns)))
    print()
    print(results_export.aligned(scaling.summary(table)), flush=True)
    print(
        "RMS of the error's natural logarithm beyond the fitted points; best: "
        "on how many curves, ties counting for each; median_rmse: over the "
        "curves, compared, that all of these laws could be fitted to.",
        file=sys.stderr,
    )
    moving = scaling.still_moving(table)
    for note in moving:
        print(note, file=sys.stderr)
    page = report.write(
        scaling_panels.panels(fits, table, args.x, args.y),
        out,
        title="Scaling curves",
        text=" ".join([*found.notes, *moving]),
    )
    spent = duration(time.monotonic() - started)
    print(
        f"{out / _NAME}, {page}: {len(fits)} curves, {spent}", file=sys.stderr
    )
    return 0


def _fit(
    found: "curves.Curves",
) -> tuple[list["scaling.CurveFits"], "pd.DataFrame"]:
    """Fits the curves, with a bar or lines of progress."""
    from bit_keras.benchmarks.saturation import scaling
    from bit_keras.progress import Progress

    progress = Progress(len(found.curves))
    done = 0

    def tell(fits: scaling.CurveFits) -> None:
        nonlocal done
        done += 1
        progress.update(done, note=" ".join(fits.curve.name))
        every = 1 if progress.total < 20 else 10
        if done % every == 0 or done == progress.total:
            left = progress.eta(done)
            progress.line(f"{done}/{progress.total} curves, {left} left")

    try:
        return scaling.analyse(found, tell)
    finally:
        progress.close()
