"""Downloads that resume, and that never leave half a file in place."""

import contextlib
import functools
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


def download(
    source: str, target: Path, kind: str, check: Callable[[Path], bool]
) -> None:
    """Downloads a file.

    What has come so far is kept in `<target>.part`: a download that stops
    half-way goes on from there the next time.

    Args:
        source: The URL.
        target: The file to write; its folder is made if missing.
        kind: What the file must be, for the message: "an .npz file".
        check: Whether a finished file is that; networks answer with log-in
            pages.

    Raises:
        ConnectionError: Saying what to download and where to put it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _explained(source, target):
        try:
            _complete(source, part)
            if not check(part):
                part.unlink()
                raise OSError(f"what came is not {kind}")
            os.replace(part, target)
        except OSError:
            # Fine if another process has finished the same download.
            if not target.exists():
                raise


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


def _complete(source: str, part: Path) -> None:
    """Completes the file `part`."""
    with _request(source, part) as response:
        start, total = _range(response)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            name = urllib.parse.urlsplit(source).path.strip("/")
            with _progress(name, start, total) as advance:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
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
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        # 416: `part` is longer than the file.  Begin again.
        if error.code != 416:
            raise
        error.close()
    return urllib.request.urlopen(source, timeout=_TIMEOUT)


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
