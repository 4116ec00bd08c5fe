"""The run directory: claims, the lock, rows."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from bit_keras.recipe import Data, Recipe, from_dict, override
from bit_keras.workdir import (
    Workdir,
    check_writable,
    command,
    summary,
    versions,
)

RECIPE = Recipe("test", data=Data("digits"))
FACTS = {
    "command": ["-m", "bit_keras.train"],
    "data": {"train": {"fingerprint": "aaa", "num_examples": 9}, "eval": None},
}


def with_fingerprint(value: str) -> dict:
    train = {"fingerprint": value, "num_examples": 9}
    return {**FACTS, "data": {"train": train, "eval": None}}


def test_what_a_dead_process_was_writing_is_removed(tmp_path):
    theirs = ("notes.tmp", ".5-mine.npz", "best.npz.tmp2")
    unfinished = (
        *("metrics.jsonl.tmp", "recipe.json.tmp"),
        *(".77-final.npz", ".8-best.npz", ".9-weights-000500.npz"),
    )
    for name in (*theirs, *unfinished, "best.npz"):
        (tmp_path / name).write_text("x")
    with Workdir(tmp_path):
        assert sorted(os.listdir(tmp_path)) == sorted(
            [*theirs, ".lock", "best.npz"]
        )


def test_writable_is_asked_of_the_nearest_folder(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "not" / "yet" / "made")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(NotADirectoryError) as caught:
            check_writable(path)
        assert str(caught.value) == (
            f"--workdir {path} cannot be written ({tmp_path / 'file'} is not "
            "a directory). Choose another directory."
        )


def test_claim_writes_what_repeats_the_run(tmp_path):
    recipe = override(RECIPE, "schedule.boundaries=10,20")
    with Workdir(tmp_path / "runs" / "a") as workdir:
        workdir.claim(recipe, FACTS)
        written = json.loads((workdir.path / "recipe.json").read_text())
    assert from_dict(written["recipe"]) == recipe
    assert written["data"] == FACTS["data"]
    assert written["command"] == FACTS["command"]
    assert written["versions"] == versions()


@pytest.mark.parametrize(
    "change",
    [
        "run.strategy=mirrored",
        "run.micro_batch=4",
        "run.eval_batch_size=4",
        "run.xla=true",
        "run.log_every=7",
        "run.eval_every=7",
        "run.checkpoint_every=7",
        "run.keep_checkpoints=7",
        "data.data_dir=/other/place",
        # What the error on a corrupt image advises.
        "data.on_bad_image=error",
        "model.remat=true",
    ],
)
def test_claim_accepts_what_changes_no_result(tmp_path, change):
    with Workdir(tmp_path) as workdir:
        workdir.claim(RECIPE, FACTS)
        before = (tmp_path / "recipe.json").read_text()
        workdir.claim(RECIPE, FACTS)
        workdir.claim(override(RECIPE, change), {**FACTS, "command": ["x"]})
        assert (tmp_path / "recipe.json").read_text() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.momentum=0.8", "optimizer.momentum: 0.9 there, 0.8 here"),
        ("run.seed=1", "run.seed: 0 there, 1 here"),
        ("run.precision=mixed_bfloat16", "float32 there, mixed_bfloat16 here"),
        ("data.dataset=shapes", "data.dataset: digits there, shapes here"),
        ("schedule.steps=5", "schedule.steps: None there, 5 here"),
        ("model.norm=batch", "model.norm: group there, batch here"),
    ],
)
def test_claim_refuses_another_recipe(tmp_path, change, message):
    with Workdir(tmp_path) as workdir:
        workdir.claim(RECIPE, FACTS)
        workdir.append({"step": 1})
        with pytest.raises(ValueError) as caught:
            workdir.claim(override(RECIPE, change), FACTS)
        assert message in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert "--overwrite" in str(caught.value)
        assert "\n" not in str(caught.value)
        workdir.claim(RECIPE, FACTS)


def test_claim_refuses_other_data(tmp_path):
    with Workdir(tmp_path) as workdir:
        workdir.claim(RECIPE, FACTS)
        workdir.append({"step": 1})
        message = "data.train.fingerprint: aaa there, bbb here"
        with pytest.raises(ValueError, match=message):
            workdir.claim(RECIPE, with_fingerprint("bbb"))


def test_a_run_that_never_began_gives_way(tmp_path):
    other = override(RECIPE, "model.init=typo.npz")
    with Workdir(tmp_path) as workdir:
        workdir.claim(other, FACTS)
        workdir.claim(RECIPE, with_fingerprint("bbb"))
        written = json.loads((tmp_path / "recipe.json").read_text())
        assert from_dict(written["recipe"]) == RECIPE
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "ckpt-5.index").touch()
        with pytest.raises(ValueError, match="holds another run"):
            workdir.claim(other, with_fingerprint("bbb"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "recipe.json is not valid JSON"),
        ("{}", "not of bit_keras"),
        ("[]", "not of bit_keras"),
    ],
)
def test_claim_refuses_a_stranger_s_recipe(tmp_path, text, message):
    (tmp_path / "recipe.json").write_text(text)
    with Workdir(tmp_path) as workdir:
        with pytest.raises(ValueError, match=message) as caught:
            workdir.claim(RECIPE, FACTS)
    assert str(tmp_path) in str(caught.value)
    assert (tmp_path / "recipe.json").read_text() == text


def test_lock_in_one_process(tmp_path):
    with Workdir(tmp_path):
        with pytest.raises(BlockingIOError, match="in use by another process"):
            Workdir(tmp_path)
    with Workdir(tmp_path):
        pass


def test_lock_between_processes_ends_with_kill_9(tmp_path):
    program = (
        "import sys, time; from bit_keras.workdir import Workdir;"
        "held = Workdir(sys.argv[1]); print('held', flush=True);"
        "time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(BlockingIOError) as caught:
                Workdir(tmp_path)
        finally:
            holder.send_signal(signal.SIGKILL)
    assert holder.returncode == -signal.SIGKILL
    message = str(caught.value)
    assert f"--workdir {tmp_path} is in use by another process" in message
    assert "\n" not in message
    with Workdir(tmp_path):
        pass


def test_rows_without_the_half_written_last_one(tmp_path):
    with Workdir(tmp_path) as workdir:
        assert workdir.rows() == []
        rows = [{"step": step, "loss": 1 / 3} for step in (10, 20, 30)]
        for row in rows:
            workdir.append(row)
        assert workdir.rows() == rows
        path = tmp_path / "metrics.jsonl"
        whole = path.read_bytes()
        last = whole.rindex(b"{")
        # Killed after any byte of the last row.
        for end in range(last, len(whole) - 1):
            path.write_bytes(whole[:end])
            assert workdir.rows() == rows[:2]
        path.write_bytes(whole[:-1])
        assert workdir.rows() == rows


def test_rewind_then_append(tmp_path):
    with Workdir(tmp_path) as workdir:
        rows = [{"step": step, "loss": float(step)} for step in (5, 10, 10, 15)]
        for row in rows:
            workdir.append(row)
        path = tmp_path / "metrics.jsonl"
        # Neither a half row nor a missing end of line may spoil the next one.
        for tail in (b'{"step": 20, "lo', b'{"step": 10, "loss": 10.0}'):
            path.write_bytes(path.read_bytes() + tail)
            expected = rows[:3] + rows[2:3] * tail.endswith(b"}")
            assert workdir.rewind(10) == expected
            assert workdir.rows() == expected
            workdir.append({"step": 11})
            assert workdir.rows() == [*expected, {"step": 11}]
        assert workdir.rewind(-1) == workdir.rows() == []


def test_clear_removes_its_own_files_only(tmp_path):
    with Workdir(tmp_path) as workdir:
        workdir.claim(RECIPE, FACTS)
        workdir.append({"step": 1})
        for name in ("labels.txt", "best.npz", "final.npz", "thesis.txt"):
            (tmp_path / name).write_text("x")
        for folder in ("checkpoints", "tensorboard", "photos"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "ckpt-5.index").write_text("x")
        workdir.finish({"top1": 0.5})
        assert workdir.started
        workdir.clear()
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {".lock", "thesis.txt", "photos"}
        assert (tmp_path / "photos" / "ckpt-5.index").exists()
        assert not workdir.started
        assert workdir.result is None
        assert workdir.rows() == []
        # Still locked, and free for another recipe.
        with pytest.raises(BlockingIOError):
            Workdir(tmp_path)
        workdir.claim(override(RECIPE, "run.seed=1"), FACTS)


def test_a_clear_that_fails_leaves_no_run_without_a_name(tmp_path, monkeypatch):
    """Or its checkpoints would go on under the next recipe."""

    def refuse(path, **options):
        raise PermissionError(13, "not yours", str(path))

    with Workdir(tmp_path) as workdir:
        workdir.claim(RECIPE, FACTS)
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "ckpt-5.index").touch()
        monkeypatch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(PermissionError):
            workdir.clear()
        with pytest.raises(ValueError, match="holds another run"):
            workdir.claim(override(RECIPE, "run.seed=1"), FACTS)


@pytest.mark.parametrize("text", ["[" * 100_000, "\xff"])
def test_a_damaged_recipe_is_named(tmp_path, text):
    (tmp_path / "recipe.json").write_bytes(text.encode("latin-1"))
    with Workdir(tmp_path) as workdir:
        with pytest.raises(ValueError, match="recipe.json is not valid JSON"):
            workdir.claim(RECIPE, FACTS)


@pytest.mark.parametrize("row", ["[1]", "7", '{"loss": 2}', "[" * 100_000])
def test_rows_end_before_a_damaged_one(tmp_path, row):
    with Workdir(tmp_path) as workdir:
        workdir.append({"step": 1})
        with open(tmp_path / "metrics.jsonl", "a") as file:
            file.write(row + '\n{"step": 2}\n')
        assert workdir.rows() == [{"step": 1}]


def test_result(tmp_path):
    with Workdir(tmp_path) as workdir:
        assert workdir.result is None
        workdir.finish({"top1": 0.25, "eval_split": None})
    with Workdir(tmp_path) as workdir:
        assert workdir.result == {"top1": 0.25, "eval_split": None}


def test_workdir_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(FileExistsError):
        Workdir(tmp_path / "a")


def test_versions_are_those_of_the_modules():
    import keras
    import numpy as np

    found = versions()
    assert found["keras"] == keras.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_command_is_what_was_typed(tmp_path):
    program = "from bit_keras.workdir import command; print(command())"
    arguments = ["-c", program, "--recipe", "bit_m"]
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{arguments}\n"
    assert command() == sys.orig_argv[1:]


def test_summary_shows_every_section_and_no_empty_field():
    recipe = dataclasses.replace(RECIPE, data=Data("digits", label="x"))
    lines = summary(recipe).splitlines()
    sections = [line.split(":")[0] for line in lines]
    assert sections == [
        field.name
        for field in dataclasses.fields(Recipe)
        if dataclasses.is_dataclass(field.default)
    ]
    assert "dataset=digits" in summary(recipe)
    assert "label=x" in summary(recipe)
    assert "None" not in summary(recipe)
