"""Jobs side by side, each with its share of the cores."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import ThreadpoolController

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
# All jobs that run at a time may need so many bytes.
_MEMORY = 2 * 2**30


def side_by_side(
    function: Callable[[_Job], _Result], jobs: Iterable[_Job], job_bytes: int
) -> list[_Result]:
    """Maps a function of NumPy and SciPy over jobs, in threads.

    One core per job beats all cores on one job after the other: reductions of
    small matrices are too fine-grained for the threads of BLAS, which wait for
    each other at every step (worst when other programs use the cores, too), and
    the steps between have one thread only. Jobs that are too large to be in
    memory together run one by one on all cores.

    Args:
        function: What to do; must not depend on the order of jobs.
        jobs: Arguments; the longest first keeps all cores busy to the end.
        job_bytes: Memory that a job needs, roughly.

    Returns:
        The results, in the order of jobs.

    >>> side_by_side(abs, [-2, 1], job_bytes=8)
    [2, 1]
    """
    jobs = list(jobs)
    blas = ThreadpoolController().select(user_api="blas")
    cores = _cores(blas)
    workers = max(1, min(cores, len(jobs), _MEMORY // job_bytes))
    with (
        blas.limit(limits=cores // workers),
        ThreadPoolExecutor(workers) as executor,
    ):
        return list(executor.map(function, jobs))


def _cores(blas: ThreadpoolController) -> int:
    """What the user allows, by OPENBLAS_NUM_THREADS or taskset for example."""
    return max([pool["num_threads"] for pool in blas.info()], default=1)
