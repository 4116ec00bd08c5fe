"""Near-duplicates between two sets of images: candidates, then a closer look.

Candidates are pairs whose hashes differ in few bits; a duplicate is a candidate
whose thumbnails, or features of a network, are alike enough.  Of each image the
nearest one is told.  (BiT, arXiv 1912.11370, Table 7, tells accuracies with and
without such test images; how they were found is not published.)
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.duplicates.hash_search import Matches, search
from bit_keras.benchmarks.duplicates.image_hash import (
    FLAT,
    VIEWS,
    Thumbnails,
    hasher,
    unpack,
)
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.source_subset import only
from bit_keras.data.sources import Source

# Candidates of an image that are looked at: those with the nearest hashes.
_NEAREST = 8
# Pairs whose thumbnails or features are in memory at a time.
_PAIRS = 1 << 14


@dataclasses.dataclass(frozen=True)
class Prints:
    """The hashes of a source.

    Attributes:
        source: The images.
        ids: Names of the readable ones.
        codes: uint64 `(n, 2)`, one for each of `image_hash.VIEWS`.
        usable: bool `(n, 2)`; a flat image has no hash.
    """

    source: Source
    ids: list[str]
    codes: np.ndarray
    usable: np.ndarray

    @property
    def flat(self) -> int:
        """Images that cannot be compared."""
        return int((~self.usable.any(axis=1)).sum())


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What a duplicate is.

    Attributes:
        radius: Most bits in which its hash differs, of 64.
        min_similarity: Least similarity of the two.
        model: Whose features are compared, by the cosine between them; None:
            the correlation of 16x16 thumbnails in colour.
    """

    radius: int
    min_similarity: float
    model: Backbone | None = None

    def __str__(self) -> str:
        what = f"cosine of {self.model.name}" if self.model else "correlation"
        return (
            f"hash within {self.radius} bits, {what} >= {self.min_similarity:g}"
        )


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image that is also elsewhere.

    Attributes:
        id: Of the image.
        upstream_id: Of its nearest duplicate.
        distance: Bits in which their hashes differ.
        similarity: By the criterion.
    """

    id: str
    upstream_id: str
    distance: int
    similarity: float


def fingerprints(
    source: Source, title: str, cache_dir: Path, say: Callable[[str], None]
) -> Prints:
    """Hashes every image of a source once; kept on disk, as features are.

    Args:
        source: With one label per image.
        title: For messages.
        cache_dir: Folder of all cached features.
        say: Is given each message.
    """
    found = extract(
        hasher(), title, source, ("hashes",), Thumbnails(), cache_dir, say=say
    )
    codes, contrast = unpack(found.features["hashes"])
    return Prints(source, found.ids, codes, contrast >= FLAT)


def candidates(images: Prints, upstream: Prints, radius: int) -> Matches:
    """Returns pairs of similar hashes: at most 8 for each image, the nearest.

    An image is never paired with itself, if both sources are the same.

    Args:
        images: Those to find.
        upstream: Where to search.
        radius: Most bits in which the hashes differ, of 64.
    """
    same = images.source.fingerprint == upstream.source.fingerprint
    empty = np.empty(0, np.int64)
    best = Matches(empty, empty, np.empty(0, np.uint8))
    for view in range(len(VIEWS)):
        mine, theirs = (
            np.flatnonzero(prints.usable[:, view])
            for prints in (images, upstream)
        )
        parts = search(
            images.codes[mine, view], upstream.codes[theirs, view], radius
        )
        for part in parts:
            new = Matches(mine[part.query], theirs[part.target], part.distance)
            if same:
                other = new.query != new.target
                new = Matches(*(column[other] for column in new))
            best = nearest(best, new, _NEAREST)
    return best


def nearest(one: Matches, other: Matches, count: int) -> Matches:
    """Joins matches; of each query only the nearest targets remain, once each.

    Args:
        one: Matches.
        other: Matches of the same queries and targets.
        count: Targets to keep for each query.

    Example:

    >>> one = Matches(np.array([0, 0]), np.array([5, 6]), np.array([3, 1]))
    >>> nearest(one, one, 1)
    Matches(query=array([0]), target=array([6]), distance=array([1]))
    """
    found = Matches(*map(np.concatenate, zip(one, other, strict=True)))
    order = np.lexsort((found.distance, found.target, found.query))
    query, target, distance = (column[order] for column in found)
    first = np.ones(len(query), bool)
    first[1:] = (np.diff(query) != 0) | (np.diff(target) != 0)
    query, target, distance = query[first], target[first], distance[first]
    order = np.lexsort((target, distance, query))
    query, target, distance = query[order], target[order], distance[order]
    # Rank within the query: place minus that of its first one.
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    kept = rank < count
    return Matches(query[kept], target[kept], distance[kept])


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What is compared of some images of a source.

    Attributes:
        row_of: Index into the ids of the source's `Prints` -> row here.
        vectors: float32 `(rows, views, width)`: thumbnails in two views, or
            features, of one.
    """

    row_of: dict[int, int]
    vectors: np.ndarray

    def at(self, indices: np.ndarray) -> np.ndarray:
        """Returns unit vectors, `(len(indices), views, width)`.

        Args:
            indices: Keys of `row_of`.
        """
        found = self.vectors[[self.row_of[int(index)] for index in indices]]
        length = np.linalg.norm(found, axis=2, keepdims=True)
        return found / np.maximum(length, 1e-12)


