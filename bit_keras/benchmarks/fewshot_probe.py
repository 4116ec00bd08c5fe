"""Few-shot probes of one backbone over many tasks, as rows of results."""

import argparse
import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bit_keras.benchmarks import (
    exclusions,
    fewshot,
    protocols,
    results,
    selection,
    source_subset,
    task_data,
)
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.features import Features, extract
from bit_keras.benchmarks.fewshot_job import Job
from bit_keras.benchmarks.fewshot_overview import finish
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.subsets import check_enough
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source


def run(
    args: argparse.Namespace,
    chosen: tuple[Task, ...],
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    say: Callable[[str], None],
) -> int:
    """Carries out `fewshot --mode probe`, and prints the table of medians.

    Args:
        args: Of the sub-command.
        chosen: Tasks to measure.
        shots: Images per class.
        seeds: Draws of those.
        say: Is given one line on each thing done.

    Returns:
        The exit code: 1 if a task could not be measured.
    """
    backbone = open_backbone(
        args.model,
        args.init,
        resolution=args.resolution,
        input_range=selection.input_range(args),
    )
    endpoints = [name.strip() for name in args.endpoint.split(",")]
    job = Job(
        backbone=backbone,
        protocol=protocols.get(args.protocol),
        endpoints=tuple(dict.fromkeys(endpoints)),
        shots=shots,
        seeds=seeds,
        preprocessing=Preprocessing.few_shot(backbone.resolution),
        data_dir=args.data_dir,
        cache_dir=selection.cache_dir(args),
        batch_size=args.batch_size or 64,
        allow_fewer=args.allow_fewer,
        exclude=exclusions.read(args.exclude),
    )
    # Misspelt endpoints, before the first task's features.
    backbone.features(job.endpoints)
    say(
        f"{backbone.name}: {len(chosen)} tasks, {job.preprocessing}, protocol "
        f"{job.protocol.name}"
    )
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    hashes, failures = measure(job, chosen, file, say)
    return finish(file.rows(), hashes, failures, say)


def measure(
    job: Job,
    chosen: Sequence[Task],
    file: results.ResultsFile,
    say: Callable[[str], None],
) -> tuple[set[str], list[str]]:
    """Measures all tasks and appends what is not in the file yet.

    Tasks that fail do not keep the others from being measured, unless the
    penalty is chosen by all tasks together: then there are no rows at all.

    Args:
        job: What to measure.
        chosen: Tasks.
        file: Of the rows.
        say: Is given a line per task.

    Returns:
        `config_hash` of all rows asked for, and why tasks failed.
    """
    done = {row.config_hash for row in file.rows()}
    opened, failures = _open(job, chosen)
    hashes = {task: job.hashes(task, opened) for task in opened}
    parts = [(task,) for task in opened]
    if job.together:
        parts = [tuple(opened)] if not failures else []
    for part in parts:
        new = {h for task in part for h in hashes[task].values()} - done
        if not new:
            names = ", ".join(task.name for task in part)
            say(f"{names}: measured already")
            continue
        measured = {}
        for task in part:
            try:
                measured[task] = _probe(job, task, opened[task], say)
            except ValueError as error:
                failures.append(_about(task, error))
        if len(measured) == len(part):
            rows = _rows(job, measured, hashes)
            file.append(row for row in rows if row.config_hash in new)
    if failures and job.together:
        failures.append(
            f"Protocol {job.protocol.name} chooses l2 by all tasks together, "
            "so nothing was written. Leave the failing tasks out of --tasks; "
            "the features of the others are kept."
        )
    return {h for table in hashes.values() for h in table.values()}, failures


def _open(
    job: Job, chosen: Sequence[Task]
) -> tuple[dict[Task, tuple[Source, Source]], list[str]]:
    """Opens train and test split of all tasks; says which fail, and why."""
    opened, failures = {}, []
    for task in chosen:
        try:
            opened[task] = task_data.open_both(task, job.data_dir)
        except (ValueError, FileNotFoundError) as error:
            failures.append(_about(task, error))
    return opened, failures


