"""MixUp (Zhang et al., arXiv 1710.09412) of one batch."""

import tensorflow as tf


def mixup(batch: dict, alpha: float, seed: tf.Tensor) -> dict:
    """Mixes every image of a batch with its neighbour's.

    One weight ~ Beta(alpha, alpha) serves the whole batch; the partner of
    example i is example i - 1 (the batch rolled by one), so that pairs are not
    complementary as with the official code's reversal.

    Args:
        batch: `image` `(batch, height, width, 3)`, `label`, and `weight`
            `(batch,)` (0 for an image that could not be read: it is neither
            mixed into another nor counted).
        alpha: Of the Beta distribution; 0.1 in BiT-HyperRule.
        seed: An int tensor `(2,)`.

    Returns:
        The batch with mixed images, and `partner` (label of the partner) and
        `mix` `(batch,)`: the share of the example's own image.

    Example:

    >>> image = tf.reshape([0.0, 1.0], (2, 1, 1, 1))
    >>> batch = {"image": image, "label": tf.constant([3, 5])}
    >>> batch["weight"] = tf.ones(2)
    >>> mixed = mixup(batch, 0.1, tf.constant([0, 0]))
    >>> mixed["partner"].numpy().tolist()
    [5, 3]
    """
    # Beta from two Gamma draws, in float64: those of a small alpha underflow
    # float32, and what underflows becomes the smallest float: half and half.
    draws = tf.random.stateless_gamma((2,), seed, alpha, dtype=tf.float64)
    share = tf.cast(draws[0] / tf.reduce_sum(draws), tf.float32)
    weight = batch["weight"]
    readable = tf.roll(weight, 1, 0) > 0
    mix = tf.where(readable, tf.fill(tf.shape(weight), share), 1.0)
    image = batch["image"]
    factor = mix[:, None, None, None]
    partner = tf.roll(image, 1, 0)
    # First the partners: then the products overwrite what they are made of,
    # and a large batch is in memory twice, not three times.
    with tf.control_dependencies([partner]):
        own = factor * image
    return {
        **batch,
        "image": own + (1 - factor) * partner,
        "partner": tf.roll(batch["label"], 1, 0),
        "mix": mix,
    }
