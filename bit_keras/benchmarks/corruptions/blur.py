"""Blur: defocus, glass, motion, zoom.

Functions take a uint8 image `(height, width, 3)`, the published constants of
one severity and a generator, and return pixels on the scale of 0 to 255.
"""

import functools

import numpy as np
from scipy import fft, ndimage

from bit_keras.benchmarks.corruptions.resampling import moved, zoomed


def defocus_blur(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Averages over a disk; constants: its radius, and the blur of its edge.

    >>> flat = np.full((32, 32, 3), 7, np.uint8)
    >>> made = defocus_blur(flat, (3, 0.1), np.random.default_rng(0))
    >>> bool(np.allclose(made, 7))
    True
    """
    kernel = disk(*constants)
    edge = len(kernel) // 2
    # Mirrored without repeating the edge, as OpenCV's filter2D.
    padded = np.pad(image, ((edge, edge), (edge, edge), (0, 0)), "reflect")
    shape = [fft.next_fast_len(n, real=True) for n in padded.shape[:2]]
    spectrum = fft.rfft2(padded, shape, axes=(0, 1))
    spectrum *= fft.rfft2(kernel, shape)[..., None]
    made = fft.irfft2(spectrum, shape, axes=(0, 1))
    height, width = image.shape[:2]
    return made[2 * edge :, 2 * edge :][:height, :width]


@functools.cache
def disk(radius: float, edge_blur: float) -> np.ndarray:
    """Returns the kernel of an out-of-focus lens: a disk with a soft edge.

    Args:
        radius: In pixels.
        edge_blur: Standard deviation, in pixels, of the Gaussian of 3 x 3
            pixels (5 x 5 above radius 8) that softens it.

    Returns:
        `(17, 17)`, or `(2 radius + 1, 2 radius + 1)` if that is larger.

    >>> disk(3, 0.1).shape, round(float(disk(3, 0.1).sum()), 6)
    ((17, 17), 1.0)
    """
    reach = 8 if radius <= 8 else radius
    places = np.arange(-reach, reach + 1)
    square = np.square(places)
    kernel = np.float64(square[:, None] + square <= radius**2)
    kernel /= kernel.sum()
    half = 1 if radius <= 8 else 2
    soft = np.exp(-np.square(np.arange(-half, half + 1)) / (2 * edge_blur**2))
    soft /= soft.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, soft, axis, mode="mirror")
    return kernel


def glass_blur(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Displaces pixels between two Gaussian blurs.

    Constants: the blurs' sigma, the largest displacement, and how often.

    >>> flat = np.full((32, 32, 3), 7, np.uint8)
    >>> made = glass_blur(flat, (1, 2, 3), np.random.default_rng(0))
    >>> bool(np.allclose(made, 7))
    True
    """
    sigma, reach, times = constants
    # Cut to whole levels, as published.
    pixels = np.uint8(_gaussian(image, sigma) + 1e-6)
    height, width = image.shape[:2]
    inside = (height - 2 * reach, width - 2 * reach, 2)
    for _ in range(times):
        # Published: np.random.randint(-reach, reach), which excludes +reach.
        steps = rng.integers(-reach, reach, size=inside)
        pixels = displaced(pixels, steps, reach)
    return _gaussian(pixels, sigma)


def displaced(image: np.ndarray, steps: np.ndarray, reach: int) -> np.ndarray:
    """Gives each pixel the colour of a near one, from the last to the first.

    The published code, which goes over the pixels one by one, means to swap
    two, but with NumPy's views its swap copies the second onto the first. So
    it is here, all pixels at once: a pixel whose source had been overwritten
    before takes what its source took.

    Args:
        image: `(height, width, channels)`.
        steps: `(height - 2 reach, width - 2 reach, 2)`: where the source of
            each inner pixel is, to the right and down.
        reach: No step is larger; rows and columns from `reach + 1` to
            `height - reach` (`width - reach`) are given new colours.

    Returns:
        As `image`.

    >>> ramp = np.arange(6.0).reshape(1, 6, 1).repeat(6, 0)
    >>> steps = np.zeros((4, 4, 2), int)
    >>> steps[..., 0] = -1
    >>> displaced(ramp, steps, 1)[3, :, 0].tolist()
    [0.0, 1.0, 1.0, 2.0, 3.0, 4.0]
    """
    height, width = image.shape[:2]
    own = np.arange(height * width).reshape(height, width)
    inner = np.s_[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    source = own.copy()
    source[inner] += steps[..., 1] * width + steps[..., 0]
    is_inner = np.zeros((height, width), bool)
    is_inner[inner] = True
    own, source, is_inner = own.ravel(), source.ravel(), is_inner.ravel()
    # Pixels with a larger number have been overwritten before.
    last = np.where(is_inner[source] & (source > own), source, own)
    while not np.array_equal(further := last[last], last):
        last = further
    return image.reshape(height * width, -1)[source[last]].reshape(image.shape)


def _gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    # The defaults of scikit-image's filter.
    pixels = np.float64(image)
    return ndimage.gaussian_filter(
        pixels, (sigma, sigma, 0), mode="nearest", truncate=4
    )


def motion_blur(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Moves the camera in a random direction; constants: radius and sigma.

    >>> flat = np.full((32, 32, 3), 7, np.uint8)
    >>> made = motion_blur(flat, (10, 3), np.random.default_rng(0))
    >>> bool(np.allclose(made, 7))
    True
    """
    # ImageMagick rounds to whole levels.
    return np.round(moved(image, *constants, angle=rng.uniform(-45, 45)))


def zoom_blur(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Moves towards the object; constants: largest zoom, exclusive, and step.

    >>> flat = np.full((32, 32, 3), 7, np.uint8)
    >>> made = zoom_blur(flat, (1.11, 0.01), np.random.default_rng(0))
    >>> bool(np.allclose(made, 7))
    True
    """
    end, step = constants
    factors = np.arange(1, end, step)
    pixels = np.float32(image)
    total = pixels.astype(np.float64)
    for factor in factors:
        total += zoomed(pixels, float(factor))
    return total / (len(factors) + 1)
