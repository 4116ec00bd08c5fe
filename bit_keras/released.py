"""The weight files the authors of BiT released: their names and download.

Names are `model.tag`:

- `bit_r50x1.i1k`: BiT-S, trained on ImageNet-1k (1000 classes); six models.
- `bit_r50x1.i21k`: BiT-M, trained on ImageNet-21k (21843 classes); six models.
- `bit_r50x1.i21k_ft_i1k`: BiT-M fine-tuned on ImageNet-1k; six models.
- `bit_r50x1.i21k_ft_vtab_caltech101_run0`: BiT-M fine-tuned on one of the 19
  VTAB-1k tasks, runs 0 to 2; all models but `bit_r152x2`.
- `bit_r50x1.distill_i1k_224` (or `_160`), `bit_r152x2.teacher_i1k_224` (or
  `_384`): student and teacher of "Knowledge distillation: A good teacher is
  patient and consistent" (arXiv 2106.05237), by training resolution.
"""

import contextlib
import functools
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bit_keras.recipe import did_you_mean

BASE_URL = "https://storage.googleapis.com/bit_models"

# Which files exist: README of google-research/big_transfer (140de6e).
_NETWORKS = ("R50x1", "R50x3", "R101x1", "R101x3", "R152x2", "R152x4")

# Tasks as spelled in the file names there; number of classes: labels of
# google-research/task_adaptation.  Without R152x2.
_VTAB_TASKS = {
    "caltech101": 102,
    "cifar100": 100,
    "clevr-count": 8,
    "clevr-distance": 6,
    "diabetic_retinopathy": 5,
    "dmlab": 6,
    "dsprites-orientation": 16,
    "dsprites-xpos": 16,
    "dtd": 47,
    "eurosat": 10,
    "kitti-distance": 4,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "patch_camelyon": 2,
    "resisc45": 45,
    "smallnorb-azimuth": 18,
    "smallnorb-elevation": 9,
    "sun397": 397,
    "svhn": 10,
}

# Bytes read at a time; seconds without any before giving up.
_CHUNK, _TIMEOUT = 1 << 20, 30


class _File(NamedTuple):
    file: str
    num_classes: int


@functools.cache
def _table() -> dict[str, _File]:
    table = {}
    for network in _NETWORKS:
        model = f"bit_{network.lower()}"
        table[f"{model}.i1k"] = _File(f"BiT-S-{network}.npz", 1000)
        table[f"{model}.i21k"] = _File(f"BiT-M-{network}.npz", 21843)
        table[f"{model}.i21k_ft_i1k"] = _File(
            f"BiT-M-{network}-ILSVRC2012.npz", 1000
        )
        for task, num_classes in _VTAB_TASKS.items():
            for run in range(3) if network != "R152x2" else ():
                tag = f"i21k_ft_vtab_{task.replace('-', '_')}_run{run}"
                table[f"{model}.{tag}"] = _File(
                    f"vtab/BiT-M-{network}-run{run}-{task}.npz", num_classes
                )
    for size in (160, 224):
        table[f"bit_r50x1.distill_i1k_{size}"] = _File(
            f"distill/R50x1_{size}.npz", 1000
        )
    for size in (224, 384):
        table[f"bit_r152x2.teacher_i1k_{size}"] = _File(
            f"distill/R152x2_T_{size}.npz", 1000
        )
    return table


def names() -> tuple[str, ...]:
    """Returns all released names, sorted.

    >>> len(names()), names()[0]
    (307, 'bit_r101x1.i1k')
    """
    return tuple(sorted(_table()))


def _entry(released: str) -> _File:
    if released not in _table():
        raise ValueError(
            f'There are no released weights "{released}".'
            f"{did_you_mean(released, names())} All names: "
            "bit_keras.released.names()."
        )
    return _table()[released]


def model_name(released: str) -> str:
    """Returns the name of the model that the weights are for.

    >>> model_name("bit_r50x1.i21k")
    'bit_r50x1'
    """
    _entry(released)
    return released.partition(".")[0]


def num_classes(released: str) -> int:
    """Returns the number of outputs of the weights' head.

    >>> num_classes("bit_r50x1.i21k")
    21843
    """
    return _entry(released).num_classes


def url(released: str, base_url: str = BASE_URL) -> str:
    """Returns where the file is.

    >>> url("bit_r50x1.i21k")
    'https://storage.googleapis.com/bit_models/BiT-M-R50x1.npz'
    """
    return f"{base_url}/{_entry(released).file}"


def default_cache() -> Path:
    """Returns the folder for downloads: BIT_KERAS_CACHE or ~/.cache/bit_keras.

    >>> default_cache().is_absolute()
    True
    """
    folder = os.environ.get("BIT_KERAS_CACHE") or "~/.cache/bit_keras"
    return Path(folder).expanduser().absolute()


def resolve(init: str | os.PathLike, cache_dir: Path | None = None) -> Path:
    """Returns the file or folder that `init` means, downloading if need be.

    Args:
        init: An existing file or folder, or a released name.
        cache_dir: For downloads; default: `default_cache()`.

    Raises:
        ValueError: If it is neither.
        ConnectionError: If the download fails.

    Example:

    >>> resolve(".")
    PosixPath('.')
    """
    path = Path(init).expanduser()
    if path.exists():
        return path
    if str(init) in _table():
        return fetch(str(init), cache_dir)
    raise ValueError(
        f'"{init}" is neither an existing file or folder nor the name of '
        "released weights, such as bit_r50x1.i21k."
        f"{did_you_mean(str(init), names())}"
    )


def fetch(
    released: str,
    cache_dir: Path | None = None,
    base_url: str = BASE_URL,
) -> Path:
    """Downloads released weights, unless they are there already.

    A download that stops half-way goes on from there the next time.

    Args:
        released: One of `names()`.
        cache_dir: Where to keep the file; default: `default_cache()`.
        base_url: Of a mirror with the same files.

    Returns:
        The `.npz` file.

    Raises:
        ValueError: For an unknown name, with the closest known one.
        ConnectionError: Saying what to download and where to put it.
    """
    source = url(released, base_url)
    target = Path(cache_dir or default_cache()) / _entry(released).file
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _explained(source, target):
        try:
            _download(source, part)
            os.replace(part, target)
        except OSError:
            # Fine if another process has finished the same download.
            if not target.exists():
                raise
    return target


@contextlib.contextmanager
def _explained(source: str, target: Path) -> Iterator[None]:
    """Turns network errors into one line on what to do by hand."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            reason = f"HTTP {error.code} {error.reason}"
        raise ConnectionError(
            f"Download failed ({reason}). Get {source} some other way and put "
            f'it at "{target}", or run this again to go on.'
        ) from error


def _download(source: str, part: Path) -> None:
    """Completes the file `part`."""
    with _request(source, part) as response:
        start, total = _range(response)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            with _progress(Path(source).name, start, total) as advance:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
    size = part.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection ended at {size} of {total} bytes")
    if not zipfile.is_zipfile(part):
        # For instance the log-in page of a network.
        part.unlink()
        raise OSError("what came is not an .npz file")


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
