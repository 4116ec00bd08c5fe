"""Ours in torch, compiled where torch can."""

from typing import TYPE_CHECKING

from bit_keras import models
from bit_keras.benchmarks.speed.contestants import NUM_CLASSES, Network, Task
from bit_keras.benchmarks.speed.torch_runs import torch_network

if TYPE_CHECKING:
    import torch


def build(task: Task) -> Network:
    """Returns the network of a task; Keras must have the backend torch.

    The train step is a plain one with torch's own SGD: our `Steps` are
    TensorFlow's.

    Args:
        task: Of "torch" or "torch_compiled".
    """
    import torch

    model = models.create(task.model, NUM_CLASSES, dtype=task.precision)
    training = "train" in task.modes
    parameters = [v.value for v in model.trainable_variables]

    def forward(images: "torch.Tensor") -> "torch.Tensor":
        return model(images, training=training)

    if task.contestant == "torch_compiled":
        # Keras layers of a kind share code that is compiled for each of them;
        # beyond the limit (8) torch would run the rest uncompiled.
        torch._dynamo.config.recompile_limit = 1000
        forward = torch.compile(forward)
    return torch_network(task, forward, parameters, channels_first=False)
