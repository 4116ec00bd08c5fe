"""What a checkpoint holds and why it does not fit: words for its errors."""

from collections.abc import Iterable
from pathlib import Path

from bit_keras import models
from bit_keras.checkpoint_names import is_head
from bit_keras.checkpoint_network import Shapes, recognize


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
        return head == "keep" or not is_head(key)

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
    if size := _other_size(model_shapes, file_shapes):
        raise ValueError(
            f'"{path}" does not fit the model, {describe(model_shapes)}: its '
            f"layers are made for images of {size} pixels. Make the model for "
            f"these, too (--resolution {size})."
        )
    if all(map(is_head, problems)):
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


def _other_size(model_shapes: Shapes, file_shapes: Shapes) -> int | None:
    """Returns the file's size of images, if only that tells the two apart."""
    model, file = recognize(model_shapes), recognize(file_shapes)
    if not model or not file or model.builder != file.builder:
        return None
    different = {
        key
        for key, value in file.arguments.items()
        if model.arguments.get(key) != value
    }
    same = different == {"image_size"}
    return file.arguments["image_size"] if same else None


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
        return "no network that is known here"
    given = network.arguments
    kind = network.builder.rpartition(":")[2]
    text = network.name or f"a {kind} with " + ", ".join(
        f"{key}={given[key]:g}" if key == "width" else f"{key}={given[key]}"
        for key in network.dimensions
    )
    if given.get("norm") == "batch":
        text += ' with norm="batch"'
    usual = models.arguments(network.name) if network.name else {}
    if given.get("image_size") != usual.get("image_size"):
        text += f" for images of {given['image_size']} pixels"
    classes = network.num_classes
    return (
        f"{text} with {classes} classes" if classes else f"{text} without head"
    )
