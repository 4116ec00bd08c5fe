"""joblib's Dask engine, where a cluster of one slot is a cluster, too."""

import contextlib
import time
from collections.abc import Iterator

from distributed import Client

# Nothing public of joblib leads to the class that its "dask" stands for.
from joblib._dask import DaskDistributedBackend

# Workers that were started with the scheduler have often not joined yet.
_JOIN_SECONDS = 10.0


class Cluster(DaskDistributedBackend):
    """Runs every job on the cluster, and as many at a time as asked for.

    joblib's own runs the jobs here, in this process, if the cluster has a
    single slot, takes no notice of `n_jobs`, and never has more in flight
    than twice the slots of the first moment, so workers that join later idle.

    Args:
        client: Of the cluster.
        jobs: At a time; None: as many as there are slots.
    """

    def __init__(self, client: Client, jobs: int | None):
        super().__init__(client=client)
        # joblib's `pre_dispatch`; Dask itself shares them out.
        self.in_flight = jobs or "all"
        slots = super().effective_n_jobs(-1)
        self.at_a_time = min(jobs or slots, slots)

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Returns the slots, but never 1, which joblib would run here."""
        return max(2, super().effective_n_jobs(n_jobs))


@contextlib.contextmanager
def connect(address: str, jobs: int | None) -> Iterator[Cluster]:
    """Waits for the workers of a cluster, if only for seconds.

    Args:
        address: Of the scheduler, such as `tcp://host:8786`.
        jobs: At a time; None: as many as there are slots.

    Yields:
        The engine, for `joblib.parallel_config`.

    Raises:
        OSError: If there is no cluster at the address, or no worker.
    """
    with Client(address) as client:
        # Clusters that grow with their work start no worker without any.
        work = client.submit(int, pure=False)
        end = time.monotonic() + _JOIN_SECONDS
        while (slots := sum(client.ncores().values())) < (jobs or 1):
            if time.monotonic() >= end:
                break
            time.sleep(0.1)
        if not slots:
            raise OSError(
                f"--address {address}: no worker has joined the scheduler in "
                f"{_JOIN_SECONDS:.0f} s. Start one: dask worker {address}"
            )
        work.release()
        yield Cluster(client, jobs)
