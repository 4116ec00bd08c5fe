"""What to train, as frozen dataclasses: no Keras, no TensorFlow.

A recipe module (`bit_keras.recipes`) returns a `Recipe`; fields that depend on
the dataset are `None` until the recipe's `finish` fills them.  The trainer only
ever sees finished recipes.
"""

import dataclasses
import typing
from typing import Any, Literal

from bit_keras.field_values import check_value, did_you_mean, parse_value

__all__ = (
    "Data",
    "Model",
    "Optimizer",
    "Preprocess",
    "Recipe",
    "Run",
    "Schedule",
    "did_you_mean",
    "field_names",
    "from_dict",
    "override",
    "parse_value",
    "scale_batch",
    "to_dict",
)


@dataclasses.dataclass(frozen=True)
class Model:
    """Which network, and what it starts from."""

    # A name known to `bit_keras.models.names()`.
    name: str = "bit_r50x1"
    # Released name (bit_r50x1.i21k), file, or run directory; None: random.
    init: str | None = None
    # "keep" also loads the head of `init`; "drop" starts it from zeros.
    head: Literal["drop", "keep"] = "drop"
    # Bias of a new head; -10 with sigmoid loss in big_vision's bit_i21k.
    head_bias: float = 0.0
    # The four-way ablation of the BiT paper, section 4.3.
    norm: Literal["group", "batch"] = "group"
    standardize: bool = True
    # Recompute each unit in the backward pass: less memory, more time.
    remat: bool = False


