"""The row: what was measured, on what, how sure; JSON Lines on disk.

One file per job, appended to while the job runs and safe to kill at any byte:
a half-written last line is not read, and cut off by the next append.
"""

import dataclasses
import fcntl
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from bit_keras import json_files
from bit_keras.benchmarks.row import KINDS, Row, config_hash
from bit_keras.benchmarks.summary import pivot, select, summarize
from bit_keras.recipe import did_you_mean

# The one door to results: rows, files, and what is done with them.
__all__ = [
    "ResultsFile",
    "Row",
    "config_hash",
    "load",
    "pivot",
    "select",
    "summarize",
]

FILE_NAME = "results.jsonl"

# What a number is of. Two rows that agree here and in `config_hash` are one
# measurement, made twice.
_IDENTITY = [
    "benchmark",
    "model",
    "model_sha256",
    "task",
    "protocol",
    "preprocessing",
    "metric",
    "endpoint",
    "shots",
    "seed",
    "config_hash",
]


class ResultsFile:
    """The rows of one job on disk.

    Args:
        path: Of the JSON Lines file; made, with its folder, by the first
            `append`.

    Example:

    >>> import tempfile
    >>> file = ResultsFile(Path(tempfile.mkdtemp(), "results.jsonl"))
    >>> file.rows()
    []
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def append(self, rows: Iterable[Row]) -> None:
        """Appends rows; they are on the disk when this returns.

        Raises:
            OSError: If they cannot be written; the file is as it was before.
        """
        lines = [json.dumps(dataclasses.asdict(row)) + "\n" for row in rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b", buffering=0) as file:
            # Two jobs with one file must not cut each other's lines.
            fcntl.flock(file, fcntl.LOCK_EX)
            size = self._mend(file)
            try:
                _write(file, "".join(lines).encode())
            except OSError as error:
                os.truncate(file.fileno(), size)
                raise type(error)(
                    error.errno,
                    f"{error.strerror}; nothing was added. Make room and run "
                    "the same command again",
                    str(self.path),
                ) from None

    def _mend(self, file: BinaryIO) -> int:
        """Ends the last line, or cuts it off if it is half a line."""
        size = file.seek(0, os.SEEK_END)
        start = max(size - 2**20, 0)
        file.seek(start)
        tail = file.read()
        if start and b"\n" not in tail:
            file.seek(0)
            tail = file.read()
        last = tail.rpartition(b"\n")[2]
        if _is_json(last):
            _write(file, b"\n")
        elif last:
            self._warn_torn("cut off")
            os.truncate(file.fileno(), size - len(last))
        return os.fstat(file.fileno()).st_size

    def _warn_torn(self, done: str) -> None:
        warnings.warn(
            f"{self.path}: the last line is incomplete (the job was stopped "
            f"while writing it) and was {done}.",
            stacklevel=4,
        )

    def rows(self) -> list[Row]:
        """Reads the rows; a half-written last one is left out with a warning.

        Raises:
            ValueError: For a line that is not a row; names file and line.
        """
        if not self.path.exists():
            return []
        rows = []
        lines = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            # Only what ends without a new line can be half a row.
            if number == len(lines) and not _is_json(line):
                self._warn_torn("left out")
                continue
            try:
                rows.append(_parse(line))
            except ValueError as error:
                raise ValueError(
                    f"{self.path}, line {number}: {error} Correct or delete "
                    "that line."
                ) from None
        return rows


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())


def _is_json(line: bytes) -> bool:
    try:
        json_files.parse(line)
    except ValueError:
        return False
    return True


def _parse(line: bytes) -> Row:
    """Reads one line.

    Raises:
        ValueError: If it is not a row.
    """
    try:
        fields = json_files.parse(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise ValueError(f"not a row but {type(fields).__name__}.")
    for name in fields:
        if name not in KINDS:
            raise ValueError(
                f'"{name}" is not a field of a row.{did_you_mean(name, KINDS)}'
            )
    try:
        return Row(**fields)
    except TypeError as error:
        raise ValueError(f"{str(error).partition(' ')[2]}.") from None


def load(paths: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """Reads rows into one table, each measurement once.

    A measurement found several times counts with its latest row, and a warning
    says so.

    Args:
        paths: Files, and directories whose `results.jsonl` files are read, at
            any depth.

    Returns:
        One row per measurement; the columns are the fields of `Row`, missing
        values are NaN (`<NA>` in `shots` and `seed`).

    Raises:
        FileNotFoundError: For a path that does not exist, or a directory
            without results.
        ValueError: For a line that is not a row.
    """
    rows = [
        vars(row) for path in _files(paths) for row in ResultsFile(path).rows()
    ]
    frame = pd.DataFrame(rows, columns=list(KINDS))
    whole = {"n": "int64", "shots": "Int64", "seed": "Int64"}
    frame = frame.astype({"value": float, "stderr": float, **whole})
    # Latest last; what was measured in one second keeps the file's order.
    order = pd.to_datetime(frame["time"], format="ISO8601", utc=True)
    frame = frame.loc[order.sort_values(kind="stable").index]
    again = frame.duplicated(_IDENTITY, keep="last")
    if again.any():
        groups = frame.groupby(_IDENTITY, dropna=False)["value"]
        apart = int((groups.nunique() > 1).sum())
        warnings.warn(
            f"{int(again.sum())} rows are repeats of the same measurement; "
            "the latest of each counts"
            + (f" ({apart} came out differently)." if apart else "."),
            stacklevel=2,
        )
    return frame[~again].reset_index(drop=True)


def _files(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """Lists the files under `paths`, each once."""
    found = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(path.rglob(FILE_NAME))
            if not inside:
                raise FileNotFoundError(
                    f"There is no {FILE_NAME} in {path} or below it. Give the "
                    "--out directory of a benchmark."
                )
        elif path.exists():
            inside = [path]
        else:
            raise FileNotFoundError(f'There is no file or folder "{path}".')
        found.update({file.resolve(): file for file in inside})
    return list(found.values())
