"""Size, data and epochs on one curve (Figure 4), and what they add to it."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series, Table
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.figure_parts import (
    GREY,
    MOST_POINTS,
    X_LABEL,
    Y_LABEL,
    chunks,
    shots_name,
)
from bit_keras.benchmarks.saturation.group import Group
from bit_keras.benchmarks.saturation.scale import FACTORS

# From little to much.
_SHADES = ("#8fc7e8", "#4a9fd4", "#1f6fb5", "#7a3fa0", "#c0307a")
_STEPS = 100


def scale_panels(analysis: Analysis) -> list[Panel]:
    """Returns the tests, and the points of each factor on the curve."""
    made = []
    if len(analysis.scale):
        made.append(_tests(analysis))
    for factor in FACTORS:
        for shots, groups in analysis.of_shots().items():
            some = [g for g in groups if _varies(g, factor)]
            if not some:
                continue
            levels = _levels([g.scale.points[factor] for g in some])
            for part, few in chunks(some):
                made.append(
                    Panel(
                        title=f"Scale on one curve: {factor}"
                        f"{shots_name(shots)}{part}",
                        text=""
                        if any(factor in one.title for one in made)
                        else f"Colour: {factor}, from little to much. Line: "
                        "the law on all points. If a factor acts through the "
                        "upstream accuracy alone, its colours lie along the "
                        "line and not beside it.",
                        plot=Plot(
                            axes=tuple(_axes(g, factor, levels) for g in few)
                        ),
                    )
                )
    return made


def _tests(analysis: Analysis) -> Panel:
    tested = [
        (group.name, group.scale)
        for group in analysis.groups
        if group.scale is not None and group.scale.regression is not None
    ]
    words = pd.DataFrame(
        [(name, effect.summary()) for name, effect in tested],
        columns=["task", "what was found"],
    )
    adds = [name for name, effect in tested if effect.adds()]
    shown = analysis.scale.drop(columns=["stderr", "f"], errors="ignore")
    return Panel(
        title="What scale adds to upstream accuracy",
        text="What the law on all points leaves of the downstream error, "
        "regressed on the logarithms of size, data and epochs (log10: the "
        "coefficient is the change by ten times as much). Points of one "
        "training count as a cluster. By the F test of all factors together "
        "(p < 0.05) scale adds to upstream accuracy in "
        f"{len(adds)} of {len(tested)} cases; a small p says that "
        "it adds, not that it adds much.",
        table=shown,
        more=(Table(caption="In words", frame=words, folded=True),),
        csv=analysis.scale,
    )


def _varies(group: Group, factor: str) -> bool:
    effect = group.scale
    return effect is not None and effect.points[factor].nunique() > 1


def _axes(
    group: Group, factor: str, levels: pd.IntervalIndex | list[float]
) -> Axes:
    fit, points = group.scale.fit, group.scale.points
    y = points["downstream_accuracy"]
    pad = 0.06 * (y.max() - y.min()) + 1e-3
    chosen = np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS))
    points = points.iloc[chosen.astype(int)]
    series = []
    for place, (name, chosen) in enumerate(_by_level(points[factor], levels)):
        part = points[chosen]
        if part.empty:
            continue
        shade = place * (len(_SHADES) - 1) / max(len(levels) - 1, 1)
        series.append(
            Series(
                x=part["upstream_accuracy"].to_numpy(),
                y=part["downstream_accuracy"].to_numpy(),
                label=f"{factor} {name}",
                colour=_SHADES[round(shade)],
                size=5.0,
                hover=[
                    f"{one.model}\n{factor} {getattr(one, factor):.4g}"
                    for one in part.itertuples()
                ],
            )
        )
    x = 1 - fit.upstream_error
    places = np.linspace(x.min(), x.max(), _STEPS)
    series.append(
        Series(
            x=places,
            y=1 - fit.predict(1 - places),
            kind="line",
            label="law on all points",
            colour=GREY,
        )
    )
    return Axes(
        series=tuple(series),
        title=group.task,
        x_label=X_LABEL,
        y_label=Y_LABEL,
        # By the models: where there are none, the law may run far below.
        y_range=(y.min() - pad, y.max() + pad),
    )


def _levels(values: Sequence[pd.Series]) -> list[float] | pd.IntervalIndex:
    """Returns the distinct values of all tasks, or fifths if they are many."""
    whole = pd.concat(values)
    if whole.nunique() <= len(_SHADES):
        return sorted(whole.unique())
    fifths = pd.qcut(whole, len(_SHADES), duplicates="drop")
    return pd.IntervalIndex(fifths.cat.categories)


def _by_level(
    values: pd.Series, levels: list[float] | pd.IntervalIndex
) -> Iterator[tuple[str, pd.Series]]:
    """Yields the name of each level, and which values are of it."""
    for level in levels:
        if isinstance(level, pd.Interval):
            name = f"{level.left:.2g} to {level.right:.2g}"
            yield name, values.between(level.left, level.right, "right")
        else:
            yield f"{level:.4g}", values == level
