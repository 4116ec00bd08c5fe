"""An array in a weight file, of which only shape and type were read."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

# Trained weights hardly shrink, those of a fresh head do: they are zeros.  So
# this many bytes are always allowed, and above it this many times the file.
_UNPACKED, _RATIO = 1 << 30, 20


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
    check_unpacked(
        sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays.values()),
        path.stat().st_size,
    )


def check_unpacked(unpacked: int, size: int) -> None:
    """Refuses what a file of `size` bytes would honestly not unpack to.

    Args:
        unpacked: Bytes.
        size: Of the file, in bytes.

    Raises:
        ValueError: If it is far more than the file.

    Example:

    >>> check_unpacked(1000, size=10)
    """
    allowed = max(_UNPACKED, _RATIO * size)
    if unpacked > allowed:
        raise ValueError(
            f"its {size:,} bytes claim to hold {unpacked:,}; weights become "
            f"at most {allowed:,}."
        )
