"""The page of a report: one HTML file that opens without a network."""

import html
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from bit_keras.benchmarks.report_sections import Section, vtab_scores
from bit_keras.benchmarks.summary import pivot, text
from bit_keras.benchmarks.vtab_overview import note, side_by_side

# Nothing may be fetched, whatever a name in the data tries.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:"
)

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d2430; --soft: #5c6675; --line: #d9dee5; --paper: #ffffff;
  --card: #f5f7f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee; --soft: #9aa5b5; --line: #343c48; --paper: #14181e;
    --card: #1c222b;
  }
}
body {
  margin: 0 auto; max-width: 1180px; padding: 1.5rem 1.25rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
h2, p, nav { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0; color: var(--soft); max-width: 75ch; }
a { color: inherit; }
nav {
  position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap;
  gap: .4rem; padding: .6rem 0; background: var(--paper);
  border-bottom: 1px solid var(--line);
}
nav button {
  font: inherit; font-size: .9rem; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 1rem; padding: .1rem .7rem;
  cursor: pointer; max-width: 100%;
}
nav button[aria-pressed="false"] { opacity: .4; text-decoration: line-through; }
nav i {
  display: inline-block; width: .7em; height: .7em; border-radius: 50%;
  margin-right: .45em;
}
.wide { overflow-x: auto; }
.plot { min-width: 640px; margin-top: .5rem; }
table { border-collapse: collapse; font-size: .87rem; margin: .75rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); }
th { text-align: left; vertical-align: bottom; font-weight: 600; }
td { text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; margin-top: .5rem; color: var(--soft); }
"""

_SCRIPT = """
"use strict";
const plots = [...document.querySelectorAll(".plot")];
const hidden = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");

function draw(plot) {
  const figure = JSON.parse(
    document.getElementById(plot.dataset.figure).textContent);
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, card] = ["--ink", "--soft", "--line", "--card"].map(
    name => style.getPropertyValue(name).trim());
  const layout = figure.layout;
  layout.font.color = ink;
  Object.assign(layout.modebar, {color: soft, activecolor: ink});
  Object.assign(layout.hoverlabel,
    {bgcolor: card, bordercolor: line, font: {color: ink}});
  for (const [name, axis] of Object.entries(layout))
    if (/^[xy]axis/.test(name))
      Object.assign(axis, {gridcolor: line, linecolor: line});
  for (const trace of figure.data)
    trace.visible = !hidden.has(trace.legendgroup);
  // Left to itself, plotly offers to send the data to its makers.
  Plotly.react(plot, figure.data, layout, {
    responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]});
}

for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => {
    const series = button.dataset.series;
    if (!hidden.delete(series)) hidden.add(series);
    button.setAttribute("aria-pressed", !hidden.has(series));
    plots.forEach(draw);
  });
