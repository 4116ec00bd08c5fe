"""MLP-Mixer.

Tolstikhin et al., arXiv 2105.01601, section 2. Details follow the official code
of google-research/vision_transformer, so that its weights give its outputs.
"""

from typing import Any

import keras

from bit_keras.models.tokens import (
    KERNEL,
    NORM_EPSILON,
    check_patches,
    embedding,
    mlp,
)


@keras.saving.register_keras_serializable("bit_keras")
class Mixer(keras.Model):
    """An MLP-Mixer, from images in [-1, 1] to logits.

    An ordinary functional `keras.Model`, with `endpoint_tensors`: `embedding`
    (patches before they know their place, `(batch, rows, columns, width)`),
    `block01`, ..., `encoded` (after the final norm), all
    `(batch, tokens, width)`, then `pre_logits` (their mean) and `logits`.

    Its layers know how many patches there are, so images have one size only.

    Args:
        patch: Side of a patch in pixels.
        width: Channels of a token.
        depth: Blocks.
        tokens_mlp_width: Inside the MLP that mixes tokens.
        channels_mlp_width: Inside the MLP that mixes channels.
        image_size: Side in pixels of the images.
        num_classes: Outputs of the head; 0: no head, the model returns
            `pre_logits`.
        head_bias: Initial bias of the head; its kernel starts at zero.
        dtype: A Keras dtype policy name; None: the global one. The head always
            computes in float32.
        name: Name of the model.

    Example:

    >>> import numpy as np
    >>> model = Mixer(patch=8, width=12, depth=1, tokens_mlp_width=6,
    ...               channels_mlp_width=24, image_size=32, num_classes=10)
    >>> model(np.zeros((2, 32, 32, 3))).shape
    TensorShape([2, 10])

    Reference:
        MLP-Mixer: An all-MLP Architecture for Vision,
        https://arxiv.org/abs/2105.01601.
    """

    def __init__(
        self,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        tokens_mlp_width: int = 384,
        channels_mlp_width: int = 3072,
        image_size: int = 224,
        num_classes: int = 1000,
        head_bias: float = 0.0,
        dtype: str | None = None,
        name: str = "mixer",
    ) -> None:
        check_patches(image_size, patch)
        dtype = dtype or keras.config.dtype_policy().name
        tokens = (image_size // patch) ** 2
        inputs = keras.Input((image_size, image_size, 3), name="images")
        x = embedding(width, patch, dtype)(inputs)
        ends = {"embedding": x}
        x = keras.layers.Reshape((tokens, width), name="tokens", dtype=dtype)(x)
        for number in range(depth):
            x = MixerBlock(
                tokens_mlp_width,
                channels_mlp_width,
                name=f"MixerBlock_{number}",
                dtype=dtype,
            )(x)
            ends[f"block{number + 1:02d}"] = x
        x = keras.layers.LayerNormalization(
            epsilon=NORM_EPSILON, name="pre_head_layer_norm", dtype=dtype
        )(x)
        ends["encoded"] = x
        x = keras.layers.GlobalAveragePooling1D(
            name="pre_logits", dtype="float32"
        )(x)
        ends["pre_logits"] = x
        if num_classes:
            x = ends["logits"] = keras.layers.Dense(
                num_classes,
                kernel_initializer="zeros",
                bias_initializer=keras.initializers.Constant(head_bias),
                name="head",
                dtype="float32",
            )(x)
        super().__init__(inputs, x, name=name)
        self.endpoint_tensors = ends
        self.num_classes, self.depth = num_classes, depth
        self._config = {
            "patch": patch,
            "width": width,
            "depth": depth,
            "tokens_mlp_width": tokens_mlp_width,
            "channels_mlp_width": channels_mlp_width,
            "image_size": image_size,
            "num_classes": num_classes,
            "head_bias": head_bias,
            "dtype": dtype,
            "name": name,
        }

    def get_config(self) -> dict:
        return dict(self._config)

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> "Mixer":
        return cls(**config)


@keras.saving.register_keras_serializable("bit_keras")
class MixerBlock(keras.layers.Layer):
    """An MLP over tokens, then one over channels, each on normalized input.

    Args:
        tokens_width: Inside the MLP over tokens.
        channels_width: Inside the MLP over channels.

    Example:

    >>> import numpy as np
    >>> MixerBlock(tokens_width=2, channels_width=8)(np.zeros((1, 5, 4))).shape
    TensorShape([1, 5, 4])
    """

    def __init__(
        self, tokens_width: int, channels_width: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self.tokens_width, self.channels_width = tokens_width, channels_width

    def build(self, shape: tuple) -> None:
        """Creates the layers."""
        batch, tokens, width = shape
        dtype = self.dtype_policy
        norm = keras.layers.LayerNormalization
        self.before = norm(epsilon=NORM_EPSILON, name="norm_0", dtype=dtype)
        self.over_tokens = mlp(
            self.tokens_width,
            tokens,
            "token_mixing",
            dtype,
            kernel_initializer=KERNEL,
        )
        self.between = norm(epsilon=NORM_EPSILON, name="norm_1", dtype=dtype)
        self.over_channels = mlp(
            self.channels_width,
            width,
            "channel_mixing",
            dtype,
            kernel_initializer=KERNEL,
        )
        self.before.build(shape)
        self.over_tokens.build((batch, width, tokens))
        self.between.build(shape)
        self.over_channels.build(shape)

    def call(self, tokens: Any) -> Any:
        """Maps `(batch, tokens, width)` to the same shape."""
        x = keras.ops.transpose(self.before(tokens), (0, 2, 1))
        x = keras.ops.transpose(self.over_tokens(x), (0, 2, 1))
        tokens = tokens + x
        return tokens + self.over_channels(self.between(tokens))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape

    def get_config(self) -> dict:
        more = {
            "tokens_width": self.tokens_width,
            "channels_width": self.channels_width,
        }
        return {**super().get_config(), **more}
