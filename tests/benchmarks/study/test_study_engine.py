"""The engines: workers die, and every job still ends once."""

import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from bit_keras.benchmarks.study import engine
from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.settings import Study

# The sub-command, as a process of its own.
STUDY = """
import argparse, sys
from bit_keras.benchmarks.study import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
args = parser.parse_args()
command.check(args)
sys.exit(command.run(args))
"""
# A job of the fast tests; in a file, for workers to import.
JOBS = """
import os, signal, time
from pathlib import Path
from bit_keras.benchmarks.study.state import State

def dies_once(folder, mark):
    path = Path(folder) / "began"
    first = not path.exists()
    path.touch()
    if first and Path(folder).name == mark:
        os.kill(os.getpid(), signal.SIGKILL)
    return State(phase="done")

def dies(folder):
    os.kill(os.getpid(), signal.SIGKILL)

def waits(folder):
    # Says where it runs, and ends when it is let go.
    path = Path(folder)
    (path / "began").write_text(str(os.getpid()))
    while not (path.parent / "go").exists():
        time.sleep(0.05)
    return State(phase="done")
"""
JOB_SECONDS = 400


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    (tmp_path / "jobs_of_a_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return importlib.import_module("jobs_of_a_test")


def folders(tmp_path, count):
    made = [tmp_path / f"job{i}" for i in range(count)]
    for folder in made:
        folder.mkdir()
    return made


def test_what_a_dead_worker_took_along_is_begun_again(jobs, tmp_path):
    said, made = [], folders(tmp_path, 6)
    calls = [(str(folder), "job2") for folder in made]
    with engine.connect("loky", None, 2) as workers:
        assert workers == 2
        done = list(engine.run_all(jobs.dies_once, calls, said.append))
    assert Counter(folder for folder, _ in done) == Counter(made)
    assert {state.phase for _, state in done} == {"done"}
    assert "A worker died" in said[0]


def test_workers_that_always_die_are_an_error(jobs, tmp_path):
    calls = [(str(folder),) for folder in folders(tmp_path, 2)]
    with engine.connect("loky", None, 2):
        with pytest.raises(OSError, match="died 3 times in a row"):
            list(engine.run_all(jobs.dies, calls, lambda message: None))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("loky", None, 0), "--jobs must be >= 1; got 0"),
        (("loky", "a:1", 2), "--address is of a cluster"),
        (("ray", None, None), "--engine ray needs --address, such as host"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        engine.check(*arguments)


def test_an_engine_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "bit-keras\[dask\]"'):
        engine.check("dask", "tcp://host:1", None)


@contextlib.contextmanager
def processes(*commands, environment=None):
    """Starts commands, each in its own group, and ends them."""
    made = []
    try:
        for command in commands:
            made.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                    stderr=subprocess.DEVNULL,
                )
            )
        yield made
    finally:
        # The last first: a worker without its scheduler waits for another.
        for process in reversed(made):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def dask_worker(address, slots=1):
    return (
        *(sys.executable, "-m", "distributed.cli.dask_worker", address),
        *("--nthreads", str(slots), "--no-nanny", "--no-dashboard"),
    )


@pytest.fixture
def dask_scheduler(free_ports):
    pytest.importorskip("distributed", reason="needs bit-keras[dask]")
    (port,) = free_ports(1)
    scheduler = (
        *(sys.executable, "-m", "distributed.cli.dask_scheduler"),
        *("--host", "127.0.0.1", "--port", str(port), "--no-dashboard"),
    )
    with processes(scheduler):
        yield f"tcp://127.0.0.1:{port}"


@pytest.fixture
def dask_cluster(dask_scheduler):
    worker = dask_worker(dask_scheduler)
    with processes(worker, worker):
        yield dask_scheduler


@pytest.fixture
def ray_cluster(free_ports):
    pytest.importorskip("ray", reason="needs bit-keras[ray]")
    (port,) = free_ports(1)
    ray = (sys.executable, "-m", "ray.scripts.scripts")
    subprocess.run(
        (
            *(*ray, "start", "--head", "--port", str(port)),
            *("--node-ip-address", "127.0.0.1", "--num-cpus", "2"),
            *("--include-dashboard", "false", "--disable-usage-stats"),
        ),
        check=True,
        capture_output=True,
    )
    yield f"127.0.0.1:{port}"
    subprocess.run((*ray, "stop", "--force"), check=True, capture_output=True)


