"""The tasks of the benchmarks: one table of frozen rows, and its lookup.

A plain name (`cifar100`) is a dataset with its official splits, as in few-shot
evaluation and in BiT's own five tasks; `vtab_cifar100` is the task of VTAB-1k,
with its 1000 training examples.  Groups: "fewshot", "bit", "vtab" and, within
VTAB, "natural", "specialized" and "structured".

Importing this module loads neither TensorFlow nor TFDS.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from bit_keras.benchmarks.task_datasets import DATASETS
from bit_keras.recipe import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One classification task.

    What a user's own task does not know before it is opened is `None`.

    Attributes:
        name: How the task is called on the command line and in results.
        dataset: TFDS `name[/config]`; a user's may end in `:version`, or be
            the path of a folder of images or CSV file.
        versions: TFDS versions that give these examples; (): any.
        train: Split to learn from, in TFDS's syntax; None: there is none, for
            sets that are for evaluation only.
        test: Split to measure on.
        train800: VTAB: the part of `train` to learn from while choosing.
        val200: VTAB: the part of `train` to choose on.
        label: Feature with the label, or from which it is made.
        label_function: Of `bit_keras.benchmarks.labels`, by name.
        image_function: Of `bit_keras.benchmarks.labels`, by name.
        num_classes: Number of classes.
        num_train: Examples in `train`.
        num_test: Examples in `test`.
        groups: What it is a part of.
        flip: Whether a mirrored image keeps its label.
        crop: Whether a random crop keeps its label.
        manual: How to download by hand; `None`: TFDS downloads.
        citation: Where the data were published.
    """

    name: str
    dataset: str
    train: str | None
    test: str
    versions: tuple[str, ...] = ()
    train800: str | None = None
    val200: str | None = None
    label: str = "label"
    label_function: str | None = None
    image_function: str | None = None
    num_classes: int | None = None
    num_train: int | None = None
    num_test: int | None = None
    groups: tuple[str, ...] = ()
    flip: bool = True
    crop: bool = True
    manual: str | None = None
    citation: str = ""

    @property
    def kind(self) -> str | None:
        """The group that says what the images are, such as "natural"."""
        benchmarks = ("fewshot", "bit", "vtab")
        return next((g for g in self.groups if g not in benchmarks), None)


def _task(
    name: str,
    dataset: str,
    train: str,
    test: str,
    num_classes: int,
    num_train: int,
    num_test: int,
    **fields: Any,
) -> Task:
    facts = DATASETS[dataset]
    return Task(
        name=name,
        dataset=dataset,
        versions=facts.versions,
        train=train,
        test=test,
        num_classes=num_classes,
        num_train=num_train,
        num_test=num_test,
        manual=facts.manual,
        citation=facts.citation,
        **fields,
    )


def _vtab(
    group: str,
    name: str,
    dataset: str,
    val200: str,
    test: str,
    num_test: int,
    num_classes: int,
    **fields: Any,
) -> Task:
    return _task(
        f"vtab_{name}",
        dataset,
        f"train[:800]+{val200}",
        test,
        num_classes,
        1000,
        num_test,
        train800="train[:800]",
        val200=val200,
        groups=("vtab", group),
        **fields,
    )


# The nine sets of the few-shot evaluation in google-research/scenic and
# uncertainty-baselines; big_vision's six are the first six.  "imagenet" is
# their imagenet2012_subset/10pct.
_FEWSHOT = {"groups": ("fewshot",)}
# Kolesnikov et al., arXiv 1912.11370, section 3.2: the official training split;
# tested on the official test split, where there is a public one.
_BIT = {"groups": ("bit",)}
_BOTH = {"groups": ("fewshot", "bit")}
# fmt: off
_PLAIN = (
    _task("caltech101", "caltech101", "train", "test",
          102, 3060, 6084, **_FEWSHOT),
    _task("cars196", "cars196", "train", "test", 196, 8144, 8041, **_FEWSHOT),
    _task("cifar100", "cifar100", "train", "test",
          100, 50_000, 10_000, **_BOTH),
    _task("dtd", "dtd", "train", "test", 47, 1880, 1880, **_FEWSHOT),
    _task("pets", "oxford_iiit_pet", "train", "test", 37, 3680, 3669, **_BOTH),
    _task("uc_merced", "uc_merced", "train[:1000]", "train[1000:]",
          21, 1000, 1100, **_FEWSHOT),
    _task("birds", "caltech_birds2011", "train", "test",
          200, 5994, 5794, **_FEWSHOT),
    _task("colorectal_histology", "colorectal_histology",
          "train[:2000]", "train[2000:]", 8, 2000, 3000, **_FEWSHOT),
    _task("imagenet", "imagenet2012_subset/10pct", "train", "validation",
          1000, 128_116, 50_000, **_FEWSHOT),
    _task("cifar10", "cifar10", "train", "test", 10, 50_000, 10_000, **_BIT),
    _task("flowers102", "oxford_flowers102", "train", "test",
          102, 1020, 6149, **_BIT),
    _task("ilsvrc2012", "imagenet2012", "train", "validation",
          1000, 1_281_167, 50_000, **_BIT),
)

