"""Weight files to models and back: official `.npz` and `.h5`, Keras' own."""

import contextlib
import functools
import os
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from bit_keras.checkpoint_files import open_arrays, reading
from bit_keras.checkpoint_names import (
    BIT_HEAD,
    POSITIONS,
    is_head,
    official_keys,
)
from bit_keras.checkpoint_positions import resized
from bit_keras.checkpoint_report import check_fit, first_names
from bit_keras.recipe import did_you_mean
from bit_keras.stored_arrays import Stored

_SAVED = ".npz (official names), .weights.h5, .keras"


def load(
    model: keras.Model,
    path: str | os.PathLike,
    head: Literal["keep", "drop"] = "keep",
) -> None:
    """Loads weights from a file, all or nothing.

    Every array of the model must be in the file, and the other way round.
    Nothing is assigned before all of it is checked: a load that fails leaves
    the model as it was.  Position embeddings for images of another size are
    interpolated.

    Args:
        model: From `bit_keras.create_model`.
        path: Official `.npz`; official TF2 `.h5`; `.weights.h5` or `.keras`
            of this package; or the folder of a finished training run.
        head: "keep" loads the head too; "drop" ignores the file's head, if it
            has one, and leaves the model's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, holds other arrays than the
            model (with a list, and the network it looks like), or NaN or Inf.

    Example:

    >>> from bit_keras import models
    >>> save(models.create("bit_tiny", num_classes=10), "tiny.npz")
    >>> model = models.create("bit_tiny", num_classes=3)
    >>> load(model, "tiny.npz", head="drop")
    """
    if head not in ("keep", "drop"):
        raise ValueError(f'head must be "keep" or "drop"; got {head!r}.')
    path = _find(Path(os.path.expanduser(path)))
    keys = official_keys(v.path for v in model.weights)
    variables = {keys[v.path]: v for v in model.weights}
    with contextlib.ExitStack() as stack:
        with reading(path):
            arrays = open_arrays(path, stack)
        if POSITIONS in arrays and POSITIONS in variables:
            shape = tuple(variables[POSITIONS].shape)
            arrays[POSITIONS] = resized(arrays[POSITIONS], shape)
        check_fit(
            path,
            {key: tuple(v.shape) for key, v in variables.items()},
            {key: array.shape for key, array in arrays.items()},
            head,
        )
        if head == "drop":
            variables = {
                key: v for key, v in variables.items() if not is_head(key)
            }
        arrays = {key: arrays[key] for key in variables}
        _check_values(path, arrays)
        # Read a second time, because holding all of them would double the
        # memory that a large model needs.
        for key, variable in variables.items():
            with reading(path):
                variable.assign(_float32(arrays[key]))


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes the weights of `model`, atomically.

    Args:
        model: From `bit_keras.create_model`.
        path: By its ending: `.npz`, float32 under the official names, as other
            BiT implementations read it; `.weights.h5` or `.keras` (with
            architecture) as Keras writes them.  Missing folders are made.

    Raises:
        ValueError: For any other ending.

    Example:

    >>> from bit_keras import models
    >>> save(models.create("bit_tiny", num_classes=10), "tiny.npz")
    >>> with np.load("tiny.npz") as arrays:
    ...     arrays["resnet/head/conv2d/kernel"].shape
    (1, 1, 256, 10)
    """
    path = Path(os.path.expanduser(path))
    if path.name.endswith(".weights.h5"):
        write = model.save_weights
    elif path.suffix == ".keras":
        write = model.save
    elif path.suffix == ".npz":
        write = functools.partial(_save_npz, model)
    else:
        raise ValueError(
            f'Cannot save "{path}": its name must end in {_SAVED}.'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _save_npz(model: keras.Model, path: Path) -> None:
    arrays = {}
    keys = official_keys(v.path for v in model.weights)
    for variable in model.weights:
        key = keys[variable.path]
        array = keras.ops.convert_to_numpy(variable).astype(
            "float32", copy=False
        )
        if key == BIT_HEAD:
            array = array[None, None]
        arrays[key] = array
    np.savez(path, **arrays)


def _find(path: Path) -> Path:
    """Returns the file to read, or raises a FileNotFoundError."""
    if path.is_dir():
        final = path / "final.npz"
        if not final.exists() and (path / "recipe.json").exists():
            raise FileNotFoundError(
                f'The training run in "{path}" has not finished: there is no '
                "final.npz yet. The same training command resumes it."
            )
        if not final.exists():
            raise FileNotFoundError(
                f'"{path}" is a folder without final.npz, so not the folder of '
                "a training run; name a checkpoint file."
            )
        return final
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f'No checkpoint "{path}": there is no folder "{path.parent}".'
        )
    if not path.exists():
        hint = did_you_mean(path.name, (p.name for p in path.parent.iterdir()))
        raise FileNotFoundError(f'No checkpoint "{path}".{hint}')
    return path


def _check_values(path: Path, arrays: dict[str, Stored]) -> None:
    """Raises a ValueError unless all values are finite numbers."""
    if other := [k for k, a in arrays.items() if a.dtype.kind != "f"]:
        raise ValueError(
            f'Arrays in "{path}" must be floating-point; these are not: '
            f"{first_names(other)}."
        )
    broken = []
    for key, array in arrays.items():
        with reading(path):
            if not np.isfinite(_float32(array)).all():
                broken.append(key)
    if broken:
        raise ValueError(
            f'"{path}" holds NaN or infinite values in: {first_names(broken)}.'
        )


def _float32(array: Stored) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.read().astype("float32", copy=False)
