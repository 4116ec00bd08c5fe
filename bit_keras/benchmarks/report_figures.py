"""The pictures beside a report: PNG and SVG, by matplotlib."""

import io
import warnings
from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bit_keras.benchmarks.report_plots import (
    COLUMNS,
    shots_position,
    shots_ticks,
)
from bit_keras.benchmarks.report_sections import Section, shorten

# Texts are data, not formulas; the same rows give the same bytes.
_STYLE = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bit_keras",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}


def pictures(section: Section, colours: Mapping[str, str]) -> dict[str, bytes]:
    """Draws a section as the report does.

    Args:
        section: What to draw.
        colours: Of each series.

    Returns:
        The bytes of a file for "png" and for "svg".
    """
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Names in scripts that the font lacks show as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        draw = _draw_shots if section.by_shots else _draw_bars
        figure = draw(section, colours)
        _add_legend(figure, section, colours)
        return {
            "png": _save(figure, "png", dpi=150),
            "svg": _save(figure, "svg", metadata={"Date": None}),
        }


def _save(figure: Figure, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _draw_shots(section: Section, colours: Mapping[str, str]) -> Figure:
    names = sorted(section.rows["task"].unique())
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(
        (3.2 * columns + 0.6, 2.5 * lines + 0.8), layout="constrained"
    )
    axes = figure.subplots(
        lines, columns, sharex=True, sharey=True, squeeze=False
    )
    for place, panel in enumerate(axes.flat):
        if place >= len(names):
            panel.remove()
            continue
        _draw_task(panel, section, names[place], colours)
        if place + columns >= len(names):
            panel.set_xlabel("shots per class")
            panel.xaxis.set_tick_params(labelbottom=True)
    for panel in axes[:, 0]:
        panel.set_ylabel(section.axis)
    return figure


def _draw_task(
    panel: Axes, section: Section, task: str, colours: Mapping[str, str]
) -> None:
    def points(table: pd.DataFrame, value: str, series: str) -> tuple:
        found = table[(table["task"] == task) & (table["series"] == series)]
        x = shots_position(found["shots"], section.rows["shots"]).sort_values()
        return x, found[value].loc[x.index]

    for series, colour in colours.items():
        trials = points(section.rows, "value", series)
        medians = points(section.summary, "median", series)
        style = {"fillstyle": "none", "markeredgewidth": 0.7}
        panel.plot(*trials, "o", color=colour, markersize=5, **style)
        panel.plot(*medians, "o-", color=colour, markersize=3.5)
    panel.set_title(shorten(task), fontsize=10)
    panel.set_xscale("log")
    panel.set_xticks(*shots_ticks(section))
    panel.minorticks_off()


def _draw_bars(section: Section, colours: Mapping[str, str]) -> Figure:
    groups = section.groups()
    widths = [len(names) for names in groups.values()]
    shown = [name for name in colours if name in set(section.rows["series"])]
    width = max(6.0, 0.25 * sum(widths) * (len(shown) + 1) + 1)
    figure = Figure((min(width, 24), 4.2), layout="constrained")
    axes = figure.subplots(
        1, len(groups), sharey=True, squeeze=False, width_ratios=widths
    )
    bar = 0.8 / len(shown)
    for panel, (group, names) in zip(axes[0], groups.items(), strict=True):
        for place, series in enumerate(shown):
            shift = (place - (len(shown) - 1) / 2) * bar
            for table, value in (
                (section.summary, "median"),
                (section.rows, "value"),
            ):
                found = table[table["task"].isin(names)]
                found = found[found["series"] == series]
                x = [names.index(task) + shift for task in found["task"]]
                if value == "median":
                    panel.bar(x, found[value], bar, color=colours[series])
                else:
                    panel.plot(x, found[value], ".", color="black", ms=3)
        panel.set_title(shorten(group), fontsize=10)
        panel.set_xticks(
            range(len(names)),
            map(shorten, names),
            rotation=40,
            ha="right",
            va="top",
        )
        panel.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel(section.axis)
    return figure


def _add_legend(
    figure: Figure, section: Section, colours: Mapping[str, str]
) -> None:
    shown = [name for name in colours if name in set(section.rows["series"])]
    handles = [Line2D([], [], color=colours[n], marker="o") for n in shown]
    legend = figure.legend(
        handles,
        ["-"] * len(shown),
        loc="outside upper center",
        ncols=min(len(shown), 3),
        frameon=False,
    )
    # As labels, names that start with an underscore would be left out.
    for entry, name in zip(legend.get_texts(), shown, strict=True):
        entry.set_text(shorten(name, 48))
