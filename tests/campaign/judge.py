"""What becomes of one hostile input: the verdict, and the rules behind it."""

import contextlib
import dataclasses
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from bit_keras.messages import one_line

# A case may take this many seconds, and this much memory, in bytes.
SECONDS, BYTES = 20, 1 << 30
# A message longer than this is not one that a person reads.
_LONGEST = 4000
_LEGAL = ("accepted", "skipped")


@dataclasses.dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        kind: What is wrong with it, for the table of results.
        name: Of the file that is written.
        data: Its bytes.
        options: For the code that is given the file, such as how to read it.
    """

    kind: str
    name: str
    data: bytes = dataclasses.field(repr=False)
    options: tuple = ()

    def _repr_pretty_(self, printer, cycle):
        # hypothesis shows every field, and some of these are of many MiB.
        printer.text(repr(self))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        verdict: "accepted" (it was good after all), "skipped" (as documented,
            and counted), "refused" (in one line that names the file) or
            "failed" (anything else).
        message: Of the error; of a failure: what the failure is.
    """

    verdict: str
    message: str = ""


# Given the case and its file: "accepted" or "skipped", or an error is raised.
Attempt = Callable[[Case, Path], str]


def judge(attempt: Attempt, case: Case) -> Outcome:
    """Gives a hostile file to the code under test, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        folder = Path(name)
        path = folder / "in" / case.name
        path.parent.mkdir()
        path.write_bytes(case.data)
        # Payloads of code leave a file behind where they run.
        with contextlib.chdir(path.parent), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _judge(attempt, case, path)


def _judge(attempt: Attempt, case: Case, path: Path) -> Outcome:
    # Of the processor, because others may be using the machine.
    _reset()
    began, memory = time.process_time(), _peak()
    try:
        outcome = Outcome(attempt(case, path))
        if outcome.verdict not in _LEGAL:
            outcome = Outcome("failed", outcome.verdict)
    except (ValueError, OSError) as error:
        outcome = _of_error(error, case)
    except Exception as error:
        outcome = Outcome("failed", f"bare {type(error).__name__}: {error}")
    if outcome.verdict == "failed":
        return outcome
    if (seconds := time.process_time() - began) > SECONDS:
        return Outcome("failed", f"took {seconds:.0f} s")
    if (more := _peak() - memory) > BYTES:
        return Outcome("failed", f"took {more / 2**30:.1f} GiB")
    if left := sorted(_left(path, outcome.verdict)):
        return Outcome("failed", f"left {', '.join(left)}")
    return outcome


def _of_error(error: Exception, case: Case) -> Outcome:
    """Judges the message of an error that the commands show as one line."""
    text = one_line(error)
    lines = text.split("\n")
    if len(text) > _LONGEST:
        return Outcome("failed", f"message of {len(text)} characters")
    if not all(line.isprintable() for line in lines):
        return Outcome("failed", f"message that steers a terminal: {text!r}")
    # The report on a checkpoint that does not fit goes on in indented lines.
    if not all(line.startswith("  ") for line in lines[1:]):
        return Outcome("failed", f"message of several lines: {text!r}")
    if one_line(ValueError(case.name)) not in text:
        return Outcome("failed", f"message that names no file: {text}")
    return Outcome("refused", text)


def _left(path: Path, verdict: str) -> Iterator[str]:
    """Yields what was written that should not have been.

    Beside the file's folder, `work` is for the campaign itself, and results may
    be in `out` unless the file was refused.
    """
    for folder, names, files in os.walk(path.parents[1]):
        place = os.path.relpath(folder, path.parents[1])
        top = place.split(os.sep)[0]
        if top == "work" or (top == "out" and verdict != "refused"):
            continue
        for name in files:
            if os.path.join(folder, name) != str(path):
                yield os.path.join(place, name)
        for name in names:
            if os.path.islink(os.path.join(folder, name)):
                yield os.path.join(place, name)


def _peak() -> int:
    """Returns the most memory since the last `_reset`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def _reset() -> None:
    # proc(5): sets the peak to what is in use now.
    Path("/proc/self/clear_refs").write_text("5")
