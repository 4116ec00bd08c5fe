"""Your own images: a directory tree or a CSV file.

Directories are `split/class/image` or `class/image`; the latter is one split,
"all". Hidden files and folders are skipped.

A CSV file has a header with the columns `path` (relative to the CSV file, or
absolute), a label column (`label` unless another is asked for) and, if you
like, `split`. Several labels in one cell are separated by ";"; as soon as one
cell has a ";", all labels become multi-hot vectors, and an empty cell means no
class.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import tensorflow as tf

from bit_keras import csv_files
from bit_keras.data.sources import (
    Source,
    multi_hot,
    probe_image_size,
    read_by_index,
)
from bit_keras.data.splits import slice_split
from bit_keras.recipe import did_you_mean

# What tf.io.decode_image reads.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
# Names spelled out in an error message; the rest are counted.
_SHOWN = 5
_SEPARATOR = ";"
_SPLITS = {"train", "validation", "val", "test"}

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Image:
    path: str
    # Path relative to the folder or CSV file: moving both changes nothing.
    key: str
    labels: tuple[str, ...]
    size: int


def open_folder(path: str, split: str, label: str = "label") -> Source:
    """Opens a directory of images or a CSV file.

    The images of a split have a fixed order that mixes the classes (sorted by
    a hash of the path), so that slices are samples of the whole and adding an
    image leaves the others in order. Classes are the sorted names over all
    splits, so that all splits agree.

    Args:
        path: Directory or .csv file.
        split: As in `bit_keras.data.sources.open_source`. Where the only split
            is "all", "train" means the same.
        label: CSV column that holds the label.

    Returns:
        A `Source` with random access.

    Raises:
        ValueError: For unknown splits and columns, empty splits and classes,
            and CSV files that cannot be understood.
        FileNotFoundError: For files that the CSV names but that do not exist.
    """
    path = os.path.abspath(os.path.expanduser(path))
    name = f"folder:{path}"
    splits, multi_label = _scan(path, label)
    class_names = sorted(
        {
            word
            for images in splits.values()
            for i in images
            for word in i.labels
        }
    )
    if odd := [word for word in class_names if not _is_line(word)]:
        raise ValueError(
            f"dataset: {path} has the class {odd[0]!r:.80}, which is not one "
            "line of UTF-8 text, as labels.txt needs. Rename it."
        )
    if list(splits) == ["all"] and re.search(r"\btrain\b", split):
        _logger.info('%s has no splits: "train" means all of it.', name)
        split = re.sub(r"\btrain\b", "all", split)
    lengths = {key: [len(images)] for key, images in splits.items()}
    slices = slice_split(name, split, lengths)
    ordered = {key: sorted(splits[key], key=_order) for key, _, _ in slices}
    images = [i for key, a, b in slices for i in ordered[key][a:b]]
    there = {word for i in images for word in i.labels}
    if missing := [word for word in class_names if word not in there]:
        _warn(
            f'{name}: split "{split}" has no image of {len(missing)} of the '
            f"{len(class_names)} classes over all splits ({_some(missing)})."
        )
    fetch = _fetch_files(images, class_names, multi_label)
    read = read_by_index(fetch, len(images))
    return Source(
        name=name,
        split=split,
        num_examples=len(images),
        class_names=tuple(class_names),
        multi_label=multi_label,
        image_size=probe_image_size(name, read()),
        fingerprint=_fingerprint(images, class_names),
        read=read,
        fetch=fetch,
    )


def _is_line(name: str) -> bool:
    """Whether a class name comes back from a file of lines as it was."""
    # Names of folders that are not UTF-8 come with surrogates.
    legal = not any("\ud800" <= c <= "\udfff" for c in name)
    return legal and f"{name}\n".splitlines() == [name]


def folder_splits(path: str) -> tuple[str, ...]:
    """Returns the names of the splits of a directory or CSV file.

    Folders without images are none.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        found = _scan_directory(Path(path))
        return tuple(name for name, images in found.items() if images)
    return tuple(sorted({row.get("split", "all") for row in _rows(path)}))


def _order(image: _Image) -> tuple[bytes, str]:
    key = os.fsencode(image.key)
    return hashlib.blake2b(key, digest_size=8).digest(), image.key


def _fingerprint(images: Iterable[_Image], class_names: list[str]) -> str:
    entries = sorted((i.key, i.size, i.labels) for i in images)
    text = json.dumps([class_names, entries])
    return hashlib.sha256(text.encode()).hexdigest()


def _fetch_files(images: list[_Image], names: list[str], multi_label: bool):
    index_of = {name: index for index, name in enumerate(names)}
    # Bytes, because file names need not be valid UTF-8.
    paths = tf.constant([os.fsencode(i.path) for i in images])
    # tf.ragged.constant would need minutes for a million images.
    labels = tf.RaggedTensor.from_row_lengths(
        tf.constant([index_of[w] for i in images for w in i.labels], tf.int64),
        tf.constant([len(i.labels) for i in images], tf.int64),
    )

    def fetch(index: tf.Tensor) -> dict[str, tf.Tensor]:
        row = labels[index]
        label = multi_hot(row, len(names)) if multi_label else row[0]
        path = paths[index]
        return {"image": tf.io.read_file(path), "label": label, "id": path}

    return fetch


