"""Networks by name; nothing here imports Keras until one is created."""

import importlib
import inspect
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bit_keras.recipe import did_you_mean

if TYPE_CHECKING:
    import keras

# The families: module and class.
BIT = "bit_keras.models.bit:BiT"
VIT = "bit_keras.models.vit:ViT"
MIXER = "bit_keras.models.mixer:Mixer"

# name -> (family, arguments).
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {}


def register(name: str, builder: str, **arguments: Any) -> None:
    """Makes `create(name)` known.

    Args:
        name: The new name, such as "bit_r50x1".
        builder: "module:class" of a `keras.Model` with the attributes
            `endpoint_tensors` and `num_classes`.
        **arguments: For the builder, beside `num_classes` and `name`.

    Raises:
        ValueError: If the name is taken.

    Example:

    >>> register("bit_r14x1", "bit_keras.models.bit:BiT", blocks=(1, 1, 1, 1))
    >>> "bit_r14x1" in names()
    True
    >>> del _MODELS["bit_r14x1"]
    """
    if name in _MODELS:
        raise ValueError(f'A model named "{name}" is registered already.')
    _MODELS[name] = (builder, arguments)


def names(builder: str | None = None) -> tuple[str, ...]:
    """Returns the names of all models, or of one family's, sorted.

    >>> "bit_r152x4" in names(), "vit_b16" in names(BIT)
    (True, False)
    """
    return tuple(
        sorted(
            name
            for name, (family, _) in _MODELS.items()
            if builder in (None, family)
        )
    )


def arguments(name: str) -> dict[str, Any]:
    """Returns the arguments that a registered name stands for.

    >>> arguments("bit_r50x3")
    {'blocks': (3, 4, 6, 3), 'width': 3}
    """
    check_name(name)
    return dict(_MODELS[name][1])


def build(builder: str, **arguments: Any) -> "keras.Model":
    """Returns a network of a family, registered or not.

    Args:
        builder: "module:class", such as `BIT`.
        **arguments: Of the class.

    Example:

    >>> build(BIT, blocks=(1,), num_classes=3).output_shape
    (None, 3)
    """
    module, cls = builder.split(":")
    return getattr(importlib.import_module(module), cls)(**arguments)


def builder_of(model: "keras.Model") -> str:
    """Returns the family of a network, as `build` takes it.

    >>> builder_of(create("bit_tiny", num_classes=3)) == BIT
    True
    """
    return f"{type(model).__module__}:{type(model).__qualname__}"


def check_name(name: str) -> None:
    """Raises a ValueError, with a suggestion, if no model is called `name`.

    >>> check_name("bit_r50x1")
    """
    if name not in _MODELS:
        raise ValueError(
            f'Unknown model "{name}".{did_you_mean(name, names())} Known: '
            f"{', '.join(names())}."
        )


def create(name: str, num_classes: int = 1000, **options: Any) -> "keras.Model":
    """Returns a new network.

    Args:
        name: One of `names()`.
        num_classes: Outputs of the head; 0: no head, the model returns
            `pre_logits`.
        **options: Of the model's class, such as `norm="batch"`,
            `remat=True` or `dtype="mixed_bfloat16"` for `bit.BiT`.

    Returns:
        A `keras.Model` from `(batch, height, width, 3)` in [-1, 1] to logits
        `(batch, num_classes)`.

    Raises:
        ValueError: For an unknown name or option, with the closest known one.

    Example:

    >>> create("bit_tiny", num_classes=10).output_shape
    (None, 10)
    """
    check_name(name)
    builder, arguments = _MODELS[name]
    given = {"num_classes": num_classes, "name": name, **options}
    _check_options(name, options)
    return build(builder, **{**arguments, **given})


def options(name: str) -> tuple[str, ...]:
    """Returns the options that `create` takes for a model.

    >>> "norm" in options("bit_tiny"), "image_size" in options("bit_tiny")
    (True, False)
    """
    check_name(name)
    module, cls = _MODELS[name][0].split(":")
    make = getattr(importlib.import_module(module), cls)
    return tuple(inspect.signature(make.__init__).parameters)[1:]


def _check_options(name: str, given: dict[str, Any]) -> None:
    legal = options(name)
    for option in given:
        if option not in legal:
            raise ValueError(
                f'{name} has no option "{option}".'
                f"{did_you_mean(option, legal)} It has: {', '.join(legal)}."
            )


def endpoints(
    model: "keras.Model", names: str | Iterable[str]
) -> "keras.Model":
    """Returns a model, sharing weights, that outputs named intermediates.

    Args:
        model: From `create`, or reloaded from a `.keras` file.
        names: Such as "stem", "block1/unit01", "block4", "pre_logits",
            "logits"; all of them: `model.endpoint_tensors`.

    Returns:
        A `keras.Model` whose output is a dict from name to tensor, un-pooled
        `(batch, height, width, channels)` where spatial.

    Raises:
        ValueError: For a name the model does not have.

    Example:

    >>> import numpy as np
    >>> model = create("bit_tiny", num_classes=10)
    >>> images = np.ones((1, 32, 32, 3))
    >>> outputs = endpoints(model, ["block1", "logits"])(images)
    >>> sorted(outputs)
    ['block1', 'logits']
    """
    import keras

    names = (names,) if isinstance(names, str) else tuple(names)
    tensors = model.endpoint_tensors
    for name in names:
        if name not in tensors:
            raise ValueError(
                f'{model.name} has no endpoint "{name}".'
                f"{did_you_mean(name, tensors)} It has: {', '.join(tensors)}."
            )
    return keras.Model(model.inputs[0], {name: tensors[name] for name in names})


