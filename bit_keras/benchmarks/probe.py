"""A linear probe of frozen features, for many penalties at once.

The algorithm of big_vision's and Scenic's `fewshot_lsr` (the ViT paper, arXiv
2010.11929 section 4.1, describes it): features are standardized by the
statistics of the few-shot images, a constant 100 is appended, and ridge
regression to targets of -1 and 1 gives the class scores.

Standardized features have mean zero over these images, so the constant feature
is orthogonal to them: its weight is known in closed form, and the largest
eigenvalue, 10^4 per image, never enters the matrix to be inverted.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import DTypeLike

from bit_keras.benchmarks.classifier import Classifier
from bit_keras.benchmarks.ridge import solve_path
from bit_keras.benchmarks.row_blocks import blocks

# Added to the standard deviation in fewshot_lsr.
STD_EPSILON = 1e-5
# The constant feature of fewshot_lsr; large, so hardly penalized.
BIAS_CONSTANT = 100.0
# Part of a weight that may be lost where it is computed in float32.
_ROUNDING = 3e-7


@dataclasses.dataclass(frozen=True)
class Whitening:
    """Standardization by the statistics of the few-shot images.

    Attributes:
        mean: Shape `(features,)`.
        scale: `1 / (std + 1e-5)`, shape `(features,)`. 0 where the images all
            have the same value: the weight of such a feature is zero, and the
            scale of 1e5 would only blow up what rounding leaves of it.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "Whitening":
        """The statistics of float64 features `(images, features)`."""
        dead = features.max(axis=0) == features.min(axis=0)
        return cls.from_std(features.mean(axis=0), features.std(axis=0), dead)

    @classmethod
    def from_std(
        cls, mean: np.ndarray, std: np.ndarray, dead: np.ndarray
    ) -> "Whitening":
        """From statistics, and where all images have the same value."""
        return cls(mean, np.where(dead, 0.0, 1.0 / (std + STD_EPSILON)))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns `(features - mean) * scale`."""
        return (features - self.mean) * self.scale


def targets(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns 1 for the class and -1 elsewhere, float64 `(n, num_classes)`.

    >>> targets(np.array([1]), 3)
    array([[-1.,  1., -1.]])
    """
    return 2.0 * np.eye(num_classes)[labels] - 1.0


