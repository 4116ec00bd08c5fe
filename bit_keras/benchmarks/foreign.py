"""SavedModels that say nothing of themselves: what can be called in them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf


def load(directory: Path) -> Any:
    """Loads a SavedModel.

    Args:
        directory: Of the SavedModel.

    Raises:
        ValueError: If it is damaged, or none.

    Example:

    >>> load(Path("nothing"))
    Traceback (most recent call last):
    ValueError: "nothing" cannot be loaded as a SavedModel: ...
    """
    try:
        return tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f'"{directory}" cannot be loaded as a SavedModel: {reason}'
        ) from None


def endpoints(
    loaded: Any,
) -> dict[str, Callable[[tf.Tensor], Any]]:
    """Returns what can be called on images, by name.

    Args:
        loaded: From `load`.

    Returns:
        "pre_logits" (what calling it returns; or else the only output of its
        signature "serving_default"), and "signature:output" for each output of
        a signature that takes one float32 tensor.

    Example:

    >>> module = tf.Module()
    >>> module.__call__ = tf.function(
    ...     lambda x: tf.reduce_mean(x, (1, 2)),
    ...     input_signature=[tf.TensorSpec((None, None, None, 3))],
    ... )
    >>> tf.saved_model.save(module, "mean")
    >>> sorted(endpoints(load(Path("mean"))))
    ['pre_logits', 'serving_default:output_0']
    """
    made: dict[str, Callable] = {}
    for name, signature in loaded.signatures.items():
        specs = list(signature.structured_input_signature[1].values())
        if len(specs) != 1 or specs[0].dtype != tf.float32:
            continue
        for key in signature.structured_outputs:
            made[f"{name}:{key}"] = functools.partial(_output, signature, key)
    main = [key for key in made if key.startswith("serving_default:")]
    if callable(loaded):
        return {"pre_logits": functools.partial(_infer, loaded), **made}
    if len(main) == 1:
        return {"pre_logits": made[main[0]], **made}
    return made


def call(signature: Any, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the outputs of a signature that takes one tensor.

    Args:
        signature: One of a SavedModel's `signatures`.
        images: `(batch, height, width, 3)`.
    """
    (argument,) = signature.structured_input_signature[1]
    return signature(**{argument: images})


def vectors(name: str, output: Any) -> tf.Tensor:
    """Returns `output` as float32, once it is sure to be `(batch, features)`.

    Args:
        name: Of the output, for the message.
        output: What a SavedModel returned.

    Raises:
        ValueError: If it is not.

    Example:

    >>> vectors("net: pre_logits", tf.zeros((2, 7, 7, 64)))
    Traceback (most recent call last):
    ValueError: net: pre_logits must be one vector per image, (batch, ...
    """
    if not tf.is_tensor(output) or output.shape.rank not in (None, 2):
        got = getattr(output, "shape", type(output).__name__)
        raise ValueError(
            f"{name} must be one vector per image, (batch, features); got "
            f"{got}."
        )
    return tf.cast(output, tf.float32)


def _infer(module: Callable, images: tf.Tensor) -> Any:
    try:
        return module(images, training=False)
    except (TypeError, ValueError):
        # Saved without that argument.
        return module(images)


def _output(signature: Any, key: str, images: tf.Tensor) -> tf.Tensor:
    return call(signature, images)[key]
