"""Which training images a few-shot probe sees: k of each class."""

from collections.abc import Sequence

import numpy as np

# How a subset is drawn; see `nested_order`.
SUBSETS = ("seeded", "first")
# Classes spelled out in an error message; the rest are counted.
_SHOWN = 5


def nested_order(
    labels: np.ndarray, num_classes: int, shots: int, seed: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Orders images so that every k-shot set is a prefix.

    The images are sorted by their rank within their class, so the k-shot set
    is the first `(rank < k).sum()` of them for each k up to `shots`. A class
    with fewer than k images contributes all it has.

    With a seed, the ranks come from one permutation per class, drawn in class
    order from `default_rng(seed)` once for all shots, as in big_vision's
    fewshot_lsr. Without a seed they follow the order of the dataset, as in
    Scenic and uncertainty-baselines.

    Args:
        labels: Integers in `[0, num_classes)`, shape `(n,)`.
        num_classes: Number of classes.
        shots: Images per class of the largest set.
        seed: Which draw; `None`: the first images of each class.

    Returns:
        Indices into `labels`, and the rank of each within its class.

    Example:

    >>> order, rank = nested_order(np.array([0, 0, 1, 0, 1]), 2, 2, seed=None)
    >>> order, rank
    (array([0, 2, 1, 4]), array([0, 0, 1, 1]))
    """
    rng = np.random.default_rng(seed)
    classes = np.split(
        np.argsort(labels, kind="stable"),
        np.cumsum(np.bincount(labels, minlength=num_classes))[:-1],
    )
    if seed is not None:
        # Every class is permuted, the empty ones too: the draws of the later
        # classes depend on it.
        classes = [rng.permutation(members) for members in classes]
    classes = [members[:shots] for members in classes]
    rank = np.concatenate([np.arange(len(members)) for members in classes])
    by_rank = np.argsort(rank, kind="stable")
    return np.concatenate(classes)[by_rank], rank[by_rank]


def check_enough(
    labels: np.ndarray,
    num_classes: int,
    shots: int,
    class_names: Sequence[str] = (),
) -> None:
    """Refuses a task with fewer than `shots` images in some class.

    Args:
        labels: Integers in `[0, num_classes)`, shape `(n,)`.
        num_classes: Number of classes.
        shots: Images needed of each class.
        class_names: For the message; without, it has the numbers.

    Raises:
        ValueError: Which names the classes and how many images they have.

    >>> check_enough(np.array([0, 0, 1]), 2, 2)
    Traceback (most recent call last):
    ...
    ValueError: shots: 2 images per class are asked for, but train_labels has \
fewer in 1 of 2 classes: class 1 has 1. Ask for at most 1 shot (--shots), or \
pass allow_fewer=True (--allow-fewer) to take what there is.
    """
    counts = np.bincount(labels, minlength=num_classes)
    (short,) = np.nonzero(counts < shots)
    if not len(short):
        return
    names = class_names or range(num_classes)
    shown = ", ".join(
        f"class {names[c]} has {counts[c]}" for c in short[:_SHOWN]
    )
    if len(short) > _SHOWN:
        shown += f" and {len(short) - _SHOWN} more"
    least = int(counts.min())
    most = f"{least} shot{'s' * (least > 1)}"
    repair = f"Ask for at most {most} (--shots), or pass"
    if not least:
        repair = "Check num_classes and the labels, or pass"
    raise ValueError(
        f"shots: {shots} images per class are asked for, but train_labels has "
        f"fewer in {len(short)} of {num_classes} classes: {shown}. {repair} "
        "allow_fewer=True (--allow-fewer) to take what there is."
    )
