"""What a report shows of scaling curves."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import (
    Axes,
    Panel,
    Plot,
    Series,
    Table,
    Ticks,
)
from bit_keras.benchmarks.saturation import scaling
from bit_keras.benchmarks.saturation.scaling import CurveFits

_OVERVIEW = (
    "How far each law is off where it was not fitted: the root mean square of "
    "log(predicted / observed error), by curve. 0.05 means about 5 % of the "
    "error rate. best: curves on which no other law is closer; ties count for "
    "all of them. median_rmse: over the curves that all of these laws could be "
    "fitted to (compared), as short curves are not as easy as long ones.\n\n"
    "M1: beta x^c. M2: beta x^c + e_inf. M3: beta (1/x + gamma)^c. "
    "M4: (y - e_inf) / (e_0 - y)^alpha = beta x^c. BNSL: a power law with one "
    "break. An empty cell: too few points to fit, or none to judge by."
)
_CURVES = (
    "Filled points were fitted, open ones were not: there the lines are "
    "predictions. Both axes are logarithmic, so that a power law is straight."
)
_GREY = "#777777"
_STEPS = 200
_MARGIN = 0.9
# More diagrams under one heading are hard to find one's way in.
_MOST = 12


def panels(
    fits: Sequence[CurveFits], table: pd.DataFrame, x: str, y: str
) -> list[Panel]:
    """Returns a panel of numbers, and one of diagrams per first name.

    Args:
        fits: Of `scaling.analyse`.
        table: The same.
        x: What to call the axis of examples.
        y: The column that the errors are from.
    """
    columns = list(table.columns[: list(table.columns).index("estimator")])
    overview = Panel(
        title="Scaling laws beyond the fit",
        text=_OVERVIEW,
        table=scaling.summary(table),
        more=(Table(caption="By curve", frame=scaling.wide(table, columns)),),
    )
    made = [overview]
    for first, members in _groups(fits):
        for start in range(0, len(members), _MOST):
            some = members[start : start + _MOST]
            made.append(
                Panel(
                    title=f"Scaling of {first}" if first else "Scaling curves",
                    text=_CURVES,
                    plot=Plot(axes=tuple(_axes(fit, x, y) for fit in some)),
                )
            )
    return made


def _groups(
    fits: Sequence[CurveFits],
) -> list[tuple[str, list[CurveFits]]]:
    """Returns the curves by their first name, if they have several."""
    if all(len(fit.curve.name) == 1 for fit in fits):
        return [("", list(fits))]

    def first(fit):
        return fit.curve.name[0]

    groups = itertools.groupby(sorted(fits, key=first), first)
    return [(name, list(members)) for name, members in groups]


def _axes(fit: CurveFits, x: str, y: str) -> Axes:
    curve = fit.curve
    series = []
    for label, chosen, symbol in (
        ("fitted", curve.fitted, "circle"),
        ("not fitted", ~curve.fitted, "open"),
    ):
        if chosen.any():
            series.append(
                Series(
                    x=curve.x[chosen],
                    y=curve.error[chosen],
                    label=label,
                    colour=_GREY,
                    symbol=symbol,
                    size=4.0,
                )
            )
    places = np.geomspace(curve.x.min(), curve.x.max(), _STEPS)
    for name, law in fit.laws.items():
        rmse, _ = fit.score(name)
        told = "" if np.isnan(rmse) else f", off by {rmse:.4f}"
        series.append(
            Series(
                x=places,
                y=law.predict(places),
                kind="line",
                label=name,
                hover=[f"{name}{told}"] * _STEPS,
            )
        )
    low, high = curve.error.min(), curve.error.max()
    return Axes(
        series=tuple(series),
        title=" ".join(curve.name),
        x_label=x,
        y_label=f"error ({y})",
        x_log=True,
        y_log=True,
        # By the points: some laws run far off.
        y_range=(low * _MARGIN, min(high / _MARGIN, 1.0)),
        x_ticks=decades(curve.x.min(), curve.x.max()),
    )


def decades(low: float, high: float) -> Ticks | None:
    """Returns the powers of ten in a range; None for fewer than two.

    >>> decades(4e6, 2e9)
    ((10000000.0, '1e7'), (100000000.0, '1e8'), (1000000000.0, '1e9'))
    """
    powers = range(int(np.ceil(np.log10(low))), int(np.log10(high)) + 1)
    ticks = tuple((10.0**power, f"1e{power}") for power in powers)
    return ticks if len(ticks) > 1 else None
