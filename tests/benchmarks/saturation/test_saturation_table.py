"""The input table: units, what is left out, and what tells points apart."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation import columns, table
from bit_keras.benchmarks.saturation.columns import Columns, read_accuracies


def make_frame(**changes):
    frame = pd.DataFrame(
        {
            "net": ["a", "b", "c", "d"],
            "kind": ["ViT", "ViT", "BiT", "BiT"],
            "top1": [0.5, 0.6, 0.7, 0.8],
            "err": [0.6, 0.5, 0.4, 0.3],
            "set": ["x", "x", "x", "y"],
            "k": [1, 1, 1, 5],
            "params": ["1,013.01", "85", "22.5", None],
        }
    )
    return frame.assign(**changes)


def names(**changes):
    given = dict(
        model=("net",),
        upstream="top1",
        downstream=("err",),
        task="set",
        shots="k",
        family="kind",
        size="params",
    )
    return Columns(**given | changes)


def test_the_columns_mean_what_they_are_said_to():
    made = table.from_frame(make_frame(), names())
    points = made.points
    assert made.problems == ()
    assert tuple(points.columns) == table.NAMES
    np.testing.assert_allclose(
        points["upstream_accuracy"], [0.5, 0.6, 0.7, 0.8]
    )
    np.testing.assert_allclose(
        points["downstream_accuracy"], [0.4, 0.5, 0.6, 0.7]
    )
    assert points["size"].tolist()[:3] == [1013.01, 85.0, 22.5]
    assert np.isnan(points["size"][3])
    found = [(task, shots, len(part)) for task, shots, part in made.groups()]
    assert found == [("x", 1, 3), ("y", 5, 1)]


def test_percent_and_fractions_are_one_table():
    fraction = make_frame()
    percent = make_frame(top1=fraction["top1"] * 100, err=fraction["err"] * 100)
    one = table.from_frame(fraction, names())
    other = table.from_frame(percent, names())
    pd.testing.assert_frame_equal(one.points, other.points, rtol=1e-14)
    assert (
        one.notes[0] == "top1: accuracy in fractions (by its name and values)"
    )
    assert other.notes[1] == "err: error in percent (by its name and values)"


def test_error_and_accuracy_are_one_table():
    frame = make_frame()
    accuracy = make_frame(right=1 - frame["err"])
    one = table.from_frame(frame, names())
    other = table.from_frame(accuracy, names(downstream=("right",)))
    pd.testing.assert_frame_equal(one.points, other.points)
    said = table.from_frame(
        accuracy.rename(columns={"right": "loss_y"}),
        names(downstream=("loss_y",), downstream_is="accuracy"),
    )
    pd.testing.assert_frame_equal(one.points, said.points)


def test_a_few_values_above_one_are_mistakes_not_percent():
    values = pd.Series([*np.linspace(0.1, 0.9, 30), 1.5, -0.2, np.nan, np.inf])
    read = read_accuracies(values, "top1")
    assert "fractions" in read.meaning.note
    assert read.reasons[30:].tolist() == [
        "top1 is 1.5, outside 0..1",
        "top1 is -0.2, outside 0..1",
        "no top1",
        "top1 is inf, outside 0..1",
    ]
    np.testing.assert_array_equal(read.values[:30], values[:30])
    assert read.values[30:].isna().all()


def test_a_unit_that_is_given_wins():
    low = pd.Series([0.2, 0.5, 0.9])
    read = read_accuracies(low, "top1", unit="percent")
    np.testing.assert_allclose(read.values, [0.002, 0.005, 0.009])
    assert read.meaning.note == "top1: accuracy in percent (by its name)"


def test_a_name_that_does_not_say_what_it_holds_is_told():
    read = read_accuracies(pd.Series([0.1, 0.3]), "pets")
    assert read.meaning.note == (
        "pets: accuracy in fractions (by its name and values); assumed, as the "
        "name says neither accuracy nor error"
    )


@pytest.mark.parametrize(
    "name, holds",
    [
        *((n, "error") for n in ("err", "errors", "top1_errors", "Errors (%)")),
        *((n, "error") for n in ("losses", "test-loss", "valLoss", "Top1Err")),
        *((n, "error") for n in ("inaccuracy", "Inaccuracies", "errorRate")),
        *((n, "accuracy") for n in ("top1", "acc@1", "Accuracies", "testacc")),
        *((n, None) for n in ("pets", "stopped", "accent", "lossy", "errand")),
    ],
)
def test_names_say_what_a_column_holds(name, holds):
    read = read_accuracies(pd.Series([0.25]), name)
    assert read.values.tolist() == [0.75 if holds == "error" else 0.25]
    assert ("assumed" in read.meaning.note) == (holds is None)


def test_a_cross_entropy_is_no_error_rate():
    nats = pd.Series([*np.linspace(0.2, 0.9, 30), 2.25])
    for name in ("loss", "Val Losses"):
        with pytest.raises(ValueError, match=f"{name}: 1 of 31 .* as 2.25. A"):
            read_accuracies(nats, name)
        with pytest.raises(ValueError, match="unit percent"):
            read_accuracies(nats, name, "error")
        # As NSL's, whose losses are error rates.
        read = read_accuracies(nats[:-1], name)
        np.testing.assert_allclose(read.values, 1 - nats[:-1])
        read = read_accuracies(nats, name, unit="percent")
        np.testing.assert_allclose(read.values, 1 - nats / 100)
    read_accuracies(nats, "error_loss")
    read_accuracies(nats, "loss", "accuracy")


@pytest.mark.parametrize(
    "text, number",
    [
        ("1,013.01", 1013.01),
        ("12,345,678", 12345678),
        (" 3.5 ", 3.5),
        ("1e6", 1e6),
        ("0,5", np.nan),
        ("1,01", np.nan),
        ("85%", np.nan),
        ("", np.nan),
        (None, np.nan),
    ],
)
def test_commas_group_thousands_and_nothing_else(text, number):
    found = columns.numbers(pd.Series([text, "1"], dtype=object))[0]
    np.testing.assert_equal(found, number)


def test_what_cannot_be_used_is_listed_with_its_line():
    frame = pd.concat([make_frame()] * 2, ignore_index=True).astype(object)
    frame.loc[0, "err"] = np.nan
    frame.loc[1, "top1"] = "n/a"
    frame.loc[2, "net"] = None
    frame.loc[7, "err"] = 0.31
    frame.loc[6, "k"] = 2.5
    made = table.from_frame(frame, names())
    assert [(p.row, p.what, p.reason) for p in made.problems] == [
        (2, "a, x, 1-shot", "no err"),
        (3, "b, x, 1-shot", 'top1 is "n/a", not a number'),
        (4, "x, 1-shot", "no net"),
        (8, "c, x", "k: no count"),
        (9, "d, y, 5-shot", "repeats row 5 with other numbers"),
    ]
    assert len(made.points) == 3
    assert made.problem_frame()["row"].tolist() == [2, 3, 4, 8, 9]
    assert "3 points: 3 models, 2 tasks; 5 left out." in made.summary()
    assert "left out: 2: a, x, 1-shot: no err" in made.summary()


def test_what_is_kept_tells_points_apart():
    frame = pd.concat([make_frame()] * 2, ignore_index=True)
    frame["decay"] = [0.0] * 4 + [0.1] * 4
    repeats = table.from_frame(frame, names()).problems
    assert [p.reason for p in repeats] == [
        f"repeats row {i}" for i in range(2, 6)
    ]
    made = table.from_frame(frame, names(keep=("decay",)))
    assert made.problems == () and made.points["decay"].tolist()[-1] == 0.1


def test_the_order_of_rows_does_not_matter():
    frame = make_frame()
    one = table.from_frame(frame, names()).points
    other = table.from_frame(frame[::-1], names()).points
    pd.testing.assert_frame_equal(
        one, other.sort_values("model", ignore_index=True)
    )


def test_a_wide_table_has_a_task_per_column():
    frame = make_frame(v2=[30, 40, 50, 60], sketch_err=[0.9, 0.8, None, 0.6])
    made = table.from_frame(
        frame, names(task=None, downstream=("v2", "sketch_err"))
    )
    wide = made.points.pivot(
        index="model", columns="task", values="downstream_accuracy"
    )
    np.testing.assert_allclose(wide["v2"], [0.3, 0.4, 0.5, 0.6])
    np.testing.assert_allclose(wide["sketch_err"], [0.1, 0.2, np.nan, 0.4])
    assert [p.reason for p in made.problems] == ["no sketch_err"]


def test_without_a_model_column_every_row_is_a_model():
    made = table.from_frame(make_frame(), names(model=()))
    assert made.points["model"].tolist() == [f"row {i}" for i in range(2, 6)]


def test_tables_are_put_together_once():
    one = table.from_frame(make_frame(), names(task=None))
    other = table.from_frame(
        make_frame(v2=[1, 2, 3, 4]), names(task=None, downstream=("v2",))
    )
    both = table.concat([one, other])
    assert both.points["task"].tolist() == ["err"] * 4 + ["v2"] * 4
    with pytest.raises(ValueError, match="more than one table.*a, err"):
        table.concat([one, one])


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(upstream="top_1"), 'no column "top_1". Did you mean "top1"'),
        (dict(model=("net", "size")), 'model: there is no column "size"'),
        (dict(downstream=()), "downstream must name a column"),
        (dict(downstream=("err", "top1")), "a column of tasks or a column per"),
        (dict(downstream=("net",)), "None of the 4 points.*not a number"),
    ],
)
def test_slips_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        table.from_frame(make_frame(), names(**changes))


def test_a_kept_column_cannot_take_a_name_of_the_table():
    frame = make_frame(family="x")
    with pytest.raises(ValueError, match='keep: "family"'):
        table.from_frame(frame, names(keep=("family",)))


def test_a_table_without_rows_says_so():
    frame = pd.DataFrame({"name": [], "up": [], "down": []})
    with pytest.raises(ValueError, match="The table has no rows"):
        table.from_frame(frame, Columns(upstream="up", downstream=("down",)))


def test_fractions_among_percent_are_mentioned():
    read = read_accuracies(pd.Series([0.6, 70, 75, 80, 0.84]), "top1")
    assert read.values.tolist() == [0.006, 0.7, 0.75, 0.8, 0.0084]
    assert (
        "2 values are at most 1, and taken as percent, too" in read.meaning.note
    )


def test_columns_of_different_units_are_told_aloud():
    frame = make_frame(v2=[30, 40, 50, 60])
    given = names(task=None, downstream=("v2", "err"))
    warning = (
        "WARNING: v2 taken as percent, but top1, err as fractions. If that is "
        "wrong, one side is 100 times too large: say --upstream-unit and "
        "--downstream-unit"
    )
    assert warning in table.from_frame(frame, given).summary()
    frame["top1"] *= 100
    # As much as one can say, if the downstream columns are of two units.
    told = dataclasses.replace(given, upstream_unit="percent")
    notes = table.from_frame(frame, told).notes
    assert any(n.startswith("WARNING: top1, v2 taken as") for n in notes)
    told = names(
        task=None,
        downstream=("err",),
        upstream_unit="percent",
        downstream_unit="fraction",
    )
    assert "WARNING" not in table.from_frame(frame, told).summary()