def _scan(path: str, label: str) -> tuple[dict[str, list[_Image]], bool]:
    if not os.path.isdir(path):
        return _scan_csv(path, label)
    if label != "label":
        raise ValueError(
            f'label: "{label}" asks for a column, but {path} is a directory, '
            "whose labels are its class folders. Use a CSV file (columns path, "
            f"{label}), or leave label as it is."
        )
    return _scan_directory(Path(path)), False


def _scan_directory(root: Path) -> dict[str, list[_Image]]:
    folders, images, ignored = _list(root)
    tree = {folder.name: _list(folder) for folder in folders}
    ignored += sum(entry[2] for entry in tree.values())
    splits, nested = {}, []
    for split, (classes, _, _) in tree.items():
        listed = {folder.name: _list(folder) for folder in classes}
        ignored += sum(entry[2] for entry in listed.values())
        splits[split] = _collect(
            root, {f"{split}/{name}": e[1] for name, e in listed.items()}
        )
        nested += splits[split][:1]
    direct = [entry[1][0] for entry in tree.values() if entry[1]]
    if images or (direct and nested):
        stray = (images or direct)[0][0]
        raise ValueError(
            f"dataset: {root} must hold split/class/image or class/image "
            f"throughout, but {os.path.relpath(stray, root)} lies at another "
            "level"
            + (f" than {nested[0].key}." if nested else ".")
            + " Move the images of each class into a folder of its own."
        )
    if ignored:
        _warn(
            f"{root}: ignored {ignored} files that are not images "
            f"({' '.join(EXTENSIONS)})."
        )
    if direct and set(tree) <= _SPLITS:
        raise ValueError(
            f"dataset: {root} has images right in {', '.join(sorted(tree))}, "
            "which are names of splits. Put the images of each class into a "
            "folder of its own: split/class/image."
        )
    if direct:
        return {"all": _collect(root, {n: e[1] for n, e in tree.items()})}
    if not nested:
        raise ValueError(
            f"dataset: {root} holds no images. Legal: split/class/image or "
            f"class/image with {' '.join(EXTENSIONS)}."
        )
    return splits


def _list(folder: Path) -> tuple[list[Path], list[tuple[str, int]], int]:
    """Returns subfolders, images as (path, bytes), number of other files."""
    folders, images, others = [], [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif entry.name.lower().endswith(EXTENSIONS):
                images.append((entry.path, entry.stat().st_size))
            else:
                others += 1
    return sorted(folders), images, others


def _collect(
    root: Path, classes: Mapping[str, list[tuple[str, int]]]
) -> list[_Image]:
    empty = [name for name, images in classes.items() if not images]
    # A folder without any image is not a split (annotations, say).
    if empty and len(empty) < len(classes):
        raise ValueError(
            f"dataset: class folders without images in {root}: "
            f"{_some(empty)}. Fill or remove them."
        )
    return [
        _Image(path, os.path.relpath(path, root), (name.split("/")[-1],), size)
        for name, images in classes.items()
        for path, size in images
    ]


def _rows(path: str) -> list[dict[str, str]]:
    try:
        header, lines = csv_files.read(path)
    except ValueError as error:
        raise ValueError(f"dataset: {error}") from None
    if "path" not in header:
        raise ValueError(
            f'dataset: {path} must have a header with the column "path"; its '
            f"first line is {','.join(header) or 'empty'}."
        )
    if not lines:
        raise ValueError(f"dataset: {path} has a header but no rows.")
    return [dict(zip(header, row, strict=True)) for _, row in lines]


def _scan_csv(path: str, label: str) -> tuple[dict[str, list[_Image]], bool]:
    rows = _rows(path)
    if label not in rows[0]:
        legal = [word for word in rows[0] if word not in ("path", "split")]
        raise ValueError(
            f'label: {path} has no column "{label}".'
            f"{did_you_mean(label, legal)} It has {', '.join(rows[0])}."
        )
    multi_label = any(_SEPARATOR in row[label] for row in rows)
    unlabelled = [row["path"] for row in rows if not row[label]]
    if unlabelled and not multi_label:
        raise ValueError(
            f'label: column "{label}" of {path} is empty for '
            f"{_some(unlabelled)}."
        )
    splits: dict[str, list[_Image]] = {
        split: [] for split in sorted({row.get("split", "all") for row in rows})
    }
    missing = []
    for row in rows:
        file = os.path.join(os.path.dirname(path), row["path"])
        if not os.path.isfile(file):
            missing.append(row["path"])
            continue
        words = [word.strip() for word in row[label].split(_SEPARATOR)]
        labels = tuple(sorted({word for word in words if word}))
        size = os.path.getsize(file)
        image = _Image(file, row["path"], labels, size)
        splits[row.get("split", "all")].append(image)
    if missing:
        raise FileNotFoundError(
            f"dataset: {len(missing)} of the {len(rows)} files that {path} "
            f"names do not exist: {_some(missing)}. Relative paths are "
            "relative to the CSV file."
        )
    return splits, multi_label


@functools.cache
def _warn(message: str) -> None:
    """Warns once, however often a folder is opened."""
    _logger.warning(message)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
