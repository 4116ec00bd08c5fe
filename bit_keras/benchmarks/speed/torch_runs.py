"""Forward and train step of any torch module, and torch's matrix product."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bit_keras.benchmarks.speed import process_memory
from bit_keras.benchmarks.speed.contestants import (
    LEARNING_RATE,
    MATMUL,
    MOMENTUM,
    NUM_CLASSES,
    Network,
    Task,
    matmul_side,
)

if TYPE_CHECKING:
    import torch


def torch_network(
    task: Task,
    module: Callable[["torch.Tensor"], "torch.Tensor"],
    parameters: list["torch.nn.Parameter"],
    channels_first: bool,
) -> Network:
    """Returns a network of something that maps images to logits.

    Args:
        task: With precision "mixed_bfloat16", torch's autocast is on.
        module: On `device()` already.
        parameters: What is trained.
        channels_first: Images are `(batch, 3, height, width)`; else
            `(batch, height, width, 3)`.  On a GPU the former, too, lie in
            memory as the latter (channels-last), which is faster there.
    """
    import torch

    on = device()
    side = task.resolution
    shape = (task.batch_size, 3, side, side)
    images = torch.rand(shape, device=on) * 2 - 1
    if not channels_first:
        images = images.permute(0, 2, 3, 1).contiguous()
    elif on == "cuda":
        images = images.contiguous(memory_format=torch.channels_last)
    # As TensorFlow and JAX do: TensorFloat-32 where there is any.
    torch.set_float32_matmul_precision("high")

    def runner(mode: str) -> Callable[[int], None]:
        if mode == MATMUL:
            return _matmul(on, task)
        if mode == "train":
            return _train(task, module, parameters, images)
        return _forward(task, module, images)

    if on == "cpu":
        reset, peak = process_memory.reset, process_memory.peak
    else:
        reset = torch.cuda.reset_peak_memory_stats
        peak = torch.cuda.max_memory_allocated
    return Network(
        sum(p.numel() for p in parameters),
        "CPU" if on == "cpu" else torch.cuda.get_device_name(),
        runner,
        reset,
        peak,
    )


def device() -> str:
    """Returns "cuda" if torch can use a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _autocast(task: Task) -> contextlib.AbstractContextManager:
    import torch

    if task.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device(), torch.bfloat16)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _forward(
    task: Task, module: Callable, images: "torch.Tensor"
) -> Callable[[int], None]:
    import torch

    def run(calls: int) -> None:
        with torch.no_grad(), _autocast(task):
            for _ in range(calls):
                module(images)
        _wait()

    return run


def _train(
    task: Task, module: Callable, parameters: list, images: "torch.Tensor"
) -> Callable[[int], None]:
    import torch

    # One pass over the weights, the fastest that torch has.
    optimizer = torch.optim.SGD(parameters, LEARNING_RATE, MOMENTUM, fused=True)
    labels = torch.arange(len(images), device=images.device) % NUM_CLASSES

    def run(calls: int) -> None:
        for _ in range(calls):
            with _autocast(task):
                logits = module(images)
                loss = torch.nn.functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        _wait()

    return run


def _matmul(on: str, task: Task) -> Callable[[int], None]:
    import torch

    side = matmul_side("CPU" if on == "cpu" else "GPU")
    dtype: Any = torch.float32
    if task.precision == "mixed_bfloat16":
        dtype = torch.bfloat16
    square = torch.rand((side, side), device=on, dtype=dtype)

    def run(calls: int) -> None:
        for _ in range(calls):
            torch.matmul(square, square)
        _wait()

    return run
