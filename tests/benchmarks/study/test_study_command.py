"""The sub-command: arguments, and what stands in the way of a start."""

import argparse
import json

import pandas as pd
import pytest

from bit_keras.benchmarks.study import command, report
from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.settings import Study


def parse(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.json"
    task = {"name": "d", "dataset": "digits", "train": "train", "test": "test"}
    path.write_text(json.dumps([task]))
    return str(path)


@pytest.mark.parametrize(
    "words, message",
    [
        ("run --grid mini2", 'no grid "mini2". Did you mean "mini"?'),
        ("run --shots 1,x", "--shots takes positive whole numbers"),
        ("run --seeds 0", "--seeds must be >= 1; got 0"),
        ("plan --threads 0", "--threads must be >= 1; got 0"),
        ("plan --tasks nothing", 'there is no task or group "nothing"'),
        ("run --data-dir /nowhere", 'there is no folder "/nowhere"'),
        ("run --tasks-file /nowhere", 'there is no file "/nowhere"'),
        ("run --engine dask", "--engine dask needs --address"),
        ("run --jobs 0", "--jobs must be >= 1; got 0"),
        ("status", "there is no study in"),
        ("report", "there is no study in"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(words, message, tmp_path):
    args = parse(*words.split(), "--out", str(tmp_path / "out"))
    with pytest.raises((ValueError, OSError)) as error:
        command.check(args)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_study_is_made_before_its_first_job(tasks, tmp_path, monkeypatch):
    from bit_keras.benchmarks.study import drive

    seen = []

    def run(study, workers, threads, retry_failed, say):
        seen.append((study.names(), workers, threads, retry_failed))
        return 0

    monkeypatch.setattr(drive, "run", run)
    args = parse(
        *("run", "--grid", "micro", "--tasks-file", tasks, "--shots", "5,1"),
        *("--jobs", "2", "--threads", "3", "--data-dir", str(tmp_path)),
        *("--out", str(tmp_path / "out"), "--retry-failed"),
    )
    command.check(args)
    assert command.run(args) == 0
    names = ("bit_nano-data30", "bit_nano-data100")
    assert seen == [(names, 2, 3, True)]
    study = Study(tmp_path / "out")
    assert study.settings.shots == (1, 5)
    assert [task.name for task in study.tasks(None)] == ["d"]
    assert study.recipe(names[0]).data.data_dir == str(tmp_path)


def test_what_is_not_said_is_as_it_was(tasks, tmp_path, monkeypatch):
    from bit_keras.benchmarks.study import drive

    monkeypatch.setattr(drive, "run", lambda *arguments: 0)
    out = ("--out", str(tmp_path / "out"))
    said = (
        *("--grid", "micro", "--tasks-file", tasks, "--shots", "1"),
        *("--seeds", "2", "--layers", "--data-dir", str(tmp_path)),
    )
    command.run(parse("run", *said, *out))
    files = sorted((tmp_path / "out").rglob("*.json"))
    before = [path.read_text() for path in files]
    args = parse("run", *out)
    command.check(args)
    assert command.run(args) == 0
    assert sorted((tmp_path / "out").rglob("*.json")) == files
    assert [path.read_text() for path in files] == before
    # What is said otherwise is refused.
    with pytest.raises(ValueError, match=r"shots: \(1,\) there, \(5,\) here"):
        command.run(parse("run", "--shots", "5", *out))


def test_without_its_tasks_no_study_begins(tmp_path):
    args = parse(
        *("run", "--grid", "micro", "--data-dir", str(tmp_path)),
        *("--out", str(tmp_path / "out")),
    )
    command.check(args)
    with pytest.raises(FileNotFoundError, match="none of the tasks"):
        command.run(args)
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_not_there_stops_it_before_the_first_training(
    tmp_path,
):
    path = tmp_path / "tasks.json"
    task = {"name": "d", "dataset": "digits", "train": "train", "test": "tset"}
    path.write_text(json.dumps([task]))
    args = parse(
        *("run", "--grid", "micro", "--tasks-file", str(path)),
        *("--out", str(tmp_path / "out")),
    )
    command.check(args)
    with pytest.raises(ValueError, match='^task d: .*"tset"'):
        command.run(args)
    # The same folder takes the tasks-file when it is repaired.
    assert not (tmp_path / "out").exists()


def test_failed_jobs_are_not_passed_over(tasks, tmp_path, monkeypatch):
    from bit_keras.benchmarks import results, saturation_command
    from bit_keras.benchmarks.study import drive

    monkeypatch.setattr(drive, "run", lambda *arguments: 0)
    out = tmp_path / "out"
    given = ("--grid", "micro", "--tasks-file", tasks, "--out", str(out))
    command.run(parse("run", *given))
    study = Study(out)
    first = study.job(study.names()[0])
    states.write(first, states.State(phase="failed", reason="no disk"))
    row = dict.fromkeys(report._COLUMNS, "") | {
        "benchmark": "upstream",
        "model": "bit_nano@5",
        "details": {"step": 5},
        "value": 0.5,
    }
    frame = pd.DataFrame([row])
    monkeypatch.setattr(results, "load", lambda paths: frame)
    monkeypatch.setattr(saturation_command, "run", lambda args: 0)
    said = []
    assert report.write(study, said.append) == 0
    assert any("failed" in line and "no disk" in line for line in said)
    assert any("study run --retry-failed" in line for line in said)
    assert said[-1] == "warning: 2 of 2 jobs are not done"


def test_a_report_before_any_result_says_so(tmp_path):
    (tmp_path / "jobs").mkdir()
    with pytest.raises(FileNotFoundError, match="no job has measured anything"):
        report.write(Study(tmp_path), print)


def test_status_is_printed(tasks, tmp_path, monkeypatch, capsys):
    from bit_keras.benchmarks.study import drive

    monkeypatch.setattr(drive, "run", lambda *arguments: 0)
    out = ("--out", str(tmp_path / "out"))
    command.run(parse("run", "--grid", "micro", "--tasks-file", tasks, *out))
    assert command.run(parse("status", *out)) == 0
    assert capsys.readouterr().out == "2 jobs: 2 pending\n"
