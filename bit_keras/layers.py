"""The two layers BiT adds to Keras, for any backend (keras.ops only)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("bit_keras")
class GroupNorm(keras.layers.Layer):
    """Group normalization (Wu & He, arXiv 1803.08494), ReLU included.

    Mean and (biased) variance are taken over all positions and the channels of
    a group, in float32 whatever the dtype policy, and applied as one
    multiply-add per channel: two passes over the input.

    Args:
        groups: Number of channel groups.  1 is layer normalization over
            `(height, width, channels)`, -1 (one group per channel) is
            instance normalization.  Default: the 32 of every BiT network.
        epsilon: Added to the variance.  Default: the 1e-5 of the official
            BiT code (Keras' own layer uses 1e-3).
        relu: Whether to apply a ReLU to the result.

    Call arguments:
        inputs: `(batch, ..., channels)`, of rank 3 or more.

    Returns:
        A tensor of the shape of `inputs` in the layer's compute dtype.

    Example:

    >>> import numpy as np
    >>> images = np.random.default_rng(0).normal(size=(2, 4, 4, 64))
    >>> GroupNorm(groups=32, relu=True)(images).shape
    TensorShape([2, 4, 4, 64])
    """

    def __init__(
        self,
        groups: int = 32,
        epsilon: float = 1e-5,
        relu: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if groups != -1 and groups < 1:
            raise ValueError(
                f"groups must be >= 1, or -1 for one group per channel; "
                f"got {groups}."
            )
        self.groups = groups
        self.epsilon = epsilon
        self.relu = relu

    def build(self, input_shape: Sequence[int | None]) -> None:
        channels = input_shape[-1]
        if len(input_shape) < 3:
            raise ValueError(
                "GroupNorm takes (batch, ..., channels) of rank 3 or more; "
                f"got shape {tuple(input_shape)}."
            )
        if self.groups != -1 and channels % self.groups:
            raise ValueError(
                f"groups must divide the channels; got groups={self.groups} "
                f"and {channels} channels."
            )
        # autocast=False: gamma and beta stay float32 under mixed precision.
        self.gamma = self.add_weight(
            shape=(channels,), initializer="ones", name="gamma", autocast=False
        )
        self.beta = self.add_weight(
            shape=(channels,), initializer="zeros", name="beta", autocast=False
        )

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")
        channels = x.shape[-1]
        groups = channels if self.groups == -1 else self.groups
        positions = tuple(range(1, len(x.shape) - 1))
        per_channel = (-1,) + (1,) * len(positions) + (channels,)
        grouped = (-1, groups, channels // groups)

        # Second moment about the group's mean, not E[x^2] - E[x]^2, which
        # cancels badly when the mean is large.
        mean = ops.mean(
            ops.reshape(ops.mean(x, positions), grouped), 2, keepdims=True
        )
        # Not repeat(), which makes twenty nodes of a graph for the same.
        center = ops.reshape(
            mean * ops.ones((1, 1, channels // groups)), per_channel
        )
        # The gradient of the variance through its own center is exactly 0.
        square = ops.square(x - ops.stop_gradient(center))
        variance = ops.mean(
            ops.reshape(ops.mean(square, positions), grouped), 2, keepdims=True
        )
        gamma = ops.reshape(ops.cast(self.gamma, "float32"), (1,) + grouped[1:])
        scale = ops.reshape(
            ops.rsqrt(variance + self.epsilon) * gamma, per_channel
        )
        beta = ops.cast(self.beta, "float32")
        outputs = x * scale + (beta - center * scale)
        if self.relu:
            outputs = ops.relu(outputs)
        return ops.cast(outputs, self.compute_dtype)

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "groups": self.groups,
            "epsilon": self.epsilon,
            "relu": self.relu,
        }


@keras.saving.register_keras_serializable("bit_keras")
class StdConv2D(keras.layers.Conv2D):
    """2-D convolution with weight standardization (Qiao et al., 1903.10520).

    Each filter is brought to mean 0 and (biased) variance 1 over its
    `(height, width, in_channels)` before the convolution; the stored kernel
    stays raw.  Statistics are float32 whatever the dtype policy.

    Args:
        *args: As `keras.layers.Conv2D`.
        epsilon: Added to the variance, inside the root.  Default: the 1e-10
            of the official BiT code.
        use_bias: Default False, unlike `Conv2D`: BiT's have none.
        **kwargs: As `keras.layers.Conv2D`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.

    Returns:
        `(batch, new_height, new_width, filters)`.

    Example:

    >>> import numpy as np
    >>> conv = StdConv2D(8, 3)
    >>> conv(np.ones((1, 5, 5, 2))).shape
    TensorShape([1, 3, 3, 8])
    """

    def __init__(
        self,
        *args: Any,
        epsilon: float = 1e-10,
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, use_bias=use_bias, **kwargs)
        self.epsilon = epsilon

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        # float16 would underflow in the variance: keep the kernel float32.
        if kwargs.get("name") == "kernel":
            kwargs["autocast"] = False
        return super().add_weight(*args, **kwargs)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        kernel = standardize(kernel, self.epsilon)
        return super().convolution_op(
            inputs, ops.cast(kernel, self.compute_dtype)
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon}


def standardize(kernel: Any, epsilon: float = 1e-10) -> Any:
    """Returns `kernel` with mean 0 and variance 1 per output channel.

    Args:
        kernel: `(height, width, in_channels, out_channels)`.
        epsilon: Added to the variance; 1e-10 in the official BiT code.

    Returns:
        A float32 tensor of the same shape.

    Example:

    >>> import numpy as np
    >>> kernel = np.random.default_rng(0).normal(3, 2, size=(3, 3, 4, 5))
    >>> abs(float(np.std(standardize(kernel)[..., 0])) - 1) < 1e-5
    True
    """
    kernel = ops.cast(kernel, "float32")
    centered = kernel - _filter_mean(kernel)
    # Float32 sums over thousands of taps leave a mean of about 1e-6, which the
    # depth of the network amplifies: take off the rest.  It is 0 but for
    # rounding, and so is its gradient.
    centered -= ops.stop_gradient(_filter_mean(centered))
    variance = _filter_mean(ops.square(centered))
    return centered * ops.rsqrt(variance + epsilon)


def _filter_mean(kernel: Any) -> Any:
    # In two stages: fewer terms per sum are more exact, and faster.
    mean = ops.mean(kernel, (0, 1), keepdims=True)
    return ops.mean(mean, 2, keepdims=True)
