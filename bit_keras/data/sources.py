"""Where images come from: one `Source` for folders, built-ins and TFDS.

Images stay encoded bytes (JPEG, PNG, ...) until preprocessing, so that shuffle
buffers and few-shot subsets stay small and JPEGs can be decoded and cropped in
one step.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import tensorflow as tf

from bit_keras.data.prepared import BUILTIN, is_folder
from bit_keras.data.preprocess import decode

# Images looked at to estimate the size of images that vary in size.
_PROBE = 64


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of one labelled image set, not yet read.

    An example is a dict of `"image"` (string scalar: the encoded file),
    `"label"` (int64 scalar, or float32 multi-hot of shape `(num_classes,)` when
    `multi_label`) and `"id"` (string scalar that names the example to a user).

    Attributes:
        name: Canonical name: "cifar10:3.0.2", "digits", "folder:/some/path".
        split: Split with slice, "train[:80%]".
        num_examples: Number of examples in this split.
        class_names: Class names; the label is an index into them.
        multi_label: Whether an example may have several classes, or none.
        image_size: Typical `(height, width)` in pixels; the median of a few
            images when they vary.
        fingerprint: SHA-256 (hexadecimal); changes when the data change (of
            folders: when a file's path, size or label does).
        read: Returns the examples once, always in the same order.
        fetch: Returns the example at an int64 index (works in graphs); `None`
            when the source can only be streamed.
    """

    name: str
    split: str
    num_examples: int
    class_names: tuple[str, ...]
    multi_label: bool
    image_size: tuple[int, int]
    fingerprint: str
    read: Callable[[], tf.data.Dataset]
    fetch: Callable[[tf.Tensor], dict[str, tf.Tensor]] | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def stream(
        self, seed: int, start: int, shuffle_buffer: int
    ) -> tf.data.Dataset:
        """Returns examples without end, in a new order in each epoch.

        The sequence is a pure function of `seed`; `start` only says where to
        enter it, so a resumed run sees what it would have seen.

        Args:
            seed: Any integer.
            start: Position in the endless sequence, from 0.
            shuffle_buffer: Examples held in memory for shuffling. Sources with
                `fetch` ignore it: they shuffle whole epochs and enter at any
                position at no cost. Other sources read again what the current
                epoch had already delivered.

        Returns:
            A `tf.data.Dataset` of unbatched examples.

        Raises:
            ValueError: If `start` is negative or `shuffle_buffer` is not
                positive.

        Example:

        >>> stream = open_source("digits", "train").stream(0, 5000, 1)
        >>> next(iter(stream))["label"].dtype
        tf.int64
        """
        if start < 0:
            raise ValueError(f"start must be >= 0; got {start}.")
        if shuffle_buffer < 1:
            raise ValueError(
                f"shuffle_buffer must be >= 1; got {shuffle_buffer}."
            )
        if self.fetch is None:
            return self._stream_records(seed, start, shuffle_buffer)
        return self._stream_by_index(seed, start)

    def _stream_by_index(self, seed: int, start: int) -> tf.data.Dataset:
        @tf.autograph.experimental.do_not_convert
        def example(position: tf.Tensor) -> dict[str, tf.Tensor]:
            # Not tf.random.experimental.index_shuffle: of seed and epoch it
            # takes the last bits (eight, up to 65,536 examples), so that orders
            # come again, and its four rounds leave successive epochs alike.
            seeds = tf.stack([seed, position // self.num_examples])
            index = tf.raw_ops.RandomIndexShuffle(
                index=position % self.num_examples,
                seed=tf.random.stateless_uniform(
                    (3,), seeds, minval=None, maxval=None, dtype=tf.int32
                ),
                max_index=self.num_examples - 1,
                rounds=8,
            )
            return self.fetch(index)

        positions = count_from(start)
        return positions.map(
            example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def _stream_records(
        self, seed: int, start: int, shuffle_buffer: int
    ) -> tf.data.Dataset:
        # TFDS's reader cannot be converted by AutoGraph, and needs not be.
        @tf.autograph.experimental.do_not_convert
        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            # shuffle() mixes the seed of the graph it stands in into its own;
            # this is the graph of this function alone, so that the order does
            # not depend on the global seed of the program. Odd, because TF
            # fails on a graph seed of 0 beside a symbolic seed.
            tf.random.set_seed(2 * seed + 1)
            return self.read().shuffle(
                min(shuffle_buffer, self.num_examples),
                seed=epoch,
                reshuffle_each_iteration=False,
            )

        first = start // self.num_examples
        epochs = count_from(first)
        return epochs.flat_map(one_epoch).skip(start % self.num_examples)


def count_from(start: int = 0) -> tf.data.Dataset:
    """Returns the integers from `start` on, endlessly, as int64 scalars.

    Not `tf.data.Dataset.counter`: each of those leaves a function in
    TensorFlow's global graph until the process ends.

    >>> list(count_from(5).take(2).as_numpy_iterator())
    [np.int64(5), np.int64(6)]
    """
    return tf.data.Dataset.range(start, tf.int64.max)


def open_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | None = None,
    label: str = "label",
) -> Source:
    """Opens one split of a dataset by name; never downloads anything.

    Args:
        dataset: The first that fits: an existing directory (`split/class/image`
            or `class/image`) or CSV file (see `bit_keras.data.folder`);
            "digits" or "shapes"; a TFDS name `name[/config][:version]` that is
            prepared on disk.
        split: Split name, with an optional slice as in TFDS: "train",
            "train[:80%]", "train[100:]", "train+test".
        data_dir: Where prepared TFDS data lie; `None`: TFDS's own default.
        label: The feature, CSV column or factor (of "shapes") to predict.

    Returns:
        A `Source`.

    Raises:
        ValueError: For a name, split, slice or label that does not exist.
        FileNotFoundError: For data that are not there; the message says how to
            get them.

    Example:

    >>> source = open_source("digits", "train[:10%]")
    >>> source.num_examples, source.num_classes, source.image_size
    (130, 10, (8, 8))
    """
    # The imports are here because the modules import `Source`, and because
    # scikit-learn and TFDS need time to load.
    if is_folder(dataset):
        from bit_keras.data.folder import open_folder

        return open_folder(dataset, split, label)
    if dataset in BUILTIN:
        from bit_keras.data.builtin import open_builtin

        return open_builtin(dataset, split, label)
    from bit_keras.data.tfds_source import open_tfds

    return open_tfds(dataset, split, data_dir, label)


def split_names(dataset: str, data_dir: str | None = None) -> tuple[str, ...]:
    """Returns the names of a dataset's splits.

    Args:
        dataset: As in `open_source`.
        data_dir: As in `open_source`.

    Returns:
        The names, without slices; `("all",)` for a folder without splits.

    Raises:
        ValueError: For a name that does not exist.
        FileNotFoundError: For data that are not there.

    Example:

    >>> split_names("digits")
    ('train', 'test')
    """
    if is_folder(dataset):
        from bit_keras.data.folder import folder_splits

        return folder_splits(dataset)
    if dataset in BUILTIN:
        return ("train", "test")
    from bit_keras.data.tfds_source import tfds_splits

    return tfds_splits(dataset, data_dir)


def fetch_from(
    images: Sequence[bytes], labels: Sequence[int], ids: Sequence[str]
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns `Source.fetch` for examples that are held in memory."""
    images, ids = tf.constant(images), tf.constant(ids)
    labels = tf.constant(labels, tf.int64)

    def fetch(index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "image": tf.gather(images, index),
            "label": tf.gather(labels, index),
            "id": tf.gather(ids, index),
        }

    return fetch


def read_by_index(
    fetch: Callable[[tf.Tensor], dict[str, tf.Tensor]], num_examples: int
) -> Callable[[], tf.data.Dataset]:
    """Returns `Source.read` for a source that has `fetch`."""

    def read() -> tf.data.Dataset:
        return tf.data.Dataset.range(num_examples).map(
            tf.autograph.experimental.do_not_convert(fetch),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    return read


def multi_hot(indices: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns float32 `(num_classes,)` with ones at `indices`.

    >>> multi_hot(tf.constant([2, 0]), 4).numpy()
    array([1., 0., 1., 0.], dtype=float32)
    """
    hot = tf.one_hot(indices, num_classes, True, False, dtype=tf.bool)
    return tf.cast(tf.reduce_any(hot, axis=0), tf.float32)


def probe_image_size(name: str, dataset: tf.data.Dataset) -> tuple[int, int]:
    """Returns the median `(height, width)` of the first images of `dataset`.

    Args:
        name: The dataset, for error messages.
        dataset: Examples with `"image"`.

    Returns:
        Height and width in pixels.

    Raises:
        ValueError: If none of the images can be decoded.
    """
    sizes, reason = [], ""
    for image in dataset.take(_PROBE).map(lambda example: example["image"]):
        try:
            if tf.io.is_jpeg(image):
                shape = tf.io.extract_jpeg_shape(image)
            else:
                # As for training: with the channels left open, TensorFlow
                # 2.21 writes past its memory for an animated WebP.
                shape = decode(image).shape
        except tf.errors.OpError as error:
            reason = re.sub(r"\s+", " ", error.message)
            continue
        sizes.append((int(shape[0]), int(shape[1])))
    if not sizes:
        raise ValueError(
            f"{name}: none of its first {_PROBE} images can be decoded: "
            f"{reason}"
        )
    heights, widths = zip(*sizes, strict=True)
    middle = len(sizes) // 2
    return sorted(heights)[middle], sorted(widths)[middle]
