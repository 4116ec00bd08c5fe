"""What Keras has no name for: fused operations of TensorFlow."""

from typing import Any

import tensorflow as tf


def relu_gradient(upstream: Any, outputs: Any) -> Any:
    """Returns `upstream` where `outputs`, of a ReLU, are positive; 0 elsewhere.

    Args:
        upstream: The gradient of the ReLU's outputs.
        outputs: Of the same shape and dtype.

    Example:

    >>> relu_gradient(tf.constant([5.0, 7.0]), tf.constant([0.0, 0.1])).numpy()
    array([0., 7.], dtype=float32)
    """
    return tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)


def momentum_step(
    variable: tf.Variable,
    momentum: tf.Variable,
    gradient: tf.Tensor,
    learning_rate: tf.Tensor,
    decay: float,
) -> None:
    """Takes a step of SGD with momentum.

    The momentum becomes `decay * momentum - learning_rate * gradient`, and is
    added to the variable.

    Args:
        variable: Changed in place.
        momentum: Changed in place.
        gradient: Of the variable's shape and dtype.
        learning_rate: A scalar.
        decay: Of the momentum.

    Example:

    >>> weight, momentum = tf.Variable([1.0]), tf.Variable([4.0])
    >>> momentum_step(weight, momentum, tf.ones(1), tf.constant(0.5), 0.25)
    >>> float(momentum[0]), float(weight[0])
    (0.5, 1.5)
    """
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=momentum.handle,
        lr=tf.cast(learning_rate, variable.dtype),
        grad=gradient,
        momentum=tf.constant(decay, variable.dtype),
    )


def everywhere(value: tf.Tensor) -> tf.Tensor:
    """Returns whether a bool scalar is true on all devices of the strategy.

    >>> bool(everywhere(tf.constant(True)))
    True
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        return value
    others = context.all_reduce("SUM", tf.cast(~value, tf.float32))
    return tf.equal(others, 0.0)
