"""Few-shot probes of one backbone over many tasks, as rows of results."""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bit_keras.benchmarks import (
    fewshot,
    protocols,
    results,
    results_export,
    selection,
    task_data,
)
from bit_keras.benchmarks.backbone import Backbone, open_backbone
from bit_keras.benchmarks.features import Features, extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.protocols import Protocol
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Job:
    """What to measure on each task, and how.

    Attributes:
        backbone: Whose features.
        protocol: Which images, which penalty.
        endpoints: Which of its layers.
        shots: Training images per class.
        seeds: Draws of those.
        preprocessing: Of the images.
        data_dir: Folder of TFDS data; None: TFDS's default.
        cache_dir: Folder of extracted features.
        batch_size: Images per extraction step.
        allow_fewer: Whether small classes may give fewer than k images.
    """

    backbone: Backbone
    protocol: Protocol
    endpoints: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    preprocessing: Preprocessing
    data_dir: str | None
    cache_dir: Path
    batch_size: int = 64
    allow_fewer: bool = False

    @property
    def draws(self) -> tuple[int | None, ...]:
        """The seeds that count: a protocol of first images has none."""
        return self.seeds if self.protocol.subset == "seeded" else (None,)

    def config(
        self, task: Task, sources: tuple[Source, Source], others: Sequence[str]
    ) -> dict[str, Any]:
        """Returns all that decides the numbers of a task, but for shots etc.

        Args:
            task: Of the numbers.
            sources: Its train and test split.
            others: Tasks that take part in choosing the penalty.
        """
        return {
            "benchmark": "fewshot",
            "model": self.backbone.sha256,
            "input_range": self.backbone.input_range,
            "task": task.name,
            "data": [[s.name, s.split, s.fingerprint] for s in sources],
            "protocol": self.protocol.name,
            "others": sorted(others),
            "preprocessing": str(self.preprocessing),
            "allow_fewer": self.allow_fewer,
        }


def run(
    args: argparse.Namespace,
    chosen: tuple[Task, ...],
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    say: Callable[[str], None],
) -> int:
    """Carries out `fewshot --mode probe`.

    Args:
        args: Of the sub-command.
        chosen: Tasks to measure.
        shots: Images per class.
        seeds: Draws of those.
        say: Is given one line on each thing done.

    Returns:
        The exit code: 1 if a task could not be measured.
    """
    backbone = open_backbone(args.model, args.init, resolution=args.resolution)
    job = Job(
        backbone=backbone,
        protocol=protocols.get(args.protocol),
        endpoints=tuple(args.endpoint.split(",")),
        shots=shots,
        seeds=seeds,
        preprocessing=Preprocessing.few_shot(backbone.resolution),
        data_dir=args.data_dir,
        cache_dir=selection.cache_dir(args),
        batch_size=args.batch_size or 64,
        allow_fewer=args.allow_fewer,
    )
    # Misspelt endpoints, before the first task's features.
    backbone.features(job.endpoints)
    say(
        f"{backbone.name}: {len(chosen)} tasks, {job.preprocessing}, protocol "
        f"{job.protocol.name}"
    )
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    failures = measure(job, chosen, file, say)
    if rows := file.rows():
        say(overview(rows, backbone.sha256, job.protocol.name))
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0


def measure(
    job: Job,
    chosen: Sequence[Task],
    file: results.ResultsFile,
    say: Callable[[str], None],
) -> list[str]:
    """Measures all tasks and appends what is not in the file yet.

    Args:
        job: What to measure.
        chosen: Tasks.
        file: Of the rows.
        say: Is given a line per task.

    Returns:
        Why tasks failed; the others are measured nevertheless.
    """
    done = {row.config_hash for row in file.rows()}
    alone = job.protocol.name in ("big_vision", "validation")
    others = () if alone else tuple(task.name for task in chosen)
    measured, failures = [], []
    for task in chosen:
        try:
            sources = (
                task_data.open_split(task, "train", job.data_dir),
                task_data.open_split(task, "test", job.data_dir),
            )
            config = job.config(task, sources, others)
            if set(_hashes(job, config).values()) <= done:
                say(f"{task.name}: measured already")
                continue
            measured.append(_probe(job, task, sources, config, say))
        except ValueError as error:
            failures.append(f"{task.name}: {error}")
            continue
        if alone:
            file.append(_new(_rows(job, [measured.pop()]), done))
    # The penalty depends on all tasks: rows only when all are there.
    if measured and not (failures and others):
        file.append(_new(_rows(job, measured), done))
    return failures


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A task's accuracies over all penalties, by endpoint."""

    task: Task
    config: dict[str, Any]
    test_examples: int
    seconds: float
    tables: dict[str, pd.DataFrame]


