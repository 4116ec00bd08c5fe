"""What can be told wrong of a recipe before TensorFlow loads."""

from pathlib import Path

from bit_keras import models, released
from bit_keras.recipe import Recipe

TPU_FLOAT16 = (
    "--precision mixed_float16 is for GPUs; a TPU computes in bfloat16. Use "
    "--precision mixed_bfloat16."
)


def check(recipe: Recipe) -> None:
    """Raises a ValueError, with the repair, for a recipe that cannot run.

    Args:
        recipe: With all overrides applied, perhaps unfinished.

    Example:

    >>> from bit_keras.recipe import Data
    >>> check(Recipe("demo", data=Data("digits")))
    """
    models.check_name(recipe.model.name)
    if recipe.data.dataset is None:
        raise ValueError(
            f"Recipe {recipe.name} needs --dataset: a TFDS name, a folder of "
            'images, a CSV file, "digits" or "shapes".'
        )
    if recipe.model.init:
        check_init(recipe.model.init, recipe.model.name)
    positive = {
        "--batch-size": recipe.run.batch_size,
        "--micro-batch": recipe.run.micro_batch,
        "--steps": recipe.schedule.steps,
        "--resolution": recipe.preprocess.crop,
        "--examples-per-class": recipe.data.examples_per_class,
        "run.log_every": recipe.run.log_every,
        "run.eval_every": recipe.run.eval_every,
        "run.checkpoint_every": recipe.run.checkpoint_every,
        "run.keep_checkpoints": recipe.run.keep_checkpoints,
        "run.eval_batch_size": recipe.run.eval_batch_size,
    }
    for name, value in positive.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1; got {value}.")
    micro, batch = recipe.run.micro_batch, recipe.run.batch_size
    if micro and batch % micro:
        raise ValueError(
            f"--micro-batch must divide --batch-size {batch}; got {micro}."
        )
    kept, steps = recipe.run.keep_weights_at, recipe.schedule.steps
    if kept and (min(kept) < 1 or (steps and max(kept) > steps)):
        raise ValueError(
            f"run.keep_weights_at must be steps from 1 to {steps or 'the end'}"
            f"; got {', '.join(map(str, kept))}."
        )
    _check_patches(recipe)
    _check_preprocess(recipe)
    _check_rates(recipe)
    if recipe.schedule.boundaries and recipe.schedule.shape != "drops":
        raise ValueError(
            "schedule.boundaries are for schedule.shape=drops; got "
            f"{recipe.schedule.shape}. Leave one of them out."
        )
    if recipe.schedule.cooldown_steps and recipe.schedule.shape == "drops":
        raise ValueError(
            "schedule.cooldown_steps are for a schedule.shape without drops "
            "(linear, cosine, rsqrt). Leave them out, or set it."
        )
    if recipe.run.strategy == "tpu" and recipe.run.precision == "mixed_float16":
        raise ValueError(TPU_FLOAT16)
    if recipe.model.norm == "batch" and recipe.run.micro_batch:
        raise ValueError(
            "--micro-batch is not exact with model.norm=batch, whose "
            "statistics depend on the batch. Leave one of them out."
        )


def _check_rates(recipe: Recipe) -> None:
    """Raises a ValueError for rates with which nothing could be learned."""
    options, schedule = recipe.optimizer, recipe.schedule
    rates = {
        "schedule.learning_rate": schedule.learning_rate,
        "schedule.decay": schedule.decay,
        "optimizer.weight_decay": options.weight_decay,
        "optimizer.head_weight_decay_multiplier": (
            options.head_weight_decay_multiplier
        ),
        "optimizer.head_learning_rate_multiplier": (
            options.head_learning_rate_multiplier
        ),
    }
    for name, value in rates.items():
        if value < 0:
            raise ValueError(f"{name} must be >= 0; got {value}.")
    if not 0 <= options.momentum < 1:
        raise ValueError(
            f"optimizer.momentum must be in [0, 1); got {options.momentum}."
        )
    if options.clip_norm is not None and options.clip_norm <= 0:
        raise ValueError(
            f"optimizer.clip_norm must be > 0; got {options.clip_norm}. none: "
            "no limit."
        )


def _check_patches(recipe: Recipe) -> None:
    """Raises a ValueError unless a network's patches tile the images."""
    name, crop = recipe.model.name, recipe.preprocess.crop
    patch = models.arguments(name).get("patch")
    if patch and crop and crop % patch:
        near = max(1, round(crop / patch)) * patch
        raise ValueError(
            f"--resolution must be a multiple of {patch}, the side of a patch "
            f"of {name}; got {crop}. The nearest: --resolution {near}."
        )


def _check_preprocess(recipe: Recipe) -> None:
    """Raises a ValueError for crops that cannot be cut, or mixed."""
    options = recipe.preprocess
    if (options.mixup_alpha or 0) < 0:
        raise ValueError(
            f"preprocess.mixup_alpha must be >= 0; got {options.mixup_alpha}."
        )
    cut = options.train == "resize_crop" and options.random_crop
    if cut and options.resize and options.resize < (options.crop or 0):
        raise ValueError(
            "preprocess.resize must be at least the crop that is cut from it, "
            f"--resolution {options.crop}; got {options.resize}."
        )


def check_finished(recipe: Recipe) -> None:
    """Raises a ValueError for a recipe in which something is still to fill.

    Args:
        recipe: After its `finish`, or of a `recipe.json`.

    Example:

    >>> check_finished(Recipe("demo"))
    Traceback (most recent call last):
    ValueError: The recipe is not finished: it has no schedule.steps. Set ...
    """
    schedule, options = recipe.schedule, recipe.preprocess
    values = {
        "schedule.steps": schedule.steps,
        "schedule.warmup_steps": schedule.warmup_steps,
        "schedule.boundaries": schedule.boundaries,
        "preprocess.crop": options.crop,
    }
    if options.train == "resize_crop" and options.random_crop:
        values["preprocess.resize"] = options.resize
    for name, value in values.items():
        if value is None:
            raise ValueError(
                f"The recipe is not finished: it has no {name}. Set it: --set "
                f"{name}=..."
            )


def check_init(init: str, model: str) -> None:
    """Raises a ValueError for weights that are not there, or of another model.

    Args:
        init: A file, run directory, or released name.
        model: Name of the model they are for.

    Example:

    >>> check_init("bit_r50x1.i21k", "bit_r50x1")
    """
    if Path(init).exists():
        return
    if "/" in init or init.endswith((".npz", ".h5", ".keras")):
        raise ValueError(f'--init: there is no file or folder "{init}".')
    if released.model_name(init) != model:
        raise ValueError(
            f"--init {init} has weights for {released.model_name(init)}, but "
            f"the model is {model}. Use --model {released.model_name(init)}."
        )
