"""The features of every image of a task, extracted once and kept on disk."""

import dataclasses
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.feature_cache import EXAMPLES, Entry, endpoint_file
from bit_keras.benchmarks.feature_pass import Pass
from bit_keras.benchmarks.images import ImageFunction
from bit_keras.checkpoint_report import first_names
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Features:
    """What a backbone makes of one split.

    Attributes:
        features: Endpoint -> float32 `(n, features)`, memory-mapped, read-only.
        labels: int64 `(n,)`.
        ids: `n` names of examples, as the source gives them.
        seconds: That this took.
        cached: Whether all of it was on disk already.
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray
    ids: list[str]
    seconds: float
    cached: bool


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def extract(
    backbone: Backbone,
    task_name: str,
    source: Source,
    endpoints: tuple[str, ...],
    preprocessing: ImageFunction,
    cache_dir: Path,
    batch_size: int = 64,
    say: Callable[[str], None] = _say,
    exclude: Collection[str] = (),
) -> Features:
    """Runs the backbone over every image of a split, once.

    What is on disk is not computed again, an interrupted extraction goes on
    where it stopped, and a second process waits for the first.  Neither images
    nor features are ever all in memory.

    Args:
        backbone: From `open_backbone`.
        task_name: For messages and the cache's key.
        source: The split, with one label per image.
        endpoints: Some of `backbone.endpoints`.
        preprocessing: What is done to the images.
        cache_dir: Folder of all cached features; made if need be.
        batch_size: Images per call of the backbone; results do not depend on
            it but for rounding.
        say: Called with each message; default: print to standard error.
        exclude: Ids of examples to leave out of what is returned.

    Returns:
        `Features` of all images that can be read and are not excluded, in the
        source's order.

    Raises:
        ValueError: For unknown endpoints, multi-label or empty sources, a
            backbone whose output is not `(batch, features)`, and features or
            labels that are not legal (naming the image).
        OSError: If the disk is full; what is there is kept and continued.

    Example:

    >>> from bit_keras.benchmarks.backbone import open_backbone
    >>> from bit_keras.benchmarks.images import Preprocessing
    >>> from bit_keras.data.sources import open_source
    >>> made = extract(
    ...     open_backbone("bit_tiny", init="random"),
    ...     "digits",
    ...     open_source("digits", "test[:20]"),
    ...     ("pre_logits",),
    ...     Preprocessing(resize=9, crop=8),
    ...     Path("cache"),
    ...     say=lambda message: None,
    ... )
    >>> made.features["pre_logits"].shape, made.labels.shape
    ((20, 256), (20,))
    """
    began = time.monotonic()
    title = f"{task_name} {source.split}"
    endpoints = tuple(dict.fromkeys(endpoints))
    _check(title, source, batch_size)
    backbone.features(endpoints)  # A misspelt one is an error even if cached.
    facts = {
        "model": backbone.sha256,
        "input_range": backbone.input_range,
        "task": task_name,
        "source": [source.name, source.split, source.fingerprint],
        "preprocessing": str(preprocessing),
    }
    with Entry(cache_dir, facts, say) as entry:
        missing = tuple(
            name for name in endpoints if not entry.is_done(endpoint_file(name))
        )
        cached = entry.is_done(EXAMPLES) and not missing
        if not cached:
            work = Pass(title, backbone, source, preprocessing, batch_size)
            work.run(missing, entry, say)
        ids, labels, keep = _selected(title, entry, exclude, say)
        features = {
            name: entry.matrix(endpoint_file(name), keep) for name in endpoints
        }
    if cached:
        say(f"{title}: features from cache ({len(ids)} images)")
    seconds = time.monotonic() - began
    return Features(features, labels, ids, seconds, cached)


def _check(title: str, source: Source, batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1; got {batch_size}.")
    if source.multi_label:
        raise ValueError(
            f"{title} is multi-label (several classes per image); few-shot "
            "and linear evaluation need a single label. Choose another label "
            "or task."
        )
    if source.num_examples == 0:
        raise ValueError(f"{title}: the split has no images.")


def _selected(
    title: str,
    entry: Entry,
    exclude: Collection[str],
    say: Callable[[str], None],
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns ids and labels of the rows to keep, and which these are."""
    ids, labels, readable = zip(*entry.examples(), strict=True)
    excluded = set(exclude)
    keep = np.array(readable) & [name not in excluded for name in ids]
    corrupt = [n for n, ok in zip(ids, readable, strict=True) if not ok]
    if corrupt:
        say(
            f"{title}: {len(corrupt)} corrupt images are left out: "
            f"{first_names(corrupt)}"
        )
    left_out = len(ids) - len(corrupt) - int(keep.sum())
    if left_out:
        say(f"{title}: {left_out} images are excluded.")
    if not keep.any():
        raise ValueError(
            f"{title}: none of its {len(ids)} images is left: {len(corrupt)} "
            f"are corrupt, {left_out} are excluded."
        )
    kept = [name for name, kept in zip(ids, keep, strict=True) if kept]
    return kept, np.array(labels, np.int64)[keep], keep
