"""SGD as the BiT paper uses it, and its learning-rate schedule."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from bit_keras.recipe import Recipe


@keras.saving.register_keras_serializable("bit_keras")
class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then a constant rate with drops.

    Args:
        learning_rate: Rate after warm-up.
        warmup_steps: Steps of warm-up; the rate of step t (from 0) is
            `learning_rate * t / warmup_steps`.
        boundaries: Steps from which on the rate is multiplied by `decay` once
            more.
        decay: Factor of each drop; 0.1 in the paper, section 3.3.

    Example:

    >>> schedule = StepSchedule(1.0, warmup_steps=10, boundaries=(20, 30))
    >>> [round(float(schedule(t)), 3) for t in (0, 5, 10, 19, 20, 30)]
    [0.0, 0.5, 1.0, 1.0, 0.1, 0.01]
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int = 0,
        boundaries: Sequence[int] = (),
        decay: float = 0.1,
    ) -> None:
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.boundaries = tuple(boundaries)
        self.decay = decay

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rate = self.learning_rate
        for boundary in self.boundaries:
            rate = rate * ops.where(step >= boundary, self.decay, 1.0)
        if self.warmup_steps:
            warmup = self.learning_rate * step / self.warmup_steps
            rate = ops.where(step < self.warmup_steps, warmup, rate)
        return ops.cast(rate, "float32")

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "boundaries": list(self.boundaries),
            "decay": self.decay,
        }


@keras.saving.register_keras_serializable("bit_keras")
class BiTSGD(keras.optimizers.SGD):
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
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.l2 = l2
        self.head_l2_multiplier = head_l2_multiplier
        self.head_learning_rate_multiplier = head_learning_rate_multiplier

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            heads = [v.path.startswith("head/") for v in variables]
            kernels = [v.path.split("/")[-1] == "kernel" for v in variables]
            self._decays = [
                self.l2 * is_kernel * (self.head_l2_multiplier if head else 1)
                for is_kernel, head in zip(kernels, heads, strict=True)
            ]
            self._rates = [
                self.head_learning_rate_multiplier if head else 1.0
                for head in heads
            ]
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
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "l2": self.l2,
            "head_l2_multiplier": self.head_l2_multiplier,
            "head_learning_rate_multiplier": self.head_learning_rate_multiplier,
        }


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
    schedule, options = recipe.schedule, recipe.optimizer
    optimizer = BiTSGD(
        StepSchedule(
            schedule.learning_rate,
            schedule.warmup_steps,
            schedule.boundaries,
            schedule.decay,
        ),
        options.momentum,
        options.weight_decay,
        options.head_weight_decay_multiplier,
        options.head_learning_rate_multiplier,
        # Keras would number a second one of a process, and with it the names
        # of its variables, by which checkpoints find them.
        name="sgd",
    )
    if recipe.run.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    return optimizer
