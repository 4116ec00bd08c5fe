"""The BiT network: ResNet-v2 with GroupNorm and standardized convolutions.

Kolesnikov et al., arXiv 1912.11370, section 3.3.  Every detail (padding,
epsilons, where the stride sits, what the shortcut sees) follows the official
code of google-research/big_transfer, so that its weights give its outputs.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from bit_keras.layers import GroupNorm, StdConv2D

# Channels of the first convolution of a unit, at width 1, stage by stage.
_STAGE_CHANNELS = (64, 128, 256, 512)


@keras.saving.register_keras_serializable("bit_keras")
class BottleneckUnit(keras.layers.Layer):
    """Pre-activation bottleneck: 1x1, 3x3 (with the stride), 1x1, shortcut.

    The projection shortcut sees the normalized and rectified input, the
    identity shortcut the raw one; nothing follows the addition.

    Args:
        channels: Filters of the 1x1 and 3x3 convolution; the output has four
            times as many.
        stride: Of the 3x3 convolution and the shortcut.
        norm: "group" or "batch".
        standardize: Whether convolutions are weight-standardized.
        groups: Groups of "group" norm.
        remat: Whether to recompute the unit in the backward pass; not with
            norm="batch".

    Call arguments:
        inputs: `(batch, height, width, in_channels)`.

    Returns:
        `(batch, ceil(height / stride), ceil(width / stride), 4 * channels)`.

    Example:

    >>> import numpy as np
    >>> BottleneckUnit(32, stride=2)(np.ones((1, 9, 8, 64))).shape
    TensorShape([1, 5, 4, 128])
    """

    def __init__(
        self,
        channels: int,
        stride: int = 1,
        norm: Literal["group", "batch"] = "group",
        standardize: bool = True,
        groups: int = 32,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if remat and norm == "batch":
            raise ValueError(
                'remat needs norm="group": recomputing a unit would update '
                "the moving statistics of its batch norm a second time."
            )
        self.channels = channels
        self.stride = stride
        self.norm = norm
        self.standardize = standardize
        self.groups = groups
        self.remat = remat

        self.a_norm = self._norm_relu("a")
        self.a_conv = self._convolution("a", channels, 1)
        self.b_norm = self._norm_relu("b")
        self.b_conv = self._convolution("b", channels, 3, stride)
        self.c_norm = self._norm_relu("c")
        self.c_conv = self._convolution("c", 4 * channels, 1)

    def _norm_relu(self, name: str) -> keras.layers.Layer:
        return norm_relu(self.norm, self.groups, f"{name}_", self.dtype_policy)

    def _convolution(
        self, name: str, filters: int, kernel_size: int, stride: int = 1
    ) -> keras.layers.Layer:
        return convolution(
            filters,
            kernel_size,
            stride,
            self.standardize,
            f"{name}_standardized_conv2d",
            self.dtype_policy,
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = tuple(input_shape)
        self.projects = self.stride > 1 or shape[-1] != 4 * self.channels
        inner = shape[:3] + (self.channels,)
        self.a_norm.build(shape)
        self.a_conv.build(shape)
        self.b_norm.build(inner)
        self.b_conv.build(inner)
        self.c_norm.build(inner)
        self.c_conv.build(inner)
        # Created last, as in the official TF2 code: its .h5 go by this order.
        if self.projects:
            self.projection = self._convolution(
                "a_proj", 4 * self.channels, 1, self.stride
            )
            self.projection.build(shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        body = functools.partial(self._body, training=training)
        return keras.remat(body)(inputs) if self.remat else body(inputs)

    def _body(self, inputs: Any, training: bool) -> Any:
        h = self.a_norm(inputs, training=training)
        shortcut = self.projection(h) if self.projects else inputs
        h = self.b_norm(self.a_conv(h), training=training)
        h = self.c_norm(self.b_conv(zero_pad(h, 1)), training=training)
        return ops.add(shortcut, self.c_conv(h))

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        size = [s and math.ceil(s / self.stride) for s in (height, width)]
        return (batch, *size, 4 * self.channels)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "channels": self.channels,
            "stride": self.stride,
            "norm": self.norm,
            "standardize": self.standardize,
            "groups": self.groups,
            "remat": self.remat,
        }


@keras.saving.register_keras_serializable("bit_keras")
class BatchNormRelu(keras.layers.BatchNormalization):
    """Batch normalization and ReLU: the BN rows of the paper's ablation.

    Args:
        **kwargs: As `keras.layers.BatchNormalization`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.

    Example:

    >>> import numpy as np
    >>> BatchNormRelu()(np.ones((2, 4, 4, 8))).shape
    TensorShape([2, 4, 4, 8])
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        return ops.relu(super().call(inputs, training=training))


