"""How well the best models are predicted (Figure 3, and the baselines)."""

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series, Table
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.baselines import NAMES as LINES
from bit_keras.benchmarks.saturation.figure_parts import (
    COLOURS,
    NAMES,
    shots_name,
)
from bit_keras.benchmarks.saturation.sample_size import (
    SOURCE,
    average_sample_sizes,
    published,
)

_METHODS = ("law", *LINES)
_MEASURES = {"fit_mse": "fitting", "mse": "prediction"}


def prediction_panels(analysis: Analysis) -> list[Panel]:
    """Returns the errors on held-out models, of the law and of the lines."""
    if analysis.predictions.empty:
        return []
    share = analysis.options.held_out
    return [
        Panel(
            title="Predictions of the best models",
            text=f"Held out are the {share:.0%} of models that are best "
            "upstream; fitted are the others, in linear space, a hull at 50 "
            "points along its edges, e_IR being at most the lowest error "
            "fitted. The numbers are means over tasks of the mean squared "
            "error of the downstream accuracy that is predicted. A fit on a "
            "hull tells of the best models, so it is scored on the held-out "
            "part of the hull of all; on held-out models it is meant to be too "
            "high. nRMSE: 1 is what predicting the mean of the targets gives.",
            table=summary(analysis.predictions),
            more=(
                Table(
                    caption="By task",
                    frame=_by_task(analysis.predictions),
                    folded=True,
                ),
            ),
            csv=analysis.predictions,
        )
    ]


def summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Returns mean errors over tasks, by shots and what was fitted.

    Args:
        predictions: Of `Analysis`.
    """
    keys = ["shots", "on", "scored_on"]
    scored = predictions[predictions["scored"] > 0]
    wide = scored.pivot_table(
        index=keys, columns="method", values="mse", dropna=False
    ).dropna(how="all")
    laws = scored[scored["method"] == "law"].groupby(keys, dropna=False)
    wide["law, nRMSE"] = laws["nrmse"].mean()
    wide["tasks"] = laws["task"].nunique()
    wide = wide.reset_index().rename_axis(columns=None)
    wide["shots"] = wide["shots"].astype("Int64")
    wide["on"] = wide["on"].map(NAMES)
    order = [m for m in _METHODS if m in wide]
    wide = wide[[*keys, "tasks", *order, "law, nRMSE"]]
    return _rounded(wide.rename(columns=_titles))


def _titles(name: str) -> str:
    return {"on": "fitted to", "scored_on": "scored on held-out"}.get(
        name, name
    )


def _by_task(predictions: pd.DataFrame) -> pd.DataFrame:
    keys = ["task", "shots", "on", "scored_on"]
    scored = predictions[predictions["scored"] > 0].copy()
    # As text, since a missing number would not be a key of a pivot.
    scored["shots"] = scored["shots"].astype("string").fillna("all")
    wide = scored.pivot(index=keys, columns="method", values="mse")
    law = scored[scored["method"] == "law"].set_index(keys)
    names = ["models_fitted", "vertices", "scored", "cut_off", "identified"]
    wide = wide[[m for m in _METHODS if m in wide]].join(law[names])
    wide = wide.reset_index().rename_axis(columns=None)
    wide["on"] = wide["on"].map(NAMES)
    return _rounded(wide.rename(columns=_titles))


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns errors as texts that show their magnitude."""
    made = frame.copy()
    for name in _METHODS:
        if name in made:
            made[name] = [
                "" if np.isnan(value) else f"{value:.1e}"
                for value in frame[name]
            ]
    return made


def sample_size_panels(analysis: Analysis) -> list[Panel]:
    """Returns Figure 3: errors against the number of models fitted."""
    if analysis.sample_size.empty:
        return []
    axes = []
    for shots, part in analysis.sample_size.groupby("shots", dropna=False):
        number = None if pd.isna(shots) else int(shots)
        means = average_sample_sizes(part)
        most = float(part.groupby("task")["models"].max().mean())
        for measure, name in _MEASURES.items():
            axes.append(_errors(means, measure, most, f"{name} error", number))
    return [
        Panel(
            title="Errors against the number of models",
            text="Random subsets of the models below the held-out ones, "
            "averaged over tasks; shaded: one standard deviation over "
            "repeats. The last point has all models below the cut-off. The "
            "paper, averaged over its 25 tasks, has for fits to all points "
            "about 3e-3 to 7e-3 whatever the number, and for fits to the hull "
            "3e-3 with 100 models that falls to 1e-4 with all, from 500 on "
            "1.5e-4 in prediction.",
            plot=Plot(axes=tuple(axes), columns=2),
            more=(
                Table(
                    caption=f"Published errors ({SOURCE}).",
                    frame=published(),
                    folded=True,
                ),
            ),
            csv=analysis.sample_size,
        )
    ]


def _errors(
    means: pd.DataFrame,
    measure: str,
    most: float,
    name: str,
    shots: int | None,
) -> Axes:
    series, ticks = [], {}
    for on in ("hull", "all"):
        rows = means[means["on"] == on].copy()
        rows["models"] = rows["models"].astype("Float64").fillna(most)
        rows = rows.sort_values("models")
        x = rows["models"].to_numpy(float)
        y = rows[measure].to_numpy(float)
        spread = rows[f"{measure}_std"].fillna(0).to_numpy(float)
        look = {"label": NAMES[on], "colour": COLOURS[on]}
        low = np.maximum(y - spread, y / 10)
        series += [
            Series(
                x=x,
                y=low,
                upper=y + spread,
                kind="band",
                colour=COLOURS[on],
                group=NAMES[on],
            ),
            Series(x=x, y=y, kind="line", **look),
            Series(x=x, y=y, **look, hover=[f"{v:.2e}" for v in y]),
        ]
        ticks |= {place: f"{place:.0f}" for place in x}
    ticks[most] = "all"
    return Axes(
        series=tuple(series),
        title=f"{name}{shots_name(shots)}",
        x_label="models fitted",
        y_label="mean squared error",
        x_log=True,
        y_log=True,
        x_ticks=tuple(sorted(ticks.items())),
    )
