r"""ViT: pre-training on ImageNet-21k, arXiv 2106.10270 and 2010.11929.

Command:
    python -m bit_keras.train --recipe vit --workdir runs/vit

Hardware: the papers trained on Cloud TPUv3 pods.  On fewer devices add
    `--set run.micro_batch=64`.
Cost: 1,039,828 steps of 4096 images, 4.26 billion images seen (300 epochs).
    How long that takes on one GPU is not known here: nobody published the
    speed of training S/32, and it was not measured.
Expected: S/32 reaches 79.58 % top-1 on ImageNet, fine-tuned at 384 pixels for
    20,000 steps (README of google-research/vision_transformer, the file
    S_32-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0).

This file, of "How to train your ViT?", was trained without RandAugment, MixUp,
dropout and stochastic depth.  What its name does not say is taken from
big_vision's vit_i21k.py, which repeats that paper (but averages the tokens).
Ti/16 is the same but for its weight decay (78.22 %, at 384 pixels):
    --model vit_ti16 --set optimizer.weight_decay=0.03
The larger ones had RandAugment and more, which there is not here.  The first
paper (arXiv 2010.11929, table 3) trained on ImageNet-21k for 90 epochs, also
with dropout 0.1, which there is not:
    --model vit_b16 --steps 311948 --set schedule.warmup_steps=10000 \
        --set schedule.shape=linear --set optimizer.weight_decay=0.03 \
        --set optimizer.clip_norm=none
and on JFT-300M, which is not public, without dropout for 7 epochs:
    --model vit_b16 --dataset NAME --steps 512695 \
        --set schedule.warmup_steps=10000 --set schedule.shape=linear \
        --set schedule.learning_rate=0.0008 --set optimizer.clip_norm=none
"""

import dataclasses

from bit_keras.recipe import Data, Model, Optimizer, Recipe, Schedule
from bit_keras.recipes.upstream import finish_upstream, upstream_recipe

# "300ep" of the file; num_epochs and warmup_steps of vit_i21k.py.
EPOCHS = 300
WARMUP_STEPS = 10_000
# Images of ImageNet-21k.
PAPER_EXAMPLES = 14_197_122
# For `--smoke`: a network and a rate that learn something in a minute.
SMOKE = (
    "model.name=vit_tiny",
    "model.head_bias=0",
    "loss=softmax",
    "schedule.learning_rate=0.001",
)


def recipe() -> Recipe:
    """Returns ViT; `finish` fills the schedule's durations.

    >>> recipe().optimizer.name, recipe().schedule.shape
    ('adam', 'cosine')
    """
    shared = upstream_recipe(
        name="vit",
        # init_head_bias of vit_i21k.py.
        model=Model(name="vit_s32", head_bias=-10.0),
        data=Data(dataset="imagenet21k"),
        # Said by an author in google-research/vision_transformer issue 34.
        loss="sigmoid",
    )
    return dataclasses.replace(
        shared,
        # arXiv 2010.11929, section 4.1: Adam with 0.9 and 0.999.  big_vision
        # writes the decay as 1e-4: decay times learning rate.
        optimizer=Optimizer(
            name="adam", momentum=0.9, weight_decay=0.1, clip_norm=1.0
        ),
        schedule=Schedule(
            learning_rate=0.001, shape="cosine", boundaries=(), decay=1.0
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

    >>> finish(recipe(), 14_197_122, (400, 500)).schedule.warmup_steps
    10000
    """
    return finish_upstream(
        recipe, num_examples, EPOCHS, (), PAPER_EXAMPLES, WARMUP_STEPS
    )
