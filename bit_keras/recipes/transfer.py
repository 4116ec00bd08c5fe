r"""Transfer: fine-tuning by BiT-HyperRule, arXiv 1912.11370 section 3.3.

Command:
    python -m bit_keras.train --recipe transfer --dataset cifar10 \
        --model bit_r50x1 --init bit_r50x1.i21k --workdir runs/c10

Hardware: R152x4 at 480 pixels holds 2 images in 24 GB, R50x1 at 448 pixels 32
    (timm, RTX 3090).  `--set run.micro_batch=32` splits the batch of 512
    without changing the result; `--batch-size 128` divides the learning rate by
    four and keeps the steps.
Cost: 500, 10,000 or 20,000 steps of 512 images (small: fewer than 20,000
    examples, medium: fewer than 500,000, large).  For R50x1 on one RTX 3090
    about 47 minutes for CIFAR-10 (128 pixels), 22 hours for ImageNet (480),
    from timm's 148 images/s at 448 pixels and the ratio of multiply-adds.
Expected: R50x1 from ImageNet-21k 97.2 % on CIFAR-10, 86.5 % on CIFAR-100 (batch
    128, rate 0.001) and 80.68 % on ImageNet (README of
    google-research/big_transfer); R152x4 98.91, 92.17 and 85.39 % (Table 2).

`--set hyperrule=paper` follows the text instead of the released code.
"""

import dataclasses

from bit_keras.recipe import (
    Model,
    Optimizer,
    Preprocess,
    Recipe,
    Run,
    Schedule,
)
from bit_keras.recipes import hyperrule


def recipe() -> Recipe:
    """Returns HyperRule fine-tuning; `finish` fills what depends on the data.

    >>> recipe().schedule.learning_rate, recipe().run.batch_size
    (0.003, 512)
    """
    return Recipe(
        name="transfer",
        # Section 3.3: a new head, all zeros.
        model=Model(name="bit_r50x1", head="drop"),
        preprocess=Preprocess(train="resize_crop", flip=True),
        # Section 3.3: SGD with momentum 0.9, no weight decay downstream.
        optimizer=Optimizer(momentum=0.9, weight_decay=0.0),
        schedule=Schedule(learning_rate=0.003, decay=hyperrule.DECAY),
        run=Run(batch_size=512),
        loss="softmax",
        hyperrule="released",
    )


def finish(
    recipe: Recipe, num_examples: int, image_size: tuple[int, int]
) -> Recipe:
    """Fills every field that is None from BiT-HyperRule.

    With `schedule.steps` set, warm-up and boundaries shrink in proportion.
    With `preprocess.crop` set, the resize before it keeps HyperRule's ratio
    for small images, 160 to 128.

    Args:
        recipe: From `recipe()`, perhaps with overrides.
        num_examples: Training images, after any few-shot subset.
        image_size: Typical `(height, width)` of the images in pixels.

    Returns:
        The recipe with complete `preprocess` and `schedule`.

    Raises:
        ValueError: For no examples, no steps, or a crop larger than the image
            it is cut from.

    Example:

    >>> done = finish(recipe(), 50_000, (32, 32))
    >>> done.preprocess.crop, done.schedule.steps, done.schedule.boundaries
    (128, 10000, (3001, 6001, 9001))
    """
    rule = hyperrule.hyperrule(
        num_examples,
        image_size,
        variant=recipe.hyperrule or "released",
        base_learning_rate=recipe.schedule.learning_rate,
        model_name=recipe.model.name,
    )
    if recipe.schedule.steps is not None:
        rule = rule.scaled(recipe.schedule.steps)
    resize = rule.resize
    if recipe.preprocess.crop is not None:
        wide, narrow = hyperrule.LOW_RESOLUTION
        resize = round(recipe.preprocess.crop * wide / narrow)
    preprocess = _fill(
        recipe.preprocess,
        resize=resize,
        crop=rule.crop,
        mixup_alpha=rule.mixup_alpha,
    )
    if (
        preprocess.train == "resize_crop"
        and preprocess.resize < preprocess.crop
    ):
        raise ValueError(
            "preprocess.resize must be at least preprocess.crop; got "
            f"{preprocess.resize} and {preprocess.crop}. Set "
            "preprocess.crop alone and the resize follows."
        )
    return dataclasses.replace(
        recipe,
        preprocess=preprocess,
        schedule=_fill(
            recipe.schedule,
            steps=rule.steps,
            warmup_steps=rule.warmup_steps,
            # The trainer drops the rate at a boundary: `boundary <= step`.
            boundaries=(
                rule.drop_steps if recipe.schedule.shape == "drops" else ()
            ),
        ),
    )


def _fill(section, **values):
    """Replaces the fields of a section that are None."""
    return dataclasses.replace(
        section,
        **{k: v for k, v in values.items() if getattr(section, k) is None},
    )
