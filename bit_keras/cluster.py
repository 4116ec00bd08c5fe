"""The workers of a run on several machines: who they are, and who is there."""

import dataclasses
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from bit_keras.stops import WorkerLostError

# How long workers wait for each other to be started.
_START_SECONDS = 600.0
# When, and then how often, they say for whom they wait.
_TELL_SECONDS = 15.0
# For one attempt to reach a worker; one that runs answers in milliseconds.
_ANSWER_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Processes that train one model together; this process is one of them.

    Attributes:
        workers: `host:port` of each.  The first is the chief: it alone writes
            the run directory.
        index: Which of them this process is, from 0.

    Example:

    >>> cluster = Cluster(("a:2222", "b:2222"), 1)
    >>> cluster.is_chief, cluster.name(0)
    (False, 'worker 0 (a:2222)')
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0

    @property
    def others(self) -> list[int]:
        """Indices of the other workers."""
        return [i for i in range(len(self.workers)) if i != self.index]

    def name(self, index: int) -> str:
        """Returns what messages call a worker."""
        return f"worker {index} ({self.workers[index]})"


def find_cluster(
    workers: str | None = None,
    index: int | None = None,
    tf_config: str | None = None,
) -> Cluster:
    """Returns the cluster that a command line or `TF_CONFIG` describes.

    Args:
        workers: `host:port,host:port,...`, the same on every machine.
        index: Which of them this process is; None: the one whose host is an
            address of this machine.
        tf_config: The value of the environment variable `TF_CONFIG`.

    Raises:
        ValueError: If neither or no sense is given, or if they contradict.

    Example:

    >>> find_cluster("203.0.113.1:2222,203.0.113.2:2222", index=1).index
    1
    """
    if workers is None and index is not None:
        raise ValueError("--worker-index goes with --workers; it is not given.")
    given = _from_arguments(workers, index) if workers else None
    config = _from_tf_config(tf_config) if tf_config else None
    if given and config and given != config:
        raise ValueError(
            "--workers and TF_CONFIG contradict each other: "
            f"{_words(given)} there, {_words(config)} here. Unset TF_CONFIG "
            "or leave out --workers."
        )
    if not (found := given or config):
        raise ValueError(
            "--strategy multiworker needs --workers host:port,host:port or the "
            "environment variable TF_CONFIG; neither is set."
        )
    return found


def _words(cluster: Cluster) -> str:
    return f"{','.join(cluster.workers)} with index {cluster.index}"


def _from_arguments(text: str, index: int | None) -> Cluster:
    workers = tuple(word.strip() for word in text.split(",") if word.strip())
    _check_addresses("--workers", workers)
    if index is None:
        here = [i for i, w in enumerate(workers) if _is_here(_host(w))]
        if len(here) != 1:
            found = f"{len(here)} are" if here else "none is"
            raise ValueError(
                f"--workers: of {text}, {found} on this machine, so that it "
                "is not clear which one this process is. Add --worker-index, "
                f"0 to {len(workers) - 1}."
            )
        (index,) = here
    _check_index("--worker-index", index, workers)
    return Cluster(workers, index)


def _from_tf_config(text: str) -> Cluster:
    """Reads `{"cluster": {"worker": [...]}, "task": {"type", "index"}}`."""
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        kind, index = task["type"], int(task["index"])
        chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
        others = sorted(set(jobs) - {"chief", "worker"})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            'TF_CONFIG must be such as {"cluster": {"worker": '
            '["host:port", ...]}, "task": {"type": "worker", "index": 0}}; '
            f"got {text[:200]} ({type(error).__name__}: {error})."
        ) from None
    if others or kind not in jobs:
        raise ValueError(
            "TF_CONFIG must have workers, perhaps a chief, and no other jobs; "
            f"got {', '.join(jobs)} and a task of type {kind}. Evaluation is "
            "part of training here."
        )
    _check_addresses("TF_CONFIG", (*chiefs, *workers))
    _check_index("TF_CONFIG: task index", index, jobs[kind])
    if kind == "worker":
        index += len(chiefs)
    return Cluster((*chiefs, *workers), index)


def _check_addresses(name: str, workers: tuple[Any, ...]) -> None:
    for worker in workers:
        host, _, port = str(worker).rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(
                f'{name}: each worker must be host:port; got "{worker}".'
            )
    if len(set(workers)) < len(workers) or not workers:
        raise ValueError(
            f"{name} must name each worker once; got {','.join(workers)}."
        )


def _check_index(name: str, index: int, workers: Any) -> None:
    if not 0 <= index < len(workers):
        raise ValueError(
            f"{name} must be 0 to {len(workers) - 1}, for "
            f"{len(workers)} workers; got {index}."
        )


def _host(worker: str) -> str:
    return worker.rpartition(":")[0].strip("[]")


def _port(worker: str) -> int:
    return int(worker.rpartition(":")[2])


def _is_here(host: str) -> bool:
    """Whether a host is this machine: only its own addresses can be bound."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as tried:
                tried.bind(address)
                return True
        except OSError:
            continue
    return False


def silent(cluster: Cluster) -> list[int]:
    """Returns the other workers that take no connection now.

    >>> silent(Cluster(("127.0.0.1:2222",), 0))
    []
    """
    return [i for i in cluster.others if not _answers(cluster.workers[i])]


def _answers(worker: str) -> bool:
    address = (_host(worker), _port(worker))
    try:
        with socket.create_connection(address, _ANSWER_SECONDS) as opened:
            # A port of this machine may be picked for both ends.
            return opened.getsockname() != opened.getpeername()
    except OSError:
        return False


def wait_for_all(cluster: Cluster, tell: Callable[[str], None]) -> None:
    """Returns once every worker has been started.

    TensorFlow, which would wait for ever and deaf to signals, is started only
    then.  Until then this process listens on its own port, for the others to
    see.

    Args:
        cluster: The workers.
        tell: Called with messages for the user.

    Raises:
        ValueError: If the port of this worker is taken.
        WorkerLostError: If a worker is not there after 10 minutes.

    Example:

    >>> wait_for_all(Cluster(("127.0.0.1:2222",), 0), print)
    """
    missing = cluster.others
    if not missing:
        return
    began = told = time.monotonic()
    with _listening(cluster):
        while missing:
            missing = [i for i in missing if not _answers(cluster.workers[i])]
            now = time.monotonic()
            names = ", ".join(cluster.name(i) for i in missing)
            if missing and now - began > _START_SECONDS:
                raise WorkerLostError(
                    f"Gave up after {_START_SECONDS:.0f} s of waiting for "
                    f"{names}: not started, or not reachable from here."
                )
            if missing and now - told > _TELL_SECONDS:
                tell(
                    f"waiting for {names} ({now - began:.0f} s of "
                    f"{_START_SECONDS:.0f})"
                )
                told = now
            if missing:
                time.sleep(0.2)


def _listening(cluster: Cluster) -> socket.socket:
    port = _port(cluster.workers[cluster.index])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port),
                family=socket.AF_INET6,
                dualstack_ipv6=True,
                backlog=128,
            )
        return socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise ValueError(
            f"{cluster.name(cluster.index)}, this process, cannot listen on "
            f"port {port} ({error.strerror}). Is it still running from before?"
        ) from None
