"""Which layer serves a task best: probes of every endpoint of a model.

Figure 6 of arXiv 2110.02095: the same few-shot probe on each layer's
representation. Tasks that saturate early are best served by a layer before the
last, and accuracy against layer looks like accuracy against upstream accuracy.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from bit_keras.benchmarks import results

# Names that numbers do not put in order: what comes before and after blocks.
_FIRST = ("stem", "root", "embedding", "patch")
_LAST = ("norm_pre_head", "pre_logits", "logits", "head")
_POINT = ["model", "model_sha256", "task", "shots"]


def depth_order(endpoints: Sequence[str]) -> list[str]:
    """Sorts endpoints (or layers) from the input to the output.

    Blocks are sorted by their numbers; a block's own output comes after its
    units'.

    Example:

    >>> depth_order(["logits", "block2", "block10/unit01", "block2/unit11",
    ...              "block2/unit02", "pre_logits", "stem"])
    ['stem', 'block2/unit02', 'block2/unit11', 'block2', 'block10/unit01',
    'pre_logits', 'logits']
    """

    def place(name: str) -> tuple:
        for i, last in enumerate(_LAST):
            if name.startswith(last):
                return (2, i, ())
        if name.startswith(_FIRST):
            return (0, 0, ())
        parts = re.split(r"(\d+)", name)
        key = tuple((int(p), "") if p.isdigit() else (0, p) for p in parts if p)
        # The whole block after its units: "~" is after "/".
        return (1, 0, (*key, (0, "~")))

    return sorted(dict.fromkeys(endpoints), key=place)


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """Accuracy by layer.

    Attributes:
        profile: One row per model, task, number of shots and endpoint: the
            columns of the point, endpoint, depth (0: first endpoint that was
            probed, 1: last), accuracy (median over seeds), stderr (over seeds;
            with one seed, of the test set), and n.
        best: One row per model, task and number of shots, see `earliest_best`.
    """

    profile: pd.DataFrame
    best: pd.DataFrame


def by_endpoint(
    frame: pd.DataFrame,
    *,
    benchmark: str = "fewshot",
    order: Sequence[str] | None = None,
    tolerance: float = 0.0,
) -> Layers:
    """Compares the layers of each model on each task.

    Args:
        frame: From `results.load`; rows of metric "accuracy" count.
        benchmark: Whose rows.
        order: Endpoints from input to output; None: `depth_order`. Rows of
            others do not count.
        tolerance: See `earliest_best`.

    Raises:
        ValueError: If there are no such rows, or rows differ in more than their
            seed and endpoint.
    """
    rows = frame[
        (frame["benchmark"] == benchmark) & (frame["metric"] == "accuracy")
    ]
    if order is not None:
        rows = rows[rows["endpoint"].isin(order)]
    if rows.empty:
        raise ValueError(
            f'No rows of benchmark "{benchmark}" and metric "accuracy"'
            f"{' at these endpoints' if order is not None else ''}. Measure "
            "with fewshot --endpoint stem,block1,...,pre_logits."
        )
    # Models differ in their layers, so each has its own depth.
    table = results.summarize(rows, [*_POINT, "endpoint"])
    parts = []
    for _, part in table.groupby(_POINT, dropna=False):
        names = order or depth_order(part["endpoint"].tolist())
        place = {name: i for i, name in enumerate(names)}
        part = part.assign(depth=part["endpoint"].map(place))
        part = part.sort_values("depth")
        part["depth"] = np.linspace(0, 1, len(part)) if len(part) > 1 else 1.0
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    whole["stderr"] = whole["stderr"].fillna(whole["test_stderr"])
    whole = whole.rename(columns={"median": "accuracy"})
    names = [*_POINT, "endpoint", "depth", "accuracy", "stderr", "n"]
    return Layers(whole[names], earliest_best(whole[names], tolerance))


def earliest_best(
    profile: pd.DataFrame, tolerance: float = 0.0
) -> pd.DataFrame:
    """Finds the earliest layer that reaches the best accuracy.

    Args:
        profile: As `Layers.profile`, from input to output within a point.
        tolerance: How far below the best still counts, as a fraction; 0 is the
            paper's "earliest layer that reaches the best".

    Returns:
        One row per model, task and number of shots: its endpoints; `earliest`,
        `earliest_depth`, `accuracy` there; `within_stderr`, the earliest layer
        that is at most one standard error of the best below it; `last` and
        `gain`, by how much the best exceeds the last; `depth_correlation`,
        Spearman's of accuracy with depth (1: deeper is always better).

    Example:

    >>> profile = pd.DataFrame({"model": "m", "model_sha256": "ab",
    ...     "task": "dtd", "shots": 5, "endpoint": ["stem", "block1", "logits"],
    ...     "depth": [0, 0.5, 1], "accuracy": [0.3, 0.6, 0.5], "stderr": 0.02})
    >>> names = ["task", "earliest", "accuracy", "last", "gain"]
    >>> print(earliest_best(profile)[names].round(3).to_string(index=False))
    task earliest  accuracy   last  gain
     dtd   block1       0.6 logits   0.1
    """
    rows = []
    for point, part in profile.groupby(_POINT, dropna=False):
        accuracy = part["accuracy"].to_numpy(float)
        top = accuracy.argmax()
        margin = part["stderr"].to_numpy(float)[top]
        first = int(np.argmax(accuracy >= accuracy[top] - tolerance))
        near = int(np.argmax(accuracy >= accuracy[top] - np.nan_to_num(margin)))
        names = part["endpoint"].tolist()
        varies = len(set(accuracy)) > 1
        rows.append(
            dict(zip(_POINT, point, strict=True))
            | {
                "endpoints": len(part),
                "earliest": names[first],
                "earliest_depth": float(part["depth"].iloc[first]),
                "accuracy": accuracy[first],
                "within_stderr": names[near],
                "within_stderr_depth": float(part["depth"].iloc[near]),
                "last": names[-1],
                "gain": accuracy[top] - accuracy[-1],
                "depth_correlation": stats.spearmanr(
                    np.arange(len(part)), accuracy
                ).statistic
                if varies
                else np.nan,
            }
        )
    return pd.DataFrame(rows).astype({"shots": "Int64"})


def on_upstream_axis(
    profile: pd.DataFrame, low: float, high: float
) -> pd.DataFrame:
    """Lays depth over an upstream axis, for one plot with two x axes.

    Args:
        profile: As `Layers.profile`.
        low: Upstream accuracy under the first layer.
        high: Upstream accuracy under the last layer.

    Returns:
        The profile with a column `x`.

    Example:

    >>> profile = pd.DataFrame({"endpoint": ["stem", "logits"],
    ...                         "depth": [0, 1]})
    >>> on_upstream_axis(profile, 0.2, 0.7)["x"].tolist()
    [0.2, 0.7]
    """
    depth = profile["depth"].to_numpy(float)
    return profile.assign(x=low * (1 - depth) + high * depth)
