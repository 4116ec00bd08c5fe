"""What a trained job measures: its rows, and what the analysis reads."""

import dataclasses
import json

import pandas as pd
import pytest

from bit_keras import train
from bit_keras.benchmarks import results
from bit_keras.benchmarks.saturation import reading
from bit_keras.benchmarks.study import __main__ as command
from bit_keras.benchmarks.study import report
from bit_keras.benchmarks.study.measure import measure
from bit_keras.benchmarks.study.settings import Settings, Study
from bit_keras.recipe import override
from bit_keras.recipes import study as grids

TASK = {"name": "d", "dataset": "digits", "train": "train", "test": "test"}
# 2 checkpoints: upstream; pre_logits at both, and 7 more layers at the last.
UPSTREAM, PROBES, LAYERS = 2, 2 * 2 * 3, 7 * 2 * 3


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "tasks.json").write_text(json.dumps([TASK]))
    made = Study(folder / "out")
    recipe = override(grids.micro()[1], "optimizer.weight_decay=0.5")
    head = dataclasses.replace(
        recipe.optimizer, head_weight_decay_multiplier=4.0
    )
    recipe = dataclasses.replace(recipe, name="mine", optimizer=head)
    settings = Settings(grid="mine", shots=(1, 5), layers=True)
    made.create(settings, (recipe,), str(folder / "tasks.json"))
    job = made.job("mine")
    given = ["--recipe", str(job / "recipe.json"), "--workdir"]
    assert train.main([*given, str(job / "run")]) == 0
    assert command.main([str(job)]) == 0
    return made


@pytest.fixture
def rows(study):
    return results.ResultsFile(study.job("mine") / "results.jsonl").rows()


def test_every_number_has_one_row(rows):
    assert len(rows) == UPSTREAM + PROBES + LAYERS
    assert len({row.config_hash for row in rows}) == len(rows)


def test_the_upstream_row_is_what_the_training_measured(study, rows):
    upstream = [row for row in rows if row.benchmark == "upstream"]
    lines = (study.job("mine") / "run/metrics.jsonl").read_text().splitlines()
    evals = [r for r in map(json.loads, lines) if r["kind"] == "eval"]
    assert [row.value for row in upstream] == [r["top1"] for r in evals]
    assert [row.model for row in upstream] == ["mine@10", "mine@20"]
    last = upstream[-1].details
    # digits: 1297 of the 1797 images are for training.
    assert last["data"] == 1297
    assert last["epochs"] == pytest.approx(20 * 32 / 1297)
    assert last["examples_seen"] == 640
    assert (last["family"], last["network"]) == ("bit", "bit_nano")
    assert last["head_weight_decay"] == 2.0


def test_each_model_has_its_downstream_rows(rows):
    upstream = {r.model_sha256 for r in rows if r.benchmark == "upstream"}
    downstream = {r.model_sha256 for r in rows if r.benchmark == "fewshot"}
    assert upstream == downstream and len(upstream) == 2


def test_features_do_not_stay(study):
    assert not (study.job("mine") / "features").exists()


def test_the_analysis_reads_them(study):
    frame = results.load([study.path / "jobs"])
    points = reading.from_results(frame).points
    assert len(points) == 2 * 2
    assert set(points["size"]) == {frame["details"].iloc[0]["size"]}
    assert set(points["head_weight_decay"]) == {2.0}
    layers = reading.from_results(frame, endpoint=None).points
    assert len(layers) == 2 * (2 + 7)


def test_checkpoints_are_a_table(study):
    table = report.checkpoints(results.load([study.path / "jobs"]))
    assert table["job"].tolist() == ["mine", "mine"]
    assert table["step"].tolist() == [10, 20]


def test_a_grid_of_two_upstream_sets_has_no_one_law(study, monkeypatch):
    frame = results.load([study.path / "jobs"])
    other = frame.assign(
        model="other@10",
        model_sha256="other " + frame["model_sha256"],
        upstream="stripes",
        task=frame["task"].where(frame["benchmark"] == "fewshot", "stripes/v"),
    )
    both = pd.concat([frame, other], ignore_index=True)
    monkeypatch.setattr(results, "load", lambda paths: both)
    with pytest.raises(ValueError, match='task: "[^"]+", "stripes/v"'):
        report.write(study, print)


def test_what_is_missing_is_measured_and_nothing_else(study, rows):
    path = study.job("mine") / "results.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    # As killed in the second checkpoint, in the middle of a line.
    kept = lines[: 1 + PROBES // 2]
    path.write_text("".join(kept) + lines[len(kept)][:40])
    said = []
    with pytest.warns(UserWarning, match="the last line is incomplete"):
        assert measure(study.job("mine"), said.append) == []
    again = results.ResultsFile(path).rows()
    assert path.read_text().startswith("".join(kept))
    assert [r.config_hash for r in again] == [r.config_hash for r in rows]
    assert [r.value for r in again] == [r.value for r in rows]
    assert "d: measured already" in said


def test_a_folder_that_is_no_job_is_refused(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 2
    assert "give the folder of a job" in capsys.readouterr().err
