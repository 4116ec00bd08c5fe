"""How well the best models are predicted from the others.

The models with the highest upstream accuracy are held out, the law is fitted
to the rest, and its error on the held-out is reported: arXiv 2110.02095,
Section 2 and Figure 3. A fit is scored on held-out targets of its own kind
(`scored_on`): one on "all" points on the held-out "models"; one on a hull on
the "hull" of all models, as far as it lies beyond those fitted. Fits on a hull
are scored on the held-out "models" too, where they are meant to be too high.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation import baselines, hull, law

On = Literal["all", "hull", "rising"]

# Points along a hull; on its few vertices alone three parameters are hardly
# determined (saturation.md, 8.1 and 9).
DENSIFY = 50
# The held-out errors of saturation.md, 8.1 are of fits whose e_IR is at most
# the lowest error fitted, on all points too. No intervals: many fits.
_LAW = law.SaturationLaw(bounded=True, resamples=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Which models are fitted and which are held out.

    Attributes:
        threshold: Upstream accuracy; held out is what exceeds it.
        fitted: Mask of the models to fit, `(models,)`.
        held_out: Mask of the others.
    """

    threshold: float
    fitted: np.ndarray
    held_out: np.ndarray


def split(upstream_accuracy: np.ndarray, share: float = 0.2) -> Split:
    """Holds out the models with the highest upstream accuracy.

    Args:
        upstream_accuracy: In [0, 1], `(models,)`.
        share: To hold out, between 0 and 1; equal accuracies stay together.

    Raises:
        ValueError: For another share, or if one side would be empty.

    Example:

    >>> split(np.array([0.5, 0.1, 0.3, 0.2, 0.4])).held_out
    array([ True, False, False, False, False])
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1; got {share}.")
    upstream = np.asarray(upstream_accuracy, float)
    if len(upstream) == 0:
        raise ValueError("There are no models to hold out.")
    threshold = float(np.quantile(upstream, 1 - share))
    held_out = upstream > threshold
    if not held_out.any():
        raise ValueError(
            f"No model exceeds the upstream accuracy {threshold:.4g} that "
            f"parts the best {share:.0%}: {len(upstream)} models, too many "
            "alike. Give a larger share or more models."
        )
    return Split(threshold, ~held_out, held_out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How well one fit does on held-out targets.

    Attributes:
        method: "law", or one of `baselines.NAMES`.
        on: What it was fitted to: "all", "hull" (the full one) or "rising".
        scored_on: Held-out "models", or "hull" (see the module).
        fitted: Points fitted.
        scored: Held-out targets; 0: there is no hull beyond the threshold.
        identified: Whether the law was, by a verdict without intervals; None
            for the baselines.
        fit_mse: Mean squared error on the points fitted; NaN: no fit.
        mse: The same on the targets; NaN: no fit, or no targets.
        nrmse: Standard deviation of the errors on the targets over that of the
            targets: 1 is what predicting their mean gives (Section 3).
    """

    method: str
    on: str
    scored_on: str
    fitted: int
    scored: int
    identified: bool | None
    fit_mse: float
    mse: float
    nrmse: float


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """What was held out, and how well it was predicted.

    Attributes:
        split: The models.
        densify: Points along a hull; None: its vertices.
        scores: One per method, kind of points and kind of target.
    """

    split: Split
    densify: int | None
    scores: tuple[Score, ...]

    def frame(self) -> pd.DataFrame:
        """Returns the scores: one row each, the fields as columns."""
        return pd.DataFrame([dataclasses.asdict(one) for one in self.scores])


def predict_held_out(
    upstream_accuracy: np.ndarray,
    downstream_accuracy: np.ndarray,
    *,
    share: float = 0.2,
    on: Sequence[On] = ("all", "hull", "rising"),
    densify: int | None = DENSIFY,
    groups: np.ndarray | None = None,
) -> HeldOut:
    """Fits law and baselines without the best models, and predicts those.

    Args:
        upstream_accuracy: In [0, 1], `(models,)`.
        downstream_accuracy: In [0, 1], `(models,)`.
        share: Of models to hold out.
        on: Which points to fit.
        densify: Points along a hull, evenly spaced; None: its vertices.
        groups: See `fit_law`, `(models,)`.

    Raises:
        ValueError: As `split`.

    Example:

    >>> upstream = np.linspace(0.1, 0.7, 40)
    >>> downstream = 0.9 - 0.8 * (1 - upstream) ** 3
    >>> result = predict_held_out(upstream, downstream, on=("all",))
    >>> law, linear, *_ = result.scores
    >>> law.mse < 1e-8 < linear.mse
    True
    """
    x = np.asarray(upstream_accuracy, float)
    y = np.asarray(downstream_accuracy, float)
    parts = split(x, share)
    held_out = targets(x, y, parts, "all", None)
    runs = None if groups is None else groups[parts.fitted]
    scores = []
    for kind in on:
        data = x[parts.fitted], y[parts.fitted]
        points = points_on(*data, kind, densify)
        fits = {"law": fit_law(*data, kind, densify, runs)}
        fits |= {name: _line(name, *points) for name in baselines.NAMES}
        goals = {"models": held_out}
        if kind != "all":
            goals["hull"] = targets(x, y, parts, kind, densify)
        scores += [
            score(
                fit,
                method,
                kind,
                points,
                name,
                goal,
                identified=fit.identified if method == "law" else None,
            )
            for name, goal in goals.items()
            for method, fit in fits.items()
        ]
    return HeldOut(parts, densify, tuple(scores))


