"""Interrupted runs of the real command, and runs on several devices."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

COMMAND = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_tiny",
    "--resolution=16",
    "--batch-size=16",
    "--steps=400",
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


def assert_equal_runs(one, other):
    a, b = weights(one), weights(other)
    assert set(a) == set(b)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    rows = []
    for workdir in (one, other):
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        rows.append([json.loads(line) for line in lines])
    assert [(r["kind"], r["step"]) for r in rows[0]] == [
        (r["kind"], r["step"]) for r in rows[1]
    ]
    evals = [[r["top1"] for r in run if r["kind"] == "eval"] for run in rows]
    assert evals[0] == evals[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run nobody interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    finish(workdir)
    return workdir


def test_killed_runs_resume_to_the_same_bits(whole, tmp_path):
    # Twice: once between checkpoints, once soon after resuming.
    for step in (50, 150):
        process = start(tmp_path)
        wait_for_step(tmp_path, step, process)
        process.kill()
        process.communicate()
        assert not (tmp_path / "result.json").exists()
    error = finish(tmp_path)
    assert "Resuming at step" in error
    assert_equal_runs(whole, tmp_path)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit_with_their_code(whole, tmp_path, signum):
    process = start(tmp_path)
    wait_for_step(tmp_path, 70, process)
    os.kill(process.pid, signum)
    error = process.communicate()[1]
    assert process.returncode == 128 + signum, error
    assert "saved. The same command resumes." in error
    assert "Traceback" not in error
    saved = int(error.split("Stopped at step ")[1].split(",")[0])
    error = finish(tmp_path)
    assert f"Resuming at step {saved} from" in error
    assert_equal_runs(whole, tmp_path)


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
    "args", [(), ("--micro-batch=4",)], ids=["plain", "micro-batches"]
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


@pytest.mark.slow
def test_two_workers_give_the_weights_of_one(tmp_path, free_ports):
    args = ("--steps=12", "--set=schedule.learning_rate=0.001")
    finish(tmp_path / "alone", *args)
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        processes.append(
            start(
                tmp_path / str(index),
                *args,
                "--strategy=multiworker",
                env={**os.environ, "TF_CONFIG": config},
            )
        )
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    alone = weights(tmp_path / "alone")
    for index in range(2):
        for key, value in weights(tmp_path / str(index)).items():
            scale = np.abs(alone[key]).max()
            np.testing.assert_allclose(
                value, alone[key], rtol=1e-5, atol=1e-5 * scale, err_msg=key
            )
        result = json.loads((tmp_path / str(index) / "result.json").read_text())
        assert result["eval_examples"] == 64
