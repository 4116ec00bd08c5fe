"""Reloads an export where this package cannot be imported, and compares.

Run as a script, in a process of its own, by `bit_keras.export.verification`:
python -P reload.py EXPORT EXPECTED.npz.  Prints one JSON object.
"""

import json
import os
import sys

import numpy as np


def compare(directory: str, expected_file: str) -> dict[str, list[float]]:
    """Returns output -> largest absolute difference, and relative to the max.

    Args:
        directory: Of the SavedModel.
        expected_file: An `.npz` with, for each batch `i`, `i/images` and
            `i/<output>` for "call", "features", "logits" (if there is a head)
            and "intermediates/<endpoint>".

    Raises:
        ValueError: If the SavedModel has other outputs, or of other shapes.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(directory)
    found: dict[str, list[float]] = {}
    with np.load(expected_file) as expected:
        batches = [key for key in expected if key.endswith("/images")]
        for key in batches:
            prefix = key.removesuffix("images")
            outputs = _outputs(loaded, tf.constant(expected[key]))
            _check_outputs(outputs, expected, prefix)
            for name, value in outputs.items():
                want = expected[prefix + name]
                difference = float(np.abs(value - want).max())
                scale = float(np.abs(want).max()) or 1.0
                worst = found.setdefault(name, [0.0, 0.0])
                # Not max(), which would hide a NaN.
                for i, v in enumerate((difference, difference / scale)):
                    worst[i] = v if not v <= worst[i] else worst[i]
    return found


def _check_outputs(outputs, expected, prefix: str) -> None:
    shapes = {prefix + name: value.shape for name, value in outputs.items()}
    want = {
        key: expected[key].shape
        for key in expected
        if key.startswith(prefix) and not key.endswith("/images")
    }
    for key in sorted({*shapes, *want}):
        if shapes.get(key) != want.get(key):
            raise ValueError(
                f"{key.removeprefix(prefix)} has the shape {shapes.get(key)}, "
                f"not {want.get(key)}"
            )


def _outputs(loaded, images) -> dict[str, np.ndarray]:
    """Returns what each way of calling the SavedModel gives."""
    signatures = loaded.signatures
    outputs = {
        "call": loaded(images, training=False),
        **signatures["serving_default"](images=images),
    }
    if "logits" in signatures:
        outputs |= signatures["logits"](images=images)
    for name, value in signatures["intermediates"](images=images).items():
        outputs[f"intermediates/{name}"] = value
    return {name: value.numpy() for name, value in outputs.items()}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Whatever the export needs beyond TensorFlow shows here.
    sys.modules["bit_keras"] = None
    print(json.dumps(compare(sys.argv[1], sys.argv[2])))
