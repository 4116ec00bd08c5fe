"""TensorFlow's errors, in words a user can act on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from bit_keras.atomic_writes import writing
from bit_keras.data.batches import BadImages


@contextlib.contextmanager
def explained(
    bad: BadImages,
    memory: str = "Use --micro-batch (exact), --remat or --precision "
    "mixed_bfloat16.",
) -> Iterator[None]:
    """Turns what TensorFlow raises in its body into one readable ValueError.

    Args:
        bad: Images that could not be read in the body; under its policy
            "error", the first one is the error.
        memory: What helps where memory is too small, for the message.

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
        raise ValueError(_reason(error, memory)) from error
    bad.raise_if_any()


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turns whatever cannot be written in its body into one readable OSError.

    Args:
        path: What its body writes.

    Raises:
        OSError: With path, reason and repair.

    Example:

    >>> with saving(Path("ckpt-5")):
    ...     raise tf.errors.ResourceExhaustedError(
    ...         None, None, "ckpt-5_temp/part-0; No space left on device"
    ...     )
    Traceback (most recent call last):
    OSError: Cannot write ckpt-5: No space left on device. What was saved ...
    """
    with writing(path):
        try:
            yield
        except tf.errors.OpError as error:
            # "{{function_node ...}} file; reason [Op:SaveV2]"
            first = str(error.message).splitlines()[0].split(" [Op:")[0]
            raise OSError(first.split("; ")[-1]) from error


def _reason(error: tf.errors.OpError, memory: str) -> str:
    # Around it: a headline, the Python stack of each node, node names.
    noise = ("Graph execution error", "Detected at", "File ", "[[", "<stack")
    lines = [line.strip() for line in str(error.message).splitlines()]
    lines = [line for line in lines if line and not line.startswith(noise)]
    reason = lines[0].split("}} ")[-1] if lines else "no reason given"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"Out of memory: {reason}. {memory}"
    return f"{type(error).__name__}: {reason}"
