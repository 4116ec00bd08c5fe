"""A trained detector on every image of a set."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bit_keras.benchmarks.detection.augment import eval_batches
from bit_keras.benchmarks.detection.average_precision import (
    average_precision,
    ground_truth,
    in_image_pixels,
)
from bit_keras.benchmarks.detection.detector import MEMORY, detect
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.data.batches import BadImages
from bit_keras.failures import explained
from bit_keras.progress import Progress


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a detector found, and how good that is.

    Attributes:
        metrics: From `average_precision`.
        truth: Of each image, with its boxes; see `average_precision`.
        found: Of each image, in the same order.
        bad_images: Images that could not be read; they do not count.
    """

    metrics: dict[str, float]
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]
    bad_images: int


def evaluate(
    detector: Any,
    images: DetectionSet,
    size: int,
    say: Callable[[str], None],
    batch_size: int = 8,
) -> Evaluation:
    """Finds the objects of every image, and compares them with the true ones.

    Args:
        detector: From `detector.build`.
        images: To evaluate on; each counts once.
        size: Side of the square images it takes, in pixels.
        say: Is given the images that cannot be read.
        batch_size: Images at once: no influence on results.

    Returns:
        An `Evaluation`; boxes are in pixels of the original images.

    Raises:
        ValueError: If no image can be read, memory is too small, or another
            error of TensorFlow.
    """

    @tf.function(autograph=False)
    def function(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return detect(detector, pixels)

    bad = BadImages()
    truth, found = [], []
    progress = Progress(images.num_images)
    try:
        with explained(bad, MEMORY):
            for batch in eval_batches(images, size, batch_size, bad=bad):
                objects = function(batch["images"])
                truth += ground_truth(batch)
                found += in_image_pixels(
                    batch,
                    objects["boxes"].numpy(),
                    objects["scores"].numpy(),
                    objects["classes"].numpy(),
                )
                progress.update(len(truth), "evaluating")
    finally:
        progress.close()
    if bad.count:
        say(f"{bad.count} images could not be read and do not count")
    if not truth:
        raise ValueError(f"{images.name}: no image of {images.split} is there.")
    return Evaluation(
        metrics=average_precision(truth, found, images.class_names),
        truth=truth,
        found=found,
        bad_images=bad.count,
    )
