"""Handles: the names under which SavedModels are found.

A directory, an archive, a URL, or the name of one of the authors' models.
"""

import hashlib
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bit_keras import released
from bit_keras.download import check_sum, download
from bit_keras.export import archive
from bit_keras.export.hub_cache import (
    HUB,
    describe,
    handle_of,
    hub_cache_dir,
    hub_entry,
    install,
    official_handle,
)
from bit_keras.recipe import did_you_mean

# All there is to do with handles, whether it is about hub's folder or not.
__all__ = (
    "handle_of",
    "hub_cache_dir",
    "hub_entry",
    "install",
    "official_handle",
    "resolve",
)

_ARCHIVES = (".tar.gz", ".tgz", ".tar")


def resolve(
    handle: str | os.PathLike, cache_dir: str | os.PathLike | None = None
) -> Path:
    """Returns the directory of the SavedModel that a handle means.

    Archives are unpacked once, into `released.default_cache()`; downloads go to
    hub's folder, where they are found without network the next time.  Loading a
    SavedModel runs what is in it: load only what you trust.

    Args:
        handle: A directory with saved_model.pb; a .tar.gz, .tgz or .tar of one;
            a file:// URL of these; an https handle or address of an archive
            (http of this machine only), perhaps with "#sha256=..." of the
            archive; a short form such as "bit/m-r50x1/1" (see
            `official_handle`).
        cache_dir: Hub's folder; default: `hub_cache_dir()`.

    Raises:
        FileNotFoundError: If nothing is there, with what is close to it.
        ValueError: If what is there is no SavedModel, or a harmful archive.
        ConnectionError: Saying what to download and where to put it.

    Example:

    >>> _ = Path("saved_model.pb").write_bytes(b"graph")
    >>> resolve(".")
    PosixPath('.')
    """
    text = os.fspath(handle)
    if text.startswith(("http://", "https://")):
        return _from_web(text, Path(cache_dir) if cache_dir else None)
    if text.startswith("file:"):
        path = _from_file_url(text)
    elif "://" in text:
        raise ValueError(
            f"handle: {text} is of a kind that cannot be read here; legal are "
            "https://, file:// and local paths. Copy it here first."
        )
    else:
        path = Path(os.path.expanduser(text))
    if path.is_dir():
        return _checked(path)
    if path.is_file():
        return _from_archive(path)
    if text.startswith(("bit/", "google/bit/")):
        return resolve(official_handle(text), cache_dir)
    raise FileNotFoundError(
        f'handle: there is no "{path}".{_similar(path)} It must be the '
        "directory of a SavedModel, an archive of one, or a URL."
    )


def _from_file_url(url: str) -> Path:
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(
            f"handle: {url} is not on this machine. Write file:///absolute/path."
        )
    return Path(urllib.request.url2pathname(parts.path))


def _checked(path: Path) -> Path:
    """Returns `path` if it is a SavedModel, else says where one is."""
    if (path / archive.SAVED_MODEL).is_file():
        return path
    inside = [
        found.parent
        for pattern in ("*", "*/*")
        for found in path.glob(f"{pattern}/{archive.SAVED_MODEL}")
    ]
    # The newest version: 10 comes after 9.
    inside.sort(key=lambda p: (p.name.isdecimal(), len(p.name), p.name))
    if inside:
        hint = f' Did you mean "{inside[-1]}"?'
    elif (path / "recipe.json").is_file():
        hint = f" It is a training run: python -m bit_keras.export {path}"
    else:
        hint = ""
    raise ValueError(
        f'"{path}" holds no {archive.SAVED_MODEL}, so it is no SavedModel.'
        f"{hint}"
    )


def _similar(path: Path) -> str:
    """Returns what is like the first part of `path` that is not there."""
    for part in [*reversed(path.parents), path]:
        if not os.path.exists(part):
            folder = part.parent
            # It may be a file, or not ours to read.
            known = folder.is_dir() and os.access(folder, os.R_OK)
            return did_you_mean(part.name, os.listdir(folder) if known else ())
    return ""


def _from_archive(path: Path) -> Path:
    if not path.name.endswith(_ARCHIVES):
        raise ValueError(
            f'handle: "{path}" is neither a directory nor an archive '
            f"({', '.join(_ARCHIVES)}). python -m bit_keras.export makes a "
            "SavedModel of weights."
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = released.default_cache() / "archives" / digest
    return _once(target, lambda: archive.unpack(path, target))


def _from_web(handle: str, cache_dir: Path | None) -> Path:
    entry = hub_entry(handle, cache_dir)
    return _once(entry, lambda: _fetch(handle, entry))


def _once(target: Path, make: Callable[[], None]) -> Path:
    """Returns the SavedModel at `target`, after `make` if it is not there."""
    if not _filled(target):
        try:
            make()
        except OSError:
            # Fine if another process has made the same one meanwhile.
            if not _filled(target):
                raise
    return _checked(target)


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _fetch(handle: str, entry: Path) -> None:
    """Downloads a model into hub's folder."""
    address, sha256 = _with_checksum(handle)
    source = _compressed(address)
    file = entry.with_name(f"{entry.name}.tar.gz")
    # A file put there by hand, as the error asks for, is used and kept.
    downloaded = not file.exists()
    if downloaded:
        try:
            download(
                source, file, "a .tar.gz archive", archive.is_archive, sha256
            )
        except ConnectionError as error:
            raise ConnectionError(f"{error}{_instead(handle)}") from error
    try:
        check_sum(file, sha256)
        archive.unpack(file, entry)
    except ValueError as error:
        raise ValueError(f"handle: {handle}: {error}") from error
    finally:
        if downloaded:
            file.unlink(missing_ok=True)
    describe(handle, entry, source)


def _with_checksum(handle: str) -> tuple[str, str | None]:
    """Returns a handle without, and what, its "#sha256=..." says."""
    address, mark, digits = handle.partition("#sha256=")
    if not mark:
        return handle, None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise ValueError(
            f'handle: {handle!r}: "#sha256=" needs 64 hexadecimal digits.'
        )
    return address, digits


def _compressed(handle: str) -> str:
    """Returns the address of a handle's archive, as hub asks for it."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.@:_-]+(/[!-~]*)?", handle):
        raise ValueError(f"handle: {handle!r} is not a complete URL.")
    parts = urllib.parse.urlsplit(handle)
    query = f"{parts.query}&".lstrip("&") + "tf-hub-format=compressed"
    return parts._replace(query=query).geturl()


def _instead(handle: str) -> str:
    """Returns what else to do when an official handle cannot be downloaded."""
    if not handle.startswith(f"{HUB}bit/"):
        return ""
    try:
        official = official_handle(handle)
    except ValueError as error:
        return f" {error}"
    if handle != official:
        return f' Did you mean "{official}"?'
    return (
        " Or put an export of your own in its place: python -m "
        "bit_keras.export install-cache"
    )
