"""Whether what was written is what was meant: an export against its source."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from bit_keras import checkpoints, models
from bit_keras.export import reload
from bit_keras.export.saved_model import pooled

# Relative to the largest value of the output; rounding alone gives 1e-6.
TOLERANCE = 1e-4
# Images; odd and uneven on purpose, for a network that takes any size.
_BATCHES = (2, 1)
_SIZES = ((64, 48), (33, 65))


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far an export is from its source, at its worst output.

    Attributes:
        output: Name of the output.
        absolute: Largest absolute difference.
        relative: The same over the largest absolute value of the output.
    """

    output: str
    absolute: float
    relative: float


def reloaded(
    model: keras.Model, directory: str | os.PathLike, output: str = "features"
) -> Difference:
    """Reloads a SavedModel in a fresh process and compares all its outputs.

    The process has TensorFlow only: it cannot import this package.

    Args:
        model: The source, from images in [-1, 1].
        directory: Of the SavedModel.
        output: What calling the SavedModel returns.

    Returns:
        The worst of all outputs, on random images (of two sizes).

    Raises:
        ValueError: If it cannot be loaded or differs by more than 1e-4 of the
            largest value.
    """
    with tempfile.TemporaryDirectory() as folder:
        expected = Path(folder, "expected.npz")
        np.savez(expected, **_expected(model, output))
        process = subprocess.run(
            [sys.executable, "-P", reload.__file__, str(directory), expected],
            capture_output=True,
            text=True,
        )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no reason given"])[
            -1
        ]
        raise ValueError(f"The export cannot be loaded again: {reason}")
    measured = json.loads(process.stdout.splitlines()[-1])
    worst = max(
        (Difference(name, *values) for name, values in measured.items()),
        # NaN counts as the worst of all.
        key=lambda d: d.relative if d.relative == d.relative else np.inf,
    )
    if not worst.relative <= TOLERANCE:
        raise ValueError(
            f"The export does not give what its source gives: {worst.output} "
            f"differs by {worst.absolute:.2g}, {worst.relative:.2g} of its "
            f"largest value (at most {TOLERANCE:g} is tolerated)."
        )
    return worst


def _expected(model: keras.Model, output: str) -> dict[str, np.ndarray]:
    network = models.endpoints(model, tuple(model.endpoint_tensors))
    generator = np.random.default_rng(0)
    expected = {}
    _, *fixed, _ = model.input_shape
    for i, batch in enumerate(_BATCHES):
        size = _SIZES[i] if None in fixed else fixed
        images = generator.random((batch, *size, 3), dtype="float32")
        ends = {
            name: pooled(tensor).numpy()
            for name, tensor in network(images * 2 - 1).items()
        }
        values = {
            "images": images,
            "features": ends["pre_logits"],
            "call": ends["logits" if output == "logits" else "pre_logits"],
            **{f"intermediates/{name}": value for name, value in ends.items()},
        }
        if "logits" in ends:
            values["logits"] = ends["logits"]
        expected |= {f"{i}/{name}": value for name, value in values.items()}
    return expected


def same_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Checks that a `.npz` or `.keras` file holds exactly the model's weights.

    Args:
        model: The source.
        path: The file.

    Raises:
        ValueError: Naming the first array that differs.

    Example:

    >>> model = models.create("bit_tiny", num_classes=10)
    >>> checkpoints.save(model, "tiny.npz")
    >>> same_weights(model, "tiny.npz")
    """
    if Path(path).suffix == ".keras":
        other = models.load(path)
    else:
        other = type(model).from_config(model.get_config())
        checkpoints.load(other, path)
    for mine, theirs in zip(model.variables, other.variables, strict=True):
        if not np.array_equal(mine, theirs):
            raise ValueError(f'"{path}" does not hold {mine.path} as it was.')
