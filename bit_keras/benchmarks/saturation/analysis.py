"""The whole analysis of a table, as tables and fits."""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import pandas as pd

from bit_keras.benchmarks.saturation import across
from bit_keras.benchmarks.saturation.correlation import Matrix
from bit_keras.benchmarks.saturation.group import (
    Group,
    analyse_group,
    prediction_rows,
)
from bit_keras.benchmarks.saturation.head import HeadEffect
from bit_keras.benchmarks.saturation.layers import Layers
from bit_keras.benchmarks.saturation.options import Options
from bit_keras.benchmarks.saturation.table import NAMES, Table

# What `tell` is called with: groups done, all groups, the group that is done.
Tell = Callable[[int, int, str], None]
# In `Analysis.skipped`: a law of points that are not all of one layer.
ONE_LAYER = "one layer"
_VALUES = ("upstream_accuracy", "downstream_accuracy")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """Results; a table is empty where the data do not allow it.

    Attributes:
        table: What was analysed.
        options: How.
        groups: Fits and scores by task and number of shots.
        fits: A row per task, shots and kind of points fitted.
        predictions: A row per score of held-out models.
        sample_size: A row per random subset of models that was fitted.
        shots: How parameters move with shots, by task; `counted` says whether
            fits that are not identified are among them.
        claims: The same, summed up over tasks.
        order: Tasks in the order they saturate, by shots and kind of points.
        correlations: Rank correlations by number of shots.
        scale: What size, data and epochs add to the upstream accuracy.
        layers: Accuracy by layer; None without several endpoints.
        heads: One sweep per setting of the head.
        reference_task: Task whose hull is laid over the others.
        skipped: What could not be computed, and why.
    """

    table: Table
    options: Options
    groups: tuple[Group, ...]
    fits: pd.DataFrame
    predictions: pd.DataFrame
    sample_size: pd.DataFrame
    shots: pd.DataFrame
    claims: pd.DataFrame
    order: pd.DataFrame
    correlations: dict[int | None, Matrix]
    scale: pd.DataFrame
    layers: Layers | None
    heads: tuple[HeadEffect, ...]
    reference_task: str | None
    skipped: pd.DataFrame

    def of_shots(self) -> dict[int | None, list[Group]]:
        """Returns the groups of each number of shots."""
        found: dict[int | None, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.shots, []).append(group)
        return dict(
            sorted(found.items(), key=lambda item: item[0] or float("inf"))
        )

    def warnings(self) -> list[str]:
        """Returns a line per law whose points are of several layers."""
        found = self.skipped[self.skipped["what"] == ONE_LAYER]
        pairs = zip(found["of"], found["why"], strict=True)
        return [f"warning: {of}: {why}" for of, why in pairs]

    def files(self) -> dict[str, pd.DataFrame]:
        """Returns the name and content of each CSV file worth writing."""
        found = {
            "fits": self.fits,
            "predictions": self.predictions,
            "sample_size": self.sample_size,
            "shots": self.shots,
            "order": self.order,
            "scale": self.scale,
            "skipped": self.skipped,
            "problems": self.table.problem_frame(),
        }
        for number, correlation in self.correlations.items():
            name = "all" if number is None else number
            found[f"correlations_{name}"] = correlation.frame()
        if self.layers:
            found["layers"] = self.layers.profile
            found["best_layers"] = self.layers.best
        if self.heads:
            found["head"] = pd.concat(
                [one.effects.assign(setting=one.setting) for one in self.heads]
            )
        return {name: frame for name, frame in found.items() if len(frame)}


def analyse(
    table: Table,
    options: Options | None = None,
    tell: Tell | None = None,
    layers: Layers | None = None,
) -> Analysis:
    """Computes all that the table allows.

    The order of its rows does not matter. Where models were probed at several
    endpoints, the law is fitted to the last of each model on each task.

    Args:
        table: The points.
        options: How; None: the defaults.
        tell: Called when a task at a number of shots is done.
        layers: Of `layers.by_endpoint`, which knows standard errors; None:
            from the points, if they are of several endpoints.

    Raises:
        ValueError: If the reference task is not in the table.

    Example:

    >>> from bit_keras.benchmarks.saturation.columns import Columns
    >>> from bit_keras.benchmarks.saturation.table import from_frame
    >>> up = [i / 40 for i in range(1, 30)]
    >>> frame = pd.DataFrame({"up": up, "dtd": [
    ...     0.9 - 0.8 * (1 - x) ** 3 for x in up]})
    >>> made = analyse(from_frame(
    ...     frame, Columns(upstream="up", downstream=("dtd",))))
    >>> made.fits[["on", "alpha", "identified"]].round(4)
           on  alpha  identified
    0    hull    3.0        True
    1  rising    3.0        True
    2     all    3.0        True
    """
    options = options or Options()
    points = table.points.sort_values(
        ["task", "shots", *_VALUES, *NAMES[:1]], kind="stable"
    )
    layers = layers or across.layers_of(points)
    points = across.last_endpoint(points)
    across.check_reference(options.reference_task, points)
    groups = _groups(points, options, tell)
    fits = _frame([row for g in groups for row in g.fit_rows()])
    predictions = [row for g in groups for row in prediction_rows(g, options)]
    moves = across.moves(fits)
    correlations = across.correlations(points)
    heads, skipped = across.heads(points)
    for group in groups:
        if why := across.mixed_endpoints(group.points):
            skipped.append((ONE_LAYER, group.name, why))
        skipped += [(what, group.name, why) for what, why in group.skipped]
    return Analysis(
        table=table,
        options=options,
        groups=tuple(groups),
        fits=fits,
        predictions=_frame(predictions),
        sample_size=_stack(groups, [g.sample_size for g in groups]),
        shots=moves,
        claims=across.claims(moves),
        order=across.order(fits),
        correlations=correlations,
        scale=_stack(groups, [g.scale and g.scale.frame() for g in groups]),
        layers=layers,
        heads=heads,
        reference_task=options.reference_task
        or across.most_upstream_like(correlations),
        skipped=pd.DataFrame(skipped, columns=["what", "of", "why"]),
    )


def _groups(
    points: pd.DataFrame, options: Options, tell: Tell | None
) -> list[Group]:
    """Analyses every task at every number of shots, side by side."""
    parts = [
        (task, None if pd.isna(shots) else int(shots), part)
        for (task, shots), part in points.groupby(
            ["task", "shots"], dropna=False
        )
    ]
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        jobs = [
            executor.submit(analyse_group, *part, options) for part in parts
        ]
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                name = job.result().name
                if tell is not None:
                    tell(done, len(jobs), name)
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def _frame(rows: list[dict]) -> pd.DataFrame:
    """Returns rows as a table in which counts stay whole numbers."""
    whole = dict.fromkeys(("shots", "vertices", "clusters", "densify"), "Int64")
    made = pd.DataFrame(rows)
    return made.astype({k: v for k, v in whole.items() if k in made})


def _stack(
    groups: list[Group], frames: list[pd.DataFrame | None]
) -> pd.DataFrame:
    """Puts tables of the groups below each other, with task and shots."""
    rows = [
        {"task": group.task, "shots": group.shots} | row
        for group, frame in zip(groups, frames, strict=True)
        if frame is not None
        for row in frame.to_dict("records")
    ]
    return _frame(rows)