def load(path: str | os.PathLike) -> "keras.Model":
    """Loads a model of this package from a `.keras` file.

    `keras.saving.load_model` does the same once the classes are imported,
    which `import bit_keras` alone does not do.

    Args:
        path: Of the `.keras` file.

    Example:

    >>> create("bit_tiny", num_classes=10).save("tiny.keras")
    >>> load("tiny.keras").num_classes
    10
    """
    import keras

    for builder, _ in _MODELS.values():
        importlib.import_module(builder.split(":")[0])
    return keras.saving.load_model(path)


def replace_head(
    model: "keras.Model", num_classes: int, head_bias: float = 0.0
) -> "keras.Model":
    """Returns a copy of `model` with its backbone weights and a fresh head.

    Args:
        model: From `create`, or reloaded from a `.keras` file.
        num_classes: Outputs of the new, zero-initialized head; 0: none.
        head_bias: Initial bias of the new head.

    Returns:
        A new model; `model` itself is left as it was.

    Example:

    >>> model = create("bit_tiny", num_classes=10)
    >>> replace_head(model, 3).output_shape
    (None, 3)
    """
    config = model.get_config()
    new = type(model).from_config(
        {**config, "num_classes": num_classes, "head_bias": head_bias}
    )
    weights = {v.path: v for v in model.variables}
    for variable in new.variables:
        if not variable.path.startswith("head/"):
            variable.assign(weights[variable.path])
    return new


# Depths of the paper's networks, section 3.3 and the official code.
_R50, _R101, _R152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
register("bit_r50x1", BIT, blocks=_R50, width=1)
register("bit_r50x3", BIT, blocks=_R50, width=3)
register("bit_r101x1", BIT, blocks=_R101, width=1)
register("bit_r101x3", BIT, blocks=_R101, width=3)
register("bit_r152x2", BIT, blocks=_R152, width=2)
register("bit_r152x4", BIT, blocks=_R152, width=4)
# Ours, for laptops: ResNet-26, and about 100 k parameters for 32-pixel images.
register("bit_r26x1", BIT, blocks=(2, 2, 2, 2), width=1)
register(
    "bit_tiny", BIT, blocks=(1, 1, 1), width=0.25, groups=8, stem="strided"
)

# width, depth, heads, mlp_width.  B, L and H: arXiv 2010.11929, table 1; Ti and
# S: arXiv 2106.10270 (the official code has all of them).
_VITS = {
    "ti": (192, 12, 3, 768),
    "s": (384, 12, 6, 1536),
    "b": (768, 12, 12, 3072),
    "l": (1024, 24, 16, 4096),
    "h": (1280, 32, 16, 5120),
}
# Those with released weights.
for _size, _patch in (
    ("ti", 16),
    ("s", 32),
    ("s", 16),
    ("b", 32),
    ("b", 16),
    ("l", 32),
    ("l", 16),
    ("h", 14),
):
    _width, _depth, _heads, _inner = _VITS[_size]
    register(
        f"vit_{_size}{_patch}",
        VIT,
        patch=_patch,
        width=_width,
        depth=_depth,
        heads=_heads,
        mlp_width=_inner,
        image_size=224,
        pool="token",
    )
# width, depth, tokens_mlp_width, channels_mlp_width: arXiv 2105.01601, table 1.
_MIXERS = {
    "s": (512, 8, 256, 2048),
    "b": (768, 12, 384, 3072),
    "l": (1024, 24, 512, 4096),
}
for _size, _patch in (("s", 32), ("s", 16), ("b", 32), ("b", 16), ("l", 16)):
    _width, _depth, _tokens, _inner = _MIXERS[_size]
    register(
        f"mixer_{_size}{_patch}",
        MIXER,
        patch=_patch,
        width=_width,
        depth=_depth,
        tokens_mlp_width=_tokens,
        channels_mlp_width=_inner,
        image_size=224,
    )
# Ours, for laptops: 32-pixel images, as many parameters as bit_tiny.
register(
    "vit_tiny",
    VIT,
    patch=4,
    width=64,
    depth=4,
    heads=4,
    mlp_width=128,
    image_size=32,
    pool="mean",
)
register(
    "mixer_tiny",
    MIXER,
    patch=4,
    width=64,
    depth=6,
    tokens_mlp_width=64,
    channels_mlp_width=192,
    image_size=32,
)
# The same with less of everything, so that studies have sizes to compare.
for _name, _width in (("nano", 0.125), ("micro", 0.1875)):
    register(
        f"bit_{_name}",
        BIT,
        blocks=(1, 1, 1),
        width=_width,
        groups=4,
        stem="strided",
    )
for _name, _width, _depth in (("nano", 32, 2), ("micro", 48, 3)):
    register(
        f"vit_{_name}",
        VIT,
        patch=4,
        width=_width,
        depth=_depth,
        heads=4,
        mlp_width=2 * _width,
        image_size=32,
        pool="mean",
    )
for _name, _width, _depth in (("nano", 32, 3), ("micro", 48, 4)):
    register(
        f"mixer_{_name}",
        MIXER,
        patch=4,
        width=_width,
        depth=_depth,
        tokens_mlp_width=64,
        channels_mlp_width=3 * _width,
        image_size=32,
    )
