"""The formula of group normalization and, for TensorFlow, of its gradient."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras import ops


@dataclasses.dataclass(frozen=True)
class NormFormula:
    """Group normalization and ReLU of `(batch, ..., channels)`.

    Attributes:
        groups: Of channels; -1: one group per channel.
        epsilon: Added to the variance.
        relu: Whether to apply a ReLU to the result.
        dtype: Of the result; what is between is float32.

    Example:

    >>> import numpy as np
    >>> formula = NormFormula(1, 0.0, False, "float32")
    >>> x = np.array([[[3.0, 5.0]]], np.float32)
    >>> one, zero = np.ones(2), np.zeros(2)
    >>> np.asarray(formula.forward(position_mean, x, one, zero)[0])
    array([[[-1.,  1.]]], dtype=float32)
    """

    groups: int
    epsilon: float
    relu: bool
    dtype: str

    def forward(
        self, mean: Callable, inputs: Any, gamma: Any, beta: Any
    ) -> tuple:
        """Returns the outputs, and mean and 1 / deviation of each channel.

        Args:
            mean: `position_mean`, or a faster one.
            inputs: `(batch, ..., channels)`.
            gamma: `(channels,)`.
            beta: `(channels,)`.
        """
        x = ops.cast(inputs, "float32")
        center = self._group_mean(mean(lambda x: x, x))
        # Second moment about the group's mean, not E[x^2] - E[x]^2, which
        # cancels badly when the mean is large.  With the mean as a constant
        # and what is taken off, which is 0, all derivatives are right, and
        # the first has no pass over memory for the mean.
        constant = ops.stop_gradient(center)
        square = mean(lambda x: ops.square(x - spread(constant, x)), x)
        variance = self._group_mean(square) - ops.square(center - constant)
        inverse = ops.rsqrt(variance + self.epsilon)
        # Of x, since a second cast would have a second gradient, rounded too.
        outputs = self._apply(x, gamma, beta, center, inverse)
        return outputs, center, inverse

    def _apply(
        self, inputs: Any, gamma: Any, beta: Any, center: Any, inverse: Any
    ) -> Any:
        """Returns the outputs, from the statistics that `forward` found."""
        x = ops.cast(inputs, "float32")
        scale = inverse * gamma
        outputs = x * spread(scale, x) + spread(beta - center * scale, x)
        if self.relu:
            outputs = ops.relu(outputs)
        return ops.cast(outputs, self.dtype)

    def backward(
        self,
        mean: Callable,
        upstream: Any,
        outputs: Any,
        inputs: Any,
        gamma: Any,
        beta: Any,
        center: Any,
        inverse: Any,
    ) -> tuple:
        """Returns the gradients of the inputs, gamma and beta; TensorFlow only.

        With d the upstream gradient times gamma, x_hat the normalized input and
        means over a group, that of x is
        `(d - mean(d) - x_hat * mean(d * x_hat)) * inverse`.

        Args:
            mean: `position_mean`, or a faster one.
            upstream: The gradient of the outputs.
            outputs: From `forward`; None: computed again.
            inputs: `(batch, ..., channels)`.
            gamma: `(channels,)`.
            beta: `(channels,)`.
            center: From `forward`, `(batch, channels)`.
            inverse: From it, too.
        """
        if self.relu:
            from bit_keras.tensorflow_ops import relu_gradient

            if outputs is None:
                outputs = self._apply(inputs, gamma, beta, center, inverse)
            upstream = relu_gradient(upstream, outputs)
        d_y = ops.cast(upstream, "float32")
        # Computed again, not kept from the forward pass.
        centered = ops.cast(inputs, "float32") - spread(center, inputs)
        d_beta = mean(lambda d_y: d_y, d_y)
        d_gamma = inverse * mean(lambda d_y, x: d_y * x, d_y, centered)
        slope = -ops.square(inverse) * self._group_mean(d_gamma * gamma)
        shift = -inverse * self._group_mean(d_beta * gamma)
        d_x = d_y * spread(inverse * gamma, inputs) + (
            centered * spread(slope, inputs) + spread(shift, inputs)
        )
        positions = ops.cast(ops.prod(ops.shape(inputs)[1:-1]), "float32")
        return (
            ops.cast(d_x, inputs.dtype),
            positions * ops.sum(d_gamma, 0),
            positions * ops.sum(d_beta, 0),
        )

    def _group_mean(self, values: Any) -> Any:
        """Returns for each channel its group's mean, `(batch, channels)`."""
        if self.groups == -1:
            return values
        channels = values.shape[-1]
        size = channels // self.groups
        grouped = ops.reshape(values, (-1, self.groups, size))
        mean = ops.mean(grouped, 2, keepdims=True)
        # Not repeat(), which makes twenty nodes of a graph for the same.
        mean = mean * ops.ones((1, 1, size))
        return ops.reshape(mean, (-1, channels))


def position_mean(function: Callable, *arrays: Any) -> Any:
    """Returns the mean of a function over all positions, `(batch, channels)`.

    Args:
        function: Of the arrays; works number by number.
        *arrays: `(batch, ..., channels)`.
    """
    x = function(*arrays)
    # One axis after the other: TensorFlow reads memory in order, which takes
    # half the time, and short sums are more exact.
    while len(x.shape) > 2:
        x = ops.mean(x, -2)
    return x


def spread(values: Any, x: Any) -> Any:
    """Returns `(batch, channels)` so that it broadcasts over positions."""
    ones = (1,) * (len(x.shape) - 2)
    return ops.reshape(values, (-1, *ones, x.shape[-1]))