def _probe(
    job: Job,
    task: Task,
    sources: tuple[Source, Source],
    config: dict[str, Any],
    say: Callable[[str], None],
) -> _Measured:
    train, test = (_features(job, task, source, say) for source in sources)
    began = time.monotonic()
    tables = {
        endpoint: fewshot.linear_probe(
            train.features[endpoint],
            train.labels,
            test.features[endpoint],
            test.labels,
            num_classes=sources[0].num_classes,
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
    return _Measured(task, config, len(test.labels), seconds, tables)


def _features(
    job: Job, task: Task, source: Source, say: Callable[[str], None]
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
    )


def _hashes(job: Job, config: dict[str, Any]) -> dict[tuple, str]:
    """Returns the hash of every number of a task, by what tells them apart."""
    return {
        (endpoint, shots, seed): results.config_hash(
            {**config, "endpoint": endpoint, "shots": shots, "seed": seed}
        )
        for endpoint in job.endpoints
        for shots in job.shots
        for seed in job.draws
    }


def _rows(job: Job, measured: Sequence[_Measured]) -> list[results.Row]:
    """Returns the rows of tasks that choose their penalty together."""
    rows = []
    for endpoint in job.endpoints:
        tables = {one.task.name: one.tables[endpoint] for one in measured}
        best = protocols.evaluate(tables, job.protocol.name)
        for one in measured:
            mine = best[best["task"] == one.task.name]
            rows += _task_rows(job, one, endpoint, mine)
    return rows


def _task_rows(
    job: Job, one: _Measured, endpoint: str, best: pd.DataFrame
) -> list[results.Row]:
    hashes = _hashes(job, one.config)
    rows = []
    for line in best.itertuples():
        seed = None if pd.isna(line.seed) else int(line.seed)
        rows.append(
            results.Row(
                benchmark="fewshot",
                model=job.backbone.name,
                model_sha256=job.backbone.sha256,
                upstream=job.backbone.upstream,
                task=one.task.name,
                group=one.task.kind,
                protocol=job.protocol.name,
                preprocessing=str(job.preprocessing),
                metric="accuracy",
                value=line.accuracy,
                stderr=float(fewshot.stderr(line.accuracy, one.test_examples)),
                n=one.test_examples,
                endpoint=endpoint,
                shots=line.shots,
                seed=seed,
                details={"l2": line.l2},
                config_hash=hashes[endpoint, line.shots, seed],
            )
        )
    return rows


def _new(rows: list[results.Row], done: set[str]) -> list[results.Row]:
    return [row for row in rows if row.config_hash not in done]


def overview(
    rows: Sequence[results.Row], model_sha256: str, protocol: str
) -> str:
    """Returns the medians over seeds of one model as a table of text.

    Args:
        rows: Of a results file.
        model_sha256: Of the model.
        protocol: Of the rows.
    """
    frame = pd.DataFrame(
        dataclasses.asdict(row)
        for row in rows
        if (row.benchmark, row.model_sha256, row.protocol)
        == ("fewshot", model_sha256, protocol)
    )
    frame["shots"] = frame["shots"].astype("Int64")
    frame["seed"] = frame["seed"].astype("Int64")
    by = ["model", "endpoint", "preprocessing", "task", "shots"]
    return results_export.aligned(
        results.pivot(results.summarize(frame, by), "shots")
    )
