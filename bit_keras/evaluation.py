"""How good a model is on a split: every example once."""

import math
from collections.abc import Callable
from typing import Any

from bit_keras.data.batches import BadImages, eval_batches
from bit_keras.data.sources import Source
from bit_keras.distribution import distribute, has_remote_hosts
from bit_keras.failures import explained
from bit_keras.logbook import Sums
from bit_keras.recipe import Recipe
from bit_keras.steps import Steps


def evaluate(
    steps: Steps,
    source: Source,
    recipe: Recipe,
    on_batch: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Measures loss and top-1 accuracy on all readable examples of a source.

    Args:
        steps: Of the model.
        source: The examples.
        recipe: A finished recipe: preprocessing, batch size, bad images.
        on_batch: Called after each batch with the share of the work done.

    Returns:
        `split`, `loss`, `top1`, `examples` (those counted) and `bad_images`
        (those that could not be read).
    """
    replicas = steps.strategy.num_replicas_in_sync
    size = recipe.run.eval_batch_size or steps.micro_batch * replicas
    size = math.ceil(size / replicas) * replicas
    bad = BadImages(recipe.data.on_bad_image, has_remote_hosts(steps.strategy))
    batches = eval_batches(source, recipe, size, bad)
    seen = Sums()
    with explained(bad):
        for batch in distribute(steps.strategy, batches, size):
            seen.add(steps.evaluate(batch), 1)
            on_batch(min(1, seen.steps * size / source.num_examples))
    return {
        "split": source.split,
        "loss": seen.loss,
        "top1": seen.top1,
        "examples": int(seen.weight),
        "bad_images": bad.count,
    }
