"""Datasets without the thread that tunes them."""

import os

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset that TensorFlow does not tune while it is read.

    The thread that tunes looks again after ever longer pauses, of up to a
    minute, and who drops an iterator waits for the end of the pause (TensorFlow
    2.21): after 20 s of reading, 21 s were seen. `tf.data.AUTOTUNE` then means
    as many calls at a time as there are cores.

    >>> list(untuned(tf.data.Dataset.range(2)).as_numpy_iterator())
    [np.int64(0), np.int64(1)]
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    # 16 otherwise, with any number of cores.
    options.autotune.initial_parallelism = os.cpu_count()
    return dataset.with_options(options)
