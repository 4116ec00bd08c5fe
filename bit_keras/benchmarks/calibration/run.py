"""Measures calibration and out-of-distribution detection of one model."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bit_keras.benchmarks import results, selection, task_data
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.calibration import ood, temperature
from bit_keras.benchmarks.calibration.metrics import measure
from bit_keras.benchmarks.calibration.overview import OOD_METRICS, finish
from bit_keras.benchmarks.calibration.rows import (
    Job,
    Subject,
    calibration_rows,
    metrics_of,
    ood_rows,
)
from bit_keras.benchmarks.calibration.sets import (
    Split,
    open_validation,
    trained_on,
)
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.predictions import predict
from bit_keras.benchmarks.robustness import label_space
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source


def run(
    args: argparse.Namespace,
    tasks: Sequence[Task],
    shifted: Sequence[Task],
    outside: Sequence[Task],
    say: Callable[[str], None],
) -> int:
    """Carries out the sub-command, and prints its tables.

    Args:
        args: Of the sub-command.
        tasks: That the model was trained for.
        shifted: Others of the same classes.
        outside: Others of other classes.
        say: Is given one line on each thing done.

    Returns:
        The exit code: 1 if something could not be measured.
    """
    backbone = open_backbone(
        args.model,
        args.init,
        resolution=args.resolution,
        input_range=selection.input_range(args),
    )
    job = Job(
        backbone=backbone,
        preprocessing=Preprocessing(backbone.resolution, backbone.resolution),
        data_dir=args.data_dir,
        cache_dir=selection.cache_dir(args),
        batch_size=args.batch_size or 64,
    )
    say(f"{backbone.name}: {len(tasks)} tasks, {job.preprocessing}")
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    bench = _Bench(job, args.validation_split, file, say)
    for task in tasks:
        bench.measure(task, shifted, outside)
    return finish(file.rows(), bench.hashes, bench.failures, say)


@dataclasses.dataclass
class _Bench:
    """One run: how to measure, what was asked for, and what went wrong."""

    job: Job
    validation: str | None
    file: results.ResultsFile
    say: Callable[[str], None]
    hashes: set[str] = dataclasses.field(default_factory=set)
    failures: list[str] = dataclasses.field(default_factory=list)
    appended: int = 0

    def measure(
        self, task: Task, shifted: Iterable[Task], outside: Iterable[Task]
    ) -> None:
        """Measures a task, its shifts, and what it is to be told from."""
        before = self.appended, len(self.failures)
        home = self._attempt(task.name, self._home, task)
        # Without it nothing else can be; with another head, neither.
        if not home or not self._attempt(task.name, self._raw, home):
            return
        similar = [home]
        for other in shifted:
            name = f"{task.name}/{other.name}"
            split = self._attempt(name, self._shift, name, home, other)
            if split and self._attempt(name, self._raw, split):
                similar.append(split)
        about = f"{task.name}, temperature"
        self._attempt(about, self._scaled, task, similar)
        for other in outside:
            name = f"{task.name} vs {other.name}"
            self._attempt(name, self._detect, name, home, other)
        if before == (self.appended, len(self.failures)):
            self.say(f"{task.name}: measured already")

    def _attempt(self, name: str, function: Callable, *args: Any) -> Any:
        """Returns what the function does; None, and a failure, if it cannot."""
        try:
            return function(*args)
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            named = text.startswith((f"task {name}: ", f"{name} ", f"{name}: "))
            self.failures.append(text if named else f"{name}: {text}")
            return None

    def _home(self, task: Task) -> Split:
        source = task_data.open_split(task, "test", self.job.data_dir)
        return self._split(task.name, task, source, source.num_classes)

    def _shift(self, name: str, home: Split, other: Task) -> Split:
        source = task_data.open_split(other, "test", self.job.data_dir)
        classes, others = home.source.class_names, source.class_names
        label_space.check_classes(home.name, classes, other.name, others)
        return self._split(name, other, source, home.source.num_classes)

    def _split(
        self,
        name: str,
        task: Task,
        source: Source,
        num_classes: int,
        own_classes: bool = True,
    ) -> Split:
        return Split(
            name=name,
            group=task.kind,
            source=source,
            predict=lambda: predict(
                self.job.backbone,
                task.name,
                source,
                self.job.preprocessing,
                self.job.cache_dir,
                num_classes=num_classes,
                say=self.say,
                batch_size=self.job.batch_size,
                own_classes=own_classes,
            ),
        )

    def _raw(self, split: Split) -> bool:
        subject = self._subject(split, "raw", (split.source,))
        if self._is_new(subject):
            found = measure(split.found.logits, split.found.labels)
            self._append(calibration_rows(subject, found, {}))
        return True

    def _scaled(self, task: Task, splits: Sequence[Split]) -> None:
        """Measures all splits at the temperature of the task."""
        source = open_validation(task, self.validation, self.job.data_dir)
        if source is None:
            self.say(
                f"{task.name}: no --validation-split, so no temperature is "
                "fitted."
            )
            return
        subjects = [
            self._subject(split, "temperature", (split.source, source))
            for split in splits
        ]
        # A list, because every subject must be asked.
        if not any([self._is_new(subject) for subject in subjects]):
            return
        validation = self._split(task.name, task, source, source.num_classes)
        details = self._fit(task, validation, splits)
        for subject, split in zip(subjects, splits, strict=True):
            found = measure(
                split.found.logits,
                split.found.labels,
                temperature=details["temperature"],
            )
            self._append(calibration_rows(subject, found, details))

    def _fit(
        self, task: Task, validation: Split, splits: Sequence[Split]
    ) -> dict[str, Any]:
        """Returns the temperature, and what it was fitted on."""
        found, source = validation.found, validation.source
        fitted = temperature.fit(
            found.logits,
            found.labels,
            ids=found.ids,
            evaluated={s.title: s.found.ids for s in splits},
        )
        n = len(found.labels)
        self.say(f"{task.name}: temperature {fitted:.4f}, from {n} images")
        details = {
            "temperature": fitted,
            "validation": f"{source.name} {source.split}",
            "validation_n": n,
        }
        handle = self.job.backbone.handle
        seen = trained_on(handle, task, source, self.job.data_dir)
        if seen:
            self.say(
                f"warning: {task.name}: the model was trained on {seen} of the "
                f"{n} validation images. It is surer of them than of new ones, "
                "so the temperature tends to be too small. Train on other "
                "images than --validation-split."
            )
            details["validation_trained_on"] = seen
        return details

    def _detect(self, name: str, home: Split, other: Task) -> None:
        """Measures how well home's images are told from the other task's."""
        source = task_data.open_split(other, "test", self.job.data_dir)
        outside = self._split(
            name, other, source, home.source.num_classes, own_classes=False
        )
        for score, function in ood.SCORES.items():
            sources = (home.source, source)
            subject = self._subject(outside, score, sources, "ood")
            if self._is_new(subject):
                logits = home.found.logits, outside.found.logits
                found = ood.detect(*map(function, logits))
                self._append(ood_rows(subject, found, *map(len, logits)))

    def _subject(
        self,
        split: Split,
        protocol: str,
        sources: Sequence[Source],
        benchmark: str = "calibration",
    ) -> Subject:
        metrics = OOD_METRICS
        if benchmark == "calibration":
            metrics = metrics_of(split.source.num_classes)
        return Subject(
            job=self.job,
            benchmark=benchmark,
            task=split.name,
            group=split.group,
            protocol=protocol,
            sources=sources,
            metrics=metrics,
        )

    def _is_new(self, subject: Subject) -> bool:
        """Whether a number is not in the file yet; notes all as asked for."""
        wanted = set(subject.hashes.values())
        self.hashes |= wanted
        return bool(wanted - self._done())

    def _append(self, rows: Iterable[results.Row]) -> None:
        done = self._done()
        new = [row for row in rows if row.config_hash not in done]
        self.file.append(new)
        self.appended += len(new)

    def _done(self) -> set[str]:
        return {row.config_hash for row in self.file.rows()}
