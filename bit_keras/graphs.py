"""Letting go of TensorFlow's graphs, for processes that trace many networks."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from tensorflow.python.framework import ops

# tf.custom_gradient names each trace of a function so, and a number.
_TRACED = "CustomGradient-"


@contextlib.contextmanager
def temporary() -> Iterator[None]:
    """Frees on leaving the graphs that were traced in its body.

    Whenever a function with a gradient of its own is traced, TensorFlow
    registers that gradient for as long as the process lives, and with it the
    whole graph: tens of MiB for each training.  Here they are taken out again.
    What was traced in the body can still be called, but not differentiated.

    Example:

    >>> import tensorflow as tf
    >>> with temporary():
    ...     rate = tf.custom_gradient(lambda x: (2 * x, lambda up: 2 * up))
    ...     double = tf.function(rate)
    ...     print(float(double(tf.constant(3.0))))
    6.0
    """
    before = set(_gradients())
    try:
        yield
    finally:
        registered = _gradients()
        for name in set(registered) - before:
            if name.startswith(_TRACED):
                del registered[name]
        # Graphs are circles of references.
        gc.collect()


def _gradients() -> dict[str, Any]:
    """TensorFlow's register; empty where a later version has it elsewhere."""
    registry = getattr(ops, "gradient_registry", None)
    return getattr(registry, "_registry", {})
