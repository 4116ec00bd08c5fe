"""The plot of a section: medians, and every trial behind them."""

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Plot, Series, Ticks
from bit_keras.benchmarks.report_sections import Section, shorten
from bit_keras.benchmarks.summary import text


def plot(section: Section) -> Plot:
    """Returns curves over shots, one task beside the other; or else bars."""
    return _shots_plot(section) if section.by_shots else _bars_plot(section)


def _shots_plot(section: Section) -> Plot:
    names = sorted(section.rows["task"].unique())
    return Plot(
        axes=tuple(_task_axes(section, name) for name in names),
        share_y=True,
    )


def _task_axes(section: Section, task: str) -> Axes:
    series: list[Series] = []
    for name in sorted(section.rows["series"].unique()):
        trials = _of(section.rows, task, name)
        medians = _of(section.summary, task, name)
        if trials.empty:
            continue
        x = _places(medians["shots"], section)
        line = {"x": x, "y": medians["median"].to_numpy(), "label": name}
        series += [
            Series(kind="line", hover=_median_hovers(medians), **line),
            Series(hover=_median_hovers(medians), **line),
            Series(
                x=_places(trials["shots"], section),
                y=trials["value"].to_numpy(),
                label=name,
                symbol="open",
                size=8,
                hover=[_trial_hover(row) for _, row in trials.iterrows()],
            ),
        ]
    return Axes(
        series=tuple(series),
        title=shorten(task),
        x_label="shots per class",
        y_label=section.axis,
        x_log=True,
        x_ticks=_ticks(section),
    )


def _of(table: pd.DataFrame, task: str, series: str) -> pd.DataFrame:
    found = table[(table["task"] == task) & (table["series"] == series)]
    return found.sort_values("shots")


def _places(shots: pd.Series, section: Section) -> list[float]:
    """Where shots lie on a logarithmic axis; `all` comes last."""
    end = 3.0 * section.rows["shots"].max()
    return shots.astype("Float64").fillna(end).astype(float).tolist()


def _ticks(section: Section) -> Ticks:
    shots = section.rows["shots"].drop_duplicates().sort_values()
    texts = [text("shots", value) for value in shots]
    return tuple(zip(_places(shots, section), texts, strict=True))


def _bars_plot(section: Section) -> Plot:
    groups = section.groups()
    return Plot(
        axes=tuple(_group_axes(section, *item) for item in groups.items()),
        columns=len(groups),
        share_y=True,
        widths=tuple(float(len(names)) for names in groups.values()),
    )


def _group_axes(section: Section, group: str, names: list[str]) -> Axes:
    shown = sorted(section.rows["series"].unique())
    width = 0.8 / len(shown)
    bars, points = [], []
    for place, name in enumerate(shown):
        shift = (place - (len(shown) - 1) / 2) * width

        def mine(table: pd.DataFrame, name: str = name) -> pd.DataFrame:
            found = table["task"].isin(names) & (table["series"] == name)
            return table[found].sort_values("task")

        medians, trials = mine(section.summary), mine(section.rows)
        if trials.empty:
            continue
        bars.append(
            Series(
                kind="bars",
                x=[names.index(task) + shift for task in medians["task"]],
                y=medians["median"].to_numpy(),
                width=width,
                label=name,
                hover=_median_hovers(medians),
            )
        )
        points.append(
            Series(
                x=[names.index(task) + shift for task in trials["task"]],
                y=trials["value"].to_numpy(),
                # On the bars, which have its colour.
                colour="#8a93a0",
                size=5,
                group=name,
                hover=[_trial_hover(row) for _, row in trials.iterrows()],
            )
        )
    return Axes(
        series=(*bars, *points),
        title=shorten(group),
        y_label=section.axis,
        x_ticks=tuple((i, shorten(name)) for i, name in enumerate(names)),
    )


def _median_hovers(medians: pd.DataFrame) -> list[str]:
    return [
        f"{row['series']}\n{_what(row)}\n"
        f"median of {row['count']}: {row['median']:.4g}"
        for _, row in medians.iterrows()
    ]


def _trial_hover(row: pd.Series) -> str:
    """Returns all that is known about one run, one line each."""
    stderr = "" if pd.isna(row["stderr"]) else f" ± {row['stderr']:.2g}"
    lines = [
        row["series"],
        f"{_what(row)}, seed {text('seed', row['seed'])}",
        f"{row['value']:.4g}{stderr} (n = {row['n']})",
    ]
    for name, value in row["details"].items():
        short = text(name, value)
        short = short if len(short) <= 60 else short[:57] + "..."
        lines.append(f"{name}: {short}")
    lines.append(f"config {row['config_hash']}")
    return "\n".join(lines)


def _what(row: pd.Series) -> str:
    return f"{row['task']}, shots: {text('shots', row['shots'])}"
