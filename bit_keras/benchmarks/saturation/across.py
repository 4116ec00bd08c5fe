"""What is compared across tasks, numbers of shots, layers and settings."""

import dataclasses

import numpy as np
import pandas as pd

from bit_keras.benchmarks.results import did_you_mean
from bit_keras.benchmarks.saturation import head, shots
from bit_keras.benchmarks.saturation.correlation import (
    Matrix,
    by_model,
    matrix,
    spearman,
    task_order,
)
from bit_keras.benchmarks.saturation.layers import (
    Layers,
    depth_order,
    earliest_best,
)
from bit_keras.benchmarks.summary import text

UPSTREAM = "upstream accuracy"
# What `moves` counts: see there.
IDENTIFIED, EVERY = "identified fits", "every fit"
_NOT_THE_MODEL = ("task", "shots", "upstream_accuracy", "downstream_accuracy")


def moves(fits: pd.DataFrame) -> pd.DataFrame:
    """Returns how the parameters move with shots, as `effect_of_shots`.

    Args:
        fits: Of all tasks and shots.

    Returns:
        Empty with fewer than two numbers of shots. In the column `counted`,
        IDENTIFIED rows are of these fits only; EVERY rows count all of them,
        to compare with tables that give no verdict.
    """
    if fits.empty or fits["shots"].nunique() < 2:
        return pd.DataFrame()
    counted = {IDENTIFIED: fits, EVERY: fits.assign(identified=True)}
    return pd.concat(
        [
            shots.effect_of_shots(some).assign(counted=name)
            for name, some in counted.items()
        ],
        ignore_index=True,
    )


def claims(moved: pd.DataFrame) -> pd.DataFrame:
    """Returns `shots.claims` of the rows that `moves` counts one way each."""
    if moved.empty:
        return moved
    return pd.concat(
        [
            shots.claims(part).assign(counted=name)
            for name, part in moved.groupby("counted", sort=False)
        ],
        ignore_index=True,
    )


