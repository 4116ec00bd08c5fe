import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from bit_keras.benchmarks import workers


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """BLAS may have one thread only where the suite runs."""
    monkeypatch.setattr(workers, "_cores", lambda blas: 2)


def blas_threads():
    return {
        pool["num_threads"]
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }


def test_results_come_in_the_order_of_jobs():
    def slower_first(job):
        time.sleep(0.02 * (3 - job))
        return job

    assert workers.side_by_side(slower_first, range(4), 1) == [0, 1, 2, 3]


def test_two_jobs_run_at_a_time_with_one_thread_of_blas_each():
    before = threadpool_info()
    both = threading.Barrier(2, timeout=10)

    def meet(job):
        both.wait()
        np.ones((2, 2)) @ np.ones((2, 2))
        return blas_threads()

    # Raises unless two jobs wait at the barrier together.
    assert workers.side_by_side(meet, range(2), 1) == [{1}, {1}]
    assert threadpool_info() == before


def test_large_jobs_run_one_by_one():
    running = []

    def alone(job):
        running.append(job)
        time.sleep(0.01)
        running.remove(job)
        return len(running)

    assert workers.side_by_side(alone, range(3), 2**31) == [0, 0, 0]


def test_an_error_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        workers.side_by_side(lambda job: 1 / job, [1, 0], 1)
