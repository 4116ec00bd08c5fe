"""Few-shot subsets: k examples of each class."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from bit_keras.data.sources import Source, fetch_from, read_by_index

# Classes spelled out in an error message; the rest are counted.
_SHOWN = 10


def few_shot(source: Source, examples_per_class: int, seed: int) -> Source:
    """Draws a balanced subset of `source`, in one pass over it.

    At most `examples_per_class` images of each class are in memory at any
    time. Sources with random access are drawn from by their labels alone, so
    only the chosen images are read.

    Args:
        source: Where to draw from; every class needs enough examples.
        examples_per_class: Number of examples of each class.
        seed: Which draw; also sets the order.

    Returns:
        A `Source` with random access, in memory.

    Raises:
        ValueError: If classes have too few examples, if labels are outside the
            class names, or if `source` is multi-label.

    Example:

    >>> from bit_keras.data.sources import open_source
    >>> few_shot(open_source("digits", "train"), 5, seed=0).num_examples
    50
    """
    if examples_per_class < 1:
        raise ValueError(
            f"examples_per_class must be >= 1; got {examples_per_class}."
        )
    if source.multi_label:
        raise ValueError(
            f"examples_per_class needs one class per image, but {source.name} "
            "is multi-label. Leave examples_per_class out, or slice the split."
        )
    if source.fetch is None:
        drawn = _draw(_examples(source), source, examples_per_class, seed)
    else:
        drawn = _draw(_indices(source), source, examples_per_class, seed)
        drawn = [_to_numpy(source.fetch(tf.constant(i))) for i in drawn]
    order = np.random.default_rng(seed).permutation(len(drawn))
    drawn = [drawn[i] for i in order]
    fetch = fetch_from(
        [example["image"] for example in drawn],
        [example["label"] for example in drawn],
        [example["id"] for example in drawn],
    )
    split = f"{source.split} ({examples_per_class} per class, seed {seed})"
    text = f"{source.fingerprint} {split}"
    return Source(
        name=source.name,
        split=split,
        num_examples=len(drawn),
        class_names=source.class_names,
        multi_label=False,
        image_size=source.image_size,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        read=read_by_index(fetch, len(drawn)),
        fetch=fetch,
    )


def _examples(source: Source) -> Iterable[tuple[int, dict[str, Any]]]:
    for example in source.read().as_numpy_iterator():
        yield int(example["label"]), example


def _indices(source: Source) -> Iterable[tuple[int, np.int64]]:
    # Only the label leaves the graph, so what reads the image is pruned.
    labels = tf.data.Dataset.range(source.num_examples).map(
        lambda index: source.fetch(index)["label"],
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    for index, label in enumerate(labels.as_numpy_iterator()):
        yield int(label), np.int64(index)


def _to_numpy(example: dict[str, tf.Tensor]) -> dict[str, Any]:
    return {key: value.numpy() for key, value in example.items()}


def _draw(
    items: Iterable[tuple[int, Any]], source: Source, k: int, seed: int
) -> list:
    """Returns k items of each class, by reservoir sampling (algorithm R).

    Each class has its own random numbers: which of its items are drawn depends
    on their order alone, not on the other classes.
    """
    kept: list[list] = [[] for _ in source.class_names]
    seen = [0] * source.num_classes
    rngs = [np.random.default_rng((seed, c)) for c in range(len(kept))]
    for label, item in items:
        if not 0 <= label < len(kept):
            raise ValueError(
                f"{source.name} {source.split}: label {label} is outside its "
                f"{len(kept)} classes (unlabelled examples?)."
            )
        place = seen[label]
        seen[label] += 1
        if place >= k:
            place = rngs[label].integers(seen[label])
        if place < len(kept[label]):
            kept[label][place] = item
        elif place < k:
            kept[label].append(item)
    few = [
        f"{name} ({count})"
        for name, count in zip(source.class_names, seen, strict=True)
        if count < k
    ]
    if few:
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        raise ValueError(
            f"examples_per_class is {k}, but {len(few)} of the {len(kept)} "
            f"classes of {source.name} {source.split} have fewer: "
            f"{', '.join(few[:_SHOWN])}{more}."
        )
    return [item for items in kept for item in items]
