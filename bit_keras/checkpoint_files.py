"""Reading weight files: every format as {official name: array}."""

import contextlib
import dataclasses
import math
import re
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import h5py
import numpy as np

from bit_keras.checkpoint_names import official_keys

# The kernel of BiT's classifier, a 1x1 convolution in the official files.
BIT_HEAD = "resnet/head/conv2d/kernel"

# Trained weights hardly shrink, those of a fresh head do: they are zeros.  So
# this many bytes are always allowed, and above it this many times the file.
_UNPACKED, _RATIO = 1 << 30, 20
# The header of an array has some hundred bytes; the groups of a network lie
# within some ten others.
_HEADER, _DEEPEST = 10_000, 50

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
        # Of NumPy, which takes the header of an array for Python.
        MemoryError,
        SyntaxError,
        tokenize.TokenError,
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
    size = path.stat().st_size
    if size == 0:
        raise ValueError("the file is empty.")
    if path.suffix == ".h5":
        return _open_h5(path, stack)
    archive = stack.enter_context(zipfile.ZipFile(path))
    if path.suffix == ".npz":
        return _open_npz(archive)
    return _open_h5(_weights_of(archive, size, stack), stack)


def check_size(path: Path, arrays: Mapping[str, Stored]) -> None:
    """Refuses shapes that a file of this size cannot honestly have.

    For whoever allocates by the shapes before the values are read.

    Args:
        path: Of the file.
        arrays: From `open_arrays`.

    Raises:
        ValueError: If the arrays are far larger than the file.

    Example:

    >>> path = Path("a.npz")
    >>> path.write_bytes(b"nothing")
    7
    >>> check_size(path, {"a": Stored((1 << 30,), np.dtype("f4"), None)})
    Traceback (most recent call last):
    ValueError: its 7 bytes claim to hold 4,294,967,296; weights become at...
    """
    _check_unpacked(
        sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays.values()),
        path.stat().st_size,
    )


def _check_unpacked(unpacked: int, size: int) -> None:
    allowed = max(_UNPACKED, _RATIO * size)
    if unpacked > allowed:
        raise ValueError(
            f"its {size:,} bytes claim to hold {unpacked:,}; weights become "
            f"at most {allowed:,}."
        )


def _weights_of(
    archive: zipfile.ZipFile, size: int, stack: contextlib.ExitStack
) -> BinaryIO:
    """Unpacks the weights of a `.keras` file."""
    name = "model.weights.h5"
    _check_unpacked(archive.getinfo(name).file_size, size)
    weights = stack.enter_context(tempfile.TemporaryFile())
    with archive.open(name) as member:
        shutil.copyfileobj(member, weights)
    return weights


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
        if _header_size(member, version) > _HEADER:
            raise ValueError(f'"{name}" has a header that is no array\'s.')
        shape, _, dtype = read_header[version](member)
    if min(shape, default=0) < 0:
        raise ValueError(f'"{name}" has the shape {shape}.')
    if dtype.hasobject:
        raise ValueError(
            f'"{name}" holds Python objects (a pickle), which are not loaded.'
        )

    def read() -> np.ndarray:
        with archive.open(name) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    return Stored(shape, dtype, read)


def _header_size(member: IO[bytes], version: tuple[int, int]) -> int:
    """Returns the size of an .npy header, which NumPy would read whole."""
    start = member.tell()
    form = "<H" if version == (1, 0) else "<I"
    (size,) = struct.unpack(form, member.read(struct.calcsize(form)))
    member.seek(start)
    return size


def _open_h5(source: Any, stack: contextlib.ExitStack) -> dict[str, Stored]:
    file = stack.enter_context(h5py.File(source, "r"))
    _check_links(file, {_address(file)})
    if "layer_names" in file.attrs:
        return _open_tf2(file)
    if "layers" in file:
        arrays: dict[str, Stored] = {}
        for name, array in _open_keras(file["layers"]):
            if name in arrays:
                raise ValueError(f'two arrays are called "{name}".')
            arrays[name] = array
        keys = official_keys(arrays)
        return {keys[path]: array for path, array in arrays.items()}
    raise ValueError("it holds neither TF2 (Keras 2) nor Keras 3 weights.")


def _check_links(
    group: h5py.Group, seen: set[tuple[int, int]], depth: int = 0
) -> None:
    """Refuses what leads out of a file, or round in circles within it."""
    if depth > _DEEPEST:
        raise ValueError(f"it has groups more than {_DEEPEST} deep.")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f'"{name}" in it is a link to somewhere else.')
        inner = group[name]
        if _address(inner) in seen:
            raise ValueError(f'"{name}" in it is there twice.')
        seen.add(_address(inner))
        if isinstance(inner, h5py.Group):
            _check_links(inner, seen, depth + 1)


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


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
            continue
        if "vars" not in layer:
            continue
        path = prefix + layer["vars"].attrs["name"]
        names = _VARIABLES.get(path.rpartition("/")[2]) or next(
            (v for k, v in _VARIABLES.items() if path.endswith(k)), ()
        )
        for index, dataset in layer["vars"].items():
            place = int(index) if index.isdecimal() else len(names)
            name = names[place] if place < len(names) else index
            yield f"{path}/{name}", _h5_array(dataset)
        yield from _open_keras(layer, f"{path}/")


def _h5_array(dataset: Any) -> Stored:
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("it has something else where an array should be.")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f'"{dataset.name}" in it lies in another file.')
    return Stored(dataset.shape, dataset.dtype, lambda: dataset[()])