@dataclasses.dataclass(frozen=True)
class Data:
    """Which images: source, splits, label, subset."""

    # TFDS name, directory, CSV file, "digits" or "shapes".
    dataset: str | None = None
    data_dir: str | None = None
    train_split: str = "train"
    # "auto": the source's test split, or else (and where that has no labels, as
    # ImageNet's) validation; "none": none.
    eval_split: str = "auto"
    # Feature (or CSV column, or factor of "shapes") that is the label.
    label: str = "label"
    # Balanced few-shot subset of the train split; None: all examples.
    examples_per_class: int | None = None
    subset_seed: int = 0
    # Examples (still encoded) held for shuffling sources that are streamed.
    shuffle_buffer: int = 50_000
    on_bad_image: Literal["skip", "error"] = "skip"


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """From encoded image to model input in [-1, 1]."""

    # "inception_crop": random area and aspect; "resize_crop": square resize,
    # then random square crop (HyperRule).
    train: Literal["inception_crop", "resize_crop"] = "resize_crop"
    # Side in pixels before the random crop ("resize_crop" only).
    resize: int | None = None
    # Side in pixels of what the model sees; evaluation resizes straight to it.
    crop: int | None = None
    flip: bool = True
    # False: plain resize to `crop` (VTAB's "no crop" tasks).
    random_crop: bool = True
    # MixUp's Beta(a, a); 0: off.
    mixup_alpha: float | None = None


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How gradients become steps.

    "sgd" has momentum, and weight decay as an L2 term in the gradient (BiT).
    "adam" has weight decay apart from the gradient, in units of the learning
    rate: `w -= rate * (adam + weight_decay * w)` (ViT, MLP-Mixer).
    """

    # Of "adam": the decay of the first moment, beta 1.
    momentum: float = 0.9
    # On kernels only, never on biases or norm parameters.
    weight_decay: float = 0.0
    # Of the head relative to the backbone (saturation study); 1: the same.
    head_weight_decay_multiplier: float = 1.0
    head_learning_rate_multiplier: float = 1.0
    name: Literal["sgd", "adam"] = "sgd"
    # Most that the norm of all gradients together may be; None: no limit.
    clip_norm: float | None = None


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Learning rate over steps: linear warm-up, then down.

    The rate of step t (from 0) is `learning_rate * t / warmup_steps` during
    warm-up, then, with the shape "drops" of BiT,
    `learning_rate * decay**(number of boundaries <= t)`.  The other shapes have
    neither boundaries nor decay: see `schedules.SmoothSchedule`.
    """

    # At the recipe's own batch size; see `scale_batch`.
    learning_rate: float = 0.003
    # All in steps; None until the recipe's `finish` knows the dataset.
    steps: int | None = None
    warmup_steps: int | None = None
    boundaries: tuple[int, ...] | None = None
    decay: float = 0.1
    shape: Literal["drops", "linear", "cosine", "rsqrt"] = "drops"
    # Last steps, over which a rate without drops is also taken linearly to 0.
    cooldown_steps: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """How to run it: batches, precision, hardware, when to save."""

    batch_size: int = 512
    eval_batch_size: int | None = None
    # Examples per forward/backward pass on a device; None: all at once.
    micro_batch: int | None = None
    seed: int = 0
    strategy: Literal["auto", "one", "mirrored", "multiworker", "tpu"] = "auto"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    xla: bool = False
    deterministic: bool = False
    # Steps between two events.  None: logged every twentieth of the run, at
    # most 100; evaluated every fifth, at most 5000; saved every tenth, at most
    # 1000.
    log_every: int | None = None
    eval_every: int | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    # Steps after which weights are evaluated, and kept as weights-000500.npz.
    keep_weights_at: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything needed to repeat one training run.

    Example:

    >>> recipe = override(Recipe(name="mine"), "schedule.learning_rate=0.1")
    >>> recipe.schedule.learning_rate
    0.1
    """

    name: str
    model: Model = Model()
    data: Data = Data()
    preprocess: Preprocess = Preprocess()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    run: Run = Run()
    # "softmax": one class per image; "sigmoid": summed over classes.
    loss: Literal["softmax", "sigmoid"] = "softmax"
    # Which BiT-HyperRule fills the gaps (`recipes.transfer` only).
    hyperrule: Literal["released", "paper"] | None = None


# Not written while they have their default, so that what was recorded, and
# hashed, before there were such fields stays what it is.
_LATER = {
    "optimizer": ("name", "clip_norm"),
    "schedule": ("shape", "cooldown_steps"),
    "run": ("keep_weights_at",),
}


def override(recipe: Recipe, assignment: str) -> Recipe:
    """Returns `recipe` with one `section.field=value` applied.

    Args:
        recipe: The recipe to start from.
        assignment: For example `optimizer.weight_decay=1e-4`, `loss=sigmoid`
            or `schedule.boundaries=100,200`; `none` empties an optional field.

    Returns:
        A new `Recipe`.

    Raises:
        ValueError: For a field that does not exist or a value of another type;
            the message lists what is legal.

    Example:

    >>> override(Recipe(name="r"), "schedule.steps=20").schedule.steps
    20
    """
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ValueError(
            f'--set takes section.field=value; got "{assignment}". '
            "Example: --set schedule.learning_rate=0.01"
        )
    return _replace(recipe, path.strip(), path.strip().split("."), text.strip())


def _replace(node: Any, path: str, parts: list[str], text: str) -> Any:
    hints = typing.get_type_hints(type(node))
    name, rest = parts[0], parts[1:]
    if name not in hints:
        section = path.removesuffix(".".join(parts))
        legal = [section + field for field in field_names(type(node))]
        hint = did_you_mean(path, legal)
        raise ValueError(
            f'--set: no recipe field "{path}".{hint} Legal here: '
            f"{', '.join(legal)}."
        )
    if dataclasses.is_dataclass(hints[name]) != bool(rest):
        legal = [n for n in field_names(type(node)) if n.split(".")[0] == name]
        raise ValueError(
            f'--set: "{path}" is not one field. Legal: {", ".join(legal)}.'
        )
    if rest:
        value = _replace(getattr(node, name), path, rest, text)
    else:
        value = parse_value(path, hints[name], text)
    return dataclasses.replace(node, **{name: value})


def field_names(cls: type) -> list[str]:
    """Lists the settable fields of a dataclass, nested ones as `a.b`.

    >>> field_names(Recipe)[:3]
    ['name', 'model.name', 'model.init']
    """
    names = []
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            names += [f"{name}.{inner}" for inner in field_names(hint)]
        else:
            names.append(name)
    return names


def stretch(recipe: Recipe, steps: int) -> Recipe:
    """Returns a finished recipe of another length, its schedule in proportion.

    Args:
        recipe: With a complete schedule.
        steps: Its new length.

    Example:

    >>> schedule = Schedule(steps=100, warmup_steps=10, boundaries=(50,))
    >>> stretch(Recipe("mine", schedule=schedule), 10).schedule.boundaries
    (5,)
    """
    schedule = recipe.schedule
    scale = steps / schedule.steps
    schedule = dataclasses.replace(
        schedule,
        steps=steps,
        warmup_steps=round(schedule.warmup_steps * scale),
        boundaries=tuple(round(b * scale) for b in schedule.boundaries),
        cooldown_steps=round(schedule.cooldown_steps * scale),
    )
    return dataclasses.replace(recipe, schedule=schedule)


def scale_batch(recipe: Recipe, batch_size: int) -> Recipe:
    """Changes the batch size; the learning rate scales linearly with it.

    Steps stay as they are, as the README of google-research/big_transfer does
    ("--batch 128 --base_lr 0.001" instead of 512 and 0.003, rounded).

    >>> recipe = scale_batch(Recipe(name="r"), 128)
    >>> recipe.run.batch_size, recipe.schedule.learning_rate
    (128, 0.00075)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1; got {batch_size}.")
    rate = recipe.schedule.learning_rate * batch_size / recipe.run.batch_size
    return dataclasses.replace(
        recipe,
        run=dataclasses.replace(recipe.run, batch_size=batch_size),
        schedule=dataclasses.replace(recipe.schedule, learning_rate=rate),
    )


def to_dict(recipe: Recipe) -> dict:
    """Returns `recipe` as nested dicts of JSON types; inverse: `from_dict`."""
    values = dataclasses.asdict(recipe)
    defaults = dataclasses.asdict(Recipe(name=""))
    for section, names in _LATER.items():
        for name in names:
            if values[section][name] == defaults[section][name]:
                del values[section][name]
    return values


def from_dict(values: dict) -> Recipe:
    """Returns the `Recipe` that `to_dict` was given (after JSON, if you like).

    >>> recipe = Recipe(name="r", schedule=Schedule(boundaries=(1, 2)))
    >>> from_dict(to_dict(recipe)) == recipe
    True
    """
    return _from_dict(Recipe, values)


def _from_dict(cls: type, values: dict, section: str = "") -> Any:
    if not isinstance(values, dict):
        raise ValueError(
            f"{section.rstrip('.') or 'a recipe'} must be an object; it is "
            f"{values!r:.80}."
        )
    hints = typing.get_type_hints(cls)
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(unknown)}; was the file "
            "written by another version of bit_keras?"
        )
    made = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = _from_dict(hints[name], value, f"{section}{name}.")
        elif isinstance(value, list):
            value = tuple(value)
        made[name] = value
        if not dataclasses.is_dataclass(hints[name]):
            check_value(f"{section}{name}", hints[name], value)
    return cls(**made)
