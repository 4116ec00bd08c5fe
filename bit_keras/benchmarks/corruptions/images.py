"""Corrupted images as model input: decoded, brought to size, corrupted."""

import dataclasses

import numpy as np
import tensorflow as tf

from bit_keras.benchmarks import corruptions
from bit_keras.benchmarks.corruptions.constants import constants_for
from bit_keras.benchmarks.images import Preprocessing, ShortSide


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptedImages:
    """From an encoded image to a corrupted one for the model.

    What is random is drawn from a hash of the image's bytes: it depends
    neither on the order of images nor on the run.

    Attributes:
        geometry: Brings the image to the size at which it is corrupted; that
            size also says which published constants count.
        corruption: Of `corruptions.names()`.
        severity: 1 to 5.
        crop: Side in pixels of the model's input, to which the corrupted image
            is resized if need be.

    Raises:
        ValueError: For a corruption or severity that does not exist.

    Example:

    >>> small = Preprocessing(resize=64, crop=64)
    >>> print(CorruptedImages(
    ...     geometry=small, corruption="frost", severity=3, crop=64))
    resize 64, crop 64, frost 3 (tiny_imagenet_c constants, drawn)
    """

    geometry: Preprocessing | ShortSide
    corruption: str
    severity: int
    crop: int

    def __post_init__(self) -> None:
        corruptions.check(self.corruption, self.severity)

    @property
    def constants(self) -> str:
        """The published set of constants, such as "imagenet_c"."""
        return constants_for(self.geometry.crop, self.geometry.crop)

    def __str__(self) -> str:
        drawn = ", drawn" if self.corruption == "frost" else ""
        resized = f", resize {self.crop}" * (self.crop != self.geometry.crop)
        return (
            f"{self.geometry}, {self.corruption} {self.severity} "
            f"({self.constants} constants{drawn}){resized}"
        )

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and corrupts one image, in a graph or outside.

        Args:
            encoded: The file's bytes, a string scalar.

        Returns:
            float32 `(crop, crop, 3)` in [0, 1].
        """
        clean = self.geometry(encoded)
        pixels = tf.cast(tf.round(255.0 * clean), tf.uint8)
        # FarmHash's Fingerprint64: the same on all machines.
        seed = tf.strings.to_hash_bucket_fast(encoded, tf.int64.max)
        made = tf.numpy_function(
            self._corrupted, [pixels, seed], tf.uint8, stateful=False
        )
        made = tf.cast(tf.ensure_shape(made, clean.shape), tf.float32) / 255.0
        if self.crop != self.geometry.crop:
            made = tf.image.resize(made, (self.crop, self.crop))
        return made

    def _corrupted(self, pixels: np.ndarray, seed: np.int64) -> np.ndarray:
        return corruptions.corrupt(
            pixels, self.corruption, self.severity, int(seed)
        )
