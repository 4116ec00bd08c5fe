"""Rows in hand: filtered, summarized over seeds, pivoted.

A summary goes over seeds and nothing else: rows that differ in anything that
changes what the number means are refused, never averaged.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bit_keras.recipe import did_you_mean

# What rows must share to be trials of one measurement.
_SAME = (
    "benchmark",
    "model",
    "model_sha256",
    "task",
    "protocol",
    "preprocessing",
    "metric",
    "endpoint",
    "shots",
    "n",
)
_DETAILS = "details."
_SUMMARIES = ("median", "mean", "stderr", "count", "test_stderr", "n")


def text(column: str, value: Any) -> str:
    """Returns one value of a column as people write it.

    >>> text("shots", None), text("shots", 5), text("upstream", None)
    ('all', '5', 'none')
    """
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if pd.isna(value):
        return "all" if column == "shots" else "none"
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Returns a column, or a field of `details` as if it were one.

    Args:
        frame: From `results.load`.
        name: Such as "task" or "details.l2".

    Raises:
        ValueError: If there is no such column.

    Example:

    >>> frame = pd.DataFrame({"task": ["dtd"], "details": [{"l2": 2.0}]})
    >>> column(frame, "details.l2").tolist()
    [2.0]
    """
    if name in frame and name != "details":
        return frame[name]
    fields = dict.fromkeys(key for row in frame["details"] for key in row)
    key = name.removeprefix(_DETAILS)
    if name.startswith(_DETAILS) and (key in fields or frame.empty):
        values = [_hashable(row.get(key)) for row in frame["details"]]
        return pd.Series(values, frame.index, name=name)
    known = [c for c in frame if c != "details"]
    known += [_DETAILS + field for field in fields]
    raise ValueError(
        f'There is no column "{name}".{did_you_mean(name, known)} Known: '
        f"{', '.join(known)}."
    )


def _hashable(value: Any) -> Any:
    return text("", value) if isinstance(value, dict | list) else value


