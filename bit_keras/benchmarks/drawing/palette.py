"""Colours that go with labels, the same in every picture of a report."""

from collections.abc import Iterable

from bit_keras.benchmarks.drawing.plot import Axes, Plot

# Distinguishable with any colour vision, on white and on black.
COLOURS = (
    "#3b7dd8",
    "#e07b39",
    "#2a9d6f",
    "#c44e8a",
    "#8a6fd1",
    "#b8960c",
    "#37a6bd",
    "#9a6b52",
)


def assign(names: Iterable[str]) -> dict[str, str]:
    """Gives each name a colour, in the order of first appearance.

    After eight the colours start again; the hover text tells them apart.

    >>> assign(["b", "a", "b"])
    {'b': '#3b7dd8', 'a': '#e07b39'}
    """
    return {
        name: COLOURS[place % len(COLOURS)]
        for place, name in enumerate(dict.fromkeys(names))
    }


def colours(plots: Iterable[Plot]) -> dict[str, str]:
    """Returns the colour of each label in several plots.

    What has a colour of its own passes it on to its label.

    >>> from bit_keras.benchmarks.drawing.plot import Series
    >>> line = Series(x=[0], y=[0], label="a")
    >>> colours([Plot(axes=(Axes(series=(line,)),))])
    {'a': '#3b7dd8'}
    """
    series = [
        one
        for plot in plots
        for axes in plot.axes
        if isinstance(axes, Axes)
        for one in axes.series
    ]
    own = {one.label: one.colour for one in series if one.colour}
    free = [one.label for one in series if one.label not in own]
    return {**assign(free), **own}
