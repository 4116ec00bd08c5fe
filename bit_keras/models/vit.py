"""The Vision Transformer.

Dosovitskiy et al., arXiv 2010.11929, section 3.1. Details (where the norms sit,
their epsilon 1e-6, the tanh form of GELU, no bias-free layers) follow the
official code of google-research/vision_transformer, so that its weights give
its outputs.
"""

from typing import Any, Literal

import keras

from bit_keras.models.tokens import (
    NORM_EPSILON,
    check_patches,
    embedding,
    mlp,
)


@keras.saving.register_keras_serializable("bit_keras")
class ViT(keras.Model):
    """A Vision Transformer, from images in [-1, 1] to logits.

    An ordinary functional `keras.Model`, with `endpoint_tensors`: `embedding`
    (patches before they know their place, `(batch, rows, columns, width)`),
    `block01`, ..., `encoded` (after the final norm), all
    `(batch, tokens, width)`, then `pre_logits` and `logits`.

    Images of another size than `image_size` are cut into as many patches as
    they have; the position embedding is resized to them.

    Args:
        patch: Side of a patch in pixels.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads; must divide `width`.
        mlp_width: Channels inside the MLP of a block.
        image_size: Side in pixels of the images that the position embedding
            is for.
        pool: "token": the class token, which has a position too; "mean": the
            average over patches, without a class token.
        num_classes: Outputs of the head; 0: no head, the model returns
            `pre_logits`.
        head_bias: Initial bias of the head; its kernel starts at zero.
        dtype: A Keras dtype policy name; None: the global one. The head always
            computes in float32.
        name: Name of the model.

    Example:

    >>> import numpy as np
    >>> model = ViT(patch=8, width=12, depth=1, heads=3, mlp_width=24,
    ...             image_size=32, num_classes=10)
    >>> model(np.zeros((2, 32, 32, 3))).shape
    TensorShape([2, 10])

    Reference:
        An Image is Worth 16x16 Words, https://arxiv.org/abs/2010.11929.
    """

    def __init__(
        self,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int = 3072,
        image_size: int = 224,
        pool: Literal["token", "mean"] = "token",
        num_classes: int = 1000,
        head_bias: float = 0.0,
        dtype: str | None = None,
        name: str = "vit",
    ) -> None:
        check_patches(image_size, patch)
        if width % heads:
            raise ValueError(
                f"heads must divide width; got {heads} and {width}."
            )
        if pool not in ("token", "mean"):
            raise ValueError(f'pool must be "token" or "mean"; got "{pool}".')
        dtype = dtype or keras.config.dtype_policy().name
        inputs = keras.Input((None, None, 3), name="images")
        x = embedding(width, patch, dtype)(inputs)
        ends = {"embedding": x}
        x = Positions(
            image_size // patch, pool == "token", name="positions", dtype=dtype
        )(x)
        for number in range(depth):
            x = EncoderBlock(
                heads, mlp_width, name=f"encoderblock_{number}", dtype=dtype
            )(x)
            ends[f"block{number + 1:02d}"] = x
        x = keras.layers.LayerNormalization(
            epsilon=NORM_EPSILON, name="encoder_norm", dtype=dtype
        )(x)
        ends["encoded"] = x
        x = x[:, 0] if pool == "token" else keras.ops.mean(x, axis=1)
        x = keras.layers.Identity(name="pre_logits", dtype="float32")(x)
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
            "heads": heads,
            "mlp_width": mlp_width,
            "image_size": image_size,
            "pool": pool,
            "num_classes": num_classes,
            "head_bias": head_bias,
            "dtype": dtype,
            "name": name,
        }

    def get_config(self) -> dict:
        return dict(self._config)

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> "ViT":
        return cls(**config)


