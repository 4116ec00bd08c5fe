"""Where a study stands: jobs by state, and what failed."""

from collections import Counter

from bit_keras.benchmarks.study import plan
from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.progress import Estimate
from bit_keras.benchmarks.study.settings import Study
from bit_keras.benchmarks.study.state import State

_ORDER = ("done", "running", "interrupted", "failed", "pending")


def read(study: Study) -> dict[str, State]:
    """Returns the state of each job, by name."""
    return {name: states.read(study.job(name)) for name in study.names()}


def summary(study: Study) -> str:
    """Returns counts, time left, running and failed jobs as text.

    Example:

    >>> from bit_keras.benchmarks.study.settings import Settings
    >>> from bit_keras.recipes.study import micro
    >>> made = Study("out")
    >>> made.create(Settings(grid="micro"), micro())
    >>> print(summary(made))
    2 jobs: 2 pending
    """
    found = read(study)
    counts = Counter(state.phase for state in found.values())
    parts = [f"{counts[phase]} {phase}" for phase in _ORDER if counts[phase]]
    lines = [f"{len(found)} jobs: {', '.join(parts)}"]
    if left := _time_left(study, found):
        lines.append(left)
    for name, state in found.items():
        if state.phase == "running":
            lines.append(
                f"running  {name}: {state.what}, attempt {state.attempts}, "
                f"since {state.began} on {state.host}"
            )
    lines += failures(study, found)
    return "\n".join(lines)


def failures(study: Study, found: dict[str, State]) -> list[str]:
    """Returns why each failed job did, where its log is, and what to do."""
    lines = []
    for name, state in found.items():
        if state.phase == "failed":
            what = f" while {state.what}" if state.what else ""
            lines.append(f"failed   {name}{what}: {state.reason}")
            lines.append(f"         {study.job(name) / states.LOG}")
    if lines:
        lines.append("Repair the cause, then: study run --retry-failed")
    return lines


def _time_left(study: Study, found: dict[str, State]) -> str:
    estimate = Estimate(plan.estimates(study))
    for name, state in found.items():
        estimate.add(name, state)
    left = [n for n, s in found.items() if s.phase not in ("done", "failed")]
    running = sum(state.phase == "running" for state in found.values())
    if not left or estimate.left(left, 1) is None:
        return ""
    workers = max(1, running)
    return f"time left with {workers} at a time: {estimate.text(left, workers)}"
