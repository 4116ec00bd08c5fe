"""Two tasks measured at different moments of training, made into pairs.

A law needs upstream and downstream numbers of the same model. Where both were
followed over training, but not at the same steps, the upstream curve is
interpolated to where the downstream one was measured (saturation.md 8.1).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def pair_curves(
    upstream: pd.DataFrame,
    downstream: pd.DataFrame,
    *,
    by: Sequence[str],
    at: str,
    value: str,
) -> pd.DataFrame:
    """Returns the downstream points with the upstream value at each of them.

    Upstream values are interpolated linearly in log `at`, within the range that
    the upstream curve of the same model has; downstream points outside of it,
    and models that have no upstream curve, are left out.

    Args:
        upstream: Points of the upstream curves; has the columns named below.
        downstream: Points of the downstream curves; has the same.
        by: Columns that tell the models apart.
        at: Column of positive numbers that grow with training, as the examples
            seen.
        value: Column of accuracies or errors.

    Returns:
        Columns `by`, `at`, "upstream" and "downstream", ordered by the first.

    Raises:
        ValueError: If a column is missing, `at` is not positive, or an upstream
            curve has two values at one place.

    Example:

    >>> curve = pd.DataFrame({"model": "r50", "seen": [10, 1000, 50],
    ...     "error": [0.8, 0.4, 0.9], "task": ["up", "up", "down"]})
    >>> pair_curves(curve[curve.task == "up"], curve[curve.task == "down"],
    ...     by=["model"], at="seen", value="error").round(3)
      model  seen  upstream  downstream
    0   r50    50      0.66         0.9
    """
    by = list(by)
    _check(upstream, "upstream", [*by, at, value], at)
    _check(downstream, "downstream", [*by, at, value], at)
    again = upstream.duplicated([*by, at])
    if again.any():
        raise ValueError(
            "upstream must have one value per model and place; got two at "
            f"{upstream.loc[again, [*by, at]].iloc[0].to_dict()}. Average them."
        )
    curves = dict(iter(upstream.sort_values(at).groupby(by)))
    pairs = []
    for model, points in downstream.sort_values(at).groupby(by):
        if model not in curves:
            continue
        log_at = np.log(curves[model][at].to_numpy(float))
        wanted = np.log(points[at].to_numpy(float))
        inside = (wanted >= log_at[0]) & (wanted <= log_at[-1])
        values = np.interp(wanted, log_at, curves[model][value])
        pair = points.loc[inside, [*by, at]].assign(upstream=values[inside])
        pairs.append(pair.assign(downstream=points.loc[inside, value]))
    if not pairs:
        return pd.DataFrame(columns=[*by, at, "upstream", "downstream"])
    return pd.concat(pairs, ignore_index=True)


def _check(
    frame: pd.DataFrame, name: str, columns: Sequence[str], at: str
) -> None:
    for column in columns:
        if column not in frame:
            raise ValueError(
                f'{name} has no column "{column}"; it has '
                f"{', '.join(map(str, frame.columns))}."
            )
    if not (frame[at] > 0).all():
        raise ValueError(f"{name}: {at} must be positive throughout.")
    if frame[[*columns]].isna().any(axis=None):
        raise ValueError(f"{name} has rows without a number; drop them.")
