"""Faster forms of the layers, for TensorFlow graphs on CPUs.

XLA makes one loop of what TensorFlow does in several, each through memory, but
its convolutions are slow: so it compiles the norms and nothing else. On a GPU
or TPU, and in graphs for any size of batch, as exports are, layers stay as they
are.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bit_keras.norm_formula import NormFormula
from bit_keras.weight_standardization import (
    standardized,
    standardized_gradient,
)

# Numbers of a tensor from which on a step gains more than compiling costs.
_PAYS = 2**17
# Of a sum, added in one loop; 4 and 16 are slower.
_PARTS = 8


def pays(tensor: tf.Tensor) -> bool:
    """Whether a tensor is large, in a graph for CPUs, and of known shape.

    >>> @tf.function
    ... def in_graph(x):
    ...     return pays(x)
    >>> pays(tf.ones((8, 64, 64, 64))), bool(in_graph(tf.ones((1, 2, 2, 64))))
    (False, False)
    """
    return (
        not tf.executing_eagerly()
        and tensor.shape.is_fully_defined()
        and math.prod(tensor.shape) >= _PAYS
        and all(
            d.device_type == "CPU" for d in tf.config.list_logical_devices()
        )
    )


@functools.cache
def norm(
    formula: NormFormula, shape: tuple[int, ...]
) -> tuple[Callable[..., tuple], Callable[..., tuple]]:
    """Returns `formula.forward` and `formula.backward`, compiled.

    Args:
        formula: What to compile.
        shape: Of the inputs, `(batch, ..., channels)`.

    Example:

    >>> formula = NormFormula(1, 0.0, False, "float32")
    >>> forward, backward = norm(formula, (1, 1, 2))
    >>> forward(tf.constant([[[3.0, 5.0]]]), tf.ones(2), tf.zeros(2))[0].numpy()
    array([[[-1.,  1.]]], dtype=float32)
    """

    def flat(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (shape[0], -1, shape[-1]))

    def forward(inputs: tf.Tensor, *parameters: tf.Tensor) -> tuple:
        outputs, *statistics = formula.forward(
            _folded_mean, flat(inputs), *parameters
        )
        return tf.reshape(outputs, shape), *statistics

    def backward(upstream: tf.Tensor, inputs: tf.Tensor, *rest: Any) -> tuple:
        # None: where the ReLU let pass is quicker computed than read.
        d_x, *d_parameters = formula.backward(
            _folded_mean, flat(upstream), None, flat(inputs), *rest
        )
        return tf.reshape(d_x, shape), *d_parameters

    compiled = _compiled(backward)
    return (
        _compiled(forward),
        lambda upstream, outputs, *rest: compiled(upstream, *rest),
    )


@functools.cache
def standardization(
    shape: tuple[int, ...], epsilon: float
) -> tuple[Callable[..., tuple], Callable[..., tf.Tensor]]:
    """Returns weight standardization and its gradient, compiled.

    Args:
        shape: Of the kernel, `(height, width, channels, filters)`.
        epsilon: Added to the variance.

    Example:

    >>> forward, backward = standardization((1, 1, 2, 1), 0.0)
    >>> forward(tf.constant([[[[3.0], [5.0]]]]))[0].numpy().ravel()
    array([-1.,  1.], dtype=float32)
    """

    def flat(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (1, -1, shape[-1]))

    def mean(function: Callable, *arrays: tf.Tensor) -> tf.Tensor:
        return _folded_mean(function, *arrays)[:, tf.newaxis]

    def forward(kernel: tf.Tensor) -> tuple:
        outputs, inverse = standardized(mean, epsilon, flat(kernel))
        return tf.reshape(outputs, shape), inverse

    def backward(
        upstream: tf.Tensor, outputs: tf.Tensor, inverse: tf.Tensor
    ) -> tf.Tensor:
        return tf.reshape(
            standardized_gradient(mean, flat(upstream), flat(outputs), inverse),
            shape,
        )

    return _compiled(forward), _compiled(backward)


def _compiled(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)


def _folded_mean(function: Callable, *arrays: tf.Tensor) -> tf.Tensor:
    """As `position_mean`, of arrays `(batch, positions, channels)`.

    XLA's sums take an array from memory: nothing before is computed in the same
    loop. So most of the sum is written as additions of up to eight parts, which
    are part of the loop that computes the function.
    """
    positions = arrays[0].shape[1]
    parts = max(n for n in range(1, _PARTS + 1) if positions % n == 0)
    split = [tf.split(array, parts, axis=1) for array in arrays]
    folded = sum(function(*part) for part in zip(*split, strict=True))
    return tf.reduce_sum(folded, 1) / positions


def pointwise(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the 1x1 convolution as a product of two matrices.

    Args:
        inputs: `(batch, height, width, channels)`.
        kernel: `(1, 1, channels, filters)`, of the same dtype.

    Example:

    >>> images, kernel = tf.ones((1, 2, 2, 3)), tf.ones((1, 1, 3, 8))
    >>> pointwise(images, kernel)[0, 0, 0, 0].numpy()
    np.float32(3.0)
    """
    channels, filters = kernel.shape[2:]
    product = tf.matmul(
        tf.reshape(inputs, (-1, channels)), tf.reshape(kernel, kernel.shape[2:])
    )
    return tf.reshape(product, (*inputs.shape[:3], filters))
