"""What a report shows of detectors: average precision, and their boxes."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bit_keras.benchmarks.drawing.plot import (
    Axes,
    Panel,
    Plot,
    Series,
    Table,
)

_TEXT = """\
COCO's average precision (%) on {task}: the mean over the overlaps .50 to .95, \
that at one overlap, and that of small, medium and large objects (below 32 x \
32, above 96 x 96 pixels); and the recall of 100 detections. Mean over seeds, \
with the standard deviation between them; in the plot each seed is a point.

{dropped}In the pictures, predictions with a score above .3 are above, the \
annotated boxes below; of each model, the first seed."""
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
_CLASS = "AP50/"
# More than these are in the table only, as COCO's 80.
_MOST_CLASSES = 20
# Rows that agree here are seeds of one measurement; "training" is what they are
# of but for the seed.
_SAME = ["model", "model_sha256", "protocol", "preprocessing", "training"]


def panels(
    frame: pd.DataFrame, folders: Sequence[str | Path] = ()
) -> list[Panel]:
    """Returns a panel for each set.

    Args:
        frame: From `results.load`, of the benchmark "detection".
        folders: Where the pictures are: the --out directories of `detection`,
            at any depth. Those that are not there are left out.

    Example:

    >>> panels(pd.DataFrame(columns=["task"]))
    []
    """
    return [
        _panel(task, rows, folders)
        for task, rows in frame.groupby("task", sort=True)
    ]


def _panel(
    task: str, rows: pd.DataFrame, folders: Sequence[str | Path]
) -> Panel:
    by = rows.assign(
        **{
            key: [details[key] for details in rows["details"]]
            for key in ("settings", "training")
        }
    )
    lines = _lines(by)
    metrics = [name for name in lines if not name.startswith(_CLASS)]
    classes = [name for name in lines if name.startswith(_CLASS)]
    table = lines[metrics]
    more = ()
    if classes:
        frame = lines[["model", "settings", "seeds", *classes]]
        frame = frame.rename(columns=lambda name: name.removeprefix(_CLASS))
        more = (Table(caption="AP50 (%) of each class", frame=frame),)
    return Panel(
        title=f"Detection on {task}",
        text=_TEXT.format(task=task, dropped=_dropped(by)),
        plot=Plot(axes=(_axes(by),)),
        table=table,
        more=more,
        csv=lines,
        images=_pictures(by, folders),
    )


def _lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one line for each model and setting: means of all seeds."""
    classes = [m for m in rows["metric"].unique() if m.startswith(_CLASS)]
    lines = []
    for _, group in rows.groupby(_SAME, sort=False):
        first = group.iloc[0]
        line = {
            "model": first["model"],
            "settings": first["settings"],
            "seeds": group["seed"].nunique(),
        }
        for metric in (*_METRICS, *classes):
            values = 100 * group.loc[group["metric"] == metric, "value"]
            line[metric] = _mean(values)
        lines.append(line)
    return pd.DataFrame(lines)


def _mean(values: pd.Series) -> str:
    if values.empty:
        return ""
    spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def _axes(rows: pd.DataFrame) -> Axes:
    """Returns the mean of each model as a bar, and each seed as a point."""
    metrics = [m for m in rows["metric"].unique() if m in _METRICS]
    classes = [m for m in rows["metric"].unique() if m.startswith(_CLASS)]
    metrics += classes if len(classes) <= _MOST_CLASSES else []
    groups = [group for _, group in rows.groupby(_SAME, sort=False)]
    names = [group["model"].iloc[0] for group in groups]
    width = 0.8 / len(groups)
    series = []
    for place, (name, group) in enumerate(zip(names, groups, strict=True)):
        settings = group["settings"].iloc[0]
        label = name if names.count(name) == 1 else f"{name}, {settings}"
        group = group[group["metric"].isin(metrics)]
        where = group["metric"].map(metrics.index)
        where += (place - (len(groups) - 1) / 2) * width
        values = 100 * group["value"]
        means = values.groupby(where).mean()
        hover = [
            f"{label}\n{row.metric} {100 * row.value:.1f}, seed {row.seed}"
            for row in group.itertuples()
        ]
        bars = {"kind": "bars", "label": label, "width": width}
        series += [
            Series(x=means.index.to_numpy(), y=means.to_numpy(), **bars),
            Series(
                x=where.to_numpy(),
                y=values.to_numpy(),
                colour="#222222",
                group=label,
                size=4.0,
                hover=hover,
            ),
        ]
    ticks = tuple((i, m.replace("/", " ")) for i, m in enumerate(metrics))
    return Axes(
        series=tuple(series),
        y_label="%; points: seeds",
        y_range=(0, 100),
        x_ticks=ticks,
    )


def _dropped(rows: pd.DataFrame) -> str:
    """Returns what became of the boxes, as a paragraph."""
    parts = [
        f"{details[f'{split}_split']}: {details[f'{split}_boxes_text']}."
        for details in rows["details"]
        for split in ("train", "test")
        if f"{split}_boxes_text" in details
    ]
    parts = dict.fromkeys(part[:1].upper() + part[1:] for part in parts)
    return f"{' '.join(parts)}\n\n" if parts else ""


def _pictures(
    rows: pd.DataFrame, folders: Sequence[str | Path]
) -> tuple[tuple[str, bytes], ...]:
    found, shown = [], set()
    for row in rows.sort_values("seed").itertuples():
        name = row.details.get("pictures")
        key = tuple(getattr(row, column) for column in _SAME)
        if name is None or key in shown:
            continue
        paths = [p for folder in folders for p in Path(folder).rglob(name)]
        if paths:
            shown.add(key)
            caption = f"{row.model}, seed {row.seed}"
            found.append((caption, paths[0].read_bytes()))
    return tuple(found)
