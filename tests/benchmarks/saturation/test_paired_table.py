"""Curves over training, one task being upstream, as points of the analysis."""

import pandas as pd
import pytest

from bit_keras.benchmarks.saturation.paired_table import from_curves


def read(upstream, downstream, name="err", **changes):
    """Reads two curves over the same examples seen."""
    seen = list(range(10, 10 * len(upstream) + 1, 10))
    frame = pd.DataFrame(
        {
            "net": "a",
            "seen": 2 * seen,
            "task": ["inet"] * len(seen) + ["mnist"] * len(seen),
            name: [*upstream, *downstream],
        }
    )
    given = dict(at="seen", value=name, task="task", upstream_task="inet")
    return from_curves(frame, model=["net"], **given | changes)


def accuracies(made):
    names = ["upstream_accuracy", "downstream_accuracy"]
    return [made.points[name].tolist() for name in names]


def test_a_column_has_one_unit_however_low_a_task_is():
    made = read([70, 60, 50], [0.9, 0.8, 0.5])
    up, down = accuracies(made)
    assert up == pytest.approx([0.3, 0.4, 0.5])
    assert down == pytest.approx([0.991, 0.992, 0.995])
    assert made.notes[0].startswith("err: error in percent (by its name and ")
    assert "3 values are at most 1" in made.notes[0]


def test_a_unit_that_is_given_wins():
    made = read([0.9, 0.6, 0.5], [0.9, 0.8, 0.5], unit="percent")
    assert accuracies(made)[0] == pytest.approx([0.991, 0.994, 0.995])
    made = read([0.7, 0.6, 0.5], [0.9, 0.8, 0.5], value_is="accuracy")
    assert accuracies(made)[0] == pytest.approx([0.7, 0.6, 0.5])


def test_a_cross_entropy_makes_no_points():
    with pytest.raises(ValueError, match="Loss: 2 of 6 values exceed 1"):
        read([1.5, 1.2, 0.9], [0.8, 0.7, 0.6], name="Loss")
