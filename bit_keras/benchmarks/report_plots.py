"""The interactive plots of a report, in plotly.

Plotly shows a subset of HTML in every text, so each text that comes from data
is escaped.
"""

import html
from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from bit_keras.benchmarks.report_sections import Section, shorten
from bit_keras.benchmarks.summary import text

COLUMNS = 3
_PANEL = 250


def shots_position(shots: pd.Series, all_shots: pd.Series) -> pd.Series:
    """Returns where shots lie on a logarithmic axis; `all` comes last.

    >>> shots = pd.Series([1, 10, None], dtype="Int64")
    >>> shots_position(shots, shots).tolist()
    [1.0, 10.0, 30.0]
    """
    return shots.astype("Float64").fillna(3.0 * all_shots.max()).astype(float)


def shots_ticks(section: Section) -> tuple[list[float], list[str]]:
    """Returns places and texts of the ticks of an axis of shots."""
    shots = section.rows["shots"].drop_duplicates().sort_values()
    places = shots_position(shots, section.rows["shots"])
    return places.tolist(), [text("shots", value) for value in shots]


def shots_plot(section: Section, colours: Mapping[str, str]) -> go.Figure:
    """Draws one panel per task: each trial, and a line through the medians.

    Args:
        section: With rows that have shots.
        colours: Of each series.
    """
    names = sorted(section.rows["task"].unique())
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    height = _PANEL * lines + 80
    figure = make_subplots(
        lines,
        columns,
        subplot_titles=[_label(name) for name in names],
        shared_yaxes="all",
        horizontal_spacing=0.03,
        vertical_spacing=70 / height if lines > 1 else 0,
    )
    for place, name in enumerate(names):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        for series, colour in colours.items():
            for trace in _shots_traces(section, name, series, colour):
                figure.add_trace(trace, **where)
        # The lowest panel of each column carries the label.
        last = place + columns >= len(names)
        figure.update_xaxes(
            title_text="shots per class" if last else None,
            title_standoff=6,
            **where,
        )
    places, texts = shots_ticks(section)
    figure.update_xaxes(
        type="log", tickvals=places, ticktext=texts, minor_ticks=""
    )
    figure.update_yaxes(title_text=html.escape(section.axis), col=1)
    return _finish(figure, height)


def _shots_traces(
    section: Section, task: str, series: str, colour: str
) -> list[go.Scatter]:
    def mine(table: pd.DataFrame) -> pd.DataFrame:
        found = table[(table["task"] == task) & (table["series"] == series)]
        x = shots_position(found["shots"], section.rows["shots"])
        return found.assign(x=x).sort_values("x")

    trials, medians = mine(section.rows), mine(section.summary)
    if trials.empty:
        return []
    return [
        go.Scatter(
            x=medians["x"],
            y=medians["median"],
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 6},
            hovertext=_median_hovers(medians),
            **_common(series),
        ),
        _trials(trials, colour, x=trials["x"], y=trials["value"]),
    ]


def _common(series: str) -> dict:
    # The page's legend shows and hides what bears its group.
    return {
        "name": html.escape(series),
        "legendgroup": series,
        "hoverinfo": "text",
        "showlegend": False,
    }


def _trials(trials: pd.DataFrame, colour: str, **axes: object) -> go.Scatter:
    return go.Scatter(
        mode="markers",
        marker={"color": colour, "size": 8, "symbol": "circle-open"},
        hovertext=[_trial_hover(row) for _, row in trials.iterrows()],
        **_common(trials["series"].iloc[0]),
        **axes,
    )


def bars_plot(section: Section, colours: Mapping[str, str]) -> go.Figure:
    """Draws one panel per group of tasks: bars of medians, and each trial.

    Args:
        section: With rows that have no shots.
        colours: Of each series.
    """
    groups = section.groups()
    figure = make_subplots(
        1,
        len(groups),
        subplot_titles=[_label(name) for name in groups],
        column_widths=[len(names) for names in groups.values()],
        shared_yaxes=True,
        horizontal_spacing=0.02,
    )
    for place, names in enumerate(groups.values(), 1):
        for series, colour in colours.items():
            for trace in _bar_traces(section, names, series, colour):
                figure.add_trace(trace, row=1, col=place)
        figure.update_xaxes(
            tickvals=list(range(len(names))),
            ticktext=[_label(name) for name in names],
            showgrid=False,
            tickangle=-40,
            row=1,
            col=place,
        )
    figure.update_yaxes(title_text=html.escape(section.axis), row=1, col=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(barmode="group", scattermode="group", bargap=0.25)
    return _finish(figure, 440)


def _bar_traces(
    section: Section, names: list[str], series: str, colour: str
) -> list[go.Bar | go.Scatter]:
    def mine(table: pd.DataFrame) -> pd.DataFrame:
        found = table["task"].isin(names) & (table["series"] == series)
        return table[found].sort_values("task")

    trials, medians = mine(section.rows), mine(section.summary)
    if trials.empty:
        return []
    bars = go.Bar(
        x=medians["task"].map(names.index),
        y=medians["median"],
        marker={"color": colour},
        hovertext=_median_hovers(medians),
        textposition="none",
        offsetgroup=series,
        **_common(series),
    )
    points = _trials(
        trials,
        colour,
        x=trials["task"].map(names.index),
        y=trials["value"],
        offsetgroup=series,
    )
    # On the bars, which have its colour.
    points.marker.update(
        symbol="circle", size=6, line={"color": "white", "width": 1}
    )
    return [bars, points]


def _label(name: str) -> str:
    return html.escape(shorten(name))


def _median_hovers(medians: pd.DataFrame) -> list[str]:
    return [
        f"<b>{html.escape(row['series'])}</b><br>{_what(row)}"
        f"<br>median of {row['count']}: {row['median']:.4g}"
        for _, row in medians.iterrows()
    ]


def _trial_hover(row: pd.Series) -> str:
    """Returns all that is known about one run, one line each."""
    stderr = "" if pd.isna(row["stderr"]) else f" ± {row['stderr']:.2g}"
    lines = [
        f"<b>{html.escape(row['series'])}</b>",
        f"{_what(row)}, seed {text('seed', row['seed'])}",
        f"{row['value']:.4g}{stderr} (n = {row['n']})",
    ]
    for name, value in row["details"].items():
        short = text(name, value)
        short = short if len(short) <= 60 else short[:57] + "..."
        lines.append(html.escape(f"{name}: {short}"))
    lines.append(html.escape(f"config {row['config_hash']}"))
    return "<br>".join(lines)


def _what(row: pd.Series) -> str:
    return html.escape(f"{row['task']}, shots: {text('shots', row['shots'])}")


def _finish(figure: go.Figure, height: int) -> go.Figure:
    """Leaves colours of text and grid to the page, which knows the theme."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 10, "t": 60, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 12},
        hovermode="closest",
        hoverlabel={"align": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(showline=True, zeroline=False, automargin=True)
    figure.update_yaxes(zeroline=False, automargin=True)
    return figure
