"""Prepared TFDS datasets, opened at once and without a network.

Nothing here downloads: preparing data is a step of its own, and the errors say
how to do it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable

import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.data.sources import (
    BUILTIN,
    Source,
    multi_hot,
    probe_image_size,
)
from bit_keras.data.splits import slice_split
from bit_keras.recipe import did_you_mean

_NAME = re.compile(
    r"(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>[\d.*]+))?"
)
# Above this many shards, reads are interleaved for speed.
_IN_ORDER = 16


def open_tfds(
    dataset: str, split: str, data_dir: str | None, label: str
) -> Source:
    """Opens prepared TFDS data.

    Args:
        dataset: `name[/config][:version]`; without a version, the newest one
            on disk.
        split: As in TFDS, with slices.
        data_dir: Folder of TFDS data; `None`: TFDS's default.
        label: A ClassLabel feature, or a sequence of them (multi-label).

    Returns:
        A `Source` without random access. Its order is the stored one, or, with
        more than 16 shards, a fixed interleaving of them.

    Raises:
        ValueError: For unknown names, splits and labels, and for features that
            are not images and classes.
        FileNotFoundError: For data that are not prepared.
    """
    builder = _prepared(dataset, data_dir)
    info = builder.info
    config = f"/{info.config_name}" if info.config_name else ""
    name = f"{info.name}{config}:{info.version}"
    lengths = {key: s.shard_lengths for key, s in info.splits.items()}
    slices = slice_split(name, split, lengths)
    _check_files(name, builder, sorted({key for key, _, _ in slices}))
    image = _image_feature(name, info.features)
    classes, multi_label = _label_feature(name, info.features, label)
    read = _reader(builder, split, image, label, classes, multi_label)
    height, width, _ = info.features[image].shape
    return Source(
        name=name,
        split=split,
        num_examples=sum(end - first for _, first, end in slices),
        class_names=tuple(classes.names),
        multi_label=multi_label,
        image_size=(height, width)
        if height and width
        else probe_image_size(name, read()),
        fingerprint=_fingerprint(name, split, label, classes, info),
        read=read,
    )


def tfds_splits(dataset: str, data_dir: str | None) -> tuple[str, ...]:
    """Returns the split names of prepared TFDS data."""
    return tuple(_prepared(dataset, data_dir).info.splits)


def _reader(
    builder: tfds.core.DatasetBuilder,
    split: str,
    image: str,
    label: str,
    classes: tfds.features.ClassLabel,
    multi_label: bool,
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

    def example(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        value = features[label]
        if multi_label:
            value = multi_hot(value, classes.num_classes)
        return {
            "image": features[image],
            "label": value,
            "id": features["tfds_id"],
        }

    def read() -> tf.data.Dataset:
        dataset = builder.as_dataset(
            split=split,
            decoders=decoders,
            read_config=config,
            shuffle_files=False,
        )
        return dataset.map(
            example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    return read


def _fingerprint(
    name: str,
    split: str,
    label: str,
    classes: tfds.features.ClassLabel,
    info: tfds.core.DatasetInfo,
) -> str:
    # The description of the data holds shard lengths, bytes and checksums.
    text = json.dumps([name, split, label, classes.names, info.as_json])
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


def _label_feature(
    name: str, features: tfds.features.FeaturesDict, label: str
) -> tuple[tfds.features.ClassLabel, bool]:
    """Returns the feature that knows the classes, and whether it is a list."""
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
        return inner[label], inner[label] is not features[label]
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


def _check_files(
    name: str, builder: tfds.core.DatasetBuilder, splits: list[str]
) -> None:
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"dataset: {name} is stored as {builder.info.file_format.value}; "
            "only tfrecord can be streamed. Prepare it with "
            f"tfds.builder(..., file_format='tfrecord')."
        )
    files = [f for s in splits for f in builder.info.splits[s].filepaths]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(
            f"dataset: {len(missing)} of the {len(files)} files of {name} are "
            f"missing, {missing[0]} first. Copy or prepare it again."
        )


def _prepared(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    parts = _NAME.fullmatch(dataset)
    if not parts:
        raise ValueError(
            f'dataset: "{dataset}" is neither a folder or CSV file nor a TFDS '
            "name. Legal: name[/config][:version], for example cifar10:3.0.2."
        )
    data_dir = os.path.expanduser(data_dir) if data_dir else None
    if data_dir and not os.path.isdir(data_dir):
        raise FileNotFoundError(f'data_dir: there is no folder "{data_dir}".')
    try:
        # Reads only what lies on disk: no code of the dataset, no network.
        return tfds.core.read_only_builder.builder_from_files(
            dataset, data_dir=data_dir
        )
    except tfds.core.DatasetNotFoundError:
        raise _not_prepared(dataset, parts, data_dir) from None


def _not_prepared(
    dataset: str, parts: re.Match, data_dir: str | None
) -> Exception:
    """Returns the error that says what is there and what to do."""
    name = parts["name"]
    root = data_dir or os.path.expanduser(tfds.core.constants.DATA_DIR)
    on_disk = _variants(os.path.join(root, name))
    if on_disk:
        return FileNotFoundError(
            f'dataset: {root} has no "{dataset}". It has '
            f"{', '.join(name + variant for variant in on_disk)}."
        )
    # Registers our own builder.
    from bit_keras.data import imagenet21k  # noqa: F401

    known = tfds.list_builders(with_community_datasets=False)
    if name not in known:
        known += os.listdir(root) if os.path.isdir(root) else []
        return ValueError(
            f'dataset: "{dataset}" is neither a folder, nor '
            f"{' or '.join(BUILTIN)}, nor known to TFDS, nor prepared in "
            f"{root}.{did_you_mean(name, [*known, *BUILTIN])}"
        )
    builder = tfds.builder_cls(name)
    where = f", data_dir={data_dir!r}" if data_dir else ""
    command = (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{dataset}'{where}).download_and_prepare()\""
    )
    if name == "imagenet21k":
        command = (
            "python -m bit_keras.data.imagenet21k --manual-dir "
            f"{root}/downloads/manual --data-dir {root}"
        )
    manual = ""
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        words = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        manual = (
            f" First download by hand, into {root}/downloads/manual, which "
            f"TFDS calls manual_dir: {words[:400]}"
        )
    return FileNotFoundError(
        f"dataset: {dataset} is not prepared in {root}.{manual} "
        f"Prepare it once with: {command}"
    )


def _variants(folder: str) -> list[str]:
    """Lists what is prepared in a dataset's folder, as `[/config]:version`."""
    found = []
    for place, folders, files in os.walk(folder):
        if "dataset_info.json" in files:
            folders.clear()
            config, version = os.path.split(os.path.relpath(place, folder))
            found.append(f"/{config}:{version}" if config else f":{version}")
    return sorted(found)
