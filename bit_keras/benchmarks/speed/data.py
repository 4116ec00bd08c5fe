"""How fast images come: python -m bit_keras.benchmarks speed data.

JPEGs made on the fly go through our training pipelines, through bare TensorFlow
and, where PyTorch and Pillow are installed, through a DataLoader with as many
processes as we have threads.  They run in turns; every ratio is the median over
the rounds, once of speed and once of processor time alone.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed import arguments
from bit_keras.benchmarks.speed.pipelines import Cost, PipelineProcess
from bit_keras.benchmarks.speed.table import table
from bit_keras.environment import prepare_tensorflow
from bit_keras.recipes import hyperrule

_HERE = "bit_keras.benchmarks.speed"
_BATCH_SIZE = 64
# Side of upstream crops.
_INCEPTION = 224
# Different files; they are read again and again.
_FILES = 256
_CROPS = ("Inception crops", "HyperRule crops")
_PEER = "PyTorch, "
_DETERMINISTIC = ", deterministic operations"
_NOTES = """
Inception crops are decoded alone, so decode_and_crop_jpeg of the same windows
is their bare counterpart; HyperRule resizes the whole image before it crops, so
its counterpart is decode_jpeg.  Beside decoding alone a ratio tells what all
that follows costs; beside decoding and resizing, what we add to the two steps
that no pipeline can leave out.  "unordered" delivers images as they are ready
and knows no corrupt ones; "deterministic operations" is --deterministic."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Speed of one pipeline as a multiple of another's.

    Attributes:
        ours: Name of a pipeline.
        other: Name of what it is compared with.
        goal: Least ratio; None: told only for its own sake.
    """

    ours: str
    other: str
    goal: float | None

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.ours} / {self.other}"


RATIOS = (
    Ratio("Inception crops", "decode_and_crop_jpeg", 0.9),
    Ratio("Inception crops", "decode_and_crop_jpeg, resize", 0.9),
    Ratio("HyperRule crops", "decode_jpeg", None),
    Ratio("HyperRule crops", "decode_jpeg, resize", 0.9),
    *(Ratio(crops, f"{crops}, unordered", 0.9) for crops in _CROPS),
    *(Ratio(crops + _DETERMINISTIC, crops, 0.9) for crops in _CROPS),
    *(Ratio(crops, _PEER + crops, 2.0) for crops in _CROPS),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints two tables, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = arguments.parser("data", __doc__)
    add = parser.add_argument
    add(
        "--images",
        type=int,
        default=1024,
        help=f"per measurement, in batches of {_BATCH_SIZE}, at least four for "
        "each core; default 1024",
    )
    add("--size", default="500x375", help="WIDTHxHEIGHT; default 500x375")
    add("--repeats", type=int, default=5, help="rounds; default 5")
    args = parser.parse_args(argv)
    size = re.fullmatch(r"(\d+)x(\d+)", args.size)
    if not size:
        parser.error(f'--size is WIDTHxHEIGHT, as 500x375; got "{args.size}".')
    if args.images < _BATCH_SIZE or args.repeats < 1:
        parser.error(f"--images is {_BATCH_SIZE} or more, --repeats 1 or more.")
    width, height = map(int, size.groups())
    prepare_tensorflow()
    # Several for each core, of which PyTorch's each make whole ones.
    batches = max(args.images // _BATCH_SIZE, 4 * _cores())
    costs = measure(batches, height, width, args.repeats)
    figures = {
        "size": args.size,
        "images": batches * _BATCH_SIZE,
        "repeats": args.repeats,
        "cores": _cores(),
        "speeds": speeds(costs, batches * _BATCH_SIZE, _cores()),
        "ratios": ratios(costs),
    }
    report(figures)
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def measure(
    batches: int, height: int, width: int, repeats: int
) -> dict[str, list[Cost]]:
    """Returns the cost of each round, by pipeline.

    Args:
        batches: Per measurement.
        height: Of the files, in pixels.
        width: Of the files, in pixels.
        repeats: Rounds over all pipelines.
    """
    rule = hyperrule.hyperrule(_FILES, (height, width))
    arguments = [
        f"--batch-size={_BATCH_SIZE}",
        f"--batches={batches}",
        f"--resize={rule.resize}",
        f"--crop={rule.crop}",
        f"--inception={_INCEPTION}",
    ]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _make_files(Path(folder), height, width)

        def start(module: str, *more: str) -> PipelineProcess:
            process = PipelineProcess(
                f"{_HERE}.{module}", [folder, *arguments, *more]
            )
            return stack.enter_context(process)

        ours = start("data_tensorflow")
        runs = {name: (ours, name) for name in ours.names}
        fixed = start("data_tensorflow", "--deterministic")
        runs |= {name + _DETERMINISTIC: (fixed, name) for name in _CROPS}
        if peer_installed():
            peer = start("data_torch", f"--workers={_cores()}")
            runs |= {_PEER + name: (peer, name) for name in peer.names}
        return _in_turns(runs, repeats)


def peer_installed() -> bool:
    """Returns whether there are PyTorch and Pillow to compare with."""
    return all(importlib.util.find_spec(name) for name in ("torch", "PIL"))


def _cores() -> int:
    return os.cpu_count() or 1


def _make_files(folder: Path, height: int, width: int) -> None:
    # Not above: checking arguments needs no TensorFlow.
    from bit_keras.benchmarks.speed.data_tensorflow import make_jpegs

    make_jpegs(folder, _FILES, height, width)


def _in_turns(
    runs: dict[str, tuple[PipelineProcess, str]], repeats: int
) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for process, name in runs.values():
        process.cost(name)
    order = [*runs]
    for turn in range(repeats):
        # Each goes first in its turn.
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            process, inner = runs[name]
            costs[name].append(process.cost(inner))
    return costs


def speeds(
    costs: dict[str, list[Cost]], images: int, cores: int
) -> dict[str, dict[str, float]]:
    """Returns images per second and core, and per processor-second.

    Args:
        costs: Of each round, by pipeline.
        images: Of each round.
        cores: That the pipelines may use.

    Example:

    >>> speeds({"demo": [Cost(2.0, 3.0)]}, 60, 2)
    {'demo': {'per core': 15.0, 'per processor-second': 20.0}}
    """
    return {
        name: {
            "per core": images
            / statistics.median(cost.seconds for cost in rounds)
            / cores,
            "per processor-second": images
            / statistics.median(cost.processor_seconds for cost in rounds),
        }
        for name, rounds in costs.items()
    }


def ratios(costs: dict[str, list[Cost]]) -> dict[str, dict]:
    """Returns value, goal and `met` of each ratio that was measured.

    Args:
        costs: Of each round, by pipeline.

    Example:

    >>> costs = {"HyperRule crops": [Cost(2, 2)], "decode_jpeg": [Cost(1, 2)]}
    >>> ratios(costs)["HyperRule crops / decode_jpeg"]["speed"]
    0.5
    """
    found = {}
    for ratio in RATIOS:
        if ratio.ours in costs and ratio.other in costs:
            # Rounds are compared one by one: the machine's mood cancels.
            pairs = [*zip(costs[ratio.other], costs[ratio.ours], strict=True)]
            speed = statistics.median(a.seconds / b.seconds for a, b in pairs)
            found[ratio.name] = {
                "speed": speed,
                "processor": statistics.median(
                    a.processor_seconds / b.processor_seconds for a, b in pairs
                ),
                "goal": ratio.goal,
                "met": None if ratio.goal is None else speed >= ratio.goal,
            }
    return found


def report(figures: dict) -> None:
    """Prints what was measured.

    Args:
        figures: As written by --json.
    """
    rows = [
        (name, *(f"{value:.0f}" for value in speed.values()))
        for name, speed in figures["speeds"].items()
    ]
    header = ("images per second", "and core", "of processor time")
    print(table(header, rows), end="\n\n")
    verdicts = {None: "", True: "met", False: "not met"}
    rows = [
        (
            name,
            f"{found['speed']:.2f}",
            f"{found['processor']:.2f}",
            f">= {found['goal']}" if found["goal"] else "",
            verdicts[found["met"]],
        )
        for name, found in figures["ratios"].items()
    ]
    header = ("ratio", "speed", "processor time", "goal for speed", "")
    print(table(header, rows))
    print(_NOTES)
    if not any(name.startswith(_PEER) for name in figures["speeds"]):
        print("PyTorch is left out; to compare: pip install torch pillow.")


if __name__ == "__main__":
    sys.exit(main())
