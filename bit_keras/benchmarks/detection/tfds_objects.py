"""Prepared TFDS sets with boxes: coco, voc, and any that looks like them."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.benchmarks.detection.boxes import box_area
from bit_keras.benchmarks.detection.image_size import image_size
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.data.splits import slice_split
from bit_keras.data.tfds_builder import check_files, open_builder

# Features of `objects` that say that a box is kept only for the evaluation,
# where it neither helps nor harms: "crowd" of COCO, "difficult" of Pascal VOC.
_CROWD = ("is_crowd", "is_difficult")


def open_objects(name: str, split: str, data_dir: str | None) -> DetectionSet:
    """Opens prepared TFDS data with the features `image` and `objects`.

    `objects` is a sequence of `bbox`, `label` and, if the set has them,
    `is_crowd` (or `is_difficult`) and `area`.

    Args:
        name: `name[/config][:version]`; without a version, the newest one on
            disk.
        split: As in TFDS, with slices.
        data_dir: Folder of TFDS data; `None`: TFDS's default.

    Returns:
        A `DetectionSet` without random access.

    Raises:
        ValueError: For unknown names and splits, and for other features.
        FileNotFoundError: For data that are not prepared.
    """
    builder = open_builder(name, data_dir, "a folder or JSON file", "coco/2017")
    info = builder.info
    config = f"/{info.config_name}" if info.config_name else ""
    name = f"{info.name}{config}:{info.version}"
    objects = _objects(name, info.features)
    lengths = {key: s.shard_lengths for key, s in info.splits.items()}
    slices = slice_split(name, split, lengths)
    check_files(name, builder, sorted({key for key, _, _ in slices}))
    class_names = tuple(objects["label"].names)
    text = json.dumps([name, split, list(class_names), info.as_json])
    return DetectionSet(
        name=name,
        split=split,
        class_names=class_names,
        num_images=sum(end - first for _, first, end in slices),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        read=_reader(builder, split, len(class_names)),
    )


def _objects(name: str, features: tfds.features.FeaturesDict) -> dict[str, Any]:
    """Returns the features of one object."""
    outer = dict(features.items())
    sequence = getattr(outer.get("objects"), "feature", None)
    inner = dict(sequence.items()) if hasattr(sequence, "items") else {}
    if (
        isinstance(outer.get("image"), tfds.features.Image)
        and isinstance(inner.get("bbox"), tfds.features.BBoxFeature)
        and isinstance(inner.get("label"), tfds.features.ClassLabel)
    ):
        return inner
    has = ", ".join(sorted(outer))
    has += f" (objects: {', '.join(sorted(inner))})" if inner else ""
    raise ValueError(
        f"dataset: {name} must have an `image`, and `objects` with `bbox` and "
        f"`label` (a ClassLabel); it has {has}."
    )


def _reader(
    builder: tfds.core.DatasetBuilder, split: str, num_classes: int
) -> Callable[[], tf.data.Dataset]:
    # One shard after the other: the order is the stored one.
    config = tfds.ReadConfig(
        interleave_cycle_length=1, add_tfds_id=True, try_autocache=False
    )
    wanted = {"image": True, "objects": True}

    def read() -> tf.data.Dataset:
        dataset = builder.as_dataset(
            split=split,
            decoders=tfds.decode.PartialDecoding(
                wanted, decoders={"image": tfds.decode.SkipDecoding()}
            ),
            read_config=config,
            shuffle_files=False,
        )
        return dataset.map(
            lambda example: _convert(example, num_classes),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    return read


def _convert(example: dict[str, Any], num_classes: int) -> dict[str, tf.Tensor]:
    objects = example["objects"]
    height, width = image_size(example["image"])
    # From shares of the sides, "yxyx".
    top, left, bottom, right = tf.unstack(objects["bbox"], axis=-1)
    sides = tf.cast(tf.stack([width, height, width, height]), tf.float32)
    boxes = tf.stack([left, top, right, bottom], axis=-1) * sides
    labels = tf.cast(objects["label"], tf.int64)
    legal = tf.reduce_all((labels >= 0) & (labels < num_classes))
    told = [f"label must be 0..{num_classes - 1}; an image has", labels]
    with tf.control_dependencies([tf.debugging.Assert(legal, told)]):
        labels = tf.identity(labels)
    crowd = [objects[key] for key in _CROWD if key in objects]
    area = box_area(boxes)
    if "area" in objects:
        known = tf.cast(objects["area"], tf.float32)
        area = tf.where(known > 0, known, area)
    return {
        "id": example["tfds_id"],
        "image": example["image"],
        "height": height,
        "width": width,
        "boxes": boxes,
        "labels": labels,
        "is_crowd": crowd[0] if crowd else tf.zeros_like(labels, tf.bool),
        "area": area,
    }
