"""SavedModels as .tar.gz: packed as hub handles need, unpacked with distrust.

Nothing of an archive is written before all of it has been looked through.
"""

import contextlib
import errno
import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

# What makes a directory a SavedModel.
SAVED_MODEL = "saved_model.pb"

# Trained weights hardly shrink (float32: by a tenth), those of a fresh head do:
# they are zeros.  The largest, 8192 x 21843 floats of bit_r152x4, has 716 MB;
# so this much is always allowed, and above it this many times the archive.
_UNPACKED, _RATIO = 1 << 30, 20
# The variables of the largest models are in some hundred files.
_FILES = 10_000
# Bytes that a file system takes for a name.
_NAME = 255
# Names and headers, which tarfile reads whole into memory; tar pads the end.
_HEADER, _PADDING = 1 << 16, 1 << 20


class _RefusedError(Exception):
    """What an archive does that it must not."""


class _Guarded:
    """A file for tarfile to read, whatever the headers in it claim."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        # A header of 8 GiB compresses to 8 MiB; a negative size means "all".
        if not 0 <= size <= _HEADER:
            raise _RefusedError(f"it has a header of {size} bytes")
        return self._file.read(size)


def is_archive(path: Path) -> bool:
    """Whether a file starts like a .tar or .tar.gz.

    >>> path = Path("page.html")
    >>> path.write_text("<html>Please log in</html>")
    26
    >>> is_archive(path)
    False
    """
    with open(path, "rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    return start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar"


@contextlib.contextmanager
def new_directory(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """Makes a directory that is there with all its content, or not at all.

    Args:
        target: Its path; parents are made if missing.
        overwrite: Whether it may take the place of another.

    Yields:
        An empty directory beside it, to be filled; it becomes `target` when
        the body ends, and is removed if the body raises.

    Raises:
        FileExistsError: If there is something at `target` already.

    Example:

    >>> with new_directory(Path("notes")) as folder:
    ...     _ = (folder / "a.txt").write_text("hello")
    >>> Path("notes", "a.txt").read_text()
    'hello'
    """
    target = Path(target)
    taken = FileExistsError(f"{target} exists already.")
    # An empty directory is as good as none; os.rename sees it the same way.
    occupied = os.path.lexists(target) and (
        not target.is_dir() or any(target.iterdir())
    )
    if occupied and not overwrite:
        raise taken
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{target.name}.", suffix=".tmp", dir=target.parent
    ) as temporary:
        # Inside, because only the owner may read a TemporaryDirectory.
        new, old = Path(temporary, "new"), Path(temporary, "old")
        new.mkdir()
        yield new
        if occupied:
            os.rename(target, old)
        try:
            os.rename(new, target)
        except OSError as error:
            if occupied:
                os.rename(old, target)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise taken from error
            raise


def pack(directory: Path, target: Path) -> None:
    """Writes a SavedModel as a .tar.gz with saved_model.pb at its root.

    The same files give the same bytes. The file is there whole, or not at all.

    Args:
        directory: An export, or any other SavedModel.
        target: The archive to write; one that is there is replaced.

    Raises:
        ValueError: If `directory` is no SavedModel, holds links, or holds
            `target`.

    Example:

    >>> Path("model").mkdir()
    >>> _ = Path("model", "saved_model.pb").write_bytes(b"graph")
    >>> pack(Path("model"), Path("model.tar.gz"))
    >>> unpack(Path("model.tar.gz"), Path("copy"))
    >>> Path("copy", "saved_model.pb").read_bytes()
    b'graph'
    """
    directory, target = Path(directory), Path(target)
    if not (directory / SAVED_MODEL).is_file():
        raise ValueError(
            f'"{directory}" holds no {SAVED_MODEL}: no SavedModel.'
        )
    if target.resolve().is_relative_to(directory.resolve()):
        raise ValueError(f'"{target}" is inside the directory it would hold.')
    paths = sorted(directory.rglob("*"))
    for path in paths:
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(
                f'"{path}" is a link or a device; only files can be packed.'
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.tmp")
    try:
        with open(part, "wb") as file:
            _write(file, directory, paths)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _write(file: BinaryIO, directory: Path, paths: list[Path]) -> None:
    """Writes the archive: folders before their files, as hub expects."""
    with (
        gzip.GzipFile(
            "", "wb", compresslevel=1, fileobj=file, mtime=0
        ) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in paths:
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            entry.size = path.stat().st_size
            with open(path, "rb") as content:
                tar.addfile(entry, content)


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a SavedModel into a new directory, whole or not at all.

    Args:
        archive: A .tar.gz or .tar with saved_model.pb at its root.
        target: The directory to make; it must not exist, or be empty.

    Raises:
        ValueError: If the archive is cut off or damaged, has no saved_model.pb
            at its root, or could harm: absolute paths, `..`, links, devices,
            names that occur twice, too many files or bytes. Nothing is written.
        FileExistsError: If there is something at `target` already.

    Example: see `pack`.
    """
    archive = Path(archive)
    try:
        with open(archive, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            plain = gzip.GzipFile(fileobj=file) if zipped else file
            with tarfile.open(fileobj=_Guarded(plain), mode="r:") as tar:
                members = _checked(tar, os.fstat(file.fileno()).st_size)
                _finish(tar, plain)
                with new_directory(target) as folder:
                    # A second opinion, from Python 3.11.4 on.
                    tar.extraction_filter = getattr(
                        tarfile, "data_filter", lambda member, path: member
                    )
                    tar.extractall(folder, members)
    except _RefusedError as error:
        raise ValueError(
            f"{archive} is refused, nothing was unpacked: {error}."
        ) from None
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        RecursionError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{archive} is not a whole .tar or .tar.gz archive ({error}). "
            "Download it again, or pack it again."
        ) from error


