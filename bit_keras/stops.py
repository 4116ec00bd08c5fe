"""Why training may stop before its last step; light, for the command."""

import signal


class Interrupted(Exception):
    """Training was stopped by a signal, after saving.

    Args:
        signum: Number of the signal.
        step: Steps taken, all of them saved.

    Example:

    >>> Interrupted(15, 120).step
    120
    """

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.step = step


class NotFiniteError(ArithmeticError):
    """The loss or the weights became NaN or infinite."""


class WorkerLostError(ConnectionError):
    """Another worker of the run was never started, died or cannot be reached.

    What was trained since the last checkpoint is lost; all workers must be
    started again.
    """
