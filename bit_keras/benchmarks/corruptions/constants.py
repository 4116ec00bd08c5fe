"""How strong each corruption is, at severities 1 to 5, by published set.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (arXiv 1903.12261), appendix B names the types;
the numbers are those of the authors' code, github.com/hendrycks/robustness,
ImageNet-C/create_c: make_imagenet_c.py (224 pixels), make_tinyimagenet_c.py (64
pixels; make_imagenet_64_c.py has the same) and make_cifar_c.py (32 pixels).
"""

# Set -> side in pixels of its images.
SIDES = {"imagenet_c": 224, "tiny_imagenet_c": 64, "cifar10_c": 32}
SEVERITIES = (1, 2, 3, 4, 5)

# What the published code writes np.arange(1, end, step), as (end, step).
_ZOOM_SMALL = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01),
               (1.26, 0.01))  # fmt: skip
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)

# Type -> set -> one entry per severity; the types in the paper's order. What
# the numbers mean is said by the function that takes them.
# fmt: off
CONSTANTS: dict[str, dict[str, tuple]] = {
    "gaussian_noise": {
        "imagenet_c": (0.08, 0.12, 0.18, 0.26, 0.38),
        "tiny_imagenet_c": (0.04, 0.08, 0.12, 0.15, 0.18),
        "cifar10_c": (0.04, 0.06, 0.08, 0.09, 0.10),
    },
    "shot_noise": {
        "imagenet_c": (60, 25, 12, 5, 3),
        "tiny_imagenet_c": (250, 100, 50, 30, 15),
        "cifar10_c": (500, 250, 100, 75, 50),
    },
    "impulse_noise": {
        "imagenet_c": (0.03, 0.06, 0.09, 0.17, 0.27),
        "tiny_imagenet_c": (0.01, 0.02, 0.05, 0.08, 0.14),
        "cifar10_c": (0.01, 0.02, 0.03, 0.05, 0.07),
    },
    "defocus_blur": {
        "imagenet_c": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "tiny_imagenet_c": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01),
                            (3, 0.1)),
        "cifar10_c": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2),
                      (1.5, 0.1)),
    },
    "glass_blur": {
        "imagenet_c": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2),
                       (1.5, 4, 2)),
        "tiny_imagenet_c": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1),
                            (0.9, 2, 2)),
        "cifar10_c": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2),
                      (0.4, 1, 2)),
    },
    "motion_blur": {
        "imagenet_c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "tiny_imagenet_c": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "cifar10_c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    "zoom_blur": {
        "imagenet_c": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02),
                       (1.31, 0.03)),
        "tiny_imagenet_c": _ZOOM_SMALL,
        "cifar10_c": _ZOOM_SMALL,
    },
    "snow": {
        "imagenet_c": ((0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                       (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                       (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                       (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                       (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        "tiny_imagenet_c": ((0.1, 0.2, 1, 0.6, 8, 3, 0.8),
                            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
                            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
                            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
                            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
        "cifar10_c": ((0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                      (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                      (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                      (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                      (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
    },
    # The last number: by how much the photographs of frost are shrunk.
    "frost": {
        "imagenet_c": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1),
                       (0.65, 0.7, 1), (0.6, 0.75, 1)),
        "tiny_imagenet_c": ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3),
                            (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        "cifar10_c": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2),
                      (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    },
    "fog": {
        "imagenet_c": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "tiny_imagenet_c": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        "cifar10_c": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    "brightness": {
        "imagenet_c": _BRIGHTNESS,
        "tiny_imagenet_c": _BRIGHTNESS,
        "cifar10_c": (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    "contrast": {
        "imagenet_c": _CONTRAST,
        "tiny_imagenet_c": _CONTRAST,
        "cifar10_c": (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    # As shares of the side. ImageNet-C's code multiplies by 244 at 224 pixels
    # ("should have been 224, but ultimately nothing is incorrect").
    "elastic_transform": {
        "imagenet_c": tuple(
            tuple(244 / 224 * share for share in shares)
            for shares in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02),
                           (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        ),
        "tiny_imagenet_c": ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06),
                            (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        "cifar10_c": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06),
                      (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    },
    "pixelate": {
        "imagenet_c": (0.6, 0.5, 0.4, 0.3, 0.25),
        "tiny_imagenet_c": (0.9, 0.8, 0.7, 0.6, 0.5),
        "cifar10_c": (0.95, 0.9, 0.85, 0.75, 0.65),
    },
    "jpeg_compression": {
        "imagenet_c": (25, 18, 15, 10, 7),
        "tiny_imagenet_c": (65, 58, 50, 40, 25),
        "cifar10_c": (80, 65, 58, 50, 40),
    },
}
# fmt: on


def constants_for(height: int, width: int) -> str:
    """Returns the published set whose images are closest in size, by ratio.

    Up to 45 pixels of the shorter side that is CIFAR-10-C, from 120 on
    ImageNet-C.

    >>> constants_for(64, 64), constants_for(224, 300)
    ('tiny_imagenet_c', 'imagenet_c')
    """
    side = min(height, width)
    return min(
        SIDES, key=lambda name: max(side / SIDES[name], SIDES[name] / side)
    )
