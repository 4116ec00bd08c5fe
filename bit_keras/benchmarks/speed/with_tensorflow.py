"""Ours in TensorFlow, as `train` runs it, and the naive baseline likewise."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from bit_keras import distribution, network, optimizer
from bit_keras.benchmarks.speed.contestants import (
    LEARNING_RATE,
    MATMUL,
    MOMENTUM,
    NUM_CLASSES,
    Network,
    Task,
    matmul_side,
)
from bit_keras.benchmarks.speed.naive import naive_layers
from bit_keras.recipe import (
    Model,
    Optimizer,
    Preprocess,
    Recipe,
    Run,
    Schedule,
)
from bit_keras.steps import Steps


def build(task: Task) -> Network:
    """Returns the network of a task.

    Args:
        task: Of "tensorflow", "tensorflow_xla" or "naive".

    Example:

    >>> build(Task("tensorflow", "bit_nano", 16, 2)).parameters
    160496
    """
    strategy = distribution.strategy("one")
    recipe = _recipe(task)
    layers = contextlib.nullcontext()
    if task.contestant == "naive":
        layers = naive_layers()
    with strategy.scope(), layers:
        model = network.build(recipe, NUM_CLASSES, task.precision)

    def runner(mode: str) -> Callable[[int], None]:
        if mode == MATMUL:
            return _matmul(device, task)
        if mode == "train":
            return _train(model, recipe, strategy)
        return _forward(model, recipe)

    gpus = tf.config.list_physical_devices("GPU")
    device, memory = "CPU", {}
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        device = details.get("device_name", "GPU")
        memory = {"reset_peak": _reset_gpu_peak, "peak": _gpu_peak}
    return Network(model.count_params(), device, runner, **memory)


def _reset_gpu_peak() -> None:
    tf.config.experimental.reset_memory_stats("GPU:0")


def _gpu_peak() -> int:
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _recipe(task: Task) -> Recipe:
    return Recipe(
        "speed",
        Model(task.model, remat=task.remat),
        preprocess=Preprocess(crop=task.resolution),
        optimizer=Optimizer(momentum=MOMENTUM),
        schedule=Schedule(LEARNING_RATE, warmup_steps=0, boundaries=()),
        run=Run(
            task.batch_size,
            micro_batch=task.micro_batch,
            precision=task.precision,
            xla=task.contestant == "tensorflow_xla",
        ),
    )


def _images(recipe: Recipe) -> tf.Tensor:
    side = recipe.preprocess.crop
    return tf.random.uniform((recipe.run.batch_size, side, side, 3), -1, 1)


def _forward(model: keras.Model, recipe: Recipe) -> Callable[[int], None]:
    images = _images(recipe)
    function = tf.function(
        lambda images: model(images, training=False),
        autograph=False,
        jit_compile=recipe.run.xla,
    )

    def run(calls: int) -> None:
        for _ in range(calls):
            outputs = function(images)
        outputs.numpy()

    return run


def _train(
    model: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy
) -> Callable[[int], None]:
    size = recipe.run.batch_size
    with strategy.scope():
        steps = Steps(model, optimizer.from_recipe(recipe), recipe, strategy)
    batch: dict[str, Any] = {
        "image": _images(recipe),
        "label": tf.range(size, dtype=tf.int64) % NUM_CLASSES,
        "weight": tf.ones(size),
    }
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    batches = iter(distribution.distribute(strategy, batches, size))

    def run(calls: int) -> None:
        sums, _ = steps.train(batches, tf.constant(calls))
        sums["loss"].numpy()

    return run


def _matmul(device: str, task: Task) -> Callable[[int], None]:
    side = matmul_side(device)
    dtype = keras.DTypePolicy(task.precision).compute_dtype
    left, right = (tf.random.normal((side, side)) for _ in range(2))
    left, right = tf.cast(left, dtype), tf.cast(right, dtype)

    def run(calls: int) -> None:
        for _ in range(calls):
            product = tf.matmul(left, right)
        product[0, 0].numpy()

    return run
