"""Accuracy by layer, over downstream against upstream accuracy (Figure 6)."""

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series, Table
from bit_keras.benchmarks.saturation.across import point_names
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.figure_parts import (
    COLOURS,
    Y_LABEL,
    chunks,
    model_series,
    shots_name,
)
from bit_keras.benchmarks.saturation.group import Group
from bit_keras.benchmarks.saturation.layers import on_upstream_axis

_MOST_TICKS = 8


def layer_panels(analysis: Analysis) -> list[Panel]:
    """Returns a panel per number of shots; none without several endpoints."""
    if analysis.layers is None:
        return []
    made = []
    for shots, groups in analysis.of_shots().items():
        pairs = [(group, _profile(analysis, group)) for group in groups]
        pairs = [(group, part) for group, part in pairs if len(part) > 1]
        for part, some in chunks(pairs):
            made.append(
                Panel(
                    title=f"Accuracy by layer{shots_name(shots)}{part}",
                    text="Points: downstream against upstream accuracy of all "
                    "models (scale below). Line: the model that is best "
                    "upstream of those probed at several layers, by layer "
                    "(scale above, first to last). Diamond: the earliest "
                    "layer that reaches its best accuracy.",
                    plot=Plot(axes=tuple(_axes(*pair) for pair in some)),
                )
            )
    best = analysis.layers.best.drop(columns="model_sha256")
    made.append(
        Panel(
            title="Earliest best layer",
            text="The earliest layer that reaches the best accuracy, and the "
            "earliest within a standard error of it. gain: by how much the "
            "best layer exceeds the last. depth_correlation: 1 if deeper is "
            "always better.",
            table=_summary(best),
            more=(Table(caption="By model", frame=best, folded=True),),
            csv=best,
        )
    )
    return made


def _profile(analysis: Analysis, group: Group) -> pd.DataFrame:
    """Returns the layers of the model that is best upstream, of those known."""
    profile = analysis.layers.profile
    shots = profile["shots"]
    same = shots.isna() if group.shots is None else shots == group.shots
    profile = profile[same.fillna(False) & (profile["task"] == group.task)]
    names = point_names(analysis.table.points)[group.points.index]
    names = names.where(names.isin(profile["model"]), group.points["model"])
    known = names.isin(profile["model"])
    if not known.any():
        return profile.iloc[:0]
    best = names[group.points.loc[known, "upstream_accuracy"].idxmax()]
    chosen = profile[profile["model"] == best]
    # Models of one name differ in their weights: the first of them.
    return chosen[chosen["model_sha256"] == chosen["model_sha256"].iloc[0]]


def _axes(group: Group, profile: pd.DataFrame) -> Axes:
    upstream = group.points["upstream_accuracy"]
    low, high = float(upstream.min()), float(upstream.max())
    if not high > low:
        low, high = low - 0.05, high + 0.05
    placed = on_upstream_axis(profile, low, high)
    x, y = placed["x"].to_numpy(float), placed["accuracy"].to_numpy(float)
    names = placed["endpoint"].tolist()
    top = int(y.argmax())
    line = {"x": x, "y": y, "label": "by layer", "colour": COLOURS["hull"]}
    shown = np.linspace(0, len(x) - 1, min(len(x), _MOST_TICKS)).astype(int)
    return Axes(
        series=(
            *model_series(group),
            Series(kind="line", **line),
            Series(
                **line,
                size=4.0,
                hover=[f"{n}: {v:.4f}" for n, v in zip(names, y, strict=True)],
            ),
            Series(
                x=x[[top]],
                y=y[[top]],
                symbol="diamond",
                size=10.0,
                label="earliest best layer",
                colour=COLOURS["rising"],
                hover=[f"{names[top]}: {y[top]:.4f}"],
            ),
        ),
        title=group.task,
        x_label="upstream accuracy (of the models)",
        y_label=Y_LABEL,
        x_top=tuple((float(x[i]), names[i]) for i in shown),
        x_top_label="layer",
    )


def _summary(best: pd.DataFrame) -> pd.DataFrame:
    """Returns medians over models, by task and shots."""
    made = best.groupby(["task", "shots"], dropna=False).agg(
        models=("model", "size"),
        earliest=("earliest", lambda names: names.mode().iloc[0]),
        earliest_depth=("earliest_depth", "median"),
        gain=("gain", "median"),
        depth_correlation=("depth_correlation", "median"),
    )
    return made.reset_index().rename(columns={"earliest": "most often"})
