"""Files that are written whole or not at all, and say where they could not."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns an OSError of its body into one line that names the file.

    Raises:
        OSError: Of the same class.

    Example:

    >>> with writing("a.txt"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: Cannot write a.txt: No space left on device. What was saved ...
    """
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"Cannot write {path}: {error.strerror or error}. What was saved "
            "before is intact: make room or repair the disk, and the same "
            "command goes on from there."
        ) from None


def write_atomic(path: str | os.PathLike, text: str) -> None:
    """Writes a text file so that a reader sees all of it or none.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.txt")
    >>> write_atomic(path, "hello")
    >>> path.read_text()
    'hello'
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
