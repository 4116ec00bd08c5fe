"""Untuned datasets keep all cores busy."""

import os
import threading
import time

import tensorflow as tf

from bit_keras.data.untuned import untuned


def test_every_core_has_a_call_however_many_there_are(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 24)
    lock, running, most = threading.Lock(), 0, 0

    def slow(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return number

    dataset = tf.data.Dataset.range(240).map(
        # Not stateful: runs with --deterministic, in the same process before,
        # make one call at a time of what is.
        lambda number: tf.numpy_function(
            slow, [number], tf.int64, stateful=False
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    # As many threads as a machine of 24 cores would have.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 24
    assert len(list(untuned(dataset.with_options(options)))) == 240
    assert most == 24
