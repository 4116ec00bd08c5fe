"""Carries out a plan or a study on an engine, telling how it goes."""

import shlex
from collections.abc import Callable, Sequence

from bit_keras.benchmarks.study import engine, job, plan, status
from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.progress import Estimate
from bit_keras.benchmarks.study.settings import Study
from bit_keras.progress import duration

Say = Callable[[str], None]


def rehearse(study: Study, threads: int, say: Say) -> list[str]:
    """Runs the rehearsals that are missing, on the connected engine.

    Args:
        study: The study.
        threads: Per job.
        say: Is given a line on each.

    Returns:
        What failed, as lines of text.
    """
    folders = plan.prepare(study)
    if folders:
        say(f"Rehearsing a few steps of each kind of job: {len(folders)}.")
    failed = []
    calls = [(str(folder), threads) for folder in folders]
    for folder, state in engine.run_all(job.run, calls, say):
        if state.phase == "failed":
            failed.append(
                f"{folder.name}: {state.reason} ({folder / states.LOG})"
            )
        else:
            seconds = state.train_seconds + state.probe_seconds
            say(f"{folder.name}: {state.phase} in {duration(seconds)}")
        plan.collect(study, [folder])
    return failed


def run(
    study: Study, workers: int, threads: int, retry_failed: bool, say: Say
) -> int:
    """Runs all jobs that are not done, on the connected engine.

    Args:
        study: The study.
        workers: Jobs at a time.
        threads: Per job.
        retry_failed: Whether failed jobs are tried again.
        say: Is given a line on each job.

    Returns:
        The exit code: 1 if a job has failed.
    """
    found = status.read(study)
    estimate = Estimate(plan.estimates(study))
    for name, state in found.items():
        estimate.add(name, state)
        if retry_failed and state.phase == "failed":
            folder = study.job(name)
            again = states.State(attempts=state.attempts)
            found[name] = states.write(folder, again)
    left = order(study, found, estimate)
    say(
        f"{len(found)} jobs, {len(left)} to do, {workers} at a time with "
        f"{threads} threads each; time left {estimate.text(left, workers)}"
    )
    calls = [(str(study.job(name)), threads) for name in left]
    for folder, state in engine.run_all(job.run, calls, say):
        name = folder.name
        left.remove(name)
        found[name] = state
        estimate.add(name, state)
        seconds = state.train_seconds + state.probe_seconds
        end = f" in {duration(seconds)}" if state.phase == "done" else ""
        say(
            f"{len(found) - len(left)}/{len(found)} {name}: {state.phase}{end}"
            f"  time left {estimate.text(left, workers)}"
        )
    for line in status.failures(study, found):
        say(line)
    if not all(s.phase == "done" for s in found.values()):
        return 1
    out = shlex.quote(str(study.path))
    say(f"Next: python -m bit_keras.benchmarks study report --out {out}")
    return 0


def order(
    study: Study, found: dict[str, states.State], estimate: Estimate
) -> list[str]:
    """Returns the jobs that are to do, the longest first.

    That keeps all workers busy to the end (Graham, 1969: at most 4/3 of the
    best time).

    Args:
        study: The study.
        found: State of each job, by name.
        estimate: Of the time of each.
    """
    left = [n for n, s in found.items() if s.phase not in ("done", "failed")]

    def cost(name: str) -> float:
        recipe = study.recipe(name)
        seen = recipe.schedule.steps * recipe.run.batch_size
        return estimate.seconds(name) or float(seen)

    return sorted(left, key=cost, reverse=True)


def lines(study: Study, workers: int) -> Sequence[str]:
    """Returns the plan as a table of text: a line per job, and the sum."""
    known, seconds = plan.read(study), plan.estimates(study)
    width = max(map(len, study.names()))
    head = f"{'job':{width}}  parameters  examples  s/step    time"
    table = [head]
    for name in study.names():
        recipe = study.recipe(name)
        seen = recipe.schedule.steps * recipe.run.batch_size
        cost = known.get(plan.kind(recipe))
        figures = ("?", "?", "?")
        if cost:
            figures = (
                f"{cost.parameters}",
                f"{cost.step_seconds:.4f}",
                duration(seconds[name]),
            )
        table.append(
            f"{name:{width}}  {figures[0]:>10}  {seen:>8}  {figures[1]:>6}  "
            f"{figures[2]:>6}"
        )
    total = sum(seconds.values())
    longest = sorted(seconds.values(), reverse=True)
    counted, jobs = len(seconds), len(study.names())
    number = f"{jobs}" if counted == jobs else f"{counted} of {jobs}"
    table.append(
        f"{number} jobs: {duration(total)} of work, "
        f"{duration(plan.makespan(longest, workers))} with {workers} at a time"
    )
    return table
