"""Digital: contrast, elastic transform, pixelate, JPEG.

Functions take a uint8 image `(height, width, 3)`, the published constants of
one severity and a generator, and return pixels on the scale of 0 to 255.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from bit_keras.benchmarks.corruptions.resampling import smoothed


def contrast(
    image: np.ndarray, factor: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws every value towards its channel's mean.

    >>> pixels = np.array([[[0, 0, 0], [100, 200, 40]]], np.uint8)
    >>> contrast(pixels, 0.5, np.random.default_rng(0)).round().tolist()
    [[[25.0, 50.0, 10.0], [75.0, 150.0, 30.0]]]
    """
    pixels = image / 255
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return 255 * ((pixels - means) * factor + means)


def elastic_transform(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Moves three points at random, then stretches small regions.

    Constants, as shares of the shorter side: amplitude and sigma of the
    stretching, and how far a point is moved.

    >>> flat = np.full((32, 32, 3), 7, np.uint8)
    >>> made = elastic_transform(flat, (1, 0.1, 0.1), np.random.default_rng(0))
    >>> bool(np.allclose(made, 7))
    True
    """
    height, width = image.shape[:2]
    side = min(height, width)
    amplitude, sigma, reach = (share * side for share in constants)
    middle, arm = np.array([height, width]) // 2, side // 3
    # Published code takes its points as (x, y), whatever the shape says.
    points = middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    targets = points + rng.uniform(-reach, reach, (3, 2))
    grid = np.indices((height, width), float)
    pixels = _sampled(
        np.float64(image), affine(points, targets, grid), "mirror"
    )
    if not amplitude:
        return pixels
    right, down = (
        amplitude * smoothed(rng.uniform(-1, 1, (height, width)), sigma)
        for _ in range(2)
    )
    return _sampled(pixels, grid + np.stack((down, right)), "reflect")


def affine(
    points: np.ndarray, targets: np.ndarray, grid: np.ndarray
) -> np.ndarray:
    """Returns where the pixels of an image come from that maps three points.

    Args:
        points: `(3, 2)`: x and y, before.
        targets: `(3, 2)`: x and y, after.
        grid: `(2, height, width)`: rows and columns of the pixels, after.

    Returns:
        As `grid`, before.

    >>> points = np.array([[0, 0], [1, 0], [0, 1]])
    >>> affine(points, points + (1, 0), np.ones((2, 1, 1))).ravel().tolist()
    [1.0, 0.0]
    """
    known = np.column_stack((targets, np.ones(3)))
    back = np.linalg.solve(known, points)
    x, y = np.tensordot(back[:2].T, grid[::-1], 1) + back[2][:, None, None]
    return np.stack((y, x))


def _sampled(image: np.ndarray, places: np.ndarray, edge: str) -> np.ndarray:
    return np.stack(
        [
            ndimage.map_coordinates(channel, places, order=1, mode=edge)
            for channel in np.moveaxis(image, 2, 0)
        ],
        axis=2,
    )


def pixelate(
    image: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Shrinks both sides to a share of them, and enlarges them again.

    >>> ramp = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> pixelate(ramp, 0.5, np.random.default_rng(0))[:2, :2, 0].tolist()
    [[8, 8], [8, 8]]
    """
    height, width = image.shape[:2]
    small = (max(1, int(width * share)), max(1, int(height * share)))
    box = Image.Resampling.BOX
    made = Image.fromarray(image).resize(small, box)
    return np.asarray(made.resize((width, height), box))


def jpeg_compression(
    image: np.ndarray, quality: int, rng: np.random.Generator
) -> np.ndarray:
    """Saves as JPEG of the given quality, and reads it again.

    >>> flat = np.full((32, 32, 3), 7, np.uint8)
    >>> jpeg_compression(flat, 25, np.random.default_rng(0)).shape
    (32, 32, 3)
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
