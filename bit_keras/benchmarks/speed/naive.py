"""BiT from what Keras has: the baseline that our two layers must beat.

Group normalization is Keras' own and a ReLU after it; weight standardization
is written as its formula.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from bit_keras.models import bottleneck


class NaiveGroupNorm(keras.layers.GroupNormalization):
    """`keras.layers.GroupNormalization`, then a ReLU.

    Args:
        groups: As there.
        relu: As of `layers.GroupNorm`.
        **kwargs: As of `keras.layers.GroupNormalization`.

    Example:

    >>> import numpy as np
    >>> NaiveGroupNorm(4, relu=True)(np.ones((2, 3, 3, 8))).shape
    TensorShape([2, 3, 3, 8])
    """

    def __init__(self, groups: int, relu: bool, **kwargs: Any) -> None:
        super().__init__(groups, epsilon=1e-5, **kwargs)
        self.relu = relu

    def call(self, inputs: Any) -> Any:
        outputs = super().call(inputs)
        return ops.relu(outputs) if self.relu else outputs


class NaiveStdConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` of a kernel that is standardized at each call.

    Example:

    >>> import numpy as np
    >>> NaiveStdConv2D(8, 3)(np.ones((1, 5, 5, 2))).shape
    TensorShape([1, 3, 3, 8])
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        kernel = ops.cast(kernel, "float32")
        mean, variance = ops.moments(kernel, (0, 1, 2), keepdims=True)
        kernel = (kernel - mean) / ops.sqrt(variance + 1e-10)
        kernel = ops.cast(kernel, self.compute_dtype)
        return super().convolution_op(inputs, kernel)


@contextlib.contextmanager
def naive_layers() -> Iterator[None]:
    """BiT networks made inside have these layers in place of ours.

    Example:

    >>> from bit_keras import models
    >>> with naive_layers():
    ...     model = models.create("bit_nano", 10)
    >>> type(model.get_layer("block1_unit01").a_norm).__name__
    'NaiveGroupNorm'
    """
    ours = bottleneck.GroupNorm, bottleneck.StdConv2D
    bottleneck.GroupNorm = NaiveGroupNorm
    bottleneck.StdConv2D = NaiveStdConv2D
    try:
        yield
    finally:
        bottleneck.GroupNorm, bottleneck.StdConv2D = ours