def _checked(tar: tarfile.TarFile, size: int) -> list[tarfile.TarInfo]:
    """Returns the members of an archive of `size` bytes that may be unpacked.

    Each is checked before the ones after it are read.
    """
    members: dict[PurePosixPath, tarfile.TarInfo] = {}
    allowed = max(_UNPACKED, _RATIO * size)
    total = 0
    for member in tar:
        path = _checked_path(member)
        if path == PurePosixPath("."):
            continue
        if path in members:
            raise _RefusedError(f"{member.name!r} occurs twice")
        members[path] = member
        total += member.size
        if len(members) > _FILES:
            raise _RefusedError(
                f"it has more than {_FILES:,} files, a SavedModel some hundred"
            )
        if total > allowed:
            raise _RefusedError(
                f"its {size:,} bytes would become {total:,} or more, weights "
                f"become at most {allowed:,}"
            )
    for path, member in members.items():
        if any(p in members and members[p].isreg() for p in path.parents):
            raise _RefusedError(f"{member.name!r} lies in a file")
    _check_root(members)
    return list(members.values())


def _checked_path(member: tarfile.TarInfo) -> PurePosixPath:
    """Returns the path of a member, relative to the archive's root."""
    path = PurePosixPath(member.name)
    if path.is_absolute():
        raise _RefusedError(f"{member.name!r} is an absolute path")
    if ".." in path.parts:
        raise _RefusedError(f"{member.name!r} leads out of its folder")
    if member.issym() or member.islnk():
        raise _RefusedError(f"{member.name!r} is a link")
    ordinary = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
    if member.type not in ordinary or member.issparse():
        raise _RefusedError(f"{member.name!r} is no ordinary file")
    if any(len(os.fsencode(part)) > _NAME for part in path.parts):
        raise _RefusedError(f"it has a name of more than {_NAME} bytes")
    if member.size < 0:
        raise _RefusedError(f"{member.name!r} has {member.size} bytes")
    return path


def _check_root(members: dict[PurePosixPath, tarfile.TarInfo]) -> None:
    root = members.get(PurePosixPath(SAVED_MODEL))
    if root is not None and root.isreg():
        return
    for path in members:
        if path.name == SAVED_MODEL and path != PurePosixPath(SAVED_MODEL):
            raise _RefusedError(
                f"{SAVED_MODEL} is in its folder {str(path.parent)!r} and must "
                "be at its root. Unpack it by hand, then pack that folder: tar "
                f"-C '{path.parent}' -czf NEW.tar.gz ."
            )
    raise _RefusedError(f"it holds no {SAVED_MODEL}: no SavedModel")


def _finish(tar: tarfile.TarFile, plain: BinaryIO) -> None:
    """Reads to the end: tarfile takes a cut or damaged one for the end.

    Reading all of a .gz compares its checksum.
    """
    plain.seek(tar.offset)
    if plain.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")
    if len(plain.read(_PADDING)) == _PADDING:
        raise _RefusedError("there is more after its end")
