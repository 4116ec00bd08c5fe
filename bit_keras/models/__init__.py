"""Networks by name; nothing here imports Keras until one is created."""

import importlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bit_keras.recipe import did_you_mean

if TYPE_CHECKING:
    import keras

# name -> (module and class that builds it, arguments).
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {}


def register(name: str, builder: str, **arguments: Any) -> None:
    """Makes `create(name)` known.

    Args:
        name: The new name, such as "bit_r50x1".
        builder: "module:class" of a `keras.Model` with the attributes
            `endpoint_tensors`, `pyramid_outputs` and `num_classes`.
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


def names() -> tuple[str, ...]:
    """Returns the names of all models, sorted.

    >>> "bit_r152x4" in names()
    True
    """
    return tuple(sorted(_MODELS))


def arguments(name: str) -> dict[str, Any]:
    """Returns the arguments that a registered name stands for.

    >>> arguments("bit_r50x3")
    {'blocks': (3, 4, 6, 3), 'width': 3}
    """
    check_name(name)
    return dict(_MODELS[name][1])


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
        ValueError: For an unknown name, with the closest known one.

    Example:

    >>> create("bit_tiny", num_classes=10).output_shape
    (None, 10)
    """
    check_name(name)
    builder, arguments = _MODELS[name]
    module, cls = builder.split(":")
    make = getattr(importlib.import_module(module), cls)
    return make(
        **{**arguments, "num_classes": num_classes, "name": name, **options}
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


_BIT = "bit_keras.models.bit:BiT"
# Depths of the paper's networks, section 3.3 and the official code.
_R50, _R101, _R152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
register("bit_r50x1", _BIT, blocks=_R50, width=1)
register("bit_r50x3", _BIT, blocks=_R50, width=3)
register("bit_r101x1", _BIT, blocks=_R101, width=1)
register("bit_r101x3", _BIT, blocks=_R101, width=3)
register("bit_r152x2", _BIT, blocks=_R152, width=2)
register("bit_r152x4", _BIT, blocks=_R152, width=4)
# Ours, for laptops: ResNet-26, and about 100 k parameters for 32-pixel images.
register("bit_r26x1", _BIT, blocks=(2, 2, 2, 2), width=1)
register(
    "bit_tiny", _BIT, blocks=(1, 1, 1), width=0.25, groups=8, stem="strided"
)