def run_study(out, tasks, *more):
    arguments = ("run", "--grid", "micro", "--out", str(out), "--shots", "1,5")
    return subprocess.Popen(
        (
            *(sys.executable, "-c", STUDY, *arguments),
            *("--tasks-file", str(tasks), *more),
        ),
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_training(process, out):
    """Waits until a job is in the middle of its training; its folder."""
    end = time.monotonic() + JOB_SECONDS
    while time.monotonic() < end and process.poll() is None:
        for metrics in out.glob("jobs/*/run/metrics.jsonl"):
            if metrics.stat().st_size:
                return metrics.parents[1]
        time.sleep(0.05)
    process.kill()
    raise TimeoutError(f"no job began: {process.communicate()[1]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("loky", marks=pytest.mark.soak),
        "dask",
        pytest.param("ray", marks=pytest.mark.soak),
    ],
)
def test_a_killed_worker_costs_no_row_and_doubles_none(kind, tmp_path, request):
    more = ("--engine", kind, "--jobs", "2")
    if kind != "loky":
        address = request.getfixturevalue(f"{kind}_cluster")
        more = ("--engine", kind, "--address", address)
    tasks = tmp_path / "tasks.json"
    task = {"name": "d", "dataset": "digits", "train": "train", "test": "test"}
    tasks.write_text(json.dumps([task]))
    out = tmp_path / "out"
    process = run_study(out, tasks, *more)
    folder = wait_for_training(process, out)
    os.kill(states.read(folder).pid, signal.SIGKILL)
    _, said = process.communicate(timeout=JOB_SECONDS)
    assert process.returncode == 0, said
    study = Study(out)
    assert len(study.names()) == 2
    for name in study.names():
        state = states.read(study.job(name))
        assert state.phase == "done"
        lines = (study.job(name) / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        # 2 checkpoints: upstream, and 2 shots x 3 seeds.
        assert len(rows) == 2 * (1 + 2 * 3)
        assert len({row["config_hash"] for row in rows}) == len(rows)
    assert states.read(folder).attempts == 2


def began(tmp_path, count):
    """Waits until so many jobs have begun; their processes."""
    end = time.monotonic() + 60
    while True:
        said = [path.read_text() for path in tmp_path.glob("job*/began")]
        if len(pids := [int(text) for text in said if text]) >= count:
            return set(pids)
        assert time.monotonic() < end, f"only {len(pids)} began"
        time.sleep(0.05)


@contextlib.contextmanager
def running(jobs, tmp_path, count, address, at_a_time):
    """Jobs that wait on a Dask cluster of one slot; leaving lets them go."""
    calls = [(str(f),) for f in folders(tmp_path, count)]
    said = []

    # In a thread as a whole: joblib's settings are of the thread.
    def work():
        with engine.connect("dask", address, at_a_time) as workers:
            done = list(engine.run_all(jobs.waits, calls, said.append))
        return workers, len(done)

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(work)
        try:
            yield
        finally:
            (tmp_path / "go").touch()
        assert future.result(60) == (1, count)
    assert not said


def test_the_one_slot_of_a_cluster_does_the_work(
    jobs, tmp_path, dask_scheduler
):
    with (
        processes(dask_worker(dask_scheduler)) as made,
        running(jobs, tmp_path, 2, dask_scheduler, None),
    ):
        assert began(tmp_path, 1) == {made[0].pid}


def test_a_cluster_has_no_more_at_a_time_than_asked_for(
    jobs, tmp_path, dask_scheduler
):
    with (
        processes(dask_worker(dask_scheduler, slots=4)),
        running(jobs, tmp_path, 4, dask_scheduler, 1),
    ):
        began(tmp_path, 1)
        time.sleep(1)
        assert len(list(tmp_path.glob("job*/began"))) == 1


def test_workers_that_join_a_cluster_later_have_work(
    jobs, tmp_path, dask_scheduler
):
    worker = dask_worker(dask_scheduler)
    with contextlib.ExitStack() as later:
        (first,) = later.enter_context(processes(worker))
        with running(jobs, tmp_path, 4, dask_scheduler, None):
            began(tmp_path, 1)
            (second,) = later.enter_context(processes(worker))
            assert began(tmp_path, 2) == {first.pid, second.pid}


def test_a_cluster_that_grows_with_its_work_has_some():
    distributed = pytest.importorskip("distributed", reason="bit-keras[dask]")
    with distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=None
    ) as cluster:
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        address = cluster.scheduler_address
        with engine.connect("dask", address, 1) as workers:
            assert workers == 1


def test_a_cluster_without_workers_is_an_error(dask_scheduler, monkeypatch):
    module = "bit_keras.benchmarks.study.dask_engine"
    monkeypatch.setattr(f"{module}._JOIN_SECONDS", 0.5)
    with (
        pytest.raises(OSError, match="no worker has joined the scheduler"),
        engine.connect("dask", dask_scheduler, None),
    ):
        pass


@pytest.mark.parametrize("jobs", [1, 3])
def test_as_many_at_a_time_as_asked_for(jobs):
    with engine.connect("loky", None, jobs) as workers:
        assert workers == jobs
