"""What a report shows of near-duplicates: counts, pairs, and what they change.

The second table is that of BiT (arXiv 1912.11370), Table 7: accuracy on the
full test set, on the deduplicated one, and the number of duplicates.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Panel

_SUFFIX = ", deduplicated"
_COUNTED = (
    "Images that are in the upstream's training images, too, by their hashes "
    "and a closer look. Flat images have no hash and are not compared. Look at "
    "the pairs: one that is none can be deleted from duplicates.json.\n\n"
    "In each pair the upstream image is to the right. Of many pairs 40 are "
    "shown, from the most to the least similar."
)
_CHANGED = (
    "Accuracy (%) on all test images, and without those that are in the "
    "upstream; median over seeds. A model that has seen its test images "
    "loses; so does one for which the images left out were the easy ones."
)
# What two rows must have in common to differ only in the images left out.
_SAME = [
    "benchmark",
    "model",
    "model_sha256",
    "task",
    "preprocessing",
    "metric",
    "endpoint",
    "shots",
]


def panels(
    frame: pd.DataFrame, folders: Sequence[str | Path] = ()
) -> list[Panel]:
    """Returns the panels of a report.

    Args:
        frame: From `results.load`; rows of other benchmarks count where they
            were measured with and without --exclude.
        folders: Where contact sheets are: the --out directories of
            `duplicates`, at any depth. Those that are not there are left out.

    Example:

    >>> from bit_keras.benchmarks.row import KINDS
    >>> panels(pd.DataFrame(columns=list(KINDS)))
    []
    """
    found = []
    counts = frame[frame["benchmark"] == "duplicates"]
    if len(counts):
        found.append(
            Panel(
                title="Near-duplicates of the upstream",
                text=_COUNTED,
                table=_counts(counts),
                images=_sheets(counts, folders),
            )
        )
    changed = accuracies(frame)
    if len(changed):
        found.append(
            Panel(
                title="Accuracy without near-duplicates",
                text=_CHANGED,
                table=changed,
            )
        )
    return found


def _counts(rows: pd.DataFrame) -> pd.DataFrame:
    split = rows["metric"].str.removesuffix("duplicates").str.strip()
    return pd.DataFrame(
        {
            "task": rows["task"],
            "split": split.replace("", "test"),
            "duplicates": rows["value"].astype(int),
            "images": rows["n"],
            "flat": [details.get("flat", 0) for details in rows["details"]],
            "upstream and criterion": rows["protocol"],
        }
    ).reset_index(drop=True)


def _sheets(
    rows: pd.DataFrame, folders: Sequence[str | Path]
) -> tuple[tuple[str, bytes], ...]:
    names = [details.get("sheet") for details in rows["details"]]
    images = []
    for name in dict.fromkeys(filter(None, names)):
        paths = [p for folder in folders for p in Path(folder).rglob(name)]
        if paths:
            caption = name.removesuffix(".png").replace("-", " ", 1)
            images.append((caption, paths[0].read_bytes()))
    return tuple(images)


def accuracies(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns accuracies with and without duplicates, side by side.

    Args:
        frame: From `results.load`.

    Returns:
        model, task, protocol, endpoint, shots, seeds, full, deduplicated (in
        %), duplicates; one line for each measurement made both ways. Medians
        are over the seeds (as many) that were measured both ways: others would
        make a difference that duplicates did not.
    """
    frame = frame[frame["metric"].isin(["accuracy", "top1"])]
    frame = frame.astype({"protocol": str})
    is_without = frame["protocol"].str.endswith(_SUFFIX)
    protocol = frame["protocol"].str.removesuffix(_SUFFIX)
    frame = frame.assign(
        protocol=protocol,
        excluded=[details.get("excluded") for details in frame["details"]],
        list=[details.get("settings", "") for details in frame["details"]],
    )
    # VTAB's settings name the list of images left out; see `exclusions.label`.
    frame["settings"] = [
        re.sub(r"(, | )?list \w{8}$", "", settings)
        for settings in frame["list"]
    ]
    by = [*_SAME, "protocol", "settings"]
    pairs = frame[is_without].merge(
        frame[~is_without], on=[*by, "seed"], suffixes=("", "_full")
    )
    groups = pairs.groupby([*by, "excluded", "list"], dropna=False, sort=False)
    both = groups[["value", "value_full"]].median().reset_index()
    both["seeds"] = groups.size().to_numpy()
    return pd.DataFrame(
        {
            **{
                name: both[name]
                for name in (
                    *("model", "task", "protocol", "endpoint", "shots"),
                    "seeds",
                )
            },
            "full": (100 * both["value_full"]).round(2),
            "deduplicated": (100 * both["value"]).round(2),
            "duplicates": pd.to_numeric(both["excluded"]).astype("Int64"),
        }
    )
