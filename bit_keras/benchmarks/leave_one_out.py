"""Leave-one-out accuracy of the linear probe, in closed form.

While an image is left out, the intercept is not penalized: the constant feature
of 100 hardly is, but what is left of its penalty would favour the class of the
image left out, by which the strongest penalty would win on any features.

That class also has one image fewer than the others, and the intercept, which
learns how frequent classes are, would hold that against it: under strong
penalties no image would be classified correctly. The intercept of the scores is
therefore that of all images.
"""

import numpy as np

from bit_keras.benchmarks.probe import Moments, Whitening, blocks, targets


def leave_one_out_dual(
    features: np.ndarray, labels: np.ndarray, num_classes: int, l2: np.ndarray
) -> np.ndarray:
    """Predicts each image by a probe fitted on all others.

    Nothing is fitted twice: with X of mean zero and
    `inverse = (X X' + l2 I)^-1 - 1 / (n l2)`, whose second term is what an
    intercept without penalty takes away, the score of an image that was left
    out is `y - (inverse y)_i / inverse_ii`. This is exact but for the
    whitening, whose statistics still include the image (not its label), and
    for the intercept (see above). For fewer images than features.

    Args:
        features: `(images, features)`.
        labels: `(images,)`, integers in `[0, num_classes)`.
        num_classes: Number of classes.
        l2: Penalties, `(k,)`.

    Returns:
        Number of images whose highest score is that of their label, `(k,)`.

    Example:

    >>> x = np.array([[0.0, 1.0, 9.0], [0.1, 1.0, 9.0], [1.0, 0.0, 9.0],
    ...               [1.0, 0.1, 9.0]])
    >>> leave_one_out_dual(x, np.array([0, 0, 1, 1]), 2, np.array([1.0]))
    array([4])
    """
    features = features.astype(np.float64)
    x = Whitening.of(features)(features)
    values, vectors = np.linalg.eigh(x @ x.T)
    y = targets(labels, num_classes)
    away = y - y.mean(axis=0)
    rotated = vectors.T @ away
    correct = np.empty(len(l2), np.int64)
    for i, penalty in enumerate(l2):
        shrunk = vectors / (np.maximum(values, 0) + penalty)
        inverse = np.einsum("ij,ij->i", shrunk, vectors)
        inverse -= 1 / (len(y) * penalty)
        scores = y - (shrunk @ rotated) / inverse[:, None]
        scores += away / (len(y) - 1)
        correct[i] = (scores.argmax(axis=1) == labels).sum()
    return correct


def leave_one_out_primal(
    moments: Moments, images: np.ndarray, l2: np.ndarray
) -> np.ndarray:
    """Does the same for at least as many images as features.

    Here the score is `y - (y - fit) / (1 - leverage)`, with the leverage
    `x' (X'X + l2 I)^-1 x + 1 / n` of each image.

    Args:
        moments: The images.
        images: Their indices, as added to `moments`.
        l2: Penalties, `(k,)`.

    Returns:
        Number of images whose highest score is that of their label, `(k,)`.
    """
    white, gram, right = moments.whitened()
    values, vectors = np.linalg.eigh(gram)
    weights = vectors.T @ right
    mean_target = 2 * moments.counts / len(images) - 1
    correct = np.zeros(len(l2), np.int64)
    for rows in blocks(len(images), len(values)):
        labels = moments.labels[images[rows]]
        x = white(moments.features[images[rows]].astype(np.float64)) @ vectors
        y = targets(labels, len(mean_target))
        for i, penalty in enumerate(l2):
            shrunk = x / (np.maximum(values, 0) + penalty)
            # The intercept is orthogonal to the other features.
            leverage = np.einsum("ij,ij->i", shrunk, x) + 1 / len(images)
            fit = shrunk @ weights + mean_target
            scores = y - (y - fit) / (1 - leverage)[:, None]
            scores += (y - mean_target) / (len(images) - 1)
            correct[i] += (scores.argmax(axis=1) == labels).sum()
    return correct
