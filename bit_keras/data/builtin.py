"""Two datasets without files: scanned `digits` and drawn `shapes`.

`digits` are the 1797 8x8 scans that come with scikit-learn. `shapes` are 10000
RGB images of 32x32 pixels, each one of 16 shapes in some colour, scale,
orientation and position over a noisy background; no combination of these
factors occurs twice, so train and test share none.
"""

import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bit_keras.data.sources import (
    Source,
    fetch_from,
    read_by_index,
)
from bit_keras.data.splits import slice_split
from bit_keras.recipe import did_you_mean

_DIGITS_TEST = 500
# Images of each of the 16 shapes: 8000 for training, 2000 for testing.
_PER_SHAPE = {"train": 500, "test": 125}
_SIDE = 32
_SEED = 20191224

_T = np.linspace(0, 1, 13)


def _arc(center, radii, start, end) -> list[tuple[float, float]]:
    """A polyline along an ellipse; angles in degrees, y points down."""
    angle = np.radians(start + (end - start) * _T)
    x = center[0] + radii[0] * np.cos(angle)
    y = center[1] + radii[1] * np.sin(angle)
    return list(zip(x, y, strict=True))


# Strokes in [-1, 1] x [-1, 1]; y points down. Turned by +-30 degrees, no shape
# looks like itself, so that orientation can be told from the image.
_STROKES = {
    "arc": [_arc((0, 0), (0.7, 0.9), 50, 310)],
    "arrow": [[(0, 0.9), (0, -0.9)], [(-0.5, -0.4), (0, -0.9), (0.5, -0.4)]],
    "bar": [[(0, -0.9), (0, 0.9)]],
    "box": [[(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7), (-0.7, -0.7)]],
    "corner": [[(-0.5, -0.9), (-0.5, 0.8), (0.6, 0.8)]],
    "cross": [[(0, -0.9), (0, 0.9)], [(-0.7, -0.2), (0.7, -0.2)]],
    "ellipse": [_arc((0, 0), (0.5, 0.9), 0, 360)],
    "ess": [
        _arc((0, -0.45), (0.5, 0.45), -20, -270)
        + _arc((0, 0.45), (0.5, 0.45), -90, 160)
    ],
    "fork": [[(0, 0.9), (0, 0), (-0.6, -0.8)], [(0, 0), (0.6, -0.8)]],
    "hook": [[(0.3, -0.9), (0.3, 0.4)], _arc((-0.1, 0.4), (0.4, 0.5), 0, 180)],
    "ring": [_arc((0, 0), (0.6, 0.9), 0, 360)],
    "square": [[(-0.6, -0.6), (0.6, -0.6), (0.6, 0.6), (-0.6, 0.6)]],
    "tee": [[(-0.7, -0.8), (0.7, -0.8)], [(0, -0.8), (0, 0.9)]],
    "triangle": [[(0, -0.8), (0.8, 0.7), (-0.8, 0.7)]],
    "vee": [[(-0.6, -0.8), (0, 0.8), (0.6, -0.8)]],
    "zigzag": [[(-0.6, -0.8), (0.6, -0.8), (-0.6, 0.8), (0.6, 0.8)]],
}
_FILLED = ("ellipse", "square", "triangle")
_STROKE_RADIUS = 0.17
# The grid on which distances to a shape are computed: cells, half its side.
_GRID = 256
_EXTENT = 4.0
# Least difference between a shape and its background, of 1.
_CONTRAST = 0.25

_COLOURS = {
    "black": (0.05, 0.05, 0.05),
    "blue": (0.15, 0.25, 0.85),
    "cyan": (0.1, 0.8, 0.85),
    "green": (0.1, 0.65, 0.2),
    "magenta": (0.85, 0.15, 0.75),
    "red": (0.85, 0.15, 0.15),
    "white": (0.95, 0.95, 0.95),
    "yellow": (0.9, 0.85, 0.15),
}
# Fraction of half the image; degrees; pixels from the centre.
_SCALES = (0.35, 0.45, 0.55, 0.65)
_ORIENTATIONS = (-30, -15, 0, 15, 30)
_OFFSETS = (-4, -2, 0, 2, 4)

