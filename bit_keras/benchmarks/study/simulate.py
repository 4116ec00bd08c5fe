"""The command: python -m bit_keras.benchmarks.study.simulate

A study of thousands of jobs on machines that fail, without the machines:
checks the plan's makespan, with failures counted in, against a simulation of
every job.  `docs/clusters.md` has what it prints.
"""

import argparse
import collections
import dataclasses
import heapq
import itertools
import math
from collections.abc import Sequence

import numpy as np

from bit_keras import models
from bit_keras.benchmarks.study import plan

# arXiv 2110.02095: Section 2, JFT; Figure 4. Shares between are ours.
_IMAGES = 303_000_000
_SIZES = ("vit_ti16", "vit_s16", "vit_b16", "vit_l16")
_SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_EPOCHS = (7, 14, 21)
# Eight TPUv3 cores. One sustained 26.7: ViT-L/16, 14 epochs of JFT, took 680
# core-days (arXiv 2010.11929, tables 2 and 3).
_TERAFLOPS = 8 * 26.7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Workers, and how they fail.

    Attributes:
        workers: Jobs at a time.
        failure_hours: Mean time between failures of one worker; failures are
            independent of each other and of what happened before.
        checkpoint_hours: Between two saved states of a job.
        repair_hours: Until a failed worker, or its successor, takes a job.
    """

    workers: int
    failure_hours: float = math.inf
    checkpoint_hours: float = 0.25
    repair_hours: float = 0.1


def expected(hours: float, cluster: Cluster) -> float:
    """Returns the worker hours that a job costs, failures included.

    Between two states of length c a worker fails at rate r, and every failure
    costs the time since the last state and the repair d: on average
    `(exp(r c) - 1) (1 / r + d)` (Daly, 2006, with no cost of saving).

    Args:
        hours: Of the job on a worker that never fails.
        cluster: Whose failures.

    Example:

    >>> expected(10.0, Cluster(workers=1))
    10.0
    >>> round(expected(10.0, Cluster(workers=1, failure_hours=100)), 4)
    10.0225
    """
    if math.isinf(cluster.failure_hours):
        return hours
    whole, rest = divmod(hours, cluster.checkpoint_hours)

    def part(length: float) -> float:
        failures = math.expm1(length / cluster.failure_hours)
        return failures * (cluster.failure_hours + cluster.repair_hours)

    return whole * part(cluster.checkpoint_hours) + part(rest)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What happened: hours until the last job ended, failures, hours lost."""

    hours: float
    failures: int
    lost_hours: float


def simulate(
    hours: Sequence[float], cluster: Cluster, rng: np.random.Generator
) -> Outcome:
    """Goes through a list of jobs, failure by failure.

    A free worker takes the first job of the list. A job whose worker failed
    goes back to the head of the list with what was not saved.

    Args:
        hours: Of each job, in the order of the list.
        cluster: The workers.
        rng: Of the failures.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> simulate([3, 3, 2, 2, 2], Cluster(workers=2), rng).hours
    7.0
    """
    queue = collections.deque(float(length) for length in hours)
    # (when, whether a job comes back at that time, hours left of it).
    events = [(0.0, -1.0)] * cluster.workers
    end, failures, lost = 0.0, 0, 0.0
    idle = 0
    while events:
        now, back = heapq.heappop(events)
        if back >= 0:
            # The job is free when its worker has failed, not when repaired.
            queue.appendleft(back)
        else:
            idle += 1
        while idle and queue:
            idle -= 1
            left = queue.popleft()
            until = rng.exponential(cluster.failure_hours)
            if until >= left:
                end = max(end, now + left)
                heapq.heappush(events, (now + left, -1.0))
                continue
            step = cluster.checkpoint_hours
            saved = math.floor(until / step) * step
            failures, lost = failures + 1, lost + until - saved
            heapq.heappush(events, (now + until, left - saved))
            repaired = now + until + cluster.repair_hours
            heapq.heappush(events, (repaired, -1.0))
    return Outcome(end, failures, lost)


def multiply_adds(name: str) -> float:
    """Returns the multiply-adds of a registered ViT, for one image.

    Its matrices and the two products of attention; the rest is below 1 %.

    >>> round(multiply_adds("vit_b16") / 1e9, 1)
    17.6
    """
    about = models.arguments(name)
    width, patch = about["width"], about["patch"]
    patches = (about["image_size"] // patch) ** 2
    tokens = patches + (about["pool"] == "token")
    matrices = 4 * width**2 + 2 * width * about["mlp_width"]
    block = tokens * matrices + 2 * tokens**2 * width
    return about["depth"] * block + patches * 3 * patch**2 * width


def grid_hours(jobs: int, teraflops: float) -> list[float]:
    """Returns the hours of the jobs of a grid like the paper's, longest first.

    Sizes, data and epochs are those of its controlled experiment (arXiv
    2110.02095, Figure 4; of the shares of data the first and the last). A step
    costs three forward passes, a multiply-add two operations.

    Args:
        jobs: How many; the cells are gone through as often as need be.
        teraflops: 10^12 operations per second that a worker sustains: images
            per second of training x 6 x multiply-adds of an image / 10^12.

    Example:

    >>> hours = grid_hours(72, teraflops=100.0)
    >>> len(hours), round(hours[0] / hours[-1])
    (72, 7366)
    """
    cells = itertools.product(_SIZES, _SHARES, _EPOCHS)
    costs = [
        6 * multiply_adds(name) * _IMAGES * share * epochs
        for name, share, epochs in cells
    ]
    chosen = itertools.islice(itertools.cycle(costs), jobs)
    return sorted(
        (cost / (teraflops * 1e12) / 3600 for cost in chosen), reverse=True
    )


def compare(hours: Sequence[float], cluster: Cluster, seed: int) -> str:
    """Returns one line: what was planned, and what the simulation needed."""
    found = simulate(hours, cluster, np.random.default_rng(seed))
    planned = plan.makespan(
        [expected(h, cluster) for h in hours], cluster.workers
    )
    ideal = sum(hours) / cluster.workers
    return (
        f"{cluster.workers:7d}  {cluster.failure_hours:8g}  {ideal:8.1f}  "
        f"{max(hours):7.1f}  {planned:8.1f}  {found.hours:9.1f}  "
        f"{found.hours / planned - 1:+7.1%}  {found.failures:8d}  "
        f"{found.lost_hours / sum(hours):6.2%}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prints planned and simulated makespans for growing clusters.

    Args:
        argv: Arguments without the program's name; None: of this process.

    Example:

    >>> main(["--jobs", "72", "--workers", "4"])
    72 jobs, 16199 worker hours
    workers  failures     ideal  longest   planned  simulated    error ...
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--jobs", type=int, default=4800)
    parser.add_argument(
        "--teraflops",
        type=float,
        default=_TERAFLOPS,
        help="that a worker sustains; default: eight TPUv3 cores",
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[64, 256, 1024]
    )
    parser.add_argument(
        "--failure-hours",
        type=float,
        nargs="+",
        default=[math.inf, 1000.0, 24.0],
        help="between failures of one worker",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    hours = grid_hours(args.jobs, args.teraflops)
    print(f"{args.jobs} jobs, {sum(hours):.0f} worker hours")
    print(
        "workers  failures     ideal  longest   planned  simulated    error  "
        "failures    lost"
    )
    for workers in args.workers:
        for failure_hours in args.failure_hours:
            cluster = Cluster(workers=workers, failure_hours=failure_hours)
            print(compare(hours, cluster, args.seed))
    return 0


if __name__ == "__main__":
    main()
