"""Large arrays in blocks of rows, so that temporary copies stay small."""

from collections.abc import Iterator

# Numbers in a block of rows: 32 MiB of float32.
_BLOCK = 2**23


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Cuts rows of `width` numbers into blocks of about 32 MiB of float32.

    >>> list(blocks(5, 2**22))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, _BLOCK // width)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
