"""Trains a detector: Keras' `fit`, with checkpoints, resume and a time left."""

import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bit_keras.benchmarks.detection.augment import train_batches
from bit_keras.benchmarks.detection.detector import MEMORY, compile_losses
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.data.batches import BadImages
from bit_keras.failures import explained, saving
from bit_keras.optimizer import BiTSGD
from bit_keras.progress import Progress
from bit_keras.recipes.coco_retinanet import Durations, RetinaNet
from bit_keras.saves import Saves
from bit_keras.schedules import StepSchedule
from bit_keras.stops import Interrupted, NotFiniteError

# In a run's folder: the trained detector.
WEIGHTS = "detector.npz"
# Lines on a run, and checkpoints of it; but not too rare in a long one.
_LINES, _MOST_STEPS_BETWEEN_LINES = 20, 100
_SAVES, _MOST_STEPS_BETWEEN_SAVES = 10, 1000


def train(
    detector: Any,
    images: DetectionSet,
    recipe: RetinaNet,
    schedule: Durations,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Trains a detector as a recipe says, from where the folder stands.

    Leaves its weights in `WEIGHTS`; if they are there already, only loads them.

    Args:
        detector: From `detector.build`, made in the scope of the strategy to
            train under.
        images: To train on.
        recipe: Batch size, learning rate, losses.
        schedule: From `recipes.coco_retinanet.durations`.
        seed: Of order and augmentation.
        folder: For checkpoints and weights; nobody else may use it meanwhile.
        say: Is given each message.

    Raises:
        Interrupted: After SIGINT or SIGTERM; everything is saved.
        NotFiniteError: If the loss or the weights become NaN or infinite.
        OSError: If the folder cannot be written.
        ValueError: If memory is too small, or another error of TensorFlow.
    """
    final = folder / WEIGHTS
    if final.exists():
        _load(detector, final)
        return
    state = _State(detector, recipe, schedule, folder)
    if saved := state.saves.restore(say):
        say(f"Resuming at step {state.step} from {saved}")
    if state.step < schedule.steps:
        _fit(state, images, recipe, seed)
    _save(detector, final)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _save(detector: Any, path: Path) -> None:
    # Keras' own file would hold the optimizer's state, too.
    temporary = path.with_name(f"partial.{path.name}")
    with saving(path):
        np.savez(temporary, **{v.path: v.numpy() for v in detector.variables})
        os.replace(temporary, path)


def _load(detector: Any, path: Path) -> None:
    with np.load(path) as arrays:
        for variable in detector.variables:
            variable.assign(arrays[variable.path])


class _State:
    """What is saved: weights, the optimizer's state, and the step."""

    def __init__(
        self,
        detector: Any,
        recipe: RetinaNet,
        schedule: Durations,
        folder: Path,
    ) -> None:
        self.detector = detector
        self.total = schedule.steps
        self.rate = StepSchedule(
            recipe.learning_rate,
            schedule.warmup_steps,
            schedule.boundaries,
            recipe.decay,
        )
        with detector.distribute_strategy.scope():
            self.optimizer = BiTSGD(
                self.rate,
                recipe.momentum,
                recipe.weight_decay,
                clip_norm=recipe.clip_norm,
                name="sgd",
            )
            compile_losses(detector, recipe, self.optimizer)
            self.optimizer.build(detector.trainable_variables)
            self.saves = Saves(
                folder / "checkpoints",
                self.optimizer.iterations.value,
                detector.variables,
                self.optimizer.variables,
                keep=1,
                anew="Remove that folder to train anew.",
            )

    @property
    def step(self) -> int:
        return int(self.optimizer.iterations.numpy())

    def save(self) -> None:
        """Saves, unless a weight is NaN or infinite."""
        finite = [
            tf.reduce_all(tf.math.is_finite(v.value))
            for v in self.detector.trainable_variables
        ]
        if not tf.reduce_all(finite):
            raise self.diverged()
        self.saves.save()

    def diverged(self) -> NotFiniteError:
        """Returns the error to raise."""
        saved = self.saves.latest
        rate = float(self.rate(self.step - 1))
        return NotFiniteError(
            f"Training diverged at step {self.step}: the loss or the weights "
            f"are not finite (learning rate {rate:.3g}). Last good "
            f"checkpoint: {saved or 'none'}. Lower the learning rate (--set "
            "learning_rate=...) or lengthen the warm-up (--set "
            "warmup_epochs=...)."
        )


def _fit(
    state: _State, images: DetectionSet, recipe: RetinaNet, seed: int
) -> None:
    bad = BadImages()
    batches = train_batches(
        images,
        recipe.size,
        recipe.batch_size,
        seed,
        start=state.step,
        bad=bad,
    ).map(for_fit)
    callback = _Loop(state)
    handlers = {
        number: signal.signal(number, callback.on_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with explained(bad, MEMORY):
            state.detector.fit(
                batches,
                steps_per_epoch=state.total - state.step,
                callbacks=[callback],
                verbose=0,
                # Our batches are shuffled already.
                shuffle=False,
            )
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        callback.progress.close()


def for_fit(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict]:
    """Returns images and boxes of `augment.train_batches` as `fit` takes them.

    >>> batch = {"images": tf.zeros((1, 8, 8, 3)), "boxes": tf.zeros((1, 2, 4)),
    ...          "labels": tf.constant([[3, -1]])}
    >>> for_fit(batch)[1]["labels"].numpy()
    array([[ 3., -1.]], dtype=float32)
    """
    # keras-hub mixes labels with marks of its own, which are no integers.
    labels = tf.cast(batch["labels"], tf.float32)
    return batch["images"], {"boxes": batch["boxes"], "labels": labels}


class _Loop(keras.callbacks.Callback):
    """Logs, saves, and stops for a signal or a loss that is not finite."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state = state
        total = state.total
        self.line_every = _every(total, _LINES, _MOST_STEPS_BETWEEN_LINES)
        self.save_every = _every(total, _SAVES, _MOST_STEPS_BETWEEN_SAVES)
        self.progress = Progress(total, state.step)
        self.compiled = False
        self.signum = 0

    def on_signal(self, signum: int, frame: Any) -> None:
        self.signum = signum
        # A second signal acts at once.
        signal.signal(signum, signal.SIG_DFL)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        state, step = self.state, self.state.step
        if not math.isfinite(logs["loss"]):
            raise state.diverged()
        note = f"loss {logs['loss']:.3f}"
        self.progress.update(step, note)
        if not self.compiled:
            # The first step also traces and compiles: not a speed.
            self.compiled = True
            self.progress.restart(step)
        if step % self.line_every == 0 or step == state.total:
            # Keras multiplies sums by the number of devices, too.
            strategy = state.detector.distribute_strategy
            share = 1 / strategy.num_replicas_in_sync
            self.progress.line(
                f"step {step}/{state.total}",
                note,
                f"boxes {share * logs['bbox_regression_loss']:.4f}",
                f"classes {share * logs['cls_logits_loss']:.4f}",
                f"ETA {self.progress.eta(step)}",
            )
            # Keras' means go back to the start; ours to the last line.
            self.model.reset_metrics()
        last = step == state.total
        if self.signum or last or step % self.save_every == 0:
            state.save()
        if self.signum and not last:
            raise Interrupted(self.signum, step)


def _every(total: int, share: int, most: int) -> int:
    return max(1, min(total // share, most))
