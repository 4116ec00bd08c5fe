"""Keeping TensorFlow's start-up notes from the user's terminal."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


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
