"""Input pipelines in a process of their own, timed on demand.

A child names its pipelines on standard output; for each name it then reads it
answers how long some batches took.  So pipelines of libraries that do not get
on in one process can be measured in turns.
"""

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

# Batches before the clock starts: by then as many are in work as at its end.
# Workers that make whole batches, all at once, need more.
WARM_UP = 4

Pipeline = Callable[[], Iterable]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What some batches took.

    Attributes:
        seconds: Of the wall clock.
        processor_seconds: Of all cores together, which is less than the cores'
            share of `seconds` where a pipeline lets them idle, or others work
            on the machine.
    """

    seconds: float
    processor_seconds: float


class PipelineProcess:
    """The parent's end of one child, to be used in a `with` statement.

    Args:
        module: Run with `python -m`; calls `serve`.
        arguments: Its arguments.

    Attributes:
        names: The child's pipelines.

    Raises:
        ChildProcessError: If the child ends without an answer; it has told on
            standard error why.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.names: list[str] = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "PipelineProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def cost(self, name: str) -> Cost:
        """Runs a pipeline and returns what it took."""
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return Cost(**self._answer())

    def close(self) -> None:
        """Ends the child."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> list[str] | dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise ChildProcessError(f"{self._module} ended with code {code}.")
        return json.loads(line)


def serve(
    pipelines: Mapping[str, Pipeline], batches: int, warm_up: int = WARM_UP
) -> int:
    """Answers until standard input ends; returns an exit code.

    Args:
        pipelines: By name; each starts one, of at least `warm_up` + `batches`
            batches.
        batches: To be timed.
        warm_up: Batches before them.
    """
    # Ctrl-C reaches all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(json.dumps([*pipelines]), flush=True)
    for line in sys.stdin:
        cost = steady_cost(pipelines[line.strip()], batches, warm_up)
        print(json.dumps(dataclasses.asdict(cost)), flush=True)
    return 0


def steady_cost(
    pipeline: Pipeline, batches: int, warm_up: int = WARM_UP
) -> Cost:
    """Returns what some batches of a pipeline in full swing take.

    Args:
        pipeline: Starts it.
        batches: To be timed.
        warm_up: Batches before them.

    Example:

    >>> steady_cost(lambda: range(9), 5).seconds < 1
    True
    """
    running = iter(pipeline())
    for _ in range(warm_up):
        next(running)
    began, processor = time.perf_counter(), _processor_seconds()
    for _ in range(batches):
        next(running)
    seconds = time.perf_counter() - began
    return Cost(seconds, _processor_seconds() - processor)


def _processor_seconds() -> float:
    """Processor time of this process and of its children so far (Linux)."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        stat = Path(f"/proc/{child.pid}/stat").read_text()
        # After the name, which may have spaces: fields 3 and on; the 14th and
        # 15th are user and system time.
        user, system = stat.rpartition(")")[2].split()[11:13]
        total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total
