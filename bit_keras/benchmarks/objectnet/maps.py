"""Which folder of ObjectNet is which class, and which of ImageNet's 1000.

ObjectNet has 313 classes; 113 of them are also in ImageNet-1k, where 125 of
the 1000 classes belong to them (a chair of ObjectNet is any of three chairs).
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bit_keras import json_files
from bit_keras.checkpoint_report import first_names

# ObjectNet: Barbu et al., NeurIPS 2019, section 3, and its mapping files.
FOLDERS, CLASSES, IMAGENET_IDS = 313, 113, 125
# Classes of ImageNet-1k, and so logits of a model that can be scored.
LOGITS = 1000

_FOLDERS = "folder_to_objectnet_label.json"
_NAMES = "objectnet_to_imagenet_1k.json"
_IDS = "imagenet_id_to_objectnet_id.json"
# Of imagenet-testbed; if it is there, the others are checked by it.
_IMAGENET = "imagenet_to_labels.json"
# An earlier name of the same file.
_OLD = {_IDS: "imagenet_pytorch_id_to_objectnet_id.json"}
_WHERE = (
    "It is in mapping_files/ of github.com/abarbu/objectnet-template-"
    "tensorflow; the first two of "
    f"{_FOLDERS}, {_NAMES} and {_IDS} are in mappings/ of ObjectNet's zip, too."
)


@dataclasses.dataclass(frozen=True)
class Maps:
    """Folders, classes and ImageNet ids of ObjectNet.

    A class is an index into `labels`, from 0.

    Attributes:
        labels: The 113 names of classes, sorted.
        folders: Folder of images -> class, for those 113.
        others: The 200 folders whose classes ImageNet does not have.
        class_of: Class of each of the 1000 ImageNet ids; -1: none.
        imagenet_names: Of the 1000 ids; their numbers as text if no file with
            names is there.
        digest: Fingerprint of what decides a score (hexadecimal).
    """

    labels: tuple[str, ...]
    folders: Mapping[str, int]
    others: frozenset[str]
    class_of: tuple[int, ...]
    imagenet_names: tuple[str, ...]
    digest: str

    @property
    def imagenet_ids(self) -> tuple[int, ...]:
        """The 125 ImageNet ids that belong to a class, ascending."""
        return tuple(i for i, c in enumerate(self.class_of) if c >= 0)


def read(directory: str | Path) -> Maps:
    """Reads the official mapping files, and checks that they fit together.

    Args:
        directory: With folder_to_objectnet_label.json,
            objectnet_to_imagenet_1k.json, imagenet_id_to_objectnet_id.json
            and perhaps imagenet_to_labels.json.

    Raises:
        FileNotFoundError: For a missing file, saying where it is to be had.
        ValueError: For files that are damaged or contradict each other.

    Example:

    >>> read("nowhere")
    Traceback (most recent call last):
    FileNotFoundError: --mappings: there is no folder "nowhere".
    """
    directory = Path(os.path.expanduser(directory))
    if not directory.is_dir():
        raise FileNotFoundError(
            f'--mappings: there is no folder "{directory}".'
        )
    label_of = _read(directory, _FOLDERS, str)
    names_of = _read(directory, _NAMES, str)
    object_of = _read(directory, _IDS, int)
    _check_counts(label_of, names_of, object_of)
    # An ObjectNet id is the rank of its label among all 313.
    every = sorted(label_of.values())
    label_of_id = {int(i): every[o] for i, o in object_of.items()}
    _same(
        set(names_of),
        set(label_of_id.values()),
        f"{_NAMES} and {_IDS} name different classes",
    )
    labels = tuple(sorted(names_of))
    class_of = [-1] * LOGITS
    for index, label in label_of_id.items():
        class_of[index] = labels.index(label)
    known = {f: labels.index(x) for f, x in label_of.items() if x in names_of}
    text = json.dumps([labels, sorted(known.items()), class_of])
    return Maps(
        labels=labels,
        folders=known,
        others=frozenset(set(label_of) - set(known)),
        class_of=tuple(class_of),
        imagenet_names=_imagenet_names(directory, names_of, label_of_id),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _read(directory: Path, name: str, kind: type) -> dict[str, Any]:
    path = directory / name
    if not path.exists() and name in _OLD:
        path = directory / _OLD[name]
    if not path.exists():
        raise FileNotFoundError(
            f'--mappings: there is no {name} in "{directory}". {_WHERE}'
        )
    found = json_files.read(path)
    good = isinstance(found, dict) and all(
        type(value) is kind for value in found.values()
    )
    if not good:
        what = "text to text" if kind is str else "text to whole numbers"
        raise ValueError(f"{path} must be one JSON object from {what}.")
    return found


def _check_counts(
    label_of: Mapping[str, str],
    names_of: Mapping[str, str],
    object_of: Mapping[str, int],
) -> None:
    """Refuses files that are cut, or of another release."""
    counts = {
        _FOLDERS: (len(set(label_of.values())), FOLDERS, "labels"),
        _NAMES: (len(names_of), CLASSES, "classes"),
        _IDS: (len(object_of), IMAGENET_IDS, "ImageNet ids"),
    }
    for name, (found, official, what) in counts.items():
        if found != official:
            raise ValueError(
                f"--mappings: {name} has {found} {what}; the official one has "
                f"{official}. {_WHERE}"
            )
    wrong = [
        f"{i} -> {o}"
        for i, o in object_of.items()
        if not (i.isascii() and i.isdecimal() and int(i) < LOGITS)
        or not 0 <= o < FOLDERS
    ]
    if wrong:
        raise ValueError(
            f"--mappings: {_IDS} must map ImageNet ids 0 to {LOGITS - 1} to "
            f"ObjectNet ids 0 to {FOLDERS - 1}; got {first_names(wrong)}."
        )


def _imagenet_names(
    directory: Path,
    names_of: Mapping[str, str],
    label_of_id: Mapping[int, str],
) -> tuple[str, ...]:
    """Reads the names of the 1000 classes; the ids must follow from them."""
    if not (directory / _IMAGENET).exists():
        return tuple(str(index) for index in range(LOGITS))
    table = _read(directory, _IMAGENET, str)
    if set(table) != {str(index) for index in range(LOGITS)}:
        raise ValueError(
            f"--mappings: {_IMAGENET} must name ids 0 to {LOGITS - 1}."
        )
    names = tuple(table[str(index)] for index in range(LOGITS))
    wanted = {
        (name, label)
        for label, text in names_of.items()
        for name in text.split("; ")
    }
    _same(
        {f"{name} -> {label}" for name, label in wanted},
        {f"{names[i]} -> {label}" for i, label in label_of_id.items()},
        f"{_NAMES} and {_IDS} disagree (by the names of {_IMAGENET})",
    )
    return names


def _same(one: set[str], other: set[str], problem: str) -> None:
    if one != other:
        raise ValueError(
            f"--mappings: {problem}: {first_names(sorted(one ^ other), 5)}. "
            "Take all files from one place."
        )
