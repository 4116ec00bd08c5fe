"""Where the images of ObjectNet are: a folder, or the zip as downloaded."""

import contextlib
import dataclasses
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bit_keras.benchmarks.objectnet.maps import Maps
from bit_keras.checkpoint_report import first_names

_LAYOUT = "objectnet-1.0/images/<class folder>/*.png"
# Where the folder of class folders may lie below what the user gives.
_BELOW = ("", "images", "objectnet-1.0/images")
_SUFFIX = ".png"
# A PNG file begins with its signature, and the header with width and height.
_PNG = b"\x89PNG\r\n\x1a\n"
HEADER = 24
# What zipfile raises for a damaged member that claims to begin before the
# file, or to be packed in a way that it does not know.
_ODD = (OSError, NotImplementedError)


@dataclasses.dataclass(frozen=True)
class Image:
    """One image file.

    Attributes:
        id: "folder/file.png".
        size: Of the file, in bytes.
        where: Its path, or its name inside the zip.
    """

    id: str
    size: int
    where: str


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of classes that ImageNet has, too.

    Attributes:
        images: Sorted by id.
        others: Images of the other 200 classes; they are not read.
        strange: Folders beside these whose names are not of ObjectNet.
        archive: The zip, if they are in one.
        password: Of the zip; None: it is not encrypted.
    """

    images: tuple[Image, ...]
    others: int
    strange: tuple[str, ...]
    archive: Path | None = None
    password: bytes | None = dataclasses.field(default=None, repr=False)


def find(path: str | Path, maps: Maps, password: str | None = None) -> Images:
    """Lists the images of ObjectNet under a path; none is decoded.

    Args:
        path: The folder `objectnet-1.0`, its parent, its folder `images`, or
            the zip.
        maps: Names of the class folders.
        password: Of the zip, if it is encrypted.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: For another layout, a file that is no zip, and a password
            that is wrong, missing, or given for nothing.
    """
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise FileNotFoundError(f'--images: there is no "{path}".')
    if path.is_dir():
        if password is not None:
            raise ValueError(
                f'--password is for a zip, but --images "{path}" is a folder. '
                "Leave it out."
            )
        return _find_in_folder(path, maps)
    return _find_in_zip(path, maps, password)


@contextlib.contextmanager
def opener(found: Images) -> Iterator[Callable[[Image, int], bytes]]:
    """Gives a function that reads files, and closes what it opened.

    Args:
        found: Images from `find`.

    Yields:
        `(image, bytes)` -> that many of the first bytes of the file; -1: all.
        Empty for a file of a zip that is damaged.
    """
    if found.archive is None:

        def read(image: Image, size: int = -1) -> bytes:
            with open(image.where, "rb") as file:
                return file.read(size)

        yield read
        return
    with zipfile.ZipFile(found.archive) as archive:

        def extract(image: Image, size: int = -1) -> bytes:
            try:
                with archive.open(image.where, pwd=found.password) as file:
                    return file.read(size)
            except (zipfile.BadZipFile, zlib.error, EOFError, *_ODD):
                return b""

        yield extract


def png_size(header: bytes) -> tuple[int, int] | None:
    """Returns width and height of a PNG by its first 24 bytes; None: no PNG.

    >>> png_size(b"\\x89PNG\\r\\n\\x1a\\n----IHDR" + bytes([0, 0, 0, 9] * 2))
    (9, 9)
    """
    if len(header) < HEADER or not header.startswith(_PNG):
        return None
    return struct.unpack(">II", header[16:HEADER])


def _find_in_folder(path: Path, maps: Maps) -> Images:
    for below in _BELOW:
        root = path / below
        if not root.is_dir():
            continue
        folders = [entry.name for entry in os.scandir(root) if entry.is_dir()]
        if any(name in maps.folders or name in maps.others for name in folders):
            break
    else:
        inside = sorted(entry.name for entry in os.scandir(path))
        raise _wrong_layout(path, inside)
    entries = {}
    for name in sorted(folders):
        with os.scandir(root / name) as files:
            entries[name] = [
                (entry.name, entry.stat().st_size, entry.path)
                for entry in files
                if entry.is_file()
            ]
    return _sorted_out(path, entries, maps)


def _find_in_zip(path: Path, maps: Maps, password: str | None) -> Images:
    try:
        with zipfile.ZipFile(path) as archive:
            # `is_dir` fails on a name without a character.
            members = [
                m for m in archive.infolist() if not m.filename.endswith("/")
            ]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(
            f'--images: "{path}" is neither a folder nor a complete zip '
            f"({error}). Give the folder objectnet-1.0, or download "
            "objectnet-1.0.zip again."
        ) from None
    entries: dict[str, list[tuple[str, int, str]]] = {}
    for member in members:
        # `class folder/file`, whatever comes before.
        parts = member.filename.split("/")
        if len(parts) >= 2 and "__MACOSX" not in parts:
            at = parts[-1], member.file_size, member.filename
            entries.setdefault(parts[-2], []).append(at)
    if not (set(maps.folders) | maps.others) & set(entries):
        raise _wrong_layout(path, sorted({m.filename for m in members}))
    # Other folders of the zip (mappings, say) are not strange.
    known = {f: e for f, e in entries.items() if f in maps.folders}
    known |= {f: e for f, e in entries.items() if f in maps.others}
    found = _sorted_out(path, known, maps)
    encrypted = [m for m in members if m.flag_bits & 1]
    if encrypted:
        _check_password(path, encrypted, password)
    elif password is not None:
        raise ValueError(
            f'--password: the zip "{path}" is not encrypted. Leave it out.'
        )
    key = password.encode() if password is not None else None
    return dataclasses.replace(found, archive=path, password=key)


def _sorted_out(
    path: Path,
    entries: Mapping[str, list[tuple[str, int, str]]],
    maps: Maps,
) -> Images:
    """Makes `Images` of what each folder holds: (file, size, where)."""
    images, others = [], 0
    for folder, files in entries.items():
        pictures = [
            Image(f"{folder}/{name}", size, where)
            for name, size, where in files
            if name.lower().endswith(_SUFFIX) and not name.startswith(".")
        ]
        if folder in maps.folders:
            images += pictures
        elif folder in maps.others:
            others += len(pictures)
    if not images:
        raise ValueError(
            f'--images: "{path}" has class folders, but no {_SUFFIX} file in '
            "those of the 113 classes that ImageNet has, too. Expected: "
            f"{_LAYOUT}."
        )
    images.sort(key=lambda image: image.id)
    if len({image.id for image in images}) < len(images):
        raise ValueError(
            f'--images: "{path}" has some class folders twice. Expected: '
            f"{_LAYOUT}, once."
        )
    strange = set(entries) - set(maps.folders) - maps.others
    strange = {name for name in strange if not name.startswith(".")}
    return Images(tuple(images), others, tuple(sorted(strange)))


def _wrong_layout(path: Path, inside: list[str]) -> ValueError:
    return ValueError(
        f'--images: "{path}" does not have the layout of ObjectNet. Expected: '
        f"{_LAYOUT} (the folder objectnet-1.0, its parent, its folder images, "
        f"or objectnet-1.0.zip). Found: {first_names(inside, 5) or 'nothing'}."
    )


def _check_password(
    path: Path, encrypted: list[zipfile.ZipInfo], password: str | None
) -> None:
    """Decrypts the smallest file; a wrong password may pass the first byte."""
    if password is None:
        raise ValueError(
            f'--images: the zip "{path}" is encrypted. Give its --password; '
            "objectnet.dev says it, beside the licence that it stands for."
        )
    smallest = min(encrypted, key=lambda member: member.file_size)
    try:
        with zipfile.ZipFile(path) as archive:
            archive.read(smallest, pwd=password.encode())
    except NotImplementedError as error:
        raise ValueError(
            f'--images: the zip "{path}" cannot be read from here ({error}). '
            "Unpack it, and give the folder."
        ) from None
    except (RuntimeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(
            f'--password: it does not open the zip "{path}" (tried on '
            f"{smallest.filename}). Check it, or download the zip again."
        ) from None
