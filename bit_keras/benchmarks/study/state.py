"""Where a job stands, as its folder says.

recipe.json     what to train
state.json      the last thing that is known of it: a `State`
.lock           held by whoever works on it, their children included
run/            run directory of the training
features/       of the checkpoint that is being probed
results.jsonl   rows of all checkpoints
log.txt         all that training and probing said
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bit_keras.atomic_writes import write_atomic

LOG = "log.txt"
_FILE = "state.json"

Phase = Literal["pending", "running", "interrupted", "failed", "done"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """One line about a job.

    Attributes:
        phase: Whether it is pending, running, interrupted, failed or done.
        what: While running or failed: "training" or "probing".
        reason: Why it failed, in one line.
        attempts: How often it was begun.
        train_seconds: That the training took, in the attempt that ended it.
        probe_seconds: That all probes took, in the attempt that ended them.
        host: Where it was begun.
        pid: Of the process that began it.
        began: UTC, ISO 8601.
        ended: UTC, ISO 8601; "" while it runs.
    """

    phase: Phase = "pending"
    what: str = ""
    reason: str = ""
    attempts: int = 0
    train_seconds: float = 0.0
    probe_seconds: float = 0.0
    host: str = ""
    pid: int = 0
    began: str = ""
    ended: str = ""

    def begin(self) -> "State":
        """Returns the state of a new attempt by this process."""
        return State(
            phase="running",
            attempts=self.attempts + 1,
            host=socket.gethostname(),
            pid=os.getpid(),
            began=_now(),
        )

    def end(self, phase: Phase, reason: str = "") -> "State":
        """Returns the state after the attempt."""
        return dataclasses.replace(
            self, phase=phase, reason=reason, ended=_now()
        )


def write(directory: Path, state: State) -> State:
    """Records the state of a job, and returns it."""
    text = json.dumps(dataclasses.asdict(state), indent=1) + "\n"
    write_atomic(directory / _FILE, text)
    return state


def read(directory: Path) -> State:
    """Returns the state of a job; of a killed one: interrupted.

    >>> read(Path("nowhere")).phase
    'pending'
    """
    try:
        content = json.loads((directory / _FILE).read_text("utf-8"))
    except FileNotFoundError:
        return State()
    state = State(**content)
    if state.phase == "running" and not _is_locked(directory):
        return dataclasses.replace(state, phase="interrupted")
    return state


def _is_locked(directory: Path) -> bool:
    with open(directory / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Holds a job for one attempt, waiting for whoever holds it.

    The kernel drops the lock when the last process dies that has the file
    open: after a worker was killed, its training still counts as an attempt.

    Args:
        directory: Of the job.

    Yields:
        The file descriptor, for children to inherit.
    """
    with open(directory / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
