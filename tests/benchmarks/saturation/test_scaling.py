import time

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation import scaling
from bit_keras.benchmarks.saturation.curves import Curve, from_frame
from bit_keras.benchmarks.saturation.estimators import PowerLaw

X = np.geomspace(1e6, 1e9, 40)


def curve(name="r50", error=None, fitted=None):
    error = 30 * X**-0.3 + 0.1 if error is None else error
    fitted = X < 1e8 if fitted is None else fitted
    return Curve((name,), X, error, fitted)


def rows(**columns):
    return pd.DataFrame(
        {"x": [1, 2, 4], "error": [0.8, 0.6, 0.5], "m": "a", "fit": [1, 1, 0]}
        | columns
    )


def read(frame, **more):
    given = {"x": "x", "y": "error", "curve": ["m"], "fit": "fit"} | more
    return from_frame(frame, **given)


def test_the_error_is_in_natural_logarithms():
    observed = np.array([0.1, 0.2, 0.4])
    rmse, stderr = scaling.log_rmse(observed * np.exp([0.3, -0.1, 0]), observed)
    squares = np.array([0.09, 0.01, 0])
    mean = squares.mean()
    assert rmse == pytest.approx(np.sqrt(mean))
    wider = np.sqrt(mean + squares.std() / np.sqrt(3))
    assert stderr == pytest.approx(wider - np.sqrt(mean))


def test_only_points_for_the_fit_are_fitted():
    spoilt = curve().error.copy()
    spoilt[X >= 1e8] = 0.9
    before, after = (
        scaling.fit_curve(curve()),
        scaling.fit_curve(curve(error=spoilt)),
    )
    assert before.laws == after.laws
    assert before.score("M2")[0] < 1e-3 < after.score("M2")[0]


def test_every_estimator_is_fitted_and_compared():
    fits = scaling.fit_curves([curve("a"), curve("b", error=3 * X**-0.1)])
    frame = scaling.table(fits, ["model"])
    assert list(frame["estimator"]) == ["M1", "M2", "M3", "M4", "BNSL"] * 2
    assert set(frame["n_fit"] + frame["n_extrapolate"]) == {len(X)}
    first = frame[frame["model"] == "a"].set_index("estimator")
    assert first.loc["M2", "rmse"] < 1e-5
    assert first.loc["M2", "e_inf"] == pytest.approx(0.1, abs=1e-6)
    assert first.loc["M1", "rmse"] > 0.05
    counts = scaling.summary(frame).set_index("estimator")
    assert (counts["curves"] == 2).all()
    assert counts.loc["M1", "best"] <= 1
    assert list(frame.columns[-2:]) == ["converged", "note"]


def test_no_column_of_the_results_is_left_to_be_overwritten():
    (fits,) = scaling.fit_curves([curve()])
    frame = scaling.table([fits], ["model"])
    for name in frame.columns.drop("model"):
        with pytest.raises(ValueError, match=f'"{name}" is the name'):
            scaling.check_names(["model", name])
    scaling.check_names(["model", "Alpha", "task"])


def test_equal_laws_share_the_first_place():
    laws = {"M1": PowerLaw(beta=30.0, c=-0.3), "M2": PowerLaw(beta=30, c=-0.3)}
    fits = scaling.CurveFits(curve(), laws, {"M3": "no"})
    frame = scaling.table([fits], ["model"]).set_index("estimator")
    assert frame["best"].tolist() == [True, True, False, False, False]
    assert frame.loc["M3", "note"] == "no"


def test_a_curve_with_few_points_says_so():
    fits = scaling.fit_curve(curve(fitted=X < X[4]))
    assert list(fits.laws) == ["M1", "M2", "M3"]
    frame = scaling.table([fits], ["model"]).set_index("estimator")
    assert np.isnan(frame.loc["M4", "rmse"])
    assert "5 parameters needs at least 6" in frame.loc["M4", "note"]
    assert frame.loc["M1", "note"] == ""


def test_a_curve_without_points_ahead_has_no_score():
    fits = scaling.fit_curve(curve(fitted=np.ones(len(X), bool)))
    frame = scaling.table([fits], ["model"])
    assert frame["rmse"].isna().all()
    assert not frame["best"].any()
    assert scaling.summary(frame).empty


def test_medians_are_over_the_same_curves():
    scores = {"M1": [0.1, 0.3, 0.5, 0.9], "M4": [0.2, 0.4, 0.9, np.nan]}
    frame = pd.DataFrame(
        [
            {"model": model, "estimator": name, "rmse": rmse}
            for model, values in zip(
                "abcd", zip(*scores.values(), strict=True), strict=True
            )
            for name, rmse in zip(scores, values, strict=True)
        ]
    ).assign(best=False)
    counts = scaling.summary(frame).set_index("estimator")
    assert counts["curves"].to_dict() == {"M1": 4, "M4": 3}
    assert counts["compared"].tolist() == [3, 3]
    # Over all of its curves, that of M1 is 0.4, too.
    assert counts["median_rmse"].to_dict() == {"M1": 0.3, "M4": 0.4}
    few = scaling.summary(frame[frame["model"] == "d"])
    assert few["estimator"].tolist() == ["M1"]
    apart = frame[(frame["model"] == "d") | (frame["estimator"] == "M4")]
    assert scaling.summary(apart)["median_rmse"].isna().all()


