"""How the time per image grows with batch, resolution and width.

Ours in TensorFlow. In each sweep one quantity changes, every value has a
process of its own, and all run in turns. Printed are the exponents (slopes of
log time against log quantity), beside those of the floating-point operations,
and where the curves bend.
"""

import argparse
import dataclasses
import json
import math
import statistics
import sys
from collections.abc import Sequence

from bit_keras import models
from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed import arguments
from bit_keras.benchmarks.speed.arguments import at_least_1, numbers, words
from bit_keras.benchmarks.speed.bit_shapes import bit_shapes
from bit_keras.benchmarks.speed.contest import Result, contest
from bit_keras.benchmarks.speed.contestants import (
    MODES,
    NUM_CLASSES,
    PRECISIONS,
    Task,
)
from bit_keras.benchmarks.speed.table import table

# A larger batch that gains less than this share per image gains nothing.
_GAIN = 0.05
# Where the exponents of time and of work are this far apart is a bend.
_BEND = 0.15


@dataclasses.dataclass(frozen=True)
class Cost:
    """What an image costs at one value of what changes: seconds, and FLOP."""

    value: float
    seconds: float
    flops: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints tables, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    args = _parser().parse_args(argv)
    at_least_1("--repeats", args.repeats)
    tasks = sweeps(args)
    found = {k: contest(v, args.repeats, _say) for k, v in tasks.items()}
    figures = {}
    for mode in tasks["batch"][0].modes:
        for quantity, results in found.items():
            costs = [
                _cost(quantity, mode, result)
                for result in results
                if result.error is None
            ]
            print(report(quantity, mode, costs) + "\n")
            figures[f"{mode}, {quantity}"] = [
                dataclasses.asdict(cost) for cost in costs
            ]
    failed = [r for results in found.values() for r in results if r.error]
    for result in failed:
        print(f"Failed: {result.task.label}: {result.error}")
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("growth", __doc__)
    add = parser.add_argument
    several = {"metavar": "N,...", "help": "default: %(default)s"}
    add("--batches", default="1,2,4,8,16", **several)
    add("--resolutions", default="64,96,128,192,256", **several)
    add(
        "--widths",
        metavar="MODEL,...",
        default="bit_r50x1,bit_r50x3",
        help="the first is the others' network, too; default: %(default)s",
    )
    add("--resolution", type=int, default=128, help="where it does not change")
    add("--batch-size", type=int, default=4, help="where it does not change")
    add("--precision", choices=PRECISIONS, default="float32")
    add("--modes", default="forward,train", help="default: %(default)s")
    add("--repeats", type=int, default=5, help="rounds; default: %(default)s")
    return parser


def sweeps(args: argparse.Namespace) -> dict[str, list[Task]]:
    """Returns the tasks of each sweep: batch, pixels and width.

    Args:
        args: Parsed.

    Raises:
        ValueError: If one of them is not legal.
    """
    chosen = words("--modes", args.modes, MODES)
    modes = tuple(mode for mode in MODES if mode in chosen)
    names = words("--widths", args.widths, models.names(models.BIT))

    def task(model: str, resolution: int, batch_size: int) -> Task:
        bit_shapes(model, resolution)
        return Task(
            "tensorflow", model, resolution, batch_size, args.precision, modes
        )

    batches = numbers("--batches", args.batches)
    resolutions = numbers("--resolutions", args.resolutions)
    widths = [models.arguments(name).get("width", 1) for name in names]
    if len(set(widths)) < len(widths):
        raise ValueError(
            "--widths: two networks of one width in "
            f"{', '.join(names)}; name one of each."
        )
    one, side, batch = names[0], args.resolution, args.batch_size
    return {
        "batch": [task(one, side, size) for size in batches],
        "pixels": [task(one, px, batch) for px in resolutions],
        "width": [task(name, side, batch) for name in names],
    }


def _cost(quantity: str, mode: str, result: Result) -> Cost:
    task = result.task
    value = {
        "batch": task.batch_size,
        "pixels": task.resolution**2,
        "width": models.arguments(task.model).get("width", 1),
    }[quantity]
    shapes = bit_shapes(task.model, task.resolution)
    flops = shapes.forward_flops(NUM_CLASSES) * (3 if mode == "train" else 1)
    seconds = statistics.median(result.seconds[mode])
    return Cost(value, seconds / task.batch_size, flops)