def _about(task: Task, error: Exception) -> str:
    """Returns the error's text, beginning with the name of the task."""
    text, name = str(error), task.name
    named = text.startswith((f"task {name}: ", f"{name} ", f"{name}: "))
    return text if named else f"{name}: {text}"


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A task's accuracies over all penalties, by endpoint."""

    test_examples: int
    excluded: int
    # Training images of the smallest class.
    fewest: int
    tables: dict[str, pd.DataFrame]


def _probe(
    job: Job,
    task: Task,
    sources: tuple[Source, Source],
    say: Callable[[str], None],
) -> _Measured:
    excluded = source_subset.present(
        task.name, sources[1], job.exclude.get(task.name, ())
    )
    train = _features(job, task, sources[0], say)
    num_classes, most = sources[0].num_classes, max(job.shots)
    if not job.allow_fewer:
        # Before the test set, which may be large, is extracted.
        names = sources[0].class_names
        check_enough(train.labels, num_classes, most, names)
    test = _features(job, task, sources[1], say, excluded)
    counts = np.bincount(train.labels, minlength=num_classes)
    fewest = int(counts.min())
    if fewest < most:
        say(
            f"{task.name}: {(counts < most).sum()} of {num_classes} classes "
            f"have fewer than {most} images, the smallest {fewest}; what is "
            f"called {most} shots is up to {most} per class."
        )
    began = time.monotonic()
    tables = {
        endpoint: fewshot.linear_probe(
            train.features[endpoint],
            train.labels,
            test.features[endpoint],
            test.labels,
            num_classes=num_classes,
            shots=job.shots,
            seeds=job.seeds,
            l2=job.protocol.l2,
            subset=job.protocol.subset,
            validation=job.protocol.validation,
            allow_fewer=job.allow_fewer,
        )
        for endpoint in job.endpoints
    }
    seconds = time.monotonic() - began
    say(
        f"{task.name}: features {train.seconds + test.seconds:.1f} s, "
        f"probes {seconds:.1f} s"
    )
    return _Measured(len(test.labels), len(excluded), fewest, tables)


def _features(
    job: Job,
    task: Task,
    source: Source,
    say: Callable[[str], None],
    exclude: Collection[str] = (),
) -> Features:
    return extract(
        job.backbone,
        task.name,
        source,
        job.endpoints,
        job.preprocessing,
        job.cache_dir,
        job.batch_size,
        say,
        exclude,
    )


def _rows(
    job: Job,
    measured: Mapping[Task, _Measured],
    hashes: Mapping[Task, Mapping[tuple, str]],
) -> list[results.Row]:
    """Returns the rows of tasks that choose their penalty together."""
    rows = []
    for endpoint in job.endpoints:
        tables = {t.name: one.tables[endpoint] for t, one in measured.items()}
        best = protocols.evaluate(tables, job.protocol.name)
        more: dict[str, Any] = {}
        if job.together:
            more["tasks"] = ",".join(sorted(tables))
        for task, one in measured.items():
            if job.allow_fewer:
                more["allow_fewer"] = True
                more["fewest_per_class"] = one.fewest
            if job.exclude:
                more["excluded"] = one.excluded
            for line in best[best["task"] == task.name].itertuples():
                seed = None if pd.isna(line.seed) else int(line.seed)
                rows.append(
                    results.Row(
                        **_common(job, task, one.test_examples),
                        value=line.accuracy,
                        stderr=fewshot.stderr(line.accuracy, one.test_examples),
                        endpoint=endpoint,
                        shots=line.shots,
                        seed=seed,
                        details={"l2": line.l2, **more},
                        config_hash=hashes[task][endpoint, line.shots, seed],
                    )
                )
    return rows


def _common(job: Job, task: Task, test_examples: int) -> dict[str, Any]:
    """Returns what the rows of a task share."""
    return {
        "benchmark": "fewshot",
        "model": job.backbone.name,
        "model_sha256": job.backbone.sha256,
        "upstream": job.backbone.upstream,
        "task": task.name,
        "group": task.kind,
        "protocol": exclusions.protocol(job.protocol.name, job.exclude),
        "preprocessing": str(job.preprocessing),
        "metric": "accuracy",
        "n": test_examples,
    }
