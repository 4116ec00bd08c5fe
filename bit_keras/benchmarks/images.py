"""From the encoded images of a split to batches of model input in [0, 1]."""

import abc
import dataclasses
import os
from typing import Protocol

import tensorflow as tf

from bit_keras.data.batches import BadImages
from bit_keras.data.preprocess import decode
from bit_keras.data.sources import Source
from bit_keras.data.untuned import untuned

# Examples decoded one after the other by one thread.
_GROUP = 16


class ImageFunction(Protocol):
    """From an encoded image to the model's input, `(crop, crop, 3)` in [0, 1].

    Its text says all that it does: it is a part of every result, and of the
    name under which features are kept.
    """

    @property
    def crop(self) -> int:
        """Side in pixels of what it returns."""

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and prepares one image."""

    def __str__(self) -> str:
        """Says all that it does."""


@dataclasses.dataclass(frozen=True)
class _ResizeAndCrop(abc.ABC):
    resize: int
    crop: int

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise ValueError(
                "preprocessing needs 1 <= crop <= resize; got "
                f"resize={self.resize}, crop={self.crop}."
            )

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and prepares one image, in a graph or outside.

        Args:
            encoded: The file's bytes, a string scalar.

        Returns:
            float32 `(crop, crop, 3)` in [0, 1].
        """
        return self.prepare(decode(encoded))

    @abc.abstractmethod
    def prepare(self, image: tf.Tensor) -> tf.Tensor:
        """Resizes and crops a decoded image.

        Args:
            image: `(height, width, 3)` in [0, 255].

        Returns:
            float32 `(crop, crop, 3)` in [0, 1].
        """


@dataclasses.dataclass(frozen=True)
class Preprocessing(_ResizeAndCrop):
    """From encoded image to model input: resize, then cut out the centre.

    Attributes:
        resize: Side in pixels that the whole image is resized to; its aspect
            is not kept (as big_vision's few-shot evaluation).
        crop: Side in pixels of the central crop.

    Raises:
        ValueError: If the crop is larger than the image it is cut from.

    Example:

    >>> print(Preprocessing(resize=256, crop=224))
    resize 256, crop 224
    """

    def __str__(self) -> str:
        return f"resize {self.resize}, crop {self.crop}"

    @classmethod
    def few_shot(cls, resolution: int) -> "Preprocessing":
        """Returns few-shot's: resize 256, crop 224, or in that proportion.

        >>> Preprocessing.few_shot(224)
        Preprocessing(resize=256, crop=224)
        """
        return cls(resize=round(resolution * 256 / 224), crop=resolution)

    def prepare(self, image: tf.Tensor) -> tf.Tensor:
        # Bilinear without antialiasing, as the official pipelines.
        image = tf.image.resize(image, (self.resize, self.resize))
        edge = (self.resize - self.crop) // 2
        image = image[edge : edge + self.crop, edge : edge + self.crop]
        return tf.ensure_shape(image, (self.crop, self.crop, 3)) / 255.0


@dataclasses.dataclass(frozen=True)
class ShortSide(_ResizeAndCrop):
    """From encoded image to model input: short side first, aspect kept.

    The usual evaluation of ImageNet models (in robustness_metrics: short side
    256, crop 224).

    Attributes:
        resize: Pixels that the shorter side is resized to.
        crop: Side in pixels of the central crop.

    Raises:
        ValueError: If the crop is larger than the image it is cut from.

    Example:

    >>> print(ShortSide(resize=256, crop=224))
    short side 256, crop 224
    """

    def __str__(self) -> str:
        return f"short side {self.resize}, crop {self.crop}"

    @classmethod
    def imagenet(cls, resolution: int) -> "ShortSide":
        """Returns short side 256, crop 224, or in that proportion.

        >>> ShortSide.imagenet(224)
        ShortSide(resize=256, crop=224)
        """
        return cls(resize=round(resolution * 256 / 224), crop=resolution)

    def prepare(self, image: tf.Tensor) -> tf.Tensor:
        size = tf.shape(image)[:2]
        ratio = self.resize / tf.reduce_min(size)
        scaled = tf.cast(tf.round(tf.cast(size, ratio.dtype) * ratio), tf.int32)
        image = tf.image.resize(image, scaled)
        top, left = tf.unstack((scaled - self.crop) // 2)
        image = image[top : top + self.crop, left : left + self.crop]
        return tf.ensure_shape(image, (self.crop, self.crop, 3)) / 255.0


def image_batches(
    source: Source,
    start: int,
    preprocessing: ImageFunction,
    batch_size: int,
    bad: BadImages,
) -> tf.data.Dataset:
    """Returns the examples of `source` from number `start` on, in order.

    Every example keeps its place: one that cannot be decoded is a black image
    with `ok` False, and is reported to `bad`.

    Args:
        source: The examples.
        start: Number of the first one, from 0.
        preprocessing: What is done to the images.
        batch_size: Examples per batch; the last one may be smaller.
        bad: Collects what cannot be decoded.

    Returns:
        A dataset of dicts: `image` float32 `(batch, crop, crop, 3)` in [0, 1],
        `id`, `label` and `ok`, each `(batch,)`.

    Example:

    >>> from bit_keras.data.sources import open_source
    >>> digits = open_source("digits", "test[:20]")
    >>> batches = image_batches(digits, 5, Preprocessing(9, 8), 10, BadImages())
    >>> [len(batch["id"]) for batch in batches]
    [10, 5]
    """

    def row(example: dict, image: tf.Tensor, ok: bool) -> dict:
        rest = {key: example[key] for key in ("id", "label")}
        return {"image": image, "ok": ok, **rest}

    def good(example: dict) -> dict:
        return row(example, preprocessing(example["image"]), True)

    def replaced(example: dict) -> dict:
        tf.numpy_function(
            bad.report, [example["id"], example["image"]], [], stateful=True
        )
        side = preprocessing.crop
        return row(example, tf.zeros((side, side, 3)), False)

    def sift(example: dict) -> tf.data.Dataset:
        one = tf.data.Dataset.from_tensors(example)
        return _first(one.map(good).ignore_errors(), one.map(replaced))

    # Sifting each example would cost as much as decoding a small one.
    def group(examples: dict) -> tf.data.Dataset:
        each = tf.data.Dataset.from_tensor_slices(examples)
        size = tf.shape(examples["id"])[0]
        # After an error, batch() may go on with the examples that follow.
        fast = each.map(good).batch(_GROUP).ignore_errors()
        whole = fast.filter(lambda rows: tf.shape(rows["ok"])[0] == size)
        return _first(whole, each.flat_map(sift).batch(_GROUP))

    batches = (
        source.read()
        .skip(start)
        .batch(_GROUP)
        .interleave(
            group,
            cycle_length=max(2, os.cpu_count() or 2),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .rebatch(batch_size)
    )
    return untuned(batches.prefetch(2))


def _first(
    dataset: tf.data.Dataset, otherwise: tf.data.Dataset
) -> tf.data.Dataset:
    """The single element of `dataset`, or if it failed, of `otherwise`."""
    return dataset.concatenate(otherwise).take(1)