def report(quantity: str, mode: str, costs: Sequence[Cost]) -> str:
    """Returns a table of a sweep, and what follows from it, as text.

    Args:
        quantity: "batch", "pixels" or "width".
        mode: "forward" or "train".
        costs: In the order of the quantity.
    """
    rows = [
        (
            f"{cost.value:g}",
            f"{1000 * cost.seconds:.1f}",
            f"{cost.flops / cost.seconds / 1e9:.1f}",
        )
        for cost in costs
    ]
    header = (quantity, "ms/image", "GFLOP/s")
    lines = [f"{mode}, against {quantity}:", table(header, rows)]
    if len(costs) > 1:
        conclude = _of_batch if quantity == "batch" else _of_work
        lines.append(conclude(quantity, costs))
    return "\n".join(lines)


def _of_batch(quantity: str, costs: Sequence[Cost]) -> str:
    fixed, each = fixed_cost(costs)
    found, largest = enough(costs), costs[-1].value
    gain = f"From batch {found:g} on, larger ones gain less than {_GAIN:.0%}"
    if found == largest:
        gain = f"Batch {found:g}, the largest, still gains {_GAIN:.0%} or more"
    cost = (
        f"a call costs {1000 * fixed:.1f} ms before the first image (kernels "
        f"standardized, operations started), and {1000 * each:.1f} ms for each"
    )
    return f"{gain} per image; {cost}."


def _of_work(quantity: str, costs: Sequence[Cost]) -> str:
    values = [cost.value for cost in costs]
    time = exponent(values, [cost.seconds for cost in costs])
    work = exponent(values, [cost.flops for cost in costs])
    lines = [
        f"Time per image grows as {quantity}^{time:.2f}, its floating-point "
        f"operations as {quantity}^{work:.2f}."
    ]
    for before, after, of_time, of_work in bends(costs):
        why = "a call's fixed cost and small operations weigh less and less"
        if of_time > of_work:
            why = "what is worked on no longer fits into a cache"
        lines.append(
            f"It bends between {before:g} and {after:g}: time as "
            f"{quantity}^{of_time:.2f}, operations as {quantity}^{of_work:.2f} "
            f"({why})."
        )
    return "\n".join(lines)


def enough(costs: Sequence[Cost]) -> float:
    """Returns the smallest batch that no larger one beats by `_GAIN`.

    Args:
        costs: In the order of the batch.

    Example:

    >>> times = {1: 3.0, 2: 2.0, 4: 1.03, 8: 1.0}
    >>> enough([Cost(batch, seconds, 1) for batch, seconds in times.items()])
    4
    """
    least = min(cost.seconds for cost in costs)
    return next(
        cost.value for cost in costs if cost.seconds <= least / (1 - _GAIN)
    )


def fixed_cost(costs: Sequence[Cost]) -> tuple[float, float]:
    """Returns the seconds of a call at batch 0, and those of each image.

    A straight line of the seconds of a call over the batch, by least squares of
    the relative errors; at least 0 each.

    Args:
        costs: Of several batches.

    Example:

    >>> fixed, each = fixed_cost([Cost(b, 2 / b + 3, 1) for b in (1, 4, 8)])
    >>> round(fixed, 6), round(each, 6)
    (2.0, 3.0)
    """
    import numpy as np
    from scipy.optimize import nnls

    batches = np.array([cost.value for cost in costs], float)
    calls = batches * [cost.seconds for cost in costs]
    inputs = np.stack([1 / calls, batches / calls], 1)
    (fixed, each), _ = nnls(inputs, np.ones(len(costs)))
    return float(fixed), float(each)


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Returns b of the best fit `costs = a * values**b`, in logarithms.

    Args:
        values: Positive, at least two different ones.
        costs: Positive.

    Example:

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    import numpy as np

    slope, _ = np.polyfit(np.log(values), np.log(costs), 1)
    return float(slope)


def bends(
    costs: Sequence[Cost],
) -> list[tuple[float, float, float, float]]:
    """Returns where time grows unlike the work, by more than `_BEND`.

    Args:
        costs: In the order of the value.

    Returns:
        For each such pair of neighbours: both values, and the exponents of time
        and of work between them.

    Example:

    >>> times = {1: 1.0, 2: 1.0, 4: 2.0, 8: 4.0}
    >>> bends([Cost(value, time, value) for value, time in times.items()])
    [(1, 2, 0.0, 1.0)]
    """
    found = []
    for before, after in zip(costs, costs[1:], strict=False):
        step = math.log(after.value / before.value)
        of_time = math.log(after.seconds / before.seconds) / step
        of_work = math.log(after.flops / before.flops) / step
        if abs(of_time - of_work) > _BEND:
            found.append((before.value, after.value, of_time, of_work))
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