def look(
    prints: Prints,
    indices: np.ndarray,
    model: Backbone | None,
    title: str,
    cache_dir: Path,
    say: Callable[[str], None],
) -> Vectors:
    """Reads some images of a source once more, for a closer look.

    Args:
        prints: Of the source.
        indices: Which of its images; perhaps more than once.
        model: As of `Criterion`.
        title: For messages.
        cache_dir: Folder of all cached features.
        say: Is given each message.
    """
    endpoint, images, views = "thumbnails", Thumbnails(), len(VIEWS)
    if model:
        side, views = model.resolution, 1
        endpoint, images = "pre_logits", Preprocessing(side, side)
    chosen = np.unique(indices)
    if not len(chosen):
        return Vectors({}, np.empty((0, views, 1), np.float32))
    names = [prints.ids[index] for index in chosen]
    found = extract(
        model or hasher(),
        title,
        only(prints.source, names),
        (endpoint,),
        images,
        cache_dir,
        say=say,
    )
    row = {name: row for row, name in enumerate(found.ids)}
    vectors = found.features[endpoint].reshape(len(found.ids), views, -1)
    rows = (row[name] for name in names)
    return Vectors(dict(zip(chosen.tolist(), rows, strict=True)), vectors)


def confirm(
    near: Matches,
    images: Prints,
    upstream: Prints,
    vectors: tuple[Vectors, Vectors],
    min_similarity: float,
) -> list[Pair]:
    """Returns the candidates that are duplicates.

    Args:
        near: From `candidates`.
        images: Those to find.
        upstream: Where they were searched.
        vectors: Of both, for all of `near`.
        min_similarity: As of `Criterion`.

    Returns:
        Of each such image the most similar one upstream, most similar first.
    """
    similarity = _similarities(*vectors, near)
    order = np.lexsort((-similarity, near.query))
    _, first = np.unique(near.query[order], return_index=True)
    best = order[first]
    best = best[similarity[best] >= min_similarity]
    best = best[np.argsort(-similarity[best], kind="stable")]
    return [
        Pair(
            images.ids[near.query[k]],
            upstream.ids[near.target[k]],
            int(near.distance[k]),
            round(float(similarity[k]), 4),
        )
        for k in best
    ]


def _similarities(
    images: Vectors, upstream: Vectors, near: Matches
) -> np.ndarray:
    """Returns how alike each pair is, in the view in which it is more so."""
    found = np.empty(len(near.query), np.float32)
    for start in range(0, len(found), _PAIRS):
        part = slice(start, start + _PAIRS)
        one, other = images.at(near.query[part]), upstream.at(near.target[part])
        found[part] = np.einsum("nvw,nvw->nv", one, other).max(axis=1)
    return found
