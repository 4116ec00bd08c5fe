"""The list of duplicates on disk, and results without them."""

import argparse
import dataclasses
import json

import pytest

from bit_keras.benchmarks import (
    exclusions,
    fewshot_command,
    results,
    source_subset,
    task_data,
    tasks,
    tasks_file,
    vtab,
)
from bit_keras.benchmarks.duplicates import panels
from bit_keras.data.sources import open_source

PAIR = {"task": "mine", "split": "test", "id": "a", "upstream_id": "b"}


@pytest.fixture
def write(tmp_path):
    """Writes a list and returns its path."""

    def write(ids, task="mine", split="test"):
        path = tmp_path / "duplicates.json"
        pairs = [{**PAIR, "task": task, "split": split, "id": i} for i in ids]
        exclusions.write(path, "digits train", {}, [{"task": task}], pairs)
        return str(path)

    return write


def ids_of(dataset, split):
    return list(source_subset.ids_of(open_source(dataset, split)))


# The file.


def test_a_list_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "duplicates.json"
    of_tasks = [{"task": "mine"}, {"task": "none"}]
    pairs = [PAIR, {**PAIR, "id": "ä"}, {**PAIR, "split": "train", "id": "c"}]
    exclusions.write(path, "digits train", {"radius": 4}, of_tasks, pairs)
    # Images of the train split are told, not excluded.
    assert exclusions.read(str(path)) == {
        "mine": frozenset({"a", "ä"}),
        "none": frozenset(),
    }
    content = exclusions.load(path)
    assert content["tasks"] == of_tasks and content["pairs"] == pairs
    assert content["settings"] == {"radius": 4}
    # A line per pair: one that is none can be deleted.
    lines = path.read_text().splitlines()
    assert sum('"upstream_id"' in line for line in lines) == 3
    kept = [line for line in lines if '"id": "a"' not in line]
    path.write_text("\n".join(kept))
    assert exclusions.read(str(path))["mine"] == {"ä"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "other"}, "is not a list of the sub-command duplicates"),
        ({"version": 2}, "is of version 2; this program reads version 1"),
        ({"tasks": []}, '"tasks" must list at least one task'),
        ({"pairs": {}}, '"pairs" must be a list'),
        ({"pairs": [{**PAIR, "id": 7}]}, 'entry 1 of "pairs" needs the text'),
        ({"pairs": ["a"]}, 'needs the text "task"; got None'),
        ({"pairs": [{**PAIR, "task": "x"}]}, 'pair 1 is of task "x"'),
    ],
)
def test_what_is_no_list_is_refused(write, change, message):
    path = write(["a"])
    with open(path) as file:
        content = json.load(file)
    with open(path, "w") as file:
        json.dump({**content, **change}, file)
    with pytest.raises(ValueError, match=message):
        exclusions.read(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="--exclude: there is no file"):
        exclusions.read(str(tmp_path / "none.json"))
    path = tmp_path / "list.json"
    path.write_text("a b c")
    with pytest.raises(ValueError, match="not valid JSON"):
        exclusions.read(str(path))
    path.write_text("[1]")
    with pytest.raises(ValueError, match="is not a list of"):
        exclusions.read(str(path))


# Sources.


def test_a_source_without_some_images_has_all_others_in_order():
    source = open_source("digits", "test[:50]")
    ids = list(source_subset.ids_of(source))
    rest = source_subset.without(source, ids[3:6])
    assert list(source_subset.ids_of(rest)) == ids[:3] + ids[6:]
    assert rest.num_examples == 47 and rest.fetch is None
    assert rest.fingerprint != source.fingerprint
    assert source_subset.without(source, []) is source
    other = source_subset.without(source, ids[4:7])
    assert other.fingerprint != rest.fingerprint
    labels = [int(e["label"]) for e in rest.read()]
    whole = [int(e["label"]) for e in source.read()]
    assert labels == whole[:3] + whole[6:]
    with pytest.raises(ValueError, match="all examples are excluded"):
        source_subset.without(source, ids)


def test_ids_of_other_data_are_counted_in_a_warning():
    source = open_source("digits", "test[:5]")
    known = list(source_subset.ids_of(source))[:2]
    with pytest.warns(UserWarning, match="mine: 3 of 5 images to exclude"):
        found = source_subset.present("mine", source, [*known, "x", "y", "z"])
    assert found == set(known)


