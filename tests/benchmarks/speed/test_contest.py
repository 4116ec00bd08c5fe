import json
import subprocess
import sys
import time

import pytest

from bit_keras.benchmarks.speed.contest import (
    ContestantError,
    Worker,
    contest,
)
from bit_keras.benchmarks.speed.contestants import Task

# Serves like a real one; "timm" dies in its second round, "jax" at the start.
FAKE = """
import json, os, signal, sys
task = json.loads(sys.stdin.readline())
if task["contestant"] == "jax":
    print('Traceback ...\\nImportError: no such thing\\n', file=sys.stderr)
    sys.exit(1)
if task["contestant"] == "huggingface":
    print(json.dumps({"error": "ValueError: no such network"}), flush=True)
ready = {"parameters": 7, "device": "CPU", "peak": {"forward": 10}}
print(json.dumps(ready), flush=True)
for number, line in enumerate(sys.stdin):
    if task["contestant"] == "timm" and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    seconds = len(json.loads(line)["run"])
    print(json.dumps({"seconds": seconds}), flush=True)
"""


def start(task):
    return Worker(task, (sys.executable, "-c", FAKE))


def task(name):
    return Task(name, "bit_nano", 16, 2, modes=("forward",))


def test_those_that_fail_are_out_and_the_others_go_on():
    said = []
    names = ["tensorflow", "jax", "timm", "huggingface", "naive"]
    results = contest([task(name) for name in names], 3, said.append, start)
    assert [result.task.contestant for result in results] == names
    ours, jax, timm, huggingface, naive = results
    for result in ours, naive:
        assert result.error is None
        assert result.parameters == 7
        assert result.peak == {"forward": 10}
        assert result.seconds == {"matmul": [6] * 3, "forward": [7] * 3}
    assert jax.error == "ImportError: no such thing (exit code 1)"
    assert timm.error == "killed by signal 9"
    # The first round, and the matrix product of the second.
    assert timm.seconds == {"matmul": [6, 6], "forward": [7]}
    assert huggingface.error == "ValueError: no such network"
    assert "round 3 of 3" in said
    assert "timm, bit_nano, 16 px, batch 2: failed: killed by signal 9" in said


def test_a_worker_is_ended_with_the_contest():
    worker = start(task("naive"))
    assert worker.ask({"run": "forward"}) == {"seconds": 7}
    worker.close()
    with pytest.raises(ValueError, match="closed file"):
        worker.ask({"run": "forward"})
    assert worker._process.returncode == -9


def test_what_cannot_start_is_an_error_line():
    with pytest.raises(ContestantError, match="surprise.*exit code 1"):
        Worker(
            task("naive"), (sys.executable, "-c", "raise OSError('surprise')")
        )


def test_a_real_worker_ends_with_its_parent_whatever_it_does():
    command = "-m", "bit_keras.benchmarks.speed.contestant_process"
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # A network that takes minutes to build.
    sent = vars(task("tensorflow")) | {"model": "bit_r152x4"}
    process.stdin.write(json.dumps(sent) + "\n")
    process.stdin.flush()
    time.sleep(1)
    # As when the parent is gone.
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
