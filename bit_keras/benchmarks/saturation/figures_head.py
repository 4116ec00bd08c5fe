"""What the head's settings trade upstream against downstream (Section 4)."""

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.figure_parts import (
    X_LABEL,
    Y_LABEL,
    chunks,
)
from bit_keras.benchmarks.saturation.group import name_of
from bit_keras.benchmarks.saturation.head import HeadEffect

# Of a legend; more configurations are told apart by hovering.
_MOST_ENTRIES = 12


def head_panels(analysis: Analysis) -> list[Panel]:
    """Returns a panel per setting that was swept."""
    made = []
    for effect in analysis.heads:
        groups = list(effect.curves.groupby(["task", "shots"], dropna=False))
        for number, (part, some) in enumerate(chunks(groups)):
            made.append(
                Panel(
                    title=f"Settings of the head: {effect.setting}{part}",
                    text="A line is one configuration; along it the setting "
                    "grows, and with it the points. Where a line goes up to "
                    "the left, downstream gains what upstream loses. Table: "
                    "where the best setting differs, and the downstream "
                    "accuracy that the one best upstream costs.",
                    plot=Plot(
                        axes=tuple(
                            _axes(effect, name_of(*key), curve)
                            for key, curve in some
                        )
                    ),
                    table=None if number else _costs(effect),
                )
            )
    return made


def _axes(effect: HeadEffect, title: str, curves: pd.DataFrame) -> Axes:
    known = ("task", "shots", "runs", effect.setting)
    by = [
        name
        for name in curves
        if name not in known and not name.endswith("_accuracy")
    ]
    groups = list(curves.groupby(by, dropna=False)) if by else [((), curves)]
    series = []
    for key, part in groups:
        part = part.sort_values(effect.setting)
        x = part["upstream_accuracy"].to_numpy()
        y = part["downstream_accuracy"].to_numpy()
        label = _label(by, key)
        hover = [
            f"{label}\n{effect.setting} {value:g}"
            for value in part[effect.setting]
        ]
        entry = label if len(groups) <= _MOST_ENTRIES else ""
        sizes = [5.0 + 8.0 * i / max(len(x) - 1, 1) for i in range(len(x))]
        series += [
            Series(x=x, y=y, kind="line", label=entry, hover=hover),
            Series(x=x, y=y, label=entry, hover=hover, size=sizes),
        ]
    return Axes(
        series=tuple(series), title=title, x_label=X_LABEL, y_label=Y_LABEL
    )


def _label(by: list[str], key: object) -> str:
    values = key if isinstance(key, tuple) else (key,)
    known = [
        str(value) if isinstance(value, str) else f"{name} {value:g}"
        for name, value in zip(by, values, strict=True)
        if not pd.isna(value) and value != ""
    ]
    return ", ".join(known) or "all runs"


def _costs(effect: HeadEffect) -> pd.DataFrame:
    names = ["best_upstream", "best_downstream", "cost", "agreement"]
    found = effect.disagreements()
    return found[["task", "shots", *names]]
