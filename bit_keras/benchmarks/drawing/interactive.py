"""Plots for a page, by plotly: hover shows what a point is.

Plotly shows a subset of HTML in every text, so each text is escaped. Colours of
text and grid are left to the page, which knows the theme.
"""

import html
from collections.abc import Collection, Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from bit_keras.benchmarks.drawing.plot import Axes, Heatmap, Plot, Series

_HEIGHT = 280
_SYMBOLS = {"open": "circle-open"}
_DIVERGING = [[0, "#c44e8a"], [0.5, "#f5f7f9"], [1, "#2a9d6f"]]


def figure(
    plot: Plot, colours: Mapping[str, str], elsewhere: Collection[str] = ()
) -> go.Figure:
    """Draws a plot.

    Args:
        plot: What to draw.
        colours: Of each label.
        elsewhere: Labels that the page has a legend for.

    Example:

    >>> line = Series(x=[1, 2], y=[3, 4], kind="line", label="a")
    >>> drawn = figure(Plot(axes=(Axes(series=(line,)),)), {"a": "#3b7dd8"})
    >>> drawn.data[0].line.color
    '#3b7dd8'
    """
    lines, columns = plot.shape
    height = _height(plot, lines)
    made = make_subplots(
        lines,
        columns,
        subplot_titles=[_text(axes.title) for axes in plot.axes],
        column_widths=plot.widths,
        shared_yaxes="all" if plot.share_y else False,
        horizontal_spacing=(0.06 if plot.share_y else 0.22) / columns,
        vertical_spacing=90 / height if lines > 1 else 0,
    )
    named = {"", *elsewhere}
    for place, axes in enumerate(plot.axes):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        if isinstance(axes, Heatmap):
            _add_heatmap(made, axes, where)
            continue
        for series in axes.series:
            trace = _trace(series, colours)
            trace.update(showlegend=series.label not in named)
            named.add(series.label)
            made.add_trace(trace, **where)
        inner = plot.share_y and where["col"] > 1
        _set_axes(made, axes, where, inner)
        if axes.x_top:
            _add_top(made, axes, where, place)
    has_top = any(isinstance(a, Axes) and a.x_top for a in plot.axes)
    return _finish(made, height, top=110 if has_top else 60)


