"""Ours in JAX: forward and train step as one compiled function each."""

from collections.abc import Callable
from typing import Any

import keras

from bit_keras import models
from bit_keras.benchmarks.speed.contestants import (
    LEARNING_RATE,
    MATMUL,
    MOMENTUM,
    NUM_CLASSES,
    Network,
    Task,
    matmul_side,
)
from bit_keras.optimizer import BiTSGD


def build(task: Task) -> Network:
    """Returns the network of a task; Keras must have the backend JAX.

    The train step is a plain one: our `Steps` are TensorFlow's.

    Args:
        task: Of "jax".
    """
    import jax

    model = models.create(task.model, NUM_CLASSES, dtype=task.precision)
    key = jax.random.key(0)
    shape = (task.batch_size, task.resolution, task.resolution, 3)
    images = jax.random.uniform(key, shape, minval=-1, maxval=1)
    gpu = jax.devices()[0]
    on_gpu = gpu.platform == "gpu"

    def runner(mode: str) -> Callable[[int], None]:
        if mode == MATMUL:
            dtype = keras.DTypePolicy(task.precision).compute_dtype
            side = matmul_side("GPU" if on_gpu else "CPU")
            square = jax.random.normal(key, (side, side), dtype)
            return _repeated(jax.jit(lambda x: x @ x), square)
        if mode == "train":
            return _train(model, images)
        return _forward(model, images)

    # JAX cannot forget a peak: a forward pass, which is less, comes first.
    memory = {
        "reset_peak": lambda: None,
        "peak": lambda: gpu.memory_stats()["peak_bytes_in_use"],
    }
    return Network(
        model.count_params(),
        gpu.device_kind if on_gpu else "CPU",
        runner,
        **(memory if on_gpu else {}),
    )


def _repeated(function: Callable, *arguments: Any) -> Callable[[int], None]:
    def run(calls: int) -> None:
        for _ in range(calls):
            outputs = function(*arguments)
        outputs.block_until_ready()

    return run


def _forward(model: keras.Model, images: Any) -> Callable[[int], None]:
    import jax

    @jax.jit
    def function(trained: list, others: list, images: Any) -> Any:
        return model.stateless_call(trained, others, images, training=False)[0]

    trained = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    return _repeated(function, trained, others, images)


def _train(model: keras.Model, images: Any) -> Callable[[int], None]:
    import jax
    import jax.numpy as jnp

    optimizer = BiTSGD(LEARNING_RATE, MOMENTUM)
    optimizer.build(model.trainable_variables)
    labels = jnp.arange(len(images)) % NUM_CLASSES
    others = [v.value for v in model.non_trainable_variables]

    def loss(trained: list, images: Any) -> Any:
        logits, _ = model.stateless_call(trained, others, images, training=True)
        log = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(log, labels[:, None], 1))

    def step(trained: list, state: list, images: Any) -> tuple:
        value, gradients = jax.value_and_grad(loss)(trained, images)
        trained, state = optimizer.stateless_apply(state, gradients, trained)
        return trained, state, value

    step = jax.jit(step, donate_argnums=(0, 1))
    # Copies: the step gives away what it gets, and a forward pass goes on.
    trained = [jnp.copy(v.value) for v in model.trainable_variables]
    state = [jnp.copy(v.value) for v in optimizer.variables]

    def run(calls: int) -> None:
        nonlocal trained, state
        for _ in range(calls):
            trained, state, value = step(trained, state, images)
        value.block_until_ready()

    return run
