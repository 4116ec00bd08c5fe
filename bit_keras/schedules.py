"""Learning rates over steps, for any backend (keras.ops only)."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from bit_keras.recipe import Schedule


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
class SmoothSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then a rate that falls a little every step.

    As `create_learning_rate_schedule` of google-research/big_vision.

    Args:
        learning_rate: Rate after warm-up.
        steps: Length of the training.
        shape: "linear" or "cosine": to 0 at the end.  "rsqrt":
            `1 / sqrt(1 + (t - warmup_steps) / warmup_steps)`, which does not
            depend on the end; the timescale is the warm-up, 10,000 steps both
            in arXiv 2106.04560 (train_vit_g.py of big_vision).
        warmup_steps: Steps of warm-up; "rsqrt" needs one at least.
        cooldown_steps: Last steps, over which the rate is also taken linearly
            to 0.

    Raises:
        ValueError: If warm-up and cool-down do not fit into the steps.

    Example:

    >>> schedule = SmoothSchedule(1.0, 30, "cosine", warmup_steps=10)
    >>> [round(float(schedule(t)), 3) for t in (0, 5, 10, 20, 30)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        learning_rate: float,
        steps: int,
        shape: Literal["linear", "cosine", "rsqrt"],
        warmup_steps: int = 0,
        cooldown_steps: int = 0,
    ) -> None:
        if shape not in ("linear", "cosine", "rsqrt"):
            raise ValueError(
                f'shape must be linear, cosine or rsqrt; got "{shape}".'
            )
        if cooldown_steps < 0 or warmup_steps + cooldown_steps > steps:
            raise ValueError(
                "schedule.warmup_steps and schedule.cooldown_steps must fit "
                f"into {steps} steps; got {warmup_steps} and {cooldown_steps}."
            )
        if shape == "rsqrt" and not warmup_steps:
            raise ValueError(
                "schedule.shape=rsqrt needs a warm-up, which is its timescale; "
                "got schedule.warmup_steps=0."
            )
        self.learning_rate = learning_rate
        self.steps = steps
        self.shape = shape
        self.warmup_steps = warmup_steps
        self.cooldown_steps = cooldown_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        after = ops.maximum(step - self.warmup_steps, 0.0)
        if self.shape == "rsqrt":
            share = ops.rsqrt(1 + after / self.warmup_steps)
        else:
            length = max(1, self.steps - self.warmup_steps)
            share = 1 - ops.minimum(after / length, 1.0)
            if self.shape == "cosine":
                share = (1 - ops.cos(math.pi * share)) / 2
        if self.warmup_steps:
            share = share * ops.minimum(step / self.warmup_steps, 1.0)
        if self.cooldown_steps:
            left = (self.steps - step) / self.cooldown_steps
            share = share * ops.clip(left, 0.0, 1.0)
        return ops.cast(self.learning_rate * share, "float32")

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "shape": self.shape,
            "warmup_steps": self.warmup_steps,
            "cooldown_steps": self.cooldown_steps,
        }


def from_section(schedule: Schedule) -> StepSchedule | SmoothSchedule:
    """Returns the schedule that a finished recipe's section describes.

    Example:

    >>> section = Schedule(1.0, 10, 0, (), shape="linear")
    >>> float(from_section(section)(5))
    0.5
    """
    if schedule.shape == "drops":
        return StepSchedule(
            schedule.learning_rate,
            schedule.warmup_steps,
            schedule.boundaries,
            schedule.decay,
        )
    return SmoothSchedule(
        schedule.learning_rate,
        schedule.steps,
        schedule.shape,
        schedule.warmup_steps,
        schedule.cooldown_steps,
    )
