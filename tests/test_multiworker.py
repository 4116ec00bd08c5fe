"""Several real workers: TensorFlow processes of the command, on this machine.

A process takes a long time to start, so that one run is interrupted in turn in
every way there is, and finished by more workers than began it.
"""

import collections
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bit_keras import train

pytestmark = pytest.mark.slow

# More than any of it should take; a hang fails the test.
PATIENCE = 600

COMMAND = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_nano",
    "--resolution=16",
    "--batch-size=24",
    "--steps=90",
    "--train-split=train[:96]",
    "--eval-split=test[:50]",
    "--set=preprocess.mixup_alpha=0.1",
    "--set=schedule.learning_rate=0.001",
    "--set=run.checkpoint_every=10",
    "--set=run.log_every=10",
    "--set=run.eval_every=45",
    "--set=run.keep_weights_at=1,12",
)

# After the command: the ids of the examples that this worker gets in two
# epochs, from the same strategy.
COUNTING = """
import dataclasses, json, sys
import tensorflow as tf
from bit_keras import distribution, train

made = []
strategy = distribution.strategy
distribution.strategy = lambda *args, **more: (
    made.append(strategy(*args, **more)) or made[0]
)
if code := train.main(sys.argv[1:]):
    sys.exit(code)

from bit_keras.data.batches import BadImages, train_batches
from bit_keras.data.sources import open_source
from bit_keras.recipe import Preprocess, Recipe, scale_batch

digits = open_source("digits", "train[:96]")
source = dataclasses.replace(
    digits,
    class_names=tuple(map(str, range(96))),
    fetch=lambda index: {**digits.fetch(index), "label": index},
)
recipe = Recipe("count", preprocess=Preprocess(resize=16, crop=16))
recipe = scale_batch(recipe, 24)
batches = train_batches(source, recipe, 0, BadImages())
batches = iter(distribution.distribute(made[0], batches, 24))
ids = []
for _ in range(8):
    (labels,) = made[0].experimental_local_results(next(batches)["label"])
    ids.append(labels.numpy().tolist())
print(json.dumps(ids))
"""


