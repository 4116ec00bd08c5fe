"""Learning curves from a table: which points are fitted, which are not."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.results import did_you_mean
from bit_keras.benchmarks.saturation.columns import (
    Quantity,
    Unit,
    numbers,
    read_accuracies,
)

_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Error against examples seen.

    Attributes:
        name: Values of the columns that tell curves apart.
        x: Examples seen, ascending, `(points,)`.
        error: Fractions in (0, 1], `(points,)`.
        fitted: Whether a point is for the fit; the others are for judging the
            extrapolation, and never fitted, `(points,)`.
    """

    name: tuple[str, ...]
    x: np.ndarray
    error: np.ndarray
    fitted: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """The curves of a table.

    Attributes:
        columns: That tell curves apart.
        curves: In the order of the table.
        notes: How the columns were read and what was left out, for a person.
    """

    columns: tuple[str, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]


def check_columns(
    wanted: Iterable[tuple[str, str]], known: Sequence[str]
) -> None:
    """Raises a ValueError for a column that a table does not have.

    Args:
        wanted: (argument, name of a column).
        known: Names of the table's columns.

    Example:

    >>> check_columns([("--x", "seen")], ["Seen", "Loss"])
    Traceback (most recent call last):
    ValueError: --x: there is no column "seen". Did you mean "Seen"? Columns:
    Seen, Loss.
    """
    for argument, name in wanted:
        if name not in known:
            raise ValueError(
                f'{argument}: there is no column "{name}".'
                f"{did_you_mean(name, known)} Columns: {', '.join(known)}."
            )
        if list(known).count(name) > 1:
            raise ValueError(
                f'{argument}: there are two columns "{name}". Rename one.'
            )


def from_frame(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    curve: Sequence[str],
    fit: str | None = None,
    fit_below: float | None = None,
    y_is: Quantity | None = None,
    y_unit: Unit | None = None,
) -> Curves:
    """Reads the curves of a table with one point per row.

    Args:
        frame: Of numbers or text.
        x: Column of examples seen.
        y: Column of errors or accuracies, as fractions or percent.
        curve: Columns that tell curves apart.
        fit: Column with 1 or true in rows that are fitted, 0 or false in those
            that are extrapolated to.
        fit_below: Instead of `fit`: rows with x below this are fitted.
        y_is: What `y` holds; None: see `columns.quantity`.
        y_unit: None: percent if more than a tenth of the values exceed 1.

    Returns:
        Rows without usable numbers are left out, and counted in the notes.

    Raises:
        ValueError: If a column does not exist, `y` is a cross-entropy, `fit`
            holds something else, not exactly one of `fit` and `fit_below` is
            given, or no row is left.

    Example:

    >>> frame = pd.DataFrame({"x": [1, 2], "error": [0.5, 0.4], "m": ["a"] * 2})
    >>> found = from_frame(frame, x="x", y="error", curve=["m"], fit_below=2)
    >>> found.curves[0].name, found.curves[0].fitted
    (('a',), array([ True, False]))
    """
    wanted = [("x", x), ("y", y), *(("curve", name) for name in curve)]
    wanted += [("fit", fit)] if fit is not None else []
    check_columns(wanted, list(frame.columns))
    read = read_accuracies(frame[y], y, y_is, y_unit)
    points = pd.DataFrame({"x": numbers(frame[x]), "error": 1 - read.values})
    reasons = read.reasons.copy()
    reasons[points["error"] <= 0] = f"{y} is no error at all (no logarithm)"
    bad_x = ~(np.isfinite(points["x"]) & (points["x"] > 0))
    reasons[bad_x] = f"{x} is not a positive number"
    absent = frame[list(curve)].isna().any(axis=1)
    reasons[absent] = f"no {' or '.join(curve)}"
    points["fitted"] = _fitted(frame, points["x"], fit, fit_below)
    kept = reasons == ""
    if not kept.any():
        raise ValueError(
            f"No row can be used; the first: {reasons.iloc[0]}."
            if len(frame)
            else "The table has no rows."
        )
    names = frame.loc[kept, list(curve)].astype(str)
    groups = points[kept].groupby([names[name] for name in curve], sort=False)
    made = tuple(_curve(name, rows) for name, rows in groups)
    notes = [read.meaning.note + ".", *_left_out(reasons)]
    if twice := int(names.assign(_x=points["x"]).duplicated().sum()):
        same = ", ".join([*curve, x])
        notes.append(
            f"{twice} points have the same {same} as another: repeats, "
            "or is a column missing that tells curves apart?"
        )
    return Curves(tuple(curve), made, tuple(notes))


def _curve(name: tuple[str, ...], rows: pd.DataFrame) -> Curve:
    rows = rows.sort_values("x", kind="stable")
    return Curve(
        name,
        rows["x"].to_numpy(),
        rows["error"].to_numpy(),
        rows["fitted"].to_numpy(),
    )


def _fitted(
    frame: pd.DataFrame, x: pd.Series, fit: str | None, below: float | None
) -> pd.Series:
    """Returns which rows are fitted."""
    if (fit is None) == (below is None):
        raise ValueError("Give fit or fit_below, one of the two.")
    if fit is None:
        return x < below
    text = frame[fit].astype(str).str.strip().str.lower()
    unknown = frame.loc[~text.isin(_YES + _NO), fit]
    if len(unknown):
        raise ValueError(
            f'fit: column "{fit}" must hold 1 or true (fit this row), 0 or '
            f'false (extrapolate to it); got "{unknown.iloc[0]}" in '
            f"{len(unknown)} rows."
        )
    return text.isin(_YES)


def _left_out(reasons: pd.Series) -> list[str]:
    """Returns a line if rows are left out, with the commonest reason."""
    found = collections.Counter(reasons[reasons != ""])
    if not found:
        return []
    reason, _ = found.most_common(1)[0]
    return [
        f"{found.total()} of {len(reasons)} rows left out (most often, or "
        f"first: {reason})."
    ]
