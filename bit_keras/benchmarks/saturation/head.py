"""What the settings of the pre-training head do to upstream and downstream.

arXiv 2110.02095, Section 4: raising the weight decay of the head worsens
upstream and may improve downstream accuracy; lowering its learning rate acts
alike. So the setting that is best upstream need not be best for a task.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

SETTINGS = ("head_weight_decay", "head_learning_rate")
# What else tells runs apart: compared are runs that agree in these.
_CONFIGURATION = ("family", "size", "data", "epochs", "endpoint")


@dataclasses.dataclass(frozen=True, eq=False)
class HeadEffect:
    """A sweep of one setting of the head.

    Attributes:
        setting: Column that was swept.
        curves: One row per configuration, task, number of shots and value of
            the setting: runs, upstream_accuracy and downstream_accuracy
            (medians over runs).
        effects: One row per configuration, task and number of shots; see
            `sweep`.
    """

    setting: str
    curves: pd.DataFrame
    effects: pd.DataFrame

    def disagreements(self) -> pd.DataFrame:
        """Returns the effects where the best settings differ, worst first."""
        differ = self.effects[self.effects["disagree"]]
        return differ.sort_values("cost", ascending=False, kind="stable")


def sweep(
    points: pd.DataFrame,
    setting: str = "head_weight_decay",
    by: Sequence[str] | None = None,
) -> HeadEffect:
    """Compares upstream and downstream accuracy along a setting of the head.

    Args:
        points: As `Table.points`, with the setting as a column that was kept.
        setting: One of `SETTINGS`, or any column of numbers.
        by: Columns that runs must agree in to be compared; None: family, size,
            data, epochs, endpoint and the other settings of the head.

    Returns:
        `effects` has, after the configuration: `values` of the setting;
        `best_upstream` and `best_downstream`, the setting where each accuracy
        is highest (the lowest such); `cost`, downstream accuracy lost by taking
        the setting that is best upstream; `disagree`, whether that is more than
        0; Spearman correlations `upstream_correlation` and
        `downstream_correlation` with the setting, and `agreement` of upstream
        with downstream accuracy (NaN where one of them does not vary).

    Raises:
        ValueError: If there is no such column, or nowhere two values to
            compare.

    Example:

    >>> points = pd.DataFrame({"task": "dtd", "shots": 5,
    ...     "head_weight_decay": [0.0, 1.0, 3.0],
    ...     "upstream_accuracy": [0.5, 0.45, 0.4],
    ...     "downstream_accuracy": [0.60, 0.65, 0.62]})
    >>> names = ["task", "best_upstream", "best_downstream", "cost", "disagree"]
    >>> print(sweep(points).effects[names].to_string(index=False))
    task  best_upstream  best_downstream  cost  disagree
     dtd            0.0              1.0  0.05      True
    """
    if setting not in points:
        raise ValueError(
            f'There is no column "{setting}". Take it along (keep), or give '
            f"another setting; known here: {', '.join(points.columns)}."
        )
    if by is None:
        by = [*_CONFIGURATION, *(s for s in SETTINGS if s != setting)]
    by = [name for name in by if name in points]
    groups = [*by, "task", "shots"]
    accuracies = ["upstream_accuracy", "downstream_accuracy"]
    runs = points[points[setting].notna()].groupby(
        [*groups, setting], dropna=False
    )
    curves = runs[accuracies].median()
    curves.insert(0, "runs", runs.size())
    curves = curves.reset_index()
    effects = [
        dict(zip(groups, key, strict=True)) | _effect(part, setting)
        for key, part in curves.groupby(groups, dropna=False)
        if len(part) > 1
    ]
    if not effects:
        raise ValueError(
            f"{setting}: no runs differ in it and agree in "
            f"{', '.join(by) or 'the rest'}. Nothing to compare."
        )
    return HeadEffect(setting, curves, pd.DataFrame(effects))


def _effect(curve: pd.DataFrame, setting: str) -> dict[str, object]:
    """Compares the two accuracies of one task along the setting."""
    value, up, down = (
        curve[name].to_numpy(float)
        for name in (setting, "upstream_accuracy", "downstream_accuracy")
    )
    # Where several settings are best upstream, the best of them downstream.
    cost = down.max() - down[up == up.max()].max()
    return {
        "values": len(value),
        "best_upstream": value[up.argmax()],
        "best_downstream": value[down.argmax()],
        "cost": cost,
        "disagree": bool(cost > 0),
        "upstream_correlation": _spearman(value, up),
        "downstream_correlation": _spearman(value, down),
        "agreement": _spearman(up, down),
    }


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation; NaN where one side does not vary."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(stats.spearmanr(a, b).statistic)