def start(
    workers, index, workdir, prefix=(), program=("-m", "bit_keras.train")
):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    cluster = {"worker": workers}
    # The first is told by TF_CONFIG, the others by arguments.
    if index:
        who = (f"--workers={','.join(workers)}", f"--worker-index={index}")
    else:
        task = {"type": "worker", "index": index}
        environment["TF_CONFIG"] = json.dumps(
            {"cluster": cluster, "task": task}
        )
        who = ("--strategy=multiworker",)
    return subprocess.Popen(
        [
            *(*prefix, sys.executable, *program),
            *(*COMMAND, *who, f"--workdir={workdir}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def ends(processes):
    """Returns exit codes and standard errors; none may be left hanging."""
    try:
        errors = [p.communicate(timeout=PATIENCE)[1] for p in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], errors


def wait_for_row(workdir, step, processes):
    """Returns once the chief has logged this step."""
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if metrics.exists():
            rows = metrics.read_text().splitlines()
            if any(json.loads(row)["step"] >= step for row in rows[:-1]):
                return
        if any(process.poll() is not None for process in processes):
            break
        time.sleep(0.02)
    for process in processes:
        process.kill()
    raise AssertionError([process.communicate()[1] for process in processes])


def rows_of(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def addresses(free_ports, count):
    return [f"localhost:{port}" for port in free_ports(count)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same run in one process."""
    workdir = tmp_path_factory.mktemp("alone")
    assert train.main([*COMMAND, f"--workdir={workdir}"]) == 0
    return workdir


# Four times three processes of TensorFlow: minutes on a busy machine.
@pytest.mark.soak
def test_stopped_killed_and_finished_by_other_workers(
    alone, tmp_path, free_ports
):
    workdir = tmp_path / "run"
    # Each worker has a folder of its own to name, as on machines of their own.
    folders = [workdir, tmp_path / "of_1", tmp_path / "of_2"]

    # One worker is asked to stop: all do, at the same step.
    workers = addresses(free_ports, 2)
    processes = [start(workers, i, folders[i]) for i in range(2)]
    wait_for_row(workdir, 10, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, errors = ends(processes)
    assert codes == [143, 143], errors
    saved = {re.search(r"Stopped at step (\d+), saved", e)[1] for e in errors}
    assert len(saved) == 1, errors

    # One is killed: the other says so and ends.
    processes = [start(workers, i, folders[i]) for i in range(2)]
    wait_for_row(workdir, int(saved.pop()) // 10 * 10 + 20, processes)
    processes[1].kill()
    began = time.monotonic()
    codes, errors = ends(processes)
    print(f"killed worker noticed after {time.monotonic() - began:.1f} s")
    assert codes == [4, -signal.SIGKILL], errors
    message = errors[0].splitlines()[-1]
    assert message.startswith(f"error: worker 1 ({workers[1]}) does not answer")
    assert "Traceback" not in errors[0]

    # All are started again, one more than before, and finish.
    workers = addresses(free_ports, 3)
    program = ("-c", COUNTING)
    processes = [
        start(workers, i, folders[i], program=program) for i in range(3)
    ]
    outputs = [None] * 3
    try:
        for i, process in enumerate(processes):
            outputs[i] = process.communicate(timeout=PATIENCE)
    finally:
        for process in processes:
            process.kill()
    errors = [error for _, error in outputs]
    assert [p.returncode for p in processes] == [0, 0, 0], errors
    assert re.search(r"Resuming at step \d+ from", errors[0])
    assert [error.splitlines()[-1] for error in errors[1:]] == ["Finished."] * 2

    assert not any(folder.exists() for folder in folders[1:])
    check_same_run(alone, workdir)
    check_ids([json.loads(out) for out, _ in outputs])


def check_weights(alone, workdir, name, tolerance):
    """`tolerance`: what near zero may differ, for an array's largest value."""
    with np.load(alone / name) as one, np.load(workdir / name) as many:
        assert set(one) == set(many)
        for key in one:
            np.testing.assert_allclose(
                *(many[key], one[key]),
                *(1e-5, tolerance(np.abs(one[key]).max())),
                err_msg=f"{name}: {key}",
            )


def check_same_run(alone, workdir):
    check_weights(
        alone, workdir, "weights-000012.npz", lambda most: 1e-6 * most
    )
    # Sums in another order are rounded otherwise, and 90 steps add that up:
    # in all arrays alike, whose values are from 1e-5 to 1.
    check_weights(alone, workdir, "final.npz", lambda most: 1e-7)
    with (
        np.load(alone / "final.npz") as last,
        np.load(alone / "weights-000001.npz") as first,
    ):
        moved = max(
            np.abs(last[key] - first[key]).max()
            / max(np.abs(last[key]).max(), 1e-9)
            for key in last
        )
    # Or else there would be nothing to compare.
    assert moved > 0.01
    expected = {(r["kind"], r["step"]): r["loss"] for r in rows_of(alone)}
    found = {(r["kind"], r["step"]): r["loss"] for r in rows_of(workdir)}
    assert found.keys() == expected.keys()
    other = [k for k in found if abs(found[k] - expected[k]) > 1e-4]
    # After each of the two interruptions, a row tells of fewer steps.
    assert len(other) <= 2 and {kind for kind, _ in other} <= {"train"}
    evals = [row for row in rows_of(workdir) if row["kind"] == "eval"]
    assert [row["step"] for row in evals] == [1, 12, 45, 90]
    assert {row["examples"] for row in evals} == {50}


def check_ids(ids):
    """`ids[worker][step]` is what a worker got: 4 steps are an epoch of 96."""
    assert {len(rows) for worker in ids for rows in worker} == {8}
    for epoch in (slice(0, 4), slice(4, 8)):
        seen = collections.Counter(
            i for worker in ids for rows in worker[epoch] for i in rows
        )
        assert seen == dict.fromkeys(range(96), 1)


def network(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def two_machines():
    """Two network namespaces, joined by a cable; and how to pull it."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    names = [f"bk{os.getpid()}{end}" for end in "ab"]
    hosts = ["10.77.0.1", "10.77.0.2"]
    try:
        for name in names:
            network("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here ({error})")
    try:
        a, b = names
        cable = ("link", "add", "v", "type", "veth", "peer", "name", "v")
        network("-n", a, *cable, "netns", b)
        for name, host in zip(names, hosts, strict=True):
            network("-n", name, "addr", "add", f"{host}/24", "dev", "v")
            network("-n", name, "link", "set", "lo", "up")
            network("-n", name, "link", "set", "v", "up")
        yield names, hosts
    finally:
        for name in names:
            network("netns", "del", name)


def pull_cable(names, hosts):
    """What is sent goes to nobody, and nobody is told: no reset, no error."""
    for name, other in zip(names, hosts[::-1], strict=True):
        nobody = ("lladdr", "02:00:00:00:00:99", "dev", "v", "nud", "permanent")
        network("-n", name, "neigh", "replace", other, *nobody)


def test_a_cut_link_ends_both_with_a_message(two_machines, tmp_path):
    names, hosts = two_machines
    workers = [f"{host}:2222" for host in hosts]
    processes = [
        start(workers, i, tmp_path / str(i), ("ip", "netns", "exec", names[i]))
        for i in range(2)
    ]
    wait_for_row(tmp_path / "0", 10, processes)
    pull_cable(names, hosts)
    began = time.monotonic()
    codes, errors = ends(processes)
    print(f"cut link noticed after {time.monotonic() - began:.1f} s")
    assert codes == [4, 4], errors
    for index, error in enumerate(errors):
        other = 1 - index
        message = error.splitlines()[-1]
        assert message.startswith(
            f"error: worker {other} ({workers[other]}) does not answer any more"
        )
        assert "Traceback" not in error
