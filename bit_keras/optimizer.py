"""SGD as the BiT paper uses it, and Adam as those of ViT and MLP-Mixer."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from bit_keras.recipe import Recipe
from bit_keras.schedules import StepSchedule, from_section

__all__ = ["BiTSGD", "DecoupledAdam", "StepSchedule", "from_recipe"]

# arXiv 2010.11929, section 4.1; arXiv 2105.01601, section 3.
BETA_2 = 0.999
# Of optax.scale_by_adam, which big_vision takes.
EPSILON = 1e-8


class _ByVariable:
    """Decay on kernels only, multiples for the head, one norm for clipping."""

    def _set_up(
        self,
        weight_decay: float,
        head_weight_decay_multiplier: float,
        head_learning_rate_multiplier: float,
        clip_norm: float | None,
    ) -> None:
        self._decay = weight_decay
        self._head_decay = head_weight_decay_multiplier
        self._head_rate = head_learning_rate_multiplier
        self.clip_norm = clip_norm

    def _note(self, variables: Sequence[Any]) -> None:
        heads = [v.path.startswith("head/") for v in variables]
        kernels = [v.path.split("/")[-1] == "kernel" for v in variables]
        self._decays = [
            self._decay * is_kernel * (self._head_decay if head else 1)
            for is_kernel, head in zip(kernels, heads, strict=True)
        ]
        self._rates = [self._head_rate if head else 1.0 for head in heads]

    def _clip_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        # Keras' own ways of clipping, where they are asked for.
        gradients = super()._clip_gradients(gradients)
        # TensorFlow's come here before those of all devices are added up.
        if _on_tensorflow():
            return gradients
        return self._clipped(gradients)

    def _all_reduce_sum_gradients(self, pairs: Sequence[tuple]) -> list:
        pairs = super()._all_reduce_sum_gradients(pairs)
        gradients = self._clipped([gradient for gradient, _ in pairs])
        return [(g, v) for g, (_, v) in zip(gradients, pairs, strict=True)]

    def _clipped(self, gradients: Sequence[Any]) -> Sequence[Any]:
        if self.clip_norm is None:
            return gradients
        squares = [
            ops.sum(ops.square(ops.cast(g, "float32")))
            for g in gradients
            if g is not None
        ]
        norm = ops.sqrt(sum(squares))
        share = self.clip_norm / ops.maximum(norm, self.clip_norm)
        return [
            None if g is None else g * ops.cast(share, g.dtype)
            for g in gradients
        ]


@keras.saving.register_keras_serializable("bit_keras")
class BiTSGD(_ByVariable, keras.optimizers.SGD):
    """SGD with momentum and L2 weight decay on kernels.

    The gradient of a kernel w becomes `g + l2 * w` before the momentum, as in
    the paper (section 3.3); biases and norm parameters are not decayed.  Head
    variables may have their own multiples of both.  (Keras' `weight_decay` is
    decoupled from the gradient: another algorithm, not used here.)

    Args:
        learning_rate: A number or a schedule.
        momentum: 0.9 in the paper, section 3.3.
        l2: Weight decay; 1e-4 upstream, 0 downstream (section 3.3).
        head_l2_multiplier: Of `l2`, for the head.
        head_learning_rate_multiplier: Of the learning rate, for the head.
        clip_norm: Most that the norm of all gradients together may be; None:
            no limit.
        **kwargs: As `keras.optimizers.SGD`.

    Example:

    >>> weight = keras.Variable([1.0], name="kernel")
    >>> optimizer = BiTSGD(learning_rate=0.5, momentum=0.0, l2=0.2)
    >>> optimizer.apply([ops.ones(1)], [weight])
    >>> round(float(weight[0]), 6)  # 1 - 0.5 * (1 + 0.2 * 1)
    0.4
    """

    def __init__(
        self,
        learning_rate: Any = 0.003,
        momentum: float = 0.9,
        l2: float = 0.0,
        head_l2_multiplier: float = 1.0,
        head_learning_rate_multiplier: float = 1.0,
        clip_norm: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.l2 = l2
        self.head_l2_multiplier = head_l2_multiplier
        self.head_learning_rate_multiplier = head_learning_rate_multiplier
        self._set_up(
            l2, head_l2_multiplier, head_learning_rate_multiplier, clip_norm
        )

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            self._note(variables)
        super().build(variables)

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        index = self._get_variable_index(variable)
        if self._decays[index]:
            gradient = gradient + self._decays[index] * ops.cast(
                variable, gradient.dtype
            )
        if self._rates[index] != 1.0:
            learning_rate = learning_rate * self._rates[index]
        if self.momentum and not self.nesterov and _on_tensorflow():
            # The same in one pass over memory instead of five.
            from bit_keras.tensorflow_ops import momentum_step

            momentum_step(
                variable,
                self.momentums[index].value,
                ops.cast(gradient, variable.dtype),
                learning_rate,
                self.momentum,
            )
        else:
            super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "l2": self.l2,
            "head_l2_multiplier": self.head_l2_multiplier,
            "head_learning_rate_multiplier": self.head_learning_rate_multiplier,
            "clip_norm": self.clip_norm,
        }


@keras.saving.register_keras_serializable("bit_keras")
class DecoupledAdam(_ByVariable, keras.optimizers.Adam):
    """Adam with decoupled weight decay on kernels, as in big_vision.

    A kernel w becomes `w - rate * (adam + decay * w)`, with
    `adam = m / (sqrt(v) + epsilon)` of the bias-corrected moments; biases,
    norms, positions and the class token are not decayed.  (big_vision's `wd` is
    this decay times the base learning rate; Keras' epsilon is added before the
    correction, and is larger.)

    Args:
        learning_rate: A number or a schedule.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        decoupled_decay: Weight decay, in units of the learning rate.
        head_decay_multiplier: Of the decay, for the head.
        head_learning_rate_multiplier: Of the learning rate (and so once more of
            the decay), for the head.
        clip_norm: Most that the norm of all gradients together may be; None:
            no limit.
        **kwargs: As `keras.optimizers.Adam`.

    Example:

    >>> weight = keras.Variable([1.0], name="kernel")
    >>> optimizer = DecoupledAdam(learning_rate=0.5, decoupled_decay=0.2)
    >>> optimizer.apply([7 * ops.ones(1)], [weight])
    >>> round(float(weight[0]), 6)  # 1 - 0.5 * (7 / 7 + 0.2 * 1)
    0.4
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = BETA_2,
        epsilon: float = EPSILON,
        decoupled_decay: float = 0.0,
        head_decay_multiplier: float = 1.0,
        head_learning_rate_multiplier: float = 1.0,
        clip_norm: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        self.decoupled_decay = decoupled_decay
        self.head_decay_multiplier = head_decay_multiplier
        self.head_learning_rate_multiplier = head_learning_rate_multiplier
        self._set_up(
            decoupled_decay,
            head_decay_multiplier,
            head_learning_rate_multiplier,
            clip_norm,
        )

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            self._note(variables)
        super().build(variables)

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        first, second = self._momentums[index], self._velocities[index]
        self.assign(first, first + (1 - self.beta_1) * (gradient - first))
        square = ops.square(gradient)
        self.assign(second, second + (1 - self.beta_2) * (square - second))
        step = ops.cast(self.iterations + 1, dtype)
        corrected = first / _gathered(self.beta_1, step)
        root = ops.sqrt(second / _gathered(self.beta_2, step))
        change = corrected / (root + self.epsilon)
        if self._decays[index]:
            change = change + self._decays[index] * variable
        rate = ops.cast(learning_rate, dtype) * self._rates[index]
        self.assign_sub(variable, rate * change)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "decoupled_decay": self.decoupled_decay,
            "head_decay_multiplier": self.head_decay_multiplier,
            "head_learning_rate_multiplier": self.head_learning_rate_multiplier,
            "clip_norm": self.clip_norm,
        }


