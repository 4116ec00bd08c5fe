"""The search for near-duplicates against comparing all pairs of hashes.

Hashes are generated: of each of some queries a copy with a few bits changed is
hidden among the targets.  The search runs in a process of its own, whose memory
is measured; all pairs are compared for a sample of the queries.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence

import numpy as np

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.duplicates.hash_search import search
from bit_keras.benchmarks.speed import process_memory
from bit_keras.benchmarks.speed.table import table

# Most GiB in memory with a million targets.
GOAL_GIB = 2.0
# Default of the sub-command duplicates.
_RADIUS = 10
# Distances at which copies are hidden; the last ones are too far to be found.
_HIDDEN = np.arange(_RADIUS + 3)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bit_keras.benchmarks speed duplicates",
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="rounds of timing; default 3")
    add("--quick", action="store_true", help="fewer hashes, one round")
    add("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args(argv)
    if args.quick:
        figures = measure(2000, 50_000, 200, repeats=1)
    else:
        figures = measure(50_000, 1_000_000, 500, args.repeats)
    goals = {"peak memory, GiB": f"<= {GOAL_GIB:g}", "recall": "1"}
    rows = [(k, f"{v:.4g}", goals.get(k, "")) for k, v in figures.items()]
    print(table(("figure", "measured", "goal"), rows))
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    met = figures["peak memory, GiB"] <= GOAL_GIB and figures["recall"] == 1
    return 0 if met else 1


def measure(
    num_queries: int, num_targets: int, sample: int, repeats: int
) -> dict[str, float]:
    """Returns all figures, by name; seconds are medians over the rounds.

    Args:
        num_queries: Test images.
        num_targets: Upstream images.
        sample: Queries for which all pairs are compared, too.
        repeats: Rounds, of one run of each way.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs, memory = [], [], []
    for _ in range(repeats):
        with context.Pool(1) as pool:
            task = (num_queries, num_targets)
            found, seconds, peak = pool.apply(_search_apart, task)
        ours.append(seconds)
        memory.append(peak)
        queries, targets = synthetic_hashes(num_queries, num_targets)
        began = time.perf_counter()
        expected = all_pairs(queries[:sample], targets, _RADIUS)
        theirs.append((time.perf_counter() - began) * num_queries / sample)
    of_sample = {pair for pair in found if pair[0] < sample}
    seconds = statistics.median(ours)
    return {
        "CPU cores": os.cpu_count() or 1,
        "queries": num_queries,
        "targets": num_targets,
        "radius, bits": _RADIUS,
        "pairs": len(found),
        "search, seconds": seconds,
        "all pairs, seconds (from a sample)": statistics.median(theirs),
        "ratio": statistics.median(theirs) / seconds,
        "peak memory, GiB": max(memory) / 2**30,
        "pairs of the sample": len(expected),
        "recall": len(expected & of_sample) / len(expected),
        "wrong or repeated pairs": len(found)
        - len(set(found))
        + len(of_sample - expected),
    }


def synthetic_hashes(
    num_queries: int, num_targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns random hashes; each query is hidden among the targets once.

    The copy of query i differs in i modulo 13 bits.

    Example:

    >>> queries, targets = synthetic_hashes(20, 50)
    >>> sorted(np.bitwise_count(queries[7] ^ targets))[0]
    np.uint8(7)
    """
    rng = np.random.default_rng(0)

    def draw(count: int) -> np.ndarray:
        return rng.integers(0, 2**64, count, dtype=np.uint64)

    queries, targets = draw(num_queries), draw(num_targets)
    flips = np.zeros(num_queries, np.uint64)
    bits = rng.permuted(np.tile(np.arange(64), (num_queries, 1)), axis=1)
    for place in _HIDDEN[:-1]:
        wanted = np.arange(num_queries) % len(_HIDDEN) > place
        bit = np.uint64(1) << bits[:, place].astype(np.uint64)
        flips = np.where(wanted, flips | bit, flips)
    where = rng.choice(num_targets, num_queries, replace=False)
    targets[where] = queries ^ flips
    return queries, targets


def all_pairs(
    queries: np.ndarray, targets: np.ndarray, radius: int
) -> set[tuple[int, int]]:
    """Compares each query with every target.

    Example:

    >>> all_pairs(np.array([1], np.uint64), np.array([1, 6], np.uint64), 2)
    {(0, 0)}
    """
    found = set()
    for index, query in enumerate(queries):
        distance = np.bitwise_count(targets ^ query)
        near = np.flatnonzero(distance <= radius)
        found.update((index, int(target)) for target in near)
    return found


def _search_apart(
    num_queries: int, num_targets: int
) -> tuple[list[tuple[int, int]], float, int]:
    """Returns pairs, seconds and the greatest memory of this process."""
    queries, targets = synthetic_hashes(num_queries, num_targets)
    began = time.perf_counter()
    found = [
        pair
        for part in search(queries, targets, _RADIUS)
        for pair in zip(part.query.tolist(), part.target.tolist(), strict=True)
    ]
    seconds = time.perf_counter() - began
    return found, seconds, process_memory.peak()


if __name__ == "__main__":
    raise SystemExit(main())
