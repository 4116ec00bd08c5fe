"""From boxes as annotated to boxes that can be used, and what was done to them.

A box has an area, and some of it lies inside its image. Crowd boxes (one box
around many objects) are kept, but only for the evaluation: they are never
trained on.
"""

import dataclasses

import tensorflow as tf

# Pixels by which a box may reach out of its image without being counted as
# clipped: COCO rounds to hundredths, TFDS stores shares of the side as float32.
_ROUNDING = 0.02


@dataclasses.dataclass(frozen=True)
class BoxCounts:
    """What a set holds, and what became of its boxes.

    Counts of two sets add up with `+`; `str()` makes a sentence for the log.

    Attributes:
        images: Images whose size could be read.
        images_without_boxes: Those of them that have no box to train on.
        boxes: Boxes of these images, as annotated.
        crowd: Kept for the evaluation, never trained on.
        clipped: Cut to the part that lies inside the image.
        outside: Dropped: no part of them lies inside the image.
        empty: Dropped: they have no area.
        beyond: Not trained on, because their image has more than `max_boxes`.

    Example:

    >>> print(BoxCounts(images=2, boxes=7) + BoxCounts(images=1, empty=1))
    3 images (0 without boxes to train on), 7 boxes: 0 crowd, 0 clipped, \
0 dropped outside the image, 1 dropped without area, 0 beyond the limit per \
image
    """

    images: int = 0
    images_without_boxes: int = 0
    boxes: int = 0
    crowd: int = 0
    clipped: int = 0
    outside: int = 0
    empty: int = 0
    beyond: int = 0

    def __add__(self, other: "BoxCounts") -> "BoxCounts":
        """Returns the counts of both sets together."""
        ours, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return BoxCounts(*map(sum, zip(ours, theirs, strict=True)))

    def __str__(self) -> str:
        """Returns a sentence for the log."""
        return (
            f"{self.images} images ({self.images_without_boxes} without boxes "
            f"to train on), {self.boxes} boxes: {self.crowd} crowd, "
            f"{self.clipped} clipped, {self.outside} dropped outside the "
            f"image, {self.empty} dropped without area, {self.beyond} beyond "
            "the limit per image"
        )


def clean(
    example: dict[str, tf.Tensor], height: tf.Tensor, width: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Clips the boxes of one image to it, and drops those with nothing left.

    Args:
        example: `boxes` float32 `(n, 4)`, "xyxy" in pixels, with `labels`,
            `is_crowd` and `area`, each `(n,)`; other entries are passed on.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        The example with the boxes that are left; `area` is at most that of the
        clipped box.

    Example:

    >>> cleaned = clean({"boxes": [[-5.0, 0, 5, 10], [3, 3, 3, 9]],
    ...                  "labels": [1, 0], "is_crowd": [False, False],
    ...                  "area": [100.0, 0.0]}, height=20, width=20)
    >>> cleaned["boxes"].numpy(), cleaned["area"].numpy()
    (array([[ 0.,  0.,  5., 10.]], dtype=float32), array([50.], dtype=float32))
    """
    boxes = tf.convert_to_tensor(example["boxes"], tf.float32)
    clipped = clip(boxes, height, width)
    left = (box_area(boxes) > 0) & (box_area(clipped) > 0)
    area = tf.minimum(example["area"], box_area(clipped))
    return {
        **example,
        "boxes": tf.boolean_mask(clipped, left),
        "labels": tf.boolean_mask(example["labels"], left),
        "is_crowd": tf.boolean_mask(example["is_crowd"], left),
        "area": tf.boolean_mask(area, left),
    }


def clip(boxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Cuts "xyxy" boxes to an image.

    >>> clip(tf.constant([[-5.0, 2, 5, 30]]), height=20, width=20).numpy()
    array([[ 0.,  2.,  5., 20.]], dtype=float32)
    """
    limits = tf.cast(tf.stack([width, height, width, height]), tf.float32)
    return tf.clip_by_value(boxes, 0.0, limits)


def box_area(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the areas of "xyxy" boxes; 0 for those turned inside out.

    >>> box_area(tf.constant([[0.0, 0, 2, 3], [2, 3, 0, 0]])).numpy()
    array([6., 0.], dtype=float32)
    """
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def count_boxes(
    examples: tf.data.Dataset, max_boxes: int | None = None
) -> BoxCounts:
    """Counts the boxes of a set, and what `clean` does to them.

    Reads the whole set, but decodes no JPEG.

    Args:
        examples: From `DetectionSet.read`.
        max_boxes: The most boxes of an image that are trained on; `None`: all.

    Returns:
        `BoxCounts`; images whose size cannot be read are left out.

    Example:

    >>> image = {"boxes": [[0.0, 0, 5, 30]], "labels": [1], "area": [150.0],
    ...          "is_crowd": [False], "height": 20, "width": 20}
    >>> counts = count_boxes(tf.data.Dataset.from_tensors(image))
    >>> counts.boxes, counts.clipped
    (1, 1)
    """
    most = max_boxes or tf.int64.max
    counts = examples.map(
        lambda example: _counts(example, most),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    fields = len(dataclasses.fields(BoxCounts))
    total = counts.reduce(tf.zeros(fields, tf.int64), tf.add)
    return BoxCounts(*total.numpy().tolist())


def _counts(example: dict[str, tf.Tensor], max_boxes: int) -> tf.Tensor:
    """The fields of `BoxCounts` for one image, in order."""
    height, width = example["height"], example["width"]
    boxes = example["boxes"]
    clipped = clip(boxes, height, width)
    # Not "== 0", which would let NaN pass.
    empty = ~(box_area(boxes) > 0)
    outside = ~empty & ~(box_area(clipped) > 0)
    left = ~empty & ~outside
    moved = tf.reduce_any(tf.abs(clipped - boxes) > _ROUNDING, axis=-1)
    trained = _number(left & ~example["is_crowd"])
    counts = tf.stack(
        [
            tf.ones((), tf.int64),
            tf.cast(trained == 0, tf.int64),
            tf.shape(boxes, tf.int64)[0],
            _number(left & example["is_crowd"]),
            _number(left & moved),
            _number(outside),
            _number(empty),
            tf.maximum(trained - max_boxes, 0),
        ]
    )
    return counts * tf.cast((height > 0) & (width > 0), tf.int64)


def _number(chosen: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(chosen)
