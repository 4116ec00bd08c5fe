"""Shape or texture: what decides, where an image shows two classes at once.

R. Geirhos et al., "ImageNet-trained CNNs are biased towards texture",
arXiv 1811.12231: images with the shape of one of 16 categories and the texture
of another.  A network's classes are gathered into these categories.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.robustness.label_space import (
    imagenet_classes,
    probabilities,
    wordnet_id,
)
from bit_keras.recipe import did_you_mean

# Category -> ids in ILSVRC-2012 (0..999): "16-class ImageNet", the table that
# the authors publish with rgeirhos/texture-vs-shape (human_categories).
_IMAGENET_IDS = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898 899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 "
    "265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
CATEGORIES = tuple(_IMAGENET_IDS)


def imagenet_ids(category: str) -> list[int]:
    """Returns the ImageNet classes of a category.

    >>> imagenet_ids("cat")
    [281, 282, 283, 284, 285, 286]
    """
    ids: list[int] = []
    for part in _IMAGENET_IDS[category].split():
        first, _, last = part.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def category_columns(class_names: Sequence[str]) -> dict[str, list[int]]:
    """Says which outputs of a head belong to which category.

    Args:
        class_names: Of the head's outputs: names of categories, or names that
            begin with a WordNet id, as ImageNet's and Tiny ImageNet's do.

    Returns:
        Category -> outputs, without the categories that have none.

    Raises:
        ValueError: If fewer than two categories have an output.

    Example:

    >>> category_columns(["n02123045 tabby", "n02504458 tusker", "n99999999"])
    {'cat': [0], 'elephant': [1]}
    """
    wordnet = imagenet_classes()
    category = {
        wordnet[one]: name for name in CATEGORIES for one in imagenet_ids(name)
    }
    category |= {name: name for name in CATEGORIES}
    found: dict[str, list[int]] = {name: [] for name in CATEGORIES}
    for column, name in enumerate(class_names):
        key = wordnet_id(name) or name
        if key in category:
            found[category[key]].append(column)
    found = {name: columns for name, columns in found.items() if columns}
    if len(found) < 2:
        raise ValueError(
            "The head must have classes of at least two of the 16 categories "
            f"({', '.join(CATEGORIES)}): WordNet ids at the beginning of its "
            f"class names, or these words. Its {len(class_names)} classes "
            f'("{next(iter(class_names), "")}", ...) belong to {len(found)}.'
        )
    return found


def decide(
    logits: np.ndarray, columns: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """Returns the category that a model decides for.

    Probabilities over all classes are averaged within each category (the
    arithmetic mean, as the authors do), so that a category does not gain by
    having many classes.

    Args:
        logits: `(images, classes)`.
        columns: From `category_columns`.

    Returns:
        Names, `(images,)`.

    Example:

    >>> logits = np.log([[0.2, 0.2, 0.25, 0.35]])
    >>> decide(logits, {"bird": [0, 1, 3], "car": [2]})[0]
    'bird'
    """
    chances = probabilities(logits)
    means = [chances[:, one].mean(axis=1) for one in columns.values()]
    names = np.array(list(columns), dtype=object)
    return names[np.argmax(means, axis=0)]


@dataclasses.dataclass(frozen=True)
class CueConflict:
    """What decided.

    Attributes:
        shape: Images decided for their shape.
        texture: Images decided for their texture.
        images: Images in conflict whose two categories the head knows.
        no_conflict: Images left out, as shape and texture are the same.
        unknown: Images left out, as the head lacks one of the categories.
        categories: One row per category of shape: `category`, `images`,
            `shape`, `texture`, `shape_bias` (NaN if neither was decided for).
    """

    shape: int
    texture: int
    images: int
    no_conflict: int
    unknown: int
    categories: pd.DataFrame

    @property
    def decided(self) -> int:
        """Images decided for either."""
        return self.shape + self.texture

    @property
    def shape_bias(self) -> float:
        """Of the images decided for either, the fraction of shape."""
        return self.shape / self.decided


def shape_bias(
    decisions: Sequence[str],
    shapes: Sequence[str],
    textures: Sequence[str],
    known: Sequence[str] = CATEGORIES,
) -> CueConflict:
    """Counts what decided.

    Args:
        decisions: The model's category of each image.
        shapes: Category of its shape.
        textures: Category of its texture.
        known: Categories that the model can decide for.

    Raises:
        ValueError: For a name that is no category, and if no image is left, or
            none was decided for its shape or texture.

    Example:

    >>> found = shape_bias(
    ...     ["cat", "dog", "cat", "car", "car"],
    ...     ["cat", "dog", "dog", "dog", "car"],
    ...     ["dog", "cat", "cat", "cat", "car"],
    ... )
    >>> found.shape, found.texture, found.images, found.no_conflict
    (2, 1, 4, 1)
    """
    _check_names({*shapes, *textures})
    frame = pd.DataFrame(
        {"decision": decisions, "category": shapes, "other": textures}
    )
    conflict = frame[frame["category"] != frame["other"]]
    both = conflict["category"].isin(known) & conflict["other"].isin(known)
    frame_known = conflict[both].assign(
        shape=lambda f: f["decision"] == f["category"],
        texture=lambda f: f["decision"] == f["other"],
    )
    table = frame_known.groupby("category", as_index=False).agg(
        images=("decision", "size"),
        shape=("shape", "sum"),
        texture=("texture", "sum"),
    )
    table["shape_bias"] = table["shape"] / (table["shape"] + table["texture"])
    found = CueConflict(
        shape=int(table["shape"].sum()),
        texture=int(table["texture"].sum()),
        images=len(frame_known),
        no_conflict=len(frame) - len(conflict),
        unknown=int((~both).sum()),
        categories=table,
    )
    if not found.decided:
        raise ValueError(
            f"None of the {found.images} images in conflict is decided for its "
            "shape or its texture, so that there is no shape bias."
        )
    return found


def _check_names(names: Collection[str]) -> None:
    for name in names:
        if name not in CATEGORIES:
            raise ValueError(
                f'"{name}" is none of the 16 categories.'
                f"{did_you_mean(name, CATEGORIES)} They are: "
                f"{', '.join(CATEGORIES)}."
            )
