"""What an export starts from, once it is loaded."""

import dataclasses
from typing import Any, Literal

import keras

# Side in pixels that BiT is pre-trained at (arXiv 1912.11370, section 3.3).
_RESOLUTION = 224


def resolution_of(model: keras.Model) -> int:
    """Returns the side in pixels that a network is made for.

    Args:
        model: From `bit_keras.create_model`.

    Example:

    >>> from bit_keras import models
    >>> resolution_of(models.create("vit_tiny", num_classes=0))
    32
    """
    return model.get_config().get("image_size", _RESOLUTION)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its weights, and what is known of where it comes from.

    Attributes:
        model: In float32, from images in [-1, 1].
        name: Its registered name, or that of its class.
        labels: Class names; empty if nobody recorded them.
        resolution: Side in pixels that it was trained (or is best used) at.
        activation: From logits to probabilities.
        weights: What was loaded: "final", "best", or a file's name.
        upstream: Images it was pre-trained on, if known.
        init: What training started from, if recorded.
        run: `recipe.json` of the training run, if it was one.
        metrics: Of these weights, as `manifest.Manifest` has them.
        licence: Of the weights, if an export of them states it.
    """

    model: keras.Model
    name: str
    labels: tuple[str, ...] = ()
    resolution: int = _RESOLUTION
    activation: Literal["softmax", "sigmoid"] = "softmax"
    weights: str = ""
    upstream: str | None = None
    init: str | None = None
    run: dict[str, Any] | None = None
    metrics: tuple[dict[str, Any], ...] = ()
    licence: str | None = None
