"""All that is computed of one task at one number of shots."""

import dataclasses

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation.fit import PARTS, Fit, On
from bit_keras.benchmarks.saturation.hull import upper_hull
from bit_keras.benchmarks.saturation.law import SaturationLaw
from bit_keras.benchmarks.saturation.options import Options
from bit_keras.benchmarks.saturation.prediction import (
    HeldOut,
    Split,
    predict_held_out,
)
from bit_keras.benchmarks.saturation.sample_size import by_sample_size
from bit_keras.benchmarks.saturation.scale import (
    FACTORS,
    ScaleEffect,
    beyond_upstream,
)
from bit_keras.benchmarks.saturation.table import trainings

KINDS: tuple[On, ...] = ("hull", "rising", "all")
# Models that are fitted in a sample-size study, at its least: the first size of
# Figure 3 of arXiv 2110.02095 leaves some out.
_STUDY_FROM = 100


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """One task at one number of shots.

    Attributes:
        task: Its name.
        shots: Training images per class; None: all, or not known.
        points: Its rows of `Table.points`.
        fits: The law by what it was fitted to; without those that failed.
        held_out: Predictions; None if there are too few models.
        sample_size: Rows of `by_sample_size`; None if there are too few models.
        scale: What size, data and epochs add; None if none of them is known.
        skipped: (what, why) of that which could not be computed.
    """

    task: str
    shots: int | None
    points: pd.DataFrame
    fits: dict[On, Fit]
    held_out: HeldOut | None
    sample_size: pd.DataFrame | None
    scale: ScaleEffect | None
    skipped: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The task and the shots, for a person."""
        return name_of(self.task, self.shots)

    def fit_rows(self) -> list[dict]:
        """Returns a row of the table of fits per kind of points."""
        about = {"task": self.task, "shots": self.shots}
        return [about | _fit_row(fit) for fit in self.fits.values()]


def name_of(task: str, shots: int | None) -> str:
    """Returns how a task at a number of shots is called.

    >>> name_of("dtd", 5), name_of("v2", None)
    ('dtd, 5-shot', 'v2')
    """
    return task if shots is None or pd.isna(shots) else f"{task}, {shots}-shot"


def analyse_group(
    task: str, shots: int | None, points: pd.DataFrame, options: Options
) -> Group:
    """Fits, predicts and tests one task at one number of shots.

    Args:
        task: Its name.
        shots: Training images per class.
        points: Its rows of `Table.points`, one endpoint per model. Checkpoints
            of one training are drawn as clusters.
        options: How.
    """
    x = points["upstream_accuracy"].to_numpy(float)
    y = points["downstream_accuracy"].to_numpy(float)
    skipped: list[tuple[str, str]] = []
    fits, runs = {}, clusters(points)
    law = SaturationLaw(resamples=options.resamples, seed=options.seed)
    for on in KINDS:
        try:
            fit = law.fit(1 - x, 1 - y, on, groups=runs)
        except ValueError as error:
            skipped.append((f"fit on {on}", str(error)))
            continue
        # Here, and not later in a single thread: the refits behind it.
        _ = fit.verdict, _interval(fit)
        fits[on] = fit
    held_out = sample_size = None
    try:
        held_out = predict_held_out(x, y, share=options.held_out, groups=runs)
    except ValueError as error:
        skipped.append(("prediction", str(error)))
    if held_out and held_out.split.fitted.sum() > _STUDY_FROM:
        sample_size = by_sample_size(
            x, y, seed=options.seed, share=options.held_out
        ).assign(share=options.held_out, cut_off=held_out.split.threshold)
    elif held_out:
        skipped.append(
            (
                "sample size",
                f"{len(x)} models: none to leave out of {_STUDY_FROM}",
            )
        )
    return Group(
        task=task,
        shots=shots,
        points=points,
        fits=fits,
        held_out=held_out,
        sample_size=sample_size,
        scale=_scale(points, skipped),
        skipped=tuple(skipped),
    )


def clusters(points: pd.DataFrame) -> np.ndarray | None:
    """Returns the training of each point if some share one.

    >>> clusters(pd.DataFrame({"model": ["a", "a", "b"]}))
    array(['a', 'a', 'b'], dtype=object)
    >>> clusters(pd.DataFrame({"model": ["a", "b"]})) is None
    True
    """
    names = trainings(points)
    return names.to_numpy(object) if names.nunique() < len(names) else None


def vertices(on: On, x: np.ndarray, y: np.ndarray) -> int | None:
    """Returns how many vertices a hull of accuracies has; None for "all"."""
    return None if on == "all" else len(upper_hull(x, y, PARTS[on]).x)


def _scale(
    points: pd.DataFrame, skipped: list[tuple[str, str]]
) -> ScaleEffect | None:
    if not points[list(FACTORS)].notna().any(axis=None):
        return None
    try:
        effect = beyond_upstream(points)
    except ValueError as error:
        skipped.append(("scale", str(error)))
        return None
    if effect.regression is None:
        skipped.append(("scale", effect.summary()))
    return effect


def _interval(fit: Fit) -> dict[str, tuple[float, float]]:
    """Returns the intervals; none if there is nothing to draw from."""
    if not fit.resamples or fit.groups.max() == 0:
        return {}
    return fit.confidence_interval()


def _identified(fit: Fit) -> str:
    if fit.e_ir < fit.e_ir_max:
        return "identified"
    return "identified, but e_IR at its upper bound, the lowest error seen"


def _fit_row(fit: Fit) -> dict:
    ends = _interval(fit)
    low, high = ends.get("e_ir", (np.nan, np.nan))
    count = len(np.unique(fit.groups))
    row = {
        "on": fit.on,
        **fit.params,
        "ci": f"[{low:.4f}, {high:.4f}]" if ends else "",
        "identified": fit.identified,
        "n": fit.n,
        "verdict": "; ".join(fit.verdict) or _identified(fit),
        "saturation_value": fit.saturation_value,
        "ci_low": low,
        "ci_high": high,
    }
    for name in ("k", "alpha"):
        ends_of = ends.get(name, (np.nan, np.nan))
        row[f"{name}_low"], row[f"{name}_high"] = ends_of
    return row | {
        "vertices": fit.vertices,
        "fitted": len(fit.fitted_upstream),
        "fit_mse": fit.loss / len(fit.fitted_upstream),
        "space": fit.space,
        "e_ir_max": fit.e_ir_max,
        "clusters": count if count < fit.n else None,
        "resamples": fit.resamples,
    }


def prediction_rows(group: Group, options: Options) -> list[dict]:
    """Returns a row per score of the held-out models, with what was fitted."""
    if group.held_out is None:
        return []
    parts: Split = group.held_out.split
    fitted = group.points[parts.fitted]
    data = [
        fitted[f"{side}_accuracy"].to_numpy(float)
        for side in ("upstream", "downstream")
    ]
    counts = {on: vertices(on, *data) for on in KINDS}
    about = {"task": group.task, "shots": group.shots}
    frame = group.held_out.frame().to_dict("records")
    return [
        about
        | row
        | {
            "models": len(group.points),
            "models_fitted": int(parts.fitted.sum()),
            "vertices": counts[row["on"]],
            "densify": None if row["on"] == "all" else group.held_out.densify,
            "share": options.held_out,
            "cut_off": parts.threshold,
            "space": "linear",
        }
        for row in frame
    ]
