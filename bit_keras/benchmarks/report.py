"""The sub-command report: one HTML page, with PNG, SVG and CSV beside it.

report.html     everything, interactive; opens without a network
results.csv     every row, in full precision
NAME.png .svg   the plot of one benchmark, protocol and metric
NAME.csv        its medians, means and standard errors
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.benchmarks import results_command

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["runs", "--out", "report"]).out
    'report'
    """
    results_command.add_paths(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="receives report.html and the files beside it",
    )


def write(frame: "pd.DataFrame", out: str | os.PathLike) -> Path:
    """Writes a report.

    Args:
        frame: Rows, from `results.load`.
        out: Directory; files of the same names are replaced.

    Returns:
        The path of report.html.

    Raises:
        ValueError: If a seed was measured twice in one way.
        OSError: If the directory cannot be written.
    """
    # Loading the plotting libraries takes seconds; a slip should not.
    from bit_keras.benchmarks import report_page, report_plots
    from bit_keras.benchmarks.report_figures import pictures
    from bit_keras.benchmarks.report_sections import colours, sections
    from bit_keras.benchmarks.results_export import render, replace_file

    out = Path(out)
    parts = sections(frame)
    palette = colours(parts)
    replace_file(out / "results.csv", render(frame, "csv"))
    plots, files = [], []
    for part, stem in zip(parts, _stems([p.title for p in parts]), strict=True):
        made = {
            **pictures(part, palette),
            "csv": render(part.summary, "csv"),
        }
        for kind, data in made.items():
            replace_file(out / f"{stem}.{kind}", data)
        draw = "shots_plot" if part.by_shots else "bars_plot"
        plots.append(getattr(report_plots, draw)(part, palette))
        files.append([f"{stem}.{kind}" for kind in made])
    page = report_page.page(frame, parts, plots, palette, files)
    replace_file(out / "report.html", page.encode())
    return out / "report.html"


def _stems(titles: list[str]) -> list[str]:
    """Returns file names, without ending, that are legal and differ.

    >>> _stems(["vtab, lightweight: accuracy", "../a", "..?a"])
    ['vtab-lightweight-accuracy', 'a', 'a-2']
    """
    stems: list[str] = []
    for title in titles:
        # "results" and "report" are taken.
        stem = re.sub(r"[^A-Za-z0-9_]+", "-", title).strip("-")[:80] or "plot"
        same = sum(re.sub(r"-\d+$", "", s) == stem for s in stems)
        stems.append(f"{stem}-{same + 1}" if same else stem)
    return stems


def run(args: argparse.Namespace) -> int:
    """Carries out the sub-command.

    Args:
        args: With the attributes of `add_arguments`.

    Returns:
        The exit code: 0 done, 1 failed.
    """
    try:
        frame = results_command.read(args.paths, args.where)
        path = write(frame, args.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {len(frame)} measurements", file=sys.stderr)
    return 0