def test_progress_is_told_after_each_curve():
    told = []
    few = Curve(("a",), X[:3], X[:3] ** -0.1, np.ones(3, bool))
    scaling.fit_curves([few, few], lambda fits: told.append(fits.curve.name))
    assert told == [("a",), ("a",)]


def test_wide_has_a_row_per_curve_in_order():
    fits = scaling.fit_curves([curve("b"), curve("a")])
    frame = scaling.table(fits, ["model"])
    made = scaling.wide(frame, ["model"])
    assert made["model"].tolist() == ["b", "a"]
    expected = frame[frame["estimator"] == "M3"]["rmse"]
    assert made["M3"].tolist() == expected.tolist()


def test_a_table_is_read():
    (one,) = read(rows()).curves
    assert one.name == ("a",)
    assert one.x.tolist() == [1, 2, 4]
    np.testing.assert_allclose(one.error, [0.8, 0.6, 0.5])
    assert one.fitted.tolist() == [True, True, False]


@pytest.mark.parametrize("flags", [["true", "True", "false"], [1.0, 1.0, 0.0]])
def test_other_ways_to_say_yes(flags):
    (one,) = read(rows(fit=flags)).curves
    assert one.fitted.tolist() == [True, True, False]


def test_percent_and_accuracy_are_errors_as_well():
    percent = read(rows(error=[80.0, 60.0, 50.0]))
    np.testing.assert_allclose(percent.curves[0].error, [0.8, 0.6, 0.5])
    assert "percent" in percent.notes[0]
    accuracy = read(rows(top1=[0.2, 0.4, 0.5]), y="top1")
    np.testing.assert_allclose(accuracy.curves[0].error, [0.8, 0.6, 0.5])
    assert "accuracy" in accuracy.notes[0]
    # Whatever its name says, or one large value.
    told = read(rows(error=[20, 40, 0.5]), y_is="accuracy", y_unit="percent")
    np.testing.assert_allclose(told.curves[0].error, [0.8, 0.6, 0.995])


def test_a_cross_entropy_has_no_curves():
    frame = rows(loss=[4.0, 2.0, 0.5])
    with pytest.raises(ValueError, match="loss: 2 of 3 .*no error rate.*--y-u"):
        read(frame, y="loss")
    percent = read(frame, y="loss", y_unit="percent")
    np.testing.assert_allclose(percent.curves[0].error, [0.04, 0.02, 0.005])


def test_rows_without_numbers_are_counted():
    frame = pd.DataFrame(
        {
            "x": [1, 2, -1, 4, 5],
            "error": [0.8, np.nan, 0.5, 0.0, 0.4],
            "fit": [1, 1, 1, 0, 0],
            "m": ["a", "a", "a", "a", None],
        }
    )
    found = read(frame)
    assert found.curves[0].x.tolist() == [1]
    assert found.notes[1].startswith("4 of 5 rows left out")


def test_points_that_repeat_others_are_told():
    frame = rows()
    assert len(read(frame).notes) == 1
    found = read(pd.concat([frame, frame[:2]]))
    assert found.notes[1].startswith("2 points have the same m, x as another")


def test_fit_below_takes_the_place_of_a_column():
    (one,) = read(rows(), fit=None, fit_below=2).curves
    assert one.fitted.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"x": "X"}, 'x: there is no column "X".*Columns: x, error, m, fit'),
        ({"curve": ["mm"]}, 'curve: there is no column "mm"'),
        ({"fit": "x"}, 'column "x" must hold 1 or true.*got "2" in 2 rows'),
        ({"fit_below": 3.0}, "fit or fit_below, one of the two"),
        ({"fit": None}, "fit or fit_below, one of the two"),
    ],
)
def test_mistakes_are_named(more, message):
    with pytest.raises(ValueError, match=message):
        read(rows(), **more)


def test_a_table_without_a_usable_row():
    with pytest.raises(ValueError, match="No row can be used.*no error"):
        read(rows(error=np.nan))
    with pytest.raises(ValueError, match="has no rows"):
        read(rows().iloc[:0])


@pytest.mark.slow
def test_all_72_curves_in_two_minutes(shared):
    frame = pd.read_csv(shared / "data" / "tables" / "nsl_vision.csv")
    found = from_frame(
        frame,
        x="Seen Examples",
        y="Loss",
        curve=["Model", "Task"],
        fit="Training",
    )
    assert len(found.curves) == 72
    assert sum(len(curve.x) for curve in found.curves) == len(frame) == 18883
    before = time.process_time()
    _, table = scaling.analyse(found)
    assert time.process_time() - before < 120
    assert table["rmse"].notna().all()
    # No number depends on where its fit was stopped.
    assert scaling.still_moving(table) == []
    counts = scaling.summary(table).set_index("estimator")
    medians = counts["median_rmse"]
    assert medians["M4"] < medians["M3"] < medians["M2"] <= medians["M1"]
