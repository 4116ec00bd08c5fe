"""The named test sets that are ImageNet, shifted: one table of frozen rows.

They are for evaluation only and have no training split.  All number their
labels 0..999 as ImageNet does, so a model with 1000 logits answers all of them.

Importing this module loads neither TensorFlow nor TFDS.
"""

import dataclasses

from bit_keras.benchmarks.task_datasets import DATASETS
from bit_keras.benchmarks.tasks import Task
from bit_keras.recipe import did_you_mean

# Outputs of a model of ILSVRC-2012.
NUM_CLASSES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
    """One shifted ImageNet.

    Attributes:
        task: Its data; without a training split.
        classes: How many of the 1000 have images. If fewer than all, it is
            measured in the restricted label space, too.
        answers: Feature with all right classes of an image, perhaps none; None:
            the label is the only one.
        factors: Columns of SI-Score's metadata.csv that vary in it.
    """

    task: Task
    classes: int = NUM_CLASSES
    answers: str | None = None
    factors: tuple[str, ...] = ()


def _shift(
    name: str,
    dataset: str,
    versions: tuple[str, ...],
    num_test: int | None,
    citation: str,
    *,
    split: str = "test",
    label: str = "label",
    manual: str | None = None,
    **fields: int | str | tuple[str, ...],
) -> Shift:
    task = Task(
        name=name,
        dataset=dataset,
        versions=versions,
        train=None,
        test=split,
        label=label,
        num_classes=NUM_CLASSES,
        num_test=num_test,
        manual=manual,
        citation=citation,
    )
    return Shift(task=task, **fields)


_SI_SCORE = (
    "Djolonga et al.: On robustness and transferability of convolutional "
    "neural networks, arXiv 2007.08558"
)
# Versions are those that TFDS 4.9.10 can prepare, its default first.
_ALL = (
    _shift(
        "imagenet_v2",
        "imagenet_v2/matched-frequency",
        ("3.0.0", "2.0.0"),
        10_000,
        "Recht et al.: Do ImageNet classifiers generalize to ImageNet?, arXiv "
        "1902.10811",
    ),
    _shift(
        "imagenet2012_real",
        "imagenet2012_real",
        ("1.0.0",),
        50_000,
        "Beyer et al.: Are we done with ImageNet?, arXiv 2006.07159",
        split="validation",
        label="original_label",
        answers="real_label",
        manual=DATASETS["imagenet2012"].manual,
    ),
    _shift(
        "imagenet_a",
        "imagenet_a",
        ("0.1.0",),
        7500,
        "Hendrycks et al.: Natural adversarial examples, arXiv 1907.07174",
        classes=200,
    ),
    _shift(
        "imagenet_r",
        "imagenet_r",
        ("0.2.0", "0.1.0"),
        30_000,
        "Hendrycks et al.: The many faces of robustness, arXiv 2006.16241",
        classes=200,
    ),
    _shift(
        "imagenet_sketch",
        "imagenet_sketch",
        ("1.0.0",),
        50_889,
        "Wang et al.: Learning robust global representations by penalizing "
        "local predictive power, arXiv 1905.13549",
    ),
    *(
        _shift(
            f"siscore_{config}",
            f"siscore/{config}",
            ("1.0.0",),
            num_test,
            _SI_SCORE,
            classes=61,
            factors=factors,
        )
        for config, num_test, factors in (
            ("rotation", 39_540, ("rotation",)),
            ("size", 92_884, ("area",)),
            ("location", 541_548, ("x_coord", "y_coord")),
        )
    ),
)
_SHIFTS = {shift.task.name: shift for shift in _ALL}


def names() -> tuple[str, ...]:
    """Returns the names of the shifted sets.

    >>> names()[:3]
    ('imagenet_v2', 'imagenet2012_real', 'imagenet_a')
    """
    return tuple(_SHIFTS)


def get(name: str) -> Shift:
    """Returns one shifted set.

    Raises:
        ValueError: For an unknown name, with the closest known one.

    Example:

    >>> get("imagenet_r").classes
    200
    """
    if name not in _SHIFTS:
        raise ValueError(
            f'shift: there is no "{name}".{did_you_mean(name, _SHIFTS)} '
            f"Known: {', '.join(_SHIFTS)}."
        )
    return _SHIFTS[name]
