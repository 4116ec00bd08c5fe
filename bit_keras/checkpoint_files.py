"""Reading weight files: every format as {official name: array}."""

import contextlib
import dataclasses
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bit_keras.checkpoint_names import official_keys

# The kernel of BiT's classifier, a 1x1 convolution in the official files.
BIT_HEAD = "resnet/head/conv2d/kernel"

# Variables by layer name, in order of creation: Keras' files number them.
_VARIABLES = {
    "standardized_conv2d": ("kernel",),
    "group_norm": ("gamma", "beta"),
    "batch_norm": ("gamma", "beta", "moving_mean", "moving_variance"),
    "head": ("kernel", "bias"),
    "positions": ("pos_embedding", "cls"),
    "norm_0": ("gamma", "beta"),
    "norm_1": ("gamma", "beta"),
    "encoder_norm": ("gamma", "beta"),
    "pre_head_layer_norm": ("gamma", "beta"),
    **dict.fromkeys(
        (
            "embedding",
            "query",
            "key",
            "value",
            "attention_output",
            "dense_0",
            "dense_1",
        ),
        ("kernel", "bias"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array in a file: shape and type known, values read when asked for.

    Attributes:
        shape: As our variables have it (the head's kernel is a matrix).
        dtype: As in the file.
        read: Returns the values; the file must still be open.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a broken file raises into one line that names it.

    >>> with reading(Path("a.npz")):
    ...     raise EOFError("no more")
    Traceback (most recent call last):
    ValueError: Cannot read "a.npz": no more
    """
    try:
        yield
    except (
        OSError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        OverflowError,
        RuntimeError,  # Of h5py and, for encrypted members, zipfile.
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f'Cannot read "{path}": {reason}') from error


def open_arrays(path: Path, stack: contextlib.ExitStack) -> dict[str, Stored]:
    """Returns the arrays of a file by official name, not yet read.

    Args:
        path: `.npz`, `.h5` (TF2's or Keras 3's) or `.keras`.
        stack: Keeps the file open; read the arrays before it closes.

    Raises:
        Exception: Of many kinds, for a broken file: call it in `reading`.

    Example:

    >>> np.savez("a.npz", **{"resnet/group_norm/beta": np.zeros(64)})
    >>> with contextlib.ExitStack() as stack:
    ...     open_arrays(Path("a.npz"), stack)["resnet/group_norm/beta"].shape
    (64,)
    """
    if path.suffix not in (".npz", ".h5", ".keras"):
        raise ValueError(
            "checkpoints end in .npz, .h5, .weights.h5 or .keras, not "
            f'"{path.suffix}".'
        )
    if path.stat().st_size == 0:
        raise ValueError("the file is empty.")
    if path.suffix == ".h5":
        return _open_h5(path, stack)
    archive = stack.enter_context(zipfile.ZipFile(path))
    if path.suffix == ".npz":
        return _open_npz(archive)
    weights = stack.enter_context(tempfile.TemporaryFile())
    with archive.open("model.weights.h5") as member:
        shutil.copyfileobj(member, weights)
    return _open_h5(weights, stack)


def _open_npz(archive: zipfile.ZipFile) -> dict[str, Stored]:
    arrays = {}
    for name in archive.namelist():
        # Some official files number their convolutions.
        key = re.sub(
            r"/standardized_conv2d_\d+/",
            "/standardized_conv2d/",
            name.removesuffix(".npy"),
        )
        if key in arrays:
            raise ValueError(f'two arrays are called "{key}".')
        arrays[key] = _npz_array(archive, name)
    head = arrays.get(BIT_HEAD)
    if head and len(head.shape) == 4 and head.shape[:2] == (1, 1):
        arrays[BIT_HEAD] = dataclasses.replace(
            head, shape=head.shape[2:], read=lambda: head.read()[0, 0]
        )
    return arrays


def _npz_array(archive: zipfile.ZipFile, name: str) -> Stored:
    # Only the header is read here: a shape that does not fit the model is
    # refused before anything of that size is allocated.
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in read_header:
            raise ValueError(f'"{name}" has unknown .npy version {version}.')
        shape, _, dtype = read_header[version](member)
    if dtype.hasobject:
        raise ValueError(
            f'"{name}" holds Python objects (a pickle), which are not loaded.'
        )

    def read() -> np.ndarray:
        with archive.open(name) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    return Stored(shape, dtype, read)


def _open_h5(source: Any, stack: contextlib.ExitStack) -> dict[str, Stored]:
    file = stack.enter_context(h5py.File(source, "r"))
    if "layer_names" in file.attrs:
        return _open_tf2(file)
    if "layers" in file:
        arrays = dict(_open_keras(file["layers"]))
        keys = official_keys(arrays)
        return {keys[path]: array for path, array in arrays.items()}
    raise ValueError("it holds neither TF2 (Keras 2) nor Keras 3 weights.")


def _open_tf2(file: h5py.File) -> dict[str, Stored]:
    """Names the arrays of an official `.h5` by their order.

    Its own names are not unique (google-research/big_transfer issue 47).
    """
    arrays = []
    for layer in file.attrs["layer_names"]:
        group = file[layer]
        arrays += [_h5_array(group[n]) for n in group.attrs["weight_names"]]
    return dict(zip(_tf2_keys(arrays), arrays, strict=True))


def _tf2_keys(arrays: list[Stored]) -> list[str]:
    ranks = "".join(str(len(array.shape)) for array in arrays)
    # A unit is three times gamma, beta and kernel; its projection is last.
    # The head is dense.
    if not re.fullmatch(r"4((114){3}4?)+11(21)?", ranks):
        raise ValueError("its arrays are not those of a BiT network, in order.")
    keys = ["resnet/root_block/standardized_conv2d/kernel"]
    block, unit = 0, 0
    for projection in re.findall(r"(?:114){3}(4?)", ranks[1:]):
        # The first unit of a block, and only it, has a projection.
        block, unit = (block + 1, 1) if projection else (block, unit + 1)
        prefix = f"resnet/block{block}/unit{unit:02d}"
        for name in "abc":
            keys += [
                f"{prefix}/{name}/group_norm/gamma",
                f"{prefix}/{name}/group_norm/beta",
                f"{prefix}/{name}/standardized_conv2d/kernel",
            ]
        if projection:
            keys.append(f"{prefix}/a/proj/standardized_conv2d/kernel")
    keys += ["resnet/group_norm/gamma", "resnet/group_norm/beta"]
    if len(keys) < len(arrays):
        keys += [BIT_HEAD, BIT_HEAD.replace("kernel", "bias")]
    return keys


def _open_keras(
    group: h5py.Group, prefix: str = ""
) -> Iterator[tuple[str, Stored]]:
    """Yields path and array of each variable of a Keras 3 file.

    Such files number layers by class and variables by order, but note the
    name of each layer.
    """
    for name, layer in group.items():
        if not isinstance(layer, h5py.Group):
            continue
        if name == "layers":  # Of a model within the model.
            yield from _open_keras(layer, prefix)
        if "vars" not in layer:
            continue
        path = prefix + layer["vars"].attrs["name"]
        names = _VARIABLES.get(path.rpartition("/")[2]) or next(
            (v for k, v in _VARIABLES.items() if path.endswith(k)), ()
        )
        for index, dataset in layer["vars"].items():
            known = int(index) < len(names)
            name = names[int(index)] if known else index
            yield f"{path}/{name}", _h5_array(dataset)
        yield from _open_keras(layer, f"{path}/")


def _h5_array(dataset: Any) -> Stored:
    # Broken links come as None.
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("it has something else where an array should be.")
    return Stored(dataset.shape, dataset.dtype, lambda: dataset[()])
