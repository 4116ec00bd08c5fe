"""What a report shows of ObjectNet: scores, classes, confusion.

No images: the licence allows them only with their red border.
"""

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series
from bit_keras.benchmarks.objectnet.maps import CLASSES

# Rows that agree here are the scores of one model, measured in one way.
_MEASURED = [
    *("model", "model_sha256", "endpoint", "preprocessing", "protocol"),
    # Of fewer images it is another measurement.
    "n",
]

# BiT: Kolesnikov et al., arXiv 1912.11370, Table 6: top1 and top5 of BiT-S, -M
# and -L, in percent, by resize + crop, then by object boxes.  The whole-image
# cells of R101x1 L are left out: they repeat those of R101x3 L and are above
# its own with boxes.
_NAN = float("nan")
# fmt: off
_BIT = {
    "R50x1": (((30.8, 35.0, 37.6), (51.8, 56.4, 59.5)),
              ((35.1, 41.6, 42.5), (58.7, 64.9, 66.0))),
    "R101x1": (((32.2, 39.2, _NAN), (54.2, 61.3, _NAN)),
               ((37.4, 46.1, 49.1), (61.1, 69.4, 72.4))),
    "R50x3": (((33.7, 40.3, 49.1), (54.7, 62.4, 71.1)),
              ((38.4, 46.2, 54.7), (61.5, 70.1, 77.5))),
    "R101x3": (((34.6, 44.3, 54.6), (56.4, 66.4, 75.6)),
               ((40.2, 50.5, 60.4), (63.4, 73.6, 82.5))),
    "R152x4": (((36.0, 47.0, 58.7), (57.0, 69.0, 80.0)),
               ((41.6, 52.8, 63.8), (64.4, 76.0, 85.1))),
}
# fmt: on
_SHOWN_BY_ALL = "without border of 2 pixels, "
_SOURCE = "arXiv 1912.11370, Table 6"
_SCORES = """\
Accuracy in percent on the 113 classes of ObjectNet that ImageNet-1k has, too. \
Under the scoring "full" all 1000 logits compete, and a prediction outside of \
the 125 ImageNet classes of ObjectNet is wrong; under "restricted" only the \
logits of these 125 compete, which gives higher scores. "boxes": the model \
sees the object's box alone.

Below, what the BiT paper published (short side 512, crop 480). It does not \
say which scoring that is, so compare with care."""
_CLASSES = """\
Share of each class's images that are right, classes sorted by their mean over \
the models; bars are standard errors. Scoring "full", whole images."""
_CONFUSED = """\
The wrong ImageNet classes that are predicted most often, by the scoring \
"full", as share of the images of the true class."""


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Returns what a report shows of the rows of `objectnet`.

    Args:
        frame: Rows of this benchmark, as `results.load` gives them.

    Returns:
        The scores beside the published ones; accuracy by class; the most
        frequent confusions.  None if there are no rows.

    Example:

    >>> panels(pd.DataFrame())
    []
    """
    frame = frame[frame["benchmark"] == "objectnet"] if len(frame) else frame
    if frame.empty:
        return []
    found = [Panel(title="ObjectNet", text=_SCORES, table=scores(frame))]
    best = frame[(frame["protocol"] == "full") & (frame["metric"] == "top1")]
    if len(best):
        best = _named(best)
        found += [_classes(best), _confused(best)]
    return found


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns measured scores, then those of BiT's Table 6, in percent.

    Args:
        frame: Rows of the benchmark.

    Returns:
        Columns `model`, `scoring`, `preprocessing`, `top1`, `top5`, `images`,
        `classes` and `source`; all text.
    """
    lines = []
    for key, rows in frame.groupby(_MEASURED, sort=False, dropna=False):
        name = dict(zip(_MEASURED, key, strict=True))
        by_metric = rows.drop_duplicates("metric", keep="last")
        by_metric = by_metric.set_index("metric")
        one = rows.iloc[-1]
        lines.append(
            {
                "model": name["model"],
                "scoring": name["protocol"],
                "preprocessing": name["preprocessing"],
                "top1": _percent(by_metric, "top1"),
                "top5": _percent(by_metric, "top5"),
                "images": str(one["n"]),
                "classes": _covered(one["details"]),
                "source": "measured",
            }
        )
    return pd.DataFrame(lines + _published())


