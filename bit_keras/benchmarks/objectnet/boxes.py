"""Boxes around the objects of ObjectNet, from a CSV file.

The second column of BiT's Table 6 crops images to such boxes (of A. Borji,
arXiv 2004.02042) before they are resized.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from bit_keras import csv_files
from bit_keras.benchmarks.objectnet.files import (
    HEADER,
    Images,
    opener,
    png_size,
)

COLUMNS = ("path", "x_min", "y_min", "x_max", "y_max")

# x_min, y_min, x_max, y_max.
Box = tuple[int, int, int, int]


def read(path: str | Path) -> dict[str, Box]:
    """Reads a CSV file of boxes: path, x_min, y_min, x_max, y_max.

    `path` ends in "folder/file.png"; the rest are pixels of the image with its
    red border, counted from its top left corner; x_max and y_max are the first
    column and row outside of the box.

    Args:
        path: Of the CSV file; its header names the columns, in any order.

    Returns:
        Id of an image ("folder/file.png") -> its box.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: For a file that cannot be understood, naming the line.

    Example:

    >>> _ = Path("boxes.csv").write_text(
    ...     "path,x_min,y_min,x_max,y_max\\nimages/mug/a.png,10,20,110,90\\n"
    ... )
    >>> read("boxes.csv")
    {'mug/a.png': (10, 20, 110, 90)}
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise FileNotFoundError(f'--boxes: there is no file "{path}".')
    boxes: dict[str, Box] = {}
    try:
        header, rows = csv_files.read(path)
    except ValueError as error:
        raise ValueError(f"--boxes: {error}") from None
    if missing := set(COLUMNS) - set(header):
        raise ValueError(
            f"--boxes: {path} must have a header with {', '.join(COLUMNS)}; it "
            f"lacks {', '.join(sorted(missing))}."
        )
    for number, cells in rows:
        row = dict(zip(header, cells, strict=True))
        name, box = _box(f"--boxes: {path}, line {number}", row)
        if boxes.setdefault(name, box) != box:
            raise ValueError(
                f"--boxes: {path}, line {number}: a second box for {name}. "
                "Keep one per image."
            )
    if not boxes:
        raise ValueError(f"--boxes: {path} has a header but no boxes.")
    return boxes


def _box(where: str, row: Mapping[str, str | None]) -> tuple[str, Box]:
    parts = Path(row["path"] or "").parts
    if len(parts) < 2:
        raise ValueError(
            f'{where}: path must end in folder/file.png; got "{row["path"]}".'
        )
    try:
        left, top, right, bottom = (
            round(float(row[column])) for column in COLUMNS[1:]
        )
    except (TypeError, ValueError, OverflowError):
        left = right = 0
    if not 0 <= left < right or not 0 <= top < bottom:
        got = ",".join(str(row[column]) for column in COLUMNS[1:])
        raise ValueError(
            f"{where}: a box needs 0 <= x_min < x_max and 0 <= y_min < y_max, "
            f"in pixels; got {got}."
        )
    return "/".join(parts[-2:]), (left, top, right, bottom)


def choose(
    found: Images, boxes: Mapping[str, Box], border: int
) -> tuple[Images, tuple[Box, ...]]:
    """Returns the images that have a box, and their boxes, in order.

    Files that are no PNG are left out with those that have no box.

    Args:
        found: The images.
        boxes: From `read`.
        border: Pixels on each side that are never shown to a model.

    Returns:
        Images, and for each its box, cut to what is inside the border.

    Raises:
        ValueError: If no image has a box, or nothing is left of a box.
    """
    images = tuple(image for image in found.images if image.id in boxes)
    if not images:
        raise ValueError(
            f"--boxes: none of the {len(found.images)} images has a box. Paths "
            f"must end as {found.images[0].id}; got {next(iter(boxes))}."
        )
    kept, inside = [], []
    with opener(found) as read_start:
        for image in images:
            # What has no size is corrupt, and is left out, too.
            if size := png_size(read_start(image, HEADER)):
                kept.append(image)
                inside.append(_cut(image.id, boxes[image.id], size, border))
    return dataclasses.replace(found, images=tuple(kept)), tuple(inside)


def _cut(name: str, box: Box, size: tuple[int, int], border: int) -> Box:
    width, height = size
    left, top = max(box[0], border), max(box[1], border)
    right, bottom = min(box[2], width - border), min(box[3], height - border)
    if left >= right or top >= bottom:
        raise ValueError(
            f"--boxes: nothing of the box {box} of {name} lies inside its "
            f"{width} x {height} pixels without the border of {border}. Boxes "
            "are pixels of the image with its border."
        )
    return left, top, right, bottom