class _LossScale(keras.optimizers.LossScaleOptimizer):
    """Skips a step whose gradients overflow on any device, on all of them.

    Keras asks the first device only: it expects gradients that are added up
    already, and ours are when they are applied.
    """

    def check_finite(self, grads: Sequence[Any]) -> Any:
        finite = super().check_finite(grads)
        if not _on_tensorflow():
            return finite
        from bit_keras.tensorflow_ops import everywhere

        return everywhere(finite)


def _on_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def _gathered(beta: float, step: Any) -> Any:
    """Returns `1 - beta**step`, what a moment has gathered of its value."""
    # As written, it would lose half of float32's digits at first.
    return -ops.expm1(math.log(beta) * step) if beta else 1.0


def from_recipe(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a finished recipe.

    With `precision="mixed_float16"` it scales the loss against underflow.

    Args:
        recipe: With `schedule` filled.

    Returns:
        A Keras optimizer, not yet built.

    Example:

    >>> from bit_keras.recipe import Schedule
    >>> schedule = Schedule(steps=9, warmup_steps=0, boundaries=(3,))
    >>> from_recipe(Recipe(name="r", schedule=schedule)).momentum
    0.9
    """
    options = recipe.optimizer
    schedule = from_section(recipe.schedule)
    # Keras would number a second one of a process, and with it the names of
    # its variables, by which checkpoints find them: both have a fixed name.
    if options.name == "adam":
        optimizer = DecoupledAdam(
            schedule,
            beta_1=options.momentum,
            decoupled_decay=options.weight_decay,
            head_decay_multiplier=options.head_weight_decay_multiplier,
            head_learning_rate_multiplier=options.head_learning_rate_multiplier,
            clip_norm=options.clip_norm,
            name="adam",
        )
    else:
        optimizer = BiTSGD(
            schedule,
            options.momentum,
            options.weight_decay,
            options.head_weight_decay_multiplier,
            options.head_learning_rate_multiplier,
            options.clip_norm,
            name="sgd",
        )
    if recipe.run.precision == "mixed_float16":
        return _LossScale(optimizer, name="loss_scale")
    return optimizer
