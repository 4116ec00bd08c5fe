"""What a model with a head says of every image of a split."""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.images import ImageFunction
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Logits and labels of one split.

    Attributes:
        logits: float32 `(n, classes)`, memory-mapped, read-only.
        labels: int64 `(n,)`.
        ids: `n` names of examples, as the source gives them.
    """

    logits: np.ndarray
    labels: np.ndarray
    ids: list[str]


def predict(
    backbone: Backbone,
    task_name: str,
    source: Source,
    preprocessing: ImageFunction,
    cache_dir: Path,
    *,
    num_classes: int,
    say: Callable[[str], None],
    batch_size: int = 64,
    endpoint: str = "logits",
    exclude: Collection[str] = (),
    own_classes: bool = True,
) -> Predictions:
    """Runs a model over every image of a split, once; kept like features.

    Args:
        backbone: A model with a head, from `open_backbone`.
        task_name: For messages and the cache's key.
        source: The split, with one label per image.
        preprocessing: What is done to the images.
        cache_dir: Folder of all cached features.
        num_classes: Logits that the measurement needs.
        say: Is given each message.
        batch_size: Images per call.
        endpoint: Where the logits are; a SavedModel of others may have them
            elsewhere, such as "pre_logits" (what calling it returns).
        exclude: Ids of examples to leave out.
        own_classes: Whether labels are outputs of the head: that none of their
            names is the same, is warned of then.

    Raises:
        ValueError: If the model has no head, or one of other classes, or of
            the same in another order; and as `extract` does.

    Example:

    >>> from bit_keras.benchmarks.backbone import open_backbone
    >>> from bit_keras.benchmarks.images import Preprocessing
    >>> from bit_keras.data.sources import open_source
    >>> predict(
    ...     open_backbone("bit_tiny", init="random"),
    ...     "digits",
    ...     open_source("digits", "test[:20]"),
    ...     Preprocessing(resize=8, crop=8),
    ...     Path("cache"),
    ...     num_classes=10,
    ...     say=print,
    ... )
    Traceback (most recent call last):
    ValueError: digits needs a model with a head of 10 classes; ...
    """
    needs = f"{task_name} needs a model with a head of {num_classes} classes"
    repair = (
        "Transfer it to this task first (python -m bit_keras.train --recipe "
        "transfer), then export the run."
    )
    if endpoint not in backbone.endpoints:
        raise ValueError(
            f'{needs}; {backbone.name} has none (no endpoint "{endpoint}"). '
            f"{repair}"
        )
    if own_classes:
        _check_order(backbone, task_name, source.class_names)
    known = not own_classes or set(backbone.labels) & set(source.class_names)
    if backbone.labels and not known:
        ours, theirs = backbone.labels[:3], source.class_names[:3]
        say(
            f"warning: {backbone.name} was trained on other classes "
            f"({', '.join(ours)}, ...) than {task_name} has "
            f"({', '.join(theirs)}, ...); are they the same under other names?"
        )
    found = extract(
        backbone,
        task_name,
        source,
        (endpoint,),
        preprocessing,
        cache_dir,
        batch_size,
        say,
        exclude,
    )
    logits = found.features[endpoint]
    if logits.shape[1] != num_classes:
        raise ValueError(
            f"{needs}; that of {backbone.name} has {logits.shape[1]}. {repair}"
        )
    return Predictions(logits, found.labels, found.ids)


def _check_order(
    backbone: Backbone, task_name: str, names: tuple[str, ...]
) -> None:
    """Refuses a head whose outputs are the classes in another order."""
    ours = backbone.labels
    # So an export calls classes that nobody named.
    numbered = tuple(str(i) for i in range(len(ours)))
    if ours not in (names, numbered) and sorted(ours) == sorted(names):
        number = next(i for i, name in enumerate(names) if ours[i] != name)
        raise ValueError(
            f"{task_name} has the classes that {backbone.name} was trained on "
            f"in another order; class {number} is {names[number]} and "
            f"{ours[number]}. Take the images from where the training did."
        )