# Factor -> class names. "label" is another name for "shape".
FACTORS = {
    "shape": tuple(_STROKES),
    "colour": tuple(_COLOURS),
    "scale": tuple(f"scale={value}" for value in _SCALES),
    "orientation": tuple(f"orientation={value}" for value in _ORIENTATIONS),
    "x": tuple(f"x={index}" for index in range(len(_OFFSETS))),
    "y": tuple(f"y={index}" for index in range(len(_OFFSETS))),
}


def open_builtin(name: str, split: str, label: str = "label") -> Source:
    """Opens "digits" or "shapes".

    Args:
        name: "digits" or "shapes".
        split: "train" or "test", sliced as in TFDS if you like.
        label: For "shapes", a factor: "shape" (as is "label"), "colour",
            "scale", "orientation", "x" or "y".

    Returns:
        A `Source` with random access, in memory.

    Raises:
        ValueError: For an unknown split or label.

    Example:

    >>> open_builtin("digits", "test").num_examples
    500
    """
    factors = FACTORS if name == "shapes" else {}
    legal = ("label", *factors)
    if label not in legal:
        raise ValueError(
            f'label: {name} has no label "{label}".'
            f"{did_you_mean(label, legal)} Legal: {', '.join(legal)}."
        )
    if name == "digits":
        images, values, members = _digits()
        class_names = tuple(str(digit) for digit in range(10))
    else:
        images, combinations, members = _shapes()
        factor = "shape" if label == "label" else label
        values = combinations[:, list(factors).index(factor)]
        class_names = factors[factor]
    lengths = {key: [len(indices)] for key, indices in members.items()}
    slices = slice_split(name, split, lengths)
    chosen = np.concatenate([members[key][a:b] for key, a, b in slices])
    return _in_memory(name, split, images, values, chosen, class_names)


def _in_memory(
    name: str,
    split: str,
    images: Sequence[bytes],
    values: np.ndarray,
    chosen: np.ndarray,
    class_names: tuple[str, ...],
) -> Source:
    pictures = [images[i] for i in chosen]
    labels = [int(values[i]) for i in chosen]
    digest = hashlib.sha256(json.dumps([name, class_names, labels]).encode())
    for picture in pictures:
        digest.update(picture)
    fetch = fetch_from(pictures, labels, [f"{name}/{i}" for i in chosen])
    return Source(
        name=name,
        split=split,
        num_examples=len(pictures),
        class_names=class_names,
        multi_label=False,
        image_size=(8, 8) if name == "digits" else (_SIDE, _SIDE),
        fingerprint=digest.hexdigest(),
        read=read_by_index(fetch, len(pictures)),
        fetch=fetch,
    )


