"""What ViT and MLP-Mixer share."""

from typing import Any

import keras

# Of all layer norms in google-research/vision_transformer (Flax's default).
NORM_EPSILON = 1e-6


def gelu(x: Any) -> Any:
    """GELU in its tanh form, the default of JAX and so of the official weights.

    >>> import numpy as np
    >>> round(float(gelu(np.float32(1.0))), 4)
    0.8412
    """
    return keras.ops.gelu(x, approximate=True)


def mlp(inner: int, outer: int, name: str, dtype: Any) -> keras.Sequential:
    """Returns two dense layers with a GELU between them, on the last axis.

    Args:
        inner: Channels between the layers.
        outer: Channels that come out.
        name: Of the model.
        dtype: Dtype policy.
    """
    # As the official MlpBlock: Xavier kernels, biases of about 1e-6.
    bias = keras.initializers.RandomNormal(stddev=1e-6)
    dense = keras.layers.Dense
    return keras.Sequential(
        [
            dense(
                inner, gelu, bias_initializer=bias, name="dense_0", dtype=dtype
            ),
            dense(outer, bias_initializer=bias, name="dense_1", dtype=dtype),
        ],
        name=name,
    )


def check_patches(image_size: int, patch: int) -> None:
    """Raises a ValueError unless patches tile the image.

    >>> check_patches(224, 15)
    Traceback (most recent call last):
    ValueError: patch must divide image_size; got 15 and 224.
    """
    if patch < 1 or image_size < patch or image_size % patch:
        raise ValueError(
            f"patch must divide image_size; got {patch} and {image_size}."
        )
