"""Tables of other people's models: one of each test set, joined into pairs."""

import fnmatch
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bit_keras.recipe import did_you_mean

# In timm's tables a model may stand several times, at several image sizes.
_SIZE = "img_size"


def read_pairs(
    source: str, shifted: str, model_column: str, value_column: str
) -> pd.DataFrame:
    """Joins the tables of two test sets.

    Args:
        source: CSV with a row per model: accuracy on the usual test set.
        shifted: CSV of the same form: accuracy on the shifted set.
        model_column: The model's name. Where both tables have a column
            "img_size", as timm's, it is a part of the name.
        value_column: The accuracy, in percent if any is above 1.

    Returns:
        `model`, `source` and `shifted` (fractions) of the models that both
        tables have; sorted by model.

    Raises:
        FileNotFoundError: For a file that is not there.
        ValueError: For a column that is not there, values that are no
            accuracies, a model that stands twice, and tables without a common
            model.
    """
    tables = [
        _read(path, (model_column, value_column)) for path in (source, shifted)
    ]
    keys = [model_column]
    if all(_SIZE in table.columns for table in tables):
        keys.append(_SIZE)
    named = list(zip((source, shifted), tables, strict=True))
    columns = [
        _accuracies(path, table, keys, value_column) for path, table in named
    ]
    pairs = pd.concat(columns, axis=1, join="inner", keys=["source", "shifted"])
    if pairs.empty:
        raise ValueError(
            f"{source} and {shifted} have no model in common; joined on "
            f"{', '.join(keys)}."
        )
    units = {path: _unit(table[value_column]) for path, table in named}
    if len(set(units.values())) > 1:
        told = " and ".join(f"{path} as {unit}" for path, unit in units.items())
        warnings.warn(
            f"Read by their values: {told}. Is that so? If not, write both in "
            "one unit.",
            stacklevel=2,
        )
    return pairs.rename_axis("model").sort_index().reset_index()


def _read(path: str, columns: Sequence[str]) -> pd.DataFrame:
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no table "{path}".')
    try:
        table = pd.read_csv(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} is not a CSV table: {error}.") from None
    for name in columns:
        if name not in table.columns:
            raise ValueError(
                f'{path} has no column "{name}".'
                f"{did_you_mean(name, table.columns)} It has: "
                f"{', '.join(table.columns)}."
            )
    return table


def _accuracies(
    path: str, table: pd.DataFrame, keys: Sequence[str], value_column: str
) -> pd.Series:
    # As text: a whole number of 400 digits would be no float.
    text = table[value_column].astype(str)
    values = pd.to_numeric(text, errors="coerce")
    if not np.isfinite(values).all() or not values.between(0, 100).all():
        raise ValueError(
            f'{path}: column "{value_column}" must hold accuracies, in percent '
            "or as fractions."
        )
    names = table[keys[0]].astype(str)
    for key in keys[1:]:
        names = names + "@" + table[key].astype(str)
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(
            f"{path}: {len(twice)} models stand there twice, {twice.iloc[0]} "
            "first. Keep one row of each."
        )
    scale = 100 if _unit(values) == "percent" else 1
    return pd.Series((values / scale).to_numpy(), index=names)


def _unit(values: pd.Series) -> str:
    above = (pd.to_numeric(values, errors="coerce") > 1).any()
    return "percent" if above else "fractions"


def matching(names: Sequence[str], patterns: str) -> np.ndarray:
    """Says which names fit one of some patterns with `*`.

    A part of a name before "@" (its image size) suffices.

    Args:
        names: Of models.
        patterns: Separated by commas.

    Returns:
        bool `(names,)`.

    Raises:
        ValueError: For a pattern that no name fits.

    Example:

    >>> matching(["bit_r50x1@448", "vit_b16@224"], "bit_*")
    array([ True, False])
    """
    found = np.zeros(len(names), bool)
    bare = [name.partition("@")[0] for name in names]
    for pattern in filter(None, (word.strip() for word in patterns.split(","))):
        fits = [
            fnmatch.fnmatchcase(name, pattern)
            or fnmatch.fnmatchcase(short, pattern)
            for name, short in zip(names, bare, strict=True)
        ]
        if not any(fits):
            raise ValueError(
                f'No model fits "{pattern}".{did_you_mean(pattern, bare)}'
            )
        found |= fits
    return found


def digest(*paths: str) -> str:
    """Returns the SHA-256 of some files together (hexadecimal)."""
    made = hashlib.sha256()
    for path in paths:
        made.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return made.hexdigest()
