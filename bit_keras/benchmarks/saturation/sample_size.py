"""How many models a prediction needs: errors against the number fitted.

Random subsets of the models below the held-out ones are fitted, as in Figures 3
and F.10 of arXiv 2110.02095: the errors of a fit to a hull fall with the number
of models, those of a fit to all points do not.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation.prediction import (
    DENSIFY,
    On,
    fit_law,
    points_on,
    score,
    split,
    targets,
)

SOURCE = (
    "Abnar, Dehghani, Neyshabur, Sedghi, arXiv 2110.02095, read off Figures 3 "
    "and F.10; averages over downstream tasks, taken to be mean squared errors"
)
# As digitised in saturation.md 2: upstream, shots, on, error, models, mse.
_PUBLISHED = (
    ("JFT", 25, "all", "fitting", "any", "2.9e-3"),
    ("JFT", 25, "all", "prediction", "any", "6.7e-3"),
    ("JFT", 25, "hull", "fitting", "100", "2.7e-3"),
    ("JFT", 25, "hull", "fitting", "200", "1.2e-3"),
    ("JFT", 25, "hull", "fitting", "500", "0.7e-3"),
    ("JFT", 25, "hull", "fitting", "all", "1e-4"),
    ("JFT", 25, "hull", "prediction", "100", "0.7e-3"),
    ("JFT", 25, "hull", "prediction", "500 or more", "1.5e-4"),
    ("JFT", 1, "all", "fitting", "any", "3.9e-3"),
    ("JFT", 1, "all", "prediction", "any", "7e-3"),
    ("JFT", 1, "hull", "fitting", "400 or more", "<= 5e-4"),
    ("JFT", 1, "hull", "prediction", "400 or more", "<= 5e-4"),
    ("ImageNet-21k", 1, "all", "fitting", "any", "4.3e-3"),
    ("ImageNet-21k", 1, "all", "prediction", "any", "4.3e-3"),
    ("ImageNet-21k", 1, "hull", "fitting", "fewest", "2.9e-3"),
    ("ImageNet-21k", 1, "hull", "fitting", "most", "1e-4"),
)


def published() -> pd.DataFrame:
    """Returns the paper's errors, about, to lay beside ours; see `SOURCE`.

    >>> print(published().iloc[[1]].to_string(index=False))
    upstream  shots  on      error models    mse
         JFT     25 all prediction    any 6.7e-3
    """
    names = ["upstream", "shots", "on", "error", "models", "mse"]
    return pd.DataFrame(_PUBLISHED, columns=names)


def by_sample_size(
    upstream_accuracy: np.ndarray,
    downstream_accuracy: np.ndarray,
    *,
    sizes: Sequence[int] = (100, 200, 500, 1000, 2000),
    repeats: int = 5,
    seed: int = 0,
    share: float = 0.2,
    on: Sequence[On] = ("all", "hull"),
    densify: int | None = DENSIFY,
) -> pd.DataFrame:
    """Fits the law to random subsets of the models, and predicts the best.

    The held-out models are the same for all subsets. Besides `sizes`, all
    models that are fitted count as one size, without repeats.

    Args:
        upstream_accuracy: In [0, 1], `(models,)`.
        downstream_accuracy: In [0, 1], `(models,)`.
        sizes: Models to fit; sizes that leave none out are passed over.
        repeats: Subsets of each size.
        seed: Of their draw.
        share: Of models to hold out.
        on: Which points of a subset to fit; each is scored on its own kind.
        densify: Points along a hull; None: its vertices.

    Returns:
        One row per subset and kind: models, repeat, and the fields of `Score`
        but `identified`.
    """
    x = np.asarray(upstream_accuracy, float)
    y = np.asarray(downstream_accuracy, float)
    parts = split(x, share)
    fitted = np.flatnonzero(parts.fitted)
    goals = {kind: targets(x, y, parts, kind, densify) for kind in on}
    draws = [(n, r) for n in sizes if n < len(fitted) for r in range(repeats)]
    rows = []
    for n, repeat in [*draws, (len(fitted), 0)]:
        rng = np.random.default_rng((seed, n, repeat))
        chosen = rng.choice(fitted, n, replace=False)
        data = x[chosen], y[chosen]
        for kind in on:
            scored = score(
                fit_law(*data, kind, densify),
                "law",
                kind,
                points_on(*data, kind, densify),
                "models" if kind == "all" else "hull",
                goals[kind],
            )
            about = {"models": n, "repeat": repeat}
            rows.append(about | dataclasses.asdict(scored))
    # Errors are asked for here, of any fit; a verdict takes 199 more hulls.
    return pd.DataFrame(rows).drop(columns="identified")


def average_sample_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """Averages errors over tasks, then over repeats, as Figure 3 does.

    Sizes that not all tasks have are left out: another set of tasks would be
    averaged there. "All models" is the last size of each task.

    Args:
        frame: Rows of `by_sample_size` of several tasks, told apart by columns
            `task` and `shots`.

    Returns:
        One row per kind of points and size: on, models (<NA>: all), tasks,
        and mean and standard deviation over repeats of fit_mse and mse.
    """
    names = ["task", "shots"]
    last = frame.groupby(names, dropna=False)["models"].transform("max")
    frame = frame.assign(
        models=frame["models"].astype("Int64").mask(frame["models"] == last),
        task=frame.groupby(names, dropna=False).ngroup(),
    )
    kinds = ["on", "models"]
    groups = frame.groupby([*kinds, "repeat"], dropna=False)
    means = groups[["fit_mse", "mse"]].mean()
    means["tasks"] = groups["task"].nunique()
    means = means[means["tasks"] == frame["task"].nunique()]
    return (
        means.groupby(kinds, dropna=False)
        .agg(
            tasks=("tasks", "first"),
            fit_mse=("fit_mse", "mean"),
            fit_mse_std=("fit_mse", "std"),
            mse=("mse", "mean"),
            mse_std=("mse", "std"),
        )
        .reset_index()
    )
