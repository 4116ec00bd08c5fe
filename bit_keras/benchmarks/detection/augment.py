"""From images with boxes to batches of squares, for training and evaluation.

An image is scaled as a whole and put into the upper left corner of a square,
whose rest is gray (0), as the RetinaNet of the TPU models does, which the
paper trained (section 3.7, appendix E; tensorflow/tpu,
models/official/retinanet/dataloader.py). Scaling is bilinear, without
antialiasing and exact to a fraction of a pixel: a box and its image move alike.
"""

import tensorflow as tf

from bit_keras.benchmarks.detection.boxes import clean, clip
from bit_keras.benchmarks.detection.image_size import decode_or_blank
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.benchmarks.detection.squares import (
    fitting_scale,
    flip_boxes,
    move_boxes,
    square,
)
from bit_keras.data.batches import BadImages
from bit_keras.data.sources import count_from
from bit_keras.data.untuned import untuned

# Range of the longer side, as a multiple of the square's. The paper says
# "scale jitter" without a range (appendix E); this is that of RetinaNet with a
# ResNet-FPN in the TensorFlow Model Garden (retinanet_resnetfpn_coco).
SCALE_JITTER = (0.8, 1.2)
# Images held in memory for shuffling, as in the TPU models' RetinaNet.
_SHUFFLE = 1024
# Boxes less wide or high, in pixels of the square, are not trained on; crops
# leave some of almost no area, whose targets (a logarithm) are not finite.
_SMALLEST = 1.0


def train_batches(
    detection_set: DetectionSet,
    size: int,
    batch_size: int,
    seed: int,
    max_boxes: int = 100,
    *,
    start: int = 0,
    bad: BadImages | None = None,
) -> tf.data.Dataset:
    """Returns training batches without end, a pure function of `seed`.

    Images are flipped with probability 1/2, scaled by `SCALE_JITTER`, and,
    where they are larger than the square, cropped at random. Crowd boxes are
    left out. Of more than `max_boxes` boxes, the first are kept
    (`boxes.count_boxes` counts the others).

    Args:
        detection_set: Images to train on.
        size: Side of the square, in pixels.
        batch_size: Images per batch.
        seed: Any integer.
        max_boxes: Most boxes of an image.
        start: First batch, to go on with an interrupted training.
        bad: Collects images that cannot be read; `None`: they are only logged.

    Returns:
        A dataset of dicts: `images` float32 `(batch, size, size, 3)` in
        [-1, 1], `boxes` float32 `(batch, max_boxes, 4)` "xyxy" in pixels of the
        square, `labels` int64 `(batch, max_boxes)` with -1 for padding, and
        `weight` float32 `(batch,)`: 0 for a corrupt image, which is gray and
        without boxes.

    Example:

    >>> from bit_keras.benchmarks.detection.rectangles import rectangles
    >>> batch = next(iter(train_batches(rectangles(8), 64, 2, seed=0)))
    >>> batch["images"].shape, batch["boxes"].shape
    (TensorShape([2, 64, 64, 3]), TensorShape([2, 100, 4]))
    """
    bad = bad or BadImages()

    def prepare(example: dict, position: tf.Tensor) -> dict:
        key = tf.stack([tf.cast(seed, tf.int64), position])
        return _train_example(_decoded(example, bad), size, max_boxes, key)

    stream = detection_set.stream(seed, start * batch_size, _SHUFFLE)
    positions = count_from(start * batch_size)
    batches = (
        tf.data.Dataset.zip(stream, positions)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
    )
    return untuned(batches.prefetch(tf.data.AUTOTUNE))


