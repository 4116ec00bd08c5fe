"""Downloads that resume, and that never leave half a file in place.

Over https only, but for a server on this machine, and of a limited size.
"""

import contextlib
import functools
import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

# Bytes read at a time; seconds without any before giving up.
_CHUNK, _TIMEOUT = 1 << 20, 30
# The largest released file, BiT-M-R152x4, has about 4 GB.
_LARGEST = 1 << 33
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class _RefusedError(OSError):
    """What a server does that it must not; nothing of it is kept."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where a download may begin."""

    def redirect_request(self, request, response, *rest):  # noqa: ANN001, ANN002, ANN201
        new = super().redirect_request(request, response, *rest)
        if new is not None and not is_secure(new.full_url):
            response.close()
            raise _RefusedError(f"it leads to {new.full_url}, without https")
        return new


def is_secure(url: str) -> bool:
    """Whether nobody on the way can change what comes from a URL.

    >>> is_secure("https://host/a"), is_secure("http://host/a")
    (True, False)
    >>> is_secure("http://localhost:8000/a")
    True
    """
    parts = urllib.parse.urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _THIS_MACHINE
    return parts.scheme == "https" or local


def download(
    source: str,
    target: Path,
    kind: str,
    check: Callable[[Path], bool],
    sha256: str | None = None,
    largest: int = _LARGEST,
) -> None:
    """Downloads a file.

    What has come so far is kept in `<target>.part`: a download that stops
    half-way goes on from there the next time.

    Args:
        source: The URL: https, or http of this machine.
        target: The file to write; its folder is made if missing.
        kind: What the file must be, for the message: "an .npz file".
        check: Whether a finished file is that; networks answer with log-in
            pages.
        sha256: Of the file (hexadecimal), if it is known.
        largest: Bytes that the file may have at most.

    Raises:
        ValueError: For a URL without https.
        ConnectionError: Saying what to download and where to put it.

    Example:

    >>> download("http://host/a.npz", Path("a.npz"), "a file", Path.exists)
    Traceback (most recent call last):
    ValueError: http://host/a.npz is not https: anybody on the way could...
    """
    if not is_secure(source):
        raise ValueError(
            f"{source} is not https: anybody on the way could change what "
            "comes. Use https, or get it some other way and put it at "
            f'"{target}".'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _explained(source, target):
        try:
            _complete(source, part, largest)
            check_sum(part, sha256)
            if not check(part):
                raise _RefusedError(f"what came is not {kind}")
            os.replace(part, target)
        except OSError as error:
            if isinstance(error, _RefusedError):
                part.unlink(missing_ok=True)
            # Fine if another process has finished the same download.
            if not target.exists():
                raise


def check_sum(path: Path, sha256: str | None) -> None:
    """Raises an OSError unless a file has a checksum; None: any.

    >>> path = Path("a.txt")
    >>> _ = path.write_text("hello")
    >>> check_sum(path, "00")
    Traceback (most recent call last):
    bit_keras.download._RefusedError: sha256 is 2cf24dba5fb0a30e26e83b2ac5b9...
    """
    if sha256 is None:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise _RefusedError(f"sha256 is {found}, not {sha256}")


@contextlib.contextmanager
def _explained(source: str, target: Path) -> Iterator[None]:
    """Turns network errors into one line on what to do by hand."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            reason = f"HTTP {error.code} {error.reason}"
            error.close()
        raise ConnectionError(
            f"Download failed ({reason}). Get {source} some other way and put "
            f'it at "{target}", or run this again to go on.'
        ) from error


def _complete(source: str, part: Path, largest: int) -> None:
    """Completes the file `part`."""
    with _request(source, part) as response:
        start, total = _range(response)
        if total is not None and total > largest:
            raise _RefusedError(f"{total:,} bytes are more than {largest:,}")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            name = urllib.parse.urlsplit(source).path.strip("/")
            with _progress(name, start, total) as advance:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
                    if file.tell() > largest:
                        raise _RefusedError(f"more than {largest:,} bytes came")
    size = part.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection ended at {size} of {total} bytes")


def _request(source: str, part: Path) -> http.client.HTTPResponse:
    """Asks for what is still missing of `part`."""
    have = part.stat().st_size if part.exists() else 0
    # From the last byte on, so that there is something left to ask for.
    headers = {"Range": f"bytes={have - 1}-"} if have else {}
    request = urllib.request.Request(source, headers=headers)
    try:
        return _open(request)
    except urllib.error.HTTPError as error:
        # 416: `part` is longer than the file.  Begin again.
        if error.code != 416:
            raise
        error.close()
    return _open(urllib.request.Request(source))


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_Redirects)
    return opener.open(request, timeout=_TIMEOUT)


def _range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Returns the first byte of a response and the size of the whole file."""
    match = re.fullmatch(
        r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "")
    )
    if response.status == 206 and match:
        return int(match[1]), int(match[2])
    # This server sends the whole file, whatever it is asked for.
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


@contextlib.contextmanager
def _progress(
    name: str, start: int, total: int | None
) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of bytes that came.

    Shows a bar in a terminal, else a line for every 10 %, on stderr.
    """
    if not sys.stderr.isatty():
        yield _print_tenths(name, start, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total, completed=start)
        yield functools.partial(progress.advance, task)


def _print_tenths(
    name: str, start: int, total: int | None
) -> Callable[[int], None]:
    done = start

    def advance(size: int) -> None:
        nonlocal done
        before, done = done, done + size
        if total and done * 10 // total > before * 10 // total:
            print(
                f"{name}: {done * 10 // total * 10} % of {total:,} bytes",
                file=sys.stderr,
            )

    return advance
