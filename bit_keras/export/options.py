"""What can be asked of an export, and told wrong before TensorFlow loads."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Literal

from bit_keras import models, released
from bit_keras.recipe import did_you_mean

FORMATS = ("savedmodel", "npz", "keras")


@dataclasses.dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        name: Folder under `out`; None: the model's name.
        version: Folder under that; a positive integer, as TF Serving needs.
        formats: Of `FORMATS`.
        output: What calling the SavedModel returns.
        folded: Standardize the kernels once, for serving only.
        archive: Also write `<name>-<version>.tar.gz`.
        overwrite: Replace an export of the same name and version.
        resolution: Side in pixels for `serve_encoded`; None: as trained.
        licence: Of the weights, in the card.
    """

    name: str | None = None
    version: int = 1
    formats: tuple[str, ...] = ("savedmodel",)
    output: Literal["features", "logits"] = "features"
    folded: bool = False
    archive: bool = False
    overwrite: bool = False
    resolution: int | None = None
    licence: str | None = None


def check(options: Options) -> None:
    """Raises a ValueError for options that cannot go together.

    >>> check(Options(formats=("savedmodel", "npz")))
    """
    for name in options.formats:
        if name not in FORMATS:
            raise ValueError(
                f'--format "{name}" is none of {", ".join(FORMATS)}.'
                f"{did_you_mean(name, FORMATS)}"
            )
    if options.version < 1:
        raise ValueError(f"--version must be >= 1; got {options.version}.")
    if options.resolution is not None and options.resolution < 1:
        raise ValueError(
            f"--resolution must be >= 1; got {options.resolution}."
        )
    name = options.name
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            "--name may have letters, digits, and . _ - after the first; got "
            f"{name!r}."
        )
    if options.folded and set(options.formats) != {"savedmodel"}:
        raise ValueError(
            "--folded goes with --format savedmodel only: whoever reads the "
            "other formats standardizes the kernels again."
        )
    if options.archive and "savedmodel" not in options.formats:
        raise ValueError("--archive needs --format savedmodel.")


def check_source(source: str | os.PathLike, init: str | None) -> None:
    """Raises an error, with the repair, for a SOURCE that cannot be.

    Args:
        source: As for `bit_keras.export.source.load`.
        init: As there.

    Raises:
        FileNotFoundError: If it can only be a file or folder, but is not there.
        ValueError: If it is neither that nor a name.

    Example:

    >>> check_source("bit_r50x1", "random")
    """
    name, path = str(source), Path(os.path.expanduser(source))
    if init is not None:
        if path.exists() and name not in models.names():
            raise ValueError(
                f'"{source}" has weights of its own; --init goes with the name '
                "of a model. Leave one of them out."
            )
        models.check_name(name)
    elif name in models.names():
        raise ValueError(
            f"{name} is the name of a model: say with --init which weights "
            f"it has (a file, a released name such as {name}.i21k, a run "
            'directory, or "random").'
        )
    elif path.is_file() and path.name.endswith((".tar.gz", ".tgz", ".tar")):
        raise ValueError(
            f'"{source}" is an archive. Unpack it first: mkdir unpacked && tar '
            f"-xf {path.name} -C unpacked"
        )
    elif path.exists() or name in released.names():
        return
    elif "/" in name or path.suffix in (".npz", ".h5", ".keras"):
        raise FileNotFoundError(f'there is no "{source}".')
    else:
        known = models.names() + released.names()
        raise ValueError(
            f'"{name}" is neither a run directory, an export, a file (.npz, '
            ".h5, .keras), a released name, nor, with --init, the name of a "
            "model."
            f"{did_you_mean(name, known)}"
        )
