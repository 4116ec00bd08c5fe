"""Standardizing kernels once, for serving."""

import keras

from bit_keras.layers import StdConv2D, standardize


def fold(model: keras.Model) -> keras.Model:
    """Returns the network with its kernels standardized already.

    It gives the same outputs for less work, but cannot be fine-tuned: what it
    stores are not the parameters that training moves.

    Args:
        model: With weight-standardized convolutions.

    Raises:
        ValueError: If the model has none.

    Example:

    >>> from bit_keras import models
    >>> model = models.create("bit_tiny", num_classes=10)
    >>> fold(model).get_config()["standardize"]
    False
    """
    config = model.get_config()
    if not config.get("standardize"):
        raise ValueError(
            f"{model.name} has no weight-standardized convolutions: there is "
            "nothing to fold. Leave --folded out."
        )
    folded = type(model).from_config({**config, "standardize": False})
    epsilons = {
        layer.kernel.path: layer.epsilon
        for layer in model._flatten_layers()
        if isinstance(layer, StdConv2D)
    }
    values = {variable.path: variable for variable in model.variables}
    for variable in folded.variables:
        value = values[variable.path]
        if variable.path in epsilons:
            value = standardize(value, epsilons[variable.path])
        variable.assign(value)
    return folded
