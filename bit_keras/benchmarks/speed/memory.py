"""Peak memory of a train step against batch and resolution.

Ours in TensorFlow, plain, with --remat, with --micro-batch, and with both. Each
point is measured in a process of its own where it should fit into
--measure-up-to, and computed from the shapes otherwise; then follows what fits
into accelerators of 16, 24, 40 and 80 GB, computed.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence

from bit_keras import models
from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed import arguments, step_memory
from bit_keras.benchmarks.speed.arguments import at_least_1, numbers, words
from bit_keras.benchmarks.speed.contest import ContestantError, Worker
from bit_keras.benchmarks.speed.contestants import (
    PRECISIONS,
    Task,
)
from bit_keras.benchmarks.speed.step_memory import Step
from bit_keras.benchmarks.speed.table import table

# Sizes of accelerators, in GB (10**9 bytes), and what of it a step cannot have:
# the driver, the libraries' code and workspaces, gaps between tensors.
CARDS = (16, 24, 40, 80)
RESERVED = 1.5
# What this step takes beyond the computed is what the library holds for itself
# and for the graph of a network.
_SMALLEST = Step("bit_r50x1", 32, 1)


@dataclasses.dataclass(frozen=True)
class Point:
    """A step and its peak memory, in bytes; `measured` None: not measured."""

    step: Step
    computed: int
    measured: int | None = None
    error: str | None = None

    @property
    def best(self) -> int:
        """The measured peak if there is one, else the computed."""
        return self.computed if self.measured is None else self.measured

    @property
    def off(self) -> float | None:
        """How far the computed peak is off, relative to the measured.

        >>> Point(_SMALLEST, 110, measured=100).off
        0.1
        """
        if self.measured is None:
            return None
        return round(self.computed / self.measured - 1, 4)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints tables, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    args = _parser().parse_args(argv)
    grid = steps(args)
    library = _peak(_SMALLEST) - step_memory.step_bytes(_SMALLEST)
    _say(f"the library holds {library / 1e9:.2f} GB for itself")
    points = list(measured(grid, library, args.measure_up_to * 1e9, _peak))
    fits = fitting(grid)
    print(points_table(points))
    offs = [abs(point.off) for point in points if point.off is not None]
    if offs:
        print(f"computed is off by up to {max(offs):.0%} of the measured peak")
    print(
        f"\nLargest batch (or micro-batch) that fits, computed; {RESERVED} GB "
        "are left to driver and libraries; 0: not even one image"
    )
    print(_fits_table(fits))
    if args.json:
        figures = {
            "settings": {k: v for k, v in vars(args).items() if k != "json"},
            "library bytes": library,
            "points": [
                {**dataclasses.asdict(point), "off": point.off}
                for point in points
            ],
            "fits, computed": [
                {**dataclasses.asdict(step), "largest": largest}
                for step, largest in fits
            ],
        }
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 1 if any(point.error for point in points) else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("memory", __doc__)
    add = parser.add_argument
    add(
        "--models",
        metavar="MODEL,...",
        default="bit_r50x1,bit_r101x3,bit_r152x4",
        help="default: %(default)s",
    )
    several = {"metavar": "N,...", "help": "default: %(default)s"}
    add("--resolutions", default="128,224,480", **several)
    add("--batches", default="8,32", **several)
    add(
        "--micro-batch",
        type=int,
        default=4,
        help="of the steps that have one; default: %(default)s",
    )
    add("--precision", choices=PRECISIONS, default="float32")
    add(
        "--measure-up-to",
        type=float,
        default=6.0,
        metavar="GB",
        help="0: compute all; default: %(default)s",
    )
    return parser


def steps(args: argparse.Namespace) -> list[Step]:
    """Returns the grid of steps that the arguments stand for.

    Args:
        args: Parsed.

    Raises:
        ValueError: If one of them is not legal.
    """
    names = words("--models", args.models, models.names(models.BIT))
    resolutions = numbers("--resolutions", args.resolutions)
    batches = numbers("--batches", args.batches)
    at_least_1("--micro-batch", args.micro_batch)
    return [
        Step(model, pixels, batch, remat, micro, args.precision)
        for model in names
        for pixels in resolutions
        for batch in batches
        for remat in (False, True)
        for micro in (None, args.micro_batch)
        # What does not divide is no legal micro-batch, the whole batch none.
        if micro is None or (batch > micro and batch % micro == 0)
    ]


def measured(
    grid: Iterable[Step],
    library: int,
    up_to: float,
    peak: Callable[[Step], int],
) -> Iterable[Point]:
    """Returns a point for each step, measured where it should fit.

    Args:
        grid: The steps.
        library: What a process needs beside the step, in bytes.
        up_to: Most that a step may need to be measured, in bytes.
        peak: Measures a step.
    """
    for step in grid:
        computed = library + step_memory.step_bytes(step)
        point = Point(step, computed)
        if computed <= up_to:
            _say(
                f"measures {step.model}, {step.resolution} px, batch "
                f"{step.batch_size}, options {step.options}"
            )
            try:
                point = dataclasses.replace(point, measured=peak(step))
                _say(f"  {point.best / 1e9:.2f} GB")
            except ContestantError as error:
                point = dataclasses.replace(point, error=str(error))
        yield point


def _peak(step: Step) -> int:
    """Takes the step in a process of its own; returns its peak, in bytes."""
    worker = Worker(
        Task(
            "tensorflow",
            step.model,
            step.resolution,
            step.batch_size,
            step.precision,
            ("train",),
            step.remat,
            step.micro_batch,
        )
    )
    worker.close()
    return worker.ready["peak"]["train"]


def fitting(grid: Iterable[Step]) -> list[tuple[Step, dict[int, int]]]:
    """Returns, for each kind of step, the most images at once for each card.

    Args:
        grid: Whose batches do not count.

    Example:

    >>> [(step, largest)] = fitting([Step("bit_r50x1", 224, 8)])
    >>> largest[16] < largest[24] < largest[80]
    True
    """
    kinds = [
        dataclasses.replace(step, batch_size=1, micro_batch=1)
        if step.micro_batch
        else dataclasses.replace(step, batch_size=1)
        for step in grid
    ]
    return [
        (
            kind,
            {
                card: step_memory.largest_batch(kind, (card - RESERVED) * 1e9)
                for card in CARDS
            },
        )
        for kind in dict.fromkeys(kinds)
    ]


def points_table(points: Sequence[Point]) -> str:
    """Returns a row for each point, with the smallest card that holds it.

    Args:
        points: Measured or computed.
    """
    header = "model", "px", "batch", "options", "GB", "", "off", "fits in"
    return table(header, [_row(point) for point in points])


def _row(point: Point) -> tuple[str, ...]:
    step = point.step
    source = "computed" if point.measured is None else "measured"
    needed = step_memory.step_bytes(step)
    if point.measured is not None:
        needed += point.measured - point.computed
    cards = [card for card in CARDS if needed <= (card - RESERVED) * 1e9]
    return (
        step.model,
        str(step.resolution),
        str(step.batch_size),
        step.options,
        f"{point.best / 1e9:.2f}",
        f"failed: {point.error}" if point.error else source,
        "" if point.off is None else f"{point.off:+.0%}",
        f"{cards[0]} GB" if cards else "none",
    )


def _fits_table(fits: Sequence[tuple[Step, dict[int, int]]]) -> str:
    rows = [
        (
            step.model,
            str(step.resolution),
            step.options.removesuffix(" 1"),
            *(str(largest[card]) for card in CARDS),
        )
        for step, largest in fits
    ]
    cards = (f"{card} GB" for card in CARDS)
    return table(("model", "px", "options", *cards), rows)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
