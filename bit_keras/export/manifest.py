"""model.json: what an export is, with the checksum of each of its files."""

import dataclasses
import hashlib
import json
import os
import types
import typing
from pathlib import Path
from typing import Any

from bit_keras import json_files, models
from bit_keras.atomic_writes import write_atomic

FILE = "model.json"
FORMAT = 1

# Fields that an older export may lack.
_NEWER = {"builder", "pooling"}

# Not in their own list of checksums; the second exists while it is written.
_OWN = (FILE, f"{FILE}.tmp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of model.json, field by field.

    Attributes:
        format: Of model.json itself.
        name: Of the export, and of its folder.
        version: Of the export, from 1.
        model: Registered name of the network; None if it has none.
        architecture: Configuration of the network.
        parameters: Number of weights, head included.
        num_features: Channels of the pooled features.
        num_classes: Outputs of the head; 0: there is no head.
        endpoints: Channels of each endpoint, by name.
        folded: Whether kernels are already standardized (not fine-tunable).
        output: What a call returns: "features" or "logits".
        activation: From logits to probabilities: "softmax" or "sigmoid".
        upstream: What the backbone was pre-trained on.
        init: What training started from.
        weights: "final", "best", or a file name.
        recipe: Of the training run, as nested dicts.
        data: Splits of the training run.
        metrics: One dict per number: metric, value, dataset, split, examples
            and source.
        preprocessing: `resolution` in pixels, and how to resize to it.
        input: dtype, layout, range and smallest size in pixels; `size`, if it
            is the only one.
        licence: Of the weights.
        code_version: Of bit_keras.
        versions: Of the packages that made the export.
        sha256: Of each file, by its path in the export; see `write`.
        builder: Family of the network, "module:class".
        pooling: How each endpoint becomes one vector, by name.
    """

    format: int = FORMAT
    name: str
    version: int
    model: str | None
    architecture: dict[str, Any]
    parameters: int
    num_features: int
    num_classes: int
    endpoints: dict[str, int]
    folded: bool
    output: str
    activation: str | None
    upstream: str | None
    init: str | None
    weights: str
    recipe: dict[str, Any] | None
    data: dict[str, Any] | None
    metrics: list[dict[str, Any]]
    preprocessing: dict[str, Any]
    input: dict[str, Any]
    licence: str
    code_version: str
    versions: dict[str, str]
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)
    # Not in exports made before there were other families.
    builder: str = models.BIT
    pooling: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the text of model.json.

        Raises:
            ValueError: For a number that JSON does not have.
        """
        try:
            values = dataclasses.asdict(self)
            return json.dumps(values, indent=1, allow_nan=False) + "\n"
        except ValueError as error:
            raise ValueError(
                f"{FILE} of {self.name}: every number must be finite ({error})."
            ) from None


def read(directory: str | os.PathLike) -> Manifest:
    """Reads the model.json of an export.

    Args:
        directory: The export, `OUT/<name>/<version>`.

    Raises:
        FileNotFoundError: If there is none; the message says where to look.
        ValueError: If it is damaged or of another format.

    Example:

    >>> read("runs/c10")
    Traceback (most recent call last):
    FileNotFoundError: "runs/c10" has no model.json, so it is not an export...
    """
    path = Path(directory) / FILE
    if not path.is_file():
        inner = sorted(Path(directory).glob(f"*/{FILE}"))
        hint = f' Did you mean "{inner[-1].parent}"?' if inner else ""
        raise FileNotFoundError(
            f'"{directory}" has no {FILE}, so it is not an export of '
            f"bit_keras; name the folder that holds one.{hint}"
        )
    try:
        values = json_files.read(path)
    except ValueError as error:
        raise ValueError(f"{error} Export the model again.") from None
    return _manifest(path, values)


def _manifest(path: Path, values: Any) -> Manifest:
    if not isinstance(values, dict) or "format" not in values:
        raise ValueError(f"{path} was not written by bit_keras.export.")
    if values["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {values['format']!r}; this version of "
            f"bit_keras reads format {FORMAT}. Use the version that wrote it."
        )
    hints = typing.get_type_hints(Manifest)
    if odd := sorted((set(values) ^ set(hints)) - (_NEWER - set(values))):
        raise ValueError(
            f"{path}: the fields {', '.join(odd)} are missing or unknown. "
            "Export the model again."
        )
    for name, hint in hints.items():
        if name in values and type(values[name]) not in _classes(hint):
            raise _illegal(path, name, values[name])
    resolution = values["preprocessing"].get("resolution")
    if type(resolution) is not int or resolution < 1:
        raise _illegal(path, "preprocessing.resolution", resolution)
    for name, checksum in values["sha256"].items():
        if not isinstance(checksum, str):
            raise _illegal(path, f"sha256 of {name}", checksum)
    return Manifest(**values)


def _classes(hint: Any) -> list[type]:
    """Returns the classes a value may be of: `dict` for `dict[str, int]`."""
    union = isinstance(hint, types.UnionType)
    options = typing.get_args(hint) if union else (hint,)
    return [typing.get_origin(option) or option for option in options]


def _illegal(path: Path, name: str, value: Any) -> ValueError:
    return ValueError(
        f"{path}: {name} cannot be {value!r:.80}. Export the model again."
    )


def files(directory: str | os.PathLike) -> list[str]:
    """Lists the files below a folder by their path in it, model.json apart.

    Links to folders are not followed.

    >>> Path("exported/variables").mkdir(parents=True)
    >>> for name in ("model.json", "labels.txt", "variables/a"):
    ...     Path("exported", name).touch()
    >>> files("exported")
    ['labels.txt', 'variables/a']
    """
    directory = Path(directory)
    names = (
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )
    return sorted(name for name in names if name not in _OWN)


def write(directory: str | os.PathLike, manifest: Manifest) -> Manifest:
    """Writes model.json with the checksum of every file that is there.

    Args:
        directory: The finished export; nothing may change in it afterwards.
        manifest: All but `sha256`, which is computed here.

    Returns:
        The manifest with its checksums.

    Raises:
        ValueError: For a number that JSON does not have.
    """
    directory = Path(directory)
    sums = {name: _sha256(directory / name) for name in files(directory)}
    manifest = dataclasses.replace(manifest, sha256=sums)
    write_atomic(directory / FILE, manifest.to_json())
    return manifest


def verify(directory: str | os.PathLike) -> list[str]:
    """Compares an export's files with the checksums in its model.json.

    This finds damage and careless edits. Who changes a file on purpose can
    change model.json as well: keep the `digest` of what you trust elsewhere.

    Args:
        directory: The export.

    Returns:
        One line for each file that changed, is missing, or does not belong
        there; empty if all is well.

    Raises:
        FileNotFoundError: If there is no model.json.
        ValueError: If model.json cannot be read.
    """
    recorded, directory = read(directory).sha256, Path(directory)
    problems = {}
    # Only what is found is opened: a name in model.json could lead outside.
    for name in files(directory):
        path = directory / name
        if name not in recorded:
            problems[name] = "is not part of the export"
        elif not path.is_file():
            problems[name] = "is not an ordinary file"
        elif _sha256(path) != recorded[name]:
            problems[name] = "has changed since the export"
    for name in set(recorded) - set(files(directory)):
        problems[name] = "is missing"
    # repr: a file's name may hold a line break or steer the terminal.
    return [f"{name!r} {problems[name]}" for name in sorted(problems)]


def digest(directory: str | os.PathLike) -> str:
    """Returns one SHA-256 (hexadecimal) that identifies weights and graph.

    It is computed from the files themselves. In a shell, inside the export:
    `sha256sum saved_model.pb variables/* | sha256sum`.

    Args:
        directory: With a SavedModel: only saved_model.pb and variables/ count,
            so that a card may be edited. Without: all files but model.json.

    Raises:
        FileNotFoundError: If there are no files.

    Example:

    >>> Path("graph").mkdir()
    >>> _ = Path("graph", "saved_model.pb").write_bytes(b"graph")
    >>> digest("graph")[:8]
    '2a5e2aac'
    """
    directory, names = Path(directory), files(directory)
    if "saved_model.pb" in names:
        names = [n for n in names if n.startswith("variables/")]
        names.insert(0, "saved_model.pb")
    if not names:
        raise FileNotFoundError(f'There is no model in "{directory}".')
    entries = (f"{_sha256(directory / name)}  {name}\n" for name in names)
    return hashlib.sha256(os.fsencode("".join(entries))).hexdigest()


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f'"{path}" is not an ordinary file. Remove it.')
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
