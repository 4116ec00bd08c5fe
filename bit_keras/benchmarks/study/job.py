"""One job: train, then measure every kept checkpoint; at any time killable."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.state import State

# What the libraries ask for the size of their pools.
_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
# Exit codes of commands that saved everything and can go on.
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_TAIL = 2000


def run(directory: str | os.PathLike, threads: int = 1) -> State:
    """Does what is left to do of a job.

    A job that is done or has failed is left alone.  Nothing but an interrupt
    of this process is raised: a failure is a state, with its reason, and the
    other jobs go on.

    Args:
        directory: Folder with `recipe.json`, two levels below the study's.
        threads: For each library of its processes.

    Returns:
        The state it is in now.
    """
    directory = Path(directory)
    try:
        with states.locked(directory) as lock:
            state = states.read(directory)
            # Waited for: what was running has ended, however.
            if state.phase in ("done", "failed"):
                return state
            return _attempt(directory, state.begin(), threads, lock)
    except OSError as error:
        return State(phase="failed", reason=f"{directory}: {error}")


def _attempt(directory: Path, state: State, threads: int, lock: int) -> State:
    run = str(directory / "run")
    recipe = str(directory / "recipe.json")
    steps = {
        "training": ("bit_keras.train", "--recipe", recipe, "--workdir", run),
        "probing": ("bit_keras.benchmarks.study", str(directory)),
    }
    seconds = {}
    for what, command in steps.items():
        state = states.write(directory, _with(state, what=what))
        began = time.monotonic()
        try:
            code = _call(directory, command, threads, lock)
        except KeyboardInterrupt:
            states.write(directory, state.end("interrupted"))
            raise
        seconds[what] = round(time.monotonic() - began, 2)
        if code in _STOPPED:
            return states.write(directory, state.end("interrupted"))
        if code:
            reason = _reason(directory, code)
            return states.write(directory, state.end("failed", reason))
    state = _with(
        state,
        what="",
        train_seconds=seconds["training"],
        probe_seconds=seconds["probing"],
    )
    return states.write(directory, state.end("done"))


def _with(state: State, **fields: object) -> State:
    return State(**{**vars(state), **fields})


def _call(
    directory: Path, command: Sequence[str], threads: int, lock: int
) -> int:
    """Runs one of our commands in a fresh process, and returns its exit code.

    Fresh, because TensorFlow neither gives memory back nor changes the size
    of its pools once it has begun.
    """
    environment = {**os.environ, **dict.fromkeys(_POOLS, str(threads))}
    with open(directory / states.LOG, "ab") as log:
        log.write(f"$ python -m {' '.join(command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=(lock,),
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The child got it, too, and saves.
            process.wait()
            raise


def _reason(directory: Path, code: int) -> str:
    """Returns what a failed command said last, in one line."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    with open(directory / states.LOG, "rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
        lines = log.read().decode("utf-8", "replace").splitlines()
    # Of the last command, not of an earlier try.
    begins = [n for n, text in enumerate(lines) if text.startswith("$ python")]
    lines = lines[begins[-1] + 1 :] if begins else lines
    said = [line for line in lines if line.startswith("error: ")]
    last = (said or [line for line in lines if line.strip()])[-1:]
    return last[0].removeprefix("error: ") if last else f"exit code {code}"
