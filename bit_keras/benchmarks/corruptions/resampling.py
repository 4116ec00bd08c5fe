"""Linear operations on pixels that several corruptions share."""

import functools
import math

import numpy as np
from scipy import ndimage


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges the middle of an image to its whole size, linearly.

    The middle is cut out to whole pixels, enlarged corner to corner and cut to
    size again, as the published code does with `scipy.ndimage.zoom`.

    Args:
        image: `(height, width)` or `(height, width, channels)`.
        factor: At least 1.

    Returns:
        As `image`.

    >>> zoomed(np.array([[0.0, 0, 0], [0, 8, 0], [0, 0, 0]]), 3).tolist()
    [[8.0, 8.0, 8.0], [8.0, 8.0, 8.0], [8.0, 8.0, 8.0]]
    """
    # Along an axis in turn: faster than both at once, and the same.
    for axis in (0, 1):
        low, weight = _zoom_positions(image.shape[axis], factor)
        shape = [1] * image.ndim
        shape[axis] = -1
        weight = weight.reshape(shape).astype(image.dtype)
        near = image.take(low, axis)
        far = image.take(low + (weight.ravel() > 0), axis)
        far -= near
        far *= weight
        image = near + far
    return image


@functools.cache
def _zoom_positions(side: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixel below each place, and the weight of the next one."""
    cut = math.ceil(side / factor)
    grown = round(cut * factor)
    first = (grown - side) // 2
    step = (cut - 1) / (grown - 1) if grown > 1 else 0.0
    place = np.arange(first, first + side) * step
    low = np.minimum(place.astype(int), max(cut - 2, 0))
    return low + (side - cut) // 2, np.clip(place - low, 0, 1)


def smoothed(field: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter of a field, cut off at 3 sigma, mirrored at its edges.

    Equal to `scipy.ndimage.gaussian_filter(mode="reflect", truncate=3)`, but
    its cost does not grow with sigma.

    Args:
        field: `(height, width)`.
        sigma: In pixels, positive.

    >>> bool(np.allclose(smoothed(np.full((3, 4), 7.0), 2), 7))
    True
    """
    rows, columns = (_smoother(side, sigma) for side in field.shape)
    return rows @ field @ columns.T


@functools.cache
def _smoother(side: int, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter1d(
        np.eye(side), sigma, axis=0, mode="reflect", truncate=3
    )


def moved(
    image: np.ndarray, radius: float, sigma: float, angle: float
) -> np.ndarray:
    """Blurs along a line, as ImageMagick's `MotionBlurImage`.

    A pixel becomes the mean of those that follow it along the line, with the
    weights of one half of a normal distribution; outside the image, its edge
    goes on.

    Args:
        image: `(height, width)` or `(height, width, channels)`.
        radius: Length of the line is `2 radius + 1`, in pixels.
        sigma: Of the weights, in pixels.
        angle: Of the line in degrees, clockwise from the right.

    Returns:
        float32, as `image`.

    >>> dot = np.array([[0.0, 0, 0, 1]])
    >>> moved(dot, 1, 0.5, 0).astype(float).round(2).tolist()
    [[0.0, 0.0, 0.12, 1.0]]
    """
    image = np.float32(image)
    width = 2 * math.ceil(radius) + 1
    weights = np.exp(-np.square(np.arange(width)) / (2 * sigma**2))
    weights = np.float32(weights / weights.sum())
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    edges = [(width, width)] * 2 + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, edges, mode="edge")
    result = np.zeros_like(image)
    height, length = image.shape[:2]
    for step, weight in enumerate(weights):
        top = width + math.ceil(step * down - 0.5)
        left = width + math.ceil(step * right - 0.5)
        result += weight * padded[top : top + height, left : left + length]
    return result
