"""Rank correlations between tasks, and tasks in the order they saturate.

Figures F.20 and F.21 of arXiv 2110.02095 show Spearman's rank correlation of
downstream with downstream, and of downstream with upstream accuracy.
"""

import dataclasses

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

# Below this, the standard error below is infinite.
_LEAST = 4
_FULL = 1 - 1e-12


# Ours: a task is saturated where so much of its saturation value is reached.
SHARE = 0.95


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of paired numbers.

    Attributes:
        rho: The correlation; NaN if one side is constant or n < 2.
        n: Pairs without NaN.
        low: Lower end of the confidence interval; NaN for n < 4, and for ranks
            that agree fully.
        high: Upper end.
    """

    rho: float
    n: int
    low: float
    high: float


def spearman(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> Correlation:
    """Correlates ranks; tied values share the mean of their ranks.

    The interval is Fisher's, tanh(atanh(rho) +- z se), with the standard error
    sqrt((1 + rho**2 / 2) / (n - 3)) of D. Bonett and T. Wright, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 65, 2000. It takes pairs to be independent: models of one
    family, or checkpoints of one run, are fewer than they seem.

    Args:
        x: Numbers, `(pairs,)`.
        y: Numbers, `(pairs,)`; pairs with a NaN do not count.
        level: Of confidence.

    Example:

    >>> found = spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4])
    >>> round(found.rho, 3), found.n, round(found.low, 3)
    (0.9, 5, -0.169)
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.shape != y.shape:
        raise ValueError(
            f"x and y must be pairs; got {len(x)} and {len(y)} numbers."
        )
    both = ~(np.isnan(x) | np.isnan(y))
    n = int(both.sum())
    rho = _pearson(rankdata(x[both]), rankdata(y[both]))
    # atanh of 1 is infinite: it leaves no interval, which is not certainty.
    if n < _LEAST or np.isnan(rho) or abs(rho) > _FULL:
        return Correlation(rho, n, np.nan, np.nan)
    error = np.sqrt((1 + rho**2 / 2) / (n - 3))
    half = ndtri((1 + level) / 2) * error
    middle = np.arctanh(rho)
    return Correlation(
        rho, n, float(np.tanh(middle - half)), float(np.tanh(middle + half))
    )


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / size, -1, 1)) if size > 0 else float("nan")


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """Correlations of all pairs of columns, each of the rows that have both.

    Attributes:
        rho: Square; its diagonal is 1.
        n: Rows that have both.
        low: Lower end of the confidence interval.
        high: Upper end.
    """

    rho: pd.DataFrame
    n: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """Returns a row per pair: first, second, rho, n, low, high."""
        names = list(self.rho.columns)
        parts = dataclasses.fields(self)
        return pd.DataFrame(
            {"first": one, "second": two}
            | {p.name: getattr(self, p.name).loc[one, two] for p in parts}
            for place, one in enumerate(names)
            for two in names[place + 1 :]
        )


def matrix(frame: pd.DataFrame, level: float = 0.95) -> Matrix:
    """Correlates all pairs of columns by `spearman`.

    Args:
        frame: One row per model; one column per task, and one of the upstream
            accuracy, as of `by_model`. NaN where a model was not measured.
        level: Of the confidence intervals.

    Example:

    >>> frame = pd.DataFrame({"upstream": [1, 2, 3], "dtd": [6, 5, 4]})
    >>> matrix(frame).rho.loc["upstream", "dtd"]
    np.float64(-1.0)
    """
    names = list(frame.columns)
    shape = len(names), len(names)
    parts = {
        field.name: np.full(shape, np.nan)
        for field in dataclasses.fields(Correlation)
    }
    for i, one in enumerate(names):
        for j, two in enumerate(names[: i + 1]):
            found = spearman(frame[one], frame[two], level)
            for part, values in parts.items():
                values[i, j] = values[j, i] = getattr(found, part)
    made = {
        part: pd.DataFrame(values, index=names, columns=names)
        for part, values in parts.items()
    }
    return Matrix(**made | {"n": made["n"].astype(int)})


def by_model(points: pd.DataFrame, upstream: str = "upstream") -> pd.DataFrame:
    """Returns one row per model, one column per task, for `matrix`.

    Args:
        points: Columns model, task, upstream_accuracy, downstream_accuracy, of
            one number of shots; several points of a model and task are
            averaged.
        upstream: What to call the column of upstream accuracies, the first.

    Raises:
        ValueError: If a task has that name.

    Example:

    >>> points = pd.DataFrame({"model": ["a", "b"], "task": "dtd",
    ...                        "upstream_accuracy": [0.5, 0.6],
    ...                        "downstream_accuracy": [0.7, 0.9]})
    >>> by_model(points)
           upstream  dtd
    model
    a           0.5  0.7
    b           0.6  0.9
    """
    made = points.pivot_table(
        index="model",
        columns="task",
        values="downstream_accuracy",
        aggfunc="mean",
        observed=True,
    ).rename_axis(columns=None)
    if upstream in made:
        raise ValueError(
            f'upstream: a task is called "{upstream}", too. Choose another '
            "name for the upstream accuracy."
        )
    means = points.groupby("model", observed=True)["upstream_accuracy"].mean()
    made.insert(0, upstream, means)
    return made


def saturates_at(
    k: np.ndarray, alpha: np.ndarray, e_ir: np.ndarray, share: float = SHARE
) -> np.ndarray:
    """Returns the upstream accuracy at which a task is saturated.

    That is ours: where the law k * e_US**alpha + e_IR has reached `share` of
    its saturation value 1 - e_IR; 0 if it is there from the start.

    Args:
        k: Of the law.
        alpha: Of the law, positive.
        e_ir: Of the law.
        share: Of the saturation value, in (0, 1).

    Example:

    >>> saturates_at(k=0.5, alpha=2.0, e_ir=0.0, share=0.98)
    np.float64(0.8)
    """
    left = (1 - share) * (1 - np.asarray(e_ir, float)) / np.asarray(k, float)
    error = np.minimum(left ** (1 / np.asarray(alpha, float)), 1)
    return np.round(1 - error, 12)


def task_order(fits: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """Orders tasks by when they saturate, the earliest first.

    Args:
        fits: Columns task, k, alpha, e_ir, identified; of one number of shots
            and one kind of fit. Others are taken along.
        share: As in `saturates_at`.

    Returns:
        `fits`, with saturates_at, saturation_value (1 - e_ir) and place, from
        1; fits that are not identified come last and have none of the three.

    Example:

    >>> fits = pd.DataFrame({"task": ["imagenet", "col_hist"],
    ...                      "k": [0.796, 0.033], "alpha": [3.23, 7.7],
    ...                      "e_ir": [0.123, 0.108], "identified": True})
    >>> task_order(fits)["task"].tolist()
    ['col_hist', 'imagenet']
    """
    made = fits.assign(
        saturates_at=saturates_at(
            fits["k"], fits["alpha"], fits["e_ir"], share
        ),
        saturation_value=1 - fits["e_ir"],
    )
    unknown = ~made["identified"].astype(bool)
    made.loc[unknown, ["saturates_at", "saturation_value"]] = np.nan
    # Tasks saturated from the start: the flattest first.
    made = made.sort_values(["saturates_at", "k"], kind="stable")
    made["place"] = made["saturates_at"].rank(method="first").astype("Int64")
    return made.reset_index(drop=True)
