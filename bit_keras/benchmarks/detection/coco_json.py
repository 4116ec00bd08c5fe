"""Your own images with boxes: annotations in COCO's JSON format.

One JSON file is one split, "all", with its images beside it. A folder may hold

* `annotations/instances_val2017.json` and `val2017/` (COCO itself), also with
  the images in `images/val2017/` or `images/`, or
* `valid/_annotations.coco.json` beside the images (Roboflow),

for each split. "train", "validation" and "test" find splits of like names
(train2017, val, valid).
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bit_keras.benchmarks.detection.coco_file import CocoImage, read_coco
from bit_keras.benchmarks.detection.image_size import image_size
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.data.sources import read_by_index
from bit_keras.data.splits import slice_split

# Images whose size is compared with what the JSON file says.
_PROBE = 16
# Names spelled out in an error message; the rest are counted.
_SHOWN = 5
_LIKE = {"val": "validation", "valid": "validation", "dev": "validation"}


def open_coco(name: str, split: str, images: str | None = None) -> DetectionSet:
    """Opens a JSON file of COCO's format, or a folder with such files.

    The images of a split have a fixed order (sorted by a hash of the file
    name), so that slices are samples of the whole.

    Args:
        name: The JSON file, or the folder.
        split: As in `open_set`; of a JSON file, "all" (or "train", which means
            the same), perhaps with a slice.
        images: With a JSON file, the folder of its images; `None`: beside it.

    Returns:
        A `DetectionSet` with random access. Classes are in the order of their
        ids in the file.

    Raises:
        ValueError: For files that cannot be understood, and unknown splits.
        FileNotFoundError: For missing files and images.
    """
    path = Path(os.path.abspath(os.path.expanduser(name)))
    files = _annotation_files(path)
    split = _known_split(split, files)
    # Only the files of splits that are asked for are read: COCO's are large.
    asked = {part.partition("[")[0] for part in split.split("+")}
    asked = set(files) if "all" in asked else asked
    wanted = {key: read_coco(files[key]) for key in files if key in asked}
    lengths = {k: [len(wanted[k].images) if k in wanted else 0] for k in files}
    slices = slice_split(f"coco:{path}", split, lengths)
    first = wanted[slices[0][0]]
    for content in wanted.values():
        if content.class_names != first.class_names:
            raise ValueError(
                f"dataset: {content.path} has other categories than "
                f"{first.path}; they cannot be read as one set."
            )
    chosen = []
    for key, start, end in slices:
        folder = images if path.is_file() and images else None
        located = _locate(wanted[key].images, files[key], key, folder)
        chosen += sorted(located, key=_order)[start:end]
    _check_sizes(chosen)
    fetch = _fetch(chosen)
    return DetectionSet(
        name=f"coco:{path}",
        split=split,
        class_names=first.class_names,
        num_images=len(chosen),
        fingerprint=_fingerprint(chosen, first.class_names),
        read=read_by_index(fetch, len(chosen)),
        fetch=fetch,
    )


def _annotation_files(path: Path) -> dict[str, Path]:
    """Finds the annotations of each split."""
    if path.is_file():
        return {"all": path}
    found = {
        file.stem.removeprefix("instances_"): file
        for file in sorted(path.glob("annotations/instances_*.json"))
    }
    for file in sorted(path.glob("*/_annotations.coco.json")):
        found[file.parent.name] = file
    if not found:
        raise FileNotFoundError(
            f"dataset: {path} holds neither annotations/instances_SPLIT.json "
            "nor SPLIT/_annotations.coco.json. Or name a JSON file itself."
        )
    return found


def _known_split(split: str, files: Mapping[str, Path]) -> str:
    """Puts the folder's own names where a name like them is asked for."""

    def general(word: str) -> str:
        word = re.sub(r"_?\d+$", "", word)
        return _LIKE.get(word, word)

    def own(word: str) -> str:
        if word == "train" and list(files) == ["all"]:
            return "all"
        like = [key for key in files if general(key) == general(word)]
        return like[0] if word not in files and len(like) == 1 else word

    parts = [part.strip().partition("[") for part in split.split("+")]
    return "+".join(own(word) + sign + rest for word, sign, rest in parts)


