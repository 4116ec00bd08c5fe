"""Which classes a model may answer with, and which answers are right.

A shifted test set of ImageNet often has images of 200 of the 1000 classes only.
Either all logits compete (label space `full`), or only those of the classes
that appear (`restricted`).  The two give different accuracies.
"""

import importlib.util
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

_WORDNET_ID = re.compile(r"n\d{8}\b")


def predictions(
    logits: np.ndarray, classes: Sequence[int] | None = None
) -> np.ndarray:
    """Returns the class with the largest logit.

    Args:
        logits: `(images, classes)`.
        classes: The only ones that may be answered; None: all.

    Returns:
        int64 `(images,)`, columns of `logits` whatever `classes` is.

    Raises:
        ValueError: For classes that are not columns of `logits`.

    Example:

    >>> predictions(np.array([[3.0, 1.0, 2.0]]), classes=[1, 2])
    array([2])
    """
    if classes is None:
        return np.argmax(logits, axis=1)
    return _columns(logits, classes)[np.argmax(logits[:, classes], axis=1)]


def probabilities(
    logits: np.ndarray, classes: Sequence[int] | None = None
) -> np.ndarray:
    """Returns the softmax over some columns, renormalised.

    As robustness_metrics does: columns are gathered, then divided by their sum.

    Args:
        logits: `(images, classes)`.
        classes: Columns; None: all.

    Returns:
        float64 `(images, len(classes))`; rows sum to 1.

    Raises:
        ValueError: For classes that are not columns of `logits`.

    Example:

    >>> probabilities(np.array([[0.0, 9.0, 0.0]]), classes=[0, 2])
    array([[0.5, 0.5]])
    """
    if classes is not None:
        logits = logits[:, _columns(logits, classes)]
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _columns(logits: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    columns = np.asarray(classes, np.int64)
    width = logits.shape[1]
    wrong = columns[(columns < 0) | (columns >= width)]
    if wrong.size or not columns.size:
        raise ValueError(
            f"classes must be some of 0 to {width - 1}; got "
            f"{wrong[0] if wrong.size else 'none'}."
        )
    return columns


def is_right(
    predicted: np.ndarray, answers: Sequence[Collection[int]]
) -> np.ndarray:
    """Says which predictions are among the answers accepted for their image.

    Args:
        predicted: Classes, `(images,)`.
        answers: Of each image, the classes that are right: several in ImageNet
            ReaL (Beyer et al., arXiv 2006.07159).

    Returns:
        bool `(images,)`.

    Raises:
        ValueError: If the two are not of one length.

    Example:

    >>> is_right(np.array([4, 5]), [{4, 7}, {6}])
    array([ True, False])
    """
    pairs = zip(predicted.tolist(), answers, strict=True)
    return np.array([one in right for one, right in pairs], bool)


def wordnet_id(name: str) -> str | None:
    """Returns the WordNet id that a class name begins with.

    >>> wordnet_id("n01443537 goldfish"), wordnet_id("goldfish")
    ('n01443537', None)
    """
    found = _WORDNET_ID.match(name)
    return found.group() if found else None


def imagenet_classes() -> tuple[str, ...]:
    """Returns the WordNet ids of the 1000 classes, in the order of the logits.

    They are those that TFDS's ImageNet builders (imagenet2012, -A, -R, -V2,
    -Sketch, ReaL) number their labels by.

    Example:

    >>> imagenet_classes()[:2]
    ('n01440764', 'n01443537')
    """
    # Found, not imported: TFDS needs seconds to load.
    package = importlib.util.find_spec("tensorflow_datasets")
    folder = Path(package.submodule_search_locations[0])
    names = folder / "datasets" / "imagenet2012" / "labels.txt"
    return tuple(names.read_text("utf-8").split())


def check_classes(
    source: str,
    expected: Sequence[str],
    shifted: str,
    found: Sequence[str],
) -> None:
    """Raises a ValueError unless two tasks have the same classes in order.

    Class names that begin with a WordNet id are compared by it alone.

    Args:
        source: Name of one task.
        expected: Its class names.
        shifted: Name of the other.
        found: Its class names.

    Example:

    >>> check_classes("mnist", ["0", "1"], "letters", ["0", "l"])
    Traceback (most recent call last):
    ValueError: letters cannot be a shift of mnist: ... only in mnist: 1; ...
    """
    one, two = (
        [wordnet_id(name) or name for name in names]
        for names in (expected, found)
    )
    if one == two:
        return
    problem = f"{shifted} cannot be a shift of {source}: "
    if sorted(one) == sorted(two):
        number = next(i for i in range(len(one)) if one[i] != two[i])
        raise ValueError(
            f"{problem}their classes are in another order; class {number} is "
            f"{one[number]} and {two[number]}."
        )
    lost = [name for name in one if name not in set(two)]
    new = [name for name in two if name not in set(one)]
    raise ValueError(
        f"{problem}their classes differ ({len(one)} and {len(two)}); only in "
        f"{source}: {_first(lost)}; only in {shifted}: {_first(new)}. A "
        "shifted set has the same class names in the same order."
    )


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "none"
