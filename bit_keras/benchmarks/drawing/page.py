"""A page of panels: one HTML file that opens without a network."""

import base64
import dataclasses
import html
from collections.abc import Mapping, Sequence

import pandas as pd
from plotly.offline import get_plotlyjs

from bit_keras.benchmarks.drawing.interactive import figure
from bit_keras.benchmarks.drawing.plot import Panel, Table
from bit_keras.benchmarks.drawing.style import POLICY, SCRIPT, STYLE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What a page consists of.

    Attributes:
        title: The headline.
        text: Below it; plain text.
        download: Name and text of a file with all numbers, below that.
        legend: Labels with a button at the top that hides them in all plots.
        panels: From top to bottom.
        files: For each panel, names of the files beside the page.
        colours: Of each label.
    """

    title: str
    panels: Sequence[Panel]
    files: Sequence[Sequence[str]]
    colours: Mapping[str, str]
    text: str = ""
    download: tuple[str, str] | None = None
    legend: Sequence[str] = ()


def render(page: Page) -> str:
    """Returns the page.

    Example:

    >>> nothing = Page(title="a < b", panels=(), files=(), colours={})
    >>> "<h1>a &lt; b</h1>" in render(nothing)
    True
    """
    body = [_head(page), _legend(page)]
    for number, panel in enumerate(page.panels):
        body.append(_panel(number, panel, page))
    title = html.escape(page.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def _head(page: Page) -> str:
    link = ""
    if page.download:
        name, text = map(html.escape, page.download)
        link = f' <a href="{name}">{text}</a>'
    text = html.escape(page.text)
    title = html.escape(page.title)
    return f"<header><h1>{title}</h1><p>{text}{link}</p></header>"


def _legend(page: Page) -> str:
    if not page.legend:
        return ""
    buttons = [
        f'<button data-series="{html.escape(name)}" aria-pressed="true">'
        f'<i style="background:{page.colours[name]}"></i>{html.escape(name)}'
        "</button>"
        for name in page.legend
    ]
    label = 'aria-label="Models; click to hide or show"'
    return f"<nav {label}>{''.join(buttons)}</nav>"


def _panel(number: int, panel: Panel, page: Page) -> str:
    links = " · ".join(
        f'<a href="{html.escape(name)}">{name.rpartition(".")[2].upper()}</a>'
        for name in page.files[number]
    )
    texts = [html.escape(part) for part in panel.text.split("\n\n")]
    texts[-1] = f"{texts[-1]} {links}".strip()
    parts = [f"<section><h2>{html.escape(panel.title)}</h2>"]
    parts += [f"<p>{text}</p>" for text in texts if text]
    if panel.plot:
        drawn = figure(panel.plot, page.colours, page.legend)
        parts += [
            '<div class="wide"><div class="plot" '
            f'data-figure="figure-{number}"></div></div>',
            f'<script type="application/json" id="figure-{number}">'
            # Plotly writes < and > as \u003c and \u003e.
            f"{drawn.to_json()}</script>",
        ]
    if panel.table is not None:
        parts.append(table(panel.table))
    parts += map(_more, panel.more)
    parts += [_image(*image) for image in panel.images]
    return "\n".join([*parts, "</section>"])


def _more(one: Table) -> str:
    caption = html.escape(one.caption)
    if one.folded:
        return (
            f"<details><summary>{caption}</summary>{table(one.frame)}</details>"
        )
    above = f"<p>{caption}</p>" if caption else ""
    return f"{above}{table(one.frame)}"


def _image(caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    caption = html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def table(frame: pd.DataFrame) -> str:
    """Returns a table as HTML; numbers to the right.

    >>> table(pd.DataFrame({"task": ["<dtd>"], "n": [3]}))
    '<div class="wide"><table><tr><th>task</th><th class="number">n</th>...'
    """
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    marks = [' class="number"' if number else "" for number in numeric]
    heads = [
        f"<th{mark}>{html.escape(str(name))}</th>"
        for mark, name in zip(marks, frame.columns, strict=True)
    ]
    lines = [f"<tr>{''.join(heads)}</tr>"]
    for row in frame.itertuples(index=False, name=None):
        cells = [
            f"<td{mark}>{html.escape(_cell(str(name), value))}</td>"
            for mark, name, value in zip(marks, frame.columns, row, strict=True)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cell(name: str, value: object) -> str:
    if pd.isna(value):
        return "all" if name == "shots" else "–"
    if isinstance(value, float):
        # Numbers below 1 would lose their digits with two decimals.
        return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"
    return str(value)
