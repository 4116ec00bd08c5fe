"""Rows about effective robustness, and the table of them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bit_keras.benchmarks import results_export
from bit_keras.benchmarks.results import Row
from bit_keras.benchmarks.robustness.effective import Line
from bit_keras.benchmarks.robustness.rows import make_row

METRIC = "effective_robustness"
# The row of the line itself; its details hold the reference models.
REFERENCE = "reference_r2"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two test sets, and what reference models let expect of them.

    Attributes:
        task: Name of the pair.
        protocol: Says the scale, and the label space of own models.
        line: Through the reference models.
        tables: Digest of the tables they come from.
        chosen: What chose them, as JSON.
    """

    task: str
    protocol: str
    line: Line
    tables: str
    chosen: dict[str, Any]


def rows(
    pair: Pair,
    reference: pd.DataFrame,
    judged: pd.DataFrame,
    own: pd.DataFrame | None,
) -> list[Row]:
    """Returns a row for the line, and one for each model that is judged.

    Args:
        pair: The test sets.
        reference: `model`, `source` and `shifted` of what the line goes
            through.
        judged: The same, of models of the tables that are judged.
        own: Rows "accuracy_drop" of own models; None: there are none.
    """
    made = [_line_row(pair, reference)]
    for one in judged.itertuples():
        made.append(
            _row(
                pair,
                one.source,
                one.shifted,
                error=None,
                n=pair.line.n,
                model=one.model,
                **_listed(pair),
            )
        )
    return made + list(_own_rows(pair, own) if own is not None else ())


def _listed(pair: Pair) -> dict[str, Any]:
    """What rows of models share that are known by their tables only."""
    return {
        "model_sha256": pair.tables,
        "upstream": None,
        "group": None,
        "preprocessing": "as in the tables",
        "endpoint": "logits",
    }


def _line_row(pair: Pair, reference: pd.DataFrame) -> Row:
    points = {
        name: reference[name].round(5).tolist()
        for name in ("source", "shifted")
    }
    return make_row(
        pair.task,
        pair.protocol,
        REFERENCE,
        pair.line.r2,
        None,
        pair.line.n,
        {"tables": pair.tables, **pair.chosen},
        model=f"{pair.line.n} reference models",
        details={
            **vars(pair.line),
            **pair.chosen,
            **points,
            "names": reference["model"].tolist(),
        },
        **_listed(pair),
    )


def _own_rows(pair: Pair, own: pd.DataFrame) -> Iterator[Row]:
    for one in own.itertuples():
        source = one.details["source_accuracy"]
        shifted = one.details["shifted_accuracy"]
        yield _row(
            pair,
            source,
            shifted,
            error=sampling_error(
                pair.line, source, shifted, one.details["source_n"], one.n
            ),
            n=one.n,
            model=one.model,
            model_sha256=one.model_sha256,
            upstream=one.upstream,
            group=None,
            preprocessing=one.preprocessing,
            endpoint=one.endpoint,
        )


def _row(
    pair: Pair, source: float, shifted: float, error: float | None, **fields
) -> Row:
    low, high = pair.line.interval(source)
    return make_row(
        pair.task,
        pair.protocol,
        METRIC,
        float(pair.line.effective(source, shifted)),
        error,
        config={
            "tables": pair.tables,
            **pair.chosen,
            "accuracies": [source, shifted],
        },
        details={
            "source_accuracy": source,
            "shifted_accuracy": shifted,
            "expected": float(pair.line.expected(source)),
            "expected_low": float(low),
            "expected_high": float(high),
            "line": vars(pair.line),
        },
        **fields,
    )


def sampling_error(
    line: Line, source: float, shifted: float, source_n: int, n: int
) -> float:
    """The standard error of effective robustness by the sampling of images.

    The line counts as known, and the two samples as independent.

    Args:
        line: Of the reference models.
        source: Accuracy on the usual set, a fraction.
        shifted: Accuracy on the shifted set.
        source_n: Images of the usual set.
        n: Images of the shifted set.

    Example:

    >>> line = Line(scale="linear", slope=0.0, intercept=0.5)
    >>> sampling_error(line, 0.9, 0.5, 10, 100)
    0.05
    """
    ends = np.clip([source - 1e-4, source + 1e-4], 1e-9, 1 - 1e-9)
    steepness = np.diff(line.expected(ends))[0] / np.diff(ends)[0]
    return math.hypot(
        math.sqrt(shifted * (1 - shifted) / n),
        float(steepness) * math.sqrt(source * (1 - source) / source_n),
    )


def text(rows: Sequence[Row]) -> str:
    """Returns the models that are judged as a table, "" if there are none."""
    table = frame(
        pd.DataFrame([vars(row) for row in rows if row.metric == METRIC])
    )
    return results_export.aligned(table) if len(table) else ""


def frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one line per model: both accuracies, the expected one, the rest.

    Args:
        rows: Of effective robustness, with the columns of `Row`.

    Returns:
        `model`, `source`, `shifted`, `expected`, `low` and `high` (where 95 %
        of such models would be), `effective` and its `stderr`.
    """
    keys = {
        "source": "source_accuracy",
        "shifted": "shifted_accuracy",
        "expected": "expected",
        "low": "expected_low",
        "high": "expected_high",
    }
    if rows.empty:
        return pd.DataFrame()
    made = {"model": rows["model"]}
    made |= {
        name: [details[key] for details in rows["details"]]
        for name, key in keys.items()
    }
    made |= {"effective": rows["value"], "stderr": rows["stderr"]}
    return pd.DataFrame(made).reset_index(drop=True)
