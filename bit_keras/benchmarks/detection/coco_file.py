"""Reads and checks one annotation file of COCO's JSON format."""

import collections
import dataclasses
import math
from pathlib import Path
from typing import Any

from bit_keras import json_files

# x, y, width, height, area, whether crowd (0 or 1), label.
Object = tuple[float, float, float, float, float, int, int]


@dataclasses.dataclass(frozen=True)
class CocoImage:
    """One image of the file.

    Attributes:
        path: As in the file.
        size: `(height, width)` in pixels as the file says; `None`: it does not.
        objects: Its boxes.
    """

    path: str
    size: tuple[int, int] | None
    objects: tuple[Object, ...]


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """One annotation file.

    Attributes:
        path: Of the file.
        class_names: In the order of the category ids.
        images: In the file's order.
    """

    path: Path
    class_names: tuple[str, ...]
    images: list[CocoImage]


def read_coco(path: Path) -> CocoFile:
    """Reads an annotation file ("instances") of COCO's format.

    Args:
        path: Of the JSON file.

    Returns:
        A `CocoFile`. Where an object has no area, that of its box is taken.

    Raises:
        ValueError: For a file that is no JSON or not of this format, and for
            annotations of unknown images or categories; the message names the
            file and the entry.

    Example:

    >>> content = {"images": [{"id": 7, "file_name": "a.jpg"}],
    ...            "categories": [{"id": 3, "name": "cat"}],
    ...            "annotations": [{"id": 1, "image_id": 7, "category_id": 3,
    ...                             "bbox": [10, 20, 5, 4]}]}
    >>> _ = Path("a.json").write_text(str(content).replace("'", '"'))
    >>> read_coco(Path("a.json")).images[0].objects
    ((10.0, 20.0, 5.0, 4.0, 20.0, 0, 0),)
    """
    content = _load(path)
    labels, class_names = _classes(path, content["categories"])
    objects = collections.defaultdict(list)
    for entry in content["annotations"]:
        key, row = _object(path, entry, labels)
        objects[key].append(row)
    images, names = {}, set()
    for entry in content["images"]:
        key, name, size = _image(path, entry)
        if key in images or name in names:
            raise ValueError(
                f"dataset: {path} has two images of id {key} or file {name}."
            )
        names.add(name)
        images[key] = CocoImage(name, size, tuple(objects.pop(key, ())))
    if objects:
        raise ValueError(
            f"dataset: {path} has annotations of the image_id "
            f"{next(iter(objects))}, which is not among its images."
        )
    return CocoFile(path, class_names, list(images.values()))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json_files.read(path)
    except ValueError as error:
        raise ValueError(f"dataset: {error}") from None
    keys = ("images", "annotations", "categories")
    has = content if isinstance(content, dict) else {}
    lacks = [key for key in keys if not isinstance(has.get(key), list)]
    if lacks:
        raise ValueError(
            f"dataset: {path} is not of COCO's format: it must be an object "
            f"with the lists {', '.join(keys)}; it lacks {', '.join(lacks)}."
        )
    empty = [key for key in ("images", "categories") if not content[key]]
    if empty:
        raise ValueError(f"dataset: {path} has no {' and no '.join(empty)}.")
    return content


def _classes(
    path: Path, categories: list[Any]
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Returns category id -> label, and the names by label."""
    try:
        names = {int(entry["id"]): str(entry["name"]) for entry in categories}
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"dataset: {path} has a category without id (a number) and name."
        ) from None
    if len(names) < len(categories):
        raise ValueError(f"dataset: {path} has two categories of one id.")
    ids = sorted(names)
    often = collections.Counter(names.values())
    return {key: label for label, key in enumerate(ids)}, tuple(
        # Roboflow lists the whole set as a category, perhaps of a class's name.
        names[key] if often[names[key]] == 1 else f"{names[key]} ({key})"
        for key in ids
    )


def _object(
    path: Path, entry: Any, labels: dict[int, int]
) -> tuple[Any, Object]:
    """Returns the image's id, and the box."""
    where = f"dataset: {path}, annotation "
    where += str(entry.get("id")) if isinstance(entry, dict) else "list"
    try:
        key, category = entry["image_id"], entry["category_id"]
        hash(key)
        x, y, width, height = (float(side) for side in entry["bbox"])
        area = float(entry.get("area") or 0)
        crowd = int(bool(entry.get("iscrowd", 0)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(
            f"{where}: it must have image_id, category_id and bbox (x, y, "
            f"width, height); got {str(entry)[:120]}."
        ) from None
    if not all(map(math.isfinite, (x, y, width, height, area))):
        raise ValueError(f"{where}: bbox and area must be finite numbers.")
    if not isinstance(category, int) or category not in labels:
        raise ValueError(
            f"{where}: category_id {category} is not among the categories "
            f"{', '.join(map(str, list(labels)[:20]))}."
        )
    if not area > 0:
        area = max(width, 0.0) * max(height, 0.0)
    return key, (x, y, width, height, area, crowd, labels[category])


def _image(path: Path, entry: Any) -> tuple[Any, str, tuple[int, int] | None]:
    """Returns id, file name and size."""
    try:
        key, name = entry["id"], str(entry["file_name"])
        hash(key)
        size = int(entry.get("height") or 0), int(entry.get("width") or 0)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(
            f"dataset: {path} has an image without id and file_name: "
            f"{str(entry)[:120]}."
        ) from None
    return key, name, size if min(size) > 0 else None
