"""A perceptual hash of images: 64 bits that survive scaling and compression.

The bits are the signs of the 64 lowest frequencies (but the mean) of a 16x16
gray thumbnail, as in pHash (Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010), which takes them from 32x32 pixels and
compares them with their median.

Data sets are made smaller in two ways: squeezed to a square, or cut to one
first.  So each image has two hashes, of the whole and of its central square,
and two images may be alike in either.  Those of a square image are equal.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from bit_keras.benchmarks.backbone import Backbone, Extractor
from bit_keras.data.preprocess import decode

VIEWS = ("whole", "centre")
# Below this standard deviation of gray, in [0, 1], an image is flat: its bits
# are noise.  4 of 256 levels, about what JPEG adds to an even area.
FLAT = 4 / 255
_SIDE = 16
# ITU-R BT.601, as JPEG and PIL.
_GRAY = (0.299, 0.587, 0.114)
# A frequency that is absent must not be 1 or 0 by rounding.
_ABSENT = 1e-4
# Floats per view: four numbers of 16 bits, exact in float32, and the contrast.
_WORDS = 4


@dataclasses.dataclass(frozen=True)
class Thumbnails:
    """From an encoded image to its two 16x16 thumbnails, on one canvas.

    A `bit_keras.benchmarks.images.ImageFunction`: the whole image is in the
    upper left quarter, its central square in the upper right one.

    Example:

    >>> png = tf.io.encode_png(tf.zeros((40, 90, 3), tf.uint8))
    >>> Thumbnails()(png).shape
    TensorShape([32, 32, 3])
    """

    @property
    def crop(self) -> int:
        """Side in pixels of the canvas."""
        return 2 * _SIDE

    def __str__(self) -> str:
        return f"area {_SIDE}, whole and central square"

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes one image.

        Args:
            encoded: The file's bytes, a string scalar.

        Returns:
            float32 `(32, 32, 3)` in [0, 1].
        """
        image = decode(encoded)
        size = tf.shape(image)[:2]
        side = tf.reduce_min(size)
        top, left = tf.unstack((size - side) // 2)
        square = image[top : top + side, left : left + side]
        # Each pixel is the mean of the area it stands for.
        whole, centre = (
            tf.image.resize(view, (_SIDE, _SIDE), method="area")
            for view in (image, square)
        )
        both = tf.concat([whole, centre], axis=1) / 255.0
        canvas = tf.pad(both, [[0, _SIDE], [0, 0], [0, 0]])
        return tf.ensure_shape(canvas, (self.crop, self.crop, 3))


def dct_matrix() -> np.ndarray:
    """Returns the 64 lowest cosines of 16x16 pixels, the constant left out.

    Returns:
        float32 `(256, 64)`: orthonormal columns by rising frequency, each over
        pixels row by row.

    Example:

    >>> matrix = dct_matrix()
    >>> np.allclose(matrix.T @ matrix, np.eye(64), atol=1e-6)
    True
    """
    k, x = np.indices((_SIDE, _SIDE))
    one = np.cos(np.pi * k * (2 * x + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    one[0] /= np.sqrt(2)
    down, across = np.indices((_SIDE, _SIDE)).reshape(2, -1)
    lowest = np.lexsort((down, down + across))[1:65]
    waves = one[down[lowest], :, None] * one[across[lowest], None, :]
    return waves.reshape(64, -1).T.astype(np.float32)


def hasher() -> Backbone:
    """Returns the hash as a network, for `bit_keras.benchmarks.features`.

    Its endpoints: "hashes", for `unpack`; and "thumbnails", both views one
    after the other, each as a vector of length 1 from which the mean of each
    colour channel was removed: a product of two is their correlation (0 if one
    is flat).

    Example:

    >>> found = hasher().features(("hashes",))(tf.zeros((5, 32, 32, 3)))
    >>> found["hashes"].shape
    TensorShape([5, 10])
    """

    def trace(names: tuple[str, ...]) -> Extractor:
        functions = {"hashes": _hashes, "thumbnails": _thumbnails}

        @tf.function(autograph=False)
        def features(canvas: tf.Tensor) -> dict[str, tf.Tensor]:
            whole = canvas[:, :_SIDE, :_SIDE]
            views = (whole, canvas[:, :_SIDE, _SIDE:])
            return {
                name: tf.concat([functions[name](v) for v in views], axis=1)
                for name in names
            }

        return features

    return Backbone(
        name="image hash",
        # There are no weights: what it does has a name. Change it with it.
        sha256="image_hash: dct 16, signs of 64, version 1",
        upstream=None,
        resolution=2 * _SIDE,
        endpoints=("hashes", "thumbnails"),
        num_classes=0,
        handle="image hash",
        input_range=(0.0, 1.0),
        trace=trace,
    )


def _hashes(images: tf.Tensor) -> tf.Tensor:
    gray = tf.tensordot(images, tf.constant(_GRAY), 1)
    gray = tf.reshape(gray, (-1, _SIDE * _SIDE))
    bits = tf.cast(gray @ dct_matrix() > _ABSENT, tf.float32)
    words = tf.reshape(bits, (-1, _WORDS, 16)) * 2.0 ** np.arange(16.0)
    contrast = tf.math.reduce_std(gray, axis=1, keepdims=True)
    return tf.concat([tf.reduce_sum(words, axis=2), contrast], axis=1)


def _thumbnails(images: tf.Tensor) -> tf.Tensor:
    centred = images - tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    vectors = tf.reshape(centred, (-1, _SIDE * _SIDE * 3))
    deviation = tf.math.reduce_std(vectors, axis=1, keepdims=True)
    # Two even areas would be alike, or not, by rounding.
    vectors = tf.where(deviation < FLAT, 0.0, vectors)
    return tf.math.l2_normalize(vectors, axis=1)


def unpack(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns hashes as integers, and how much contrast they stand on.

    Args:
        hashes: float32 `(n, 10)`, the endpoint "hashes".

    Returns:
        uint64 `(n, 2)`, a hash for each of `VIEWS`; and float32 `(n, 2)`, the
        standard deviation of gray in [0, 1]: compare it with `FLAT`.

    Example:

    >>> codes, contrast = unpack(np.array([[1, 0, 0, 0, 0.5] * 2], np.float32))
    >>> codes, contrast
    (array([[1, 1]], dtype=uint64), array([[0.5, 0.5]], dtype=float32))
    """
    views = np.reshape(hashes, (-1, len(VIEWS), _WORDS + 1))
    words = views[..., :_WORDS].astype(np.uint64)
    shifts = np.arange(0, 64, 16, dtype=np.uint64)
    codes = np.bitwise_or.reduce(words << shifts, axis=2)
    return codes, np.array(views[..., _WORDS])
