"""BiT-L: pre-training at the scale of JFT-300M, arXiv 1912.11370 section 3.3.

Command (JFT-300M is not public: name a dataset of your own):
    python -m bit_keras.train --recipe bit_l --dataset NAME --workdir runs/l

Hardware: the paper trained on a Cloud TPUv3-512, 8 images per chip.
Cost: 2.93 million steps of 4096 images, 12 billion images seen (40 epochs of
    300 million).  For R152x4 about 17 years on one RTX 3090: 22 images/s, from
    timm's 4.89 at 480 pixels and the ratio of multiply-adds, 839 G to 183 G.
Expected: after HyperRule fine-tuning 87.54 % top-1 on ImageNet, 99.37 % on
    CIFAR-10, 76.29 % on VTAB-1k (Table 1), with JFT-300M upstream.
"""

from bit_keras.recipe import Data, Model, Recipe
from bit_keras.recipes.upstream import finish_upstream, upstream_recipe

# Section 3.3: "40 epochs and decay ... after 10, 23, 30 and 37 epochs".
EPOCHS = 40
DROP_EPOCHS = (10, 23, 30, 37)
# Images of JFT-300M (section 3.1).
PAPER_EXAMPLES = 300_000_000


def recipe() -> Recipe:
    """Returns BiT-L without a dataset; `finish` fills the durations.

    >>> recipe().model.name
    'bit_r152x4'
    """
    return upstream_recipe(
        name="bit_l",
        # Section 3.3: ResNet-152, every hidden layer four times as wide.
        model=Model(name="bit_r152x4"),
        data=Data(dataset=None),
        # Section 3.1: 1.26 labels per image on average.
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

    >>> finish(recipe(), 300_000_000, (400, 500)).schedule.steps
    2929687
    """
    return finish_upstream(
        recipe, num_examples, EPOCHS, DROP_EPOCHS, PAPER_EXAMPLES
    )