def norm_relu(
    norm: Literal["group", "batch"], groups: int, prefix: str, dtype: Any
) -> keras.layers.Layer:
    """Returns the norm-and-ReLU layer that precedes a convolution.

    Example:

    >>> norm_relu("batch", 32, "a_", "float32").name
    'a_batch_norm'
    """
    if norm == "group":
        return GroupNorm(
            groups, relu=True, name=f"{prefix}group_norm", dtype=dtype
        )
    if norm == "batch":
        # Momentum and epsilon as in common ImageNet ResNets; the paper
        # (section 4.3) does not state its own.
        return BatchNormRelu(
            momentum=0.9,
            epsilon=1e-5,
            name=f"{prefix}batch_norm",
            dtype=dtype,
        )
    raise ValueError(f'norm must be "group" or "batch"; got {norm!r}.')


def convolution(
    filters: int,
    kernel_size: int,
    stride: int,
    standardize: bool,
    name: str,
    dtype: Any,
) -> keras.layers.Layer:
    """Returns an unpadded, bias-free convolution, standardized or plain.

    Plain ones keep the checkpoint's name (`..._standardized_conv2d`), so that
    one file format serves the whole ablation.

    Example:

    >>> type(convolution(8, 3, 1, False, "b", "float32")).__name__
    'Conv2D'
    """
    layer = StdConv2D if standardize else keras.layers.Conv2D
    return layer(
        filters,
        kernel_size,
        strides=stride,
        padding="valid",
        use_bias=False,
        name=name,
        dtype=dtype,
    )


def zero_pad(images: Any, pixels: int) -> Any:
    """Pads height and width by `pixels` zeros on each side.

    TensorFlow's "SAME" pads only bottom and right where stride 2 meets an even
    size: another network, 27 % off in the features.

    >>> import numpy as np
    >>> zero_pad(np.ones((1, 2, 2, 3)), 1).shape
    TensorShape([1, 4, 4, 3])
    """
    side = (pixels, pixels)
    return ops.pad(images, ((0, 0), side, side, (0, 0)))


