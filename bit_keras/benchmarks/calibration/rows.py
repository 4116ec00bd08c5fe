"""Calibration and out-of-distribution metrics as rows of results."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bit_keras.benchmarks import results
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.calibration.metrics import BINS, Calibration
from bit_keras.benchmarks.calibration.ood import Detection
from bit_keras.benchmarks.calibration.overview import METRICS
from bit_keras.benchmarks.fewshot import stderr
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Job:
    """What is the same for all numbers of one run.

    Attributes:
        backbone: A model with a head.
        preprocessing: Of the images.
        data_dir: Folder of TFDS data; None: TFDS's default.
        cache_dir: Folder of cached logits.
        batch_size: Images per step.
    """

    backbone: Backbone
    preprocessing: Preprocessing
    data_dir: str | None
    cache_dir: Path
    batch_size: int = 64


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a few rows are about, and the hash of each of its numbers.

    Attributes:
        job: Of the run.
        benchmark: "calibration" or "ood".
        task: As shown.
        group: Of the task.
        protocol: "raw" or "temperature", or the name of a score.
        sources: All splits that decide the numbers.
        metrics: Names of the numbers.
    """

    job: Job
    benchmark: str
    task: str
    group: str | None
    protocol: str
    sources: Sequence[Source]
    metrics: tuple[str, ...]

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        """Metric -> hash of all that decides it."""
        backbone = self.job.backbone
        config = {
            "benchmark": self.benchmark,
            "model": backbone.sha256,
            "input_range": backbone.input_range,
            "task": self.task,
            "data": [[s.name, s.split, s.fingerprint] for s in self.sources],
            "protocol": self.protocol,
            "preprocessing": str(self.job.preprocessing),
            "bins": BINS,
        }
        return {
            metric: results.config_hash({**config, "metric": metric})
            for metric in self.metrics
        }

    def row(
        self,
        metric: str,
        value: float,
        n: int,
        error: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> results.Row:
        """Returns the row of one number."""
        backbone = self.job.backbone
        return results.Row(
            benchmark=self.benchmark,
            model=backbone.name,
            model_sha256=backbone.sha256,
            upstream=backbone.upstream,
            task=self.task,
            group=self.group,
            protocol=self.protocol,
            preprocessing=str(self.job.preprocessing),
            metric=metric,
            value=value,
            stderr=error,
            n=n,
            endpoint="logits",
            details=details or {},
            config_hash=self.hashes[metric],
        )


def metrics_of(num_classes: int) -> tuple[str, ...]:
    """Returns the metrics that say something about so many classes.

    >>> "top5" in metrics_of(5), "top5" in metrics_of(6)
    (False, True)
    """
    return tuple(m for m in METRICS if m != "top5" or num_classes > 5)


def calibration_rows(
    subject: Subject, found: Calibration, details: dict[str, Any]
) -> list[results.Row]:
    """Returns the rows of one set of examples, under one protocol.

    Args:
        subject: What they are about.
        found: The numbers.
        details: That every row carries, such as the temperature.
    """
    errors = {
        "accuracy": stderr(found.accuracy, found.n),
        "top5": stderr(found.top5, found.n),
        "nll": found.nll_stderr,
        "brier": found.brier_stderr,
    }
    more = {
        "brier": {"parts": dataclasses.asdict(found.parts)},
        "ece": {
            "bins": found.curve.as_details(),
            "mean_confidence": found.mean_confidence,
        },
        "ece_adaptive": {"bins": found.adaptive_curve.as_details()},
    }
    return [
        subject.row(
            metric,
            getattr(found, metric),
            found.n,
            errors.get(metric),
            {**details, **more.get(metric, {})},
        )
        for metric in subject.metrics
    ]


def ood_rows(
    subject: Subject, found: Detection, n_in: int, n_out: int
) -> list[results.Row]:
    """Returns the rows of one score on one pair of sets.

    Args:
        subject: What they are about.
        found: The numbers.
        n_in: In-distribution examples.
        n_out: The others.
    """
    positive = {
        "aupr_in": "in",
        "aupr_out": "out",
        "fpr95": "in",
        "fpr95_out": "out",
    }
    rows = []
    for metric in subject.metrics:
        details: dict[str, Any] = {"n_in": n_in, "n_out": n_out}
        if metric in positive:
            details["positive"] = positive[metric]
        if metric == "fpr95":
            details["threshold"] = found.fpr95_threshold
        value = getattr(found, metric)
        rows.append(subject.row(metric, value, n_in + n_out, None, details))
    return rows
