"""Position embeddings of images of another size."""

import dataclasses
import math

import numpy as np

from bit_keras.stored_arrays import Stored


def resized(stored: Stored, shape: tuple[int, ...]) -> Stored:
    """Returns position embeddings interpolated to another grid of patches.

    Bilinear, on the places of the patches in the image (arXiv 2010.11929,
    section 3.2); the position of a class token, which comes first, stays.  This
    is what a network does itself with images of another size than its own.

    The official code takes the corners of both grids for the same places: 2 to
    5 % away from this from 14 to 24 patches a side, 4 to 10 from 7 to 12.

    Args:
        stored: `(1, tokens, width)`, for a square grid.
        shape: What is wanted, with as many class tokens (0 or 1) and the same
            width.

    Returns:
        `stored` itself if it has that shape, or cannot be brought to it.

    Example:

    >>> def read():
    ...     return np.array([[[0.0], [4.0], [8.0], [12.0]]])
    >>> stored = Stored((1, 4, 1), np.dtype("float32"), read)
    >>> resized(stored, (1, 9, 1)).read().ravel().tolist()
    [0.0, 2.0, 4.0, 4.0, 6.0, 8.0, 8.0, 10.0, 12.0]
    """
    if stored.shape == shape or len(stored.shape) != 3 or len(shape) != 3:
        return stored
    (old, tokens), (new, wanted) = _grid(stored.shape[1]), _grid(shape[1])
    if stored.shape[2] != shape[2] or tokens != wanted or tokens > 1:
        return stored
    along = _bilinear(old, new)

    def read() -> np.ndarray:
        values = stored.read()
        places = values[0, tokens:].reshape(old, old, -1)
        places = np.einsum("rg,ch,ghw->rcw", along, along, places)
        places = places.reshape(1, new * new, -1)
        return np.concatenate([values[:, :tokens], places], 1, dtype="float32")

    return dataclasses.replace(stored, shape=shape, read=read)


def _grid(tokens: int) -> tuple[int, int]:
    """Returns the side of the grid, and the tokens that are no patches."""
    side = math.isqrt(tokens)
    return side, tokens - side * side


def _bilinear(old: int, new: int) -> np.ndarray:
    """Returns the matrix `(new, old)` of resizing along one axis."""
    # Centres of pixels at halves; beyond the outermost, the border's value.
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    unit = np.eye(old)
    columns = [np.interp(centres, np.arange(old), row) for row in unit]
    return np.stack(columns, axis=1)
