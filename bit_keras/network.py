"""The network of a recipe."""

import dataclasses
from typing import TYPE_CHECKING

from bit_keras import models
from bit_keras.recipe import Recipe

if TYPE_CHECKING:
    import keras


def build(recipe: Recipe, num_classes: int, dtype: str) -> "keras.Model":
    """Returns a new network as a recipe describes it.

    A network that is made for one size of images is made for that of the
    recipe.

    Args:
        recipe: Whose `model` and `preprocess.crop` count.
        num_classes: Outputs of the head.
        dtype: A Keras dtype policy name.

    Raises:
        ValueError: If the network does not have what the recipe sets, or
            cannot be made for such images.

    Example:

    >>> from bit_keras.recipe import Model, Preprocess
    >>> images = Preprocess(crop=64)
    >>> recipe = Recipe("demo", Model("mixer_tiny"), preprocess=images)
    >>> build(recipe, 7, "float32").input_shape
    (None, 64, 64, 3)
    """
    # What is not set is left to the network, which may not have it.
    unset = dataclasses.asdict(type(recipe.model)())
    options = {
        name: value
        for name, value in dataclasses.asdict(recipe.model).items()
        if name not in ("name", "init", "head") and value != unset[name]
    }
    name, crop = recipe.model.name, recipe.preprocess.crop
    if crop and "image_size" in models.options(name):
        options["image_size"] = crop
    return models.create(name, num_classes, dtype=dtype, **options)
