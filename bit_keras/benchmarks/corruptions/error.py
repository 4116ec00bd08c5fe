"""From errors under corruption to one number for a model.

Hendrycks and Dietterich, arXiv 1903.12261, section 4.1: the corruption error
of a type is the model's error over that of AlexNet, summed over severities;
mCE is the mean over types.  The relative one counts what corruption adds to the
clean error.
"""

from collections.abc import Mapping, Sequence

from bit_keras.benchmarks.corruptions.constants import CONSTANTS, SEVERITIES

# Top-1 error of AlexNet on ImageNet-C, mean over severities, and on clean
# images; as in github.com/hendrycks/robustness and robustness_metrics.
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
ALEXNET_CLEAN = 0.434800

# Type -> error at severities 1 to 5.
Errors = Mapping[str, Sequence[float]]


def mean_corruption_error(errors: Errors) -> float:
    """Returns the mean error over all types and severities, as it is.

    Args:
        errors: Of all 15 types at all 5 severities, as fractions.

    Raises:
        ValueError: If a type or severity is missing.

    Example:

    >>> mean_corruption_error({name: [0, 0, 0.5, 1, 1] for name in ALEXNET})
    0.5
    """
    means = _means(errors)
    return sum(means.values()) / len(means)


def mce(errors: Errors) -> float:
    """Returns mCE: mean over types of the error over AlexNet's.

    Args:
        errors: As for `mean_corruption_error`, on ImageNet-C; 1000 classes.

    Raises:
        ValueError: If a type or severity is missing.

    Example:

    >>> round(mce({name: [error] * 5 for name, error in ALEXNET.items()}), 6)
    1.0
    """
    means = _means(errors)
    ratios = [means[name] / error for name, error in ALEXNET.items()]
    return sum(ratios) / len(ratios)


def relative_mce(errors: Errors, clean: float) -> float:
    """Returns relative mCE: the same, of what is added to the clean error.

    Args:
        errors: As for `mce`.
        clean: The model's error on clean images.

    Raises:
        ValueError: If a type or severity is missing.

    Example:

    >>> alexnet = {name: [error] * 5 for name, error in ALEXNET.items()}
    >>> round(relative_mce(alexnet, ALEXNET_CLEAN), 6)
    1.0
    """
    means = _means(errors)
    ratios = [
        (means[name] - clean) / (error - ALEXNET_CLEAN)
        for name, error in ALEXNET.items()
    ]
    return sum(ratios) / len(ratios)


def _means(errors: Errors) -> dict[str, float]:
    """Returns the mean over severities of each type."""
    for name in CONSTANTS:
        found = len(errors.get(name, ()))
        if found != len(SEVERITIES):
            raise ValueError(
                f"errors must have all {len(CONSTANTS)} corruptions at all "
                f"{len(SEVERITIES)} severities; {name} has {found}."
            )
    return {name: sum(errors[name]) / len(SEVERITIES) for name in CONSTANTS}
