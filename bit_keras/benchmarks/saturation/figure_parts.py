"""What the figures of the analysis have in common."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from bit_keras.benchmarks.drawing.plot import Series, Ticks
from bit_keras.benchmarks.saturation.group import Group

_Item = TypeVar("_Item")

NAMES = {"hull": "full hull", "rising": "rising hull", "all": "all points"}
# Of the fits, unlike those that families get; readable on white and on black.
COLOURS = {"hull": "#d62839", "rising": "#e8871e", "all": "#3f7f93"}
GREY = "#8a93a0"
X_LABEL = "upstream accuracy"
Y_LABEL = "downstream accuracy"
# Under one heading; more would be hard to find one's way in.
_MOST_AXES = 12
# In one pair of axes; more would make the page slow.
MOST_POINTS = 1000
_SMALLEST, _LARGEST = 4.0, 11.0


def chunks(items: Sequence[_Item]) -> Iterator[tuple[str, Sequence[_Item]]]:
    """Yields parts for one heading each, and what to add to that heading.

    >>> [(more, len(part)) for more, part in chunks("abcdefghijklmn")]
    [(' (1 of 2)', 12), (' (2 of 2)', 2)]
    """
    count = -(-len(items) // _MOST_AXES)
    for number in range(count):
        part = items[number * _MOST_AXES : (number + 1) * _MOST_AXES]
        yield f" ({number + 1} of {count})" if count > 1 else "", part


def shots_name(shots: int | None) -> str:
    """Returns what to add to a heading.

    >>> shots_name(5), shots_name(None)
    (', 5-shot', '')
    """
    return "" if shots is None else f", {shots}-shot"


def shots_ticks(numbers: Sequence[float]) -> Ticks:
    """Returns a tick at each number of shots."""
    return tuple((float(n), f"{n:g}") for n in sorted(set(numbers)))


def model_series(group: Group) -> list[Series]:
    """Returns the models as points: colour by family, size by parameters.

    Of very many, those on the hull and an even choice of the others are shown.
    """
    points = group.points.reset_index(drop=True)
    diameters = _diameters(points["size"])
    points = points.loc[_shown(group)]
    return [
        Series(
            x=part["upstream_accuracy"].to_numpy(),
            y=part["downstream_accuracy"].to_numpy(),
            label=str(family) or "models",
            colour=None if family else GREY,
            size=_SMALLEST if diameters is None else diameters[part.index],
            hover=[_hover(one) for one in part.to_dict("records")],
        )
        for family, part in points.groupby("family")
    ]


def _shown(group: Group) -> np.ndarray:
    """Returns the positions of the points to draw, those of hulls included."""
    count = len(group.points)
    chosen = np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int)
    x = group.points["upstream_accuracy"].to_numpy(float)
    if count > MOST_POINTS and "hull" in group.fits:
        best = np.isin(1 - x, group.fits["hull"].fitted_upstream)
        chosen = np.union1d(chosen, np.flatnonzero(best))
    return chosen


def _diameters(sizes: pd.Series) -> np.ndarray | None:
    """Returns pixels that grow with the log of the size; None: all alike."""
    known = sizes.where(sizes > 0).astype(float)
    low, high = np.log(known.min()), np.log(known.max())
    if not high > low:
        return None
    share = (np.log(known) - low) / (high - low)
    return (_SMALLEST + share.fillna(0) * (_LARGEST - _SMALLEST)).to_numpy()


def _hover(point: dict) -> str:
    lines = [point["model"]]
    for name in ("family", "size", "data", "epochs"):
        value = point[name]
        if pd.isna(value) or value == "":
            continue
        shown = value if isinstance(value, str) else f"{value:.4g}"
        lines.append(f"{name}: {shown}")
    lines.append(f"upstream {point['upstream_accuracy']:.4f}")
    lines.append(f"downstream {point['downstream_accuracy']:.4f}")
    return "\n".join(lines)
