"""Moves images and their boxes alike: flip, scale, crop and pad to a square."""

import tensorflow as tf


def fitting_scale(size: int, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns the scale that makes the longer side of an image `size` pixels.

    >>> float(fitting_scale(64, height=24, width=32))
    2.0
    """
    return size / tf.cast(tf.maximum(height, width), tf.float32)


def square(
    image: tf.Tensor, scale: tf.Tensor, corner: tf.Tensor, size: int
) -> tf.Tensor:
    """Scales an image and cuts a square out of it, gray (0) beyond its edge.

    Bilinear, without antialiasing, as `tf.image.resize`, but exact to a
    fraction of a pixel: pixel (x, y) of the image becomes
    `(x * scale - corner[1], y * scale - corner[0])` of the square.

    Args:
        image: uint8 `(height, width, 3)`.
        scale: Pixels of the square per pixel of the image, a float32 scalar.
        corner: float32 `(2,)`: upper left corner (y, x) of the square in the
            scaled image.
        size: Side of the square, in pixels.

    Returns:
        float32 `(size, size, 3)` in [-1, 1].

    Example:

    >>> white = tf.fill((1, 2, 3), tf.constant(255, tf.uint8))
    >>> square(white, 1.0, tf.zeros(2), size=3)[..., 0].numpy()
    array([[1., 1., 0.],
           [0., 0., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    pixels = tf.cast(image, tf.float32) / 127.5 - 1.0
    made = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=(size, size),
        scale=tf.stack([scale, scale]),
        translation=-corner,
        kernel_type="triangle",
        antialias=False,
    )
    return tf.ensure_shape(made[0], (size, size, 3))


def move_boxes(
    boxes: tf.Tensor, scale: tf.Tensor, corner: tf.Tensor
) -> tf.Tensor:
    """Returns "xyxy" boxes of an image as they lie in its `square`.

    >>> move_boxes(tf.constant([[1.0, 2, 3, 4]]), 2.0, tf.constant([1.0, 0]))
    <tf.Tensor: ... numpy=array([[2., 3., 6., 7.]], dtype=float32)>
    """
    across = corner[::-1]
    return boxes * scale - tf.concat([across, across], axis=0)


def flip_boxes(boxes: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns "xyxy" boxes as they lie in the image flipped left to right.

    >>> flip_boxes(tf.constant([[1.0, 2, 3, 4]]), width=10).numpy()
    array([[7., 2., 9., 4.]], dtype=float32)
    """
    left, top, right, bottom = tf.unstack(boxes, axis=-1)
    width = tf.cast(width, tf.float32)
    return tf.stack([width - right, top, width - left, bottom], axis=-1)
