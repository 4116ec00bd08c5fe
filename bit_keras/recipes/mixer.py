"""MLP-Mixer: pre-training on ImageNet, arXiv 2105.01601 and big_vision.

Command:
    python -m bit_keras.train --recipe mixer --workdir runs/mixer

Hardware: 2 h 11 min on a Cloud TPUv3-128 (big_vision's mlp_mixer_i1k.py).  On
    fewer devices add `--set run.micro_batch=64`.
Cost: 93,835 steps of 4096 images, 384 million images seen (300 epochs).  How
    long that takes on one GPU was not measured.
Expected: B/16 76.3 % top-1 on ImageNet (mlp_mixer_i1k.py), with RandAugment and
    stochastic depth, which there are not here: less.

Every value is that of mlp_mixer_i1k.py, but for two things that are not here:
RandAugment (2 operations of magnitude 15) and stochastic depth (0.1).  Its rate
ends at 1e-5 of the first, ours at 0.  It trains on 99 % of the train split
(`--train-split 'train[:99%]'`).  The paper's table of settings was not at hand
for this recipe.
"""

import dataclasses

from bit_keras.recipe import (
    Data,
    Model,
    Optimizer,
    Recipe,
    Schedule,
)
from bit_keras.recipes.upstream import finish_upstream, upstream_recipe

# num_epochs, warmup_steps of mlp_mixer_i1k.py.
EPOCHS = 300
WARMUP_STEPS = 10_000
# Images of ILSVRC-2012.
PAPER_EXAMPLES = 1_281_167
# For `--smoke`: a network and a rate that learn something in a minute.
SMOKE = (
    "model.name=mixer_tiny",
    "model.head_bias=0",
    "loss=softmax",
    "schedule.learning_rate=0.001",
)


def recipe() -> Recipe:
    """Returns MLP-Mixer; `finish` fills the schedule's durations.

    >>> recipe().optimizer.clip_norm, recipe().preprocess.mixup_alpha
    (1.0, 0.5)
    """
    shared = upstream_recipe(
        name="mixer",
        # init_head_bias: minus the logarithm of 1000 classes.
        model=Model(name="mixer_b16", head_bias=-6.9),
        data=Data(dataset="imagenet2012", eval_split="validation"),
        loss="sigmoid",
    )
    return dataclasses.replace(
        shared,
        # mixup = dict(p=0.5) is Beta(0.5, 0.5).
        preprocess=dataclasses.replace(shared.preprocess, mixup_alpha=0.5),
        # wd = 1e-4 there is this decay times the learning rate.
        optimizer=Optimizer(
            name="adam", momentum=0.9, weight_decay=0.1, clip_norm=1.0
        ),
        schedule=Schedule(
            learning_rate=0.001, shape="linear", boundaries=(), decay=1.0
        ),
    )


def finish(
    recipe: Recipe, num_examples: int, image_size: tuple[int, int]
) -> Recipe:
    """Fills the schedule's durations that are None; see `finish_upstream`.

    Args:
        recipe: From `recipe()`, perhaps with overrides.
        num_examples: Training images.
        image_size: Not used: upstream crops to the same size from any image.

    Returns:
        The recipe with a complete schedule.

    Example:

    >>> finish(recipe(), 1_281_167, (400, 500)).schedule.steps
    93835
    """
    return finish_upstream(
        recipe, num_examples, EPOCHS, (), PAPER_EXAMPLES, WARMUP_STEPS
    )