# Few-shot.

DIGITS = {
    "name": "mine",
    "dataset": "digits",
    "train": "train[:300]",
    "test": "test[:60]",
}


@pytest.fixture
def fewshot(tmp_path):
    """Runs the sub-command on digits and a random network."""
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([DIGITS]))

    def run(*words, out="out"):
        parser = argparse.ArgumentParser()
        fewshot_command.add_arguments(parser)
        fixed = ["--model=bit_tiny", "--init=random", "--resolution=16"]
        fixed += [f"--tasks-file={path}", f"--out={tmp_path / out}"]
        args = parser.parse_args([*fixed, "--shots=2", "--seeds=1", *words])
        fewshot_command.check(args)
        assert fewshot_command.run(args) == 0
        return results.ResultsFile(tmp_path / out / "results.jsonl").rows()

    return run


def test_a_probe_without_duplicates_is_measured_on_the_others(
    fewshot, write, capsys
):
    (whole,) = fewshot()
    ids = ids_of("digits", "test[:60]")
    parts = []
    for excluded in (ids[:20], ids[20:]):
        path = write(excluded)
        row = fewshot(f"--exclude={path}")[-1]
        assert row.protocol == "big_vision, deduplicated"
        assert row.details["excluded"] == len(excluded)
        assert row.n == 60 - len(excluded)
        parts.append(row.value * row.n)
    # What is right among the first 20 and the other 40 is right among all.
    assert sum(parts) == pytest.approx(whole.value * 60)
    assert whole.protocol == "big_vision" and "excluded" not in whole.details
    capsys.readouterr()
    assert len(fewshot(f"--exclude={path}")) == 3
    assert "measured already" in capsys.readouterr().err
    # A task without duplicates is deduplicated as it is.
    row = fewshot(f"--exclude={write([])}")[-1]
    assert (row.value, row.n) == (whole.value, 60)
    assert row.protocol == "big_vision, deduplicated"


def test_the_report_puts_both_side_by_side(fewshot, write, tmp_path):
    ids = ids_of("digits", "test[:60]")
    (whole,) = fewshot()
    row = fewshot(f"--exclude={write(ids[:20])}")[-1]
    (panel,) = panels.panels(results.load([tmp_path]))
    (line,) = panel.table.to_dict("records")
    assert line["full"] == round(100 * whole.value, 2)
    assert line["deduplicated"] == round(100 * row.value, 2)
    assert (line["duplicates"], line["shots"]) == (20, 2)
    # Rows of both kinds are never averaged.
    with pytest.raises(ValueError, match="differ in protocol"):
        results.summarize(results.load([tmp_path]))


def test_without_a_list_no_number_is_measured_anew(tmp_path):
    """Rows of before --exclude keep their configuration hash."""
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([DIGITS]))
    (task,) = tasks_file.from_json(path)
    opened = {task: [task_data.open_split(task, s) for s in ("train", "test")]}
    from bit_keras.benchmarks import protocols
    from bit_keras.benchmarks.backbone import open_backbone
    from bit_keras.benchmarks.fewshot_job import Job
    from bit_keras.benchmarks.images import Preprocessing

    job = Job(
        backbone=open_backbone("bit_tiny", "random"),
        protocol=protocols.get("big_vision"),
        endpoints=("pre_logits",),
        shots=(1,),
        seeds=(0,),
        preprocessing=Preprocessing(9, 8),
        data_dir=None,
        cache_dir=tmp_path,
    )
    (hashed,) = job.hashes(task, opened).values()
    config = {
        "benchmark": "fewshot",
        "model": job.backbone.sha256,
        "input_range": (0, 1),
        "task": "mine",
        "data": {
            "mine": [[s.name, s.split, s.fingerprint] for s in opened[task]]
        },
        "protocol": "big_vision",
        "preprocessing": "resize 9, crop 8",
        "allow_fewer": False,
        "endpoint": "pre_logits",
        "shots": 1,
        "seed": 0,
    }
    assert hashed == results.config_hash(config)
    for exclude in ({"mine": []}, {"mine": ["a"]}):
        (other,) = (
            dataclasses.replace(job, exclude=exclude)
            .hashes(task, opened)
            .values()
        )
        assert other != hashed


