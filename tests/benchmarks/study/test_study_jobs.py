"""A study on disk: its folder, states of jobs, failures, retries, locks."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bit_keras.benchmarks.study import drive, engine, job, plan, status
from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.settings import Settings, Study
from bit_keras.benchmarks.study.state import State
from bit_keras.recipe import from_dict, to_dict
from bit_keras.recipes import study as grids

# Stands for python -m bit_keras.train and the probing of a job: what a job
# does with processes needs no TensorFlow.
COMMAND = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
with open(folder / "calls.jsonl", "a") as file:
    file.write(json.dumps([sys.argv[2], os.environ["OMP_NUM_THREADS"]]) + "\\n")
print("working", flush=True)
while (folder / "hold").exists():
    time.sleep(0.02)
if (folder / "preempted").exists():
    sys.exit(143)
if (folder / "broken").exists():
    sys.exit("error: it is broken\\n")
"""


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path / "out")
    made.create(Settings(grid="micro"), grids.micro())
    return made


@pytest.fixture
def cheap(monkeypatch):
    """Replaces what a job calls by `COMMAND`."""
    popen = subprocess.Popen

    def start(command, **options):
        what = "train" if "bit_keras.train" in command else "probe"
        # Both end with a folder: the run's, or the job's.
        folder = Path(command[-1])
        folder = folder.parent if what == "train" else folder
        replaced = [sys.executable, "-c", COMMAND, str(folder), what]
        return popen(replaced, **options)

    monkeypatch.setattr(job.subprocess, "Popen", start)


def calls(folder):
    lines = (folder / "calls.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def run(study, retry_failed=False):
    said = []
    with engine.connect("loky", None, 1):
        code = drive.run(study, 1, 3, retry_failed, said.append)
    return code, "\n".join(said)


def test_a_study_is_what_it_was(study):
    assert study.names() == ("bit_nano-data30", "bit_nano-data100")
    assert study.settings == Settings(grid="micro")
    assert study.recipe("bit_nano-data30") == grids.micro()[0]


def test_a_recipe_survives_json():
    for recipe in grids.mini():
        assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_jobs_may_be_added_but_not_changed(study):
    first, second = grids.micro()
    third = dataclasses.replace(first, name="third")
    study.create(Settings(grid="mine"), (first, third))
    assert study.names() == (first.name, second.name, "third")
    schedule = dataclasses.replace(first.schedule, learning_rate=0.2)
    changed = dataclasses.replace(first, schedule=schedule)
    with pytest.raises(ValueError, match="another study .job bit_nano-data30"):
        study.create(Settings(grid="micro"), (changed,))
    with pytest.raises(ValueError, match="shots: .1, 5, 10, 25. there, .1,."):
        study.create(Settings(grid="micro", shots=(1,)), grids.micro())


def test_data_may_move(study, tmp_path):
    first, second = grids.micro()
    data = dataclasses.replace(first.data, data_dir=str(tmp_path))
    moved = dataclasses.replace(first, data=data)
    study.create(Settings(grid="micro"), (moved, second))
    assert study.recipe(first.name).data.data_dir == str(tmp_path)


def test_a_job_trains_then_probes_with_its_threads(study, cheap):
    folder = study.job("bit_nano-data30")
    state = job.run(folder, threads=3)
    assert (state.phase, state.attempts) == ("done", 1)
    assert calls(folder) == [["train", "3"], ["probe", "3"]]
    assert "working" in (folder / states.LOG).read_text()


def test_what_is_done_is_not_done_again(study, cheap):
    assert run(study)[0] == 0
    code, said = run(study)
    assert code == 0 and "2 jobs, 0 to do" in said
    job.run(study.job("bit_nano-data30"))
    assert len(calls(study.job("bit_nano-data30"))) == 2


def test_a_failing_job_is_reported_and_does_not_stop_the_others(study, cheap):
    broken, other = (study.job(name) for name in study.names())
    (broken / "broken").touch()
    code, said = run(study)
    assert code == 1
    assert "bit_nano-data30 while training: it is broken" in said
    assert str(broken / states.LOG) in said
    assert states.read(other).phase == "done"
    # Not tried again, unless asked for.
    code, said = run(study)
    assert code == 1 and "0 to do" in said
    (broken / "broken").unlink()
    code, said = run(study, retry_failed=True)
    assert code == 0 and "2/2 bit_nano-data30: done" in said
    assert states.read(broken).attempts == 2


def test_a_killed_process_is_a_failure_with_its_signal(study, cheap):
    folder = study.job("bit_nano-data30")
    (folder / "hold").touch()
    found = []
    thread = threading.Thread(target=lambda: found.append(job.run(folder)))
    thread.start()
    pid = wait_for(lambda: children(folder))[0]
    os.kill(pid, signal.SIGKILL)
    thread.join(timeout=60)
    assert found[0].phase == "failed"
    assert found[0].reason == "killed by SIGKILL (out of memory?)"


def test_a_preempted_process_goes_on_next_time(study, cheap):
    folder = study.job("bit_nano-data30")
    (folder / "preempted").touch()
    assert job.run(folder).phase == "interrupted"
    (folder / "preempted").unlink()
    code, said = run(study)
    assert code == 0 and "2 jobs, 2 to do" in said
    assert states.read(folder).attempts == 2


def test_a_second_attempt_waits_for_the_first_ones_children(study):
    """As after a worker was killed, whose training still runs."""
    folder = study.job("bit_nano-data30")
    with states.locked(folder) as lock:
        child = subprocess.Popen(["sleep", "1"], pass_fds=(lock,))
    # Nobody but the child holds the lock now.
    states.write(folder, State().begin())
    assert states.read(folder).phase == "running"
    began = time.monotonic()
    with states.locked(folder):
        assert child.wait(timeout=1) == 0
    assert time.monotonic() - began > 0.5
    assert states.read(folder).phase == "interrupted"


def test_status_counts_and_explains(study, cheap):
    (study.job("bit_nano-data30") / "broken").touch()
    run(study)
    text = status.summary(study)
    assert text.startswith("2 jobs: 1 done, 1 failed")
    assert "failed   bit_nano-data30 while training: it is broken" in text


def test_rehearsals_are_short_and_one_per_kind(study):
    (folder,) = plan.prepare(study)
    recipe = from_dict(
        json.loads((folder / "recipe.json").read_text())["recipe"]
    )
    assert recipe.schedule.steps == 20
    assert recipe.run.keep_weights_at == (20,)
    assert recipe.model.name == "bit_nano"


def children(folder):
    """Children of this process that work on a folder; others may be left."""
    found = [
        int(pid)
        for thread in Path("/proc/self/task").iterdir()
        for pid in (thread / "children").read_text().split()
    ]
    return [p for p in found if str(folder) in command_line(p)]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # It has ended.
        return ""


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError("it did not happen")
