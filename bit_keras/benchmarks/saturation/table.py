"""The input of the analysis: one point per model, task and number of shots."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation.columns import (
    Columns,
    numbers,
    read_accuracies,
)

# Of `Table.points`; columns that were asked to be kept follow.
NAMES = (
    "model",
    "family",
    "task",
    "shots",
    "endpoint",
    "size",
    "data",
    "epochs",
    "upstream_accuracy",
    "downstream_accuracy",
)
# The first line of a file holds the names of the columns.
_FIRST_ROW = 2


@dataclasses.dataclass(frozen=True)
class Problem:
    """A point that was left out.

    Attributes:
        row: Where it stands: the line of the file, the first being 1.
        what: Its model and task, as far as they are known.
        reason: Why it was left out.
    """

    row: int
    what: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Points of models: upstream against downstream accuracy.

    Attributes:
        points: One row per point: `NAMES` and the columns that were kept.
            Accuracies are fractions in [0, 1]; unknown text is "", unknown
            numbers are NaN (`<NA>` in `shots`).
        problems: What was left out.
        notes: How the columns were read, for a person.
    """

    points: pd.DataFrame
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def groups(self) -> Iterator[tuple[str, int | None, pd.DataFrame]]:
        """Yields (task, shots, points) of each task and number of shots."""
        keys = ["task", "shots"]
        for (task, shots), part in self.points.groupby(keys, dropna=False):
            yield task, None if pd.isna(shots) else int(shots), part

    def problem_frame(self) -> pd.DataFrame:
        """Returns what was left out: row, what, reason."""
        names = [field.name for field in dataclasses.fields(Problem)]
        rows = [dataclasses.astuple(one) for one in self.problems]
        return pd.DataFrame(rows, columns=names)

    def summary(self) -> str:
        """Returns a few lines: what was read, how, and what was left out."""
        points, left = self.points, len(self.problems)
        models, runs = points["model"].nunique(), trainings(points).nunique()
        of = f" of {runs} trainings" if runs < models else ""
        lines = [
            f"{len(points)} points: {models} models{of}, "
            f"{points['task'].nunique()} tasks; {left} left out."
        ]
        lines += self.notes
        shown = self.problems[:5]
        lines += [f"left out: {p.row}: {p.what}: {p.reason}" for p in shown]
        if left > len(shown):
            lines.append(f"left out: {left - len(shown)} more")
        return "\n".join(lines)


def from_frame(
    frame: pd.DataFrame,
    columns: Columns,
    rows: Sequence[int] | None = None,
    source: str = "",
) -> Table:
    """Builds the table from a frame with columns of any name.

    A point is left out, and listed, if its upstream or downstream accuracy is
    missing, no number or out of range, if its model or task is not named, or
    if it repeats an earlier one (all but the accuracies are the same).

    Args:
        frame: Values may be text, as read from a file.
        columns: What its columns mean.
        rows: Where each row of the frame stands, for the list of problems;
            None: on the lines of a file, after one with the names.
        source: What tells models without a name from those of other tables.

    Raises:
        ValueError: For a column that is not there, or a table with no point.

    Example:

    >>> frame = pd.DataFrame({"net": ["a", "b", "b"], "top1": [70, 80, 81],
    ...                       "sketch_err": [0.5, 0.4, 0.4]})
    >>> table = from_frame(frame, Columns(
    ...     model=("net",), upstream="top1", downstream=("sketch_err",)))
    >>> names = ["model", "upstream_accuracy", "downstream_accuracy"]
    >>> print(table.points[names].to_string(index=False))
    model  upstream_accuracy  downstream_accuracy
        a                0.7                  0.5
        b                0.8                  0.6
    >>> table.problems
    (Problem(row=4, what='b, sketch_err', reason='repeats row 3 with other
    numbers'),)
    """
    columns.check(frame.columns)
    if rows is None:
        rows = range(_FIRST_ROW, _FIRST_ROW + len(frame))
    frame = frame.reset_index(drop=True)
    shared, reasons, notes = _describe(frame, columns, rows, source)
    upstream = read_accuracies(
        frame[columns.upstream],
        columns.upstream,
        columns.upstream_is,
        columns.upstream_unit,
    )
    notes = [upstream.meaning.note, *notes]
    shared["upstream_accuracy"] = upstream.values
    reasons = _first(reasons, upstream.reasons)
    parts, units = [], {}
    for name in columns.downstream:
        read = read_accuracies(
            frame[name], name, columns.downstream_is, columns.downstream_unit
        )
        notes.append(read.meaning.note)
        units[name] = read.meaning.unit
        part = shared.assign(downstream_accuracy=read.values)
        if columns.task is None:
            part["task"] = name
        parts.append(part.assign(_reason=_first(reasons, read.reasons)))
    if None in (columns.upstream_unit, columns.downstream_unit):
        notes += _mixed_units(columns.upstream, upstream.meaning.unit, units)
    return _finish(pd.concat(parts, ignore_index=True), notes)


def _mixed_units(
    upstream: str, unit: str, downstream: Mapping[str, str]
) -> list[str]:
    """Returns a warning if columns are not all of one unit."""
    if {unit, *downstream.values()} == {unit}:
        return []
    percent = [n for n, is_ in downstream.items() if is_ == "percent"]
    fractions = [n for n in downstream if n not in percent]
    (percent if unit == "percent" else fractions).insert(0, upstream)
    return [
        f"WARNING: {', '.join(percent)} taken as percent, but "
        f"{', '.join(fractions)} as fractions. If that is wrong, one side is "
        "100 times too large: say --upstream-unit and --downstream-unit"
    ]


