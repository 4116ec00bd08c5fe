"""Which network the arrays of a file belong to, by their names and shapes."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
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


def check_claims(network: Network, shapes: Shapes) -> None:
    """Checks the largest arrays of each block before anybody builds it all.

    A network is recognized by few of its arrays, which a forged file may have
    of any size at no cost.

    Args:
        network: From `recognize`.
        shapes: What it was recognized by.

    Raises:
        ValueError: For an array that is missing or of another shape.

    Example:

    >>> shapes = {
    ...     "resnet/root_block/standardized_conv2d/kernel": (7, 7, 3, 64000),
    ...     "resnet/block1/unit01/a/group_norm/beta": (64000,),
    ... }
    >>> check_claims(recognize(shapes), shapes)
    Traceback (most recent call last):
    ValueError: resnet/block1/unit01/b/standardized_conv2d/kernel must be (3...
    """
    of_family = {
        models.BIT: _largest_bit,
        models.VIT: _largest_vit,
        models.MIXER: _largest_mixer,
    }
    for key, shape in of_family[network.builder](network):
        if shapes.get(key) != shape:
            raise ValueError(
                f"{key} must be {shape} in such a network; it is "
                f"{shapes.get(key, 'missing')}."
            )


Largest = Iterator[tuple[str, tuple[int, ...]]]


def _largest_bit(network: Network) -> Largest:
    width = network.arguments["width"]
    for block, units in enumerate(network.arguments["blocks"], start=1):
        # The channels within a unit; arXiv 1912.11370, section 3.3.
        inner = int(64 * 2 ** (block - 1) * width)
        for unit in range(1, units + 1):
            key = f"resnet/block{block}/unit{unit:02d}/b"
            shape = (3, 3, inner, inner)
            yield f"{key}/standardized_conv2d/kernel", shape
    if network.num_classes:
        shape = (4 * inner, network.num_classes)
        yield "resnet/head/conv2d/kernel", shape


def _largest_vit(network: Network) -> Largest:
    given = network.arguments
    width, heads = given["width"], given["heads"]
    for block in range(given["depth"]):
        key = f"Transformer/encoderblock_{block}"
        attention = f"{key}/MultiHeadDotProductAttention_1/query/kernel"
        yield attention, (width, heads, width // max(1, heads))
        yield f"{key}/MlpBlock_3/Dense_0/kernel", (width, given["mlp_width"])
    if network.num_classes:
        yield "head/kernel", (width, network.num_classes)


def _largest_mixer(network: Network) -> Largest:
    given = network.arguments
    width, tokens = given["width"], (given["image_size"] // given["patch"]) ** 2
    for block in range(given["depth"]):
        key = f"MixerBlock_{block}"
        inner = given["tokens_mlp_width"], given["channels_mlp_width"]
        yield f"{key}/token_mixing/Dense_0/kernel", (tokens, inner[0])
        yield f"{key}/channel_mixing/Dense_0/kernel", (width, inner[1])
    if network.num_classes:
        yield "head/kernel", (width, network.num_classes)


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
