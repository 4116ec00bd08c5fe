"""What a checkpoint holds and why it does not fit: words for its errors."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bit_keras import models
from bit_keras.checkpoint_files import HEAD

Shapes = Mapping[str, tuple[int, ...]]


def check_fit(
    path: Path, model_shapes: Shapes, file_shapes: Shapes, head: str
) -> None:
    """Checks that file and model hold the same arrays.

    Args:
        path: The file, for the message.
        model_shapes: Official name -> shape of each of the model's variables.
        file_shapes: Official name -> shape of each of the file's arrays.
        head: "keep", or "drop" to leave the head out of the comparison.

    Raises:
        ValueError: Listing missing, unexpected and wrong-shape names, and
            which network the file looks like.

    Example:

    >>> shapes = {"resnet/head/conv2d/bias": (10,)}
    >>> check_fit(Path("a.npz"), shapes, shapes, "keep")
    """

    def counts(key: str) -> bool:
        return head == "keep" or not key.startswith(HEAD)

    missing = [k for k in model_shapes if counts(k) and k not in file_shapes]
    unexpected = [k for k in file_shapes if counts(k) and k not in model_shapes]
    wrong = [
        key
        for key, shape in model_shapes.items()
        if counts(key) and file_shapes.get(key, shape) != shape
    ]
    problems = missing + unexpected + wrong
    if not problems:
        return
    hint = ""
    if all(key.startswith(HEAD) for key in problems):
        hint = ' Pass head="drop" to load all but the head.'
    elif path.suffix == ".h5" and not path.name.endswith(".weights.h5"):
        hint = (
            " Some official .h5 files hold another network than their name "
            "says (google-research/big_transfer issue 47): prefer the .npz."
        )
    lines = [
        f'"{path}" does not fit the model, {describe(model_shapes)}. The file '
        f"looks like {describe(file_shapes)}.{hint}"
    ]
    shapes = [
        f"{key} (file {file_shapes[key]}, model {model_shapes[key]})"
        for key in wrong
    ]
    for title, names in [
        ("missing", missing),
        ("unexpected", unexpected),
        ("wrong shape", shapes),
    ]:
        if names:
            lines.append(f"  {title} ({len(names)}): {first_names(names)}")
    raise ValueError("\n".join(lines))


def first_names(names: Iterable[str], limit: int = 10) -> str:
    """Joins at most `limit` names, and says how many more there are.

    >>> first_names("abcde", limit=3)
    'a, b, c and 2 more'
    """
    names = list(names)
    more = len(names) - limit
    text = ", ".join(names[:limit])
    return f"{text} and {more} more" if more > 0 else text


def describe(shapes: Shapes) -> str:
    """Names the network whose arrays have these official names and shapes.

    Example:

    >>> describe({
    ...     "resnet/root_block/standardized_conv2d/kernel": (7, 7, 3, 128),
    ...     "resnet/block1/unit01/a/group_norm/beta": (128,),
    ...     "resnet/head/conv2d/bias": (10,),
    ... })
    'a BiT with blocks=(1,), width=2 with 10 classes'
    """
    network = recognize(shapes)
    if network is None:
        return "no BiT network"
    arguments = network.arguments
    text = network.name or (
        f"a BiT with blocks={arguments['blocks']}, width={arguments['width']:g}"
    )
    if arguments["norm"] == "batch":
        text += ' with norm="batch"'
    classes = network.num_classes
    return (
        f"{text} with {classes} classes" if classes else f"{text} without head"
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """What the arrays of a file say of the network they belong to.

    Attributes:
        name: Of the registered model with these dimensions; None if there is
            none.
        arguments: Of `bit_keras.models.bit.BiT`.
        num_classes: Outputs of the head; 0: none.
    """

    name: str | None
    arguments: dict[str, Any]
    num_classes: int


def recognize(shapes: Shapes) -> Network | None:
    """Returns the BiT whose arrays have these official names and shapes.

    Example:

    >>> network = recognize({
    ...     "resnet/root_block/standardized_conv2d/kernel": (7, 7, 3, 64),
    ...     "resnet/block1/unit01/a/group_norm/beta": (64,),
    ... })
    >>> network.arguments["blocks"], network.num_classes
    ((1,), 0)
    """
    root = shapes.get("resnet/root_block/standardized_conv2d/kernel")
    units = {
        match.groups()
        for key in shapes
        if (match := re.match(r"resnet/block(\d+)/unit(\d+)/", key))
    }
    if not root or not units:
        return None
    stages = [int(block) for block, _ in units]
    bias = shapes.get(f"{HEAD}conv2d/bias")
    dimensions = {
        "blocks": tuple(stages.count(b) for b in range(1, max(stages) + 1)),
        "width": root[-1] / 64,
        "stem": "strided" if root[0] == 3 else "imagenet",
    }
    name = _registered(**dimensions)
    batch_norm = any("/batch_norm/" in key for key in shapes)
    arguments = {
        **(models.arguments(name) if name else dimensions),
        "norm": "batch" if batch_norm else "group",
    }
    return Network(name, arguments, int(bias[-1]) if bias else 0)


def _registered(blocks: tuple[int, ...], width: float, stem: str) -> str | None:
    """Returns the name of the registered BiT with these dimensions."""
    for name in models.names():
        arguments = models.arguments(name)
        if (
            arguments.get("blocks") == blocks
            and arguments.get("width", 1) == width
            and arguments.get("stem", "imagenet") == stem
        ):
            return name
    return None