def _locate(
    images: list[CocoImage], file: Path, split: str, folder: str | None
) -> list[CocoImage]:
    """Returns the images with the paths that their file names stand for."""
    root = file.parent.parent
    folders = [file.parent, file.parent / "images"]
    for name in (split, file.stem.removeprefix("instances_")):
        folders += [root / name, root / "images" / name]
    folders += [root / "images", root]
    if folder:
        folders = [Path(os.path.abspath(os.path.expanduser(folder)))]
    for place in folders:
        # Not only the first: it may be the one that is missing.
        if any((place / i.path).is_file() for i in images[:_PROBE]):
            break
    else:
        tried = ", ".join(str(place) for place in dict.fromkeys(folders))
        raise FileNotFoundError(
            f"dataset: the images of {file}, {images[0].path} first, are in "
            f"none of {tried}."
        )
    located = [
        dataclasses.replace(image, path=str(place / image.path))
        for image in images
    ]
    missing = [i.path for i in located if not os.path.isfile(i.path)]
    if missing:
        more = len(missing) - _SHOWN
        raise FileNotFoundError(
            f"dataset: {len(missing)} of the {len(images)} images of {file} do "
            f"not exist: {', '.join(missing[:_SHOWN])}"
            + (f" and {more} more." if more > 0 else ".")
        )
    return located


def _order(image: CocoImage) -> tuple[bytes, str]:
    key = os.path.basename(image.path)
    return hashlib.blake2b(os.fsencode(key), digest_size=8).digest(), image.path


def _check_sizes(images: list[CocoImage]) -> None:
    """Boxes of images that were resized later would be wrong throughout."""
    for image in images[:_PROBE]:
        if not image.size:
            continue
        size = tuple(int(s) for s in image_size(tf.io.read_file(image.path)))
        if size not in ((0, 0), image.size):
            raise ValueError(
                f"dataset: {image.path} is {size[1]} x {size[0]} pixels, but "
                f"its annotations are for {image.size[1]} x {image.size[0]}. "
                "Use the images that were annotated, or scale the boxes."
            )


def _fingerprint(images: list[CocoImage], class_names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps(class_names).encode())
    for image in images:
        known = [os.path.basename(image.path), os.path.getsize(image.path)]
        digest.update(json.dumps([*known, image.objects]).encode())
    return digest.hexdigest()


def _fetch(
    images: list[CocoImage],
) -> Callable[[tf.Tensor], dict[str, Any]]:
    # Bytes, because file names need not be valid UTF-8.
    paths = tf.constant([os.fsencode(image.path) for image in images])
    lengths = [len(image.objects) for image in images]
    splits = tf.constant(np.cumsum([0, *lengths]), tf.int64)
    rows = [row for image in images for row in image.objects]
    table = np.array(rows, np.float64).reshape(-1, 7)
    # "xywh" to "xyxy" before the cut to float32.
    table[:, 2:4] += table[:, :2]
    boxes = tf.constant(table[:, :4], tf.float32)
    area = tf.constant(table[:, 4], tf.float32)
    crowd = tf.constant(table[:, 5] > 0)
    labels = tf.constant(table[:, 6].astype(np.int64))

    def fetch(index: tf.Tensor) -> dict[str, tf.Tensor]:
        image = tf.io.read_file(paths[index])
        height, width = image_size(image)
        mine = slice(splits[index], splits[index + 1])
        return {
            "id": paths[index],
            "image": image,
            "height": height,
            "width": width,
            "boxes": boxes[mine],
            "labels": labels[mine],
            "is_crowd": crowd[mine],
            "area": area[mine],
        }

    return fetch