def _text(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _height(plot: Plot, lines: int) -> int:
    rows = [len(a.y_names) for a in plot.axes if isinstance(a, Heatmap)]
    # Alone it is as wide as the page.
    height = _HEIGHT if len(plot.axes) > 1 else 1.5 * _HEIGHT
    return int(max(height, 28 * max(rows, default=0)) * lines) + 90


def _trace(series: Series, colours: Mapping[str, str]) -> go.Scatter | go.Bar:
    colour = series.colour or colours.get(series.label, "#5c6675")
    common = {
        "x": series.x,
        "y": series.y,
        "name": _text(series.label),
        "legendgroup": series.group or series.label,
    }
    if series.hover is not None:
        common["hoverinfo"] = "text"
        common["hovertext"] = [_text(text) for text in series.hover]
    if series.error is not None:
        common["error_y"] = {
            "array": series.error,
            "color": colour,
            "thickness": 1,
            "width": 3,
        }
    if series.kind == "bars":
        return go.Bar(
            **common,
            width=series.width,
            marker={"color": colour},
            textposition="none",
        )
    if series.kind == "band":
        return _band(series, colour, common)
    line = {"color": colour, "width": 2, "dash": series.dash}
    if series.kind == "steps":
        line["shape"] = "hv"
    if series.kind != "points":
        return go.Scatter(mode="lines", line=line, **common)
    marker = {
        "color": colour,
        "size": series.size,
        "symbol": _SYMBOLS.get(series.symbol, series.symbol),
        "opacity": 0.8,
        # Points of several sizes have a white rim otherwise.
        "line": {"width": 1 if series.symbol == "open" else 0},
    }
    # Thousands of points as SVG would make the page slow.
    kind = go.Scattergl if len(series.x) > 2000 else go.Scatter
    return kind(mode="markers", marker=marker, **common)


def _band(series: Series, colour: str, common: dict) -> go.Scatter:
    x = np.asarray(series.x)
    around = {
        **common,
        "x": np.concatenate([x, x[::-1]]),
        "y": np.concatenate([series.y, np.asarray(series.upper)[::-1]]),
        "hoverinfo": "skip",
    }
    return go.Scatter(
        mode="lines",
        line={"width": 0, "color": colour},
        fill="toself",
        fillcolor=_faint(colour),
        **around,
    )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"


def _set_axes(
    made: go.Figure, axes: Axes, where: dict, inner: bool = False
) -> None:
    x: dict = {"title_text": _text(axes.x_label), "title_standoff": 6}
    y: dict = {"title_text": _text(axes.y_label), "title_standoff": 6}
    if inner:  # The leftmost axes say it.
        y = {"title_text": None}
    for sides, log, ends in (
        (x, axes.x_log, axes.x_range),
        (y, axes.y_log, axes.y_range),
    ):
        if log:
            sides["type"] = "log"
            sides["exponentformat"] = "power"  # Not "100µ".
        if ends:
            sides["range"] = list(np.log10(ends)) if log else list(ends)
    if axes.x_ticks:
        x["tickvals"], texts = zip(*axes.x_ticks, strict=True)
        x["ticktext"] = [_text(text) for text in texts]
    made.update_xaxes(x, **where)
    made.update_yaxes(y, **where)


def _add_top(made: go.Figure, axes: Axes, where: dict, place: int) -> None:
    """A second scale of x; plotly draws it only if a trace is on it."""
    bottom = next(made.select_xaxes(**where)).plotly_name.removeprefix("xaxis")
    name = 1000 + place
    places, texts = zip(*axes.x_top, strict=True)
    made.layout[f"xaxis{name}"] = {
        "overlaying": f"x{bottom}",
        "matches": f"x{bottom}",
        "anchor": f"y{bottom}",
        "side": "top",
        "type": "log" if axes.x_log else "linear",
        "tickvals": places,
        "ticktext": [_text(text) for text in texts],
        "title": {"text": _text(axes.x_top_label), "standoff": 2},
        "showgrid": False,
    }
    for title in made.layout.annotations:
        if axes.title and title.text == _text(axes.title):
            title.yshift = 34  # Above that scale.
    nothing = go.Scatter(
        x=[places[0]],
        y=[None],
        xaxis=f"x{name}",
        yaxis=f"y{bottom}",
        showlegend=False,
        hoverinfo="skip",
    )
    made.add_trace(nothing)


def _add_heatmap(made: go.Figure, heatmap: Heatmap, where: dict) -> None:
    values = np.asarray(heatmap.values, float)
    shown = [["" if np.isnan(v) else f"{v:.2f}" for v in row] for row in values]
    texts = heatmap.hover if heatmap.hover is not None else shown
    trace = go.Heatmap(
        z=values,
        zmin=heatmap.low,
        zmax=heatmap.high,
        text=shown,
        texttemplate="%{text}",
        textfont={"color": "#1d2430"},
        hoverinfo="text",
        hovertext=[[_text(str(t)) for t in row] for row in texts],
        colorscale=_DIVERGING,
        showscale=False,
    )
    made.add_trace(trace, **where)
    for update, names in (
        (made.update_xaxes, heatmap.x_names),
        (made.update_yaxes, heatmap.y_names),
    ):
        ticks = {"tickvals": list(range(len(names)))}
        update(ticks, ticktext=[_text(n) for n in names], **where)
    made.update_xaxes(showgrid=False, tickangle=-40, **where)
    made.update_yaxes(autorange="reversed", showgrid=False, **where)


def _finish(made: go.Figure, height: int, top: int) -> go.Figure:
    made.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 10, "t": top, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 12},
        hovermode="closest",
        hoverlabel={"align": "left"},
        barmode="overlay",
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1 + (top - 30) / (height - top - 50),
        },
        modebar={"bgcolor": "rgba(0,0,0,0)"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    made.update_annotations(font_size=13)
    made.update_xaxes(showline=True, zeroline=False, automargin=True)
    made.update_yaxes(zeroline=False, automargin=True)
    return made
