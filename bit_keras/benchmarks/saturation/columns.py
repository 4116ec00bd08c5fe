"""What the columns of a table mean, and accuracies read from them."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from bit_keras.benchmarks.results import did_you_mean

Quantity = Literal["accuracy", "error"]
Unit = Literal["fraction", "percent"]

# A column is in percent if more of its values than this exceed 1; fewer are
# taken for mistakes in a column of fractions.
_PERCENT_SHARE = 0.1
# How words end that say what a column holds.
_RATE_WORDS = ("err", "errs", "error", "errors", "inaccuracy", "inaccuracies")
_LOSS_WORDS = ("loss", "losses")
_ACCURACY_WORDS = ("acc", "accuracy", "accuracies", "top")
_THOUSANDS = r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns of a table that has one model's number per row.

    Attributes:
        upstream: Upstream accuracy or error.
        downstream: Downstream accuracy or error; several columns are one task
            each, called as the column is.
        model: What tells models apart, together; (): every row is a model.
        task: Downstream task, if there is a column for it.
        shots: Downstream training images per class.
        family: Architecture family.
        size: Parameters of the model.
        data: Images pre-trained on.
        epochs: Passes over them.
        endpoint: Layer that was probed.
        keep: Further columns to take along; they tell points apart.
        upstream_is: "accuracy" or "error"; None: by the column's name.
        downstream_is: The same of the downstream columns.
        upstream_unit: "fraction" or "percent"; None: by the values.
        downstream_unit: The same of the downstream columns.

    Raises:
        ValueError: For no downstream column, or several and a task column.
    """

    upstream: str
    downstream: tuple[str, ...]
    model: tuple[str, ...] = ()
    task: str | None = None
    shots: str | None = None
    family: str | None = None
    size: str | None = None
    data: str | None = None
    epochs: str | None = None
    endpoint: str | None = None
    keep: tuple[str, ...] = ()
    upstream_is: Quantity | None = None
    downstream_is: Quantity | None = None
    upstream_unit: Unit | None = None
    downstream_unit: Unit | None = None

    def __post_init__(self) -> None:
        if not self.downstream:
            raise ValueError("downstream must name a column; got none.")
        if self.task is not None and len(self.downstream) > 1:
            raise ValueError(
                f'task "{self.task}" and {len(self.downstream)} downstream '
                "columns: a table has either a column of tasks or a column "
                "per task. Leave out one of the two."
            )

    def check(self, known: Iterable[str]) -> None:
        """Raises a ValueError for a column that the table does not have.

        >>> Columns(upstream="top1", downstream=("v2",)).check(["top_1", "v2"])
        Traceback (most recent call last):
        ValueError: upstream: there is no column "top1". Did you mean "top_1"?
        Columns: top_1, v2.
        """
        known = list(known)
        for field in dataclasses.fields(self):
            if field.name.endswith(("_is", "_unit")):
                continue
            names = getattr(self, field.name)
            for name in (names,) if isinstance(names, str) else names or ():
                if name not in known:
                    raise ValueError(
                        f'{field.name}: there is no column "{name}".'
                        f"{did_you_mean(name, known)} Columns: "
                        f"{', '.join(known)}."
                    )


def numbers(values: pd.Series) -> pd.Series:
    """Returns a column as floats; NaN where there is no number.

    Commas are read where they group thousands, and nowhere else.

    Example:

    >>> numbers(pd.Series(["1,013.01", "0,5", "7"])).tolist()
    [1013.01, nan, 7.0]
    """
    if pd.api.types.is_numeric_dtype(values):
        return values.astype(float)
    text = values.astype("string").str.strip()
    grouped = text.str.fullmatch(_THOUSANDS).fillna(False)
    text = text.where(~grouped, text.str.replace(",", ""))
    return pd.to_numeric(text, errors="coerce").astype(float)


def quantity(name: str) -> Quantity:
    """Returns what a column of this name holds; accuracy if it does not say.

    >>> quantity("top1_errors"), quantity("Loss"), quantity("imagenet")
    ('error', 'error', 'accuracy')
    """
    return said(name) or "accuracy"


def said(name: str) -> Quantity | None:
    """Returns what a column's name says that it holds; None: nothing.

    >>> said("inaccuracy"), said("testError (%)"), said("top-1"), said("pets")
    ('error', 'error', 'accuracy', None)
    """
    if _has_word(name, _RATE_WORDS + _LOSS_WORDS):
        return "error"
    return "accuracy" if _has_word(name, _ACCURACY_WORDS) else None


def _has_word(name: str, ends: tuple[str, ...]) -> bool:
    parted = re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return any(word.endswith(ends) for word in re.split("[^a-z]+", parted))


