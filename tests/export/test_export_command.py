"""The exporting command: what it says, does, and returns."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub

from bit_keras.export import __main__ as command
from bit_keras.export import handles, manifest, verification
from bit_keras.export.layer import SavedModelLayer

HANDLE = "https://tfhub.dev/google/bit/m-r50x1/1"

# Answers without TensorFlow.
EARLY = {
    "help": (("--help",), 0, "--folded"),
    "help on the cache": (("install-cache", "--help"), 0, "--cache-dir"),
    "no source": ((), 2, "SOURCE"),
    "no out": (("bit_tiny", "--init=random"), 2, "--out DIR"),
    "model without weights": (("bit_tiny", "--out=e"), 2, "--init"),
    "model typo": (
        ("bit_r50x", "--init=random", "--out=e"),
        2,
        'Did you mean "bit_r50x',
    ),
    "released typo": (
        ("bit_r50x1.i22k", "--out=e"),
        2,
        'Did you mean "bit_r50x1.i21k"?',
    ),
    "no run": (("runs/none", "--out=e"), 2, 'there is no "runs/none"'),
    "no file": (("none.npz", "--out=e"), 2, 'there is no "none.npz"'),
    "format typo": (
        (".", "--out=e", "--format=savedmodl"),
        2,
        'Did you mean "savedmodel"?',
    ),
    "empty format": ((".", "--out=e", "--format="), 2, "--format"),
    "version": ((".", "--out=e", "--version=0"), 2, "--version must be >= 1"),
    "no number": ((".", "--out=e", "--version=v1"), 2, "--version"),
    "name": ((".", "--out=e", "--name=../up"), 2, "--name"),
    "resolution": ((".", "--out=e", "--resolution=0"), 2, "--resolution"),
    "folded npz": (
        (".", "--out=e", "--folded", "--format=npz"),
        2,
        "--folded goes with --format savedmodel only",
    ),
    "archive of npz": (
        (".", "--out=e", "--archive", "--format=npz"),
        2,
        "--archive needs --format savedmodel",
    ),
    "output typo": ((".", "--out=e", "--output=logit"), 2, "--output"),
    "flag typo": ((".", "--outt=e"), 2, 'Did you mean "--out"?'),
    "verify nothing": (("--verify", "none"), 1, "no model.json"),
    "unknown handle": (
        ("install-cache", "EXPORT", "--handle=bit/m-r50x2/1"),
        1,
        'Did you mean "bit/m-r50x',
    ),
    "cache nothing": (
        ("install-cache", "none", "--handle=bit/m-r50x1/1"),
        1,
        "not an export",
    ),
}
PROBE = """
import atexit, sys
from bit_keras.export import __main__ as command
def heavy():
    found = {"tensorflow", "keras", "numpy"} & set(sys.modules)
    print("imported:", sorted(found), flush=True)
