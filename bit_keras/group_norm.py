"""Group normalization with its ReLU, in few passes over memory."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from bit_keras.norm_formula import NormFormula, position_mean


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
        formula = NormFormula(
            self.groups, self.epsilon, self.relu, self.compute_dtype
        )
        if keras.backend.backend() == "tensorflow":
            return _with_gradient(formula, inputs, gamma, beta)
        # JAX fuses and recomputes by itself; in torch, a gradient by hand
        # would make second derivatives wrong without a word.
        return formula.forward(position_mean, inputs, gamma, beta)[0]

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


def _with_gradient(
    formula: NormFormula, inputs: Any, gamma: Any, beta: Any
) -> Any:
    from bit_keras import cpu_graphs

    forward = functools.partial(formula.forward, position_mean)
    backward = functools.partial(formula.backward, position_mean)
    if cpu_graphs.pays(inputs):
        forward, backward = cpu_graphs.norm(formula, tuple(inputs.shape))

    @ops.custom_gradient
    def with_gradient(inputs: Any, gamma: Any, beta: Any) -> tuple:
        outputs, center, inverse = forward(inputs, gamma, beta)

        def gradients(upstream: Any) -> tuple:
            # A name, for profiles; TensorFlow gives none of itself here.
            with keras.name_scope("group_norm_gradient"):
                return backward(
                    upstream, outputs, inputs, gamma, beta, center, inverse
                )

        return outputs, gradients

    return with_gradient(inputs, gamma, beta)
