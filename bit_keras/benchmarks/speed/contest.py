"""Contestants in processes of their own, of which one runs at a time.

The parent sends a line of JSON and waits for one.  A child that finds its
standard input closed ends at once, so none outlives the parent.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bit_keras.benchmarks.speed.contestants import CONTESTANTS, MATMUL, Task

_COMMAND = (
    sys.executable,
    "-m",
    "bit_keras.benchmarks.speed.contestant_process",
)
# Side by side on one GPU, none may take all of its memory at the start.
_SHARED_GPU = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


class ContestantError(ChildProcessError):
    """A contestant failed; the message is its last error line."""


@dataclasses.dataclass
class Result:
    """What became of one task.

    Attributes:
        task: The task.
        parameters: Numbers it trains.
        device: "CPU", or the name of a GPU.
        peak: By mode: most memory of one call, in bytes, all of the process
            included (on a GPU: what the library allocated there).
        seconds: By mode, and of `MATMUL`: of one call, round by round.
        error: Why it did not finish; None: it did.
    """

    task: Task
    parameters: int | None = None
    device: str | None = None
    peak: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    error: str | None = None


class Worker:
    """The parent's end of one contestant's process.

    Args:
        task: What to build; the worker is `ready` when that is done.
        command: Starts the process; another one in tests.

    Raises:
        ContestantError: From every method, once the process has failed.
    """

    def __init__(self, task: Task, command: Sequence[str] = _COMMAND) -> None:
        # A file, not a pipe: what nobody reads must not block the child.
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(task),
        )
        try:
            self.ready = self.ask(dataclasses.asdict(task))
        except BaseException:
            self.close()
            raise

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a message and returns the answer.

        Args:
            message: Of JSON types.
        """
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContestantError(self._last_words()) from None
        line = self._process.stdout.readline()
        if not line:
            raise ContestantError(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise ContestantError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        # What could not be sent is lost with the process.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{said[-1]} ({ended})" if said else ended


def _environment(task: Task) -> dict[str, str]:
    backend = CONTESTANTS[task.contestant].backend
    return {
        **os.environ,
        **_SHARED_GPU,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def contest(
    tasks: Sequence[Task],
    repeats: int,
    say: Callable[[str], None],
    start: Callable[[Task], Worker] = Worker,
) -> list[Result]:
    """Starts a process for each task, and times them in turns.

    A contestant that fails is out; the others go on.

    Args:
        tasks: One per process.
        repeats: Rounds; in each, every contestant runs every mode once, and a
            matrix product.
        say: Called with a line for the user.
        start: Starts a process.

    Returns:
        A result for each task.
    """
    results = [Result(task) for task in tasks]
    workers: dict[int, Worker] = {}
    try:
        for index, result in enumerate(results):
            say(f"{result.task.label}: starts")
            try:
                workers[index] = start(result.task)
            except ContestantError as error:
                result.error = str(error)
                say(f"{result.task.label}: failed: {error}")
                continue
            ready = workers[index].ready
            result.parameters = ready["parameters"]
            result.device = ready["device"]
            result.peak = ready["peak"]
        for turn in range(repeats):
            say(f"round {turn + 1} of {repeats}")
            _round(results, workers, turn, say)
    finally:
        for worker in workers.values():
            worker.close()
    return results


def _round(
    results: list[Result],
    workers: dict[int, Worker],
    turn: int,
    say: Callable[[str], None],
) -> None:
    """Lets each contestant run once; another one goes first in each round."""
    order = sorted(workers)
    first = turn % max(1, len(order))
    for index in order[first:] + order[:first]:
        result = results[index]
        try:
            for mode in (MATMUL, *result.task.modes):
                seconds = workers[index].ask({"run": mode})["seconds"]
                result.seconds.setdefault(mode, []).append(seconds)
        except ContestantError as error:
            result.error = str(error)
            say(f"{result.task.label}: failed: {error}")
            workers.pop(index).close()
