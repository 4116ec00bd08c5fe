"""What a report shows: rows in sections.

A section holds one benchmark, protocol and metric, so that no plot or table
compares numbers that were measured in different ways.
"""

import dataclasses

import pandas as pd

from bit_keras.benchmarks import tasks
from bit_keras.benchmarks.summary import summarize

# What a model is measured as: each of these makes a line of its own.
_SERIES = ["model", "model_sha256", "endpoint", "preprocessing"]
_GROUPS = ("natural", "specialized", "structured")


@dataclasses.dataclass(frozen=True)
class Section:
    """The rows of one benchmark, protocol and metric.

    Attributes:
        benchmark: Of all rows.
        protocol: Of all rows.
        metric: Of all rows.
        rows: As from `results.load`, with a column `series`: the label of the
            model in this report; and values in `unit`.
        summary: Medians etc. by `series`, `task` and `shots`, in `unit`.
    """

    benchmark: str
    protocol: str
    metric: str
    rows: pd.DataFrame
    summary: pd.DataFrame

    @property
    def title(self) -> str:
        """What stands above the section."""
        return f"{self.benchmark}, {self.protocol}: {self.metric}"

    @property
    def axis(self) -> str:
        """The label of an axis of values."""
        return f"{self.metric} (%)" if is_share(self.metric) else self.metric

    @property
    def by_shots(self) -> bool:
        """Whether there is a curve over shots to draw."""
        return bool(self.rows["shots"].notna().any())

    def groups(self) -> dict[str, list[str]]:
        """Returns the tasks of each group, VTAB's groups first."""
        group = self.rows.groupby("task")["group"].first().fillna("other")
        known = [name for name in _GROUPS if name in set(group)]
        others = sorted(set(group) - set(known))
        return {
            name: sorted(group.index[group == name])
            for name in (*known, *others)
        }


def is_share(metric: str) -> bool:
    """Whether a metric is a fraction of the examples, shown in percent.

    >>> is_share("accuracy"), is_share("nll")
    (True, False)
    """
    return "accuracy" in metric or metric in ("top1", "top5")


def shorten(name: str, length: int = 30) -> str:
    """Returns a name that leaves room for the plot it stands at.

    >>> shorten("bit_tiny/1"), shorten("b" * 50, 6)
    ('bit_tiny/1', 'bbb...')
    """
    return name if len(name) <= length else name[: length - 3] + "..."


def sections(frame: pd.DataFrame) -> list[Section]:
    """Splits a table of rows into sections.

    Args:
        frame: From `results.load`.

    Raises:
        ValueError: If a seed was measured twice in one way.
    """
    return [
        _section(rows, _ambiguous(frame, ["model_sha256"]))
        for _, rows in frame.groupby(["benchmark", "protocol", "metric"])
    ]


def _section(rows: pd.DataFrame, several_weights: set[str]) -> Section:
    first = rows.iloc[0]
    extras = {"model_sha256": several_weights}
    for column in ("endpoint", "preprocessing"):
        extras[column] = _ambiguous(rows, [column])

    def label(row: pd.Series) -> str:
        parts = [
            row[column][:8] if column == "model_sha256" else row[column]
            for column, models in extras.items()
            if row["model"] in models
        ]
        return ", ".join([row["model"], *parts])

    kinds = rows[_SERIES].drop_duplicates()
    labels = {tuple(kind): label(kind) for _, kind in kinds.iterrows()}

    def labelled(table: pd.DataFrame) -> pd.DataFrame:
        keys = table[_SERIES].itertuples(index=False, name=None)
        return table.assign(series=[labels[key] for key in keys])

    summary = summarize(rows, [*_SERIES, "task", "shots"])
    factor = 100.0 if is_share(first["metric"]) else 1.0
    for table in (rows := rows.copy(), summary):
        scaled = table.columns.intersection(
            ["value", "median", "mean", "stderr", "test_stderr"]
        )
        table[scaled] *= factor
    return Section(
        benchmark=first["benchmark"],
        protocol=first["protocol"],
        metric=first["metric"],
        rows=labelled(rows),
        summary=labelled(summary),
    )


def _ambiguous(frame: pd.DataFrame, columns: list[str]) -> set[str]:
    """Returns the models that have several values in these columns."""
    kinds = frame[["model", *columns]].drop_duplicates()
    return set(kinds["model"][kinds["model"].duplicated()])


def vtab_scores(section: Section) -> pd.DataFrame | None:
    """Returns VTAB's scores as text: the mean over tasks of their medians.

    Where tasks are missing the score is `partial (n/19)`: a mean over others
    would look like VTAB's and not be it.

    Returns:
        One row per series; None if the section is not VTAB.
    """
    if section.benchmark != "vtab" or section.by_shots:
        return None
    members = {"all": [task.name for task in tasks.group("vtab")]}
    for group in _GROUPS:
        members[group] = [
            task.name for task in tasks.group("vtab") if group in task.groups
        ]
    table = []
    for series, rows in section.summary.groupby("series"):
        medians = rows.set_index("task")["median"]
        scores = {"model": series}
        for group, names in members.items():
            there = medians[medians.index.isin(names)]
            scores[f"{group} ({len(names)} tasks)"] = (
                f"{there.mean():.2f}"
                if len(there) == len(names)
                else f"partial ({len(there)}/{len(names)})"
            )
        table.append(scores)
    return pd.DataFrame(table)
