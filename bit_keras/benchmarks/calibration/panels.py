"""What a report shows of calibration and out-of-distribution rows."""

from typing import Any

import numpy as np
import pandas as pd

from bit_keras.benchmarks.calibration.overview import distinct, table
from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series

_BEFORE_AND_AFTER = (
    "Probabilities are the softmax of the logits. raw: as the model gives "
    "them; temperature: logits divided by the number in the last column, which "
    "was fitted on validation images and changes no prediction. A task after a "
    "slash is a shift: the temperature is that of the task before it.\n\n"
    "nll, brier and the three calibration errors are the better the smaller. "
    "ece and mce: 15 bins of equal width; ece_adaptive: of equal numbers of "
    "examples."
)
_CURVES = (
    "Bars: how often predictions of a confidence are right; on the diagonal, "
    "confidence is honest. Below it the model is too sure, above it not sure "
    "enough. Pale bars hold fewer than 1 % of the examples. Pointing at a bar "
    "shows its numbers."
)
_OUTSIDE = (
    "How well a score tells test images of the first task (in) from those of "
    "the second (out). auroc: 0.5 is chance. aupr_in and aupr_out: chance is "
    "the share of the images that count as positive. fpr95: share of out "
    "images that pass when 95 % of the in images do; fpr95_out: share of in "
    "images flagged when 95 % of the out images are."
)
_FULL, _PALE, _GREY = "#3b7dd8", "#b9d1f2", "#777777"


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Returns tables and reliability diagrams.

    Args:
        frame: Rows of the benchmarks "calibration" and "ood", from
            `results.load`.
    """
    made = []
    calibration = frame[frame["benchmark"] == "calibration"]
    if len(calibration):
        made.append(
            Panel(
                title="Calibration",
                text=_BEFORE_AND_AFTER,
                table=table(calibration, "calibration"),
            )
        )
        made += _reliability(calibration)
    if (frame["benchmark"] == "ood").any():
        made.append(
            Panel(
                title="Out-of-distribution detection",
                text=_OUTSIDE,
                table=table(frame, "ood"),
            )
        )
    return made


def _reliability(frame: pd.DataFrame) -> list[Panel]:
    """Returns a panel per model and task, with one diagram per protocol."""
    curves = distinct(frame)
    curves = curves[curves["metric"] == "ece"].sort_values(
        "time", kind="stable"
    )
    made = []
    for (model, task), rows in curves.groupby(["model", "task"], sort=False):
        latest = rows.drop_duplicates("protocol", keep="last")
        made.append(
            Panel(
                title=f"Reliability of {model} on {task}",
                text=_CURVES,
                plot=Plot(
                    axes=tuple(_axes(row) for row in latest.itertuples()),
                    columns=2,
                ),
            )
        )
    return made


def _axes(row: Any) -> Axes:
    """Returns the diagram of one row of metric "ece"."""
    bins = {
        key: np.array(column, float)
        for key, column in row.details["bins"].items()
    }
    width = bins["upper"] - bins["lower"]
    diagonal = Series(
        x=[0, 1],
        y=[0, 1],
        kind="line",
        dash="dash",
        colour=_GREY,
        label="calibrated",
    )
    title = f"{row.protocol}, ECE {row.value:.4f}"
    if "temperature" in row.details:
        title += f", T {row.details['temperature']:.3f}"
    few = bins["count"] < 0.01 * bins["count"].sum()
    bars = []
    for label, colour, chosen in (
        ("accuracy", _FULL, ~few),
        ("accuracy, few examples", _PALE, few),
    ):
        chosen = chosen & (bins["count"] > 0)
        if chosen.any():
            bars.append(_bars(bins, width, chosen, label, colour))
    return Axes(
        series=(*bars, diagonal),
        title=title,
        x_label="confidence",
        y_label="accuracy",
        x_range=(0, 1),
        y_range=(0, 1),
    )


def _bars(
    bins: dict[str, np.ndarray],
    width: np.ndarray,
    chosen: np.ndarray,
    label: str,
    colour: str,
) -> Series:
    some = {key: column[chosen] for key, column in bins.items()}
    hover = [
        f"{count:.0f} examples, confidence {confidence:.3f}, "
        f"accuracy {accuracy:.3f}"
        for count, confidence, accuracy in zip(
            some["count"], some["confidence"], some["accuracy"], strict=True
        )
    ]
    return Series(
        x=(some["lower"] + some["upper"]) / 2,
        y=some["accuracy"],
        kind="bars",
        width=float(width[0]),
        label=label,
        colour=colour,
        hover=hover,
    )
