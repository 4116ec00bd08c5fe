"""A BiT's forward pass and train step beside its peers'.

Each contestant has a process of its own; they run in turns, one at a time, and
in each round multiply two large matrices first. Peers are optional: what is not
installed is named, with the command that adds it. On a GPU all contestants keep
their memory side by side: name fewer for large networks.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed import arguments
from bit_keras.benchmarks.speed.arguments import at_least_1, words
from bit_keras.benchmarks.speed.bit_shapes import Shapes, bit_shapes
from bit_keras.benchmarks.speed.contest import Result, contest
from bit_keras.benchmarks.speed.contestants import (
    CONTESTANTS,
    MODES,
    NUM_CLASSES,
    PRECISIONS,
    Task,
    absent,
    chosen,
)
from bit_keras.benchmarks.speed.standings import (
    Standing,
    Verdict,
    standings,
    verdicts,
)
from bit_keras.benchmarks.speed.table import table

_HEADERS = (
    "images/s",
    "/ best peer",
    "/ naive",
    "GFLOP/s",
    "/ matmul",
    "/ best matmul",
    "peak GB",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints tables, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    args = _parser().parse_args(argv)
    modes = words("--modes", args.modes, MODES)
    names = chosen(args.contestants)
    shapes = bit_shapes(args.model, args.resolution)
    at_least_1("--repeats", args.repeats)
    here, missing = _installed(names)
    tasks = [
        Task(
            name,
            args.model,
            args.resolution,
            args.batch_size,
            args.precision,
            tuple(mode for mode in MODES if mode in modes),
        )
        for name in here
    ]
    results = contest(tasks, args.repeats, _say)
    check_parameters(results, shapes)
    found = standings(results, shapes.forward_flops(NUM_CLASSES))
    on_gpu = any(result.device not in (None, "CPU") for result in results)
    judged = verdicts(found, on_gpu)
    print(_headline(args, shapes, results))
    _print(results, found, judged, missing)
    if args.json:
        figures = {
            "settings": {k: v for k, v in vars(args).items() if k != "json"},
            "CPU cores": os.cpu_count(),
            "forward FLOP per image": shapes.forward_flops(NUM_CLASSES),
            "parameters": shapes.parameters(NUM_CLASSES),
            "results": [dataclasses.asdict(result) for result in results],
            "standings": [dataclasses.asdict(one) for one in found],
            "goals": [
                {**dataclasses.asdict(one), "met": one.met} for one in judged
            ],
            "not installed": missing,
        }
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 0 if found else 1


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("model", __doc__)
    arguments.add_network(parser, PRECISIONS)
    add = parser.add_argument
    add("--modes", default="forward,train", help="default: %(default)s")
    add(
        "--contestants",
        default="all",
        metavar="NAME,...",
        help=f"of {', '.join(CONTESTANTS)}; default: all",
    )
    add("--repeats", type=int, default=9, help="rounds; default: %(default)s")
    return parser


def _installed(
    names: Sequence[str],
) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Returns who can run, and which packages each of the others lacks."""
    lacking = {name: absent(CONTESTANTS[name].packages) for name in names}
    missing = {name: packages for name, packages in lacking.items() if packages}
    return [name for name in names if name not in missing], missing


def check_parameters(results: Sequence[Result], shapes: Shapes) -> None:
    """Marks as failed who does not have exactly the network's parameters.

    Args:
        results: Changed in place.
        shapes: Of the network.
    """
    expected = shapes.parameters(NUM_CLASSES)
    for result in results:
        if result.error is None and result.parameters != expected:
            result.error = (
                f"another network: it has {result.parameters} parameters, not "
                f"{expected}"
            )


def _headline(
    args: argparse.Namespace, shapes: Shapes, results: Sequence[Result]
) -> str:
    devices = sorted({r.device for r in results if r.device})
    gflop = shapes.forward_flops(NUM_CLASSES) / 1e9
    return (
        f"{args.model}, {args.resolution} px, batch {args.batch_size}, "
        f"{args.precision}, {os.cpu_count()} CPU cores, on "
        f"{' and '.join(devices) or 'nothing'}: {gflop:.3g} GFLOP per image "
        f"forward ({gflop / 2:.3g} GMACs), three times that a train step; "
        f"medians of {args.repeats} rounds."
    )


def _print(
    results: Sequence[Result],
    found: Sequence[Standing],
    judged: Sequence[Verdict],
    missing: dict[str, tuple[str, ...]],
) -> None:
    for mode in MODES:
        rows = [_row(one) for one in found if one.mode == mode]
        if rows:
            print("\n" + table((mode, *_HEADERS), rows))
    for one in found:
        if one.of_data_sheet is not None:
            print(
                f"{one.contestant}, {one.mode}: model FLOP utilisation "
                f"{one.of_data_sheet:.3f} of the data sheet's"
            )
    if judged:
        print("\n" + goals_table(judged))
    for result in results:
        if result.error:
            print(f"Failed: {result.task.contestant}: {result.error}")
    for name, packages in missing.items():
        print(f"Not installed: {name}. pip install {' '.join(packages)}")


def _row(one: Standing) -> tuple[str, ...]:
    return (
        CONTESTANTS[one.contestant].title,
        f"{one.images_per_second:.3g}",
        _ratio(one.to_best_peer),
        _ratio(one.to_naive),
        f"{one.flops / 1e9:.3g}",
        _ratio(one.of_matmul),
        _ratio(one.of_best_matmul),
        f"{one.peak / 1e9:.2f}",
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def goals_table(judged: Sequence[Verdict]) -> str:
    """Returns a table with a row for each goal and a column for each of ours.

    Args:
        judged: The verdicts.
    """
    ours = list(dict.fromkeys(one.contestant for one in judged))
    goals = list(dict.fromkeys(one.goal for one in judged))
    cells = {(one.goal, one.contestant): _verdict(one) for one in judged}
    rows = [
        (
            goal.text,
            f"{goal.sense} {goal.limit:g}",
            *(cells[goal, name] for name in ours),
        )
        for goal in goals
    ]
    return table(("goal", "limit", *ours), rows)


def _verdict(one: Verdict) -> str:
    if one.met is None:
        return "not measured"
    return f"{one.value:.2f} {'met' if one.met else 'NOT met'}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