atexit.register(heavy)
sys.exit(command.main(sys.argv[1:]))
"""


def error_of(capfd):
    """Returns what was said: one line, of an error."""
    text = capfd.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text


def arrays_of(file):
    """Returns the arrays of an .npz, comparable."""
    with np.load(file) as arrays:
        return {key: array.tobytes() for key, array in arrays.items()}


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """What the command wrote as users start it, and what it printed."""
    out = tmp_path_factory.mktemp("exports")
    environment = {k: v for k, v in os.environ.items() if k[:3] != "TF_"}
    done = subprocess.run(
        [sys.executable, "-m", "bit_keras.export"]
        + [finished_run, "--out", out, "--archive"],
        capture_output=True,
        text=True,
        # Another backend is of no consequence.
        env={**environment, "KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out, done


@pytest.mark.parametrize("case", EARLY)
def test_mistakes_are_answered_without_tensorflow(case, tmp_path):
    args, code, message = EARLY[case]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert message in done.stdout + done.stderr
    assert "imported: []" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_says_what_it_did_and_no_more(exported):
    out, done = exported
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "reloading",
        "max",
        "wrote",
        "wrote",
    ]
    assert "max abs difference" in lines[1]
    assert sorted(p.name for p in out.iterdir()) == [
        "bit_tiny",
        "bit_tiny-1.tar.gz",
    ]
    assert manifest.read(out / "bit_tiny" / "1").weights == "final"


def test_verify(exported, tmp_path, capfd):
    folder = exported[0] / "bit_tiny" / "1"
    assert command.main(["--verify", str(folder)]) == 0
    assert "all 6 files are as they were" in capfd.readouterr().err
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "variables" / "variables.data-00000-of-00001"
    data = bytearray(weights.read_bytes())
    data[5000] ^= 1
    weights.write_bytes(data)
    (copy / "labels.txt").unlink()
    (copy / "more.txt").touch()
    assert command.main(["--verify", str(copy)]) == 1
    error = error_of(capfd)
    for problem in (
        "'variables/variables.data-00000-of-00001' has changed",
        "'labels.txt' is missing",
        "'more.txt' is not part of the export",
    ):
        assert problem in error
    assert "saved_model.pb" not in error
    (copy / "model.json").write_text("{")
    assert command.main(["--verify", str(copy)]) == 1
    assert "not valid JSON" in error_of(capfd)


def test_the_original_handle_finds_the_export(
    exported, digits, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    folder = exported[0] / "bit_tiny" / "1"
    args = ["install-cache", str(folder), "--handle", "bit/m-r50x1/1"]
    assert command.main(args) == 0
    error = capfd.readouterr().err
    assert f"{HANDLE} now loads" in error
    # It is not what the name promises, and that is said.
    assert "Warning: bit/m-r50x1/1 is a bit_r50x1" in error
    images = tf.constant(digits[0][:4])
    want = tf.saved_model.load(folder)(images)
    tf.debugging.assert_equal(hub.load(HANDLE)(images), want)
    assert manifest.verify(handles.resolve("bit/m-r50x1/1")) == []
    assert command.main(args) == 1
    assert "error: bit/m-r50x1/1 has an entry" in capfd.readouterr().err
    assert command.main([*args, "--overwrite"]) == 0
    # No official model is like it, so there is no default.
    assert command.main(args[:2]) == 1
    assert "Choose one with --handle" in capfd.readouterr().err
    # A layer takes the short name, too.
    layer = SavedModelLayer("bit/m-r50x1/1", trainable=False)
    tf.debugging.assert_near(layer(images), want)
    again = SavedModelLayer.from_config(layer.get_config())
    tf.debugging.assert_near(again(images), want)


def test_other_formats_and_names(finished_run, tmp_path, capfd):
    args = [f"--out={tmp_path}", "--format=npz,keras", "--name=mine"]
    assert command.main([str(finished_run), *args, "--version=3"]) == 0
    folder = tmp_path / "mine" / "3"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "labels.txt",
        "model.json",
        "model.keras",
        "model.npz",
    ]
    # What was written can be exported again.
    capfd.readouterr()
    for file in ("model.npz", "model.keras"):
        again = [str(folder / file), f"--out={tmp_path}", "--format=npz"]
        assert command.main([*again, f"--name={file}"]) == 0
        first = folder / "model.npz"
        second = tmp_path / file / "1" / "model.npz"
        assert arrays_of(first) == arrays_of(second)
    capfd.readouterr()
    assert command.main([str(finished_run), *args, "--version=3"]) == 1
    assert "--overwrite" in error_of(capfd)
    args.append("--overwrite")
    assert command.main([str(finished_run), *args, "--version=3"]) == 0


def test_runs_that_cannot_be_exported(finished_run, tmp_path, capfd):
    out = tmp_path / "exports"
    run = shutil.copytree(finished_run, tmp_path / "run")

    def fails(*messages):
        assert command.main([str(run), f"--out={out}", "--format=npz"]) == 1
        error = error_of(capfd)
        for message in messages:
            assert message in error
        assert not out.exists()

    result = (run / "result.json").read_text()
    (run / "result.json").unlink()
    fails("has not finished", "--weights best")
    (run / "result.json").write_text(result)
    file = run / "final.npz"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    fails("Cannot read", "final.npz")
    file.write_bytes(b"")
    fails("Cannot read", "the file is empty")
    file.write_bytes(data)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["recipe"]["model"]["name"] = "bit_r26x1"
    (run / "recipe.json").write_text(json.dumps(recipe))
    assert command.main([str(run), f"--out={out}", "--format=npz"]) == 1
    assert "looks like bit_tiny" in capfd.readouterr().err
    (run / "recipe.json").unlink()
    fails("no recipe.json")


def test_an_export_that_is_not_its_source_fails(
    finished_run, tmp_path, monkeypatch, capfd
):
    def different(*args):
        raise ValueError("The export does not give what its source gives")

    monkeypatch.setattr(verification, "reloaded", different)
    args = [str(finished_run), f"--out={tmp_path}", "--archive"]
    assert command.main(args) == 1
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith("error: The export does not give")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_ctrl_c_leaves_nothing_half_written(tmp_path, capfd, monkeypatch):
    from bit_keras.export import exporter

    def interrupted(*args):
        raise KeyboardInterrupt

    # Almost the last that an export does before it is moved into its place.
    monkeypatch.setattr(exporter, "write_atomic", interrupted)
    out = tmp_path / "out"
    words = ["bit_nano", "--init=random", "--format=npz", f"--out={out}"]
    assert command.main(words) == 130
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "Stopped. What was not finished was not written."
    assert [path for path in out.rglob("*") if path.is_file()] == []
