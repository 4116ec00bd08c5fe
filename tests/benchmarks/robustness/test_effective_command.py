"""Effective robustness, from tables and own rows to new rows and a panel."""

import argparse

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks import results
from bit_keras.benchmarks.robustness import (
    effective,
    effective_command,
    effective_panels,
    panels,
)
from bit_keras.benchmarks.robustness.rows import Accuracy, drop_row

BIT = "resnetv2_*_bit.goog_in21k_ft_in1k"
FIELDS = {
    "model": "mine/1",
    "model_sha256": "0",
    "upstream": None,
    "group": None,
    "preprocessing": "none",
}


def logit(p):
    return np.log(p / (1 - p))


@pytest.fixture
def command(shared, tmp_path):
    """Runs the sub-command on timm's tables; returns its rows by model."""

    def run(*words, pair=("imagenet", "sketch"), out="out"):
        parser = argparse.ArgumentParser()
        effective_command.add_arguments(parser)
        one, two = (
            f"{shared}/data/tables/timm_results-{name}.csv" for name in pair
        )
        args = parser.parse_args(
            [
                f"--reference-id={one}",
                f"--reference-shifted={two}",
                f"--out={tmp_path / out}",
                *words,
            ]
        )
        effective_command.check(args)
        assert effective_command.run(args) == 0
        return results.load([tmp_path / out])

    return run


def measure(folder, source, shifted, protocol="full", n=1000):
    """Writes what `robustness shift` would, of accuracies in thousandths."""

    def made(task, hits):
        right = np.arange(n) < hits * n
        return Accuracy(task, protocol, right, {})

    row = drop_row(
        made("imagenet", source), made("imagenet -> sketch", shifted), **FIELDS
    )
    results.ResultsFile(folder / results.FILE_NAME).append([row])


def test_models_of_the_tables_are_judged_by_all_others(command, shared, capsys):
    frame = command(f"--models={BIT}")
    judged = frame[frame["metric"] == "effective_robustness"]
    assert len(judged) == 6
    table = [
        pd.read_csv(f"{shared}/data/tables/timm_results-{name}.csv").set_index(
            ["model", "img_size"]
        )["top1"]
        / 100
        for name in ("imagenet", "sketch")
    ]
    both = pd.concat(table, axis=1, join="inner", keys=["x", "y"]).reset_index()
    bit = both["model"].str.fullmatch(BIT.replace("*", ".*"))
    others = both[~bit]
    slope, intercept = np.polyfit(logit(others["x"]), logit(others["y"]), 1)
    for row in both[bit].itertuples():
        beta = 1 / (1 + np.exp(-(slope * logit(row.x) + intercept)))
        name = f"{row.model}@{row.img_size}"
        found = judged.set_index("model").loc[name]
        assert found["value"] == pytest.approx(row.y - beta)
        assert found["details"]["expected"] == pytest.approx(beta)
    line = frame[frame["metric"] == "reference_r2"].iloc[0]
    assert line["n"] == 1550
    out = capsys.readouterr()
    assert "1550 reference models" in out.err
    assert out.out.count("goog_in21k_ft_in1k@") == 6


def test_accuracies_of_zero_are_left_out_and_said_so(command, capsys, tmp_path):
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    names, x = list("abcde"), [50, 60, 70, 80, 90]
    pd.DataFrame({"model": names, "top1": x}).to_csv(one, index=False)
    y = [0, 20, 30, 40, 50]
    pd.DataFrame({"model": names, "top1": y}).to_csv(two, index=False)
    words = (f"--reference-id={one}", f"--reference-shifted={two}")
    assert command(*words).loc[0, "n"] == 4
    err = capsys.readouterr().err
    assert "1 reference models are left out" in err and ": a\n" in err
    linear = command(*words, "--scale=linear", out="linear")
    assert linear.loc[0, "n"] == 5
    assert linear.loc[0, "details"]["slope"] == pytest.approx(1.2)


