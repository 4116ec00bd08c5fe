"""What a report shows of detectors: average precision, and their boxes."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Panel, Table

_TEXT = """\
COCO's average precision (%) on {task}: the mean over the overlaps .50 to .95, \
that at one overlap, and that of small, medium and large objects (below 32 x \
32, above 96 x 96 pixels); and the recall of 100 detections. Mean over seeds, \
with the standard deviation between them.

{dropped}In the pictures, predictions with a score above .3 are above, the \
annotated boxes below; of each model, the first seed."""
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
_CLASS = "AP50/"
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
    of_classes = by["metric"].str.startswith(_CLASS)
    classes = by[of_classes]
    classes = classes.assign(metric=classes["metric"].str.removeprefix(_CLASS))
    more = ()
    if len(classes):
        names = tuple(dict.fromkeys(classes["metric"]))
        table = _table(classes, names)
        more = (Table(caption="AP50 (%) of each class", frame=table),)
    return Panel(
        title=f"Detection on {task}",
        text=_TEXT.format(task=task, dropped=_dropped(by)),
        table=_table(by[~of_classes], _METRICS),
        more=more,
        images=_pictures(by, folders),
    )


def _table(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns one line for each model and setting: means of all seeds."""
    lines = []
    for _, group in rows.groupby(_SAME, sort=False):
        first = group.iloc[0]
        line = {
            "model": first["model"],
            "settings": first["settings"],
            "seeds": group["seed"].nunique(),
        }
        for metric in metrics:
            values = 100 * group.loc[group["metric"] == metric, "value"]
            line[metric] = _mean(values)
        lines.append(line)
    return pd.DataFrame(lines)


def _mean(values: pd.Series) -> str:
    if values.empty:
        return ""
    spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


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
