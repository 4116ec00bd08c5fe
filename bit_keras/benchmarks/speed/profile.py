"""Where the time of a BiT's train step goes, by kind of operation.

TensorFlow's profiler times each operation of a few steps. Operations run one
after the other, each on all cores, so that their times add up to the step's;
alone, a step is a little slower than as it is trained. What a matrix product
reaches in the same run is what convolutions could reach at best.
"""

import argparse
import collections
import dataclasses
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed import arguments
from bit_keras.benchmarks.speed.bit_shapes import Shapes, bit_shapes
from bit_keras.benchmarks.speed.contestants import (
    MATMUL,
    PRECISIONS,
    Task,
    at_least_1,
    matmul_side,
)
from bit_keras.benchmarks.speed.table import table
from bit_keras.environment import prepare_tensorflow

FORWARD, INPUT_GRADIENT, FILTER_GRADIENT = (
    "convolutions, forward",
    "convolutions, gradient of inputs",
    "convolutions, gradient of filters",
)
# Kind -> what the operation's "path:type" contains; the first that fits. 1x1
# convolutions are matrix products where `cpu_graphs` makes them.
_KINDS = {
    FILTER_GRADIENT: r":.*Conv2DBackpropFilter|conv2d(_\d+)?/MatMul/MatMul_1:",
    INPUT_GRADIENT: r":.*Conv2DBackpropInput|conv2d(_\d+)?/MatMul/MatMul:",
    FORWARD: r":.*Conv2D$|conv2d(_\d+)?/MatMul:",
    "the head's matrix products": r":.*MatMul",
    "group norm and ReLU": r"group_norm",
    "weight standardization": r"standardized_conv2d|standardize_gradient",
    "optimizer": r"(^|/)(sgd|adam)(_\d+)?/",
    "pooling and padding": r"pool|/pad_?\d*/|/Pad(_\d+)?:|/Slice(_\d+)?:",
    "sums of gradients and shortcuts": r":(AddN|AddV2)$",
}
_OTHER = "other operations"
_NONE = "between operations"
# As the profiler names an operation: its path in the graph, and its type.
_OPERATION = re.compile(r"[\w./>-]+:[A-Z_]\w*")
# The event of an operation that XLA compiled, and this operation's type.
_COMPILED, _COMPILED_TYPE = (
    "ExecutorState::ProcessAsync::Start",
    "PartitionedCall",
)


