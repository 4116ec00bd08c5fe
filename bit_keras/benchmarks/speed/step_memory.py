"""What a train step should need, from the shapes of the network.

The model counts the numbers that are in memory together:

- weights and momentum of every parameter, and with micro-batches the sum of the
  gradients, old and new: TensorFlow's loop makes another;
- gradients of every parameter, which take the place of the standardized
  kernels, layer by layer; with remat the kernels beside them, as they are
  recomputed at once, waiting for nothing;
- of every image of a micro-batch: input and output of every norm, and the
  padded copy that a 3x3 convolution reads; with remat only what enters each
  unit, and all of one unit, the largest;
- three times the largest tensor of an image, for gradients on their way.

What a library holds for itself, and for a network's graph, is not in it.
"""

import dataclasses

from bit_keras.benchmarks.speed.bit_shapes import Shapes, Unit, bit_shapes
from bit_keras.benchmarks.speed.contestants import NUM_CLASSES

# Of weights, momentum, gradients and norms' statistics.
_FLOAT32 = 4
# Of what a layer hands to the next, by precision.
_COMPUTE = {"float32": 4, "mixed_bfloat16": 2}
# Weights, momentum, gradients.
_STATE = 3
# Of gradients: old and new.
_SUMS = 2
# Input and output of a norm.
_NORM = 2
# Gradients of the largest tensor: of a unit's output, of its two branches.
_ON_THEIR_WAY = 3


@dataclasses.dataclass(frozen=True)
class Step:
    """A train step; `micro_batch` None: all images of the batch at once."""

    model: str
    resolution: int
    batch_size: int
    remat: bool = False
    micro_batch: int | None = None
    precision: str = "float32"

    @property
    def at_once(self) -> int:
        """Images in memory at a time."""
        return min(self.micro_batch or self.batch_size, self.batch_size)

    @property
    def options(self) -> str:
        """As typed on the command line.

        >>> Step("bit_r50x1", 224, 64, True, 8).options
        '--remat --micro-batch 8'
        """
        words = ["--remat"] if self.remat else []
        if self.micro_batch:
            words.append(f"--micro-batch {self.micro_batch}")
        return " ".join(words) or "none"


def step_bytes(step: Step) -> int:
    """Returns the memory that a step should need, in bytes.

    Args:
        step: The step.

    Example:

    >>> plain = Step("bit_r50x1", 224, 8)
    >>> step_bytes(plain) > step_bytes(dataclasses.replace(plain, remat=True))
    True
    """
    return fixed_bytes(step) + step.at_once * image_bytes(step)


def fixed_bytes(step: Step) -> int:
    """Returns the part that does not depend on the batch.

    Args:
        step: The step.
    """
    shapes = bit_shapes(step.model, step.resolution)
    parameters = shapes.parameters(NUM_CLASSES)
    numbers = _STATE * parameters
    if step.micro_batch:
        numbers += _SUMS * parameters
    if step.remat:
        numbers += sum(c.weights for c in shapes.convolutions)
    return _FLOAT32 * numbers


def image_bytes(step: Step) -> int:
    """Returns what every image in memory adds.

    Args:
        step: The step.
    """
    shapes = bit_shapes(step.model, step.resolution)
    kept = [_kept(unit) for unit in shapes.units]
    last = shapes.units[-1].c
    final = _NORM * last.out_channels * last.output_pixels**2
    if step.remat:
        units = sum(_entering(unit) for unit in shapes.units) + max(kept)
    else:
        units = sum(kept)
    largest = max(_entering(unit) for unit in shapes.units)
    numbers = _stem(shapes) + units + final + _ON_THEIR_WAY * largest
    return _COMPUTE[step.precision] * numbers


def _entering(unit: Unit) -> int:
    return unit.a.in_channels * unit.a.pixels**2


def _kept(unit: Unit) -> int:
    """Numbers that the backward pass of a unit reads, of one image."""
    norms = sum(c.in_channels * c.pixels**2 for c in (unit.a, unit.b, unit.c))
    padded = unit.b.in_channels * (unit.b.pixels + 2 * unit.b.padding) ** 2
    return _NORM * norms + padded


def _stem(shapes: Shapes) -> int:
    """The padded images, and the stem's output before and after pooling."""
    stem = shapes.stem
    images = stem.in_channels * (stem.pixels + 2 * stem.padding) ** 2
    outputs = stem.out_channels * stem.output_pixels**2
    # What is pooled is padded first: two copies of about the same size.
    pooled = stem.output_pixels != shapes.stem_pixels
    return images + outputs * (2 if pooled else 1)


def largest_batch(step: Step, memory: float) -> int:
    """Returns the most images at once that fit into memory; 0: none.

    Args:
        step: Its batch (or, if it has one, its micro-batch) is what is asked.
        memory: In bytes.

    Example:

    >>> largest_batch(Step("bit_r50x1", 224, 1), 16e9) > 32
    True
    """
    room = memory - fixed_bytes(step)
    return max(0, int(room // image_bytes(step)))
