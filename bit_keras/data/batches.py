"""From a source to batches: shuffled and endless, or each example once."""

import logging
import os
from collections.abc import Callable

import tensorflow as tf

from bit_keras.data import preprocess
from bit_keras.data.mixup import mixup
from bit_keras.data.sources import Source
from bit_keras.recipe import Recipe

# Examples prepared (and, if one of them is corrupt, sifted) together.
_GROUP = 16

Prepare = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class BadImages:
    """Remembers images that could not be decoded, by id, with the reason.

    Args:
        policy: "skip": log each once and go on without it; "error": stop.

    Example:

    >>> bad = BadImages("skip")
    >>> bad.report(b"a.jpg", b"not an image")
    >>> bad.count
    1
    """

    def __init__(self, policy: str = "skip") -> None:
        self.policy = policy
        self.reasons: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Number of different images that could not be read."""
        return len(self.reasons)

    def report(self, identity: bytes, encoded: bytes) -> None:
        """Finds out why `encoded` cannot be read, and keeps and logs it.

        Args:
            identity: The example's id: a path, for files.
            encoded: The file's bytes.
        """
        name = identity.decode("utf-8", "replace")
        if name in self.reasons:
            return
        try:
            preprocess.decode(tf.constant(encoded))
            reason = "its pixels could not be cropped or resized"
        except tf.errors.OpError as error:
            # "{{function_node ...}} Unknown image file format... [Op:...]"
            reason = error.message.split("}} ")[-1].split(" [Op:")[0]
        reason = reason if encoded else "the file is empty"
        self.reasons[name] = reason
        if self.policy == "skip":
            logging.warning("Skipping corrupt image %s: %s", name, reason)

    def raise_if_any(self) -> None:
        """Raises a ValueError naming the first bad image, under "error"."""
        if self.policy == "error" and self.reasons:
            name, reason = next(iter(self.reasons.items()))
            raise ValueError(
                f"Corrupt image {name}: {reason.rstrip('.')}. Repair or "
                "remove it, or use --on-bad-image skip."
            )


def train_batches(
    source: Source, recipe: Recipe, start: int, bad: BadImages
) -> tf.data.Dataset:
    """Returns the training batches from step `start` on, endlessly.

    Which examples a step sees, and how they are cropped, flipped and mixed, is
    a pure function of the recipe's seed and the step: a resumed run continues
    with what the interrupted one would have seen.

    Args:
        source: Training examples.
        recipe: A finished recipe.
        start: First step, from 0.
        bad: Collects what cannot be read.

    Returns:
        A dataset of dicts: `image` float32 `(batch, crop, crop, 3)`, `label`,
        `weight` `(batch,)` (0 for a corrupt image) and, with MixUp, `partner`
        and `mix` (see `mixup.mixup`).

    Example:

    >>> from bit_keras import recipe as r
    >>> from bit_keras.data import sources
    >>> recipe = r.Recipe("demo", preprocess=r.Preprocess(resize=20, crop=16))
    >>> recipe = r.scale_batch(recipe, 4)
    >>> digits = sources.open_source("digits", "train")
    >>> batches = train_batches(digits, recipe, 0, BadImages())
    >>> next(iter(batches))["image"].shape
    TensorShape([4, 16, 16, 3])
    """
    size, seed = recipe.run.batch_size, recipe.run.seed
    prepare = preprocess.train_function(recipe.preprocess)
    stream = source.stream(seed, start * size, recipe.data.shuffle_buffer)
    positions = tf.data.Dataset.counter(start * size, dtype=tf.int64)
    dataset = _prepared(
        tf.data.Dataset.zip((positions, stream)),
        source,
        lambda encoded, position: prepare(
            encoded, tf.stack([tf.cast(seed, tf.int64), position])
        ),
        recipe.preprocess.crop,
        bad,
    ).rebatch(size, drop_remainder=True)
    alpha = recipe.preprocess.mixup_alpha
    if alpha:
        steps = tf.data.Dataset.counter(start, dtype=tf.int64)
        # Far from the seeds of crops, whose second number is a position.
        dataset = tf.data.Dataset.zip((steps, dataset)).map(
            lambda step, batch: mixup(
                batch, alpha, tf.stack([tf.cast(seed, tf.int64), -1 - step])
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return dataset.prefetch(tf.data.AUTOTUNE)


def eval_batches(
    source: Source, recipe: Recipe, batch_size: int, bad: BadImages
) -> tf.data.Dataset:
    """Returns every example of `source` once, in order.

    The last batch is filled up with examples of weight 0, so that all batches
    have one shape and none is dropped.

    Args:
        source: Examples to evaluate on.
        recipe: A finished recipe.
        batch_size: Examples per batch, over all devices.
        bad: Collects what cannot be read; such examples have weight 0.

    Returns:
        A finite dataset of dicts as `train_batches`, without MixUp.

    Example:

    >>> from bit_keras import recipe as r
    >>> from bit_keras.data import sources
    >>> recipe = r.Recipe("demo", preprocess=r.Preprocess(crop=16))
    >>> digits = sources.open_source("digits", "test")
    >>> batches = eval_batches(digits, recipe, 64, BadImages())
    >>> int(sum(batch["weight"].numpy().sum() for batch in batches))
    500
    """
    prepare = preprocess.eval_function(recipe.preprocess)
    positions = tf.data.Dataset.counter(dtype=tf.int64)
    dataset = _prepared(
        tf.data.Dataset.zip((positions, source.read())),
        source,
        lambda encoded, position: prepare(encoded),
        recipe.preprocess.crop,
        bad,
    )
    dataset = dataset.rebatch(batch_size)
    return dataset.map(
        lambda batch: {k: _fill(v, batch_size) for k, v in batch.items()}
    ).prefetch(tf.data.AUTOTUNE)


def _fill(values: tf.Tensor, size: int) -> tf.Tensor:
    missing = size - tf.shape(values)[0]
    padding = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
    filled = tf.pad(values, padding)
    filled.set_shape([size] + values.shape[1:].as_list())
    return filled


def _prepared(
    dataset: tf.data.Dataset,
    source: Source,
    prepare: Prepare,
    side: int,
    bad: BadImages,
) -> tf.data.Dataset:
    """Prepares images in groups; one with a corrupt image is sifted singly.

    Sifting every example on its own would halve the speed of small images;
    a group costs nothing measurable.
    """

    def checked(position: tf.Tensor, example: dict) -> dict:
        label = example["label"]
        if not source.multi_label:
            legal = (label >= 0) & (label < source.num_classes)
            message = (
                f"{source.name} ({source.split}) has a label outside 0 to "
                f"{source.num_classes - 1}: example, label:"
            )
            with tf.control_dependencies(
                [tf.debugging.Assert(legal, [message, example["id"], label])]
            ):
                label = tf.identity(label)
        return {**example, "label": label, "position": position}

    def good(example: dict) -> dict:
        image = prepare(example["image"], example["position"])
        return _row(image, example["label"], 1.0)

    def replaced(example: dict) -> dict:
        tf.numpy_function(
            bad.report, [example["id"], example["image"]], [], stateful=True
        )
        image = tf.zeros((side, side, 3))
        return _row(image, tf.zeros_like(example["label"]), 0.0)

    def sift(example: dict) -> tf.data.Dataset:
        one = tf.data.Dataset.from_tensors(example)
        return _first(one.map(good).ignore_errors(), one.map(replaced))

    def group(examples: dict) -> tf.data.Dataset:
        each = tf.data.Dataset.from_tensor_slices(examples)
        size = tf.shape(examples["position"])[0]
        # After an error, batch() may go on with the examples that follow.
        fast = each.map(good).batch(_GROUP).ignore_errors()
        whole = fast.filter(lambda rows: tf.shape(rows["weight"])[0] == size)
        return _first(whole, each.flat_map(sift).batch(_GROUP))

    return (
        dataset.map(checked)
        .batch(_GROUP)
        .interleave(
            group,
            # Groups in work at once; their order stays that of the input.
            cycle_length=max(2, os.cpu_count() or 2),
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    )


def _first(
    dataset: tf.data.Dataset, otherwise: tf.data.Dataset
) -> tf.data.Dataset:
    """The single element of `dataset`, or if it failed, of `otherwise`."""
    return dataset.concatenate(otherwise).take(1)


def _row(image: tf.Tensor, label: tf.Tensor, weight: float) -> dict:
    return {
        "image": image,
        "label": label,
        "weight": tf.constant(weight, tf.float32),
    }
