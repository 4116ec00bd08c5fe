"""The size and the pixels of an encoded image, without failing on bad ones."""

import tensorflow as tf

from bit_keras.data.batches import BadImages
from bit_keras.data.preprocess import decode


def image_size(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns height and width of an image; of a JPEG, from its header.

    Args:
        encoded: The file's bytes, a string scalar.

    Returns:
        Two int64 scalars, in pixels; 0 and 0 where they cannot be read.

    Example:

    >>> jpeg = tf.io.encode_jpeg(tf.zeros((2, 3, 3), tf.uint8))
    >>> [int(side) for side in image_size(jpeg)]
    [2, 3]
    >>> [int(side) for side in image_size(tf.constant(b"no image"))]
    [0, 0]
    """

    def measure(content: bytes) -> tuple[int, int]:
        try:
            if tf.io.is_jpeg(content):
                shape = tf.io.extract_jpeg_shape(content)
            else:
                shape = decode(tf.constant(content)).shape
        except tf.errors.OpError:
            return 0, 0
        return int(shape[0]), int(shape[1])

    sides = tf.numpy_function(measure, [encoded], (tf.int64, tf.int64))
    for side in sides:
        side.set_shape(())
    return tuple(sides)


def decode_or_blank(
    identity: tf.Tensor, encoded: tf.Tensor, bad: BadImages
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image; a corrupt one is reported and comes back as one pixel.

    For graphs only, such as those of `tf.data`.

    Args:
        identity: The example's id, a string scalar.
        encoded: The file's bytes, a string scalar.
        bad: Collects what cannot be read.

    Returns:
        uint8 `(height, width, 3)`, and a float32 scalar: 0 for a corrupt image,
        else 1.

    Example:

    >>> bad = BadImages()
    >>> files = tf.data.Dataset.from_tensors(("a.jpg", b"no image"))
    >>> rows = files.map(lambda name, file: decode_or_blank(name, file, bad))
    >>> [(image.shape, float(weight)) for image, weight in rows]
    [(TensorShape([1, 1, 3]), 0.0)]
    >>> list(bad.reasons)
    ['a.jpg']
    """

    def read(name: bytes, content: bytes) -> tuple[object, object]:
        try:
            return decode(tf.constant(content)).numpy(), tf.ones(()).numpy()
        except tf.errors.OpError:
            bad.report(name, content)
            blank = tf.zeros((1, 1, 3), tf.uint8)
            return blank.numpy(), tf.zeros(()).numpy()

    image, weight = tf.numpy_function(
        read, [identity, encoded], (tf.uint8, tf.float32)
    )
    image.set_shape((None, None, 3))
    weight.set_shape(())
    return image, weight
