"""The 15 corruptions of ImageNet-C at 5 severities, for images of any size.

Definitions and constants are the published ones (see `constants`), with NumPy,
SciPy and Pillow alone.  What differs, on purpose:

- `frost` is drawn: the published one blends in photographs, which are not
  shipped here.  Its numbers are close to the published ones, not equal.
- ImageNet-C's files were saved as JPEG of quality 85 after corruption; here, as
  in the authors' package imagenet_c and in CIFAR-10-C, they are not.
- Images of ImageNet come to 224 pixels by TensorFlow's bilinear resizing, not
  by Pillow's, which smooths what it shrinks.
- Random numbers come from a generator that is seeded for each image.
"""

import importlib
from typing import TYPE_CHECKING

from bit_keras.benchmarks.corruptions.constants import (
    CONSTANTS,
    SEVERITIES,
    constants_for,
)
from bit_keras.recipe import did_you_mean

if TYPE_CHECKING:
    # Loaded where it is needed: --help asks for the names only.
    import numpy as np

# Type -> the module of its function, by kind as in the paper.
_MODULES = {
    **dict.fromkeys(("gaussian_noise", "shot_noise", "impulse_noise"), "noise"),
    **dict.fromkeys(
        ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"), "blur"
    ),
    **dict.fromkeys(("snow", "frost", "fog", "brightness"), "weather"),
    **dict.fromkeys(
        ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
        "digital",
    ),
}
# What is whole but for rounding errors stays whole when it is cut.
_ROUNDING = 1e-6


def names() -> tuple[str, ...]:
    """Returns the types of corruption, in the paper's order.

    >>> names()[:3], len(names())
    (('gaussian_noise', 'shot_noise', 'impulse_noise'), 15)
    """
    return tuple(_MODULES)


def corrupt(
    image: "np.ndarray", name: str, severity: int, seed: int
) -> "np.ndarray":
    """Corrupts an image.

    Args:
        image: uint8 `(height, width, 3)`.
        name: Of `names()`.
        severity: 1 to 5.
        seed: Not negative; the same arguments always give the same image.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: For another name, severity, type or shape.

    Example:

    >>> import numpy as np
    >>> gray = np.full((32, 32, 3), 100, np.uint8)
    >>> corrupt(gray, "brightness", 3, seed=0)[0, 0].tolist()
    [138, 138, 138]
    """
    import numpy as np

    check(name, severity)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "image must be uint8 of shape (height, width, 3); got "
            f"{image.dtype} of shape {image.shape}."
        )
    kind = f"{__name__}.{_MODULES[name]}"
    function = getattr(importlib.import_module(kind), name)
    constants = CONSTANTS[name][constants_for(*image.shape[:2])]
    rng = np.random.default_rng((seed, names().index(name), severity))
    made = function(image, constants[severity - 1], rng)
    # Cut, not rounded, as published.
    return np.uint8(np.clip(made, 0, 255) + _ROUNDING)


def check(name: str, severity: int) -> None:
    """Raises a ValueError for a type or severity that does not exist.

    >>> check("gausian_noise", 1)
    Traceback (most recent call last):
    ValueError: there is no corruption "gausian_noise". Did you mean ...
    """
    if name not in _MODULES:
        raise ValueError(
            f'there is no corruption "{name}".{did_you_mean(name, _MODULES)} '
            f"Known: {', '.join(_MODULES)}."
        )
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5; got {severity}.")