def select(frame: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """Keeps the rows that have certain values.

    Args:
        frame: From `results.load`.
        where: Conditions `column=value`. Several on one column keep rows with
            either value; those on different columns must all hold. Missing
            values are written `all` in `shots` and `none` elsewhere. Of a
            checksum the digits that tables show are enough.

    Raises:
        ValueError: For a column or value that is not in the table.

    Example:

    >>> frame = pd.DataFrame({"task": ["dtd", "pets"], "details": [{}, {}]})
    >>> select(frame, ["task=pets"])["task"].tolist()
    ['pets']
    """
    wanted: dict[str, list[str]] = {}
    for condition in where:
        name, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(
                f'where "{condition}" is not column=value, such as task=dtd.'
            )
        wanted.setdefault(name, []).append(value)
    keep = pd.Series(True, frame.index)
    for name, values in wanted.items():
        texts = column(frame, name).map(lambda v, n=name: text(n, v))
        known = sorted(set(texts))
        if name == "model_sha256":
            values = [_whole(value, known) for value in values]
        for value in values:
            if value not in known:
                raise ValueError(
                    f'where {name}="{value}" matches no row.'
                    f"{did_you_mean(value, known)} Values of {name}: "
                    f"{', '.join(known[:20])}{', ...' * (len(known) > 20)}."
                )
        keep &= texts.isin(values)
    return frame[keep]


def _whole(start: str, known: Sequence[str]) -> str:
    """Returns the checksum that starts so, or what was given."""
    found = [name for name in known if start and name.startswith(start)]
    return found[0] if len(found) == 1 else start


def summarize(
    frame: pd.DataFrame, by: Sequence[str] = ("model", "task", "shots")
) -> pd.DataFrame:
    """Summarizes the seeds of each measurement.

    Args:
        frame: From `results.load`.
        by: Columns that tell measurements apart.

    Returns:
        One row per group: the columns `by`; `median`, `mean` and `stderr` over
        seeds (NaN for one seed); `count` of seeds; `test_stderr`, of one
        seed's number, from the size of the test set; `n` test examples.

    Raises:
        ValueError: If a group holds rows that differ in more than their seed
            (protocol, preprocessing, task, the model's weights, ...): they are
            not trials of one measurement.
    """
    by = list(dict.fromkeys(by))
    if not by:
        raise ValueError("by must name a column, such as model,task,shots.")
    table = frame.copy()
    for name in by:
        if name in ("value", "stderr"):
            raise ValueError(
                f'by "{name}": it is what is summarized. Give columns that '
                "tell measurements apart, such as model,task,shots."
            )
        table[name] = column(frame, name)
    groups = table.groupby(by, dropna=False, sort=True)
    _check_groups(table, groups.ngroup(), by)
    columns = {
        "median": groups["value"].median(),
        "mean": groups["value"].mean(),
        "stderr": groups["value"].sem(),
        "count": groups["value"].size(),
        "test_stderr": groups["stderr"].median(),
    }
    if "n" not in by:
        columns["n"] = groups["n"].first()
    return pd.DataFrame(columns).reset_index()


def _check_groups(
    table: pd.DataFrame, number: pd.Series, by: Sequence[str]
) -> None:
    """Raises if a group is more than the seeds of one measurement."""
    others = [name for name in _SAME if name not in by]
    # Most tables pass, so look at single groups only if one does not.
    alike = table[others].groupby(number).nunique(dropna=False) <= 1
    repeated = table.assign(_group=number).duplicated(["_group", "seed"])
    bad = number[repeated].tolist() + alike.index[~alike.all(axis=1)].tolist()
    if not bad:
        return
    group = table[number == min(bad)]
    first = group.iloc[0]
    name = ", ".join(f"{c}={text(c, first[c])}" for c in by)
    differing = _differing(group, others)
    if not differing:
        twice = text("seed", group["seed"][group["seed"].duplicated()].iloc[0])
        raise ValueError(
            f"{name}: seed {twice} was measured more than once in the same "
            "way. Keep one with --where config_hash=..., or give fewer paths."
        )
    column_name, values = next(iter(differing.items()))
    listed = "; ".join(
        f"{c}: {', '.join(v[:5])}{', ...' * (len(v) > 5)}"
        for c, v in differing.items()
    )
    raise ValueError(
        f"{name}: not one measurement; the rows differ in {listed}. Keep one "
        f'kind (--where "{column_name}={values[0]}") or tell them apart '
        f"(results --by {','.join([*by, *differing])})."
    )


def _differing(
    group: pd.DataFrame, names: Sequence[str]
) -> dict[str, list[str]]:
    """Lists the columns that differ, with their values as text.

    Fields of `details` are told only where the columns do not: they describe
    single runs and mostly differ from seed to seed.
    """

    def values(name: str) -> list[str]:
        return list(dict.fromkeys(text(name, v) for v in column(group, name)))

    found = {name: values(name) for name in names}
    found = {name: v for name, v in found.items() if len(v) > 1}
    if found:
        return found
    seeds = [rows for _, rows in group.groupby("seed", dropna=False)]
    group = next(rows for rows in seeds if len(rows) > 1)
    keys = dict.fromkeys(key for row in group["details"] for key in row)
    names = ["code_version", *(_DETAILS + key for key in keys)]
    return {name: v for name in names if len(v := values(name)) > 1}


def pivot(
    summary: pd.DataFrame, columns: str, values: str = "median"
) -> pd.DataFrame:
    """Lays a summary out with one column per value of `columns`.

    Args:
        summary: From `summarize`.
        columns: One of the columns it was made `by`, such as "task".
        values: What to show: "median", "mean", "stderr" or "count".

    Returns:
        One row per combination of the other columns; NaN where nothing was
        measured.

    Raises:
        ValueError: If `columns` is not one of them.

    Example:

    >>> summary = pd.DataFrame({"model": ["a", "a"], "task": ["x", "y"],
    ...     "median": [0.5, 0.25], "mean": [0.5, 0.25], "stderr": [0.0, 0.0],
    ...     "count": [3, 3], "test_stderr": [0.1, 0.1], "n": [9, 9]})
    >>> print(pivot(summary, "task").to_string(index=False))
    model   x    y
        a 0.5 0.25
    """
    names = [name for name in summary if name not in _SUMMARIES]
    # A key where it was asked for, which stand before the summaries.
    place = list(summary).index
    if "n" in summary and place("n") < place("median"):
        names.append("n")
    if columns not in names:
        raise ValueError(
            f'pivot "{columns}" is not one of the columns of by '
            f"({', '.join(names)}).{did_you_mean(columns, names)}"
        )
    rest = [name for name in names if name != columns]
    row = pd.Series(0, summary.index)
    if rest:
        row = summary.groupby(rest, dropna=False).ngroup()
    place = summary.groupby(columns, dropna=False).ngroup()
    wide = summary[values].groupby([row, place]).first().unstack()
    heads = summary[columns].map(lambda value: text(columns, value))
    wide.columns = heads.groupby(place).first()
    left = summary[rest].groupby(row).head(1).set_index(row.unique())
    table = pd.concat([left, wide], axis="columns").sort_index()
    return table.reset_index(drop=True)
