"""The sub-command report: one HTML page, with PNG, SVG and CSV beside it.

report.html     everything, interactive; opens without a network
results.csv     every row, in full precision
NAME.png .svg   the plot of one benchmark, protocol and metric
NAME.csv        its medians, means and standard errors
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.benchmarks import results_command

if TYPE_CHECKING:
    import pandas as pd

# Benchmark -> module with `panels(frame)`; what is not here is drawn as
# sections: one plot of medians for each protocol and metric.
_PANELS = {
    "objectnet": "objectnet.panels",
    "robustness": "robustness.panels",
    "corruptions": "corruptions.panels",
    "calibration": "calibration.panels",
    "ood": "calibration.panels",
}


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


def write(
    frame: "pd.DataFrame",
    out: str | os.PathLike,
    folders: Sequence[str | os.PathLike] = (),
) -> Path:
    """Writes a report.

    Args:
        frame: Rows, from `results.load`.
        out: Directory; files of the same names are replaced.
        folders: Where the rows are from, and pictures that belong to them.

    Returns:
        The path of report.html.

    Raises:
        ValueError: If a seed was measured twice in one way.
        OSError: If the directory cannot be written.
    """
    # Loading the plotting libraries takes seconds; a slip should not.
    from bit_keras.benchmarks.detection import panels as detection
    from bit_keras.benchmarks.drawing import report
    from bit_keras.benchmarks.duplicates import panels as duplicates
    from bit_keras.benchmarks.report_sections import sections
    from bit_keras.benchmarks.results_export import render, replace_file
    from bit_keras.benchmarks.section_panels import panel, provenance

    named = told_apart(frame)
    drawn = frame["benchmark"].isin([*_PANELS, "detection", "duplicates"])
    parts = sections(named[~drawn])
    panels = [panel(part) for part in parts]
    for module in dict.fromkeys(_PANELS.values()):
        names = [name for name, its in _PANELS.items() if its == module]
        rows = named[frame["benchmark"].isin(names)]
        if len(rows):
            made = importlib.import_module(f"bit_keras.benchmarks.{module}")
            panels += made.panels(rows)
    detected = frame[frame["benchmark"] == "detection"]
    panels += detection.panels(detected, folders)
    # Rows of other benchmarks are compared with and without duplicates.
    panels += duplicates.panels(frame, folders)
    replace_file(Path(out) / "results.csv", render(frame, "csv"))
    return report.write(
        [*panels, provenance(frame)],
        out,
        title="bit_keras results",
        text=_summary(named),
        download=("results.csv", "All rows (CSV)"),
        legend=sorted({name for part in parts for name in part.rows["series"]}),
    )


def told_apart(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Returns rows in which different weights have different names.

    Exports of one network are all called "bit_tiny/1"; where several are in the
    table, the first digits of the checksum are added.

    Args:
        frame: Rows, from `results.load`.

    Example:

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"model": ["a/1", "a/1", "b"],
    ...                       "model_sha256": ["1" * 64, "2" * 64, "3" * 64]})
    >>> told_apart(frame)["model"].tolist()
    ['a/1, 11111111', 'a/1, 22222222', 'b']
    """
    weights = frame.groupby("model")["model_sha256"].transform("nunique")
    longer = frame["model"] + ", " + frame["model_sha256"].str[:8]
    return frame.assign(model=frame["model"].where(weights < 2, longer))


def _summary(frame: "pd.DataFrame") -> str:
    days = sorted(frame["time"].str[:10])
    counts = [
        f"{count} {column}{'s' * (count != 1)}"
        for column, count in frame[["model", "task"]].nunique().items()
    ]
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return f"{', '.join(counts)}, {len(frame)} measurements; {when}."


def run(args: argparse.Namespace) -> int:
    """Carries out the sub-command.

    Args:
        args: With the attributes of `add_arguments`.

    Returns:
        The exit code: 0 done, 1 failed.
    """
    try:
        frame = results_command.read(args.paths, args.where)
        path = write(frame, args.out, args.paths)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {len(frame)} measurements", file=sys.stderr)
    return 0
