"""Few-shot accuracy by fine-tuning: BiT's protocol, section 4.2."""

import argparse
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from bit_keras.benchmarks import (
    exclusions,
    fewshot,
    results,
    source_subset,
    task_data,
)
from bit_keras.benchmarks.fewshot_overview import finish
from bit_keras.benchmarks.finetune import (
    Start,
    finetune,
    hyperrule_recipe,
    open_start,
    preprocessing,
    protocol_with,
)
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source
from bit_keras.data.subset import few_shot
from bit_keras.recipe import Recipe, to_dict
from bit_keras.stops import NotFiniteError

_PROTOCOL = "finetune"
# What one trial may have: data, a diverging run, a run directory in use.
_FAILURES = (ValueError, FileNotFoundError, BlockingIOError, NotFiniteError)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One fine-tuning.

    Attributes:
        task: What to learn.
        recipe: How.
        train: The whole train split of the task.
        test: Its test split.
        shots: Training images per class.
        seed: Of the subset, and of the run.
        excluded: How many images were left out of `test`; None: all are in it.
        settled: Protocol on all of `test`, from `finetune.protocol_with`.
    """

    task: Task
    recipe: Recipe
    train: Source
    test: Source
    shots: int
    seed: int
    excluded: int | None = None
    settled: str = _PROTOCOL

    @property
    def protocol(self) -> str:
        """Of the row: deduplicated ones are another protocol."""
        exclude = {} if self.excluded is None else {self.task.name: ()}
        return exclusions.protocol(self.settled, exclude)

    def __str__(self) -> str:
        return f"{self.task.name}, {self.shots} shots, seed {self.seed}"


def run(
    args: argparse.Namespace,
    chosen: tuple[Task, ...],
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    say: Callable[[str], None],
) -> int:
    """Carries out `fewshot --mode finetune`, and prints the table of medians.

    The whole network is fine-tuned by BiT-HyperRule on a random balanced subset
    for every number of shots and every seed, from a head of zeros, and measured
    on the whole test split.  Every run is a row; the paper plots all of them
    and their median.

    Args:
        args: Of the sub-command.
        chosen: Tasks to measure.
        shots: Images per class.
        seeds: Subsets of that size.
        say: Is given each message.

    Returns:
        The exit code: 1 if a run failed.
    """
    start = open_start(args.model, args.init)
    overrides = list(args.overrides)
    if args.resolution:
        overrides.append(f"preprocess.crop={args.resolution}")
    # What --resolution decides is in the rows' preprocessing.
    settled = protocol_with(_PROTOCOL, args.batch_size, args.overrides)
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    done = {row.config_hash for row in file.rows()}
    exclude = exclusions.read(args.exclude)
    asked, failures = set(), []
    for task in chosen:
        recipe = hyperrule_recipe(start, task, args.batch_size, overrides)
        try:
            planned = [
                dataclasses.replace(trial, settled=settled)
                for trial in trials(
                    task, recipe, shots, seeds, args.data_dir, exclude
                )
            ]
        except _FAILURES as error:
            failures.append(str(error))
            continue
        for trial in planned:
            asked.add(hashed := config_hash(start, trial))
            if hashed in done:
                say(f"{trial}: measured already")
                continue
            say(f"{trial}:")
            try:
                row = measure(start, trial, args.out, say)
            except _FAILURES as error:
                failures.append(f"{trial}: {error}")
            else:
                file.append([row])
                say(f"{trial}: {row.value:.4f}")
    return finish(file.rows(), asked, failures, say)


def trials(
    task: Task,
    recipe: Recipe,
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    data_dir: str | None,
    exclude: Mapping[str, Collection[str]] | None = None,
) -> Iterator[Trial]:
    """Yields the trials of a task, after opening its data.

    Args:
        task: What to learn.
        recipe: From `hyperrule_recipe`.
        shots: Images per class.
        seeds: Subsets of that size.
        data_dir: Folder of TFDS data; None: TFDS's default.
        exclude: Test images to leave out, from `exclusions.read`; None: none.
    """
    train, test = task_data.open_both(task, data_dir)
    excluded = None
    if exclude:
        ids = source_subset.present(task.name, test, exclude[task.name])
        test, excluded = source_subset.without(test, ids), len(ids)
    for k in shots:
        for seed in seeds:
            yield Trial(task, recipe, train, test, k, seed, excluded)


def config_hash(start: Start, trial: Trial) -> str:
    """Returns the hash of all that decides a trial's number."""
    sources = (trial.train, trial.test)
    return results.config_hash(
        {
            "benchmark": "fewshot",
            "model": start.sha256,
            "task": trial.task.name,
            "data": [[s.name, s.split, s.fingerprint] for s in sources],
            "protocol": trial.protocol,
            "recipe": to_dict(trial.recipe),
            "shots": trial.shots,
            "seed": trial.seed,
        }
    )


def measure(
    start: Start, trial: Trial, out: str, say: Callable[[str], None]
) -> results.Row:
    """Fine-tunes and returns the row.

    Args:
        start: The backbone.
        trial: What to measure.
        out: Folder; the run goes to `runs/` in it.
        say: Is given each message of the training.
    """
    recipe = dataclasses.replace(
        trial.recipe,
        run=dataclasses.replace(trial.recipe.run, seed=trial.seed),
    )
    subset = few_shot(trial.train, trial.shots, trial.seed)
    hashed = config_hash(start, trial)
    folder = Path(out, "runs", f"{trial.task.name}-{hashed}")
    result = finetune(start, recipe, subset, trial.test, folder, say)
    details = {"steps": result["steps"], "run": str(folder)}
    if trial.excluded is not None:
        details["excluded"] = trial.excluded
    return results.Row(
        benchmark="fewshot",
        model=start.name,
        model_sha256=start.sha256,
        upstream=start.upstream,
        task=trial.task.name,
        group=trial.task.kind,
        protocol=trial.protocol,
        preprocessing=preprocessing(folder),
        metric="accuracy",
        value=result["top1"],
        stderr=fewshot.stderr(result["top1"], result["eval_examples"]),
        n=result["eval_examples"],
        shots=trial.shots,
        seed=trial.seed,
        details=details,
        config_hash=hashed,
    )
