"""How the law's parameters move with the number of shots.

arXiv 2110.02095 finds that with more shots k and e_IR fall and alpha rises, for
all pairs of upstream and downstream tasks (Table F.1: correlations; Table F.2:
the share of steps from one number of shots to the next that are monotone).
Which points are fitted decides whether that is found: `on` keeps them apart.
"""

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation.correlation import spearman

# The direction of each parameter that the paper claims.
CLAIMED = {"k": -1, "alpha": 1, "e_ir": -1}


def effect_of_shots(fits: pd.DataFrame) -> pd.DataFrame:
    """Says, by task and parameter, how it moves with the number of shots.

    Args:
        fits: Columns task, shots, on (what was fitted, "hull" for example), k,
            alpha, e_ir, identified; one row per task, shots and on. Fits that
            are not identified, and those of all examples (no shots), do not
            count.

    Returns:
        A row per on, task and parameter: shots (that count, as text), n,
        left_out, first and last value, sign (of the correlation with log
        shots), correlation (Pearson's, with log shots), rank_correlation
        (Spearman's), monotone (share of the steps between consecutive shots
        that go the claimed way), claimed ("falls" or "rises") and holds
        (whether all steps do; None for fewer than two numbers of shots).

    Raises:
        ValueError: For several fits of the same task, shots and on.

    Example:

    >>> fits = pd.DataFrame({"task": "dtd", "shots": [1, 5, 25], "on": "hull",
    ...     "k": [0.9, 0.8, 0.85], "alpha": [1, 2, 3], "e_ir": [0.3, 0.2, 0.1],
    ...     "identified": True})
    >>> effect_of_shots(fits)[["parameter", "sign", "monotone"]]
      parameter  sign  monotone
    0         k    -1       0.5
    1     alpha     1       1.0
    2      e_ir    -1       1.0
    """
    again = fits.duplicated(["on", "task", "shots"])
    if again.any():
        row = fits[again].iloc[0]
        raise ValueError(
            f"fits: task {row['task']} has several fits of {row['shots']} "
            f"shots on {row['on']}. Give one of each."
        )
    rows = []
    for (on, task), group in fits.groupby(["on", "task"], sort=False):
        usable = group["identified"].astype(bool) & group["shots"].notna()
        kept = group[usable].sort_values("shots")
        for parameter in CLAIMED:
            rows.append(
                {"on": on, "task": task, "parameter": parameter}
                | {"left_out": int((~usable).sum())}
                | _movement(kept, parameter)
            )
    return pd.DataFrame(rows)


def _movement(kept: pd.DataFrame, parameter: str) -> dict:
    """Describes how one parameter of one task moves."""
    shots = kept["shots"].to_numpy(float)
    values = kept[parameter].to_numpy(float)
    claimed = CLAIMED[parameter]
    steps = np.sign(np.diff(values)) == claimed
    several = len(values) > 1
    correlation = _pearson(np.log(shots), values)
    return {
        "shots": ", ".join(f"{number:g}" for number in shots),
        "n": len(values),
        "first": values[0] if len(values) else np.nan,
        "last": values[-1] if len(values) else np.nan,
        "sign": 0 if np.isnan(correlation) else int(np.sign(correlation)),
        "correlation": correlation,
        "rank_correlation": spearman(shots, values).rho,
        "monotone": float(steps.mean()) if several else np.nan,
        "claimed": "rises" if claimed > 0 else "falls",
        "holds": bool(steps.all()) if several else None,
    }


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def claims(effect: pd.DataFrame) -> pd.DataFrame:
    """Sums up `effect_of_shots` over tasks.

    Returns:
        A row per on and parameter: claimed, tasks (with two numbers of shots or
        more), same_sign (tasks whose correlation has the claimed sign), holds
        (tasks whose every step goes the claimed way), monotone (mean share of
        such steps) and fails_on (the tasks whose correlation has not the
        claimed sign).

    Example:

    >>> fits = pd.DataFrame({"task": "dtd", "shots": [1, 5], "on": "hull",
    ...     "k": [0.9, 0.8], "alpha": [3, 2], "e_ir": 0.1, "identified": True})
    >>> claims(effect_of_shots(fits))[["parameter", "same_sign", "fails_on"]]
      parameter  same_sign fails_on
    0         k          1
    1     alpha          0      dtd
    2      e_ir          0      dtd
    """
    counted = effect[effect["n"] > 1]
    rows = []
    for (on, parameter), group in counted.groupby(
        ["on", "parameter"], sort=False
    ):
        same = group["sign"] == CLAIMED[parameter]
        rows.append(
            {
                "on": on,
                "parameter": parameter,
                "claimed": group["claimed"].iloc[0],
                "tasks": len(group),
                "same_sign": int(same.sum()),
                "holds": int(group["holds"].astype(bool).sum()),
                "monotone": float(group["monotone"].mean()),
                "fails_on": ", ".join(group.loc[~same, "task"]),
            }
        )
    return pd.DataFrame(rows)
