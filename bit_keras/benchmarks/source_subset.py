"""A source without some of its examples, by id; its images are not decoded."""

import dataclasses
import hashlib
import warnings
from collections.abc import Collection, Iterator

import tensorflow as tf

from bit_keras.data.sources import Source


def ids_of(source: Source) -> Iterator[str]:
    """Yields the ids of all examples, in order.

    >>> from bit_keras.data.sources import open_source
    >>> list(ids_of(open_source("digits", "test[:2]")))
    ['digits/87', 'digits/1037']
    """
    ids = source.read().map(lambda example: example["id"])
    for name in ids.as_numpy_iterator():
        yield name.decode("utf-8", "replace")


def only(source: Source, ids: Collection[str]) -> Source:
    """Returns the examples with these ids, in the order of the source.

    Args:
        source: All examples.
        ids: Each of an example that is there.

    Example:

    >>> from bit_keras.data.sources import open_source
    >>> digits = open_source("digits", "test")
    >>> list(ids_of(only(digits, {"digits/87"})))
    ['digits/87']
    """
    count = len(set(ids))
    text = f"{source.split} ({count} of {source.num_examples})"
    return _filtered(source, ids, True, count, text)


def present(name: str, source: Source, ids: Collection[str]) -> frozenset[str]:
    """Returns those of some ids that are there; warns if not all are.

    Args:
        name: Of the task, for the warning.
        source: All examples; their ids are read, unless `ids` is empty.
        ids: To look for.

    Example:

    >>> from bit_keras.data.sources import open_source
    >>> present("mine", open_source("digits", "test"), ["digits/87"])
    frozenset({'digits/87'})
    """
    wanted = set(ids)
    there = wanted.intersection(ids_of(source)) if wanted else wanted
    if missing := len(wanted) - len(there):
        warnings.warn(
            f"{name}: {missing} of {len(wanted)} images to exclude are not in "
            f"{source.name} {source.split}. Was the list made from another "
            "version of the data?",
            stacklevel=2,
        )
    return frozenset(there)


def without(source: Source, ids: Collection[str]) -> Source:
    """Returns a source without the examples of these ids.

    Args:
        source: All examples.
        ids: To leave out; each of one example that is there.

    Raises:
        ValueError: If nothing is left.

    Example:

    >>> from bit_keras.data.sources import open_source
    >>> rest = without(open_source("digits", "test"), {"digits/87"})
    >>> rest.num_examples, rest.split
    (499, 'test without 1')
    """
    if not ids:
        return source
    left = source.num_examples - len(set(ids))
    if left < 1:
        raise ValueError(
            f"{source.name} {source.split}: all examples are excluded."
        )
    text = f"{source.split} without {len(set(ids))}"
    return _filtered(source, ids, False, left, text)


def without_labels(source: Source) -> Source:
    """Returns a source whose labels are all 0, of any kind they were.

    >>> from bit_keras.data.sources import open_source
    >>> bare = without_labels(open_source("digits", "test"))
    >>> {int(example["label"]) for example in bare.read()}
    {0}
    """

    def read() -> tf.data.Dataset:
        zero = tf.constant(0, tf.int64)
        return source.read().map(
            lambda example: {**example, "label": zero},
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    return dataclasses.replace(
        source, class_names=("any",), multi_label=False, read=read, fetch=None
    )


def _filtered(
    source: Source, ids: Collection[str], keep: bool, count: int, split: str
) -> Source:
    names = sorted(set(ids))
    # One table for all readers: it lives as long as `read`.
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(names, tf.string), tf.ones(len(names), tf.int64)
        ),
        default_value=0,
    )

    def read() -> tf.data.Dataset:
        return source.read().filter(
            lambda example: (table.lookup(example["id"]) == 1) == keep
        )

    text = "\n".join([source.fingerprint, split, *names])
    return dataclasses.replace(
        source,
        split=split,
        num_examples=count,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        read=read,
        fetch=None,
    )