@functools.lru_cache(maxsize=1)
def _digits() -> tuple[list[bytes], np.ndarray, dict[str, np.ndarray]]:
    """Returns images, labels, and the indices of each split."""
    # scikit-learn takes a second to import.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans, labels = load_digits(return_X_y=True)
    train, test = train_test_split(
        np.arange(len(labels)),
        test_size=_DIGITS_TEST,
        stratify=labels,
        random_state=0,
    )
    # Scans have 17 grey levels, 0 to 16.
    pixels = np.rint(scans.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return _encode(pixels), labels, {"train": train, "test": test}


@functools.lru_cache(maxsize=1)
def _shapes() -> tuple[list[bytes], np.ndarray, dict[str, np.ndarray]]:
    """Returns images, factors `(10000, 6)`, and the indices of each split."""
    rng = np.random.default_rng(_SEED)
    sizes = [len(values) for values in FACTORS.values()]
    per_shape = sum(_PER_SHAPE.values())
    blocks, images = [], []
    members = {key: [] for key in _PER_SHAPE}
    for shape, name in enumerate(_STROKES):
        # Without replacement: no combination of factors occurs twice.
        cells = rng.permutation(np.prod(sizes[1:]))[:per_shape]
        rest = np.stack(np.unravel_index(cells, sizes[1:]), axis=-1)
        block = np.insert(rest, 0, shape, axis=1)
        blocks.append(block)
        images += _encode(_paint(_draw(name, block), block, rng))
        first = shape * per_shape
        for key, count in _PER_SHAPE.items():
            members[key].append(np.arange(first, first + count))
            first += count
    splits = {
        key: rng.permutation(np.concatenate(parts))
        for key, parts in members.items()
    }
    return images, np.concatenate(blocks), splits


def _draw(shape: str, block: np.ndarray) -> np.ndarray:
    """Returns how much of each pixel `shape` covers, `(n, 32, 32)` in [0, 1].

    The signed distances to the outline are computed once, on a grid, and
    looked up at the turned and scaled pixel centres of each image; half a
    pixel on either side of the outline is blended.
    """
    field = _distance_field(shape)
    scale, angle, x0, y0 = (
        np.take(values, block[:, column])[:, None, None]
        for column, values in enumerate(
            (_SCALES, np.radians(_ORIENTATIONS), _OFFSETS, _OFFSETS), start=2
        )
    )
    scale = scale * (_SIDE / 2)
    centers = np.arange(_SIDE) + 0.5 - _SIDE / 2
    x, y = centers[None, None, :] - x0, centers[None, :, None] - y0
    column, row = (
        np.clip(
            (place / scale + _EXTENT) * (_GRID / (2 * _EXTENT)), 0, _GRID - 1
        )
        for place in (
            np.cos(angle) * x + np.sin(angle) * y,
            np.cos(angle) * y - np.sin(angle) * x,
        )
    )
    distance = field[row.astype(int), column.astype(int)] * scale
    return np.clip(0.5 - distance, 0, 1)


def _distance_field(shape: str) -> np.ndarray:
    """Returns signed distances to the outline, negative inside."""
    centers = (np.arange(_GRID) + 0.5) * (2 * _EXTENT / _GRID) - _EXTENT
    points = np.stack(np.meshgrid(centers, centers), axis=-1)
    distance = np.full((_GRID, _GRID), np.inf)
    inside = np.zeros((_GRID, _GRID), bool)
    for stroke in _STROKES[shape]:
        corners = np.asarray(stroke, float)
        if shape in _FILLED:
            corners = np.concatenate([corners, corners[:1]])
        for a, b in zip(corners[:-1], corners[1:], strict=True):
            along = b - a
            t = (points - a) @ along / max(along @ along, 1e-12)
            nearest = a + np.clip(t, 0, 1)[..., None] * along
            gap = np.linalg.norm(points - nearest, axis=-1)
            distance = np.minimum(distance, gap)
            if a[1] != b[1]:
                # Even-odd rule: does a ray to the right cross this edge?
                y = points[..., 1]
                crossing = a[0] + (y - a[1]) * along[0] / along[1]
                between = (a[1] > y) != (b[1] > y)
                inside ^= between & (points[..., 0] < crossing)
    if shape in _FILLED:
        return np.where(inside, -distance, distance)
    return distance - _STROKE_RADIUS


def _paint(
    coverage: np.ndarray, block: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Returns uint8 images `(n, 32, 32, 3)` over a random, noisy background."""
    count = len(block)
    colour = np.take(list(_COLOURS.values()), block[:, 1], axis=0)
    colour = colour + rng.uniform(-0.05, 0.05, colour.shape)
    # A grey that differs from the shape's by at least _CONTRAST; Rec. 601 luma.
    luma = colour @ (0.299, 0.587, 0.114)
    darker = np.maximum(luma - _CONTRAST, 0)
    lighter = np.maximum(1 - luma - _CONTRAST, 0)
    grey = rng.uniform(0, darker + lighter)
    grey = np.where(grey < darker, grey, grey - darker + luma + _CONTRAST)
    # A ramp over the image, and noise, both of random strength.
    slope = rng.uniform(-0.15, 0.15, (2, count, 1, 1))
    ramp = np.linspace(-1, 1, _SIDE)
    ground = grey[:, None, None] + slope[0] * ramp + slope[1] * ramp[:, None]
    alpha = coverage[..., None]
    image = alpha * colour[:, None, None, :] + (1 - alpha) * ground[..., None]
    sigma = rng.uniform(0.02, 0.1, (count, 1, 1, 1))
    image = image + sigma * rng.standard_normal(image.shape)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _encode(pixels: np.ndarray) -> list[bytes]:
    return list(tf.io.encode_png(pixels).numpy())
