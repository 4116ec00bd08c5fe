"""CSV files that others may have written: whatever is wrong is one error."""

import csv
import os
from collections.abc import Iterator


def header(path: str | os.PathLike) -> list[str]:
    """Returns the names of the columns of a CSV file; [] if it is empty.

    Raises:
        ValueError: If it is no CSV file, or its cells are not separated by
            commas.

    Example:

    >>> with open("a.csv", "w") as file:
    ...     _ = file.write("path,label\\na.jpg,cat\\n")
    >>> header("a.csv")
    ['path', 'label']
    >>> with open("b.csv", "w") as file:
    ...     _ = file.write("path;label\\n")
    >>> header("b.csv")
    Traceback (most recent call last):
    ValueError: b.csv: the cells are separated by semicolons. Save it with
    commas.
    """
    names = next(_lines(path), (0, []))[1]
    if len(names) == 1 and ";" in names[0]:
        raise ValueError(
            f"{path}: the cells are separated by semicolons. Save it with "
            "commas."
        )
    return names


def read(
    path: str | os.PathLike,
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Reads a CSV file: cells without the spaces around them.

    A byte order mark, which spreadsheets put before the header, is skipped.

    Args:
        path: Of the file, UTF-8.

    Returns:
        The names of the columns, and (number of its last line, cells) of each
        row that is not empty.

    Raises:
        ValueError: If it is no CSV file, a row has not as many cells as there
            are names, or a name is there twice; the message names the file.

    Example:

    >>> with open("a.csv", "w") as file:
    ...     _ = file.write("path,label\\na.jpg,cat\\n\\nb.jpg\\n")
    >>> read("a.csv")
    Traceback (most recent call last):
    ValueError: a.csv, line 4: 1 cells, but the header has 2.
    """
    lines = (
        (number, [cell.strip() for cell in cells])
        for number, cells in _lines(path, skipinitialspace=True)
    )
    names = next(lines, (0, []))[1]
    if twice := {name for name in names if name and names.count(name) > 1}:
        raise ValueError(
            f'{path}: there are two columns "{sorted(twice)[0]}". Remove or '
            "rename one."
        )
    rows = [line for line in lines if line[1]]
    for number, cells in rows:
        if len(cells) != len(names):
            raise ValueError(
                f"{path}, line {number}: {len(cells)} cells, but the header "
                f"has {len(names)}."
            )
    return names, rows


def _lines(
    path: str | os.PathLike, **options: bool
) -> Iterator[tuple[int, list[str]]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, **options)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: {error}.") from None
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {reader.line_num}: no CSV file ({error})."
            ) from None
