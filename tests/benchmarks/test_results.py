"""Rows on disk and in hand: torn files, repeats, what may be averaged."""

import argparse
import dataclasses
import errno
import json
import math
import os

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks import results, results_command, results_export
from bit_keras.benchmarks.results import ResultsFile, Row, config_hash


def make_row(**fields):
    given = dict(
        benchmark="fewshot",
        model="bit_tiny/1",
        model_sha256="ab12",
        upstream="shapes",
        task="dtd",
        group="natural",
        protocol="big_vision",
        preprocessing="resize 256, crop 224",
        metric="accuracy",
        value=0.5,
        stderr=0.01,
        n=2500,
        shots=5,
        seed=0,
        details={"l2": 1024.0},
        time="2026-01-31T12:00:00+00:00",
    )
    given |= fields
    decides = {k: str(given[k]) for k in ("task", "shots", "seed", "details")}
    return Row(**{"config_hash": config_hash(decides)} | given)


def make_seeds(values, **fields):
    return [make_row(value=v, seed=s, **fields) for s, v in enumerate(values)]


def load(folder, rows):
    ResultsFile(folder / "results.jsonl").append(rows)
    return results.load([folder])


# One row.


def test_a_row_survives_the_disk_bit_for_bit(tmp_path):
    row = make_row(value=0.1 + 0.2, model="<é\u2028\n>", seed=None, shots=None)
    file = ResultsFile(tmp_path / "a" / "results.jsonl")
    file.append([row])
    assert file.rows() == [row]


def test_numpy_numbers_become_plain():
    row = make_row(
        value=np.float32(0.5), n=np.int64(7), details={"l2": np.float64(2)}
    )
    assert type(row.value) is float and type(row.n) is int
    json.dumps(dataclasses.asdict(row))


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"value": math.nan}, "value must be finite"),
        ({"value": np.float32("inf")}, "value must be finite"),
        ({"value": True}, "value must be a number"),
        ({"stderr": math.nan}, "None if unknown"),
        ({"stderr": -0.1}, "stderr must be >= 0"),
        ({"n": 0}, "n must be >= 1; got 0"),
        ({"n": 2.5}, "n must be a whole number"),
        ({"shots": 0}, "shots must be >= 1"),
        ({"task": ""}, "task must be a text that is not empty; got ''"),
        ({"model": None}, "model must be a text"),
        ({"details": [1]}, "details must be a dict"),
        ({"details": {"a": {"b": math.inf}}}, "details.a.b is inf"),
        ({"details": {1: 2}}, "details has a key 1"),
        ({"time": "yesterday"}, "time must be ISO 8601"),
    ],
)
def test_a_wrong_field_is_named(fields, words):
    with pytest.raises(ValueError) as error:
        make_row(**fields)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_config_hash_depends_on_values_only():
    first = config_hash({"l2": 1024, "shots": (1, 5), "x": {"b": 1, "a": 2}})
    again = config_hash(
        {"x": {"a": 2, "b": 1}, "shots": [1, 5.0], "l2": 1024.0}
    )
    assert first == again and len(first) == 16
    assert first != config_hash({"l2": 1024, "shots": [5, 1], "x": {}})
    assert config_hash({"a": True}) != config_hash({"a": 1})
    with pytest.raises(ValueError, match="config.a is"):
        config_hash({"a": object()})


# The file.


def test_a_kill_at_any_byte_loses_only_the_row_being_written(tmp_path):
    whole = ResultsFile(tmp_path / "whole.jsonl")
    rows = make_seeds([0.25, 0.5])
    whole.append(rows)
    data = whole.path.read_bytes()
    first = data.index(b"\n") + 1
    torn = ResultsFile(tmp_path / "torn.jsonl")
    # Every seventh byte of the second row, and each byte near its ends.
    stops = {*range(first, len(data), 7), first + 1, len(data) - 2}
    for stop in sorted(stops - {first}):
        torn.path.write_bytes(data[:stop])
        with pytest.warns(UserWarning, match="incomplete.*left out"):
            assert torn.rows() == rows[:1]
        with pytest.warns(UserWarning, match="incomplete.*cut off"):
            torn.append(rows[1:])
        assert torn.path.read_bytes() == data