def trainings(points: pd.DataFrame) -> pd.Series:
    """Returns which points belong together, for they are not independent.

    The column "training", of which several models are checkpoints; where there
    is none, or no name in it, the model.

    >>> trainings(pd.DataFrame({"model": ["a@1", "a@2", "b"],
    ...                         "training": ["a", "a", ""]})).tolist()
    ['a', 'a', 'b']
    """
    models = points["model"].astype(object)
    if "training" not in points:
        return models
    return points["training"].replace("", np.nan).fillna(models).astype(object)


def concat(tables: Sequence[Table]) -> Table:
    """Puts tables of different models or tasks together.

    Raises:
        ValueError: If two of them have a point in common.
    """
    points = pd.concat([t.points for t in tables], ignore_index=True)
    values = ["upstream_accuracy", "downstream_accuracy"]
    again = points[points.drop(columns=values).duplicated()]
    if len(again):
        first = again.iloc[0]
        raise ValueError(
            f"{len(again)} points are in more than one table, the first being "
            f"{first['model']}, {first['task']}. Give each file once."
        )
    problems = [p for table in tables for p in table.problems]
    notes = dict.fromkeys(note for table in tables for note in table.notes)
    return Table(points, tuple(problems), tuple(notes))


def _describe(
    frame: pd.DataFrame, columns: Columns, rows: Sequence[int], source: str
) -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """Reads all but the accuracies: who was measured, and on what."""
    out = pd.DataFrame({"_row": np.asarray(rows)}, index=frame.index)
    reasons = pd.Series("", frame.index, dtype=object)
    out["model"] = [f"{source} row {row}".strip() for row in rows]
    if columns.model:
        texts = [_text(frame[name]) for name in columns.model]
        out["model"] = texts[0].str.cat(texts[1:], sep=" ")
        for text, name in zip(texts, columns.model, strict=True):
            reasons = _first(reasons, text.eq("").map({True: f"no {name}"}))
    for name in ("family", "task", "endpoint"):
        given = getattr(columns, name)
        out[name] = _text(frame[given]) if given else ""
    if columns.task:
        absent = out["task"].eq("").map({True: f"no {columns.task}"})
        reasons = _first(reasons, absent)
    notes = []
    for name in ("size", "data", "epochs", "shots"):
        given = getattr(columns, name)
        if given is None:
            out[name] = np.nan
            continue
        out[name] = numbers(frame[given])
        odd = int((out[name].isna() & frame[given].notna()).sum())
        if odd:
            notes.append(f"{given}: {odd} values are no numbers: unknown")
    partial = out["shots"].notna() & (out["shots"] % 1 != 0)
    reasons = _first(reasons, partial.map({True: f"{columns.shots}: no count"}))
    out["shots"] = out["shots"].where(~partial).astype("Int64")
    for name in columns.keep:
        if name in out:
            raise ValueError(
                f'keep: "{name}" is what the table calls another column. '
                "Rename it."
            )
        found = numbers(frame[name])
        plain = found.isna().equals(frame[name].isna())
        out[name] = found if plain else _text(frame[name])
    return out, reasons, notes


def _text(values: pd.Series) -> pd.Series:
    return values.astype("string").str.strip().fillna("").astype(object)


def _first(reasons: pd.Series, more: pd.Series) -> pd.Series:
    """Returns the reasons, and others where there are none."""
    return reasons.where(reasons.ne(""), more.fillna("")).astype(object)


def _finish(points: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Parts the points that count from those that do not."""
    points["_reason"] = _first(points["_reason"], _repeats(points))
    bad = points["_reason"].ne("")
    problems = tuple(
        Problem(int(one["_row"]), _what(one), one["_reason"])
        for one in points[bad].to_dict("records")
    )
    if not len(points):
        raise ValueError("The table has no rows.")
    if bad.all():
        first = f" First: row {problems[0].row}: {problems[0].reason}."
        raise ValueError(
            f"None of the {len(points)} points of the table can be used."
            f"{first} Name other columns, or say what they "
            "hold."
        )
    good = points[~bad].reset_index(drop=True)
    more = [n for n in good if n not in NAMES and not n.startswith("_")]
    return Table(good[[*NAMES, *more]], problems, tuple(notes))


def _what(point: Mapping[str, Any]) -> str:
    shots = "" if pd.isna(point["shots"]) else f"{point['shots']}-shot"
    return ", ".join(filter(None, [point["model"], point["task"], shots]))


def _repeats(points: pd.DataFrame) -> pd.Series:
    """Returns why a point is a repeat; "" where it is none."""
    values = ["upstream_accuracy", "downstream_accuracy"]
    good = points[points["_reason"].eq("")]
    keys = [n for n in good if n not in values and not n.startswith("_")]
    again = good.duplicated(keys)
    reasons = pd.Series("", points.index, dtype=object)
    if not again.any():
        return reasons
    number = good.groupby(keys, dropna=False).ngroup()
    first = good[~again].set_index(number[~again])
    match = first.loc[number[again]].set_index(good.index[again])
    same = (good.loc[again, values] == match[values]).all(axis="columns")
    reasons[same.index] = [
        f"repeats row {row}" + ("" if alike else " with other numbers")
        for row, alike in zip(match["_row"], same, strict=True)
    ]
    return reasons