def _percent(by_metric: pd.DataFrame, metric: str) -> str:
    if metric not in by_metric.index:
        return ""
    row = by_metric.loc[metric]
    spread = "" if pd.isna(row["stderr"]) else f" ± {100 * row['stderr']:.2f}"
    return f"{100 * row['value']:.2f}{spread}"


def _covered(details: dict) -> str:
    share = f"{details.get('classes', '?')}/{CLASSES}"
    return f"partial ({share} classes)" if details.get("partial") else share


def _published() -> list[dict[str, str]]:
    lines = []
    for network, views in _BIT.items():
        for view, (top1, top5) in zip(("", ", boxes"), views, strict=True):
            for size, one, five in zip("SML", top1, top5, strict=True):
                if np.isnan(one):
                    continue
                lines.append(
                    {
                        "model": f"BiT-{size} {network}",
                        "scoring": f"unknown{view}",
                        "preprocessing": "object box"
                        if view
                        else "short side 512, crop 480",
                        "top1": f"{one:.1f}",
                        "top5": f"{five:.1f}",
                        "images": "",
                        "classes": f"{CLASSES}/{CLASSES}",
                        "source": _SOURCE,
                    }
                )
    return lines


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Adds a column `name`: the model, and what else tells rows apart."""
    name = rows["model"].copy()
    short = rows["preprocessing"].str.removeprefix(_SHOWN_BY_ALL)
    for more in (short, rows["model_sha256"].str[:8]):
        twice = name.duplicated(keep=False)
        name[twice] = name[twice] + ", " + more[twice]
    # What is still the same was measured on other images: the latest counts.
    return rows.assign(name=name).drop_duplicates("name", keep="last")


def _classes(rows: pd.DataFrame) -> Panel:
    """Accuracy by class, of each model."""
    shares, errors, table = {}, {}, {}
    for name, details in zip(rows["name"], rows["details"], strict=True):
        counts = details.get("right_of_images", {})
        share = {label: r / n for label, (r, n) in counts.items()}
        shares[name] = pd.Series(share, dtype=float)
        errors[name] = pd.Series(
            {
                k: (share[k] * (1 - share[k]) / n) ** 0.5
                for k, (_, n) in counts.items()
            },
            dtype=float,
        )
        table[name] = 100 * shares[name]
        table[f"{name}: images"] = pd.Series(
            {label: n for label, (_, n) in counts.items()}
        )
    share = pd.DataFrame(shares)
    order = share.mean(axis=1).sort_values(kind="stable").index
    place = np.arange(len(order))
    series = tuple(
        Series(
            x=place,
            y=100 * share.loc[order, name].to_numpy(),
            error=100 * errors[name].reindex(order).to_numpy(),
            label=name,
            hover=list(order),
        )
        for name in shares
    )
    axes = Axes(
        series=series,
        x_label="class, from hardest to easiest",
        y_label="top1 (%)",
        y_range=(-3.0, 103.0),
    )
    below = pd.DataFrame(table).loc[order].round(2)
    return Panel(
        title="ObjectNet by class",
        text=_CLASSES,
        plot=Plot(axes=(axes,), columns=1),
        table=below.rename_axis("class").reset_index(),
    )


def _confused(rows: pd.DataFrame) -> Panel:
    """The most frequent wrong predictions of each model."""
    lines = [
        {
            "model": name,
            "class": one["class"],
            "taken for": one["imagenet_name"],
            "ImageNet id": one["imagenet_id"],
            "images": one["images"],
            "share (%)": round(100 * one["share"], 1),
        }
        for name, details in zip(rows["name"], rows["details"], strict=True)
        for one in details.get("confused", [])
    ]
    return Panel(
        title="ObjectNet confusion with ImageNet",
        text=_CONFUSED,
        table=pd.DataFrame(lines),
    )
