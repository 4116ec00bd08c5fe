"""Keeping TensorFlow's start-up notes from the user's terminal."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from absl import logging as absl_logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides what TensorFlow's libraries print while they load.

    Eight lines on oneDNN and CUDA at each start, which no setting turns off.
    They are printed after all when loading fails.

    Example:

    >>> with quiet():
    ...     import tensorflow
    """
    with tempfile.TemporaryFile() as notes:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except Exception:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def only_warnings() -> None:
    """Hides everybody's notes; warnings come as `WARNING: ...` and no more.

    absl would put date, thread and line of code before each of them.

    Example:

    >>> only_warnings()
    """
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = absl_logging.get_absl_handler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
