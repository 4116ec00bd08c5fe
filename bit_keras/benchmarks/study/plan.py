"""What a study will cost: measured on this machine, before anything runs.

A rehearsal is a job of a few steps: it trains, keeps one checkpoint and probes
it on all tasks, so that its figures hold for everything a job does, and what
is wrong with a task shows within minutes.
"""

import dataclasses
import heapq
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.settings import Study, write_recipe
from bit_keras.recipe import Recipe
from bit_keras.workdir import weights_name

FILE = "plan.json"
# The first half, in which TensorFlow compiles, does not count.
_STEPS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What one network costs here.

    Attributes:
        parameters: Of the network, its head included.
        step_seconds: Of one training step.
        train_seconds: Of the rehearsal's training: start, steps, evaluation.
        probe_seconds: Of probing one checkpoint on all tasks, with its start.
    """

    parameters: int
    step_seconds: float
    train_seconds: float
    probe_seconds: float

    def seconds(self, recipe: Recipe) -> float:
        """Estimates a job: as the rehearsal, but with more steps and probes.

        With `layers` it is too high: only the last checkpoint of a job, as the
        only one of a rehearsal, is probed at all of them.

        >>> from bit_keras.recipes.study import micro
        >>> cost = Rehearsal(parameters=9, step_seconds=0.5, train_seconds=20,
        ...                  probe_seconds=4)
        >>> cost.seconds(micro()[0])  # 20 steps, 2 checkpoints
        28.0
        """
        more = (recipe.schedule.steps - _STEPS) * self.step_seconds
        probes = len(recipe.run.keep_weights_at) * self.probe_seconds
        return self.train_seconds + max(0.0, more) + probes


def kind(recipe: Recipe) -> str:
    """Names what a rehearsal depends on: jobs of one kind share it.

    >>> from bit_keras.recipes.study import micro
    >>> kind(micro()[0])
    'bit_nano-16px-batch32-float32'
    """
    run = recipe.run
    return (
        f"{recipe.model.name}-{recipe.preprocess.crop}px-batch{run.batch_size}"
        f"-{run.precision}"
    )


def prepare(study: Study) -> list[Path]:
    """Writes the rehearsals that are not done yet, and returns their folders.

    Each kind of job is rehearsed by the first of it.
    """
    found: dict[str, Recipe] = {}
    for name in study.names():
        recipe = study.recipe(name)
        found.setdefault(kind(recipe), recipe)
    known = read(study)
    folders = []
    for name, recipe in found.items():
        if name in known:
            continue
        folder = study.path / "rehearsal" / name
        # One that failed has been looked at by now; what it did half would not
        # be measured again, and not be counted.
        shutil.rmtree(folder, ignore_errors=True)
        write_recipe(folder, _short(recipe))
        states.write(folder, states.State())
        folders.append(folder)
    return folders


def _short(recipe: Recipe) -> Recipe:
    schedule = dataclasses.replace(
        recipe.schedule, steps=_STEPS, warmup_steps=0, boundaries=()
    )
    run = dataclasses.replace(
        recipe.run,
        keep_weights_at=(_STEPS,),
        eval_every=_STEPS,
        log_every=_STEPS // 2,
    )
    return dataclasses.replace(recipe, schedule=schedule, run=run)


def collect(study: Study, folders: Iterable[Path]) -> None:
    """Adds what finished rehearsals measured to the study's plan."""
    known = read(study)
    for folder in folders:
        state = states.read(folder)
        if state.phase == "done":
            known[folder.name] = _measured(folder, state)
    content = {name: dataclasses.asdict(one) for name, one in known.items()}
    write_atomic(study.path / FILE, json.dumps(content, indent=1) + "\n")


def _measured(folder: Path, state: states.State) -> Rehearsal:
    facts = json.loads((folder / "recipe.json").read_text("utf-8"))
    batch = facts["recipe"]["run"]["batch_size"]
    lines = (folder / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    speed = [r["images_per_second"] for r in rows if r["kind"] == "train"][-1]
    with np.load(folder / "run" / weights_name(_STEPS)) as arrays:
        parameters = sum(array.size for array in arrays.values())
    return Rehearsal(
        parameters=int(parameters),
        step_seconds=batch / speed,
        train_seconds=state.train_seconds,
        probe_seconds=state.probe_seconds,
    )


def read(study: Study) -> dict[str, Rehearsal]:
    """Returns the rehearsals that were measured, by `kind`."""
    path = study.path / FILE
    if not path.exists():
        return {}
    content = json.loads(path.read_text("utf-8"))
    return {name: Rehearsal(**fields) for name, fields in content.items()}


def estimates(study: Study) -> dict[str, float]:
    """Returns the seconds of each job whose kind was rehearsed, by name."""
    known = read(study)
    recipes = {name: study.recipe(name) for name in study.names()}
    return {
        name: known[kind(recipe)].seconds(recipe)
        for name, recipe in recipes.items()
        if kind(recipe) in known
    }


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Returns when the last job ends, if each free worker takes the next one.

    That is how the engines go through the list.

    Args:
        seconds: Of each job, in the order in which they are begun.
        workers: Jobs at a time.

    Example:

    >>> makespan([3, 3, 2, 2, 2], workers=2)
    7
    """
    free = [0] * workers
    for duration in seconds:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)
