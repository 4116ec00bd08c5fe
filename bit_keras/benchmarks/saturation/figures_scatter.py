"""Downstream against upstream accuracy: models, hulls, and the law.

Figures 1 and 5 of arXiv 2110.02095.
"""

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.figure_parts import (
    COLOURS,
    GREY,
    MOST_POINTS,
    NAMES,
    X_LABEL,
    Y_LABEL,
    chunks,
    model_series,
    shots_name,
)
from bit_keras.benchmarks.saturation.fit import Fit
from bit_keras.benchmarks.saturation.group import Group
from bit_keras.benchmarks.saturation.identifiability import LEAST_POINTS

_STEPS = 100
_TEXT = (
    "A point is a model: its colour is the family, its size grows with the "
    "logarithm of the number of parameters, if both are known. Dotted: the "
    "upper hull. Lines: the law e_DS = k e_US^alpha + e_IR, in accuracies, "
    "fitted to the vertices of the full hull, to those of its rising part, and "
    "to all points. A fit that is not identified is drawn as far as there are "
    "models, dashed, since it says nothing beyond them; one on fewer than "
    f"{LEAST_POINTS} vertices is not drawn. Horizontal: the "
    "saturation value 1 - e_IR with its 95 % interval, of the full hull or, if "
    "that is not identified, of its rising part."
)


def scatter_panels(analysis: Analysis) -> list[Panel]:
    """Returns Figure 1: a panel per number of shots."""
    made = []
    for shots, groups in analysis.of_shots().items():
        most = max(len(group.points) for group in groups)
        text = "" if made else _TEXT
        if most > MOST_POINTS and not made:
            text += (
                f" Of more than {MOST_POINTS} models in one diagram, as many "
                "are shown, and all those on the hull."
            )
        for part, some in chunks(groups):
            made.append(
                Panel(
                    title=f"Downstream against upstream accuracy"
                    f"{shots_name(shots)}{part}",
                    text=text,
                    plot=Plot(axes=tuple(map(_scatter, some))),
                )
            )
    return made


def _scatter(group: Group) -> Axes:
    series = model_series(group)
    hull = group.fits.get("hull")
    if hull is not None:
        series.append(hull_line(hull, "hull", GREY))
    series += [_law_line(fit) for fit in group.fits.values() if _is_drawn(fit)]
    known = [
        group.fits[on]
        for on in ("hull", "rising")
        if on in group.fits and group.fits[on].identified
    ]
    title = f"{group.task}: not identified on a hull"
    y = group.points["downstream_accuracy"]
    top = y.max()
    if known:
        value = known[0].saturation_value
        top = max(top, value)
        title = f"{group.task}: saturates at {value:.3f}"
        series += _saturation(known[0])
    pad = 0.06 * (top - y.min()) + 1e-3
    return Axes(
        series=tuple(series),
        title=title,
        x_label=X_LABEL,
        y_label=Y_LABEL,
        y_range=(y.min() - pad, min(top + 2 * pad, 1.01)),
    )


def hull_line(fit: Fit, label: str, colour: str) -> Series:
    """Returns the hull that a fit is of, as accuracies."""
    return Series(
        x=1 - fit.fitted_upstream,
        y=1 - fit.fitted_downstream,
        kind="line",
        dash="dot",
        label=label,
        colour=colour,
        hover=[f"{label}, {fit.vertices} vertices"] * len(fit.fitted_upstream),
    )


def _is_drawn(fit: Fit) -> bool:
    """Whether there is a curve to see: a few vertices fit any."""
    return fit.vertices is None or fit.vertices >= LEAST_POINTS


def _law_line(fit: Fit) -> Series:
    x = 1 - fit.upstream_error
    end = 1.0 if fit.identified else x.max()
    places = np.linspace(x.min(), end, _STEPS)
    said = (
        f"{NAMES[fit.on]}: k {fit.k:.3g}, alpha {fit.alpha:.3g}, "
        f"e_IR {fit.e_ir:.3g}"
        if fit.identified
        else f"{NAMES[fit.on]}: not identified"
    )
    return Series(
        x=places,
        y=1 - fit.predict(1 - places),
        kind="line",
        dash="solid" if fit.identified else "dash",
        label=f"law on {NAMES[fit.on]}"
        + ("" if fit.identified else ", not identified"),
        colour=COLOURS[fit.on],
        hover=[said] * _STEPS,
    )


def _saturation(fit: Fit) -> list[Series]:
    ends = [float((1 - fit.upstream_error).min()), 1.0]
    value = fit.saturation_value
    line = Series(
        x=ends,
        y=[value, value],
        kind="line",
        dash="dot",
        label="saturation value, 95 %",
        colour=COLOURS[fit.on],
        hover=[f"saturation value {value:.4f} ({NAMES[fit.on]})"] * 2,
    )
    if not fit.resamples or fit.groups.max() == 0:
        return [line]
    low, high = fit.confidence_interval()["saturation_value"]
    band = Series(
        x=ends,
        y=[low, low],
        upper=[high, high],
        kind="band",
        colour=COLOURS[fit.on],
        group="saturation value, 95 %",
    )
    return [band, line]


def reference_panels(analysis: Analysis) -> list[Panel]:
    """Returns Figure 5: how the best models of one task do on the others."""
    task = analysis.reference_task
    made = []
    for shots, groups in analysis.of_shots().items():
        of = {group.task: group for group in groups}
        others = [g for g in groups if g.task != task and "hull" in g.fits]
        if task not in of or "hull" not in of[task].fits or not others:
            continue
        best = of[task]
        for part, some in chunks(others):
            made.append(
                Panel(
                    title=f"The best models of {task} on other tasks"
                    f"{shots_name(shots)}{part}",
                    text=""
                    if made
                    else f"Grey, dotted: the upper hull of {task}. Line: that "
                    "of the task itself. Diamonds: the models on the hull of "
                    f"{task}, at their accuracy on this task; where they reach "
                    "its hull, the best for one are the best for the other. A "
                    "diagram without diamonds: they were not measured on it.",
                    plot=Plot(axes=tuple(_overlay(one, best) for one in some)),
                )
            )
    return made


def _overlay(group: Group, best: Group) -> Axes:
    own, other = group.fits["hull"], best.fits["hull"]
    there = _on_hull(best).merge(
        group.points, on=_identity(group.points), how="inner"
    )
    series = [
        hull_line(other, f"hull of {best.task}", GREY),
        Series(
            x=1 - own.fitted_upstream,
            y=1 - own.fitted_downstream,
            kind="line",
            label="hull of the task",
            colour=COLOURS["hull"],
        ),
    ]
    if len(there):
        series.append(
            Series(
                x=there["upstream_accuracy"].to_numpy(),
                y=there["downstream_accuracy"].to_numpy(),
                symbol="diamond",
                size=8.0,
                label=f"best models of {best.task}",
                colour=COLOURS["all"],
                hover=there["model"].tolist(),
            )
        )
    return Axes(
        series=tuple(series),
        title=group.task,
        x_label=X_LABEL,
        y_label=Y_LABEL,
    )


def _identity(points: pd.DataFrame) -> list[str]:
    values = ("task", "upstream_accuracy", "downstream_accuracy")
    return [name for name in points if name not in values]


def _on_hull(group: Group) -> pd.DataFrame:
    fit = group.fits["hull"]
    hull = set(zip(fit.fitted_upstream, fit.fitted_downstream, strict=True))
    pairs = zip(fit.upstream_error, fit.downstream_error, strict=True)
    on = [pair in hull for pair in pairs]
    return group.points[on][_identity(group.points)]
