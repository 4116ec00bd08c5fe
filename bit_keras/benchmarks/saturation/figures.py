"""The report of an analysis: Figures 1 to 6 of arXiv 2110.02095, and tables."""

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Panel, Table
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.figure_parts import NAMES
from bit_keras.benchmarks.saturation.figures_correlation import (
    correlation_panels,
)
from bit_keras.benchmarks.saturation.figures_head import head_panels
from bit_keras.benchmarks.saturation.figures_layers import layer_panels
from bit_keras.benchmarks.saturation.figures_prediction import (
    prediction_panels,
    sample_size_panels,
)
from bit_keras.benchmarks.saturation.figures_scale import scale_panels
from bit_keras.benchmarks.saturation.figures_scatter import (
    reference_panels,
    scatter_panels,
)
from bit_keras.benchmarks.saturation.figures_shots import falls, shots_panels

_MOST_ROWS = 60


def panels(analysis: Analysis) -> list[Panel]:
    """Returns all panels that the data allow, from top to bottom."""
    made = [
        _verdicts(analysis),
        *scatter_panels(analysis),
        *shots_panels(analysis),
        *prediction_panels(analysis),
        *sample_size_panels(analysis),
        *scale_panels(analysis),
        *reference_panels(analysis),
        *layer_panels(analysis),
        *correlation_panels(analysis),
        *head_panels(analysis),
    ]
    left_out = _left_out(analysis)
    return [*made, left_out] if left_out else made


def fit_table(fits: pd.DataFrame) -> pd.DataFrame:
    """Returns the fits for a person: no numbers where not identified.

    Args:
        fits: Of `Analysis`.

    Example:

    >>> fits = pd.DataFrame({"task": ["dtd"], "shots": [5], "on": ["hull"],
    ...     "n": [9], "vertices": [2], "k": [0.5], "alpha": [1.0],
    ...     "e_ir": [0.0], "ci": ["[0.0000, 0.1000]"], "identified": [False],
    ...     "verdict": ["2 hull vertices"]})
    >>> fit_table(fits)[["task", "on", "e_IR", "verdict"]]
      task         on e_IR                           verdict
    0  dtd  full hull       not identified (2 hull vertices)
    """
    known = fits["identified"].astype(bool)
    made = fits[["task", "shots", "on", "n", "vertices"]].copy()
    made["on"] = made["on"].map(NAMES)
    for name, title in (("k", "k"), ("alpha", "alpha"), ("e_ir", "e_IR")):
        shown = fits[name].map("{:.3f}".format)
        made[title] = shown.where(known, "")
    made["95 % of e_IR"] = fits["ci"].where(known, "")
    verdict = "not identified (" + fits["verdict"] + ")"
    made["verdict"] = fits["verdict"].where(known, verdict)
    return made


def _verdicts(analysis: Analysis) -> Panel:
    fits, options = analysis.fits, analysis.options
    text = (
        "The law e_DS = k e_US^alpha + e_IR, errors in [0, 1]: as the upstream "
        "error goes to 0, the downstream accuracy goes to 1 - e_IR. Least "
        "squares in linear space, on the vertices of the full upper hull, on "
        "those of its rising part (without the tail right of the best model "
        "downstream), and on all points; on hulls e_IR is at most the lowest "
        f"error fitted. Intervals: 95 %, {options.resamples} refits, seed "
        f"{options.seed}. A fit that is not identified has numbers in "
        "fits.csv, but they mean nothing."
    )
    if fits.empty:
        return Panel(title="Fitted laws and verdicts", text=text)
    if fits["clusters"].notna().any():
        text += (
            " Points of one training are drawn together: "
            f"{int(fits['clusters'].min())} trainings or more."
        )
    table = fit_table(fits)
    first = table
    more: tuple[Table, ...] = ()
    if len(table) > _MOST_ROWS:
        chosen = fits["on"] == "hull"
        first = table[chosen]
        rest = table[~chosen]
        more = (Table(caption="Other fits", frame=rest, folded=True),)
    return Panel(
        title="Fitted laws and verdicts",
        text="\n\n".join([text, *falls(analysis)]),
        table=first,
        more=more,
        csv=fits,
    )


def _left_out(analysis: Analysis) -> Panel | None:
    problems = analysis.table.problem_frame()
    tables = []
    if len(problems):
        caption = f"{len(problems)} points that were left out"
        few = problems.head(200)
        tables.append(Table(caption=caption, frame=few, folded=len(few) > 20))
    if len(analysis.skipped):
        caption = "What could not be computed, and why"
        tables.append(Table(caption=caption, frame=analysis.skipped))
    if not tables:
        return None
    return Panel(
        title="Left out",
        text="All of them are in problems.csv and skipped.csv.",
        more=tuple(tables),
    )
