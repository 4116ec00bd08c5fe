"""One contestant: builds its network, then runs it on command.

Started by `contest.Worker`: the first line of standard input is a task, each
further one `{"run": MODE}`; each is answered by a line of JSON.
"""

import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import IO, Any

from bit_keras.benchmarks.speed.contestants import (
    CONTESTANTS,
    MATMUL,
    Network,
    Task,
)

# Calls of a measurement together last about this long, in seconds.
_MEASUREMENT = 0.5


def main() -> int:
    """Serves until standard input ends; returns an exit code."""
    requests, answers = _channel()
    try:
        task = json.loads(requests.get())
        task = Task(**{**task, "modes": tuple(task["modes"])})
        served = Served(task)
        _answer(answers, served.ready())
        while True:
            mode = json.loads(requests.get())["run"]
            _answer(answers, {"seconds": served.measure(mode)})
    except Exception as error:
        traceback.print_exc()
        # On one line; TensorFlow's are long.
        words = " ".join(f"{type(error).__name__}: {error}".split())
        _answer(answers, {"error": words[:300]})
        return 1


class Served:
    """A contestant's network, with a runner for each mode.

    Args:
        task: What to build.

    Example:

    >>> task = Task("tensorflow", "bit_nano", 16, 2, modes=("forward",))
    >>> served = Served(task)
    >>> served.ready()["device"], served.measure("forward") > 0
    ('CPU', True)
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        contestant = CONTESTANTS[task.contestant]
        module = importlib.import_module(
            f"bit_keras.benchmarks.speed.{contestant.module}"
        )
        self._network: Network = module.build(task)
        self._runners = {}
        self._calls = {}

    def ready(self) -> dict[str, Any]:
        """Runs each mode for the first time; returns what `Result` wants."""
        peaks = {}
        # In this order: a step's memory may be kept, a forward pass's is less.
        for mode in (*self._task.modes, MATMUL):
            run = self._runners[mode] = self._network.runner(mode)
            # Traces and compiles.
            run(1)
            if mode != MATMUL:
                self._network.reset_peak()
            began = time.perf_counter()
            run(1)
            seconds = time.perf_counter() - began
            if mode != MATMUL:
                peaks[mode] = self._network.peak()
            self._calls[mode] = max(1, round(_MEASUREMENT / seconds))
        return {
            "parameters": self._network.parameters,
            "device": self._network.device,
            "peak": peaks,
        }

    def measure(self, mode: str) -> float:
        """Returns the seconds of a call, the mean of some in a row.

        Args:
            mode: "forward", "train" or "matmul".
        """
        calls = self._calls[mode]
        began = time.perf_counter()
        self._runners[mode](calls)
        return (time.perf_counter() - began) / calls


def _channel() -> tuple["queue.Queue[str]", IO[str]]:
    """Takes standard input and output; others who print use standard error."""
    requests: queue.Queue[str] = queue.Queue()
    lines = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)

    def listen() -> None:
        for line in lines:
            requests.put(line)
        # The parent is gone or wants no more: whatever runs, stops.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return requests, answers


def _answer(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
