"""Full disks, jumping clocks, odd paths: the real commands under them."""

import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from bit_keras import train
from bit_keras.saves import Saves
from bit_keras.workdir import Workdir, saved_steps

NANO = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_nano",
    "--resolution=16",
    "--batch-size=16",
    "--steps=6",
    "--eval-split=test[:32]",
    "--deterministic",
    "--set=run.checkpoint_every=2",
    "--set=run.eval_every=2",
    "--set=run.log_every=1",
)


def run(workdir, *args):
    return train.main([*NANO, f"--workdir={workdir}", *args])


def weights(workdir):
    with np.load(workdir / "final.npz") as arrays:
        return {key: arrays[key].tobytes() for key in arrays}


def assert_equal(one, other):
    """Bit by bit, row by row, file by file."""
    assert weights(one) == weights(other)
    rows = []
    for workdir in (one, other):
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        rows.append([(r["step"], r["kind"]) for r in map(json.loads, lines)])
    assert rows[0] == rows[1]
    assert sorted(os.listdir(one)) == sorted(os.listdir(other))


@pytest.fixture(scope="module")
def told():
    """What the run of `whole` printed."""
    return io.StringIO()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, told):
    """A run to which nothing happens, but that the clock jumps."""
    workdir = tmp_path_factory.mktemp("whole")
    draws, real = random.Random(0), time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            time, "time", lambda: real() + draws.uniform(-1, 1) * 10**8
        )
        with contextlib.redirect_stderr(told):
            assert run(workdir) == 0
    return workdir


def at_call(number, before, method):
    """Returns the method, with something done before its n-th call."""
    calls = []

    def wrapped(self, *args):
        calls.append(args)
        if len(calls) == number:
            before()
        return method(self, *args)

    return wrapped


def test_a_jumping_clock_shows_nowhere(whole, told):
    lines = told.getvalue().splitlines()
    train_rows = [line for line in lines if "img/s" in line]
    assert len(train_rows) == 6
    for line in train_rows:
        assert re.search(r" \d+ img/s  ETA (\?|[\d:]+s?)$", line), line
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line).get("images_per_second", 1) for line in lines]
    assert min(rates) > 0
    assert json.loads((whole / "result.json").read_text())["seconds"] > 0


def test_full_disks_stop_a_run_that_then_goes_on(
    whole, small_disk, monkeypatch, capfd
):
    cut = small_disk.path / "run"
    metrics = cut / "metrics.jsonl"

    def fill_within_a_row():
        # Nine bytes before the end of a block of the disk.
        with metrics.open("ab") as file:
            file.write(b" " * (-(metrics.stat().st_size + 9) % 4096))
        small_disk.fill()

    # From here on there is no room: where it is missed, and what is there.
    moments = [
        (Saves, "save", small_disk.fill, cut / "checkpoints/ckpt-4"),
        (Workdir, "append", fill_within_a_row, metrics),
    ]
    for owner, method, fill, path in moments:
        with monkeypatch.context() as patch:
            full = at_call(2, fill, getattr(owner, method))
            patch.setattr(owner, method, full)
            assert run(cut) == 1
        error = capfd.readouterr().err
        assert "Traceback" not in error
        assert error.splitlines()[-1] == (
            f"error: Cannot write {path}: No space left on device. What was "
            "saved before is intact: make room or repair the disk, and the "
            "same command goes on from there."
        )
        assert saved_steps(cut / "checkpoints") == [2]
        small_disk.free()
    assert metrics.read_text().endswith(' {"kind": ')
    assert run(cut) == 0
    assert "Resuming at step 2" in capfd.readouterr().err
    assert_equal(cut, whole)


PROBE = """
import sys
from bit_keras import train
code = train.main(sys.argv[1:])
print("tensorflow" in sys.modules)
sys.exit(code)
"""


def refused(workdir):
    """Returns what the command says of a workdir, without TensorFlow."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *NANO, b"--workdir=" + workdir],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_read_only_workdir_is_refused_before_anything_loads(small_disk):
    path = small_disk.path
    (path / "run").mkdir()
    remount = ["mount", "-o", "remount,ro", str(path)]
    subprocess.run(remount, check=True)
    for workdir, there in ((path / "run", path / "run"), (path / "a/b", path)):
        assert refused(os.fsencode(workdir)) == (
            f"error: --workdir {workdir} cannot be written ({there} is on a "
            "read-only file system). Choose another directory."
        )


def test_a_workdir_that_is_not_unicode_is_refused(tmp_path):
    workdir = os.fsencode(tmp_path) + b"/l\xe4ufe"
    line = refused(workdir)
    assert f"--workdir {workdir!r} is not UTF-8" in line


@pytest.mark.slow
def test_an_odd_path_is_a_path_like_any_other(whole, tmp_path, capfd):
    from bit_keras.benchmarks import __main__ as benchmarks
    from bit_keras.export import __main__ as export

    root = tmp_path / "Läufe & 実験 #1, 100%"
    root.mkdir()
    # As killed after its last checkpoint but one.
    shutil.copytree(whole, root / "run ü")
    for name in ("result.json", "final.npz"):
        (root / "run ü" / name).unlink()
    for path in (root / "run ü" / "checkpoints").glob("ckpt-6*"):
        path.unlink()
    assert run(root / "run ü") == 0
    assert "Resuming at step 4" in capfd.readouterr().err
    assert weights(root / "run ü") == weights(whole)

    exports = root / "exporte ö"
    assert export.main([str(root / "run ü"), f"--out={exports}"]) == 0
    tasks = root / "tâches.json"
    task = {"name": "z", "dataset": "digits", "train": "train[:100]"}
    tasks.write_text(json.dumps([{**task, "test": "test[:50]"}]))
    code = benchmarks.main(
        [
            "fewshot",
            f"--model={exports / 'bit_nano' / '1'}",
            "--tasks=z",
            f"--tasks-file={tasks}",
            "--shots=1",
            "--seeds=1",
            "--resolution=16",
            f"--out={root / 'résultats'}",
        ]
    )
    assert code == 0, capfd.readouterr().err
    text = (root / "résultats" / "results.jsonl").read_text()
    assert json.loads(text.splitlines()[0])["n"] == 50