class Moments:
    """Sums over images, from which the probe of all of them follows.

    Whitening scales rows and columns of the sum of `x x'`, so nested subsets
    share one such sum: the k-shot sum goes on where the last one ended. This
    is the primal form, for at least as many images as features. In the dual
    form, whitening changes every product of two images in its own way: there is
    nothing to share, and no need, for the matrices are small.

    Sums are float64 and about a typical image, or features far from zero with
    little spread would lose their variance to rounding.

    Args:
        features: All training features, `(images, features)`.
        labels: Their classes, `(images,)`.
        num_classes: Number of classes.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, num_classes: int
    ) -> None:
        self.features, self.labels = features, labels
        width = features.shape[1]
        self.centre: np.ndarray | None = None
        self.low = np.full(width, np.inf)
        self.high = np.full(width, -np.inf)
        self.products = np.zeros((width, width))
        # One column of sums per class, and the number of images of each.
        self.sums = np.zeros((width, num_classes))
        self.counts = np.zeros(num_classes, np.int64)

    def add(self, images: np.ndarray) -> None:
        """Adds the images at these indices."""
        for rows in blocks(len(images), self.features.shape[1]):
            x = self.features[images[rows]].astype(np.float64)
            if self.centre is None:
                self.centre = x.mean(axis=0)
            np.minimum(self.low, x.min(axis=0), out=self.low)
            np.maximum(self.high, x.max(axis=0), out=self.high)
            x -= self.centre
            self.products += x.T @ x
            hot = np.eye(len(self.counts))[self.labels[images[rows]]]
            self.sums += (hot.T @ x).T
            self.counts += hot.sum(axis=0).astype(np.int64)

    def whitened(self) -> tuple[Whitening, np.ndarray, np.ndarray]:
        """Returns the whitening, X'X and X'Y of the whitened features."""
        count = self.counts.sum()
        mean = self.sums.sum(axis=1) / count
        variance = np.diagonal(self.products) / count - mean**2
        white = Whitening.from_std(
            self.centre + mean,
            np.sqrt(np.maximum(variance, 0)),
            self.low == self.high,
        )
        gram = self.products - np.outer(count * mean, mean)
        gram *= white.scale
        gram *= white.scale[:, None]
        # The -1 of the targets meets features of mean zero.
        right = 2 * (self.sums - np.outer(mean, self.counts))
        return white, gram, right * white.scale[:, None]


def fit_dual(
    features: np.ndarray, labels: np.ndarray, num_classes: int, l2: np.ndarray
) -> Classifier:
    """Fits probes on fewer images than features.

    Args:
        features: `(images, features)`.
        labels: `(images,)`, integers in `[0, num_classes)`.
        num_classes: Number of classes.
        l2: Penalties, `(k,)`.

    Returns:
        A `Classifier` for all penalties.

    Example:

    >>> x = np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0]])
    >>> probe = fit_dual(x, np.array([0, 1]), 2, np.array([1.0, 1024.0]))
    >>> probe.correct(x, np.array([0, 1]))
    array([2, 2])
    """
    features = features.astype(np.float64)
    white = Whitening.of(features)
    x = white(features)
    y = targets(labels, num_classes)
    mix, directions = solve_path(x @ x.T, y - y.mean(axis=0), l2)
    counts = np.bincount(labels, minlength=num_classes)
    # Weights lie in the span of the images. Where that halves the work, test
    # features are projected on it; orthonormal, as products with the images
    # themselves would lose small eigenvalues to rounding in float32.
    basis: np.ndarray | None
    direct = x.shape[1] * mix.shape[1] * num_classes
    if 2 * len(x) * (x.shape[1] + mix.shape[1] * num_classes) < direct:
        basis, projected = np.linalg.qr(x.T)
    else:
        basis, projected = None, x.T
    weights = _products(projected, directions)
    return _classifier(white, basis, mix, weights, counts, l2)


def fit_primal(moments: Moments, l2: np.ndarray) -> Classifier:
    """Fits probes on at least as many images as features.

    Args:
        moments: The images.
        l2: Penalties, `(k,)`.

    Returns:
        A `Classifier` for all penalties.
    """
    white, gram, right = moments.whitened()
    # `right` has no part where `gram` is singular, so nothing grows as 1 / l2
    # that float32 would have to cancel.
    mix, directions = solve_path(gram, right, l2)
    weights = directions(np.float32)
    return _classifier(white, None, mix, weights, moments.counts, l2)


def _products(
    images: np.ndarray,
    directions: Callable[[DTypeLike], Iterator[np.ndarray]],
) -> Iterable[np.ndarray]:
    """Returns what the directions weigh of `images`, `(features, images)`.

    In float32 where that does no harm. It does where images are nearly linearly
    dependent, and small sums remain of large terms.
    """
    small = images.astype(np.float32)
    # Of a number about 1, as whitened features are, times a direction.
    rounding = np.sqrt(len(images)) * np.finfo(np.float32).eps / 2
    products = []
    for part in directions(np.float32):
        products.append(np.tensordot(small, part, 1))
        terms = np.linalg.norm(part, axis=0)
        sums = np.linalg.norm(products[-1], axis=0)
        if (rounding * terms > _ROUNDING * sums).any():
            exact = directions(np.float64)
            return (np.tensordot(images, part, 1) for part in exact)
    return products


def _classifier(
    white: Whitening,
    basis: np.ndarray | None,
    mix: np.ndarray,
    weights: Iterable[np.ndarray],
    counts: np.ndarray,
    l2: np.ndarray,
) -> Classifier:
    # Whitening goes into the first matrix, so that test features are used as
    # they are. Solved in float64, the weights predict well in float32.
    if basis is None:
        centre, scale = white.mean, white.scale
    else:
        basis = basis * white.scale[:, None]
        centre, scale = white.mean @ basis, np.ones(basis.shape[1])
    p, classes = mix.shape[1], len(counts)
    raw = np.empty((len(centre), p, classes), np.float32)
    offset = np.empty((p, classes), np.float32)
    norms = np.empty((p, classes), np.float32)
    start = 0
    for weight in weights:
        some = slice(start, start + weight.shape[2])
        norms[:, some] = np.sqrt(np.einsum("npc,npc->pc", weight, weight))
        weight *= scale[:, None, None]
        raw[..., some] = weight
        offset[:, some] = -np.tensordot(centre, weight, 1)
        start = some.stop
    constant = BIAS_CONSTANT**2 * counts.sum()
    mean_target = 2 * counts / counts.sum() - 1
    bias = np.outer(constant / (constant + l2), mean_target)
    return Classifier(
        None if basis is None else basis.astype(np.float32),
        centre.astype(np.float32),
        scale.astype(np.float32),
        raw,
        offset,
        norms,
        mix.astype(np.float32),
        bias.astype(np.float32),
    )
