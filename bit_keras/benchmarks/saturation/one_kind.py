"""Which of our rows may be points of one law: those measured alike.

A law is of one upstream set (arXiv 2110.02095, Equation 2), and each task of it
of one protocol and one test set. The preprocessing may differ, for it is part
of a model.
"""

from collections.abc import Sequence

import pandas as pd

from bit_keras.benchmarks.summary import text

_SAME = ("task", "protocol", "n")
# What --where may part the kinds by: the first of them that does.
_PARTING = ("upstream", "protocol")


def check_one_kind(upstream: pd.DataFrame, downstream: pd.DataFrame) -> None:
    """Checks that models differ in nothing but what they are.

    Args:
        upstream: Rows of upstream accuracies, of `results.load`.
        downstream: Rows of downstream accuracies. Models that are not in both
            do not count: they are no points.

    Raises:
        ValueError: If models were measured on different upstream sets, or on
            one task in different ways; says how to keep one kind.

    Example:

    >>> row = {"model_sha256": "a", "upstream": "i1k", "protocol": "p", "n": 9}
    >>> down = pd.DataFrame([{**row, "task": "dtd"}])
    >>> check_one_kind(pd.DataFrame([{**row, "task": "i1k/val"}]), down)
    """
    both = set(upstream["model_sha256"]) & set(downstream["model_sha256"])
    upstream = upstream[upstream["model_sha256"].isin(both)]
    downstream = downstream[downstream["model_sha256"].isin(both)]
    rows = pd.concat([upstream, downstream], ignore_index=True)
    _check(rows[: len(upstream)], rows, "The upstream accuracies")
    for task, part in rows[len(upstream) :].groupby("task"):
        _check(part, rows, f"The models' accuracies on {task}")


def _check(part: pd.DataFrame, rows: pd.DataFrame, what: str) -> None:
    """Raises if a part of the rows is of several kinds."""
    differ = [name for name in _SAME if part[name].nunique() > 1]
    if not differ:
        return
    listed = "; ".join(
        f"{name}: " + ", ".join(f'"{v}"' for v in _values(part, name)[:5])
        for name in differ
    )
    raise ValueError(
        f"{what} differ in {listed}. A law is of models that were measured in "
        "one way, on one upstream set. Give only paths with one kind of rows"
        f"{_advice(part, rows, differ)}."
    )


def _advice(
    part: pd.DataFrame, rows: pd.DataFrame, differ: Sequence[str]
) -> str:
    """Returns the condition that keeps the commonest kind, if there is one."""
    for name in _PARTING:
        values = _values(part, name)
        kept = part[part[name].map(lambda v, n=name: text(n, v)) == values[0]]
        if len(values) > 1 and (kept[list(differ)].nunique() <= 1).all():
            # The condition holds for the rows of all other tasks as well.
            others = [v for v in _values(rows, name) if v not in values]
            told = [f'"{name}={value}"' for value in (values[0], *others)]
            return f", or keep one: saturation --where {' '.join(told)}"
    return ""


def _values(rows: pd.DataFrame, name: str) -> list[str]:
    """Returns the values of a column as text, the commonest first."""
    found = rows[name].map(lambda value: text(name, value))
    return found.value_counts().index.tolist()
