"""A report on disk: the page, and PNG, SVG and CSV beside it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bit_keras.benchmarks.drawing import page
from bit_keras.benchmarks.drawing.palette import colours
from bit_keras.benchmarks.drawing.pictures import pictures
from bit_keras.benchmarks.drawing.plot import Panel
from bit_keras.benchmarks.results_export import render, replace_file


def write(
    panels: Sequence[Panel],
    out: str | os.PathLike,
    *,
    title: str,
    text: str = "",
    download: tuple[str, str] | None = None,
    legend: Sequence[str] = (),
) -> Path:
    """Writes report.html and the files of each panel.

    Args:
        panels: From top to bottom.
        out: Directory; files of the same names are replaced.
        title: Of the page.
        text: Below the title.
        download: Name and text of a link below that.
        legend: Labels with a button that hides them in all plots.

    Returns:
        The path of report.html.

    Raises:
        OSError: If the directory cannot be written.

    Example:

    >>> write([Panel(title="Law")], "report", title="Saturation").name
    'report.html'
    """
    out = Path(out)
    palette = colours([panel.plot for panel in panels if panel.plot])
    names = stems([panel.title for panel in panels])
    files = [
        _write_files(panel, out, stem, palette)
        for panel, stem in zip(panels, names, strict=True)
    ]
    whole = page.Page(
        title=title,
        text=text,
        download=download,
        legend=legend,
        panels=panels,
        files=files,
        colours=palette,
    )
    replace_file(out / "report.html", page.render(whole).encode())
    return out / "report.html"


def _write_files(
    panel: Panel, out: Path, stem: str, palette: Mapping[str, str]
) -> list[str]:
    made = pictures(panel.plot, palette) if panel.plot else {}
    table = panel.table if panel.csv is None else panel.csv
    if table is not None:
        made["csv"] = render(table, "csv")
    for kind, data in made.items():
        replace_file(out / f"{stem}.{kind}", data)
    return [f"{stem}.{kind}" for kind in made]


def stems(titles: Sequence[str]) -> list[str]:
    """Returns file names, without ending, that are legal and differ.

    >>> stems(["vtab, lightweight: accuracy", "../a", "..?a"])
    ['vtab-lightweight-accuracy', 'a', 'a-2']
    """
    found: list[str] = []
    for title in titles:
        # "results" and "report" are taken.
        stem = re.sub(r"[^A-Za-z0-9_]+", "-", title).strip("-")[:80] or "plot"
        same = sum(re.sub(r"-\d+$", "", s) == stem for s in found)
        found.append(f"{stem}-{same + 1}" if same else stem)
    return found