@keras.saving.register_keras_serializable("bit_keras")
class BiT(keras.Model):
    """A BiT network, from images in [-1, 1] to logits.

    An ordinary functional `keras.Model`, with two attributes more:
    `endpoint_tensors` (every named intermediate: `stem`, `block1/unit01`, ...,
    `block1`, ..., `pre_logits`, `logits`) and `pyramid_outputs` (`{"P2": ...}`,
    Pn of stride 2**n, the last one after the final norm so that every backbone
    weight gets a gradient).

    Args:
        blocks: Units of each stage, e.g. `(3, 4, 6, 3)` for ResNet-50.
        width: Multiplies all channels.
        num_classes: Outputs of the head; 0: no head, the model returns
            `pre_logits`.
        norm: "group", or "batch" for the ablation of section 4.3.
        standardize: Whether convolutions are weight-standardized.
        groups: Groups of "group" norm; 32 in all official networks.
        stem: "imagenet" (7x7 stride 2, max-pool stride 2) or "strided" (3x3
            stride 2 alone), for small images.
        head_bias: Initial bias of the head; its kernel starts at zero.
        remat: Recompute each unit in the backward pass to save memory; not
            with norm="batch".
        dtype: A Keras dtype policy name; None: the global one.  The head
            always computes in float32.
        name: Name of the model.

    Call arguments:
        inputs: `(batch, height, width, 3)` in [-1, 1], any size.

    Returns:
        Logits `(batch, num_classes)`, or features `(batch, features)`.

    Example:

    >>> import numpy as np
    >>> model = BiT(blocks=(1, 1, 1, 1), num_classes=10)
    >>> model(np.zeros((2, 32, 32, 3))).shape
    TensorShape([2, 10])
    >>> sorted(model.pyramid_outputs)
    ['P2', 'P3', 'P4', 'P5']

    Reference:
        Big Transfer, https://arxiv.org/abs/1912.11370, section 3.3.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: float = 1,
        num_classes: int = 1000,
        norm: Literal["group", "batch"] = "group",
        standardize: bool = True,
        groups: int = 32,
        stem: Literal["imagenet", "strided"] = "imagenet",
        head_bias: float = 0.0,
        remat: bool = False,
        dtype: str | None = None,
        name: str = "bit",
    ) -> None:
        if not 1 <= len(blocks) <= len(_STAGE_CHANNELS) or min(blocks) < 1:
            raise ValueError(
                "blocks must be 1 to 4 stages of at least one unit each; got "
                f"{tuple(blocks)}."
            )
        if num_classes < 0:
            raise ValueError(f"num_classes must be >= 0; got {num_classes}.")
        dtype = dtype or keras.config.dtype_policy().name
        inputs = keras.Input((None, None, 3), name="images")
        x, stride = _stem(inputs, stem, int(64 * width), standardize, dtype)
        ends, pyramid = {"stem": x}, {}
        for stage, units in enumerate(blocks, start=1):
            channels = int(_STAGE_CHANNELS[stage - 1] * width)
            for unit in range(1, units + 1):
                down = 2 if stage > 1 and unit == 1 else 1
                stride *= down
                x = BottleneckUnit(
                    channels,
                    down,
                    norm,
                    standardize,
                    groups,
                    remat,
                    name=f"block{stage}_unit{unit:02d}",
                    dtype=dtype,
                )(x)
                ends[f"block{stage}/unit{unit:02d}"] = x
            ends[f"block{stage}"] = x
            pyramid[f"P{int(math.log2(stride))}"] = x
        x = norm_relu(norm, groups, "", dtype)(x)
        pyramid[f"P{int(math.log2(stride))}"] = x
        x = keras.layers.GlobalAveragePooling2D(
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
        self.pyramid_outputs = pyramid
        self.num_classes = num_classes
        self._config = {
            "blocks": list(blocks),
            "width": width,
            "num_classes": num_classes,
            "norm": norm,
            "standardize": standardize,
            "groups": groups,
            "stem": stem,
            "head_bias": head_bias,
            "remat": remat,
            "dtype": dtype,
            "name": name,
        }

    def get_config(self) -> dict:
        return dict(self._config)

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> "BiT":
        return cls(**config)


def _stem(
    inputs: Any, stem: str, filters: int, standardize: bool, dtype: str
) -> tuple[Any, int]:
    """Returns the root block's output and its stride in pixels."""

    def pad(pixels: int, name: str) -> keras.layers.Layer:
        return keras.layers.ZeroPadding2D(pixels, name=name, dtype=dtype)

    name = "root_block_standardized_conv2d"
    if stem == "strided":
        x = pad(1, "root_block_pad")(inputs)
        conv = convolution(filters, 3, 2, standardize, name, dtype)
        return conv(x), 2
    if stem != "imagenet":
        raise ValueError(f'stem must be "imagenet" or "strided"; got {stem!r}.')
    x = pad(3, "root_block_pad")(inputs)
    x = convolution(filters, 7, 2, standardize, name, dtype)(x)
    # Zeros, not -inf: pool inputs can be negative (no norm or ReLU here).
    x = pad(1, "root_block_pool_pad")(x)
    pool = keras.layers.MaxPooling2D(
        3, 2, "valid", name="root_block_pool", dtype=dtype
    )
    return pool(x), 4
