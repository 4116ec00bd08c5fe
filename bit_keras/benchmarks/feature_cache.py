"""Columns on disk that grow row by row and survive kills and full disks.

One folder per entry, named by a hash of all that its numbers depend on:

entry.json        those facts, to be read by people
examples.jsonl    one line per example: [id, label, whether it was readable]
pre_logits.f32    one row of float32 per example; one file per endpoint
done.json         size and CRC-32 of each file that is complete
"""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bit_keras.atomic_writes import write_atomic

# Part of every key: files of another format are never looked at.
_FORMAT = 1
EXAMPLES = "examples.jsonl"
_DONE = "done.json"
# Bytes read, or copied, at a time.
_CHUNK = 1 << 24


def endpoint_file(endpoint: str) -> str:
    """Returns the file name of an endpoint's column.

    >>> endpoint_file("block1/unit01")
    'block1%2Funit01.f32'
    """
    return f"{urllib.parse.quote(endpoint, safe='')}.f32"


class Column:
    """A file of rows that only grows; a row that was cut off is dropped.

    Args:
        path: The file.
        row_bytes: Of each row; None: rows are lines of text.

    Example:

    >>> with Column(Path("a.f32"), row_bytes=8) as column:
    ...     column.append(0, [b"12345678", b"abcdefgh"])
    ...     column.append(1, [b"abcdefgh", b"ABCDEFGH"])
    ...     column.rows
    3
    """

    def __init__(self, path: Path, row_bytes: int | None = None) -> None:
        # Unbuffered: what failed to be written is not tried again on closing.
        self._file = open(path, "ab", buffering=0)
        if row_bytes is None:
            content = path.read_bytes()
            self.rows, end = content.count(b"\n"), content.rfind(b"\n") + 1
        else:
            self.rows = path.stat().st_size // row_bytes
            end = self.rows * row_bytes
        self._file.truncate(end)

    def __enter__(self) -> "Column":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.close()

    def append(self, start: int, rows: Sequence[bytes]) -> None:
        """Writes those of the rows `start`, `start + 1`, ... that are new.

        Args:
            start: At most `self.rows`.
            rows: With their line ends, if rows are lines.

        Raises:
            OSError: If the disk is full; what was written remains.
        """
        new = rows[self.rows - start :]
        _write(self._file, b"".join(new))
        self.rows += len(new)

    def sync(self) -> None:
        """Returns when everything is on the disk."""
        os.fsync(self._file.fileno())


class Entry:
    """One folder of the cache, open for one process at a time.

    Args:
        cache_dir: Folder of all entries; made if need be.
        facts: JSON values of all that the numbers depend on.
        say: Called with each message.

    Raises:
        OSError: If the folder cannot be written.

    Example:

    >>> with Entry(Path("cache"), {"model": "a"}, print) as entry:
    ...     with entry.column("a.f32", 4) as column:
    ...         column.append(0, [b"1234"])
    ...     entry.finish(["a.f32"])
    ...     entry.is_done("a.f32"), entry.is_done("b.f32")
    (True, False)
    """

    def __init__(
        self,
        cache_dir: Path,
        facts: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        text = json.dumps({"format": _FORMAT, **facts}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        self.path = Path(os.path.expanduser(cache_dir)) / key[:32]
        self._say = say
        with writing(self.path, lambda: "Make room, or choose another folder"):
            self.path.mkdir(parents=True, exist_ok=True)
            # The kernel drops the lock when the process dies, however it dies.
            self._lock = open(self.path / ".lock", "w")
            self._wait_for_lock()
            self._done = self._read_done()
            write_atomic(self.path / "entry.json", text + "\n")

    def _wait_for_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._say(
                "Another process extracts the same features; waiting for it."
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _read_done(self) -> dict[str, list[int]]:
        try:
            return dict(json.loads((self.path / _DONE).read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (TypeError, ValueError):
            self._say(
                f"Damaged feature cache {self.path}: extracting it again."
            )
            for path in self.path.glob("*.*"):
                if path.name != ".lock":
                    path.unlink()
            return {}

    def __enter__(self) -> "Entry":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._lock.close()

    def is_done(self, name: str) -> bool:
        """Whether a file is complete; a damaged one is named and removed."""
        if name not in self._done:
            return False
        path = self.path / name
        if path.exists() and _measure(path) == self._done[name]:
            return True
        self._say(f"Damaged feature cache {path}: extracting it again.")
        # Removed, not overwritten: who has it mapped keeps what they have.
        path.unlink(missing_ok=True)
        del self._done[name]
        self._write_done()
        return False

    def column(self, name: str, row_bytes: int | None = None) -> Column:
        """Opens a file to go on writing it."""
        return Column(self.path / name, row_bytes)

    def finish(self, names: Sequence[str]) -> None:
        """Records files as complete, with their checksums."""
        for name in names:
            self._done[name] = _measure(self.path / name)
        self._write_done()

    def _write_done(self) -> None:
        write_atomic(self.path / _DONE, json.dumps(self._done) + "\n")

    def examples(self) -> list[tuple[str, int, bool]]:
        """Returns id, label and readability of each row."""
        with open(self.path / EXAMPLES, encoding="utf-8") as file:
            return [tuple(json.loads(line)) for line in file]

    def matrix(self, name: str, keep: np.ndarray) -> np.ndarray:
        """Returns a complete file of float32 as a memory-mapped matrix.

        Args:
            name: Of the file.
            keep: bool `(rows,)`: which rows to return; at least one.

        Returns:
            float32 `(kept rows, features)`, read-only.
        """
        path = self.path / name
        if keep.all():
            mapped = np.memmap(path, np.float32, "r")
            return mapped.reshape(len(keep), -1)
        # A copy that is on disk, too, but has no name: it goes with its map.
        row_bytes = path.stat().st_size // len(keep)
        step = max(1, _CHUNK // row_bytes)
        with (
            writing(self.path, lambda: "Make room: the cache is intact"),
            open(path, "rb") as source,
            tempfile.TemporaryFile(dir=self.path, buffering=0) as copy,
        ):
            for start in range(0, len(keep), step):
                part = keep[start : start + step]
                rows = np.frombuffer(source.read(row_bytes * len(part)), "u1")
                _write(copy, rows.reshape(len(part), -1)[part].tobytes())
            shape = (int(keep.sum()), row_bytes // 4)
            return np.memmap(copy, np.float32, "r", shape=shape)


@contextlib.contextmanager
def writing(path: Path, advice: Callable[[], str]) -> Iterator[None]:
    """Turns an OSError of its body into one readable line.

    Args:
        path: Where its body writes.
        advice: Returns what to do, asked for when it has failed.

    Raises:
        OSError: Of the same class, with path, reason and advice.

    Example:

    >>> with writing(Path("cache"), lambda: "Make room"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: Cannot write features to cache: No space left on device. Make room.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"Cannot write features to {path}: {error.strerror or error}. "
            f"{advice()}."
        ) from None


def _write(file: Any, data: bytes) -> None:
    # Near the end of a disk (or of a limit), less is written than asked.
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _measure(path: Path) -> list[int]:
    """Returns size and CRC-32 of a file."""
    size = crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return [size, crc]
