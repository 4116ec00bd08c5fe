"""Reading weight files: every format as {official name: array}."""

import contextlib
import dataclasses
import re
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from bit_keras.checkpoint_hdf5 import open_hdf5
from bit_keras.checkpoint_names import BIT_HEAD
from bit_keras.stored_arrays import Stored, check_unpacked

# The header of an array has some hundred bytes.
_HEADER = 10_000


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
        return open_hdf5(path, stack)
    archive = stack.enter_context(zipfile.ZipFile(path))
    if path.suffix == ".npz":
        return _open_npz(archive)
    return open_hdf5(_weights_of(archive, size, stack), stack)


def _weights_of(
    archive: zipfile.ZipFile, size: int, stack: contextlib.ExitStack
) -> BinaryIO:
    """Unpacks the weights of a `.keras` file."""
    name = "model.weights.h5"
    check_unpacked(archive.getinfo(name).file_size, size)
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
