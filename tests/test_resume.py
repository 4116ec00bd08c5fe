"""Interrupted runs of the real command, and runs on several devices."""

import importlib.util
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras import checkpoints, models
from bit_keras.data.preprocess import eval_function
from bit_keras.data.sources import open_source
from bit_keras.recipe import Preprocess
from bit_keras.workdir import saved_steps

COMMAND = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_nano",
    "--resolution=16",
    "--batch-size=16",
    "--steps=240",
    "--eval-split=test[:64]",
    "--deterministic",
    "--set=preprocess.mixup_alpha=0.1",
    "--set=schedule.learning_rate=0.02",
    "--set=run.checkpoint_every=20",
    "--set=run.log_every=10",
    "--set=run.eval_every=200",
)


def start(workdir, *args, env=None):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "bit_keras.train",
            *COMMAND,
            f"--workdir={workdir}",
            *args,
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def finish(workdir, *args):
    process = start(workdir, *args)
    error = process.communicate()[1]
    assert process.returncode == 0, error
    return error


def wait_for_step(workdir, step, process):
    """Returns once a row of at least this step was logged."""
    metrics = workdir / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists():
            lines = metrics.read_text().splitlines()
            if any(json.loads(line)["step"] >= step for line in lines[:-1]):
                return
        time.sleep(0.01)
    raise AssertionError(f"ended early: {process.communicate()[1]}")


def weights(workdir):
    with np.load(workdir / "final.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def preemption():
    """The module of the campaign that interrupts one run 50 times."""
    path = Path(__file__).parent / "soak" / "preemption.py"
    spec = importlib.util.spec_from_file_location("preemption", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run nobody interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    finish(workdir)
    return workdir


def test_killed_runs_resume_to_the_same_bits(whole, tmp_path, preemption):
    # Twice: once between checkpoints, once soon after resuming.
    for step in (50, 150):
        process = start(tmp_path)
        wait_for_step(tmp_path, step, process)
        process.kill()
        process.communicate()
        assert not (tmp_path / "result.json").exists()
    error = finish(tmp_path)
    assert "Resuming at step" in error
    assert preemption.differences(whole, tmp_path) == []


@pytest.mark.soak
def test_signals_at_random_moments_save_and_resume_to_the_same_bits(
    whole, tmp_path, preemption
):
    rng, saved = random.Random(0), 0
    for phase, signum in (
        ("training", signal.SIGTERM),
        ("twice", signal.SIGTERM),
        ("evaluation", signal.SIGINT),
    ):
        row = preemption.interrupt(tmp_path, COMMAND, phase, signum, rng)
        assert row["resumed"] >= saved
        # Told twice, a run may die before it has saved.
        assert row["code"] == 128 + signum or phase == "twice"
        if row["step"] is not None:
            assert saved_steps(tmp_path / "checkpoints")[-1] == row["step"]
            saved = row["step"]
    error = finish(tmp_path)
    assert f"Resuming at step {saved} from" in error
    assert preemption.differences(whole, tmp_path) == []


MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from bit_keras import train
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "args",
    [(), pytest.param(("--micro-batch=4",), marks=pytest.mark.soak)],
    ids=["plain", "micro-batches"],
)
def test_two_devices_give_the_weights_of_one(tmp_path, args):
    # Few steps at a low rate: rounding, not chaos, is what may differ.
    args = (*COMMAND, "--steps=12", "--set=schedule.learning_rate=0.001", *args)
    for strategy in ("one", "mirrored"):
        done = subprocess.run(
            [
                *(sys.executable, "-c", MIRRORED),
                *args,
                f"--strategy={strategy}",
                f"--workdir={tmp_path / strategy}",
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "mirrored")
    for key in one:
        scale = np.abs(one[key]).max()
        np.testing.assert_allclose(
            two[key], one[key], rtol=1e-5, atol=1e-5 * scale, err_msg=key
        )
    results = [
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("one", "mirrored")
    ]
    assert results[0]["eval_examples"] == results[1]["eval_examples"] == 64


def test_batch_norm_on_two_devices_is_measured_as_it_is_saved(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-c", MIRRORED, *COMMAND),
            "--steps=12",
            "--set=model.norm=batch",
            "--strategy=mirrored",
            f"--workdir={tmp_path}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    model = models.create("bit_nano", 10, norm="batch")
    checkpoints.load(model, tmp_path)
    examples = list(open_source("digits", "test[:64]").read())
    prepare = eval_function(Preprocess(crop=16))
    logits = model(np.stack([prepare(e["image"]) for e in examples]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    labels = np.array([int(example["label"]) for example in examples])
    expected = float(loss(labels, logits))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["loss"] == pytest.approx(expected, rel=1e-5)
