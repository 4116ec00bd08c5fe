"""The sub-command saturation: downstream error as upstream error goes to 0."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.benchmarks import saturation_arguments

# pandas takes a second to load; a slip on the command line should not.
if TYPE_CHECKING:
    import pandas as pd

    from bit_keras.benchmarks.saturation.analysis import Analysis
    from bit_keras.benchmarks.saturation.layers import Layers
    from bit_keras.benchmarks.saturation.options import Options
    from bit_keras.benchmarks.saturation.table import Table

# Lines of progress where there is no terminal to draw a bar in.
_LINES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> given = "--results t.csv --upstream top1 --downstream v2 --out o"
    >>> parser.parse_args(given.split()).bootstrap
    1000
    """
    saturation_arguments.add_arguments(parser)
    add = parser.add_argument
    add(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="refits behind each interval; default 1000, 0: no intervals",
    )
    add(
        "--held-out",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of models, the best upstream, to predict; default 0.2",
    )
    add("--seed", type=int, default=0, help="of all draws; default 0")
    add(
        "--reference-task",
        metavar="TASK",
        help="whose best models are followed on all other tasks; default: the "
        "task that goes along with upstream accuracy best",
    )
    add(
        "--out",
        required=True,
        metavar="DIR",
        help="gets fits.csv and further tables, report.html and pictures",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before anything is computed.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a file that is not there.
        ValueError: For a number out of range, or as
            `saturation_arguments.check`.
    """
    _options(args)
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file. Name a directory.")
    saturation_arguments.check(args)


def _options(args: argparse.Namespace) -> "Options":
    from bit_keras.benchmarks.saturation.options import Options

    if args.bootstrap < 0:
        raise ValueError(f"--bootstrap must be >= 0; got {args.bootstrap}.")
    if not 0 < args.held_out < 1:
        raise ValueError(
            f"--held-out must be between 0 and 1; got {args.held_out}."
        )
    return Options(
        resamples=args.bootstrap,
        held_out=args.held_out,
        seed=args.seed,
        reference_task=args.reference_task,
    )


def run(args: argparse.Namespace) -> int:
    """Analyses, prints the fits, and writes the tables and the report.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code, 0.

    Raises:
        ValueError: For a table without a usable point.
        OSError: If --out cannot be written.
    """
    from bit_keras.benchmarks import results_export, saturation_input
    from bit_keras.benchmarks.drawing import report
    from bit_keras.benchmarks.saturation import figures
    from bit_keras.benchmarks.saturation.figures_shots import falls
    from bit_keras.progress import duration

    started = time.monotonic()
    table, layers = saturation_input.read(args)
    say(table.summary())
    analysis = _analyse(table, _options(args), layers)
    out = Path(args.out)
    for name, frame in analysis.files().items():
        data = results_export.render(frame, "csv")
        results_export.replace_file(out / f"{name}.csv", data)
    if analysis.fits.empty:
        say("No law could be fitted; skipped.csv says why.")
    else:
        print(results_export.aligned(_short(analysis)))
    for line in falls(analysis):
        print(line)
    for line in analysis.warnings():
        say(line)
    sys.stdout.flush()
    say(f"analysed: {duration(time.monotonic() - started)}; drawing")
    page = report.write(
        figures.panels(analysis),
        out,
        title="Downstream accuracy as upstream error goes to zero",
        text=_sentences(table.summary()),
        download=("fits.csv", "All fits (CSV)") if len(analysis.fits) else None,
    )
    say(f"{page}: {duration(time.monotonic() - started)}")
    return 0


def _short(analysis: "Analysis") -> "pd.DataFrame":
    """Returns the fits with the gist of each verdict, for a terminal."""
    from bit_keras.benchmarks.saturation import figures

    gist = analysis.fits["verdict"].str.partition(":")[0]
    return figures.fit_table(analysis.fits.assign(verdict=gist))


def _sentences(text: str) -> str:
    """Returns lines as one paragraph.

    >>> _sentences("2 points.\\ntop1: accuracy")
    '2 points. top1: accuracy.'
    """
    return " ".join(line.rstrip(".") + "." for line in text.splitlines())


def _analyse(
    table: "Table", options: "Options", layers: "Layers | None"
) -> "Analysis":
    """Analyses, with a bar or lines of progress."""
    from bit_keras.benchmarks.saturation.analysis import analyse
    from bit_keras.progress import Progress

    progress = Progress(sum(1 for _ in table.groups()))

    def tell(done: int, total: int, name: str) -> None:
        progress.update(done, note=name)
        if done % max(1, total // _LINES) == 0 or done == total:
            left = progress.eta(done)
            progress.line(f"{done}/{total} {name}", f"{left} left")

    try:
        return analyse(table, options, tell, layers)
    finally:
        progress.close()


def say(message: str) -> None:
    """Prints lines on standard error."""
    print(message, file=sys.stderr, flush=True)