dark.addEventListener("change", () => plots.forEach(draw));
plots.forEach(draw);
"""


def page(
    frame: pd.DataFrame,
    sections: Sequence[Section],
    plots: Sequence[go.Figure],
    colours: Mapping[str, str],
    files: Sequence[Sequence[str]],
) -> str:
    """Returns the page.

    Args:
        frame: All rows, from `results.load`.
        sections: Of those rows.
        plots: One for each section.
        colours: Of each series.
        files: For each section, names of the files beside the page.
    """
    body = [
        _head(frame),
        _legend(colours),
        *map(_section, range(len(plots)), sections, plots, files),
        _provenance(frame),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        "<title>bit_keras results</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{get_plotlyjs()}</script>\n<script>{_SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def _head(frame: pd.DataFrame) -> str:
    days = sorted(frame["time"].str[:10])
    counts = [
        f"{count} {column}{'s' * (count != 1)}"
        for column, count in frame[["model", "task"]].nunique().items()
    ]
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return (
        f"<header><h1>bit_keras results</h1><p>{', '.join(counts)}, "
        f"{len(frame)} measurements; {html.escape(when)}. "
        '<a href="results.csv">All rows (CSV)</a></p></header>'
    )


def _legend(colours: Mapping[str, str]) -> str:
    buttons = [
        f'<button data-series="{html.escape(name)}" aria-pressed="true">'
        f'<i style="background:{colour}"></i>{html.escape(name)}</button>'
        for name, colour in colours.items()
    ]
    label = 'aria-label="Models; click to hide or show"'
    return f"<nav {label}>{''.join(buttons)}</nav>"


def _section(
    number: int, section: Section, plot: go.Figure, files: Sequence[str]
) -> str:
    links = " · ".join(
        f'<a href="{html.escape(name)}">{name.rpartition(".")[2].upper()}</a>'
        for name in files
    )
    curve = "Lines" if section.by_shots else "Bars"
    scores = vtab_scores(section)
    return "\n".join(
        [
            f"<section><h2>{html.escape(section.title)}</h2>",
            f"<p>{curve}: medians over seeds; circles: every run (hover for "
            f"its seed, settings and configuration). {links}</p>",
            '<div class="wide"><div class="plot" '
            f'data-figure="figure-{number}"></div></div>',
            f'<script type="application/json" id="figure-{number}">'
            # Plotly writes < and > as \u003c and \u003e.
            f"{plot.to_json()}</script>",
            "" if scores is None else _scores(scores, section.protocol),
            _overview(section),
            _numbers(section),
            "</section>",
        ]
    )


def _scores(scores: pd.DataFrame, protocol: str) -> str:
    return (
        "<p>Score: mean over tasks of the medians (%); below, what others "
        f"published. {html.escape(note(protocol))}</p>"
        + _table(side_by_side(scores))
    )


def _overview(section: Section) -> str:
    """Medians with one column per model."""
    keep = ["task", "shots"] if section.by_shots else ["task"]
    wide = pivot(section.summary[[*keep, "series", "median"]], "series")
    title = f"<p>Median {html.escape(section.axis)}:</p>"
    return title + _table(wide)


def _numbers(section: Section) -> str:
    """Every median with its mean, standard errors and counts."""
    names = {
        "series": "model",
        "task": "task",
        "shots": "shots",
        "median": "median",
        "mean": "mean",
        "stderr": "stderr over seeds",
        "count": "seeds",
        "test_stderr": "stderr of one run (test set)",
        "n": "n (test examples)",
    }
    table = section.summary[list(names)].rename(columns=names)
    return (
        f"<details><summary>Means, standard errors and counts ({len(table)} "
        f"lines; {html.escape(section.axis)})</summary>{_table(table)}"
        "</details>"
    )


def _provenance(frame: pd.DataFrame) -> str:
    """What was measured, with which code."""
    columns = [
        "model",
        "model_sha256",
        "upstream",
        "benchmark",
        "protocol",
        "preprocessing",
        "endpoint",
        "code_version",
    ]
    table = (
        frame.groupby(columns, dropna=False)
        .agg(rows=("value", "size"), last=("time", "max"))
        .reset_index()
        .rename(columns={"last": "last measured"})
    )
    # In full in results.csv.
    table["model_sha256"] = table["model_sha256"].str[:16]
    return (
        "<section><h2>What was measured, with which code</h2>"
        f"{_table(table)}</section>"
    )


def _table(frame: pd.DataFrame) -> str:
    """Returns a table; numbers to the right with two decimals."""
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    marks = [' class="number"' if number else "" for number in numeric]
    heads = [
        f"<th{mark}>{html.escape(str(name))}</th>"
        for mark, name in zip(marks, frame.columns, strict=True)
    ]
    lines = [f"<tr>{''.join(heads)}</tr>"]
    for row in frame.itertuples(index=False, name=None):
        cells = [
            f"<td{mark}>{html.escape(_cell(name, value))}</td>"
            for mark, name, value in zip(marks, frame.columns, row, strict=True)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cell(name: str, value: object) -> str:
    if pd.isna(value):
        return "all" if name == "shots" else "–"
    return f"{value:.2f}" if isinstance(value, float) else text(name, value)
