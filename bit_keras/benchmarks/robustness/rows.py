"""Rows about robustness: made in one way, stored once, shown as a table."""

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bit_keras.benchmarks import results, results_export
from bit_keras.benchmarks.fewshot import stderr

_SHOWN = ["model", "task", "protocol", "metric", "value", "stderr", "n"]


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Which images of one set a model gets right.

    Attributes:
        task: Of the row.
        protocol: Which answers compete: "shift", "full", "restricted".
        right: bool `(images,)`.
        config: What decides it besides the model and the preprocessing.
    """

    task: str
    protocol: str
    right: np.ndarray
    config: dict[str, Any]

    @property
    def value(self) -> float:
        """The accuracy, a fraction."""
        return float(np.mean(self.right))

    @property
    def stderr(self) -> float:
        """Binomial."""
        return stderr(self.value, len(self.right))


def accuracy_row(accuracy: Accuracy, **fields: Any) -> results.Row:
    """Returns the row of an accuracy.

    Args:
        accuracy: What was measured.
        **fields: Of `Row`, that say of which model and how.
    """
    return make_row(
        accuracy.task,
        accuracy.protocol,
        "accuracy",
        accuracy.value,
        accuracy.stderr,
        len(accuracy.right),
        accuracy.config,
        **fields,
    )


def drop_row(source: Accuracy, shifted: Accuracy, **fields: Any) -> results.Row:
    """Returns the row of what is lost from one set to the other.

    The standard error is that of two independent samples of images.

    Args:
        source: On the set that the model was made for.
        shifted: On the other.
        **fields: As for `accuracy_row`.

    Example:

    >>> half = Accuracy("a", "shift", np.array([True, False]), {})
    >>> all_ = Accuracy("a -> b", "shift", np.array([True, True]), {})
    >>> row = drop_row(half, all_, model="m", model_sha256="0", upstream=None,
    ...                group=None, preprocessing="none")
    >>> row.value
    -0.5
    """
    return make_row(
        shifted.task,
        shifted.protocol,
        "accuracy_drop",
        source.value - shifted.value,
        math.hypot(source.stderr, shifted.stderr),
        len(shifted.right),
        {"source": source.config, "shifted": shifted.config},
        details={
            "source": source.task,
            "source_accuracy": source.value,
            "source_n": len(source.right),
            "shifted_accuracy": shifted.value,
        },
        **fields,
    )


def make_row(
    task: str,
    protocol: str,
    metric: str,
    value: float,
    error: float | None,
    n: int,
    config: dict[str, Any],
    **fields: Any,
) -> results.Row:
    """Returns a row whose hash holds all that decides its number.

    Args:
        task: As in `Row`.
        protocol: As in `Row`.
        metric: As in `Row`.
        value: As in `Row`.
        error: Standard error, if known.
        n: Images.
        config: What decides the number and no other argument says.
        **fields: The other fields of `Row`.
    """
    decides = {
        "model": fields["model_sha256"],
        "preprocessing": fields["preprocessing"],
        "endpoint": fields.get("endpoint"),
        "task": task,
        "protocol": protocol,
        "metric": metric,
        "config": config,
    }
    return results.Row(
        benchmark="robustness",
        task=task,
        protocol=protocol,
        metric=metric,
        value=value,
        stderr=error,
        n=n,
        config_hash=results.config_hash(decides),
        **fields,
    )


def store(
    args: argparse.Namespace,
    rows: Sequence[results.Row],
    say: Callable[[str], None],
) -> None:
    """Appends the rows that are not in OUT/results.jsonl yet.

    Args:
        args: With `out`.
        rows: What was measured.
        say: Is told of rows that were there already.
    """
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    known = {row.config_hash for row in file.rows()}
    new = [row for row in rows if row.config_hash not in known]
    if new:
        file.append(new)
    if len(new) < len(rows):
        say(f"{len(rows) - len(new)} numbers were in {file.path} already.")


def text(rows: Sequence[results.Row]) -> str:
    """Returns rows as a table for people."""
    return results_export.aligned(pd.DataFrame(map(vars, rows))[_SHOWN])
