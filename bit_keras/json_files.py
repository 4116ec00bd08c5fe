"""JSON files that others may have written: whatever is wrong is one error."""

import json
import os
from pathlib import Path
from typing import Any


def read(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    A byte order mark, which some editors write, is skipped.

    Args:
        path: Of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON; the message names the file.

    Example:

    >>> _ = Path("a.json").write_text('{"a": [1')
    >>> read("a.json")
    Traceback (most recent call last):
    ValueError: a.json is not valid JSON: Expecting ',' delimiter: line 1...
    """
    data = Path(path).read_bytes()
    try:
        return parse(data.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from None


def parse(text: str | bytes) -> Any:
    """Parses JSON; anything that is none is a ValueError.

    Of Python's own parser, too deep a nesting is another error.

    >>> parse("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