# google-research/task_adaptation, data/*.py (splits in percent there).  No flip
# and no crop: BiT's exceptions, arXiv 1912.11370, supplementary material.
_VTAB = (
    _vtab("natural", "caltech101", "caltech101",
          "train[2754:2954]", "test", 6084, 102),
    _vtab("natural", "cifar100", "cifar100",
          "train[45000:45200]", "test", 10_000, 100),
    _vtab("natural", "dtd", "dtd", "validation[:200]", "test", 1880, 47),
    _vtab("natural", "flowers102", "oxford_flowers102",
          "validation[:200]", "test", 6149, 102),
    _vtab("natural", "pets", "oxford_iiit_pet",
          "train[2944:3144]", "test", 3669, 37),
    _vtab("natural", "sun397", "sun397/tfds",
          "validation[:200]", "test", 21_750, 397),
    _vtab("natural", "svhn", "svhn_cropped",
          "train[65931:66131]", "test", 26_032, 10),
    _vtab("specialized", "eurosat", "eurosat/rgb",
          "train[16200:16400]", "train[21600:]", 5400, 10),
    _vtab("specialized", "resisc45", "resisc45",
          "train[18900:19100]", "train[25200:]", 6300, 45),
    _vtab("specialized", "patch_camelyon", "patch_camelyon",
          "validation[:200]", "test", 32_768, 2),
    _vtab("specialized", "retinopathy",
          "diabetic_retinopathy_detection/btgraham-300",
          "validation[:200]", "test", 42_670, 5),
    _vtab("structured", "clevr_count", "clevr",
          "train[63000:63200]", "validation", 15_000, 8,
          label="objects", label_function="clevr_count", crop=False),
    _vtab("structured", "clevr_distance", "clevr",
          "train[63000:63200]", "validation", 15_000, 6,
          label="objects", label_function="clevr_distance", crop=False),
    _vtab("structured", "dmlab", "dmlab",
          "validation[:200]", "test", 22_735, 6, crop=False),
    _vtab("structured", "kitti_distance", "kitti",
          "validation[:200]", "test", 711, 4,
          label="objects", label_function="kitti_distance", crop=False),
    _vtab("structured", "dsprites_location", "dsprites",
          "train[589824:590024]", "train[663552:]", 73_728, 16,
          label="label_x_position", label_function="dsprites_location",
          image_function="times_255", flip=False, crop=False),
    _vtab("structured", "dsprites_orientation", "dsprites",
          "train[589824:590024]", "train[663552:]", 73_728, 16,
          label="label_orientation", label_function="dsprites_orientation",
          image_function="times_255", flip=False),
    _vtab("structured", "smallnorb_azimuth", "smallnorb",
          "test[:200]", "test[50%:]", 12_150, 18,
          label="label_azimuth", flip=False),
    _vtab("structured", "smallnorb_elevation", "smallnorb",
          "test[:200]", "test[50%:]", 12_150, 9, label="label_elevation"),
)
# fmt: on

_TASKS = {task.name: task for task in (*_PLAIN, *_VTAB)}


def names() -> tuple[str, ...]:
    """Returns the names of the built-in tasks.

    >>> names()[:3]
    ('caltech101', 'cars196', 'cifar100')
    """
    return tuple(_TASKS)


def groups(extra: Iterable[Task] = ()) -> tuple[str, ...]:
    """Returns the names of the groups.

    >>> groups()
    ('fewshot', 'bit', 'vtab', 'natural', 'specialized', 'structured')
    """
    found = [g for task in (*_TASKS.values(), *extra) for g in task.groups]
    return tuple(dict.fromkeys(found))


def get(name: str, extra: Iterable[Task] = ()) -> Task:
    """Returns one task.

    Args:
        name: One of `names()`, or of the user's own tasks.
        extra: The user's own tasks.

    Raises:
        ValueError: For an unknown name, with the closest known one.

    Example:

    >>> get("vtab_dtd").train
    'train[:800]+validation[:200]'
    """
    known = _TASKS | {task.name: task for task in extra}
    if name in known:
        return known[name]
    if name in groups(extra):
        raise ValueError(f'task: "{name}" is a group of tasks, not a task.')
    raise ValueError(
        f'task: there is no task "{name}".{did_you_mean(name, known)} Known: '
        f"{', '.join(known)}."
    )


def group(name: str, extra: Iterable[Task] = ()) -> tuple[Task, ...]:
    """Returns the tasks of a group, in the order of the table.

    Args:
        name: One of `groups()`.
        extra: The user's own tasks.

    Raises:
        ValueError: For an unknown group, with the closest known one.

    Example:

    >>> len(group("vtab")), [task.name for task in group("bit")]
    (19, ['cifar100', 'pets', 'cifar10', 'flowers102', 'ilsvrc2012'])
    """
    extra = tuple(extra)
    found = [t for t in (*_TASKS.values(), *extra) if name in t.groups]
    if found:
        return tuple(found)
    known = groups(extra)
    raise ValueError(
        f'group: there is no group of tasks "{name}".'
        f"{did_you_mean(name, known)} Known: {', '.join(known)}."
    )
