"""VTAB's lightweight protocol: four settings, one chosen for each task.

Zhai et al., arXiv 1910.04867.  The grid itself, learning rates 0.1 and 0.01
and 2500 and 10,000 steps, is from memory and could not be verified in the
paper; that there are four settings is what the leaderboard's table says.  The
rest is the code of google-research/task_adaptation: SGD with momentum 0.9 and
no weight decay, a head of zeros, the rate divided by ten three times, images
resized to 224 pixels and nothing else.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from bit_keras.benchmarks.finetune import Start, hyperrule_recipe
from bit_keras.benchmarks.tasks import Task
from bit_keras.recipe import (
    Optimizer,
    Preprocess,
    Recipe,
    Schedule,
    override,
    scale_batch,
)

# From memory, not verified (see above).  In the order of preference between
# settings that are equally good on the 200 validation images: the shorter, then
# the smaller rate.
STEPS = (2500, 10_000)
LEARNING_RATES = (0.01, 0.1)
# README of task_adaptation: 750, 1500, 2250 of 2500 steps.
_DROP_PERCENT = (30, 60, 90)
# data_loader.py of task_adaptation.
_RESOLUTION = 224


def recipes(
    start: Start, task: Task, batch_size: int | None, overrides: Sequence[str]
) -> tuple[Recipe, ...]:
    """Returns the settings of the sweep, in order of preference.

    Args:
        start: The backbone.
        task: Its flip and crop exceptions play no part: nothing is mirrored
            or cropped.
        batch_size: None: 512; the learning rates scale with it.
        overrides: `section.field=value`, applied last. One that fixes a
            learning rate or a number of steps narrows the sweep.

    Example:

    >>> from bit_keras.benchmarks import finetune, tasks
    >>> start = finetune.open_start("bit_tiny", "random")
    >>> found = recipes(start, tasks.get("vtab_dtd"), None, [])
    >>> [(r.schedule.steps, r.schedule.learning_rate) for r in found]
    [(2500, 0.01), (2500, 0.1), (10000, 0.01), (10000, 0.1)]
    """
    base = dataclasses.replace(
        hyperrule_recipe(start, task, None, []),
        preprocess=Preprocess(
            crop=_RESOLUTION, flip=False, random_crop=False, mixup_alpha=0.0
        ),
        optimizer=Optimizer(momentum=0.9, weight_decay=0.0),
        hyperrule=None,
    )
    made = []
    for steps, rate in itertools.product(STEPS, LEARNING_RATES):
        recipe = dataclasses.replace(
            base,
            schedule=Schedule(learning_rate=rate, steps=steps, warmup_steps=0),
        )
        if batch_size is not None:
            recipe = scale_batch(recipe, batch_size)
        for assignment in overrides:
            recipe = override(recipe, assignment)
        made.append(_with_drops(recipe))
    return tuple(dict.fromkeys(made))


def _with_drops(recipe: Recipe) -> Recipe:
    """Sets the boundaries, unless an override has."""
    schedule = recipe.schedule
    if schedule.boundaries is None and schedule.steps is not None:
        # tf.train.piecewise_constant of the original drops the rate after the
        # boundary, ours at it.
        drops = (schedule.steps * p // 100 + 1 for p in _DROP_PERCENT)
        schedule = dataclasses.replace(schedule, boundaries=tuple(drops))
    return dataclasses.replace(recipe, schedule=schedule)


def best(accuracies: Sequence[float]) -> int:
    """Returns the index of the highest accuracy; of equal ones, the first.

    Args:
        accuracies: On the 200 validation images, in the order of `recipes`.

    Example:

    >>> best([0.25, 0.75, 0.5, 0.75])
    1
    """
    return max(range(len(accuracies)), key=accuracies.__getitem__)
