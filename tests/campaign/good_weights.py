"""Weight files in which nothing is wrong, one of each format."""

import functools
import io
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np

from bit_keras import checkpoints, models
from bit_keras.checkpoint_names import official_keys

_CLASSES = 3


@functools.cache
def model() -> keras.Model:
    """The network that all cases are loaded into."""
    return models.create("bit_nano", num_classes=_CLASSES)


@functools.cache
def values() -> dict[str, np.ndarray]:
    made = models.create("bit_nano", num_classes=_CLASSES)
    keys = official_keys(v.path for v in made.weights)
    return {keys[v.path]: np.array(v) for v in made.weights}


@functools.cache
def base(ending: str) -> bytes:
    """A good file of each format."""
    if ending == ".h5":
        return _tf2()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"good{ending}")
        checkpoints.save(models.create("bit_nano", _CLASSES), path)
        return path.read_bytes()


def _tf2() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made.attrs["layer_names"] = ["bit"]
        group = made.create_group("bit")
        names = []
        for number, (key, value) in enumerate(values().items()):
            # A name that occurs twice would overwrite the first.
            names.append(f"{number}/{key.rpartition('/')[2]}:0")
            group[names[-1]] = value
        group.attrs["weight_names"] = names
    return file.getvalue()
