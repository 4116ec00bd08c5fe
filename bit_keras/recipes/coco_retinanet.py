"""RetinaNet on COCO-2017 with a BiT backbone, arXiv 1912.11370 section 3.7.

Command:
    python -m bit_keras.benchmarks detection --model bit_r101x3 \\
        --init bit_r101x3.i21k --dataset coco/2017 --out results/coco

Hardware: a batch of 256 images of 1024 pixels; the paper does not say on what.
    On less, `--batch-size 16` divides the learning rate by 16 and keeps the
    epochs.
Cost: 30 epochs of 118,287 images, 13,861 steps of 256.
Expected: AP on the validation split, median of 5 trainings (Table 3): see
    `PUBLISHED_AP`.

The network around the backbone is that of the paper's code, RetinaNet of
tensorflow/tpu (models/official/retinanet), as far as keras-hub has it; see
`bit_keras.benchmarks.detection.detector`.
"""

import dataclasses

# Section 3.7: R101x3 for all of them; more did not fit the authors' memory.
MODEL = "bit_r101x3"
# Table 3: a RetinaNet of the literature, then R101x3 pre-trained on ILSVRC-2012
# (S), ImageNet-21k (M) and JFT-300M (L).
PUBLISHED_AP = {"baseline": 40.8, "BiT-S": 41.7, "BiT-M": 43.2, "BiT-L": 43.8}


@dataclasses.dataclass(frozen=True)
class RetinaNet:
    """How a detector is made and trained.

    Example:

    >>> RetinaNet().batch_size, RetinaNet().learning_rate
    (256, 0.08)
    """

    # Side of the square images, in pixels: appendix E.
    size: int = 1024
    # Appendix E: SGD with momentum, of 30 epochs (60 gave nothing).
    batch_size: int = 256
    epochs: float = 30
    learning_rate: float = 0.08
    momentum: float = 0.9
    weight_decay: float = 1e-4
    # Appendix E: tenfold drops.
    drop_epochs: tuple[float, ...] = (16, 22)
    decay: float = 0.1
    # tensorflow/tpu, retinanet_model.py: lr_warmup_epoch; the paper does not
    # speak of it. From 0, as everywhere here.
    warmup_epochs: float = 1
    # Appendix E: of the focal loss.
    alpha: float = 0.25
    gamma: float = 2.0
    # tensorflow/tpu, retinanet_model.py: of the Huber loss, and its weight.
    box_delta: float = 0.1
    box_weight: float = 50.0
    # Convolutions before the last one of a head, and the smallest anchor in
    # strides of its level: arXiv 1708.02002, section 4.
    head_convolutions: int = 4
    anchor_scale: float = 4.0
    # Most that the norm of all gradients together may be; None: no limit.
    clip_norm: float | None = None


@dataclasses.dataclass(frozen=True)
class Durations:
    """A recipe's schedule in steps."""

    steps: int
    warmup_steps: int
    boundaries: tuple[int, ...]


def recipe() -> RetinaNet:
    """Returns the recipe as the paper states it.

    >>> recipe().drop_epochs
    (16, 22)
    """
    return RetinaNet()


def scale_batch(recipe: RetinaNet, batch_size: int) -> RetinaNet:
    """Changes the batch size; the learning rate scales linearly with it.

    >>> scale_batch(recipe(), 16).learning_rate
    0.005
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1; got {batch_size}.")
    rate = recipe.learning_rate * batch_size / recipe.batch_size
    return dataclasses.replace(
        recipe, batch_size=batch_size, learning_rate=rate
    )


def scale_epochs(recipe: RetinaNet, epochs: float) -> RetinaNet:
    """Changes the length; drops and warm-up keep their place as fractions.

    >>> scale_epochs(recipe(), 60).drop_epochs
    (32.0, 44.0)
    """
    if not epochs > 0:
        raise ValueError(f"epochs must be > 0; got {epochs}.")
    factor = epochs / recipe.epochs
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        drop_epochs=tuple(e * factor for e in recipe.drop_epochs),
        warmup_epochs=recipe.warmup_epochs * factor,
    )


def check(recipe: RetinaNet) -> None:
    """Raises a ValueError for a recipe that cannot be trained.

    >>> check(recipe())
    """
    positive = ("size", "batch_size", "epochs", "learning_rate", "decay")
    positive += ("gamma", "box_delta", "box_weight", "anchor_scale")
    for name in (*positive, "clip_norm"):
        value = getattr(recipe, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be > 0; got {value}.")
    for name in ("momentum", "weight_decay", "warmup_epochs"):
        if not getattr(recipe, name) >= 0:
            value = getattr(recipe, name)
            raise ValueError(f"{name} must be >= 0; got {value}.")
    if not 0 < recipe.alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1; got {recipe.alpha}.")
    if recipe.head_convolutions < 0:
        raise ValueError(
            f"head_convolutions must be >= 0; got {recipe.head_convolutions}."
        )
    last = max((*recipe.drop_epochs, recipe.warmup_epochs))
    if last > recipe.epochs:
        raise ValueError(
            "drop_epochs and warmup_epochs must lie within "
            f"{recipe.epochs} epochs; got {last}."
        )


def durations(
    recipe: RetinaNet, num_images: int, steps: int | None = None
) -> Durations:
    """Returns the schedule in steps.

    Args:
        recipe: With its epochs.
        num_images: Training images.
        steps: Length of the training; None: as many as the epochs have. Drops
            and warm-up keep their place as fractions of it.

    Raises:
        ValueError: If there is nothing to train on or for.

    Example:

    >>> durations(recipe(), 118_287)
    Durations(steps=13861, warmup_steps=462, boundaries=(7393, 10165))
    """
    if num_images < 1:
        raise ValueError(f"num_images must be >= 1; got {num_images}.")
    if steps is None:
        steps = max(1, int(recipe.epochs * num_images // recipe.batch_size))
    if steps < 1:
        raise ValueError(f"steps must be >= 1; got {steps}.")
    per_epoch = steps / recipe.epochs
    return Durations(
        steps=steps,
        warmup_steps=round(recipe.warmup_epochs * per_epoch),
        boundaries=tuple(round(e * per_epoch) for e in recipe.drop_epochs),
    )
