"""BiT-M: pre-training on ImageNet-21k, arXiv 1912.11370 section 3.3.

Command:
    python -m bit_keras.train --recipe bit_m --workdir runs/m

Hardware: the paper trained on a Cloud TPUv3-512, 8 images per chip.  On fewer
    devices add `--set run.micro_batch=64`.
Cost: 311,948 steps of 4096 images, 1.28 billion images seen (90 epochs).  For
    R50x1 about 25 days on one RTX 3090: 590 images/s, from timm's 148 at 448
    pixels and the ratio of multiply-adds, 16.35 G to 4.09 G.
Expected: after HyperRule fine-tuning R50x1 reaches 80.68 % top-1 on ImageNet
    and 97.2 % on CIFAR-10 (README of google-research/big_transfer), R152x4
    85.39 % and 98.91 % (Table 2).  The paper gives no accuracy on ImageNet-21k
    itself.

The paper's own network is R152x4 (`--model bit_r152x4`).
"""

from bit_keras.recipe import Data, Model, Recipe
from bit_keras.recipes.upstream import finish_upstream, upstream_recipe

# Section 3.3: "90 epochs and decay ... at 30, 60 and 80 epochs".
EPOCHS = 90
DROP_EPOCHS = (30, 60, 80)
# Images of ImageNet-21k (section 3.1: 14.2M).
PAPER_EXAMPLES = 14_197_122


def recipe() -> Recipe:
    """Returns BiT-M; `finish` fills the schedule's durations.

    >>> recipe().loss
    'sigmoid'
    """
    return upstream_recipe(
        name="bit_m",
        # big_vision's bit_i21k starts the head at bias -10:
        # `--set model.head_bias=-10`.  The paper speaks of none.
        model=Model(name="bit_r50x1"),
        data=Data(dataset="imagenet21k"),
        # Said by an author in google-research/big_transfer issue 26.
        loss="sigmoid",
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

    >>> finish(recipe(), 14_197_122, (400, 500)).schedule.steps
    311948
    """
    return finish_upstream(
        recipe, num_examples, EPOCHS, DROP_EPOCHS, PAPER_EXAMPLES
    )