@keras.saving.register_keras_serializable("bit_keras")
class Positions(keras.layers.Layer):
    """Turns a map of patches into tokens that know where they are.

    Args:
        grid: Patches on a side that there are positions for; others are
            interpolated (bilinear, as the paper's section 3.2 asks for in
            fine-tuning at another resolution).
        class_token: Whether to put a learned token, with a position of its
            own, before the patches.

    Example:

    >>> import numpy as np
    >>> Positions(2, class_token=True)(np.zeros((1, 3, 3, 4))).shape
    TensorShape([1, 10, 4])
    """

    def __init__(self, grid: int, class_token: bool, **options: Any) -> None:
        super().__init__(**options)
        self.grid, self.class_token = grid, class_token

    def build(self, shape: tuple) -> None:
        """Creates the embedding of positions, and the class token."""
        width, tokens = shape[-1], self.grid**2 + self.class_token
        self.embedding = self.add_weight(
            (1, tokens, width),
            # In the official code, and in BERT.
            keras.initializers.RandomNormal(stddev=0.02),
            name="pos_embedding",
        )
        if self.class_token:
            self.token = self.add_weight((1, 1, width), "zeros", name="cls")

    def call(self, patches: Any) -> Any:
        """Maps `(batch, rows, columns, width)` to `(batch, tokens, width)`."""
        ops = keras.ops
        batch, rows, columns, _ = ops.shape(patches)
        width, grid = patches.shape[-1], self.grid
        places = ops.reshape(
            self.embedding[:, int(self.class_token) :], (grid, grid, width)
        )
        places = ops.einsum(
            "rg,ch,ghw->rcw",
            _resize(grid, rows),
            _resize(grid, columns),
            places,
        )
        x = patches + ops.cast(places, patches.dtype)
        x = ops.reshape(x, (batch, -1, width))
        if self.class_token:
            token = ops.cast(self.token + self.embedding[:, :1], x.dtype)
            token = ops.broadcast_to(token, (batch, 1, width))
            x = ops.concatenate([token, x], axis=1)
        return x

    def get_config(self) -> dict:
        more = {"grid": self.grid, "class_token": self.class_token}
        return {**super().get_config(), **more}


def _resize(old: int, new: Any) -> Any:
    """Returns the matrix `(new, old)` of bilinear resizing along one axis.

    `keras.ops.image.resize` needs a size that is known when the graph is made.
    """
    ops = keras.ops
    place = (ops.arange(new, dtype="float32") + 0.5) * (
        old / ops.cast(new, "float32")
    ) - 0.5
    place = ops.clip(place, 0, old - 1)
    far = ops.abs(place[:, None] - ops.arange(old, dtype="float32"))
    return ops.relu(1 - far)


@keras.saving.register_keras_serializable("bit_keras")
class EncoderBlock(keras.layers.Layer):
    """Self-attention, then an MLP, each on normalized input and added to it.

    Args:
        heads: Attention heads.
        mlp_width: Channels inside the MLP.

    Example:

    >>> import numpy as np
    >>> EncoderBlock(heads=2, mlp_width=8)(np.zeros((1, 5, 4))).shape
    TensorShape([1, 5, 4])
    """

    def __init__(self, heads: int, mlp_width: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.mlp_width = heads, mlp_width

    def build(self, shape: tuple) -> None:
        """Creates the layers."""
        width, dtype = shape[-1], self.dtype_policy
        norm = keras.layers.LayerNormalization
        self.before = norm(epsilon=NORM_EPSILON, name="norm_0", dtype=dtype)
        self.attention = keras.layers.MultiHeadAttention(
            self.heads,
            width // self.heads,
            kernel_initializer="glorot_uniform",
            name="attention",
            dtype=dtype,
        )
        self.between = norm(epsilon=NORM_EPSILON, name="norm_1", dtype=dtype)
        self.mlp = mlp(
            self.mlp_width,
            width,
            "mlp",
            dtype,
            # As the official MlpBlock.
            kernel_initializer="glorot_uniform",
            bias_initializer=keras.initializers.RandomNormal(stddev=1e-6),
        )
        self.before.build(shape)
        self.attention.build(shape, shape)
        self.between.build(shape)
        self.mlp.build(shape)

    def call(self, tokens: Any) -> Any:
        """Maps `(batch, tokens, width)` to the same shape."""
        x = self.before(tokens)
        tokens = tokens + self.attention(x, x)
        return tokens + self.mlp(self.between(tokens))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape

    def get_config(self) -> dict:
        more = {"heads": self.heads, "mlp_width": self.mlp_width}
        return {**super().get_config(), **more}
