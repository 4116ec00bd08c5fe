"""What a picture shows, before anybody draws it.

A `Plot` is plain data. `interactive` draws it for a page, `pictures` as PNG and
SVG, so that both always show the same.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """One thing in a pair of axes.

    Attributes:
        x: Numbers; NaN is a gap.
        y: Numbers, as many.
        kind: How it is drawn.
        label: Entry of the legend; the same label has the same colour in all
            axes of a plot; "": none.
        colour: As "#3b7dd8"; None: by label.
        group: Label that it is shown and hidden with; None: its own.
        upper: Of a band: its upper edge, `y` being the lower one.
        error: Half the length of error bars.
        width: Of bars, in units of x.
        dash: Of lines.
        symbol: Of points.
        size: Of points: diameter in pixels, one number or one per point.
        hover: Text of each point.

    Raises:
        ValueError: For lengths that differ.

    Example:

    >>> Series(x=[0, 1], y=[0.5])
    Traceback (most recent call last):
    ValueError: y must have 2 values, as x; got 1.
    """

    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    kind: Literal["points", "line", "steps", "band", "bars"] = "points"
    label: str = ""
    colour: str | None = None
    group: str | None = None
    upper: Sequence[float] | np.ndarray | None = None
    error: Sequence[float] | np.ndarray | None = None
    width: float | None = None
    dash: Literal["solid", "dash", "dot"] = "solid"
    symbol: Literal["circle", "open", "diamond", "square"] = "circle"
    size: Sequence[float] | np.ndarray | float = 6.0
    hover: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "band") != (self.upper is not None):
            raise ValueError("upper is for a band, and a band needs it.")
        for name in ("y", "upper", "error", "hover", "size"):
            value = getattr(self, name)
            if value is None or np.ndim(value) == 0:
                continue
            if len(value) != len(self.x):
                raise ValueError(
                    f"{name} must have {len(self.x)} values, as x; got "
                    f"{len(value)}."
                )


Ticks = tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axes:
    """A pair of axes and what is in it.

    Attributes:
        series: What is drawn, the first at the back.
        title: Above.
        x_label: With its unit, if any.
        y_label: With its unit, if any.
        x_log: Whether x is logarithmic.
        y_log: Whether y is logarithmic.
        x_range: Ends of the axis; None: by the data.
        y_range: Ends of the axis; None: by the data.
        x_ticks: (place, text); None: by the renderer.
        x_top: Ticks of a second scale of x, above; None: there is none.
        x_top_label: Of that scale.
    """

    series: tuple[Series, ...]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_ticks: Ticks | None = None
    x_top: Ticks | None = None
    x_top_label: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heatmap:
    """A matrix in colours, with its numbers.

    Attributes:
        values: `(rows, columns)`; NaN is empty.
        x_names: Of the columns.
        y_names: Of the rows, the first at the top.
        low: Value of one end of the colours.
        high: Value of the other end.
        title: Above.
        hover: Text of each cell, `(rows, columns)`; None: the number.
    """

    values: np.ndarray
    x_names: Sequence[str]
    y_names: Sequence[str]
    low: float
    high: float
    title: str = ""
    hover: Sequence[Sequence[str]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """Axes side by side.

    Attributes:
        axes: From left to right, then the next line.
        columns: In a line.
        share_y: Whether all have the same scale of y.
        widths: Of the columns, relative to each other; None: equal.
    """

    axes: tuple[Axes | Heatmap, ...]
    columns: int = 3
    share_y: bool = False
    widths: tuple[float, ...] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and columns.

        >>> Plot(axes=(Axes(series=()),) * 4).shape
        (2, 3)
        """
        columns = max(1, min(self.columns, len(self.axes)))
        return -(-len(self.axes) // columns), columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table below the plot of a panel.

    Attributes:
        caption: One line above it.
        frame: Its columns and rows.
        folded: Whether the reader has to open it.
    """

    caption: str
    frame: pd.DataFrame
    folded: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One heading of a report, and what is below it.

    Attributes:
        title: The heading; the files beside the page are named after it.
        text: What is seen, and how to read it; blank lines part paragraphs.
        plot: If any.
        table: If any.
        more: Further tables.
        csv: What to write as CSV; None: `table`.
        images: (caption, bytes of a PNG file).
    """

    title: str
    text: str = ""
    plot: Plot | None = None
    table: pd.DataFrame | None = None
    more: tuple[Table, ...] = ()
    csv: pd.DataFrame | None = None
    images: tuple[tuple[str, bytes], ...] = ()
