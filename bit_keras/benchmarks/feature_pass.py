"""One pass over the images of a split: from batches to columns on disk."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bit_keras import graphs
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.feature_cache import (
    EXAMPLES,
    Column,
    Entry,
    endpoint_file,
    writing,
)
from bit_keras.benchmarks.images import ImageFunction, image_batches
from bit_keras.data.batches import BadImages
from bit_keras.data.sources import Source
from bit_keras.failures import explained
from bit_keras.progress import Progress, duration

# Seconds before the first line of progress; then twice as many, and so on.
_FIRST_LINE, _LONGEST_WAIT = 5, 60


@dataclasses.dataclass(frozen=True)
class Pass:
    """One run of a backbone over all images of a split.

    Attributes:
        title: Task and split, for messages.
        backbone: The network.
        source: The images.
        preprocessing: What is done to them.
        batch_size: Images per call of the backbone.
    """

    title: str
    backbone: Backbone
    source: Source
    preprocessing: ImageFunction
    batch_size: int

    def run(
        self,
        endpoints: tuple[str, ...],
        entry: Entry,
        say: Callable[[str], None],
    ) -> None:
        """Completes the columns of `endpoints`, and that of the examples.

        Args:
            endpoints: Of the backbone; those on disk already are left out.
            entry: Where the columns are.
            say: Called with each message.

        Raises:
            ValueError: If the backbone, its features or labels are not legal.
            OSError: If the columns cannot be written.
        """
        names = [EXAMPLES, *(endpoint_file(name) for name in endpoints)]
        columns: dict[str, Column] = {}

        def advice() -> str:
            done = min((c.rows for c in columns.values()), default=0)
            return (
                "Make room: what is there is kept, and the same command goes "
                f"on after image {done} of {self.source.num_examples}"
            )

        with contextlib.ExitStack() as stack, writing(entry.path, advice):
            stack.enter_context(graphs.temporary())
            function, widths = self._function(endpoints)
            for name, width in zip(names, [None, *widths], strict=True):
                column = entry.column(name, width and 4 * width)
                columns[name] = stack.enter_context(column)
            self._fill(function, columns, say)
            for column in columns.values():
                column.sync()
            entry.finish(names)

    def _function(
        self, endpoints: tuple[str, ...]
    ) -> tuple[Callable, list[int]]:
        """Returns the traced backbone, and the widths of its endpoints."""
        if not endpoints:
            return lambda images: {}, []
        side = self.preprocessing.crop
        spec = tf.TensorSpec((None, side, side, 3), tf.float32)
        with _out_of_memory(1):
            traced = self.backbone.features(endpoints)
            traced = traced.get_concrete_function(spec)
            outputs = traced(tf.zeros((1, side, side, 3)))
        for name, output in outputs.items():
            if output.shape.rank != 2 or output.shape[0] != 1:
                raise ValueError(
                    f"{self.backbone.name}: {name} of one image must have the "
                    f"shape (1, features); got {tuple(output.shape)}."
                )
        return traced, [outputs[name].shape[1] for name in endpoints]

    def _fill(
        self,
        function: Callable,
        columns: dict[str, Column],
        say: Callable[[str], None],
    ) -> None:
        total, bad = self.source.num_examples, BadImages("skip")
        rows = min(column.rows for column in columns.values())
        # Whole batches, so that an interrupted run computes the same ones.
        row = start = rows - rows % self.batch_size
        if start:
            say(f"{self.title}: resuming after image {start} of {total}")
        batches = image_batches(
            self.source, start, self.preprocessing, self.batch_size, bad
        )
        with _Reporter(self.title, start, total, say) as reporter:
            with explained(bad), _out_of_memory(self.batch_size):
                for batch, outputs in _one_ahead(function, batches):
                    for name, new in self._rows(batch, outputs).items():
                        columns[name].append(row, new)
                    row += len(batch["id"])
                    reporter.at(row)
        if row != total:
            raise ValueError(
                f"{self.title} has {total} images by its own account, but "
                f"{row} could be read."
            )

    def _rows(
        self, batch: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]
    ) -> dict[str, list[bytes]]:
        """Returns the new rows of each file."""
        ids = [name.decode("utf-8", "replace") for name in batch["id"].numpy()]
        labels, ok = batch["label"].numpy(), batch["ok"].numpy()
        wrong = (labels < 0) | (labels >= self.source.num_classes)
        if wrong.any():
            index = int(np.argmax(wrong))
            raise ValueError(
                f"{self.title}: image {ids[index]} has the label "
                f"{labels[index]}, outside 0 to {self.source.num_classes - 1}."
            )
        examples = zip(ids, labels.tolist(), ok.tolist(), strict=True)
        made = {EXAMPLES: [f"{json.dumps(row)}\n".encode() for row in examples]}
        for name, output in outputs.items():
            vectors = output.numpy()
            if len(vectors) != len(ids):
                raise ValueError(
                    f"{self.backbone.name}: {name} has {len(vectors)} vectors "
                    f"for {len(ids)} images; it must be (batch, features)."
                )
            broken = ok & ~np.isfinite(vectors).all(axis=1)
            if broken.any():
                raise ValueError(
                    f"{self.title}: {self.backbone.name} gives NaN or infinite "
                    f"{name} features for image {ids[int(np.argmax(broken))]}. "
                    "Check its weights, and the range of its input."
                )
            made[endpoint_file(name)] = [row.tobytes() for row in vectors]
        return made


def _one_ahead(
    function: Callable, batches: tf.data.Dataset
) -> Iterator[tuple[dict, dict]]:
    """Yields each batch without its images, and the function of these.

    A GPU works on a batch while the one before is written and the next one is
    decoded.
    """
    before = None
    for batch in batches:
        outputs = function(batch.pop("image"))
        if before:
            yield before
        before = batch, outputs
    if before:
        yield before


class _Reporter:
    """A bar in a terminal, and elsewhere ever rarer lines after 5 seconds."""

    def __init__(
        self, title: str, start: int, total: int, say: Callable[[str], None]
    ) -> None:
        self._title, self._total, self._say = title, total, say
        self._progress = Progress(total, start)
        self._row, self._wait = start, _FIRST_LINE

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, kind: type | None, *exception: Any) -> None:
        self._progress.close()
        if kind is None:
            count = self._row - self._progress.start
            spent = time.monotonic() - self._progress.began
            self._say(
                f"{self._title}: {count} images in {duration(spent)}, "
                f"{count / spent:.0f} images/s"
            )

    def at(self, row: int) -> None:
        """Notes that the first `row` images are done."""
        self._row, progress = row, self._progress
        progress.update(row, self._title)
        spent = time.monotonic() - progress.began
        if spent >= self._wait and not progress.stream.isatty():
            self._wait = min(2 * self._wait, spent + _LONGEST_WAIT)
            speed = (row - progress.start) / spent
            progress.line(
                f"{self._title}: {row}/{self._total} images",
                f"{speed:.0f} images/s",
                f"ETA {progress.eta(row)}",
            )


@contextlib.contextmanager
def _out_of_memory(batch_size: int) -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError:
        raise ValueError(
            f"Out of memory at batch_size={batch_size}; use a smaller one, or "
            "a lower resolution."
        ) from None
