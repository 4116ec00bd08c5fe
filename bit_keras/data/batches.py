"""From a source to batches: shuffled and endless, or each example once."""

import logging
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bit_keras.data import preprocess
from bit_keras.data.mixup import mixup
from bit_keras.data.sources import Source, count_from
from bit_keras.data.untuned import untuned
from bit_keras.messages import one_line
from bit_keras.recipe import Recipe

# Nothing here wants AutoGraph, which would take a second to read it all.
_as_written = tf.autograph.experimental.do_not_convert

# From an encoded image and its position to the model's input.
Prepare = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class BadImages:
    """Remembers images that could not be decoded, by id, with the reason.

    Args:
        policy: "skip": log each once and go on without it; "error": stop.
        remote: Whether images are read on other machines too, which have no
            Python (the hosts of a TPU pod): each then prints what it skips,
            once per epoch, and nothing is counted here.

    Example:

    >>> bad = BadImages("skip")
    >>> bad.report(b"a.jpg", b"not an image")
    >>> bad.count
    1
    """

    def __init__(self, policy: str = "skip", remote: bool = False) -> None:
        self.policy = policy
        self.remote = remote
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
            logging.warning(
                "Skipping corrupt image %s: %s", *map(one_line, (name, reason))
            )

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
    numbered = tf.data.Dataset.zip((count_from(start * size), stream))
    dataset = _prepared(
        numbered.batch(size, drop_remainder=True),
        source,
        lambda encoded, position: prepare(
            encoded, tf.stack([tf.cast(seed, tf.int64), position])
        ),
        recipe.preprocess.crop,
        size,
        bad,
    )
    if recipe.preprocess.mixup_alpha:
        dataset = _mixed(dataset, recipe.preprocess.mixup_alpha, seed, start)
    return untuned(dataset.prefetch(tf.data.AUTOTUNE))


@_as_written
def _mixed(
    batches: tf.data.Dataset, alpha: float, seed: int, start: int
) -> tf.data.Dataset:
    # Far from the seeds of crops, whose second number is a position.
    return tf.data.Dataset.zip((count_from(start), batches)).map(
        lambda step, batch: mixup(
            batch, alpha, tf.stack([tf.cast(seed, tf.int64), -1 - step])
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


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
    numbered = tf.data.Dataset.zip((count_from(), source.read()))
    batches = _prepared(
        numbered.batch(batch_size),
        source,
        lambda encoded, position: prepare(encoded),
        recipe.preprocess.crop,
        batch_size,
        bad,
    )
    return untuned(batches.prefetch(tf.data.AUTOTUNE))


@_as_written
def _prepared(
    batches: tf.data.Dataset,
    source: Source,
    prepare: Prepare,
    side: int,
    size: int,
    bad: BadImages,
) -> tf.data.Dataset:
    """Prepares batches of positions and encoded examples, in `size` each.

    The images of a batch are prepared in parallel and copied once, to their
    place in the batch; places that stay empty cost another copy.
    """
    cores = os.cpu_count() or 2

    def read(
        positions: tf.Tensor, examples: dict
    ) -> tuple[dict, tf.Tensor, tf.Tensor]:
        _check_labels(examples, source)
        images = (examples["image"], positions)
        return examples, *_readable(images, prepare, side, cores)

    def complete(
        examples: dict, places: tf.Tensor, images: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        image, weight = tf.cond(
            tf.shape(places)[0] == size,
            lambda: (images, tf.ones(size)),
            lambda: _with_gaps(examples, places, images, size, bad),
        )
        label = _padded(examples["label"], size)
        known = tf.cast(weight, label.dtype)
        if label.shape.rank == 2:
            known = known[:, None]
        return {
            "image": tf.ensure_shape(image, (size, side, side, 3)),
            "label": label * known,
            "weight": tf.ensure_shape(weight, (size,)),
        }

    # Two batches at once, or the cores would wait for the end of each; small
    # ones as many as keep the cores busy.  Calling Python is left to the
    # second map, or deterministic runs would do all in one thread.
    return batches.map(
        read, num_parallel_calls=1 + max(1, -(-cores // size))
    ).map(complete)


def _check_labels(examples: dict, source: Source) -> None:
    if source.multi_label:
        return
    label = examples["label"]
    illegal = (label < 0) | (label >= source.num_classes)
    wrong = [tf.boolean_mask(examples[key], illegal) for key in ("id", "label")]
    tf.debugging.Assert(
        ~tf.reduce_any(illegal),
        [
            f"{source.name} ({source.split}) has a label outside 0 to "
            f"{source.num_classes - 1}: example, label:",
            *wrong,
        ],
    )


def _readable(
    encoded: tuple[tf.Tensor, tf.Tensor],
    prepare: Prepare,
    side: int,
    cores: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the places, from 0, of images that can be read, and these."""
    count = tf.shape(encoded[0], tf.int64)[0]
    rows = (
        tf.data.Dataset.from_tensor_slices(encoded)
        .enumerate()
        .map(
            lambda place, image: (place, prepare(*image)),
            num_parallel_calls=cores,
            deterministic=True,
        )
        .ignore_errors()
        .batch(count)
    )
    none = tf.data.Dataset.from_tensors(
        (tf.zeros(0, tf.int64), tf.zeros((0, side, side, 3)))
    )
    return rows.concatenate(none).take(1).get_single_element()


def _with_gaps(
    examples: dict,
    places: tf.Tensor,
    images: tf.Tensor,
    size: int,
    bad: BadImages,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `size` images and weights, 0 where there is none to read."""
    at = places[:, None]
    weight = tf.scatter_nd(at, tf.ones_like(places, tf.float32), [size])
    missing = weight[: tf.shape(examples["id"])[0]] == 0
    _report(
        *(tf.boolean_mask(examples[key], missing) for key in ("id", "image")),
        bad,
    )
    shape = tf.concat([[size], tf.shape(images, tf.int64)[1:]], 0)
    return tf.scatter_nd(at, images, shape), weight


def _report(ids: tf.Tensor, encoded: tf.Tensor, bad: BadImages) -> None:
    def report(ids: np.ndarray, encoded: np.ndarray) -> None:
        for identity, image in zip(ids, encoded, strict=True):
            bad.report(identity, image)

    if not bad.remote:
        tf.numpy_function(report, [ids, encoded], [], stateful=True)
    elif bad.policy == "error":
        tf.debugging.Assert(tf.size(ids) == 0, ["Corrupt images:", ids])
    else:
        tf.cond(
            tf.size(ids) > 0,
            lambda: tf.print("Skipping corrupt images:", ids),
            tf.no_op,
        )


def _padded(values: tf.Tensor, size: int) -> tf.Tensor:
    missing = size - tf.shape(values)[0]
    padded = tf.pad(values, [[0, missing]] + [[0, 0]] * (values.shape.rank - 1))
    return tf.ensure_shape(padded, [size] + values.shape[1:].as_list())
