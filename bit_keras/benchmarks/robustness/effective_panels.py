"""What a report shows of effective robustness."""

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series
from bit_keras.benchmarks.robustness.effective import Line
from bit_keras.benchmarks.robustness.effective_rows import (
    METRIC,
    REFERENCE,
    frame,
)

_GREY = "#777777"
_PALE = "#c8c8c8"


def effective(rows: pd.DataFrame) -> list[Panel]:
    """Returns one panel for each pair of test sets.

    Args:
        rows: Of robustness; others than those of effective robustness are
            ignored.
    """
    made = []
    own = rows[rows["metric"] == METRIC]
    lines = [_line(details["line"]) for details in own["details"]]
    for line_row in rows[rows["metric"] == REFERENCE].itertuples():
        line = _line(line_row.details)
        # Not those that were judged by another choice of reference models.
        judged = own[
            (own["task"] == line_row.task)
            & (own["protocol"] == line_row.protocol)
            & np.array([other == line for other in lines], bool)
        ]
        made.append(
            Panel(
                title=f"Effective robustness, {line_row.task}"
                f" ({line_row.protocol})",
                text=_text(line, line_row.details["between"]),
                plot=Plot(axes=(_axes(line, line_row.details, judged),)),
                table=frame(judged) if len(judged) else None,
            )
        )
    return made


def _line(details: dict) -> Line:
    return Line(**{name: details[name] for name in Line.__dataclass_fields__})


def _text(line: Line, between: str) -> str:
    return (
        f"Each pale point is one of {line.n} reference models, by the tables "
        f"{between}. The line is "
        f"their fit, {line.scale}(shifted) = {line.slope:.3f} "
        f"{line.scale}(source) {line.intercept:+.3f} with R2 {line.r2:.3f}; "
        "95 % of such models would lie in the band. Effective robustness is "
        "the distance of a model from the line, upwards, as a difference of "
        "accuracies (Taori et al., arXiv 2007.00644). Models that are judged "
        "have no part in the line.\n\nReference models were trained on "
        "different data; a set whose images were chosen because one network "
        "fails on them, as ImageNet-A, bends the line."
    )


def _axes(line: Line, details: dict, judged: pd.DataFrame) -> Axes:
    x = np.asarray(details["source"])
    seen = [one["source_accuracy"] for one in judged["details"]]
    grid = np.linspace(min([*x, *seen]), max([*x, *seen]), 100)
    low, high = line.interval(grid)
    series = [
        Series(x=grid, y=low, upper=high, kind="band", colour=_PALE),
        Series(
            x=x,
            y=details["shifted"],
            label="reference",
            colour=_PALE,
            size=4.0,
            hover=details["names"],
        ),
        Series(x=grid, y=line.expected(grid), kind="line", colour=_GREY),
        Series(x=grid, y=grid, kind="line", dash="dot", colour=_GREY),
    ]
    return Axes(
        series=(*series, *_judged(judged)),
        x_label="accuracy on the usual set",
        y_label="accuracy on the shifted set",
    )


def _judged(rows: pd.DataFrame) -> list[Series]:
    """Own models by name; those of the tables together."""
    own = rows["stderr"].notna()
    groups = [("judged", rows[~own])]
    groups += list(rows[own].groupby("model", sort=False))
    return [
        Series(
            x=[one["source_accuracy"] for one in group["details"]],
            y=[one["shifted_accuracy"] for one in group["details"]],
            error=None if name == "judged" else 2 * group["stderr"],
            label=name,
            symbol="diamond",
            size=9.0,
            hover=[
                f"{row.model}: {row.value:+.4f}" for row in group.itertuples()
            ],
        )
        for name, group in groups
        if len(group)
    ]
