"""The unit BiT is made of, and the norm and convolution in it."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from bit_keras.layers import GroupNorm, StdConv2D


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
        if self.stride > 1:
            h = zero_pad(h, 1)
        h = self.c_norm(self.b_conv(h), training=training)
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
    """Returns a bias-free convolution, standardized or plain.

    With a stride it is unpadded: `zero_pad` comes before it. Without, "same" is
    the same padding, and need not be a copy.

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
        padding="valid" if stride > 1 else "same",
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
