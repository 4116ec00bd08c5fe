"""The states of training on disk: saved whole, found again, the last ones kept.

Not `tf.train.CheckpointManager`: what it finds again depends on a file of its
own, which an interruption can leave behind the checkpoints, and on the clock.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from bit_keras.failures import saving
from bit_keras.workdir import saved_steps

# What TensorFlow raises for a checkpoint that is cut short, damaged, lacks a
# file or is of another network.
_UNREADABLE = (tf.errors.OpError, LookupError, AssertionError, ValueError)


class Saves:
    """Saves and restores step, network and optimizer of a run.

    Args:
        folder: Of the checkpoints; made at the first save.
        step: Counts the steps.
        model: Keras variables of the network.
        optimizer: Keras variables of the optimizer.
        keep: Checkpoints to keep, the last ones.
        anew: What to do if none can be read, for the message.

    Example:

    >>> step = tf.Variable(0, dtype=tf.int64)
    >>> saves = Saves(Path("checkpoints"), step, [], [], keep=2)
    >>> for number in (10, 20, 30):
    ...     _ = step.assign(number)
    ...     saves.save()
    >>> saved_steps(Path("checkpoints"))
    [20, 30]
    >>> _ = step.assign(0)
    >>> saves.restore(print).name, int(step)
    ('ckpt-30', 30)
    """

    def __init__(
        self,
        folder: Path,
        step: tf.Variable,
        model: Sequence,
        optimizer: Sequence,
        keep: int,
        anew: str = "--overwrite trains anew.",
    ) -> None:
        def by_path(variables: Sequence) -> tf.train.Checkpoint:
            return tf.train.Checkpoint(**{v.path: v.value for v in variables})

        self._folder = folder
        self._step = step
        self._keep = keep
        self._anew = anew
        # The step whose state is on disk and known to be good.
        self._good: int | None = None
        self._state = tf.train.Checkpoint(
            step=step, model=by_path(model), optimizer=by_path(optimizer)
        )
        # Asking for it makes it part of the state, as in older checkpoints.
        _ = self._state.save_counter

    @property
    def latest(self) -> Path | None:
        """What was saved or restored last, without its files' endings."""
        return None if self._good is None else self._path(self._good)

    def restore(self, tell: Callable[[str], None]) -> Path | None:
        """Restores the newest checkpoint that can be read.

        Those that cannot, and what an interrupted save left, are removed.

        Args:
            tell: Is told of each that cannot be read.

        Returns:
            Its path; None if nothing was saved yet.

        Raises:
            ValueError: If none of them can be read; all are left as they are.
        """
        steps = saved_steps(self._folder)
        if not steps:
            return None
        while steps:
            step = steps[-1]
            reason = self._read(step)
            if reason is None:
                self._good = step
                self._remove_others(steps)
                return self._path(step)
            tell(f"Checkpoint {self._path(step)} cannot be read ({reason}).")
            steps.pop()
        raise ValueError(
            f"No checkpoint in {self._folder} can be read. {self._anew}"
        )

    def save(self) -> None:
        """Saves the state, then removes the oldest checkpoints.

        Raises:
            OSError: If it cannot be written; the ones before are intact.
        """
        step = int(self._step.numpy())
        if step == self._good:
            return
        with saving(self._path(step)):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._state.write(str(self._path(step)))
            except BaseException:
                steps = [s for s in saved_steps(self._folder) if s != step]
                self._remove_others(steps)
                raise
            self._good = step
            self._remove_others(saved_steps(self._folder)[-self._keep :])

    def _path(self, step: int) -> Path:
        return self._folder / f"ckpt-{step}"

    def _read(self, step: int) -> str | None:
        """Restores a checkpoint; returns why not, or None."""
        with tempfile.TemporaryDirectory() as folder:
            # TensorFlow takes the path of what it reads for a pattern, and
            # would not find it in a folder called "[1]".
            link = Path(folder, "checkpoints")
            link.symlink_to(self._folder.absolute())
            try:
                status = self._state.read(str(link / self._path(step).name))
                status.assert_consumed()
            except _UNREADABLE as error:
                text = str(error).replace(f"{link}/", "")
                return text.split("}} ")[-1].split(" [Op:")[0].split("\n")[0]
        return None

    def _remove_others(self, steps: Sequence[int]) -> None:
        """Removes whatever was written for other steps than these."""
        for path in list(self._folder.iterdir()):
            found = re.match(r"ckpt-(\d+)(_temp|\.)", path.name)
            if not found or (int(found[1]) in steps and found[2] == "."):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
