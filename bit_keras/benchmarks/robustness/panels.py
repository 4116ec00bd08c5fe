"""What a report shows of robustness under shift."""

import ast
import re

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import (
    Axes,
    Heatmap,
    Panel,
    Plot,
    Series,
)
from bit_keras.benchmarks.robustness.cue_conflict import CATEGORIES
from bit_keras.benchmarks.robustness.effective_panels import effective

_PART = re.compile(r"(?P<whole>.+)/(?P<feature>[^/=]+)=(?P<at>.+)")
_GREY = "#777777"
_SHIFT = (
    "Accuracy on the usual test set and on a shifted one. On the dotted "
    "diagonal nothing is lost. Error bars: two standard errors.\n\nfull: all "
    "logits compete; restricted: only those of the classes that have images in "
    "the shifted set. In both, the usual set counts with its images of these "
    "classes only. The standard error of a drop is that of independent "
    "samples: between two versions of the same images it is too large."
)
_CUES = (
    "Images with the shape of one category and the texture of another (Geirhos "
    "et al., arXiv 1811.12231). Shape bias: of the images decided for either, "
    "the share decided for the shape; 0.5 is no preference. The dashed line is "
    "over all categories together. Categories that the head lacks are left "
    "out, with all images that show one."
)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Returns what there is to see of the benchmark "robustness".

    Args:
        frame: Its rows, from `results.load`.
    """
    if frame.empty:
        return []
    rows = _latest(frame)
    part = rows["task"].str.fullmatch(_PART.pattern)
    accuracy = rows["metric"] == "accuracy"
    return [
        *_drops(rows[rows["metric"] == "accuracy_drop"]),
        *_by_feature(rows[accuracy & part]),
        *_cue_conflict(rows[rows["metric"] == "shape_bias"]),
        *effective(rows),
    ]


def _latest(frame: pd.DataFrame) -> pd.DataFrame:
    """Each number once, by the last measurement."""
    order = pd.to_datetime(frame["time"], format="ISO8601", utc=True)
    sort = frame.loc[order.sort_values(kind="stable").index]
    keys = ["model", "model_sha256", "task", "protocol", "preprocessing"]
    # Effective robustness is by a line: by each of them another number.
    lines = sort["details"].map(lambda one: str(one.get("line")))
    keys = [*(sort[name] for name in [*keys, "metric", "endpoint"]), lines]
    return sort[~pd.concat(keys, axis="columns").duplicated(keep="last")]


def _drops(rows: pd.DataFrame) -> list[Panel]:
    if rows.empty:
        return []
    details = rows["details"]
    table = pd.DataFrame(
        {
            "model": rows["model"],
            "task": rows["task"],
            "protocol": rows["protocol"],
            "source": [one["source_accuracy"] for one in details],
            "shifted": [one["shifted_accuracy"] for one in details],
            "drop": rows["value"],
            "stderr": rows["stderr"],
            "n": rows["n"],
        }
    ).reset_index(drop=True)
    p = table["shifted"]
    error = 2 * np.sqrt(p * (1 - p) / table["n"])
    series = [_diagonal()]
    for (task, protocol), index in table.groupby(
        ["task", "protocol"], sort=False
    ).groups.items():
        one = table.loc[index]
        series.append(
            Series(
                x=one["source"],
                y=one["shifted"],
                error=error.loc[index],
                label=task if protocol == "shift" else f"{task}, {protocol}",
                hover=list(one["model"]),
            )
        )
    axes = Axes(
        series=tuple(series),
        x_label="accuracy on the usual set",
        y_label="accuracy on the shifted set",
        x_range=(0, 1),
        y_range=(0, 1),
    )
    plot = Plot(axes=(axes,))
    return [
        Panel(title="Accuracy under shift", text=_SHIFT, plot=plot, table=table)
    ]


def _diagonal() -> Series:
    return Series(x=[0, 1], y=[0, 1], kind="line", dash="dot", colour=_GREY)


def _by_feature(rows: pd.DataFrame) -> list[Panel]:
    """One panel for each task and feature that accuracy was split by."""
    split = rows.join(rows["task"].str.extract(_PART))
    made = []
    by = ["whole", "protocol", "feature"]
    for (whole, protocol, feature), one in split.groupby(by, sort=False):
        title = f"{whole} by {feature}"
        title += "" if protocol == "shift" else f", {protocol}"
        table = one[["model", "at", "value", "stderr", "n"]]
        table = table.rename(columns={"at": feature, "value": "accuracy"})
        axes = _places(one) if "," in feature else (_curves(one, feature),)
        made.append(
            Panel(
                title=f"Accuracy on {title}",
                text="Accuracy at each value of a feature of the test images. "
                "Error bars: two standard errors.",
                plot=Plot(axes=axes),
                table=table.reset_index(drop=True),
            )
        )
    return made


def _curves(rows: pd.DataFrame, feature: str) -> Axes:
    numbers = pd.to_numeric(rows["at"], errors="coerce")
    ticks = None
    if numbers.isna().any():
        names = sorted(set(rows["at"]))
        numbers = rows["at"].map({name: i for i, name in enumerate(names)})
        ticks = tuple(enumerate(names))
    rows = rows.assign(x=numbers).sort_values("x")
    series = [
        Series(
            x=one["x"],
            y=one["value"],
            error=2 * one["stderr"],
            label=model,
            hover=list(one["at"]),
        )
        for model, one in rows.groupby("model", sort=False)
    ]
    return Axes(
        series=tuple(series),
        x_label=feature,
        y_label="accuracy",
        x_ticks=ticks,
        y_range=(0, 1),
    )


def _places(rows: pd.DataFrame) -> tuple[Heatmap, ...]:
    """Accuracy by two factors at once: places of an object in the image."""
    made = []
    for model, one in rows.groupby("model", sort=False):
        x, y = zip(*map(ast.literal_eval, one["at"]), strict=True)
        table = one.assign(x=x, y=y).pivot(
            index="y", columns="x", values="value"
        )
        made.append(
            Heatmap(
                values=table.to_numpy(),
                x_names=[f"{place:g}" for place in table.columns],
                y_names=[f"{place:g}" for place in table.index],
                low=0,
                high=1,
                title=model,
            )
        )
    return tuple(made)


def _cue_conflict(rows: pd.DataFrame) -> list[Panel]:
    if rows.empty:
        return []
    keys = ("decided", "images", "no_conflict", "unknown")
    table = rows[["model", "task", "value", "stderr"]].rename(
        columns={"value": "shape_bias"}
    )
    table = table.assign(
        **{key: [one[key] for one in rows["details"]] for key in keys},
        categories=[len(one["classes"]) for one in rows["details"]],
    )
    several = rows["task"].nunique() > 1
    series = [
        one
        for row in rows.itertuples()
        for one in _biases(
            row.model + (f", {row.task}" if several else ""),
            row.value,
            row.details["categories"],
        )
    ]
    axes = Axes(
        series=tuple(series),
        x_label="category of the shape",
        y_label="shape bias",
        x_ticks=tuple(enumerate(CATEGORIES)),
        y_range=(0, 1),
    )
    return [
        Panel(
            title="Shape or texture",
            text=_CUES,
            plot=Plot(axes=(axes,), columns=1),
            table=table.reset_index(drop=True),
        )
    ]


def _biases(
    label: str, whole: float, categories: list[dict]
) -> tuple[Series, Series]:
    """Points by category, and a line for all of them."""
    shown = [one for one in categories if "shape_bias" in one]
    points = Series(
        x=[CATEGORIES.index(one["category"]) for one in shown],
        y=[one["shape_bias"] for one in shown],
        label=label,
        hover=[
            f"{one['category']}: {one['shape']} shape, {one['texture']} "
            f"texture of {one['images']}"
            for one in shown
        ],
    )
    ends = [-0.5, len(CATEGORIES) - 0.5]
    line = Series(x=ends, y=[whole] * 2, kind="line", dash="dash", label=label)
    return points, line
