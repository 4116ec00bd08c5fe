"""A trained detector as a SavedModel for plain TensorFlow."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.detection.detector import detect
from bit_keras.benchmarks.detection.squares import fitting_scale, square

LABELS = "labels.txt"
# Says which training this is of.
NOTE = "training.txt"


def check_new(path: str | os.PathLike) -> None:
    """Raises a ValueError if something is there that would be overwritten.

    >>> check_new("nothing_here")
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(
            f'--export: "{path}" is there already. Choose another folder, or '
            "remove it."
        )


def write(
    detector: Any,
    size: int,
    class_names: Sequence[str],
    path: str | os.PathLike,
    note: str = "",
) -> None:
    """Writes a detector; the folder is there when it is complete, or not.

    The signatures `detect` and `serving_default` take `images` float32
    `(batch, height, width, 3)` in [0, 1], of any size, and return `boxes`
    `(batch, 100, 4)`, "xyxy" in their pixels, `scores` and `classes`
    `(batch, 100)`, best first, and `count` `(batch,)`; beyond it the class is
    -1. The names of the classes are in labels.txt.

    Args:
        detector: From `detector.build`.
        size: Side of the square images it takes, in pixels.
        class_names: One for each class.
        path: The folder to write; must be new, or empty.
        note: One line for training.txt.

    Raises:
        ValueError: If there is something already.

    Example:

    >>> from bit_keras import models
    >>> from bit_keras.benchmarks.detection.detector import build
    >>> from bit_keras.recipes.coco_retinanet import RetinaNet
    >>> recipe = RetinaNet(size=32, head_convolutions=1)
    >>> detector = build(models.create("bit_nano", 0), 2, recipe, seed=0)
    >>> write(detector, 32, ["cat", "dog"], "exports/detector")
    >>> loaded = tf.saved_model.load("exports/detector")
    >>> found = loaded.signatures["detect"](images=tf.zeros((1, 24, 40, 3)))
    >>> sorted(found), found["boxes"].shape
    (['boxes', 'classes', 'count', 'scores'], TensorShape([1, 100, 4]))
    """
    check_new(path)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    module = tf.train.Checkpoint()
    # A signature's variables must be found from the object.
    module.variables = [v.value for v in detector.variables]
    module.detect = _detect(detector, size)
    tf.saved_model.save(
        module,
        str(temporary),
        signatures={
            "detect": module.detect,
            "serving_default": module.detect,
        },
    )
    names = "".join(f"{name}\n" for name in class_names)
    write_atomic(temporary / LABELS, names)
    write_atomic(temporary / NOTE, f"{note}\n")
    os.replace(temporary, path)


def _detect(detector: Any, size: int) -> Any:
    spec = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")

    @tf.function(input_signature=(spec,), autograph=False)
    def function(images: tf.Tensor) -> dict[str, tf.Tensor]:
        height, width = tf.unstack(tf.shape(images)[1:3])
        scale = fitting_scale(size, height, width)
        squares = tf.map_fn(
            # As in evaluation, from 0..255.
            lambda image: square(image * 255.0, scale, tf.zeros(2), size),
            images,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        found = detect(detector, squares)
        limits = tf.cast(tf.stack([width, height, width, height]), tf.float32)
        boxes = tf.clip_by_value(found["boxes"] / scale, 0.0, limits)
        return {**found, "boxes": boxes}

    return function
