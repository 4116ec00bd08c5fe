"""Tables of results as text: aligned, CSV, Markdown; and as Parquet."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from bit_keras.benchmarks.summary import text

# Of a checksum that people read; files have all 64.
_DIGITS = 12


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a table as short texts for people.

    Fractions get four decimals and checksums twelve digits; control characters,
    which a terminal would obey, become "?"; what is missing is empty, or `all`
    for shots.

    >>> print(cells(pd.DataFrame({"shots": [None], "mean": [1 / 3]})))
      shots    mean
    0   all  0.3333
    >>> cells(pd.DataFrame({"model_sha256": ["0123" * 16]})).iloc[0, 0]
    '012301230123'
    """
    made = {}
    for place, name in enumerate(frame.columns):
        series = frame.iloc[:, place]
        made[place] = [_cell(name, value) for value in series]
    short = pd.DataFrame(made, dtype=object, index=frame.index)
    short.columns = [_printable(str(name)) for name in frame.columns]
    return short


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, dict | list) and pd.isna(value):
        return "all" if name == "shots" else ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4f}"
    word = _printable(text(name, value))
    return word[:_DIGITS] if name == "model_sha256" else word


def _printable(word: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in word)


def aligned(frame: pd.DataFrame) -> str:
    """Returns a table in columns of equal width.

    >>> print(aligned(pd.DataFrame({"task": ["dtd"], "count": [3]})))
    task  count
     dtd      3
    """
    short = cells(frame)
    columns = [
        [head, *short.iloc[:, place]]
        for place, head in enumerate(short.columns)
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(
            word.rjust(width) for word, width in zip(line, widths, strict=True)
        )
        for line in zip(*columns, strict=True)
    ]
    return "\n".join(lines)


def markdown(frame: pd.DataFrame) -> str:
    """Returns a table in Markdown; special characters of data are escaped.

    >>> print(markdown(pd.DataFrame({"task": ["a|b"], "count": [3]})))
    | task | count |
    | --- | ---: |
    | a\\|b | 3 |
    """

    def line(words: Any) -> str:
        return f"| {' | '.join(map(_escape_markdown, words))} |"

    short = cells(frame)
    numeric = map(pd.api.types.is_numeric_dtype, frame.dtypes)
    rule = " | ".join("---:" if number else "---" for number in numeric)
    rows = [line(row) for row in short.itertuples(index=False, name=None)]
    return "\n".join([line(short.columns), f"| {rule} |", *rows])


def _escape_markdown(word: str) -> str:
    for special, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        word = word.replace(special, safe)
    return word


def csv(frame: pd.DataFrame) -> str:
    """Returns a table as CSV in full precision; details are JSON.

    >>> print(csv(pd.DataFrame({"shots": [5], "mean": [0.1 + 0.2]})), end="")
    shots,mean
    5,0.30000000000000004
    """
    return _flat(frame).to_csv(index=False, lineterminator="\n")


def parquet(frame: pd.DataFrame) -> bytes:
    """Returns a table as the bytes of a Parquet file; details are JSON.

    Raises:
        ValueError: If pyarrow is not installed.
    """
    buffer = io.BytesIO()
    try:
        _flat(frame).to_parquet(buffer, index=False, engine="pyarrow")
    except ImportError:
        raise ValueError(
            "Parquet needs the package pyarrow. Run pip install pyarrow, or "
            "use --format csv."
        ) from None
    return buffer.getvalue()


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    if "details" not in frame:
        return frame
    return frame.assign(
        details=[json.dumps(d, sort_keys=True) for d in frame["details"]]
    )


def render(frame: pd.DataFrame, kind: str) -> bytes:
    """Returns a table as the bytes of a file.

    Args:
        frame: The table.
        kind: "table", "csv", "markdown" or "parquet".

    Example:

    >>> render(pd.DataFrame({"task": ["dtd"]}), "csv")
    b'task\\ndtd\\n'
    """
    if kind == "parquet":
        return parquet(frame)
    if kind == "csv":
        return csv(frame).encode()
    body = markdown(frame) if kind == "markdown" else aligned(frame)
    return f"{body}\n".encode()


def replace_file(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file so that a reader sees all of it or none.

    Makes the folder if it is not there.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "new", "a.csv")
    >>> replace_file(path, b"x")
    >>> path.read_bytes()
    b'x'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
