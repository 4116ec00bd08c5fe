"""Noise: Gaussian, shot, impulse.

Functions take a uint8 image `(height, width, 3)`, the published constant of
one severity and a generator, and return pixels on the scale of 0 to 255.
"""

import numpy as np


def gaussian_noise(
    image: np.ndarray, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Adds normal noise of standard deviation `255 sigma` to every value.

    >>> flat = np.full((64, 64, 3), 128, np.uint8)
    >>> noisy = gaussian_noise(flat, 0.1, np.random.default_rng(0))
    >>> abs(float(noisy.std()) - 25.5) < 0.5
    True
    """
    return 255 * (image / 255 + rng.normal(size=image.shape, scale=sigma))


def shot_noise(
    image: np.ndarray, photons: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws every value as a Poisson count; white is `photons` on average.

    >>> black = np.zeros((2, 2, 3), np.uint8)
    >>> float(shot_noise(black, 3, np.random.default_rng(0)).max())
    0.0
    """
    return 255 * (rng.poisson(image / 255 * photons) / photons)


def impulse_noise(
    image: np.ndarray, amount: float, rng: np.random.Generator
) -> np.ndarray:
    """Sets a share `amount` of all values to 0 or 255, each as likely.

    Every channel of a pixel on its own, as scikit-image's "s&p" noise.

    >>> flat = np.full((64, 64, 3), 128, np.uint8)
    >>> noisy = impulse_noise(flat, 0.1, np.random.default_rng(0))
    >>> abs(float((noisy != 128).mean()) - 0.1) < 0.01
    True
    """
    hit = rng.random(image.shape) < amount
    salt = rng.random(image.shape) < 0.5
    return np.where(hit, np.where(salt, 255.0, 0.0), image)
