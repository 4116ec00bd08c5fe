"""All pairs of 64-bit hashes that differ in few bits: exact, memory bounded.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming
Space with Multi-Index Hashing", 2012): a hash is four bands of 16 bits.  Let
t0 + t1 + t2 + t3 = radius - 3.  If band i of two hashes differed in more than
ti bits for every i, they would differ in more than `radius` bits: so one band
of each wanted pair differs in no more than ti, and these few are looked up.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# More bits apart than this, half of all images are alike by chance, and the
# search is slower than comparing all pairs.
MAX_RADIUS = 16
_BANDS, _BITS = 4, 16
# Targets that are sorted at a time, and pairs that are compared at a time.
_BLOCK, _PAIRS = 1 << 20, 1 << 20


class Matches(NamedTuple):
    """Pairs of hashes, in no particular order.

    Attributes:
        query: int64 `(pairs,)`, index into the queries.
        target: int64 `(pairs,)`, index into the targets.
        distance: uint8 `(pairs,)`, bits in which the two differ.
    """

    query: np.ndarray
    target: np.ndarray
    distance: np.ndarray


def search(
    queries: np.ndarray, targets: np.ndarray, radius: int
) -> Iterator[Matches]:
    """Yields all pairs within a Hamming distance, each exactly once.

    Memory beyond the arguments does not grow with them: what is found comes in
    parts of about a million pairs.

    Args:
        queries: uint64 `(n,)`.
        targets: uint64 `(m,)`; may be many more.
        radius: Most bits that differ, 0 to `MAX_RADIUS`.

    Raises:
        ValueError: For hashes of another type, or a radius out of range.

    Example:

    >>> queries = np.array([0b1111], np.uint64)
    >>> targets = np.array([0b0001, 0b1110, 0], np.uint64)
    >>> [found.target.tolist() for found in search(queries, targets, 1)]
    [[1]]
    """
    for name, hashes in (("queries", queries), ("targets", targets)):
        if hashes.dtype != np.uint64 or hashes.ndim != 1:
            raise ValueError(
                f"{name} must be uint64 of shape (n,); got {hashes.dtype} of "
                f"shape {hashes.shape}."
            )
    check_radius("radius", radius)
    return _gathered(queries, targets, radius)


def check_radius(name: str, radius: int) -> None:
    """Raises a ValueError for a radius that cannot be.

    Args:
        name: Of the argument, for the message.
        radius: In bits.

    Example:

    >>> check_radius("radius", 64)
    Traceback (most recent call last):
    ValueError: radius must be 0 to 16 bits; got 64.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(
            f"{name} must be 0 to {MAX_RADIUS} bits; got {radius}."
        )


def _gathered(
    queries: np.ndarray, targets: np.ndarray, radius: int
) -> Iterator[Matches]:
    """Joins small parts to larger ones: each has a cost of its own."""
    parts: list[Matches] = []
    for start in range(0, len(targets), _BLOCK):
        block = targets[start : start + _BLOCK]
        for found in _in_block(queries, block, radius):
            parts.append(found._replace(target=found.target + start))
            if sum(len(part.query) for part in parts) >= _PAIRS:
                yield Matches(*map(np.concatenate, zip(*parts, strict=True)))
                parts = []
    if parts:
        yield Matches(*map(np.concatenate, zip(*parts, strict=True)))


def _in_block(
    queries: np.ndarray, targets: np.ndarray, radius: int
) -> Iterator[Matches]:
    """Yields the pairs with one block of targets."""
    limits = _limits(radius)
    for band, limit in enumerate(limits):
        keys = _band(targets, band)
        order = np.argsort(keys, kind="stable")
        counts = np.bincount(keys, minlength=1 << _BITS)
        starts = np.concatenate([[0], np.cumsum(counts)])
        by_key = targets[order]
        query_keys = _band(queries, band)
        for mask in _masks(limit):
            wanted = query_keys ^ mask
            first, last = starts[wanted], starts[wanted + 1]
            for query, place in _expanded(first, last - first):
                differ = queries[query] ^ by_key[place]
                distance = np.bitwise_count(differ)
                near = np.flatnonzero(distance <= radius)
                if near.size:
                    near = near[_is_new(differ[near], band, limits)]
                    yield Matches(
                        query[near], order[place[near]], distance[near]
                    )


def _limits(radius: int) -> list[int]:
    """Splits radius - 3 over the bands; -1: the band need not be looked up."""
    share, rest = divmod(radius + 1, _BANDS)
    return [share - 1 + (band < rest) for band in range(_BANDS)]


def _band(hashes: np.ndarray, band: int) -> np.ndarray:
    low = hashes >> np.uint64(_BITS * band)
    return (low & np.uint64((1 << _BITS) - 1)).astype(np.int64)


def _masks(limit: int) -> list[int]:
    """Lists all numbers of 16 bits of which at most `limit` are set."""
    return [
        sum(1 << bit for bit in bits)
        for size in range(limit + 1)
        for bits in itertools.combinations(range(_BITS), size)
    ]


def _expanded(
    first: np.ndarray, counts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (query, place) for places `first` to `first + count` of each.

    At most `_PAIRS` at a time, or those of one query.
    """
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < len(counts):
        stop = int(np.searchsorted(ends, done + _PAIRS, side="right"))
        stop = max(stop, start + 1)
        part = counts[start:stop]
        query = np.repeat(np.arange(start, stop), part)
        before = np.repeat(ends[start:stop] - part - first[start:stop], part)
        if query.size:
            yield query, np.arange(done, done + query.size) - before
        start, done = stop, int(ends[stop - 1])


def _is_new(differ: np.ndarray, band: int, limits: list[int]) -> np.ndarray:
    """Whether no earlier band has found these pairs already."""
    new = np.ones(len(differ), bool)
    for earlier in range(band):
        bits = np.bitwise_count(_band(differ, earlier))
        new &= bits.astype(np.int64) > limits[earlier]
    return new
