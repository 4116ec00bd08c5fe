"""Jobs over processes or machines, by joblib's engines; none of ours."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bit_keras.benchmarks.study import state as states
from bit_keras.benchmarks.study.state import State

ENGINES = ("loky", "dask", "ray")
# Rounds that may be lost to dying workers without one job coming to its end.
_ROUNDS = 3
_POLL_SECONDS = 2.0


def check(engine: str, address: str | None, jobs: int | None) -> None:
    """Raises a ValueError for arguments that do not go together.

    Example:

    >>> check("loky", None, 2)
    >>> check("dask", None, None)
    Traceback (most recent call last):
    ValueError: --engine dask needs --address, such as tcp://host:8786.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs must be >= 1; got {jobs}.")
    if engine == "loky" and address:
        raise ValueError(
            "--address is of a cluster: --engine dask or ray. Leave it out."
        )
    example = {"dask": "tcp://host:8786", "ray": "host:6379"}
    if engine != "loky" and not address:
        raise ValueError(
            f"--engine {engine} needs --address, such as {example[engine]}."
        )
    if engine != "loky":
        _require(engine)


def _require(engine: str) -> None:
    module = {"dask": "distributed", "ray": "ray"}[engine]
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f"--engine {engine} needs a package that is not installed: "
            f'pip install "bit-keras[{engine}]".'
        )


def threads(engine: str, jobs: int | None) -> int:
    """Returns the threads per job with which all cores have work, once.

    On a cluster a job has a slot, which in both Dask and Ray is one core
    unless it was started otherwise.

    Args:
        engine: One of `ENGINES`.
        jobs: At a time; None: one per core.

    Example:

    >>> import joblib
    >>> threads("loky", joblib.cpu_count()), threads("dask", None)
    (1, 1)
    """
    if engine != "loky" or jobs is None:
        return 1
    import joblib

    return max(1, joblib.cpu_count() // jobs)


@contextlib.contextmanager
def connect(
    engine: str, address: str | None, jobs: int | None
) -> Iterator[int]:
    """Makes an engine joblib's own, while the context lasts.

    Args:
        engine: One of `ENGINES`.
        address: Of the cluster's scheduler (Dask) or head (Ray).
        jobs: At a time; None: as many as there are cores or slots.

    Yields:
        Jobs at a time.

    Raises:
        OSError: If there is no cluster at the address.
    """
    import joblib

    wanted = jobs or -1
    with contextlib.ExitStack() as stack:
        if engine == "dask":
            from bit_keras.benchmarks.study import dask_engine

            backend = stack.enter_context(dask_engine.connect(address, jobs))
            stack.enter_context(joblib.parallel_config(backend, n_jobs=wanted))
            yield backend.at_a_time
            return
        if engine == "ray":
            import ray
            from ray.util.joblib import register_ray

            try:
                ray.init(
                    address=address, log_to_driver=False, logging_level="ERROR"
                )
            except ConnectionError as error:
                raise OSError(
                    f"--address {address}: no Ray cluster: {error}"
                ) from None
            stack.callback(ray.shutdown)
            register_ray()
        stack.enter_context(joblib.parallel_config(engine, n_jobs=wanted))
        # None: as many as the line before says.
        yield joblib.effective_n_jobs(None)


def run_all(
    function: Callable[..., State],
    arguments: Sequence[tuple[Any, ...]],
    say: Callable[[str], None],
) -> Iterator[tuple[Path, State]]:
    """Calls a function of a folder on the connected engine.

    What a dying worker takes down with it is begun again.

    Args:
        function: Of the folder of a job and other arguments; never raises.
        arguments: For each call; the first is the folder.
        say: Is given a line if workers die.

    Yields:
        Folder and result of each call, in the order in which they end.

    Raises:
        OSError: If workers die again and again before any call ends.
    """
    import joblib

    left = {Path(args[0]): args for args in arguments}
    lost = 0
    while left:
        # A list: `left` shrinks while joblib is still reading.
        calls = [joblib.delayed(_call)(function, a) for a in left.values()]
        try:
            for folder, result in _results(calls, list(left)):
                lost = 0
                del left[folder]
                yield folder, result
        except Exception as error:
            if not _is_death(error):
                raise
            lost += 1
            if lost == _ROUNDS:
                raise OSError(
                    f"Workers died {lost} times in a row "
                    f"({type(error).__name__}: {error})."
                ) from None
            say(
                f"A worker died ({type(error).__name__}); beginning its jobs "
                "again."
            )


def _results(
    calls: list, folders: Sequence[Path]
) -> Iterator[tuple[Path, State]]:
    """Yields the results of calls as they end."""
    import joblib

    backend, _ = joblib.parallel.get_active_backend()
    if backend.supports_return_generator:
        yield from joblib.Parallel(
            return_as="generator_unordered",
            pre_dispatch=getattr(backend, "in_flight", "2*n_jobs"),
        )(calls)
        return
    # Ray's gives all results at the end; on disk is what has ended before.
    parallel, waiting = joblib.Parallel(), set(folders)
    executor = ThreadPoolExecutor(1)
    try:
        future = executor.submit(parallel, calls)
        while not wait([future], timeout=_POLL_SECONDS).done:
            for folder in sorted(waiting):
                state = states.read(folder)
                if state.phase in ("done", "failed"):
                    waiting.remove(folder)
                    yield folder, state
        for folder, state in future.result():
            if folder in waiting:
                yield folder, state
    finally:
        # Not waited for: after Ctrl-C it ends when the cluster is left.
        executor.shutdown(wait=False)


def _call(
    function: Callable[..., State], arguments: tuple[Any, ...]
) -> tuple[Path, State]:
    return Path(arguments[0]), function(*arguments)


def _is_death(error: Exception) -> bool:
    """Whether an error says that a worker died."""
    names = {cls.__name__ for cls in type(error).__mro__}
    deaths = {"TerminatedWorkerError", "KilledWorker", "RayActorError"}
    return bool(names & deaths)
