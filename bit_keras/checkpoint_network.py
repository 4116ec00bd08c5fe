"""Which network the arrays of a file belong to, by their names and shapes."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from bit_keras import models

Shapes = Mapping[str, tuple[int, ...]]

# What registered models leave to the default of their class.
_UNSAID = {"stem": "imagenet"}
# Weights of a registered model may be for images of any size.
_FREE = "image_size"
_ATTENTION = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"


@dataclasses.dataclass(frozen=True)
class Network:
    """What the arrays of a file say of the network they belong to.

    Attributes:
        builder: "module:class" of the family, as in `models.register`.
        name: Of the registered model with these dimensions; None if there is
            none.
        arguments: Of the class.
        dimensions: Those of the arguments that tell networks of the family
            apart.
        num_classes: Outputs of the head; 0: none.
    """

    builder: str
    name: str | None
    arguments: dict[str, Any]
    dimensions: tuple[str, ...]
    num_classes: int


def recognize(shapes: Shapes) -> Network | None:
    """Returns the network whose arrays have these official names and shapes.

    Example:

    >>> network = recognize({
    ...     "resnet/root_block/standardized_conv2d/kernel": (7, 7, 3, 64),
    ...     "resnet/block1/unit01/a/group_norm/beta": (64,),
    ... })
    >>> network.arguments["blocks"], network.num_classes
    ((1,), 0)
    """
    return _bit(shapes) or _vit(shapes) or _mixer(shapes)


def _bit(shapes: Shapes) -> Network | None:
    root = shapes.get("resnet/root_block/standardized_conv2d/kernel")
    units = _numbers(shapes, r"resnet/block(\d+)/unit(\d+)/")
    if not root or not units:
        return None
    stages = [int(block) for block, _ in units]
    dimensions = {
        "blocks": tuple(stages.count(b) for b in range(1, max(stages) + 1)),
        "width": root[-1] / 64,
    }
    stem = "strided" if root[0] == 3 else "imagenet"
    batch_norm = any("/batch_norm/" in key for key in shapes)
    return _network(
        models.BIT,
        dimensions,
        {"stem": stem},
        shapes.get("resnet/head/conv2d/bias"),
        norm="batch" if batch_norm else "group",
    )


def _vit(shapes: Shapes) -> Network | None:
    kernel = shapes.get("embedding/kernel")
    query = shapes.get(f"{_ATTENTION}/query/kernel")
    inner = shapes.get("Transformer/encoderblock_0/MlpBlock_3/Dense_0/bias")
    positions = shapes.get("Transformer/posembed_input/pos_embedding")
    if not (kernel and query and inner and positions):
        return None
    token = "cls" in shapes
    dimensions = {
        "patch": kernel[0],
        "width": kernel[-1],
        "depth": len(_numbers(shapes, r"Transformer/encoderblock_(\d+)/")),
        "heads": query[1],
        "mlp_width": inner[0],
    }
    more = {
        "image_size": kernel[0] * round((positions[1] - token) ** 0.5),
        "pool": "token" if token else "mean",
    }
    return _network(models.VIT, dimensions, more, shapes.get("head/bias"))


def _mixer(shapes: Shapes) -> Network | None:
    kernel = shapes.get("stem/kernel")
    over_tokens = shapes.get("MixerBlock_0/token_mixing/Dense_0/kernel")
    inner = shapes.get("MixerBlock_0/channel_mixing/Dense_0/bias")
    if not (kernel and over_tokens and inner):
        return None
    dimensions = {
        "patch": kernel[0],
        "width": kernel[-1],
        "depth": len(_numbers(shapes, r"MixerBlock_(\d+)/")),
        "tokens_mlp_width": over_tokens[1],
        "channels_mlp_width": inner[0],
    }
    more = {"image_size": kernel[0] * round(over_tokens[0] ** 0.5)}
    return _network(models.MIXER, dimensions, more, shapes.get("head/bias"))


def _numbers(shapes: Shapes, pattern: str) -> set[tuple[str, ...]]:
    matches = (re.match(pattern, key) for key in shapes)
    return {match.groups() for match in matches if match}


def _network(
    builder: str,
    dimensions: dict[str, Any],
    more: dict[str, Any],
    head_bias: tuple[int, ...] | None,
    **options: Any,
) -> Network:
    """Adds what the file does not say, from the registered model it fits."""
    found = {**dimensions, **more}
    asked = {key: value for key, value in found.items() if key != _FREE}
    name = next(
        (
            name
            for name in models.names(builder)
            if {**_UNSAID, **models.arguments(name)}.items() >= asked.items()
        ),
        None,
    )
    return Network(
        builder,
        name,
        {**(models.arguments(name) if name else {}), **found, **options},
        tuple(dimensions),
        int(head_bias[-1]) if head_bias else 0,
    )
