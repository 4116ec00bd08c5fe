"""How good a model is on a split: every example once."""

import gc
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bit_keras.data.batches import BadImages, eval_batches
from bit_keras.data.sources import Source
from bit_keras.distribution import distribute, has_remote_hosts
from bit_keras.failures import explained
from bit_keras.logbook import Sums
from bit_keras.recipe import Recipe
from bit_keras.steps import Steps


class Evaluation:
    """Measures loss and top-1 accuracy on all readable examples of a source.

    The reading of the examples is set up once, for all the evaluations of a
    run: each setting up takes time, and memory that is returned late.

    Args:
        steps: Of the model.
        source: The examples.
        recipe: A finished recipe: preprocessing, batch size, bad images.
    """

    def __init__(self, steps: Steps, source: Source, recipe: Recipe) -> None:
        strategy = steps.strategy
        replicas = strategy.num_replicas_in_sync
        size = recipe.run.eval_batch_size or steps.micro_batch * replicas
        self._size = math.ceil(size / replicas) * replicas
        self._steps = steps
        self._source = source
        self._bad = BadImages(
            recipe.data.on_bad_image, has_remote_hosts(strategy)
        )
        self._batches = distribute(
            strategy,
            eval_batches(source, recipe, self._size, self._bad),
            self._size,
        )

    def run(
        self, on_batch: Callable[[float], None] = lambda share: None
    ) -> dict[str, Any]:
        """Measures the model as it is now.

        Args:
            on_batch: Called after each batch with the share of the work done.

        Returns:
            `split`, `loss`, `top1`, `examples` (those counted) and
            `bad_images` (those that could not be read).
        """
        seen = Sums()
        with explained(self._bad):
            for batch in self._batches:
                seen.add(self._steps.evaluate(batch), 1)
                done = seen.steps * self._size / self._source.num_examples
                on_batch(min(1, done))
        # TensorFlow's iterators that fill devices are circles of references.
        if isinstance(self._batches, tf.distribute.DistributedDataset):
            gc.collect()
        return {
            "split": self._source.split,
            "loss": seen.loss,
            "top1": seen.top1,
            "examples": int(seen.weight),
            "bad_images": self._bad.count,
        }
