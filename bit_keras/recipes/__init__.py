"""What to train: one module per recipe, each with `recipe` and `finish`.

`recipe()` returns the recipe as the paper states it; `finish(recipe,
num_examples, image_size)` fills the fields that depend on the dataset.  Nothing
here imports TensorFlow or Keras, so that a slip in a name costs no start-up.
"""

import importlib
import types

from bit_keras.recipe import did_you_mean

# The other modules here are arithmetic that recipes share, not recipes.
_NAMES = ("bit_l", "bit_m", "bit_s", "mixer", "transfer", "vit")


def names() -> tuple[str, ...]:
    """Lists the recipes, in alphabetical order.

    >>> names()
    ('bit_l', 'bit_m', 'bit_s', 'mixer', 'transfer', 'vit')
    """
    return _NAMES


def load(name: str) -> types.ModuleType:
    """Returns the module of a recipe.

    Args:
        name: One of `names()`.

    Returns:
        The module; it has `recipe()` and `finish(recipe, num_examples,
        image_size)`.

    Raises:
        ValueError: For a name that is no recipe.

    Example:

    >>> load("bit_m").recipe().data.dataset
    'imagenet21k'
    """
    if name not in _NAMES:
        raise ValueError(
            f'unknown recipe "{name}"; known: {", ".join(_NAMES)}.'
            f"{did_you_mean(name, _NAMES)}"
        )
    return importlib.import_module(f"{__name__}.{name}")
