"""Made-up images with boxes, for a try without data: coloured rectangles."""

import hashlib

import numpy as np
import tensorflow as tf

from bit_keras.benchmarks.detection.image_size import image_size
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.data.sources import read_by_index

_COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def rectangles(num_images: int, side: int = 64, seed: int = 0) -> DetectionSet:
    """Returns images of red, green and blue rectangles on gray noise.

    Args:
        num_images: Number of images.
        side: Of the images, in pixels.
        seed: Any non-negative integer; other seeds, other images.

    Returns:
        A `DetectionSet` with random access; an image has 1 to 4 boxes, which
        may overlap.

    Example:

    >>> made = rectangles(8)
    >>> made.num_images, made.class_names
    (8, ('red', 'green', 'blue'))
    >>> next(iter(made.read()))["boxes"].shape[1]
    4
    """
    colours = np.array(list(_COLOURS.values()), np.uint8)

    def draw(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        random = np.random.default_rng((seed, index))
        image = random.integers(96, 160, (side, side, 3), np.uint8)
        labels = random.integers(0, len(colours), random.integers(1, 5))
        sides = random.integers(side // 6, side // 2, (len(labels), 2))
        corners = random.integers(0, side - sides)
        boxes = np.concatenate([corners, corners + sides], axis=1)
        for (left, top, right, bottom), label in zip(
            boxes, labels, strict=True
        ):
            image[top:bottom, left:right] = colours[label]
        return image, boxes.astype(np.float32), labels

    def fetch(index: tf.Tensor) -> dict[str, tf.Tensor]:
        image, boxes, labels = tf.numpy_function(
            draw, [index], (tf.uint8, tf.float32, tf.int64)
        )
        encoded = tf.io.encode_png(tf.ensure_shape(image, (side, side, 3)))
        boxes = tf.ensure_shape(boxes, (None, 4))
        labels = tf.ensure_shape(labels, (None,))
        height, width = image_size(encoded)
        return {
            "id": tf.strings.as_string(index),
            "image": encoded,
            "height": height,
            "width": width,
            "boxes": boxes,
            "labels": labels,
            "is_crowd": tf.zeros_like(labels, tf.bool),
            "area": tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=-1),
        }

    name = f"rectangles:{side}:{seed}"
    return DetectionSet(
        name=name,
        split="all",
        class_names=tuple(_COLOURS),
        num_images=num_images,
        fingerprint=hashlib.sha256(f"{name}:{num_images}".encode()).hexdigest(),
        read=read_by_index(fetch, num_images),
        fetch=fetch,
    )
