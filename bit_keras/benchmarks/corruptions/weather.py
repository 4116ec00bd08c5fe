"""Weather: snow, frost, fog, brightness.

Functions take a uint8 image `(height, width, 3)`, the published constants of
one severity and a generator, and return pixels on the scale of 0 to 255.
"""

import numpy as np

from bit_keras.benchmarks.corruptions.resampling import moved, zoomed
from bit_keras.benchmarks.corruptions.textures import frost_texture, plasma

# Of a colour's brightness, as OpenCV's RGB to gray (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])
# The published code chooses one of five photographs of about this size, and
# cuts a random piece out of it.
_FROSTS, _FROST_SIDE = 5, 1024


def snow(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Whitens the image and adds falling flakes.

    Constants: mean and standard deviation of the flakes' noise, its zoom, the
    threshold of a flake, radius and sigma of the fall, share of the image that
    is not whitened.

    >>> dark = np.zeros((32, 32, 3), np.uint8)
    >>> constants = (0.1, 0.2, 1, 0.6, 8, 3, 0.8)
    >>> made = snow(dark, constants, np.random.default_rng(0))
    >>> float(made.min().round(1))
    25.5
    """
    mean, sigma, zoom, threshold, radius, fall, share = constants
    flakes = zoomed(rng.normal(mean, sigma, image.shape[:2]), zoom)
    flakes[flakes < threshold] = 0
    flakes = np.uint8(255 * np.clip(flakes, 0, 1))
    angle = rng.uniform(-135, -45)
    flakes = np.round(moved(flakes, radius, fall, angle))[..., None]
    pixels = np.float64(image)
    gray = (pixels @ _LUMA)[..., None]
    white = np.maximum(pixels, 1.5 * gray + 0.5 * 255)
    whitened = share * pixels + (1 - share) * white
    return whitened + flakes + np.rot90(flakes, 2)


def frost(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Adds a piece of frost, drawn where photographs were published.

    Constants: weights of the image and of the frost, scale of the frost.

    >>> dark = np.zeros((32, 32, 3), np.uint8)
    >>> frost(dark, (1, 0.4, 0.2), np.random.default_rng(0)).shape
    (32, 32, 3)
    """
    weight, frost_weight, scale = constants
    height, width = image.shape[:2]
    ice = frost_texture(int(rng.integers(_FROSTS)), _FROST_SIDE, scale)
    for axis, size in enumerate((height, width)):
        # Repeated for images that are larger than the picture.
        start = rng.integers(max(1, ice.shape[axis] - size))
        ice = ice.take(range(start, start + size), axis, mode="wrap")
    return weight * np.float64(image) + frost_weight * ice


def fog(
    image: np.ndarray, constants: tuple, rng: np.random.Generator
) -> np.ndarray:
    """Adds clouds; constants: their strength, and how smooth they are.

    >>> white = np.full((32, 32, 3), 255, np.uint8)
    >>> made = fog(white, (1.5, 2), np.random.default_rng(0))
    >>> float(made.min().round()), float(made.max().round())
    (102.0, 255.0)
    """
    strength, decay = constants
    pixels = image / 255
    brightest = pixels.max()
    pixels += strength * plasma(*image.shape[:2], decay, rng)[..., None]
    return 255 * (pixels * brightest / (brightest + strength))


def brightness(
    image: np.ndarray, amount: float, rng: np.random.Generator
) -> np.ndarray:
    """Adds to the value of hue, saturation, value; 255 is the most it can be.

    Hue and saturation stay: all three channels grow by the same factor.

    >>> pixel = np.array([[[102, 51, 0]]], np.uint8)
    >>> brightness(pixel, 0.4, np.random.default_rng(0)).round().tolist()
    [[[204.0, 102.0, 0.0]]]
    """
    pixels = np.float64(image)
    value = pixels.max(axis=2, keepdims=True)
    wanted = np.minimum(value + 255 * amount, 255)
    scaled = pixels * (wanted / np.maximum(value, 1))
    return np.where(value > 0, scaled, wanted)