def test_own_models_are_judged_by_what_was_measured(command, tmp_path, capsys):
    measure(tmp_path / "own", 0.8, 0.3)
    frame = command(f"--results={tmp_path / 'own'}")
    row = frame[frame["metric"] == "effective_robustness"].iloc[0]
    line = frame[frame["metric"] == "reference_r2"].iloc[0]["details"]
    y = line["slope"] * logit(0.8) + line["intercept"]
    assert row["value"] == pytest.approx(0.3 - 1 / (1 + np.exp(-y)))
    assert (row["model"], row["task"]) == ("mine/1", "imagenet -> sketch")
    assert row["protocol"] == "effective, logit, full"
    # What the tables are of is for the reader to compare.
    assert line["between"] == "timm_results-imagenet -> timm_results-sketch"
    assert line["between"] in capsys.readouterr().err
    # By sampling anew: the spread of the value over draws of both accuracies.
    rng = np.random.default_rng(0)
    x, drawn = rng.binomial(1000, [[0.8], [0.3]], size=(2, 20_000)) / 1000
    y = line["slope"] * logit(x) + line["intercept"]
    spread = np.std(drawn - 1 / (1 + np.exp(-y)))
    assert row["stderr"] == pytest.approx(spread, rel=0.03)


def test_which_of_several_shifts_must_be_said(command, tmp_path):
    measure(tmp_path / "own", 0.8, 0.3)
    measure(tmp_path / "own", 0.9, 0.4, protocol="restricted")
    words = f"--results={tmp_path / 'own'}"
    with pytest.raises(ValueError, match="--protocol must say.* full, restric"):
        command(words)
    with pytest.raises(ValueError, match='Did you mean "restricted"'):
        command(words, "--protocol=restrict")
    frame = command(words, "--protocol=restricted")
    row = frame[frame["metric"] == "effective_robustness"].iloc[0]
    assert row["details"]["source_accuracy"] == 0.9
    with pytest.raises(ValueError, match='Did you mean "imagenet -> sketch"'):
        command(words, "--task=imagenet -> sketsh")


def test_arguments_without_effect_are_refused(command):
    with pytest.raises(ValueError, match="choose from --results"):
        command("--task=x")
    with pytest.raises(ValueError, match='No model fits "bit_"'):
        command("--models=bit_")
    with pytest.raises(ValueError, match='"top".*Did you mean "top'):
        command("--value-column=top")


def test_the_panel_shows_every_model(command, tmp_path):
    measure(tmp_path / "own", 0.8, 0.3)
    frame = command(f"--models={BIT}", f"--results={tmp_path / 'own'}")
    (panel,) = effective_panels.effective(frame)
    assert "1550 reference models" in panel.text
    table = panel.table.set_index("model")
    assert len(table) == 7 and table.loc["mine/1", "source"] == 0.8
    gap = table["shifted"] - table["expected"] - table["effective"]
    assert gap.abs().max() < 1e-12
    (axes,) = panel.plot.axes
    series = {one.label: one for one in axes.series}
    assert len(series["reference"].x) == 1550
    assert len(series["judged"].x) == 6
    assert list(series["mine/1"].y) == [0.3]
    band = next(one for one in axes.series if one.kind == "band")
    line = next(one for one in axes.series if one.kind == "line")
    assert (np.asarray(band.y) < np.asarray(line.y)).all()
    assert (np.asarray(band.upper) > np.asarray(line.y)).all()
    low = np.interp(0.8, band.x, band.y)
    assert low == pytest.approx(table.loc["mine/1", "low"], abs=1e-4)


def test_each_line_has_the_models_that_it_judged(command):
    command(f"--models={BIT}")
    frame = command(f"--models={BIT}", "--reference=vgg*,resnet*")
    first, second = panels.panels(frame)
    for panel in (first, second):
        (axes,) = panel.plot.axes
        line = next(one for one in axes.series if one.kind == "line")
        expected = np.interp(panel.table["source"], line.x, line.y)
        # As drawn, by 100 points.
        assert abs(expected - panel.table["expected"]).max() < 1e-3
        assert len(panel.table) == 6
    gap = first.table["effective"] - second.table["effective"]
    assert abs(gap).min() > 1e-3


def test_every_scale_can_be_chosen():
    assert effective_command._SCALES == effective.SCALES
