"""What workers must do alike: decide, start from one state, notice a loss."""

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from bit_keras.cluster import Cluster, silent
from bit_keras.stops import WorkerLostError

# What TensorFlow raises when another worker is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)
_ABORTED = "Collective ops is aborted"


class Team:
    """The workers of a strategy, as one of them sees them.

    Every method must be called by all workers at the same place.  Where there
    is one worker only, nothing is sent.

    Args:
        strategy: From `distribution.strategy`.

    Example:

    >>> team = Team(tf.distribute.OneDeviceStrategy("/cpu:0"))
    >>> team.is_chief, team.exchange([3, 4])
    (True, [[3, 4]])
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.size, self.index = 1, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            self.size = len(resolver.cluster_spec().as_dict()["worker"])
            self.index = resolver.task_id
        self._sum = tf.function(
            lambda values: strategy.reduce("SUM", values, axis=None),
            reduce_retracing=True,
        )

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0

    def exchange(self, numbers: Sequence[int]) -> list[list[int]]:
        """Returns the numbers of each worker, all of which give as many."""
        if self.size == 1:
            return [list(numbers)]
        mine = tf.one_hot(self.index, self.size, dtype=tf.int64)[:, None]
        table = self._sum(mine * tf.constant(numbers, tf.int64))
        return table.numpy().tolist()

    def wait(self) -> None:
        """Returns once all workers are here."""
        self.exchange([1])

    def check_alike(self, facts: dict[str, Any]) -> None:
        """Raises a ValueError unless all workers were started alike.

        Args:
            facts: JSON values under "recipe" and "data".
        """
        facts = copy.deepcopy(facts)
        # Each machine may have its data at another place.
        del facts["recipe"]["data"]["data_dir"]
        text = json.dumps(facts, indent=1)
        chief, *others = (text.splitlines() for text in self._texts(text))
        for index, lines in enumerate(others, 1):
            pairs = zip(chief, lines, strict=False)
            if differing := [(a, b) for a, b in pairs if a != b]:
                there, here = (line.strip(" ,") for line in differing[0])
                raise ValueError(
                    f"Worker {index} would train something else than worker "
                    f"0: {here} instead of {there}. Give all workers the same "
                    "arguments and the same data."
                )

    def _texts(self, text: str) -> list[str]:
        """Returns the text of each worker."""
        encoded = text.encode()
        lengths = [length for (length,) in self.exchange([len(encoded)])]
        padded = encoded.ljust(max(lengths), b"\0")
        rows = self.exchange(list(padded))
        return [
            bytes(row[:length]).decode()
            for row, length in zip(rows, lengths, strict=True)
        ]

    def take_from_chief(self, variables: Sequence[tf.Variable]) -> None:
        """Gives all workers the chief's values, bit by bit.

        Args:
            variables: Of the same shapes everywhere.
        """
        if self.size == 1:
            return
        for variable in variables:
            value = tf.convert_to_tensor(variable)
            # What cannot be summed is sent as what can.
            sent = (
                value if value.dtype.is_floating else tf.cast(value, tf.int64)
            )
            total = self._sum(sent if self.is_chief else tf.zeros_like(sent))
            if not self.is_chief:
                variable.assign(tf.cast(total, value.dtype))


@contextlib.contextmanager
def watched(cluster: Cluster | None) -> Iterator[None]:
    """Turns the many ways in which a lost worker shows into one error.

    Args:
        cluster: The workers; None: there is only this one.

    Raises:
        WorkerLostError: Names the workers that do not answer.

    Example:

    >>> with watched(Cluster(("127.0.0.1:1", "127.0.0.1:2"), 0)):
    ...     raise tf.errors.UnavailableError(None, None, "/task:1 crashed")
    Traceback (most recent call last):
    ...
    bit_keras.stops.WorkerLostError: worker 1 (127.0.0.1:2) does not answer...
    """
    try:
        yield
    except (ValueError, tf.errors.OpError) as error:
        cause = (
            error if isinstance(error, tf.errors.OpError) else error.__cause__
        )
        if cluster is None or not _is_loss(cause):
            raise
        raise WorkerLostError(_loss(cluster, cause.message)) from error


def _is_loss(error: Any) -> bool:
    return isinstance(error, tf.errors.OpError) and (
        isinstance(error, _LOST) or _ABORTED in error.message
    )


def _loss(cluster: Cluster, message: str) -> str:
    named = {int(task) for task in re.findall(r"/task:(\d+)", message)}
    lost = (named | set(silent(cluster))) & set(cluster.others)
    names = ", ".join(cluster.name(i) for i in sorted(lost)) or "A worker"
    reason = message.split(_ABORTED)[-1].lstrip(" by:").splitlines()
    return (
        f"{names} does not answer any more (TensorFlow: "
        f"{reason[0] if reason else 'no reason given'}). Its own log may say "
        "why. Start all workers again: they resume from the last checkpoint."
    )
