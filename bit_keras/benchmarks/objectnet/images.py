"""The images of ObjectNet as a source, without their red border.

The licence forbids to tune any model on ObjectNet: the source has one split,
"test", and cannot be streamed for training.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from bit_keras.benchmarks.images import Preprocessing, ShortSide
from bit_keras.benchmarks.objectnet.boxes import Box
from bit_keras.benchmarks.objectnet.files import (
    HEADER,
    Images,
    opener,
    png_size,
)
from bit_keras.benchmarks.objectnet.maps import Maps
from bit_keras.data.preprocess import decode
from bit_keras.data.sources import Source

# Cut off on each side before anything else; the red border itself has one
# pixel (official template, objectnet_eval.py; the licence).
BORDER = 2


class _EvaluationOnly(Source):
    """A source that nothing can be trained on."""

    def stream(
        self, seed: int, start: int, shuffle_buffer: int
    ) -> tf.data.Dataset:
        raise ValueError(
            "ObjectNet is for evaluation only: its licence forbids to tune the "
            "parameters of any model on it. Train on other images."
        )


def open_images(
    found: Images, maps: Maps, boxes: tuple[Box, ...] | None = None
) -> Source:
    """Opens the images for evaluation; none is decoded yet.

    The fingerprint is of names and sizes of the files, so that a zip and the
    folder it is unpacked to share their cached logits.

    Args:
        found: From `files.find`.
        maps: The classes.
        boxes: For each image the part (x_min, y_min, x_max, y_max) that is
            all that is left of it; None: images are as they are, with their
            border.

    Returns:
        A `Source` of split "test" whose classes are the 113 of `maps`.
    """
    labels = [maps.folders[i.id.split("/")[0]] for i in found.images]
    text = json.dumps(
        [maps.digest, [(i.id, i.size) for i in found.images], boxes]
    )

    def read() -> tf.data.Dataset:
        examples = tf.data.Dataset.zip(
            {
                "id": tf.data.Dataset.from_tensor_slices(
                    [image.id for image in found.images]
                ),
                "label": tf.data.Dataset.from_tensor_slices(
                    tf.constant(labels, tf.int64)
                ),
                "image": _files(found),
            }
        )
        return examples if boxes is None else _cut(examples, boxes)

    return _EvaluationOnly(
        name="objectnet",
        split="test",
        num_examples=len(found.images),
        class_names=maps.labels,
        multi_label=False,
        image_size=_typical_size(found),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        read=read,
    )


def _files(found: Images) -> tf.data.Dataset:
    """The encoded images, in order."""
    if found.archive is None:
        paths = [os.fsencode(image.where) for image in found.images]
        return tf.data.Dataset.from_tensor_slices(paths).map(
            tf.io.read_file,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def contents() -> Iterator[bytes]:
        with opener(found) as read:
            for image in found.images:
                yield read(image, -1)

    return tf.data.Dataset.from_generator(
        contents, output_signature=tf.TensorSpec((), tf.string)
    ).prefetch(tf.data.AUTOTUNE)


def _typical_size(found: Images) -> tuple[int, int]:
    """Median (height, width) of the first images; (0, 0) if none is a PNG."""
    with opener(found) as read:
        starts = [read(image, HEADER) for image in found.images[:64]]
    sizes = [size for start in starts if (size := png_size(start))]
    if not sizes:
        return 0, 0
    widths, heights = zip(*sizes, strict=True)
    return sorted(heights)[len(sizes) // 2], sorted(widths)[len(sizes) // 2]


def _cut(examples: tf.data.Dataset, boxes: tuple[Box, ...]) -> tf.data.Dataset:
    """Cuts each image to its box; it stays an encoded image."""

    def cut(example: dict, box: tf.Tensor) -> dict:
        left, top, right, bottom = tf.unstack(box)
        part = decode(example["image"])[top:bottom, left:right]
        return {**example, "image": tf.io.encode_png(part, compression=0)}

    def one(example: dict, box: tf.Tensor) -> tf.data.Dataset:
        pair = tf.data.Dataset.from_tensors((example, box))
        # A corrupt image stays as it is: who decodes it next reports it.
        whole = pair.map(lambda example, box: example)
        return pair.map(cut).ignore_errors().concatenate(whole).take(1)

    corners = tf.data.Dataset.from_tensor_slices(tf.constant(boxes, tf.int32))
    return tf.data.Dataset.zip((examples, corners)).interleave(
        one,
        cycle_length=max(2, os.cpu_count() or 2),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


@dataclasses.dataclass(frozen=True)
class WithoutBorder:
    """From encoded image to model input: border off, then as any other image.

    Attributes:
        then: What is done to what is left.
        border: Pixels cut off on each side.

    Example:

    >>> print(WithoutBorder(ShortSide(resize=224, crop=224)))
    without border of 2 pixels, short side 224, crop 224
    """

    then: ShortSide
    border: int = BORDER

    @property
    def crop(self) -> int:
        """Side in pixels of what it returns."""
        return self.then.crop

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and prepares one image, in a graph or outside.

        Args:
            encoded: The file's bytes, a string scalar.

        Returns:
            float32 `(crop, crop, 3)` in [0, 1].
        """
        image, edge = decode(encoded), self.border
        return self.then.prepare(image[edge:-edge, edge:-edge])

    def __str__(self) -> str:
        return f"without border of {self.border} pixels, {self.then}"


@dataclasses.dataclass(frozen=True)
class ObjectBox:
    """From an image cut to its box to model input: resized as a whole.

    Its aspect is not kept, so that the object stays whole, as in the code that
    comes with the boxes (aliborji/ObjectNetReanalysis, code/Classifier.py).

    Attributes:
        crop: Side in pixels of what it returns.
        border: Pixels on each side of the image that the box leaves out.

    Example:

    >>> print(ObjectBox(crop=480))
    object box without border of 2 pixels, resize 480
    """

    crop: int
    border: int = BORDER

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and prepares one image, in a graph or outside.

        Args:
            encoded: The bytes of the image that the box was cut to.

        Returns:
            float32 `(crop, crop, 3)` in [0, 1].
        """
        whole = Preprocessing(resize=self.crop, crop=self.crop)
        return whole.prepare(decode(encoded))

    def __str__(self) -> str:
        return (
            f"object box without border of {self.border} pixels, resize "
            f"{self.crop}"
        )
