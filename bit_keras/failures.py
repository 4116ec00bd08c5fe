"""TensorFlow's errors, in words a user can act on."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from bit_keras.data.batches import BadImages


@contextlib.contextmanager
def explained(bad: BadImages) -> Iterator[None]:
    """Turns what TensorFlow raises in its body into one readable ValueError.

    Args:
        bad: Images that could not be read in the body; under its policy
            "error", the first one is the error.

    Raises:
        ValueError: Instead of a `tf.errors.OpError`, or for a bad image.

    Example:

    >>> with explained(BadImages()):
    ...     raise tf.errors.InvalidArgumentError(None, None, "not a number")
    Traceback (most recent call last):
    ...
    ValueError: InvalidArgumentError: not a number
    """
    try:
        yield
    except tf.errors.OpError as error:
        bad.raise_if_any()
        raise ValueError(_reason(error)) from error
    bad.raise_if_any()


def _reason(error: tf.errors.OpError) -> str:
    # Around it: a headline, the Python stack of each node, node names.
    noise = ("Graph execution error", "Detected at", "File ", "[[", "<stack")
    lines = [line.strip() for line in str(error.message).splitlines()]
    lines = [line for line in lines if line and not line.startswith(noise)]
    reason = lines[0].split("}} ")[-1] if lines else "no reason given"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return (
            f"Out of memory: {reason}. Use --micro-batch (exact), --remat or "
            "--precision mixed_bfloat16."
        )
    return f"{type(error).__name__}: {reason}"
