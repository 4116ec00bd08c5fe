"""BiT-S: pre-training on ImageNet (ILSVRC-2012), arXiv 1912.11370 section 3.3.

Command:
    python -m bit_keras.train --recipe bit_s --workdir runs/s

Hardware: the paper trained on a Cloud TPUv3-512, 8 images per chip.  On fewer
    devices add `--set run.micro_batch=64`, or `--batch-size 512` with a longer
    `--steps`; the learning rate follows the batch size.
Cost: 28,150 steps of 4096 images, 115 million images seen (90 epochs).  For
    R50x1 about 54 hours on one RTX 3090: 590 images/s, from timm's 148 at 448
    pixels and the ratio of multiply-adds, 16.35 G to 4.09 G.
Expected: 76.0 % top-1 for this network (section 4.3, ResNet-50 with group norm
    and weight standardization at batch 4096); 81.30 % for R152x4 after
    HyperRule fine-tuning on the same dataset (Table 2).

The paper's own network is R152x4 (`--model bit_r152x4`); R50x1 is the default
here because it is what most people can afford.
"""

from bit_keras.recipe import Data, Model, Recipe
from bit_keras.recipes.upstream import finish_upstream, upstream_recipe

# Section 3.3: "90 epochs and decay ... at 30, 60 and 80 epochs".
EPOCHS = 90
DROP_EPOCHS = (30, 60, 80)
# Training images of ILSVRC-2012 (section 3.1: 1.28M).
PAPER_EXAMPLES = 1_281_167


def recipe() -> Recipe:
    """Returns BiT-S; `finish` fills the schedule's durations.

    >>> recipe().schedule.learning_rate
    0.48
    """
    return upstream_recipe(
        name="bit_s",
        model=Model(name="bit_r50x1"),
        # The public test split has no labels.
        data=Data(dataset="imagenet2012", eval_split="validation"),
        # The paper does not say; as in big_vision's bit_i1k.
        loss="softmax",
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

    >>> finish(recipe(), 1_281_167, (400, 500)).schedule.boundaries
    (9383, 18767, 25022)
    """
    return finish_upstream(
        recipe, num_examples, EPOCHS, DROP_EPOCHS, PAPER_EXAMPLES
    )