@dataclasses.dataclass(frozen=True)
class Profile:
    """Seconds of one step.

    Attributes:
        step: From its start to its end.
        kinds: Of each kind of operation, added up.
        matmul: Of a product of two square matrices with `matmul_side` rows.
    """

    step: float
    kinds: dict[str, float]
    matmul: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    args = _parser().parse_args(argv)
    shapes = bit_shapes(args.model, args.resolution)
    at_least_1("--batch-size", args.batch_size)
    at_least_1("--steps", args.steps)
    prepare_tensorflow()
    task = Task(
        "tensorflow",
        args.model,
        args.resolution,
        args.batch_size,
        args.precision,
    )
    profile = measure(task, args.steps)
    rows = figures(profile, shapes, args.batch_size)
    print(
        f"{args.model} at {args.resolution} px, batch {args.batch_size}, "
        f"{args.precision}: {profile.step:.3g} s a step, "
        f"{args.batch_size / profile.step:.3g} images/s; a matrix product "
        f"reaches {_peak(profile) / 1e9:.3g} GFLOP/s"
    )
    print(
        table(
            ("kind of operation", "ms", "share", "GFLOP/s"),
            [
                (
                    row["kind"],
                    f"{1e3 * row['seconds']:.1f}",
                    f"{row['share']:.1%}",
                    f"{row['flops'] / 1e9:.3g}" if row["flops"] else "",
                )
                for row in rows
            ],
        )
    )
    if args.json:
        text = json.dumps({"step": profile.step, "kinds": rows}, indent=1)
        write_atomic(args.json, text + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("profile", __doc__)
    arguments.add_network(parser, PRECISIONS)
    add = parser.add_argument
    add("--steps", type=int, default=3, help="to time; default: %(default)s")
    return parser


def measure(task: Task, steps: int) -> Profile:
    """Profiles train steps.

    Args:
        task: Of "tensorflow".
        steps: How many; their mean is returned.

    Raises:
        ValueError: If there is a GPU, whose operations have other times.
    """
    import tensorflow as tf

    from bit_keras.benchmarks.speed import with_tensorflow

    if tf.config.list_physical_devices("GPU"):
        raise ValueError(
            "speed profile times operations on the CPU, but TensorFlow has a "
            'GPU here. Hide it with CUDA_VISIBLE_DEVICES="".'
        )
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        print(
            "TensorFlow runs already: operations overlap, and their times add "
            "up to more than the step's.",
            file=sys.stderr,
        )
    network = with_tensorflow.build(task)
    train, multiply = network.runner("train"), network.runner(MATMUL)
    # The first times include compiling.
    train(1), multiply(1)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        step = _seconds(train, steps)
        tf.profiler.experimental.stop(save=True)
        kinds = by_kind(_operations(Path(folder)))
    return Profile(
        step,
        {kind: seconds / steps for kind, seconds in kinds.items()},
        statistics.median(_seconds(multiply, 1) for _ in range(5)),
    )


def _seconds(run: Callable[[int], None], calls: int) -> float:
    began = time.perf_counter()
    run(calls)
    return (time.perf_counter() - began) / calls


def _operations(folder: Path) -> list[tuple[str, float]]:
    """Reads "path:type" and seconds of every operation that ran."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = folder.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    return [
        (_name(plane, event), event.duration_ps / 1e12)
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    ]


def _name(plane: Any, event: Any) -> str:
    """Returns the "path:type" of an operation, or what else an event is."""
    name = plane.event_metadata[event.metadata_id].name
    if name != _COMPILED:
        return name
    names = plane.stat_metadata
    facts = {
        names[stat.metadata_id].name: stat.str_value
        or names[stat.ref_value].name
        for stat in event.stats
    }
    path, kind = facts.get("name", ""), facts.get("kernel_type")
    return f"{path}:{kind}" if kind == _COMPILED_TYPE else name


def by_kind(events: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Adds up seconds by kind of operation.

    Args:
        events: "path:type" and seconds; what is none is left out.

    Example:

    >>> by_kind([("a/convolution:_MklNativeConv2D", 2.0), ("Run", 9.0)])
    {'convolutions, forward': 2.0}
    """
    seconds: dict[str, float] = collections.defaultdict(float)
    for name, duration in events:
        if _OPERATION.fullmatch(name):
            seconds[kind_of(name)] += duration
    return dict(seconds)


def kind_of(operation: str) -> str:
    """Returns the kind of an operation.

    Args:
        operation: Its path in the graph and its type, "path:type".

    Example:

    >>> kind_of("bit/block1_unit01/a_group_norm/Mean:Mean")
    'group norm and ReLU'
    """
    for kind, pattern in _KINDS.items():
        if re.search(pattern, operation):
            return kind
    return _OTHER


def figures(profile: Profile, shapes: Shapes, batch_size: int) -> list[dict]:
    """Returns a row for each kind, the longest first.

    Args:
        profile: What was measured.
        shapes: Of the network.
        batch_size: Images of a step.

    Returns:
        `kind`, `seconds`, `share` of the step, and `flops`: floating-point
        operations per second, for convolutions; else None.
    """
    # The gradients of inputs and of filters have as many operations each as
    # the forward pass; nobody asks for that of the images.
    forward = 2 * sum(c.macs for c in shapes.convolutions) * batch_size
    work = {
        FORWARD: forward,
        FILTER_GRADIENT: forward,
        INPUT_GRADIENT: forward - 2 * shapes.stem.macs * batch_size,
    }
    seconds = dict(profile.kinds)
    seconds[_NONE] = max(0.0, profile.step - sum(seconds.values()))
    return [
        {
            "kind": kind,
            "seconds": value,
            "share": value / profile.step,
            "flops": work[kind] / value if kind in work else None,
        }
        for kind, value in sorted(
            seconds.items(), key=lambda item: item[1], reverse=True
        )
    ]


def _peak(profile: Profile) -> float:
    return 2 * matmul_side("CPU") ** 3 / profile.matmul


if __name__ == "__main__":
    sys.exit(main())
