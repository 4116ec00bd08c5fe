"""Prepared TFDS datasets, opened at once and without a network.

Nothing here downloads: preparing data is a step of its own, and the errors say
how to do it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.data.sources import Source, multi_hot, probe_image_size
from bit_keras.data.splits import slice_split
from bit_keras.data.tfds_builder import (
    check_files,
    check_streamable,
    open_builder,
)
from bit_keras.recipe import did_you_mean

# Above this many shards, reads are interleaved for speed.
_IN_ORDER = 16


@dataclasses.dataclass(frozen=True)
class Rule:
    """How to make the label, and perhaps the image, where no feature is it.

    Attributes:
        name: Says which rule this is in the source's fingerprint.
        class_names: Of the labels it makes.
        label: From all features of an example, images still encoded, to an
            int64 scalar.
        image: From encoded image to encoded image; `None`: as stored.
    """

    name: str
    class_names: tuple[str, ...]
    label: Callable[[dict[str, Any]], tf.Tensor]
    image: Callable[[tf.Tensor], tf.Tensor] | None = None


def open_tfds(
    dataset: str,
    split: str,
    data_dir: str | None,
    label: str,
    *,
    num_classes: int | None = None,
    rule: Rule | None = None,
) -> Source:
    """Opens prepared TFDS data.

    Args:
        dataset: `name[/config][:version]`; without a version, the newest one
            on disk.
        split: As in TFDS, with slices.
        data_dir: Folder of TFDS data; `None`: TFDS's default.
        label: A ClassLabel feature, or a sequence of them (multi-label).
        num_classes: Makes a plain integer feature legal as label, too.
        rule: Makes the labels instead of the feature `label`.

    Returns:
        A `Source` without random access. Its order is the stored one, or, with
        more than 16 shards, a fixed interleaving of them.

    Raises:
        ValueError: For unknown names, splits and labels, and for features that
            are not images and classes.
        FileNotFoundError: For data that are not prepared.
    """
    builder = open_builder(dataset, data_dir)
    info = builder.info
    config = f"/{info.config_name}" if info.config_name else ""
    name = f"{info.name}{config}:{info.version}"
    lengths = {key: s.shard_lengths for key, s in info.splits.items()}
    slices = slice_split(name, split, lengths)
    check_streamable(name, builder)
    check_files(name, builder, sorted({key for key, _, _ in slices}))
    image = _image_feature(name, info.features)
    if num_classes and not rule and _is_integer(info.features, label):
        rule = _integer_rule(label, num_classes)
    if rule:
        class_names, multi_label = rule.class_names, False
    else:
        class_names, multi_label = _classes(name, info.features, label)
    convert = _converter(image, label, len(class_names), multi_label, rule)
    read = _reader(builder, split, convert)
    height, width, _ = info.features[image].shape
    made_by = [split, rule.name if rule else label, list(class_names)]
    return Source(
        name=name,
        split=split,
        num_examples=sum(end - first for _, first, end in slices),
        class_names=class_names,
        multi_label=multi_label,
        image_size=(height, width)
        if height and width
        else probe_image_size(name, read()),
        fingerprint=_fingerprint(name, made_by, info),
        read=read,
    )


def tfds_splits(dataset: str, data_dir: str | None) -> tuple[str, ...]:
    """Returns the split names of prepared TFDS data."""
    return tuple(open_builder(dataset, data_dir).info.splits)


def _converter(
    image: str,
    label: str,
    num_classes: int,
    multi_label: bool,
    rule: Rule | None,
) -> Callable[[dict[str, Any]], dict[str, tf.Tensor]]:
    """Returns the function from a TFDS example to an example of a `Source`."""

    def in_range(value: tf.Tensor) -> tf.Tensor:
        legal = (0 <= value) & (value < num_classes)
        told = [f"label must be 0..{num_classes - 1}; an example has", value]
        with tf.control_dependencies([tf.debugging.Assert(legal, told)]):
            return tf.identity(value)

    def convert(features: dict[str, Any]) -> dict[str, tf.Tensor]:
        picture = features[image]
        if rule:
            value = in_range(rule.label(features))
            picture = rule.image(picture) if rule.image else picture
        elif multi_label:
            value = multi_hot(features[label], num_classes)
        else:
            value = features[label]
        return {"image": picture, "label": value, "id": features["tfds_id"]}

    return convert


def _reader(
    builder: tfds.core.DatasetBuilder,
    split: str,
    convert: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
) -> Callable[[], tf.data.Dataset]:
    shards = max(s.num_shards for s in builder.info.splits.values())
    ordered = shards <= _IN_ORDER or builder.info.disable_shuffling
    config = tfds.ReadConfig(
        interleave_cycle_length=1 if ordered else _IN_ORDER,
        add_tfds_id=True,
        # Each epoch of a stream would keep a copy of its own in memory.
        try_autocache=False,
    )
    decoders = {
        key: tfds.decode.SkipDecoding()
        for key, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }

    def read() -> tf.data.Dataset:
        dataset = builder.as_dataset(
            split=split,
            decoders=decoders,
            read_config=config,
            shuffle_files=False,
        )
        return dataset.map(
            convert, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    return read


def _fingerprint(
    name: str, made_by: list[Any], info: tfds.core.DatasetInfo
) -> str:
    # The description of the data holds shard lengths, bytes and checksums.
    text = json.dumps([name, *made_by, info.as_json])
    return hashlib.sha256(text.encode()).hexdigest()


def _image_feature(name: str, features: tfds.features.FeaturesDict) -> str:
    images = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    ]
    if "image" in images:
        return "image"
    if len(images) != 1:
        raise ValueError(
            f"dataset: {name} must have an image feature; it has "
            f"{', '.join(images) or 'none'} among "
            f"{', '.join(sorted(features))}."
        )
    return images[0]


def _classes(
    name: str, features: tfds.features.FeaturesDict, label: str
) -> tuple[tuple[str, ...], bool]:
    """Returns the class names, and whether an image may have several."""
    # A sequence of labels keeps its ClassLabel in `feature`.
    inner = {
        key: getattr(feature, "feature", feature)
        for key, feature in features.items()
    }
    legal = [
        key
        for key, feature in inner.items()
        if isinstance(feature, tfds.features.ClassLabel)
    ]
    if label in legal:
        return tuple(inner[label].names), inner[label] is not features[label]
    problem = (
        f'{name} has no feature "{label}".{did_you_mean(label, legal)}'
        if label not in inner
        else f'"{label}" of {name} is of type {type(features[label]).__name__},'
        " which does not say how many classes there are."
    )
    raise ValueError(
        f"label: {problem} A label must be a ClassLabel feature; it has "
        f"{', '.join(legal) or 'none'}."
    )


def _is_integer(features: tfds.features.FeaturesDict, label: str) -> bool:
    """Whether the label is one integer that does not know its classes."""
    feature = features[label] if label in features else None
    return (
        isinstance(feature, tfds.features.Tensor)
        and not isinstance(feature, tfds.features.ClassLabel)
        and feature.shape == ()
        and feature.tf_dtype.is_integer
    )


def _integer_rule(label: str, num_classes: int) -> Rule:
    return Rule(
        name=f"integer {label}",
        class_names=tuple(str(i) for i in range(num_classes)),
        label=lambda features: tf.cast(features[label], tf.int64),
    )
