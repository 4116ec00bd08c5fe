"""From one encoded image to one model input in [-1, 1].

Random choices are stateless functions of a seed, so that an example looks the
same however often a run is interrupted.
"""

from collections.abc import Callable

import tensorflow as tf

from bit_keras.recipe import Preprocess

# Inception crop (Szegedy et al., arXiv 1409.4842, section 6): share of the
# area and aspect ratio, as in big_vision's BiT recipes.
_AREA = (0.05, 1.0)
_ASPECT = (3 / 4, 4 / 3)
# Pixels per pixel wanted, up to which an image is rather scaled to [-1, 1]
# before it is resized: resizing float32 takes less than half the time of
# resizing uint8, but there may be more to scale.
_SCALED_FIRST = 3


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes JPEG, PNG, WebP, BMP or (first frame of) GIF to RGB.

    Gray images are repeated over the three channels, CMYK is converted, alpha
    is dropped, 16-bit samples are cut to 8.  TensorFlow reads neither animated
    WebP nor the palette of a BMP (whose indices it takes for gray levels).

    Args:
        encoded: The file's bytes, a string scalar.

    Returns:
        uint8 `(height, width, 3)`.

    Example:

    >>> gray = tf.io.encode_png(tf.zeros((2, 3, 1), tf.uint8))
    >>> decode(gray).shape
    TensorShape([2, 3, 3])
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image


def train_function(
    options: Preprocess,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `(encoded, seed) -> float32 (crop, crop, 3) in [-1, 1]`.

    Args:
        options: Of the recipe; `crop` (and `resize`, for "resize_crop") set.

    Returns:
        A function for `tf.data`; `seed` is an int tensor `(2,)`.

    Example:

    >>> prepare = train_function(Preprocess(resize=20, crop=16))
    >>> png = tf.io.encode_png(tf.zeros((9, 7, 3), tf.uint8))
    >>> prepare(png, tf.constant([0, 1])).shape
    TensorShape([16, 16, 3])
    """
    side = options.crop

    def prepare(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        if not options.random_crop:
            image = _input_of(decode(encoded), side)
        elif options.train == "inception_crop":
            image = _input_of(inception_crop(encoded, seed), side)
        else:
            image = _input_of(decode(encoded), options.resize)
            image = tf.image.stateless_random_crop(image, (side, side, 3), seed)
        if options.flip:
            image = tf.image.stateless_random_flip_left_right(image, seed + 1)
        return image

    return prepare


def eval_function(options: Preprocess) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `encoded -> float32 (crop, crop, 3) in [-1, 1]`.

    The whole image is resized straight to the crop's size, as the official
    code does: no centre crop.

    Args:
        options: Of the recipe; `crop` set.

    Example:

    >>> png = tf.io.encode_png(tf.fill((9, 7, 3), tf.constant(255, tf.uint8)))
    >>> float(eval_function(Preprocess(crop=4))(png)[0, 0, 0])
    1.0
    """

    def prepare(encoded: tf.Tensor) -> tf.Tensor:
        return _input_of(decode(encoded), options.crop)

    return prepare


def inception_crop(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Decodes a random part of the image: 5-100 % of it, aspect 3:4 to 4:3.

    Of a JPEG only the blocks inside the crop are decoded.  Where its colour is
    subsampled, the first and last column of the crop lack the neighbour that
    their colour is interpolated from, and may differ from those of the whole
    image by some levels.

    Args:
        encoded: The file's bytes, a string scalar.
        seed: An int tensor `(2,)`.

    Returns:
        uint8 `(height, width, 3)`.

    Example:

    >>> png = tf.io.encode_png(tf.zeros((9, 7, 3), tf.uint8))
    >>> inception_crop(png, tf.constant([0, 1])).shape[-1]
    3
    """

    def from_jpeg() -> tf.Tensor:
        box = inception_window(tf.io.extract_jpeg_shape(encoded), seed)
        return tf.image.decode_and_crop_jpeg(encoded, box, channels=3)

    def from_other() -> tf.Tensor:
        image = decode(encoded)
        top, left, height, width = tf.unstack(
            inception_window(tf.shape(image), seed)
        )
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other)
    image.set_shape((None, None, 3))
    return image


def inception_window(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws the window of `inception_crop`.

    Args:
        shape: Of the image: height, width and channels, int32 `(3,)`.
        seed: An int tensor `(2,)`.

    Returns:
        Top, left, height and width in pixels, int32 `(4,)`.

    Example:

    >>> inception_window(tf.constant([9, 7, 3]), tf.constant([0, 1])).shape
    TensorShape([4])
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=_ASPECT,
        area_range=_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat((begin[:2], size[:2]), 0)


def _input_of(image: tf.Tensor, side: int) -> tf.Tensor:
    """Resizes uint8 to `(side, side, 3)` in [-1, 1], the cheaper step first.

    Both are linear, so that their order matters to the last digits only.
    """

    def scaled_first() -> tf.Tensor:
        # In one pass over the pixels: zero is -1, 255 is 1.
        levels = tf.bitcast(image, tf.quint8)
        return _resize(tf.quantization.dequantize(levels, -1.0, 1.0), side)

    def resized_first() -> tf.Tensor:
        return _resize(image, side) / 127.5 - 1.0

    few = tf.size(image) <= _SCALED_FIRST * side * side * 3
    return tf.cond(few, scaled_first, resized_first)


def _resize(image: tf.Tensor, side: int) -> tf.Tensor:
    # Bilinear without antialiasing, as the official input pipeline.
    return tf.image.resize(image, (side, side))