def points_on(
    x: np.ndarray, y: np.ndarray, on: On, densify: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the accuracies that a fit to these models sees.

    >>> x, y = np.array([0.2, 0.3, 0.6]), np.array([0.1, 0.1, 0.5])
    >>> points_on(x, y, "rising", 3)
    (array([0.2, 0.4, 0.6]), array([0.1, 0.3, 0.5]))
    """
    if on == "all":
        return x, y
    edge = hull.upper_hull(x, y, part="full" if on == "hull" else "rising")
    return (edge.x, edge.y) if densify is None else edge.densify(densify)


def targets(
    x: np.ndarray, y: np.ndarray, parts: Split, on: On, densify: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a fit is scored on: its kind of points, if held out.

    >>> x, y = np.array([0.2, 0.3, 0.6]), np.array([0.1, 0.1, 0.5])
    >>> targets(x, y, split(x), "hull", 5)
    (array([0.5, 0.6]), array([0.4, 0.5]))
    """
    along, height = points_on(x, y, on, densify)
    held_out = along > parts.threshold
    return along[held_out], height[held_out]


def fit_law(
    x: np.ndarray,
    y: np.ndarray,
    on: On,
    densify: int | None,
    groups: np.ndarray | None = None,
) -> law.Fit:
    """Fits the law to accuracies, e_IR being at most the lowest error fitted.

    Args:
        x: Upstream accuracies, `(models,)`.
        y: Downstream accuracies, `(models,)`.
        on: Which points to fit.
        densify: Points along a hull; None: its vertices.
        groups: Of each model, `(models,)`: models of one are not independent,
            and few groups identify no law.

    Example:

    >>> x = np.linspace(0.1, 0.7, 40)
    >>> fit = fit_law(x, 0.9 - 0.8 * (1 - x) ** 3, "hull", None)
    >>> round(fit.e_ir, 4)
    0.1
    """
    dense = None if on == "all" else densify
    return _LAW.fit(1 - x, 1 - y, on=on, densify=dense, groups=groups)


def score(
    fit: law.Fit | baselines.Line | None,
    method: str,
    on: On,
    points: tuple[np.ndarray, np.ndarray],
    scored_on: str,
    goal: tuple[np.ndarray, np.ndarray],
    *,
    identified: bool | None = None,
) -> Score:
    """Scores a fit; what could not be fitted scores NaN.

    Args:
        fit: From `fit_law` or `baselines.fit`; None: no line could be fitted.
        method: "law", or one of `baselines.NAMES`.
        on: What was fitted.
        points: Accuracies that were fitted.
        scored_on: Name of the targets.
        goal: Accuracies of the targets; may be empty.
        identified: Whether the law was; None: no law, or not asked.
    """
    x, y = goal
    fit_mse = mse = nrmse = np.nan
    if fit is not None:
        fit_mse = np.mean((1 - fit.predict(1 - points[0]) - points[1]) ** 2)
    if fit is not None and len(x):
        wrong = 1 - fit.predict(1 - x) - y
        mse = np.mean(wrong**2)
        spread = np.std(y)
        nrmse = np.std(wrong) / spread if spread > 0 else np.nan
    return Score(
        method=method,
        on=on,
        scored_on=scored_on,
        fitted=len(points[0]),
        scored=len(x),
        identified=identified,
        fit_mse=float(fit_mse),
        mse=float(mse),
        nrmse=float(nrmse),
    )


def _line(name: str, x: np.ndarray, y: np.ndarray) -> baselines.Line | None:
    try:
        return baselines.fit(name, 1 - x, 1 - y)
    except ValueError:
        return None
