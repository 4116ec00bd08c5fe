"""What is told while a study runs, and when it will end."""

from collections.abc import Mapping, Sequence

from bit_keras.benchmarks.study import plan
from bit_keras.benchmarks.study.state import State
from bit_keras.progress import duration


class Estimate:
    """When a study will end, by its plan and by what jobs really took.

    Args:
        planned: Seconds of each job that was rehearsed, by name.

    Example:

    >>> estimate = Estimate({"a": 60.0, "b": 60.0, "c": 60.0})
    >>> estimate.add("a", State(phase="done", attempts=1, train_seconds=100,
    ...                         probe_seconds=20))
    >>> estimate.left(["b", "c"], workers=2)
    120.0
    """

    def __init__(self, planned: Mapping[str, float]) -> None:
        self._planned = planned
        self._taken: dict[str, float] = {}

    def add(self, name: str, state: State) -> None:
        """Learns from a job that was done in one attempt."""
        if state.phase == "done" and state.attempts == 1:
            self._taken[name] = state.train_seconds + state.probe_seconds

    def seconds(self, name: str) -> float | None:
        """Returns what a job will take; None: nothing is known of any."""
        both = [name for name in self._taken if name in self._planned]
        if name in self._planned:
            planned = sum(self._planned[one] for one in both)
            taken = sum(self._taken[one] for one in both)
            return self._planned[name] * (taken / planned if both else 1.0)
        if self._taken:
            return sum(self._taken.values()) / len(self._taken)
        return None

    def left(self, names: Sequence[str], workers: int) -> float | None:
        """Returns the seconds until all of these are done; None: unknown."""
        seconds = [self.seconds(name) for name in names]
        if None in seconds:
            return None
        return plan.makespan(seconds, workers)

    def text(self, names: Sequence[str], workers: int) -> str:
        """Returns the time left as text: "1:05", or "?"."""
        left = self.left(names, workers)
        return "?" if left is None else duration(left)
