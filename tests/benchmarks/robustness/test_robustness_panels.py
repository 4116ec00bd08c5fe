import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks import results
from bit_keras.benchmarks.drawing.plot import Heatmap
from bit_keras.benchmarks.robustness import panels
from bit_keras.benchmarks.robustness.cue_conflict import CATEGORIES, shape_bias
from bit_keras.benchmarks.robustness.cue_conflict_command import (
    rows as cue_rows,
)
from bit_keras.benchmarks.robustness.rows import (
    Accuracy,
    accuracy_row,
    drop_row,
)
from bit_keras.benchmarks.robustness.shift import split_by

FIELDS = {
    "model": "m",
    "model_sha256": "0",
    "upstream": None,
    "group": None,
    "preprocessing": "none",
}


def load(tmp_path, *rows):
    results.ResultsFile(tmp_path / results.FILE_NAME).append(rows)
    return results.load([tmp_path])


def accuracy(task, value, n=100, protocol="shift"):
    return Accuracy(task, protocol, np.arange(n) < value * n, {})


def parts(values):
    rng = np.random.default_rng(0)
    whole = Accuracy("set", "shift", rng.random(len(values)) < 0.5, {})
    found = split_by(whole, "feature", values)
    return found, [accuracy_row(part, **FIELDS) for part in found]


def test_no_rows_no_panels(tmp_path):
    frame = load(tmp_path, accuracy_row(accuracy("a", 0.5), **FIELDS))
    assert panels.panels(frame[:0]) == []
    # An accuracy alone shows no shift.
    assert panels.panels(frame) == []


def test_drops_are_points_below_the_diagonal(tmp_path):
    source = accuracy("a", 0.9)
    rows = [
        drop_row(source, accuracy("a -> b", 0.5), **FIELDS),
        drop_row(source, accuracy("a -> b", 0.7), **{**FIELDS, "model": "k"}),
        drop_row(
            accuracy("i", 0.8, protocol="full"),
            accuracy("i -> r", 0.6, protocol="full"),
            **FIELDS,
        ),
    ]
    (panel,) = panels.panels(load(tmp_path, *rows))
    assert panel.table["drop"].tolist() == pytest.approx([0.4, 0.2, 0.2])
    (axes,) = panel.plot.axes
    diagonal, one, two = axes.series
    assert (one.label, two.label) == ("a -> b", "i -> r, full")
    assert list(one.x) == [0.9, 0.9] and list(one.y) == [0.5, 0.7]
    assert list(one.error) == pytest.approx([0.1, 2 * 0.21**0.5 / 10])
    assert list(one.hover) == ["m", "k"]
    assert list(diagonal.x) == list(diagonal.y)


def test_the_last_measurement_counts(tmp_path):
    old = drop_row(
        accuracy("a", 0.9),
        accuracy("a -> b", 0.5),
        **{**FIELDS, "time": "2025-01-01T00:00:00+00:00"},
    )
    other = Accuracy("a -> b", "shift", np.arange(50) < 30, {"data": "new"})
    new = drop_row(accuracy("a", 0.9), other, **FIELDS)
    (panel,) = panels.panels(load(tmp_path, new, old))
    assert panel.table["shifted"].tolist() == [0.6]


def test_numbers_are_in_order_on_the_axis(tmp_path):
    found, rows = parts([10, 2, 2, 10, 31, 2])
    (panel,) = panels.panels(load(tmp_path, *rows))
    (axes,) = panel.plot.axes
    assert axes.x_ticks is None
    assert list(axes.series[0].x) == [2, 10, 31]
    assert list(axes.series[0].y) == [part.value for part in found]
    assert panel.title == "Accuracy on set by feature"


def test_names_are_ticks(tmp_path):
    found, rows = parts(["photo", "cartoon", "photo"])
    (panel,) = panels.panels(load(tmp_path, *rows))
    (axes,) = panel.plot.axes
    assert axes.x_ticks == ((0, "cartoon"), (1, "photo"))
    assert list(axes.series[0].y) == [part.value for part in found]
    assert panel.table["feature"].tolist() == ["cartoon", "photo"]


def test_places_are_a_map(tmp_path):
    places = [(0.1, 0.5), (0.9, 0.5), (0.1, 0.7), (0.9, 0.7), (0.9, 0.7)]
    whole = Accuracy("set", "full", np.array([1, 0, 0, 1, 0], bool), {})
    found = split_by(whole, "x_coord,y_coord", places)
    rows = [accuracy_row(part, **FIELDS) for part in found]
    (panel,) = panels.panels(load(tmp_path, *rows))
    (heatmap,) = panel.plot.axes
    assert isinstance(heatmap, Heatmap)
    # Columns are x, from the left; rows are y, from the top.
    assert heatmap.values.tolist() == [[1, 0], [0, 0.5]]
    assert (heatmap.x_names, heatmap.y_names) == (
        ["0.1", "0.9"],
        ["0.5", "0.7"],
    )


def test_shape_bias_by_category(tmp_path):
    counted = shape_bias(
        ["cat", "cat", "car", "dog", "dog"],
        ["cat", "cat", "cat", "dog", "car"],
        ["dog", "car", "car", "cat", "cat"],
    )
    groups = {name: [0] for name in CATEGORIES}
    rows = cue_rows("conflict", counted, groups, {}, **FIELDS)
    (panel,) = panels.panels(load(tmp_path, *rows))
    (axes,) = panel.plot.axes
    points, line = axes.series
    # Nothing was decided for the shape or the texture of the one car.
    assert list(points.x) == [CATEGORIES.index("cat"), CATEGORIES.index("dog")]
    assert list(points.y) == pytest.approx([2 / 3, 1])
    assert list(line.y) == [0.75, 0.75]
    expected = {"shape_bias": 0.75, "decided": 4, "images": 5, "unknown": 0}
    table = panel.table.iloc[0]
    assert {key: table[key] for key in expected} == expected
    assert isinstance(panel.table, pd.DataFrame)
