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


# Of Flax, for whatever the official code does not say: the patch embeddings,
# and all of MLP-Mixer's dense layers.  (Keras' own is Xavier's.)
KERNEL = "lecun_normal"


def embedding(width: int, patch: int, dtype: Any) -> keras.layers.Conv2D:
    """Returns the layer from images to a token for each patch.

    Args:
        width: Channels of a token.
        patch: Side of a patch in pixels.
        dtype: Dtype policy.
    """
    return keras.layers.Conv2D(
        width,
        patch,
        patch,
        "valid",
        kernel_initializer=KERNEL,
        name="embedding",
        dtype=dtype,
    )


def mlp(
    inner: int, outer: int, name: str, dtype: Any, **initializers: Any
) -> keras.Sequential:
    """Returns two dense layers with a GELU between them, on the last axis.

    Args:
        inner: Channels between the layers.
        outer: Channels that come out.
        name: Of the model.
        dtype: Dtype policy.
        **initializers: Of both layers, as `keras.layers.Dense` takes them.
    """

    def dense(units: int, number: int, activation: Any = None) -> Any:
        return keras.layers.Dense(
            units,
            activation,
            name=f"dense_{number}",
            dtype=dtype,
            **initializers,
        )

    return keras.Sequential([dense(inner, 0, gelu), dense(outer, 1)], name=name)


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