def order(fits: pd.DataFrame) -> pd.DataFrame:
    """Returns the tasks as they saturate, by kind of fit and shots."""
    if fits.empty:
        return fits
    names = ["on", "shots", "place", "task", "saturates_at", "saturation_value"]
    parts = [
        task_order(part)[names]
        for _, part in fits.groupby(["on", "shots"], dropna=False, sort=False)
        if part["identified"].any()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def correlations(points: pd.DataFrame) -> dict[int | None, Matrix]:
    """Returns the rank correlations of each number of shots.

    Points are paired that agree in all but task and accuracies. UPSTREAM is the
    first name; a task is correlated with the upstream accuracies of its own
    points, which need not be those of other tasks.
    """
    found = {}
    about = [n for n in points if n not in _NOT_THE_MODEL]
    units = points.groupby(about, dropna=False).ngroup()
    for number, part in points.assign(model=units).groupby(
        "shots", dropna=False
    ):
        wide = by_model(part, UPSTREAM)
        found[None if pd.isna(number) else int(number)] = _with_own_upstream(
            matrix(wide), part
        )
    return found


def _with_own_upstream(whole: Matrix, points: pd.DataFrame) -> Matrix:
    for task, part in points.groupby("task"):
        one = spearman(part["upstream_accuracy"], part["downstream_accuracy"])
        for name, value in dataclasses.asdict(one).items():
            frame = getattr(whole, name)
            frame.loc[UPSTREAM, task] = frame.loc[task, UPSTREAM] = value
    return whole


def most_upstream_like(found: dict[int | None, Matrix]) -> str | None:
    """Returns the task that goes along with upstream accuracy best.

    None for fewer than two tasks. Of several numbers of shots, the largest
    counts.
    """
    if not found:
        return None
    most = max(found, key=lambda number: number or np.inf)
    rho = found[most].rho[UPSTREAM].drop(UPSTREAM).dropna()
    return str(rho.idxmax()) if len(rho) > 1 else None


def check_reference(task: str | None, points: pd.DataFrame) -> None:
    """Raises a ValueError if there is no such task."""
    known = sorted(set(points["task"]))
    if task is not None and task not in known:
        raise ValueError(
            f'reference_task: there is no task "{task}".'
            f"{did_you_mean(task, known)} Tasks: {', '.join(known)}."
        )


def point_names(points: pd.DataFrame) -> pd.Series:
    """Returns the models' names, with what tells points of one name apart.

    >>> points = pd.DataFrame({"model": ["a", "a", "b"], "epochs": [7, 14, 7]})
    >>> point_names(points).tolist()
    ['a, epochs 7', 'a, epochs 14', 'b']
    """
    names = points["model"].astype(str)
    for column in _identity(points):
        values = points.groupby("model")[column]
        several = values.transform("nunique", dropna=False) > 1
        told = points[column].map(lambda value, n=column: text(n, value))
        names = names.mask(several, names + f", {column} " + told)
    return names


def _identity(points: pd.DataFrame) -> list[str]:
    """Returns the columns that describe a model, whatever it is probed on."""
    others = (*_NOT_THE_MODEL, "model", "endpoint")
    return [name for name in points if name not in others]


def layers_of(points: pd.DataFrame) -> Layers | None:
    """Returns accuracy by layer; None if no model has several endpoints.

    Models are called as in `point_names`: checkpoints have their own layers.
    """
    if points["endpoint"].nunique() < 2:
        return None
    points = points.assign(model=point_names(points))
    by = ["model", "task", "shots"]
    several = points.groupby(by, dropna=False)["endpoint"].transform("nunique")
    points = points[several > 1]
    if points.empty:
        return None
    parts = []
    for _, part in points.groupby(by, dropna=False):
        place = {n: i for i, n in enumerate(depth_order(part["endpoint"]))}
        depth = part["endpoint"].map(place) / (len(place) - 1)
        parts.append(part.assign(depth=depth).sort_values("depth"))
    profile = pd.concat(parts, ignore_index=True).assign(
        accuracy=lambda made: made["downstream_accuracy"],
        stderr=np.nan,
        n=pd.NA,
    )
    names = ["model", "model_sha256", "task", "shots", "endpoint", "depth"]
    if "model_sha256" not in profile:
        profile["model_sha256"] = ""
    profile = profile[[*names, "accuracy", "stderr", "n"]]
    return Layers(profile, earliest_best(profile))


def last_endpoint(points: pd.DataFrame) -> pd.DataFrame:
    """Returns each model's points at the last endpoint probed on a task.

    >>> points = pd.DataFrame({"model": "m", "endpoint": ["stem", "logits"],
    ...                        "task": "dtd", "shots": 5})
    >>> last_endpoint(points)["endpoint"].tolist()
    ['logits']
    """
    if points["endpoint"].nunique() < 2:
        return points
    names = points["endpoint"].unique().tolist()
    place = {name: i for i, name in enumerate(depth_order(names))}
    depth = points["endpoint"].map(place)
    by = ["model", "task", "shots", *_identity(points)]
    last = depth.groupby([points[n] for n in by], dropna=False).transform("max")
    return points[depth == last]


def mixed_endpoints(points: pd.DataFrame) -> str:
    """Returns of which endpoints the points of one law are; "" if of one.

    >>> mixed_endpoints(pd.DataFrame({"endpoint": ["stem", "logits", "stem"]}))
    'its models were probed at different last layers: stem (2), logits (1)'
    """
    counts = points["endpoint"].value_counts()
    if len(counts) < 2:
        return ""
    listed = ", ".join(
        f"{name or 'unnamed'} ({count})" for name, count in counts.items()
    )
    return f"its models were probed at different last layers: {listed}"


def heads(
    points: pd.DataFrame,
) -> tuple[tuple[head.HeadEffect, ...], list[tuple[str, str, str]]]:
    """Returns the sweeps of settings of the head, and what was skipped."""
    found, skipped = [], []
    for setting in head.SETTINGS:
        if setting not in points:
            continue
        try:
            found.append(head.sweep(points, setting))
        except ValueError as error:
            skipped.append(("head", setting, str(error)))
    return tuple(found), skipped