def eval_batches(
    detection_set: DetectionSet,
    size: int,
    batch_size: int,
    *,
    bad: BadImages | None = None,
) -> tf.data.Dataset:
    """Returns every image once, in order, with its boxes as ground truth.

    Args:
        detection_set: Images to evaluate on.
        size: Side of the square, in pixels.
        batch_size: Images per batch; the last one is filled up.
        bad: Collects images that cannot be read; `None`: they are only logged.

    Returns:
        A finite dataset of dicts: `images` float32 `(batch, size, size, 3)` in
        [-1, 1]; and of each image `id`, `weight` (0 for corrupt images and
        those that fill up the last batch, else 1), `scale` (pixels of the
        square per pixel of the image), `height` and `width` in pixels, and the
        boxes after `boxes.clean` in pixels of the image: `boxes`
        `(batch, n, 4)` "xyxy", `labels`, `is_crowd` and `area` `(batch, n)`,
        for the largest n in the batch; padding has the label -1.

    Example:

    >>> from bit_keras.benchmarks.detection.rectangles import rectangles
    >>> batches = eval_batches(rectangles(3), 64, 2)
    >>> [batch["weight"].numpy().tolist() for batch in batches]
    [[1.0, 1.0], [1.0, 0.0]]
    """
    bad = bad or BadImages()

    def prepare(example: dict) -> dict:
        return _eval_example(_decoded(example, bad), size)

    def fill(batch: dict) -> dict:
        return {key: _fill(key, batch[key], batch_size) for key in batch}

    examples = detection_set.read().map(
        prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    specs = examples.element_spec
    shapes = {key: spec.shape for key, spec in specs.items()}
    blanks = {key: _blank(key, spec.dtype) for key, spec in specs.items()}
    batches = examples.padded_batch(batch_size, shapes, blanks).map(
        fill, num_parallel_calls=tf.data.AUTOTUNE
    )
    return untuned(batches.prefetch(tf.data.AUTOTUNE))


def _decoded(example: dict, bad: BadImages) -> dict[str, tf.Tensor]:
    """The example with pixels instead of an encoded file, its boxes cleaned."""
    image, weight = decode_or_blank(example["id"], example["image"], bad)
    height, width = tf.unstack(tf.shape(image)[:2])
    example = clean(example, height, width)
    own = {"weight": weight, "height": height, "width": width}
    return {**example, **own, "image": image}


def _train_example(
    example: dict, size: int, max_boxes: int, key: tf.Tensor
) -> dict[str, tf.Tensor]:
    image, width = example["image"], example["width"]
    jitter, flip, down, right = tf.unstack(
        tf.random.stateless_uniform((4,), seed=key)
    )
    low, high = SCALE_JITTER
    scale = low + (high - low) * jitter
    scale *= fitting_scale(size, example["height"], width)
    sides = tf.cast(tf.stack([example["height"], width]), tf.float32) * scale
    corner = tf.maximum(sides - size, 0.0) * tf.stack([down, right])
    flipped = flip < 0.5
    image = tf.cond(flipped, lambda: image[:, ::-1], lambda: image)
    boxes = example["boxes"]
    boxes = tf.where(flipped, flip_boxes(boxes, width), boxes)
    boxes = clip(move_boxes(boxes, scale, corner), size, size)
    large = tf.reduce_min(boxes[:, 2:] - boxes[:, :2], axis=-1) >= _SMALLEST
    kept = large & ~example["is_crowd"] & (example["weight"] > 0)
    boxes = tf.boolean_mask(boxes, kept)[:max_boxes]
    labels = tf.boolean_mask(example["labels"], kept)[:max_boxes]
    return {
        "images": square(image, scale, corner, size) * example["weight"],
        "boxes": _fill("boxes", boxes, max_boxes),
        "labels": _fill("labels", labels, max_boxes),
        "weight": example["weight"],
    }


def _eval_example(example: dict, size: int) -> dict[str, tf.Tensor]:
    scale = fitting_scale(size, example["height"], example["width"])
    image = example.pop("image")
    images = square(image, scale, tf.zeros(2), size) * example["weight"]
    return {**example, "images": images, "scale": scale}


def _fill(key: str, values: tf.Tensor, length: int) -> tf.Tensor:
    missing = length - tf.shape(values)[0]
    padding = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
    blank = _blank(key, values.dtype)
    filled = tf.pad(values, padding, constant_values=blank)
    return tf.ensure_shape(filled, [length, *values.shape[1:]])


def _blank(key: str, dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.string:
        return tf.constant("")
    return tf.cast(-1 if key == "labels" else 0, dtype)
