"""What a run reports: metrics.jsonl, TensorBoard and lines on the screen."""

import dataclasses
import importlib.util
from typing import Any

import tensorflow as tf

from bit_keras.failures import saving
from bit_keras.progress import Progress
from bit_keras.workdir import Workdir


@dataclasses.dataclass
class Sums:
    """Sums over the examples since the last row.

    Example:

    >>> sums = Sums()
    >>> sums.add({"loss": 6.0, "correct": 1.0, "weight": 2.0}, steps=1)
    >>> sums.loss, sums.top1
    (3.0, 0.5)
    """

    total_loss: float = 0.0
    correct: float = 0.0
    weight: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    timed_steps: int = 0
    timed_seconds: float = 0.0

    def add(
        self,
        sums: dict,
        steps: int,
        seconds: float = 0.0,
        timed: bool = True,
    ) -> None:
        """Adds what `steps.Steps` returned for some steps.

        Args:
            sums: Of their examples.
            steps: How many.
            seconds: That they took.
            timed: Whether that says how fast they are; the first ones are also
                traced and compiled.
        """
        self.total_loss += float(sums["loss"])
        self.correct += float(sums["correct"])
        self.weight += float(sums["weight"])
        self.steps += steps
        self.seconds += seconds
        if timed:
            self.timed_steps += steps
            self.timed_seconds += seconds

    @property
    def steps_per_second(self) -> float:
        """Speed of the timed steps; of all, if there are none."""
        if self.timed_seconds:
            return self.timed_steps / self.timed_seconds
        return self.steps / self.seconds

    @property
    def loss(self) -> float:
        """Mean loss of an example."""
        return self.total_loss / max(self.weight, 1.0)

    @property
    def top1(self) -> float:
        """Share of the examples that were classified correctly."""
        return self.correct / max(self.weight, 1.0)


class Logbook:
    """Writes each row to metrics.jsonl, TensorBoard and the screen.

    TensorBoard files are written when the package tensorboard is installed.

    Args:
        workdir: The run's directory.
        progress: Where lines for people go.
        total: Steps of the run.

    Example:

    >>> import sys, tempfile
    >>> with Workdir(tempfile.mkdtemp()) as workdir:
    ...     log = Logbook(workdir, Progress(9, stream=sys.stdout), 9)
    ...     log.eval_row(9, 1.0, {"split": "test", "top1": 0.5, "loss": 1.5,
    ...                           "examples": 10, "bad_images": 0})
    step 9/9  test: top-1 0.5000  loss 1.5000  10 examples
    """

    def __init__(
        self, workdir: Workdir, progress: Progress, total: int
    ) -> None:
        self.workdir = workdir
        self.progress = progress
        self.total = total
        self._board = None
        self._folder = workdir.path / "tensorboard"
        if importlib.util.find_spec("tensorboard"):
            with saving(self._folder):
                self._board = tf.summary.create_file_writer(str(self._folder))

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, kind: type | None, *exception: Any) -> None:
        try:
            self.close()
        except OSError:
            # What ended the run before says more.
            if kind is None:
                raise

    def train_row(
        self, step: int, epoch: float, sums: Sums, rate: float, **more: Any
    ) -> None:
        """Reports training since the last row.

        Args:
            step: Steps taken.
            epoch: Passes over the training examples so far.
            sums: Over the steps since the last row.
            rate: Learning rate of the last step.
            **more: Further columns: `images_per_second`, `bad_images`.
        """
        row = {
            "kind": "train",
            "step": step,
            "epoch": epoch,
            "loss": sums.loss,
            "top1": sums.top1,
            "learning_rate": rate,
            **more,
        }
        self._record(row)
        self.progress.line(
            f"step {step}/{self.total}",
            f"epoch {epoch:.1f}",
            f"loss {sums.loss:.3f}",
            f"top-1 {sums.top1:.3f}",
            f"lr {rate:.2g}",
            f"{row['images_per_second']:.0f} img/s",
            f"ETA {self.progress.eta(step)}",
        )

    def eval_row(self, step: int, epoch: float, measured: dict) -> None:
        """Reports an evaluation.

        Args:
            step: Steps taken.
            epoch: Passes over the training examples so far.
            measured: `split`, `top1`, `loss`, `examples`, `bad_images`.
        """
        self._record({"kind": "eval", "step": step, "epoch": epoch, **measured})
        self.progress.line(
            f"step {step}/{self.total}",
            f"{measured['split']}: top-1 {measured['top1']:.4f}",
            f"loss {measured['loss']:.4f}",
            f"{measured['examples']} examples",
        )

    def _record(self, row: dict[str, Any]) -> None:
        self.workdir.append(row)
        if self._board is None:
            return
        board = self._board.as_default(step=row["step"])
        with saving(self._folder), board:
            for name, value in row.items():
                if isinstance(value, float):
                    tf.summary.scalar(f"{row['kind']}/{name}", value)

    def close(self) -> None:
        """Writes out what TensorBoard still holds."""
        if self._board:
            with saving(self._folder):
                self._board.close()
