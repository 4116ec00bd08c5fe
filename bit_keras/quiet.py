"""Loading TensorFlow without its notes, and without a Ctrl-C in the middle."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import FrameType

from absl import logging as absl_logging

_PATIENCE = b"Stopping when TensorFlow has loaded; Ctrl-C again: at once.\n"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides what TensorFlow's libraries print while they load.

    Eight lines on oneDNN and CUDA at each start, which no setting turns off.
    They are printed after all when loading fails.

    Ctrl-C is heard when they have loaded. Within, it would be lost where a
    library catches everything, or end in a segmentation fault.

    Raises:
        KeyboardInterrupt: At the end, if there was a Ctrl-C.

    Example:

    >>> with quiet():
    ...     import tensorflow
    """
    with tempfile.TemporaryFile() as notes:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            with _uninterrupted(kept):
                yield
        except Exception:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def _uninterrupted(terminal: int) -> Iterator[None]:
    """Keeps the first Ctrl-C for the end, and says so on `terminal`."""
    # What somebody else does on Ctrl-C is not ours to delay.
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = []

    def wait(signum: int, frame: FrameType | None) -> None:
        heard.append(signum)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.write(terminal, _PATIENCE)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt


def only_warnings() -> None:
    """Hides everybody's notes; warnings come as `WARNING: ...` and no more.

    absl would put date, thread and line of code before each of them.

    Example:

    >>> only_warnings()
    """
    absl_logging.set_verbosity(absl_logging.WARNING)
    handlers = [absl_logging.get_absl_handler()]
    if not logging.getLogger().handlers:
        # Not a command of absl's. The first warning would otherwise make a
        # handler of its own, which says "WARNING:root:".
        handlers.append(logging.StreamHandler())
        logging.getLogger().addHandler(handlers[-1])
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
