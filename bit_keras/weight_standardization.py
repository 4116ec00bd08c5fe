"""Convolutions with standardized weights."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


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
        if keras.backend.backend() == "tensorflow":
            from bit_keras import cpu_graphs

            if cpu_graphs.pays(inputs):
                return self._on_cpu(inputs, kernel)
        kernel = standardize(kernel, self.epsilon)
        return super().convolution_op(
            inputs, ops.cast(kernel, self.compute_dtype)
        )

    def _on_cpu(self, inputs: Any, kernel: Any) -> Any:
        from bit_keras import cpu_graphs

        if cpu_graphs.pays(kernel):
            kernel = _with_gradient(
                *cpu_graphs.standardization(tuple(kernel.shape), self.epsilon),
                ops.cast(kernel, "float32"),
            )
        else:
            kernel = standardize(kernel, self.epsilon)
        kernel = ops.cast(kernel, self.compute_dtype)
        if self._is_pointwise():
            return cpu_graphs.pointwise(inputs, kernel)
        return super().convolution_op(inputs, kernel)

    def _is_pointwise(self) -> bool:
        return (
            self.kernel_size == self.strides == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
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
    forward = functools.partial(standardized, filter_mean, epsilon)
    if keras.backend.backend() == "tensorflow":
        backward = functools.partial(standardized_gradient, filter_mean)
        return _with_gradient(forward, backward, kernel)
    # JAX fuses by itself; in torch, a gradient by hand would make second
    # derivatives wrong without a word.
    return forward(kernel)[0]


def standardized(
    mean: Callable, epsilon: float, kernel: Any
) -> tuple[Any, Any]:
    """Returns the kernel standardized, and 1 / deviation of each filter.

    Args:
        mean: `filter_mean`, or a faster one.
        epsilon: Added to the variance.
        kernel: float32 `(..., out_channels)`.
    """
    centered = kernel - mean(lambda x: x, kernel)
    # Float32 sums over thousands of taps leave a mean of about 1e-6, which the
    # depth of the network amplifies: take off the rest.  It is 0 but for
    # rounding, and so is its gradient.
    centered -= ops.stop_gradient(mean(lambda x: x, centered))
    variance = mean(ops.square, centered)
    inverse = ops.rsqrt(variance + epsilon)
    return centered * inverse, inverse


def standardized_gradient(
    mean: Callable, upstream: Any, outputs: Any, inverse: Any
) -> Any:
    """Returns the gradient of `standardized`'s kernel.

    Args:
        mean: `filter_mean`, or a faster one.
        upstream: The gradient of the outputs.
        outputs: Of `standardized`.
        inverse: From it, too.
    """
    along = mean(ops.multiply, upstream, outputs)
    shift = mean(lambda x: x, upstream)
    return (upstream - (outputs * along + shift)) * inverse


def _with_gradient(forward: Callable, backward: Callable, kernel: Any) -> Any:
    @ops.custom_gradient
    def with_gradient(kernel: Any) -> tuple:
        outputs, inverse = forward(kernel)

        def gradient(upstream: Any) -> Any:
            # A name, for profiles; TensorFlow gives none of itself here.
            with keras.name_scope("standardize_gradient"):
                return backward(upstream, outputs, inverse)

        return outputs, gradient

    return with_gradient(kernel)


def filter_mean(function: Callable, *arrays: Any) -> Any:
    """Returns the mean of a function over each filter, `(1, 1, 1, filters)`.

    Args:
        function: Of the arrays; works number by number.
        *arrays: `(height, width, channels, filters)`.
    """
    x = function(*arrays)
    taps = math.prod(x.shape[:3])
    # In two stages: TensorFlow reads memory in order, which takes half the
    # time, and short sums are more exact.
    block = math.gcd(taps, 32)
    blocks = ops.reshape(x, (taps // block, block, x.shape[3]))
    return ops.reshape(ops.mean(ops.mean(blocks, 1), 0), (1, 1, 1, -1))