def check_rates(
    values: pd.Series,
    name: str,
    is_: Quantity | None = None,
    unit: Unit | None = None,
) -> None:
    """Refuses a loss that is no error rate: a cross-entropy.

    Args:
        values: Of a column.
        name: Of the column.
        is_: As for `meaning`; accuracies pass.
        unit: As for `meaning`; what has one passes.

    Raises:
        ValueError: If the name says loss, and not error, and values exceed 1.

    Example:

    >>> check_rates(pd.Series([0.5, 2.25]), "val_loss")
    Traceback (most recent call last):
    ValueError: val_loss: 1 of 2 values exceed 1, such as 2.25. A cross-entropy
    is no error rate: name a column of those. Of a loss in percent, say so: unit
    percent (--y-unit, --upstream-unit, --downstream-unit).
    """
    if unit is not None or is_ == "accuracy":
        return
    raw = numbers(values)
    above = raw[np.isfinite(raw) & (raw > 1)]
    is_loss = _has_word(name, _LOSS_WORDS) and not _has_word(name, _RATE_WORDS)
    if is_loss and len(above):
        raise ValueError(
            f"{name}: {len(above)} of {len(raw)} values exceed 1, such as "
            f"{above.iloc[0]:g}. A cross-entropy is no error rate: name a "
            "column of those. Of a loss in percent, say so: unit percent "
            "(--y-unit, --upstream-unit, --downstream-unit)."
        )


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the numbers of a column are.

    Attributes:
        quantity: "accuracy" or "error".
        unit: "fraction" or "percent".
        note: Both, and how they are known, for a person.
    """

    quantity: Quantity
    unit: Unit
    note: str


def meaning(
    column: pd.Series,
    name: str,
    is_: Quantity | None = None,
    unit: Unit | None = None,
) -> Meaning:
    """Returns what the numbers of a column are.

    Args:
        column: Of numbers, or of text.
        name: Of the column.
        is_: What it holds; None: what its name says, or accuracy.
        unit: None: percent if more than a tenth of its values exceed 1.

    Raises:
        ValueError: As `check_rates`.

    Example:

    >>> meaning(pd.Series([25, 20.5, 300]), "top1_err").note
    'top1_err: error in percent (by its name and values)'
    """
    check_rates(column, name, is_, unit)
    values = numbers(column)
    values = values[np.isfinite(values)]
    above = float((values > 1).mean()) if len(values) else 0.0
    given = {"name": is_, "values": unit}
    guessed = [what for what in given if given[what] is None]
    is_ = is_ or quantity(name)
    unit = unit or ("percent" if above > _PERCENT_SHARE else "fraction")
    note = f"{name}: {is_} in {unit}s".replace("percents", "percent")
    if guessed:
        note += f" (by its {' and '.join(guessed)})"
    if "name" in guessed and said(name) is None:
        note += "; assumed, as the name says neither accuracy nor error"
    small = int((values.between(0, 1) & (values > 0)).sum())
    if unit == "percent" and small and "values" in guessed:
        what = "value is" if small == 1 else "values are"
        note += f"; {small} {what} at most 1, and taken as percent, too"
    return Meaning(is_, unit, note)


@dataclasses.dataclass(frozen=True, eq=False)
class Accuracies:
    """A column of accuracies.

    Attributes:
        values: Fractions in [0, 1]; NaN where there is none.
        reasons: Why there is none; "" where there is one.
        meaning: How the column was read.
    """

    values: pd.Series
    reasons: pd.Series
    meaning: Meaning


def read_accuracies(
    column: pd.Series,
    name: str,
    is_: Quantity | None = None,
    unit: Unit | None = None,
) -> Accuracies:
    """Reads a column of accuracies or errors, fractions or percent.

    Args:
        column: As for `meaning`.
        name: Of the column.
        is_: What it holds; None: see `meaning`.
        unit: None: see `meaning`.

    Raises:
        ValueError: As `meaning`.

    Example:

    >>> read = read_accuracies(pd.Series([25, 20.5, 300]), "top1_err")
    >>> read.values.tolist(), read.reasons[2]
    ([0.75, 0.795, nan], 'top1_err is 300, outside 0..100')
    """
    raw, found = numbers(column), meaning(column, name, is_, unit)
    top = 100 if found.unit == "percent" else 1
    reasons = pd.Series("", column.index, dtype=object)
    outside = ~raw.between(0, top)
    reasons[outside] = [
        f"{name} is {value:g}, outside 0..{top}" for value in raw[outside]
    ]
    absent = column.isna()
    reasons[raw.isna()] = [
        f'{name} is "{value}", not a number' for value in column[raw.isna()]
    ]
    reasons[absent] = f"no {name}"
    values = (raw / top).where(~outside)
    right = 1 - values if found.quantity == "error" else values
    return Accuracies(right, reasons, found)
