"""Drawn textures: the plasma of fog, the crystals of frost."""

import functools
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# Of frost on a window: bluish white.
_TINT = np.array([0.86, 0.94, 1.0])
# Side branches of an ice crystal stand at 60 degrees to their stem.
_BRANCH = math.radians(60)


def plasma(
    height: int, width: int, decay: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns clouds by the diamond-square algorithm.

    Args:
        height: In pixels.
        width: In pixels.
        decay: By how much each finer scale is weaker.
        rng: Source of randomness.

    Returns:
        `(height, width)`: cut from a square map, whose side is a power of two,
        with values from 0 to 1.

    >>> plasma(20, 30, 2, np.random.default_rng(0)).shape
    (20, 30)
    """
    side = 1 << (max(height, width, 2) - 1).bit_length()
    made = np.zeros((side, side))
    step, strength = side, 100.0

    def shaken(total: np.ndarray) -> np.ndarray:
        # The strength counts twice, as published.
        noise = rng.uniform(-strength, strength, total.shape)
        return total / 4 + strength * noise

    while step >= 2:
        half = step // 2
        corners = made[::step, ::step]
        rows = corners + np.roll(corners, -1, 0)
        made[half::step, half::step] = shaken(rows + np.roll(rows, -1, 1))
        middles = made[half::step, half::step]
        above = middles + np.roll(middles, 1, 0)
        beside = corners + np.roll(corners, -1, 1)
        made[::step, half::step] = shaken(above + beside)
        left = middles + np.roll(middles, 1, 1)
        below = corners + np.roll(corners, -1, 0)
        made[half::step, ::step] = shaken(left + below)
        step, strength = half, strength / decay
    made -= made.min()
    return (made / made.max())[:height, :width]


@functools.cache
def frost_texture(number: int, side: int, scale: float) -> np.ndarray:
    """Draws ferns of ice, where photographs of frost were published.

    Args:
        number: Which one; the same number is always the same picture.
        side: Of what is drawn, in pixels.
        scale: By how much that is shrunk.

    Returns:
        uint8 `(scale side, scale side, 3)`.

    >>> frost_texture(0, 100, 0.3).shape
    (30, 30, 3)
    """
    rng = np.random.default_rng(number)
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for _ in range(max(8, side**2 // 500)):
        _draw_fern(pen, rng.uniform(0, side, 2).tolist(), rng)
    soft = canvas.filter(ImageFilter.GaussianBlur(0.8))
    # Thick ice here, bare glass there, at distances of some 100 pixels.
    ice = np.clip(1.8 * plasma(side, side, 1.5, rng) - 0.4, 0, 1)
    white = 0.1 + 0.45 * ice + np.asarray(soft) / 255 * (0.15 + 0.85 * ice)
    pixels = np.uint8(255 * np.clip(white, 0, 1)[..., None] * _TINT)
    small = round(scale * side)
    made = Image.fromarray(pixels).resize((small, small), Image.Resampling.BOX)
    return np.asarray(made)


def _draw_fern(
    pen: ImageDraw.ImageDraw, start: list[float], rng: np.random.Generator
) -> None:
    """Draws a stem with side branches that grow shorter towards its tip."""
    length, angle, bright = rng.uniform((20, 0, 60), (90, 2 * math.pi, 255))

    def line(x: float, y: float, direction: float, size: float) -> None:
        end = x + size * math.cos(direction), y + size * math.sin(direction)
        pen.line((x, y, *end), fill=int(bright), width=2)

    x, y = start
    line(x, y, angle, length)
    for share in np.arange(0.1, 1, 5 / length).tolist():
        foot = (
            x + share * length * math.cos(angle),
            y + share * length * math.sin(angle),
        )
        for side in (-_BRANCH, _BRANCH):
            line(*foot, angle + side, 0.35 * length * (1 - share))
