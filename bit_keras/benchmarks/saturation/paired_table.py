"""The input of the analysis from curves over training, one task per curve."""

import re
from collections.abc import Sequence

import pandas as pd

from bit_keras.benchmarks.results import did_you_mean
from bit_keras.benchmarks.saturation import table
from bit_keras.benchmarks.saturation.columns import (
    Columns,
    Quantity,
    Unit,
    meaning,
    numbers,
)
from bit_keras.benchmarks.saturation.pairs import pair_curves

# "bird_5": the task and the number of shots in one column.
_TASK_AND_SHOTS = re.compile(r"(.+)_(\d+)")


def from_curves(
    frame: pd.DataFrame,
    *,
    at: str,
    value: str,
    task: str,
    upstream_task: str,
    model: Sequence[str],
    shots: str | None = None,
    family: str | None = None,
    value_is: Quantity | None = None,
    unit: Unit | None = None,
) -> table.Table:
    """Pairs the curve of each task with that of the task taken as upstream.

    Where tasks have shots, a curve is paired with the upstream curve of as many
    shots. Points of one model stay points of that model: `at` is their `data`.

    Args:
        frame: One point of a curve per row.
        at: Column of examples seen in training; see `pairs`.
        value: Column of accuracies or errors, of all tasks.
        task: Column of tasks.
        upstream_task: The one that is upstream.
        model: Columns that tell models apart.
        shots: Column of shots; None: read from tasks that are all like
            "bird_5", else there are none.
        family: Column of families, one of `model`.
        value_is: "accuracy" or "error"; None: by the column's name.
        unit: "fraction" or "percent"; None: by the values.

    Raises:
        ValueError: For an unknown task, or if no point can be paired.

    Example:

    >>> frame = pd.DataFrame({"model": "r50", "seen": [10, 1000, 50],
    ...     "error": [0.8, 0.4, 0.9], "task": ["inet_5", "inet_5", "bird_5"]})
    >>> made = from_curves(frame, at="seen", value="error", task="task",
    ...                    upstream_task="inet", model=["model"])
    >>> names = ["model", "task", "shots", "data", "upstream_accuracy"]
    >>> print(made.points[names].round(3).to_string(index=False))
    model task  shots  data  upstream_accuracy
      r50 bird      5  50.0               0.34
    """
    curves, notes = _curves(frame, at, value, task, shots, model)
    tasks = sorted(set(curves["task"]))
    if upstream_task not in tasks:
        raise ValueError(
            f'upstream_task: there is no task "{upstream_task}".'
            f"{did_you_mean(upstream_task, tasks)} Tasks: {', '.join(tasks)}."
        )
    is_upstream = curves["task"] == upstream_task
    pairs = []
    groups = curves[~is_upstream].groupby(["task", "shots"], dropna=False)
    for (name, number), part in groups:
        same = (
            curves["shots"].isna()
            if pd.isna(number)
            else (curves["shots"] == number)
        )
        found = pair_curves(
            curves[is_upstream & same], part, by=model, at=at, value="value"
        )
        pairs.append(found.assign(task=name, shots=number))
    paired = pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame()
    if paired.empty:
        raise ValueError(
            f"No point of a task has an upstream value: the curves of "
            f'"{upstream_task}" cover none of the {at} of the others.'
        )
    # By the whole column: on one task, percent may all be below 1.
    found = meaning(curves["value"], value, value_is, unit)
    made = table.from_frame(
        paired,
        Columns(
            upstream="upstream",
            downstream=("downstream",),
            model=tuple(model),
            task="task",
            shots="shots",
            family=family,
            data=at,
            upstream_is=found.quantity,
            downstream_is=found.quantity,
            upstream_unit=found.unit,
            downstream_unit=found.unit,
        ),
    )
    notes.append(f"upstream is {upstream_task}, interpolated in log {at}")
    lost = int((~is_upstream).sum()) - len(paired)
    if lost:
        notes.append(
            f"{lost} of {lost + len(paired)} points have no upstream value: "
            f"no {upstream_task} curve of their model reaches there"
        )
    notes = (found.note, *made.notes, *notes)
    return table.Table(made.points, made.problems, notes)


def _curves(
    frame: pd.DataFrame,
    at: str,
    value: str,
    task: str,
    shots: str | None,
    model: Sequence[str],
) -> tuple[pd.DataFrame, list[str]]:
    """Returns model, `at`, value, task and shots of the points that count."""
    made = frame[[*model]].copy()
    made[at] = numbers(frame[at])
    made["value"] = numbers(frame[value])
    made["task"] = frame[task].astype("string").str.strip().astype(object)
    notes = []
    made["shots"] = pd.Series(pd.NA, frame.index, dtype="Int64")
    both = made["task"].dropna().str.extract(f"^{_TASK_AND_SHOTS.pattern}$")
    if shots is not None:
        made["shots"] = numbers(frame[shots]).astype("Int64")
    elif len(both) and both.notna().all(axis=None):
        made["task"], made["shots"] = both[0], both[1].astype("Int64")
        example = frame[task].iloc[0]
        notes.append(
            f"{task}: {example} is {both[0].iloc[0]}, "
            f"{both[1].iloc[0]} shots, and so on"
        )
    good = made[[*model, at, "value", "task"]].notna().all(axis="columns")
    good &= made[at] > 0
    if not good.all():
        notes.append(f"{int((~good).sum())} rows lack a number: left out")
    return made[good], notes
