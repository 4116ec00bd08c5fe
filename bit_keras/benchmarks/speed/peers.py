"""The same network by others: timm, and Hugging Face's transformers."""

from typing import TYPE_CHECKING

from bit_keras import models
from bit_keras.benchmarks.speed.contestants import NUM_CLASSES, Network, Task
from bit_keras.benchmarks.speed.torch_runs import device, torch_network

if TYPE_CHECKING:
    import torch


def build(task: Task) -> Network:
    """Returns the network of a task, with random weights.

    Args:
        task: Of "timm", "timm_compiled" or "huggingface".

    Raises:
        ValueError: If they have no such network.
    """
    import torch

    make = _huggingface if task.contestant == "huggingface" else _timm
    module = make(task.model).train("train" in task.modes).to(device())
    if device() == "cuda":
        module = module.to(memory_format=torch.channels_last)
    parameters = list(module.parameters())
    if task.contestant == "timm_compiled":
        module = torch.compile(module)
    if task.contestant == "huggingface":
        return torch_network(
            task, lambda images: module(images).logits, parameters, True
        )
    return torch_network(task, module, parameters, True)


def timm_name(model: str) -> str:
    """Returns what timm calls a BiT network.

    Example:

    >>> timm_name("bit_r50x1")
    'resnetv2_50x1_bit'
    """
    return f"resnetv2_{model.removeprefix('bit_r')}_bit"


def _timm(model: str) -> "torch.nn.Module":
    import timm

    name = timm_name(model)
    if name not in timm.list_models():
        raise ValueError(f"timm has no network like {model}.")
    return timm.create_model(name, num_classes=NUM_CLASSES)


def _huggingface(model: str) -> "torch.nn.Module":
    from transformers import BitConfig, BitForImageClassification

    of = models.arguments(model)
    if len(of["blocks"]) != 4 or "stem" in of:
        raise ValueError(f"Hugging Face has no network like {model}.")
    width = of["width"]
    config = BitConfig(
        num_labels=NUM_CLASSES,
        depths=list(of["blocks"]),
        # Not by width_factor, which their head knows nothing of.
        embedding_size=64 * width,
        hidden_sizes=[channels * width for channels in (256, 512, 1024, 2048)],
    )
    return BitForImageClassification(config)
