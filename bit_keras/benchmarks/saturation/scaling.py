"""All scaling laws on all curves, and how far off they are beyond the fit."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation.broken_law import fit_broken_law
from bit_keras.benchmarks.saturation.curves import Curve, Curves
from bit_keras.benchmarks.saturation.estimators import fit_m1, fit_m2, fit_m3
from bit_keras.benchmarks.saturation.sigmoid_law import fit_m4

# Of `table`, besides the names of curves and the parameters of laws.
_ABOUT = ("estimator", "n_fit", "n_extrapolate", "rmse", "stderr", "best")
# Errors that differ by less than this share are the same: M2 with e_inf = 0 is
# M1, but for rounding.
_TIE = 1e-4


class Law(Protocol):
    """What a fit returns; a dataclass, its fields being the parameters."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Returns the error after `x` examples."""


ESTIMATORS: dict[str, Callable[[np.ndarray, np.ndarray], Law]] = {
    "M1": fit_m1,
    "M2": fit_m2,
    "M3": fit_m3,
    "M4": fit_m4,
    "BNSL": fit_broken_law,
}


def check_names(columns: Iterable[str]) -> None:
    """Raises a ValueError for a column that `table` would overwrite.

    Args:
        columns: That tell curves apart.

    Example:

    >>> check_names(["model", "alpha"])
    Traceback (most recent call last):
    ValueError: curve: "alpha" is the name of a column of the results (a law's
    parameter, a score, or a law). Rename it in your table.
    """
    laws = [typing.get_type_hints(fit)["return"] for fit in ESTIMATORS.values()]
    taken = {field.name for law in laws for field in dataclasses.fields(law)}
    for name in columns:
        if name in taken | {*_ABOUT, "note", *ESTIMATORS}:
            raise ValueError(
                f'curve: "{name}" is the name of a column of the results (a '
                "law's parameter, a score, or a law). Rename it in your table."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class CurveFits:
    """The laws of one curve.

    Attributes:
        curve: Its points.
        laws: By estimator, those that could be fitted.
        reasons: By estimator, why one could not.
    """

    curve: Curve
    laws: dict[str, Law]
    reasons: dict[str, str]

    def score(self, name: str) -> tuple[float, float]:
        """Returns `log_rmse` of a law on the points that were not fitted."""
        ahead = ~self.curve.fitted
        predicted = self.laws[name].predict(self.curve.x[ahead])
        return log_rmse(predicted, self.curve.error[ahead])


def log_rmse(
    predicted: np.ndarray, observed: np.ndarray
) -> tuple[float, float]:
    """Returns the root mean square of log(predicted / observed).

    Args:
        predicted: Errors, positive, `(points,)`.
        observed: Errors, positive, `(points,)`.

    Returns:
        It, and its standard error sqrt(m + s / sqrt(n)) - sqrt(m), where m and
        s are mean and standard deviation of the squares (as in the code of
        arXiv 2209.06640); NaN without points.

    Example:

    >>> log_rmse(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    (0.0, 0.0)
    """
    if len(observed) == 0:
        return float("nan"), float("nan")
    squares = (np.log(predicted) - np.log(observed)) ** 2
    mean, spread = squares.mean(), squares.std()
    wider = np.sqrt(mean + spread / np.sqrt(len(squares)))
    return float(np.sqrt(mean)), float(wider - np.sqrt(mean))


def fit_curve(curve: Curve) -> CurveFits:
    """Fits every estimator to the points of a curve that are for the fit.

    An estimator that has too few points is left out, with the reason.

    >>> x = np.geomspace(1, 100, 5)
    >>> curve = Curve(("r50",), x, 0.5 / x, fitted=x < 50)
    >>> fits = fit_curve(curve)
    >>> list(fits.laws), round(fits.score("M1")[0], 6)
    (['M1', 'M2', 'M3'], 0.0)
    """
    x, error = curve.x[curve.fitted], curve.error[curve.fitted]
    laws, reasons = {}, {}
    for name, fit in ESTIMATORS.items():
        try:
            laws[name] = fit(x, error)
        except ValueError as problem:
            reasons[name] = str(problem)
    return CurveFits(curve, laws, reasons)


def fit_curves(
    curves: Iterable[Curve], done: Callable[[CurveFits], None] | None = None
) -> list[CurveFits]:
    """Fits every estimator to every curve.

    Args:
        curves: Of `curves.from_frame`, for example.
        done: Called after each curve.

    >>> fit_curves([])
    []
    """
    made = []
    for curve in curves:
        made.append(fit_curve(curve))
        if done:
            done(made[-1])
    return made


def table(fits: Sequence[CurveFits], columns: Sequence[str]) -> pd.DataFrame:
    """Returns a row per curve and estimator.

    Args:
        fits: Of `fit_curves`.
        columns: Names of the columns that tell curves apart.

    Returns:
        `columns`, estimator, n_fit, n_extrapolate, rmse and stderr (natural
        logarithm, on the points that were not fitted), best (whether no other
        estimator has a lower rmse on this curve), the laws' parameters, and
        note: why there is none.
    """
    rows = []
    for fit in fits:
        scores = {name: fit.score(name) for name in fit.laws}
        lowest = min((rmse for rmse, _ in scores.values()), default=np.nan)
        for name in ESTIMATORS:
            rmse, stderr = scores.get(name, (np.nan, np.nan))
            law = fit.laws.get(name)
            rows.append(
                dict(zip(columns, fit.curve.name, strict=True))
                | {
                    "estimator": name,
                    "n_fit": int(fit.curve.fitted.sum()),
                    "n_extrapolate": int((~fit.curve.fitted).sum()),
                    "rmse": rmse,
                    "stderr": stderr,
                    "best": bool(rmse <= lowest * (1 + _TIE)),
                }
                | (dataclasses.asdict(law) if law else {})
                | {"note": fit.reasons.get(name, "")}
            )
    frame = pd.DataFrame(rows)
    last = [name for name in ("converged", "note") if name in frame]
    return frame[[*frame.columns.drop(last), *last]]


def wide(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Returns the rmse of a `table`, one row per curve."""
    heads = [*columns, "n_fit", "n_extrapolate"]
    made = frame[heads].drop_duplicates().reset_index(drop=True)
    for name, rows in frame.groupby("estimator", sort=False):
        made[name] = rows["rmse"].to_numpy()
    return made


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Counts, by estimator of a `table`, how often it is the best.

    Some laws need more points than others, and short curves are not as easy as
    long ones; so medians are over the same curves.

    Returns:
        estimator, curves (that it was scored on), best (ties count for all),
        compared (curves that all of these laws were scored on) and median_rmse
        (over those; NaN without any).

    Example:

    >>> frame = pd.DataFrame({"model": ["a", "a", "b"], "best": [0, 1, 1],
    ...     "estimator": ["M1", "M2", "M1"], "rmse": [0.25, 0.125, 0.5]})
    >>> frame = frame[["model", "estimator", "rmse", "best"]]
    >>> print(summary(frame).to_string(index=False))
    estimator  curves  best  compared  median_rmse
           M1       2     1         1        0.250
           M2       1     1         1        0.125
    """
    scored = frame[frame["rmse"].notna()]
    names = list(frame.columns[: frame.columns.get_loc("estimator")])
    found = scored.groupby(names)["estimator"].transform("nunique")
    shared = found == scored["estimator"].nunique()
    scored = scored.assign(shared=shared, same=scored["rmse"].where(shared))
    return (
        scored.groupby("estimator", sort=False)
        .agg(
            curves=("rmse", "size"),
            best=("best", "sum"),
            compared=("shared", "sum"),
            median_rmse=("same", "median"),
        )
        .reset_index()
    )


def still_moving(frame: pd.DataFrame) -> list[str]:
    """Returns a sentence on each estimator whose fits did not all end.

    Args:
        frame: Of `table`.

    >>> still_moving(pd.DataFrame({"estimator": ["M4"], "converged": [False]}))
    ['M4: on 1 of 1 curves the fit did not come to rest (column converged).']
    """
    lines = []
    if "converged" in frame:
        for name, rows in frame.groupby("estimator", sort=False):
            found = rows["converged"].dropna()
            if count := int(found.eq(False).sum()):
                lines.append(
                    f"{name}: on {count} of {len(found)} curves the fit did "
                    "not come to rest (column converged)."
                )
    return lines


def analyse(
    found: Curves, done: Callable[[CurveFits], None] | None = None
) -> tuple[list[CurveFits], pd.DataFrame]:
    """Fits all curves of a table; returns the fits and their `table`.

    Raises:
        ValueError: As `check_names`.
    """
    check_names(found.columns)
    fits = fit_curves(found.curves, done)
    return fits, table(fits, found.columns)
