"""A model with a head under corruptions, as rows of results."""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bit_keras.benchmarks import (
    corruptions,
    fewshot,
    results,
    results_export,
    selection,
    task_data,
)
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.corruptions.constants import SEVERITIES
from bit_keras.benchmarks.corruptions.error import (
    mce,
    mean_corruption_error,
    relative_mce,
)
from bit_keras.benchmarks.corruptions.subject import Condition, Subject
from bit_keras.benchmarks.predictions import predict
from bit_keras.benchmarks.tasks import Task
from bit_keras.progress import duration


def run(
    args: argparse.Namespace,
    chosen: Sequence[Task],
    types: Sequence[str],
    severities: Sequence[int],
    say: Callable[[str], None],
) -> int:
    """Carries out the sub-command, and prints a table for each task.

    Args:
        args: Of the sub-command.
        chosen: Tasks to measure.
        types: Of corruption.
        severities: Of each type.
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
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    failures = []
    for task in chosen:
        try:
            source = task_data.open_split(task, "test", args.data_dir)
            subject = Subject(backbone, task, source)
            conditions = [
                subject.clean(),
                *(subject.corrupted(n, s) for n in types for s in severities),
            ]
            measure(
                subject,
                conditions,
                file,
                say,
                cache_dir=selection.cache_dir(args),
                batch_size=args.batch_size or 64,
            )
        except (ValueError, FileNotFoundError) as error:
            failures.append(str(error))
            continue
        file.append(_summaries(subject, file))
        print(table(subject, conditions, file), end="")
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0


def measure(
    subject: Subject,
    conditions: Sequence[Condition],
    file: results.ResultsFile,
    say: Callable[[str], None],
    *,
    cache_dir: Path,
    batch_size: int = 64,
) -> None:
    """Measures the accuracy under each condition that is not in the file yet.

    Args:
        subject: Of which images, of which model.
        conditions: To measure.
        file: Is given a row as soon as it is measured.
        say: Is given a line per condition, with the time that is left.
        cache_dir: Folder of logits.
        batch_size: Images per call.

    Raises:
        ValueError: If the model has no head for these classes.
    """
    done = {row.config_hash for row in file.rows()}
    todo = [c for c in conditions if subject.config_hash(c) not in done]
    if len(todo) < len(conditions):
        say(
            f"{subject.task.name}: {len(conditions) - len(todo)} of "
            f"{len(conditions)} measured already"
        )
    began = time.monotonic()
    for number, condition in enumerate(todo, start=1):
        row = _measured(subject, condition, cache_dir, batch_size, say)
        file.append([row])
        left = (time.monotonic() - began) / number * (len(todo) - number)
        say(
            f"{row.task}: accuracy {row.value:.3f}  {number}/{len(todo)}  "
            f"ETA {duration(left)}"
        )


def _measured(
    subject: Subject,
    condition: Condition,
    cache_dir: Path,
    batch_size: int,
    say: Callable[[str], None],
) -> results.Row:
    found = predict(
        subject.backbone,
        subject.task.name,
        subject.source,
        condition.images,
        cache_dir,
        num_classes=subject.source.num_classes,
        # Corrupt files are the same under every condition.
        say=say if condition.severity == 0 else _nowhere,
        batch_size=batch_size,
    )
    accuracy = float(np.mean(found.logits.argmax(1) == found.labels))
    details: dict[str, Any] = {
        "corruption": condition.corruption or "clean",
        "severity": condition.severity,
    }
    if condition.corruption == "frost":
        details["frost"] = "drawn, not photographed"
    return subject.row(
        condition.name,
        str(condition.images),
        metric="accuracy",
        value=accuracy,
        stderr=fewshot.stderr(accuracy, len(found.labels)),
        n=len(found.labels),
        details=details,
        config_hash=subject.config_hash(condition),
    )


def _nowhere(message: str) -> None:
    pass


def _found(
    subject: Subject, conditions: Sequence[Condition], file: results.ResultsFile
) -> dict[Condition, results.Row]:
    """Returns the rows of conditions that have been measured."""
    rows = {row.config_hash: row for row in file.rows()}
    hashes = {c: subject.config_hash(c) for c in conditions}
    return {c: rows[h] for c, h in hashes.items() if h in rows}


def _summaries(
    subject: Subject, file: results.ResultsFile
) -> Iterator[results.Row]:
    """Yields the mean errors, if all are measured and the means are not."""
    every = [
        subject.corrupted(name, severity)
        for name in corruptions.names()
        for severity in SEVERITIES
    ]
    clean = subject.clean()
    rows = _found(subject, [clean, *every], file)
    if len(rows) < 1 + len(every):
        return
    errors: dict[str, list[float]] = {}
    for condition in every:
        error = 1 - rows[condition].value
        errors.setdefault(condition.corruption, []).append(error)
    means = {"mean_corruption_error": mean_corruption_error(errors)}
    if subject.is_imagenet:
        clean_error = 1 - rows[clean].value
        means["mce"] = mce(errors)
        means["relative_mce"] = relative_mce(errors, clean_error)
    done = {row.config_hash for row in file.rows()}
    hashes = sorted(row.config_hash for row in rows.values())
    for metric, value in means.items():
        key = results.config_hash({"metric": metric, "of": hashes})
        if key not in done:
            yield subject.row(
                "",
                f"{subject.geometry}, 15 corruptions at 5 severities",
                metric=metric,
                value=value,
                stderr=None,
                n=rows[clean].n,
                details={"frost": "drawn, not photographed"},
                config_hash=key,
            )


def table(
    subject: Subject, conditions: Sequence[Condition], file: results.ResultsFile
) -> str:
    """Returns the accuracies as text: corruptions by severities.

    Below, if all are there, the mean error, as it is.

    Args:
        subject: Of which images, of which model.
        conditions: To show.
        file: Of the rows.
    """
    rows = _found(subject, conditions, file)
    lines: dict[str, dict[str, Any]] = {}
    for condition, row in rows.items():
        name = condition.corruption or "clean"
        line = lines.setdefault(name, {"corruption": name})
        line[str(condition.severity)] = row.value
    frame = pd.DataFrame(lines.values())
    levels = frame.columns.drop(["corruption"])
    frame["mean"] = frame[levels].mean(axis=1)
    head = f"{subject.task.name}: accuracy by severity (0: clean)"
    text = f"{head}\n{results_export.aligned(frame)}\n"
    errors = [1 - row.value for c, row in rows.items() if c.corruption]
    if len(errors) == len(corruptions.names()) * len(SEVERITIES):
        text += (
            f"mean corruption error {sum(errors) / len(errors):.4f}: of all 15 "
            "corruptions and 5 severities alike, not over AlexNet's errors as "
            "ImageNet-C's mCE is\n"
        )
    return text
