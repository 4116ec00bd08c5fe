"""Plots as PNG and SVG, by matplotlib."""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import matplotlib
import matplotlib.axes
import matplotlib.axis
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bit_keras.benchmarks.drawing.plot import Axes, Heatmap, Plot, Series

# Texts are data, not formulas; the same plot gives the same bytes.
_STYLE = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bit_keras",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}
_SYMBOLS = {"circle": "o", "open": "o", "diamond": "D", "square": "s"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_DIVERGING = LinearSegmentedColormap.from_list(
    "bit_keras", ["#c44e8a", "#f5f7f9", "#2a9d6f"]
)
# Pixels of a page to points of paper.
_POINTS = 0.72
_MOST_LEGEND_ENTRIES = 24


@contextmanager
def style() -> Iterator[None]:
    """The look of all pictures, while the context lasts."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Names in scripts that the font lacks show as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def files(figure: Figure) -> dict[str, bytes]:
    """Returns the bytes of a figure's "png" and "svg", within `style()`."""
    made = {}
    for kind, options in (
        ("png", {"dpi": 150}),
        ("svg", {"metadata": {"Date": None}}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **options)
        made[kind] = buffer.getvalue()
    return made


def pictures(plot: Plot, colours: Mapping[str, str]) -> dict[str, bytes]:
    """Draws a plot.

    Args:
        plot: What to draw.
        colours: Of each label.

    Returns:
        The bytes of a file for "png" and for "svg".

    Example:

    >>> line = Series(x=[1, 2], y=[3, 4], kind="line", label="a")
    >>> drawn = pictures(Plot(axes=(Axes(series=(line,)),)), {"a": "#3b7dd8"})
    >>> drawn["png"][1:4]
    b'PNG'
    """
    with style():
        lines, columns = plot.shape
        width, height = _size(plot, columns)
        figure = Figure(
            (width * columns + 0.4, height * lines + 0.6), layout="constrained"
        )
        panels = figure.subplots(
            lines,
            columns,
            squeeze=False,
            sharey=plot.share_y,
            width_ratios=plot.widths,
        )
        for place, panel in enumerate(panels.flat):
            if place >= len(plot.axes):
                panel.remove()
                continue
            axes = plot.axes[place]
            if isinstance(axes, Heatmap):
                _draw_heatmap(panel, axes)
                continue
            _draw_axes(panel, axes, colours)
            if plot.share_y and place % columns:
                panel.set_ylabel("")
        _add_legend(figure, plot, colours)
        return files(figure)


def _size(plot: Plot, columns: int) -> tuple[float, float]:
    """Inches of one pair of axes."""
    maps = [axes for axes in plot.axes if isinstance(axes, Heatmap)]
    cells = max((len(m.x_names) for m in maps), default=0)
    rows = max((len(m.y_names) for m in maps), default=0)
    width = 3.2 if columns > 1 else 5.0
    return max(width, 0.42 * cells + 1.2), max(2.7, 0.3 * rows + 1.2)


def _draw_axes(
    panel: matplotlib.axes.Axes, axes: Axes, colours: Mapping[str, str]
) -> None:
    for series in axes.series:
        colour = series.colour or colours.get(series.label, "#5c6675")
        _draw_series(panel, series, colour)
    panel.set_title(axes.title, fontsize=10)
    panel.set_xlabel(axes.x_label)
    panel.set_ylabel(axes.y_label)
    for log, scale, axis in (
        (axes.x_log, panel.set_xscale, panel.xaxis),
        (axes.y_log, panel.set_yscale, panel.yaxis),
    ):
        if log:
            scale("log")
            # Powers of ten are written as formulas otherwise.
            axis.set_major_formatter(_plain)
            axis.set_minor_formatter(partial(_between, axis))
    if axes.x_range:
        panel.set_xlim(axes.x_range)
    if axes.y_range:
        panel.set_ylim(axes.y_range)
    if axes.x_ticks:
        places, texts = zip(*axes.x_ticks, strict=True)
        long = max(map(len, texts)) * len(texts) > 40
        turned = {"rotation": 40, "ha": "right"} if long else {}
        panel.set_xticks(places, texts, **turned)
        panel.minorticks_off()
    if axes.x_top:
        top = panel.secondary_xaxis("top")
        top.set_xticks(*zip(*axes.x_top, strict=True), rotation=40, ha="left")
        top.set_xlabel(axes.x_top_label)
        top.minorticks_off()


def _plain(value: float, _: int) -> str:
    return f"{value:g}"


def _between(axis: matplotlib.axis.Axis, value: float, _: int) -> str:
    """Labels 2 and 5 between powers of ten, where there is room."""
    low, high = axis.get_view_interval()
    round_ones = f"{value:e}"[0] in "25"
    return f"{value:g}" if round_ones and high < 300 * low else ""


def _draw_series(
    panel: matplotlib.axes.Axes, series: Series, colour: str
) -> None:
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    if series.kind == "band":
        upper = np.asarray(series.upper, float)
        panel.fill_between(x, y, upper, color=colour, alpha=0.2, lw=0)
    elif series.kind == "bars":
        panel.bar(x, y, series.width or 0.8, color=colour)
    elif series.kind == "points":
        sizes = np.broadcast_to(series.size, x.shape) * _POINTS
        face = "none" if series.symbol == "open" else colour
        panel.scatter(
            x,
            y,
            sizes**2,
            facecolors=face,
            edgecolors=colour if face == "none" else "none",
            marker=_SYMBOLS[series.symbol],
            alpha=0.8,
            # Thousands of points as vectors make an SVG no one can open.
            rasterized=len(x) > 2000,
        )
    else:
        drawn = "steps-post" if series.kind == "steps" else "default"
        dash = _DASHES[series.dash]
        panel.plot(x, y, dash, color=colour, lw=1.5, drawstyle=drawn)
    if series.error is not None:
        panel.errorbar(
            x, y, series.error, fmt="none", ecolor=colour, elinewidth=0.8
        )


def _draw_heatmap(panel: matplotlib.axes.Axes, heatmap: Heatmap) -> None:
    values = np.asarray(heatmap.values, float)
    panel.imshow(
        values, cmap=_DIVERGING, vmin=heatmap.low, vmax=heatmap.high, aspect=0.7
    )
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            panel.text(column, row, f"{value:.2f}", ha="center", va="center")
    panel.set_xticks(
        range(len(heatmap.x_names)), heatmap.x_names, rotation=40, ha="right"
    )
    panel.set_yticks(range(len(heatmap.y_names)), heatmap.y_names)
    panel.set_title(heatmap.title, fontsize=10)
    panel.grid(visible=False)


def _add_legend(figure: Figure, plot: Plot, colours: Mapping[str, str]) -> None:
    first: dict[str, Series] = {}
    for axes in plot.axes:
        for series in axes.series if isinstance(axes, Axes) else ():
            if series.label:
                first.setdefault(series.label, series)
    if not first or len(first) > _MOST_LEGEND_ENTRIES:
        return
    handles = [_handle(one, one.colour or colours[one.label])
               for one in first.values()]  # fmt: skip
    legend = figure.legend(
        handles,
        ["-"] * len(first),
        loc="outside upper center",
        ncols=min(len(first), 4),
        frameon=False,
    )
    # As labels, names that start with an underscore would be left out.
    for entry, label in zip(legend.get_texts(), first, strict=True):
        entry.set_text(label)


def _handle(series: Series, colour: str) -> Line2D:
    if series.kind in ("line", "steps"):
        return Line2D([], [], color=colour, linestyle=_DASHES[series.dash])
    wide = series.kind in ("band", "bars")
    faint = 0.3 if series.kind == "band" else 1.0
    marker = "s" if wide else _SYMBOLS[series.symbol]
    hollow = series.symbol == "open"
    return Line2D(
        [],
        [],
        linestyle="",
        marker=marker,
        markersize=8 if wide else 5,
        markerfacecolor="none" if hollow else colour,
        markeredgecolor=colour if hollow else "none",
        alpha=faint,
    )