def test_a_whole_row_without_its_line_end_is_kept(tmp_path):
    file = ResultsFile(tmp_path / "results.jsonl")
    rows = make_seeds([0.25, 0.5])
    file.append(rows[:1])
    os.truncate(file.path, file.path.stat().st_size - 1)
    assert file.rows() == rows[:1]
    file.append(rows[1:])
    assert file.rows() == rows


def test_a_torn_row_longer_than_what_is_read_at_once(tmp_path):
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append([make_row()])
    size = file.path.stat().st_size
    with open(file.path, "ab") as opened:
        opened.write(b'{"model": "' + b"x" * 2**21)
    with pytest.warns(UserWarning, match="cut off"):
        file.append([])
    assert file.path.stat().st_size == size


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append([make_row()])
    before = file.path.read_bytes()

    def full(opened, data):
        opened.write(data[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results, "_write", full)
        with pytest.raises(OSError, match="No space left.*run the same"):
            file.append([make_row(seed=1)])
    assert file.path.read_bytes() == before


@pytest.mark.parametrize(
    "line, words",
    [
        ("{", "not JSON"),
        ("[1]", "not a row but list"),
        ('{"modle": 1}', 'Did you mean "model"?'),
        ('{"model": "x"}', "missing"),
    ],
)
def test_a_broken_line_is_found(tmp_path, line, words):
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append([make_row()])
    with open(file.path, "a") as opened:
        opened.write(line + "\n")
    with pytest.raises(ValueError) as error:
        results.load([file.path])
    assert words in str(error.value) and "line 2" in str(error.value)


def test_load_reads_folders_at_any_depth_and_each_file_once(tmp_path):
    for name, seed in (("a/b", 0), ("c", 1)):
        path = tmp_path / name / "results.jsonl"
        ResultsFile(path).append([make_row(seed=seed)])
    (tmp_path / "c" / "metrics.jsonl").write_text('{"step": 1}\n')
    paths = [tmp_path, tmp_path / "c", tmp_path / "c" / "results.jsonl"]
    frame = results.load(paths)
    assert sorted(frame["seed"]) == [0, 1]
    assert list(frame.columns) == [f.name for f in dataclasses.fields(Row)]


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results.jsonl in"):
        results.load([tmp_path])
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        results.load([tmp_path / "gone"])


def test_repeats_count_once_with_the_latest(tmp_path):
    row = make_row(value=0.25, time="2026-02-01T00:00:00+00:00")
    earlier = dataclasses.replace(row, value=0.75, time="2026-01-01T00:00:00Z")
    other = dataclasses.replace(row, config_hash="other", seed=1)
    with pytest.warns(UserWarning, match=r"1 rows are repeats.*\(1 came out"):
        frame = load(tmp_path, [row, earlier, other])
    assert frame["value"].tolist() == [0.25, 0.25]
    assert sorted(frame["seed"]) == [0, 1]


# Summaries.


def test_median_mean_and_stderr_go_over_seeds(tmp_path):
    frame = load(
        tmp_path,
        make_seeds([0.1, 0.2, 0.6], shots=1) + make_seeds([0.5], shots=None),
    )
    table = results.summarize(frame).set_index("shots")
    few, full = table.loc[1], table[table.index.isna()].iloc[0]
    assert few["median"] == 0.2 and few["mean"] == pytest.approx(0.3)
    # By hand: deviations -.2, -.1, .3; sqrt(.14 / 2) / sqrt(3).
    assert few["stderr"] == pytest.approx(math.sqrt(0.07 / 3))
    assert few["count"] == 3 and few["n"] == 2500
    assert few["test_stderr"] == 0.01
    assert full["median"] == 0.5 and math.isnan(full["stderr"])


@pytest.mark.parametrize(
    "field, value",
    [
        ("protocol", "vit"),
        ("preprocessing", "resize 64, crop 32"),
        ("metric", "nll"),
        ("endpoint", "block3"),
        ("model_sha256", "cd34"),
        ("task", "pets"),
        ("shots", 10),
        ("n", 100),
        ("benchmark", "vtab"),
    ],
)
def test_what_differs_is_never_averaged(tmp_path, field, value):
    rows = make_seeds([0.1, 0.2])
    rows += [make_row(seed=2, **{field: value})]
    frame = load(tmp_path, rows)
    by = ["model", "upstream"]
    with pytest.raises(ValueError) as error:
        results.summarize(frame, by)
    message = str(error.value)
    assert f"differ in {field}: " in message and str(value) in message
    assert f"--by model,upstream,{field}" in message
    # Both repairs work.
    assert len(results.summarize(frame, [*by, field])) == 2
    kept = results.select(frame, [f"{field}={value}"])
    assert len(results.summarize(kept, by)) == 1


def test_a_seed_measured_twice_is_two_measurements(tmp_path):
    rows = make_seeds([0.1, 0.2]) + make_seeds([0.3, 0.4], details={"l2": 1})
    frame = load(tmp_path, rows)
    with pytest.raises(ValueError, match="details.l2: 1024, 1"):
        results.summarize(frame)
    apart = results.summarize(frame, ["task", "details.l2"])
    assert apart["median"].tolist() == pytest.approx([0.35, 0.15])
    kept = results.select(frame, ["details.l2=1024"])
    assert results.summarize(kept)["median"].tolist() == pytest.approx([0.15])


def test_a_seed_measured_twice_in_the_same_way(tmp_path):
    rows = [make_row(config_hash="x"), make_row(config_hash="y")]
    with pytest.raises(ValueError, match="seed 0 was measured more than once"):
        results.summarize(load(tmp_path, rows))


def test_details_that_change_with_the_seed_are_no_obstacle(tmp_path):
    rows = [make_row(seed=s, details={"seconds": s}) for s in range(3)]
    assert results.summarize(load(tmp_path, rows))["count"].tolist() == [3]


def test_select_takes_either_value_of_one_column_and_all_columns(tmp_path):
    rows = [
        make_row(task=task, shots=shots)
        for task in ("a", "b", "c")
        for shots in (1, None)
    ]
    frame = load(tmp_path, rows)
    kept = results.select(frame, ["task=a", "task=c", "shots=all"])
    assert kept["task"].tolist() == ["a", "c"]
    # Only the first "=" separates.
    with pytest.raises(ValueError, match='task="a=b" matches no row'):
        results.select(frame, ["task=a=b"])


def test_a_checksum_is_known_by_the_digits_that_are_shown(tmp_path):
    sums = ["ab12" * 16, "ab13" * 16]
    rows = [make_row(seed=s, model_sha256=sums[s]) for s in (0, 1)]
    frame = load(tmp_path, rows)
    shown = results_export.cells(frame)["model_sha256"]
    for digits, whole in zip(shown, sums, strict=True):
        chosen = results.select(frame, [f"model_sha256={digits}"])
        assert chosen["model_sha256"].tolist() == [whole]
    with pytest.raises(ValueError, match="matches no row"):
        results.select(frame, ["model_sha256=ab1"])


@pytest.mark.parametrize(
    "where, words",
    [
        ("tsk=dtd", 'no column "tsk". Did you mean "task"?'),
        ("task=dt", 'matches no row. Did you mean "dtd"?'),
        ("details.l3=1", 'Did you mean "details.l2"?'),
        ("dtd", "is not column=value"),
    ],
)
def test_a_wrong_filter_is_explained(tmp_path, where, words):
    with pytest.raises(ValueError) as error:
        results.select(load(tmp_path, [make_row()]), [where])
    assert words in str(error.value)


def test_pivot_keeps_what_is_missing_apart(tmp_path):
    rows = make_seeds([0.1, 0.2, 0.6], task="a", shots=1)
    rows += make_seeds([0.5], task="b", shots=None)
    rows += make_seeds([0.7], task="model", shots=10)
    summary = results.summarize(load(tmp_path, rows))
    wide = results.pivot(summary, "task")
    assert wide.columns.tolist() == ["model", "shots", "a", "b", "model"]
    assert wide["a"].tolist()[0] == 0.2 and wide["a"].isna().sum() == 2
    assert wide["b"].tolist()[2] == 0.5 and pd.isna(wide["shots"][2])
    assert wide["shots"].tolist()[:2] == [1, 10]
    by_shots = results.pivot(summary, "shots")
    assert by_shots.columns.tolist() == ["model", "task", "1", "10", "all"]
    alone = results.pivot(
        results.summarize(load(tmp_path, []), ["task"]), "task"
    )
    assert alone.to_dict("records") == [{"a": 0.2, "b": 0.5, "model": 0.7}]
    with pytest.raises(ValueError, match='Did you mean "task"?'):
        results.pivot(summary, "taks")


def test_pivot_keeps_numbers_of_other_images_apart(tmp_path):
    rows = [
        make_row(value=0.5, n=1880, details={"excluded": 0}),
        make_row(value=0.9, n=100, details={"excluded": 1780}),
    ]
    by = ["model", "task", "shots", "n"]
    wide = results.pivot(results.summarize(load(tmp_path, rows), by), "task")
    found = wide[["n", "dtd"]].to_dict("records")
    assert found == [{"n": 100, "dtd": 0.9}, {"n": 1880, "dtd": 0.5}]


# Files to take away.


def test_csv_and_parquet_hold_every_row_in_full(tmp_path):
    frame = load(tmp_path, make_seeds([1 / 3, 0.2], shots=None, group=None))
    for kind, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        if kind == "parquet":
            pytest.importorskip("pyarrow", reason="needs pyarrow")
        path = tmp_path / f"table.{kind}"
        results_export.replace_file(path, results_export.render(frame, kind))
        back = read(path)
        assert back["value"].tolist() == [1 / 3, 0.2]
        assert back["shots"].isna().all() and back["seed"].tolist() == [0, 1]
        assert json.loads(back["details"][0]) == {"l2": 1024.0}


def test_without_pyarrow_the_repair_is_named(tmp_path, monkeypatch):
    def absent(*args, **options):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        results_export.render(load(tmp_path, [make_row()]), "parquet")


def test_hostile_names_cannot_break_a_table(tmp_path):
    name = "a|b\n<i>\x1b[31m"
    frame = load(tmp_path, [make_row(task=name)])
    summary = results.summarize(frame)
    marked = results_export.markdown(summary)
    assert "a\\|b?&lt;i>?[31m" in marked and len(marked.splitlines()) == 3
    plain = results_export.aligned(summary)
    assert "\x1b" not in plain and len(plain.splitlines()) == 2


# The command.


def command(*words):
    parser = argparse.ArgumentParser()
    results_command.add_arguments(parser)
    return results_command.run(parser.parse_args(list(map(str, words))))


def test_the_command_prints_a_pivot(tmp_path, capsys):
    load(tmp_path, make_seeds([0.1, 0.2, 0.6]) + make_seeds([0.5], task="b"))
    words = ("--by", "model,shots", "--pivot", "task", "--format", "csv")
    assert command(tmp_path, *words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model,shots,b,dtd",
        "bit_tiny/1,5,0.5,0.2",
    ]


def test_the_command_writes_a_file(tmp_path, capsys):
    load(tmp_path, make_seeds([0.1, 0.2], task="a") + [make_row()])
    out = tmp_path / "new" / "table.md"
    words = ("--where", "task=a", "--format", "markdown", "--out", out)
    assert command(tmp_path, *words) == 0
    assert "| bit_tiny/1 | a | 5 | 0.1500 |" in out.read_text()
    assert "dtd" not in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["table.md"]


def test_the_command_passes_warnings_on_in_one_line(tmp_path, capsys):
    load(tmp_path, [make_row()])
    with open(tmp_path / "results.jsonl", "a") as opened:
        opened.write('{"half')
    assert command(tmp_path) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("warning: ") and shown.err.count("\n") == 1
    assert "0.5000" in shown.out


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--format", "parquet"], 2, "needs --out"),
        (["--where", "task=dt"], 1, 'Did you mean "dtd"?'),
        (["--by", "modle"], 1, 'Did you mean "model"?'),
        (["--by", "value"], 1, "is what is summarized"),
        (["--by", ","], 1, "by must name a column"),
        (["--by", "model,shots"], 1, "differ in task: a, dtd"),
    ],
)
def test_the_command_explains_a_mistake(tmp_path, capsys, words, code, message):
    load(tmp_path, [make_row(task="a"), make_row()])
    assert command(tmp_path, *words) == code
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown
    assert shown.count("\n") == 1


def test_no_rows_yet(tmp_path, capsys):
    (tmp_path / "results.jsonl").touch()
    assert command(tmp_path) == 1
    assert "no rows yet" in capsys.readouterr().err


def test_by_default_what_differs_is_told_apart(tmp_path, capsys):
    rows = make_seeds([0.2, 0.4]) + make_seeds([0.6], metric="ece")
    load(tmp_path, rows)
    assert command(tmp_path, "--format", "csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model,task,metric,shots,median")
    assert [line.split(",")[2] for line in lines[1:]] == ["accuracy", "ece"]
