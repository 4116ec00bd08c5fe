"""Progress of a run: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from typing import TextIO


def duration(seconds: float) -> str:
    """Formats seconds as 7s, 1:05 or 2:03:04.

    >>> duration(7.2), duration(65), duration(7384)
    ('7s', '1:05', '2:03:04')
    """
    seconds = int(seconds)
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


class Progress:
    """Shows how far a run is and how long it will still take.

    Args:
        total: Steps of the whole run.
        start: Steps done before, by an interrupted run.
        stream: Where to write; default: standard error.

    Example:

    >>> import sys
    >>> progress = Progress(10, stream=sys.stdout)
    >>> progress.line("step 5/10", note="loss 1.00")
    step 5/10  loss 1.00
    """

    def __init__(
        self, total: int, start: int = 0, stream: TextIO | None = None
    ) -> None:
        self.total = total
        self.start = start
        self.stream = stream or sys.stderr
        self.began = time.monotonic()
        self._bar = self._task = None
        if self.stream.isatty():
            self._bar, self._task = _bar(total, start, self.stream)
            self._bar.start()

    def restart(self, step: int) -> None:
        """Counts the speed from here: what came before was compilation."""
        self.start = step
        self.began = time.monotonic()

    def update(self, step: int, note: str = "") -> None:
        """Moves the bar of a terminal; elsewhere does nothing."""
        if self._bar:
            self._bar.update(self._task, completed=step, note=note)

    def line(self, *parts: str, note: str = "") -> None:
        """Writes a line that stays."""
        text = "  ".join(part for part in (*parts, note) if part)
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    def eta(self, step: int) -> str:
        """Returns the time that is left at the mean speed so far."""
        done = step - self.start
        if done <= 0:
            return "?"
        spent = time.monotonic() - self.began
        return duration(spent / done * (self.total - step))

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar:
            self._bar.stop()
            self._bar = None


def _bar(total: int, start: int, stream: TextIO) -> tuple:
    from rich import console, progress

    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        progress.TextColumn("{task.fields[note]}", markup=False),
    )
    # Emoji would replace parts of paths such as ":a:".
    out = console.Console(file=stream, emoji=False)
    bar = progress.Progress(*columns, console=out)
    return bar, bar.add_task("", total=total, completed=start, note="")
