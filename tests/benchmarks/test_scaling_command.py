import argparse

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks import scaling_command, scaling_panels
from bit_keras.benchmarks.saturation import scaling
from bit_keras.benchmarks.saturation.curves import from_frame
from bit_keras.benchmarks.saturation.scaling import ESTIMATORS

X = np.geomspace(1e6, 1e9, 20)


def points():
    parts = [
        pd.DataFrame(
            {
                "Model": model,
                "Task": task,
                "Seen Examples": X,
                "Loss": 20 * X**slope + floor,
                "Training": (X < 1e8).astype(int),
            }
        )
        for model, slope in (("r50", -0.25), ("r101", -0.3))
        for task, floor in (("dtd", 0.1), ("pets", 0.0))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def parse(tmp_path):
    """Returns a function that parses arguments; the table exists."""
    table = tmp_path / "points.csv"
    points().to_csv(table, index=False)
    given = {
        "results": str(table),
        "x": "Seen Examples",
        "y": "Loss",
        "curve": "Model,Task",
        "fit": "Training",
        "out": str(tmp_path / "out"),
    }

    def parse(**changes):
        parser = argparse.ArgumentParser()
        scaling_command.add_arguments(parser)
        argv = []
        for name, value in (given | changes).items():
            if value is not None:
                argv += [f"--{name.replace('_', '-')}", str(value)]
        args = parser.parse_args(argv)
        scaling_command.check(args)
        return args

    return parse


def test_a_table_becomes_fits_and_a_report(parse, tmp_path, capsys):
    assert scaling_command.run(parse()) == 0
    made = pd.read_csv(tmp_path / "out" / "scaling.csv")
    assert len(made) == 4 * len(ESTIMATORS)
    exact = made[(made["Task"] == "dtd") & (made["estimator"] == "M2")]
    assert (exact["rmse"] < 1e-4).all()
    assert np.allclose(exact["e_inf"], 0.1, atol=1e-4)
    assert (made["n_fit"] == (X < 1e8).sum()).all()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Scaling of r101" in page
    said = capsys.readouterr()
    assert said.out.split()[:5] == "Model Task n_fit n_extrapolate M1".split()
    assert "median_rmse" in said.out
    assert "error in fractions" in said.err
    assert "4/4 curves" in said.err
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_fit_below_is_another_way_to_say_it(parse, tmp_path):
    frame = points().query("Task == 'dtd' and Model == 'r50'")
    frame.to_csv(tmp_path / "one.csv", index=False)
    args = parse(results=tmp_path / "one.csv", fit=None, fit_below=1e8)
    assert scaling_command.run(args) == 0
    made = pd.read_csv(tmp_path / "out" / "scaling.csv")
    assert set(made["n_fit"]) == {int(frame["Training"].sum())}
    assert set(made["n_extrapolate"]) == {int((1 - frame["Training"]).sum())}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": "Seen"}, '--x: there is no column "Seen".*Columns: Model'),
        ({"y": "Los"}, 'column "Los". Did you mean "Loss"'),
        ({"curve": "Model,Tasks"}, 'column "Tasks". Did you mean "Task"'),
        ({"curve": ","}, "--curve must name a column"),
        ({"fit": "training"}, 'Did you mean "Training"'),
    ],
)
def test_unknown_columns_are_named_before_anything_runs(
    parse, changes, message
):
    with pytest.raises(ValueError, match=message):
        parse(**changes)


@pytest.mark.parametrize(
    "name", ["alpha", "c", "a", "converged", "best", "note", "n_fit", "M1"]
)
def test_names_of_results_are_no_names_of_curves(parse, tmp_path, name):
    points().rename(columns={"Task": name}).to_csv(tmp_path / "own.csv")
    args = {"results": tmp_path / "own.csv", "curve": f"Model,{name}"}
    with pytest.raises(ValueError, match=f'curve: "{name}" is the name of a'):
        parse(**args)
    assert not (tmp_path / "out").exists()


def test_files_are_checked_before_anything_runs(parse, tmp_path):
    with pytest.raises(FileNotFoundError, match='no file ".*none.csv"'):
        parse(results=tmp_path / "none.csv")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match="--out .*file is a file"):
        parse(out=file)
    file.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(ValueError, match="file is not UTF-8"):
        parse(results=file)


def test_fit_and_fit_below_exclude_each_other(parse, capsys):
    with pytest.raises(SystemExit):
        parse(fit_below=1e8)
    assert "not allowed with" in capsys.readouterr().err


@pytest.fixture(scope="module")
def drawn():
    """Panels of four curves, with what they are made of."""
    found = from_frame(
        points(),
        x="Seen Examples",
        y="Loss",
        curve=["Model", "Task"],
        fit="Training",
    )
    fits, table = scaling.analyse(found)
    return fits, scaling_panels.panels(fits, table, "Seen Examples", "Loss")


def test_a_panel_per_first_name(drawn):
    _, panels = drawn
    assert [panel.title for panel in panels] == [
        "Scaling laws beyond the fit",
        "Scaling of r101",
        "Scaling of r50",
    ]
    assert set(panels[0].table["estimator"]) == set(ESTIMATORS)
    assert len(panels[0].more[0].frame) == 4


def test_a_diagram_shows_points_and_laws(drawn):
    fits, panels = drawn
    axes = panels[2].plot.axes[0]
    assert axes.title == "r50 dtd" and axes.x_log and axes.y_log
    by_label = {series.label: series for series in axes.series}
    assert list(by_label) == ["fitted", "not fitted", *ESTIMATORS]
    assert by_label["fitted"].x.max() < 1e8 <= by_label["not fitted"].x.min()
    line = by_label["M4"]
    expected = fits[0].laws["M4"].predict(line.x)
    np.testing.assert_array_equal(line.y, expected)
    assert line.x[[0, -1]] == pytest.approx([1e6, 1e9])


def test_curves_of_one_name_share_a_panel():
    frame = points().query("Task == 'pets'")
    found = from_frame(
        frame, x="Seen Examples", y="Loss", curve=["Model"], fit_below=2e6
    )
    fits, table = scaling.analyse(found)
    panels = scaling_panels.panels(fits, table, "x", "Loss")
    assert [panel.title for panel in panels[1:]] == ["Scaling curves"]
    assert len(panels[1].plot.axes) == 2


def test_nothing_to_fit_on_is_an_error(parse):
    with pytest.raises(ValueError, match="--fit-below is below all of them"):
        scaling_command.run(parse(fit=None, fit_below="1000"))