def test_fine_tuning_is_evaluated_on_the_others(fewshot, write):
    words = ("--mode=finetune", "--batch-size=8", "--set=schedule.steps=2")
    settings = "run.batch_size=8, schedule.steps=2"
    ids = ids_of("digits", "test[:60]")
    (whole,) = fewshot(*words)
    values = []
    for excluded in (ids[:20], ids[20:]):
        row = fewshot(*words, f"--exclude={write(excluded)}")[-1]
        assert row.protocol == f"finetune, {settings}, deduplicated"
        assert (row.n, row.details["excluded"]) == (
            60 - len(excluded),
            len(excluded),
        )
        values.append(row.value * row.n)
    # The training is the same to the bit; what was right is right again.
    assert sum(values) == pytest.approx(whole.value * 60)
    assert whole.protocol == f"finetune, {settings}"


def test_the_list_must_know_the_task(fewshot, write):
    path = write(["a"], task="mime")
    with pytest.raises(ValueError, match='nothing of mine.*mean "mime"'):
        fewshot(f"--exclude={path}")
    with pytest.raises(FileNotFoundError, match="--exclude: there is no file"):
        fewshot("--exclude=none.json")


def test_ids_that_are_not_there_are_a_warning(fewshot, write):
    path = write([*ids_of("digits", "test[:2]"), "of another version"])
    with pytest.warns(UserWarning, match="mine: 1 of 3 images to exclude"):
        row = fewshot(f"--exclude={path}")[-1]
    assert row.n == 58 and row.details["excluded"] == 2


# VTAB.

TASK = "vtab_cifar100"


@pytest.fixture
def run_vtab(monkeypatch, tmp_path):
    """Runs the sub-command on one of its tasks, standing on digits."""
    task = dataclasses.replace(
        tasks.get(TASK),
        dataset="digits",
        versions=(),
        num_classes=10,
        train="train[:60]+train[80:100]",
        train800="train[:60]",
        val200="train[80:100]",
        test="test[:50]",
        num_train=80,
        num_test=50,
    )
    monkeypatch.setitem(tasks._TASKS, TASK, task)

    def run(*words):
        parser = argparse.ArgumentParser()
        vtab.add_arguments(parser)
        fixed = ["--model=bit_tiny", "--init=random", f"--tasks={TASK}"]
        fixed += [f"--out={tmp_path / 'vtab'}", "--resolution=16"]
        args = parser.parse_args([*fixed, *words])
        vtab.check(args)
        assert vtab.run(args) == 0
        return results.ResultsFile(tmp_path / "vtab" / "results.jsonl").rows()

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("--protocol=linear",),
        pytest.param(
            ("--batch-size=8", "--set=schedule.steps=2", "--seeds=1"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                "--protocol=lightweight",
                "--batch-size=8",
                "--set=schedule.steps=2",
                "--seeds=1",
            ),
            marks=pytest.mark.soak,
        ),
    ],
    ids=["linear", "hyperrule", "lightweight"],
)
def test_vtab_without_duplicates(run_vtab, write, words, capsys, tmp_path):
    out = tmp_path / "vtab"
    ids = ids_of("digits", "test[:50]")
    (whole,) = run_vtab(*words)
    values = []
    for excluded in (ids[:10], ids[10:]):
        capsys.readouterr()
        row = run_vtab(*words, f"--exclude={write(excluded, TASK)}")[-1]
        assert row.protocol == f"{whole.protocol}, deduplicated"
        assert row.details["excluded"] == len(excluded)
        assert row.n == 50 - len(excluded)
        values.append(row.value * row.n)
    assert sum(values) == pytest.approx(whole.value * 50)
    # The table shows what was asked for.
    said = capsys.readouterr().out
    assert f"protocol {row.protocol}" in said
    assert f"{100 * row.value:.2f}" in said
    assert "excluded" not in whole.details
    table = panels.accuracies(results.load([out]))
    assert table["duplicates"].tolist() == [10, 40]
    assert (table["full"] == round(100 * whole.value, 2)).all()
