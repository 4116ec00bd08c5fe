"""Builders of prepared TFDS data, and whether their files are all there."""

import os
from collections.abc import Sequence

import tensorflow_datasets as tfds

from bit_keras.data.prepared import NAME, no_name, not_prepared


def open_builder(
    dataset: str,
    data_dir: str | None,
    or_else: str = "a folder or CSV file",
    example: str = "cifar10:3.0.2",
) -> tfds.core.DatasetBuilder:
    """Returns the builder of data that lie on disk.

    It reads only their description: no code of the dataset, no network.

    Args:
        dataset: `name[/config][:version]`; without a version, the newest one
            on disk.
        data_dir: Folder of TFDS data; `None`: TFDS's default.
        or_else: What else the user might have named, for the message.
        example: A legal name, for the message.

    Raises:
        ValueError: For what is no name, and names that nobody knows.
        FileNotFoundError: For data that are not prepared.

    Example:

    >>> open_builder("my images", None)
    Traceback (most recent call last):
    ValueError: dataset: "my images" is neither a folder or CSV file nor a \
TFDS name. Legal: name[/config][:version], for example cifar10:3.0.2.
    """
    if not NAME.fullmatch(dataset):
        raise no_name(dataset, or_else, example)
    data_dir = os.path.expanduser(data_dir) if data_dir else None
    if data_dir and not os.path.isdir(data_dir):
        raise FileNotFoundError(f'data_dir: there is no folder "{data_dir}".')
    try:
        return tfds.core.read_only_builder.builder_from_files(
            dataset, data_dir=data_dir
        )
    except tfds.core.DatasetNotFoundError:
        raise not_prepared(dataset, data_dir) from None


def check_files(
    name: str, builder: tfds.core.DatasetBuilder, splits: Sequence[str]
) -> None:
    """Raises a FileNotFoundError unless all files of the splits are there.

    Args:
        name: Of the dataset, for the message.
        builder: From `open_builder`.
        splits: Their names.
    """
    files = [f for s in splits for f in builder.info.splits[s].filepaths]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(
            f"dataset: {len(missing)} of the {len(files)} files of {name} are "
            f"missing, {missing[0]} first. Copy or prepare it again."
        )


def check_streamable(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Raises a ValueError for a file format that can't be read in order.

    Args:
        name: Of the dataset, for the message.
        builder: From `open_builder`.
    """
    stored = builder.info.file_format
    if stored != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"dataset: {name} is stored as {stored.value}; only tfrecord can "
            "be streamed. Prepare it with "
            "tfds.builder(..., file_format='tfrecord')."
        )
