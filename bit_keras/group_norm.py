"""Group normalization with its ReLU, in few passes over memory."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("bit_keras")
class GroupNorm(keras.layers.Layer):
    """Group normalization (Wu & He, arXiv 1803.08494), ReLU included.

    Mean and (biased) variance are taken over all positions and the channels of
    a group, in float32 whatever the dtype policy, and applied as one
    multiply-add per channel: two passes over the input.  On TensorFlow the
    gradient is written by hand: of what is as large as the input, it keeps the
    input and the output.

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
        gamma = ops.cast(self.gamma, "float32")
        beta = ops.cast(self.beta, "float32")
        if keras.backend.backend() == "tensorflow":
            return self._with_gradient(inputs, gamma, beta)
        # JAX fuses and recomputes by itself; in torch, a gradient by hand
        # would make second derivatives wrong without a word.
        return self._forward(inputs, gamma, beta)[0]

    def _forward(self, inputs: Any, gamma: Any, beta: Any) -> tuple:
        """Returns the outputs, and mean and 1 / deviation of each channel."""
        x = ops.cast(inputs, "float32")
        center = _group_mean(_position_mean(x), self.groups)
        # Second moment about the group's mean, not E[x^2] - E[x]^2, which
        # cancels badly when the mean is large.  With the mean as a constant
        # and what is taken off, which is 0, all derivatives are right, and
        # the first has no pass over memory for the mean.
        constant = ops.stop_gradient(center)
        square = ops.square(x - _spread(constant, x))
        variance = _group_mean(_position_mean(square), self.groups)
        variance = variance - ops.square(center - constant)
        inverse = ops.rsqrt(variance + self.epsilon)
        scale = inverse * gamma
        outputs = x * _spread(scale, x) + _spread(beta - center * scale, x)
        if self.relu:
            outputs = ops.relu(outputs)
        outputs = ops.cast(outputs, self.compute_dtype)
        return outputs, center, inverse

    def _with_gradient(self, inputs: Any, gamma: Any, beta: Any) -> Any:
        from bit_keras.tensorflow_ops import relu_gradient

        @ops.custom_gradient
        def forward(inputs: Any, gamma: Any, beta: Any) -> tuple:
            outputs, center, inverse = self._forward(inputs, gamma, beta)

            def gradients(upstream: Any) -> tuple:
                # A name, for profiles; TensorFlow gives none of itself here.
                with keras.name_scope("group_norm_gradient"):
                    if self.relu:
                        upstream = relu_gradient(upstream, outputs)
                    return _gradients(
                        upstream, inputs, gamma, center, inverse, self.groups
                    )

            return outputs, gradients

        return forward(inputs, gamma, beta)

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


def _gradients(
    upstream: Any,
    inputs: Any,
    gamma: Any,
    center: Any,
    inverse: Any,
    groups: int,
) -> tuple:
    """Returns the gradients of the norm's inputs, gamma and beta.

    With d the upstream gradient times gamma, x_hat the normalized input and
    means over a group, that of x is
    `(d - mean(d) - x_hat * mean(d * x_hat)) * inverse`.
    """
    d_y = ops.cast(upstream, "float32")
    # Recomputed, not kept from the forward pass.
    centered = ops.cast(inputs, "float32") - _spread(center, inputs)
    d_beta = _position_mean(d_y)
    d_gamma = inverse * _position_mean(d_y * centered)
    slope = -ops.square(inverse) * _group_mean(d_gamma * gamma, groups)
    shift = -inverse * _group_mean(d_beta * gamma, groups)
    d_x = d_y * _spread(inverse * gamma, inputs) + (
        centered * _spread(slope, inputs) + _spread(shift, inputs)
    )
    positions = ops.cast(ops.prod(ops.shape(inputs)[1:-1]), "float32")
    return (
        ops.cast(d_x, inputs.dtype),
        positions * ops.sum(d_gamma, 0),
        positions * ops.sum(d_beta, 0),
    )


def _position_mean(x: Any) -> Any:
    """Returns the mean over all positions, `(batch, channels)`."""
    # One axis after the other: TensorFlow reads memory in order, which takes
    # half the time, and short sums are more exact.
    while len(x.shape) > 2:
        x = ops.mean(x, -2)
    return x


def _group_mean(values: Any, groups: int) -> Any:
    """Returns for each channel the mean of its group, `(batch, channels)`."""
    if groups == -1:
        return values
    channels = values.shape[-1]
    grouped = ops.reshape(values, (-1, groups, channels // groups))
    mean = ops.mean(grouped, 2, keepdims=True)
    # Not repeat(), which makes twenty nodes of a graph for the same.
    mean = mean * ops.ones((1, 1, channels // groups))
    return ops.reshape(mean, (-1, channels))


def _spread(values: Any, x: Any) -> Any:
    """Returns `(batch, channels)` so that it broadcasts over positions."""
    ones = (1,) * (len(x.shape) - 2)
    return ops.reshape(values, (-1, *ones, x.shape[-1]))
