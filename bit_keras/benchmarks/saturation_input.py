"""What the sub-command saturation reads: the table of the analysis."""

import argparse
from typing import TYPE_CHECKING

from bit_keras.benchmarks.saturation_arguments import (
    ABOUT,
    header,
    is_ours,
    joined,
    split,
)

# pandas takes a second to load; a slip on the command line should not.
if TYPE_CHECKING:
    from bit_keras.benchmarks.saturation.columns import Columns
    from bit_keras.benchmarks.saturation.layers import Layers
    from bit_keras.benchmarks.saturation.table import Table


def read(args: argparse.Namespace) -> "tuple[Table, Layers | None]":
    """Reads the table, and accuracy by layer if our rows have several.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Raises:
        ValueError: If no point can be used.
    """
    from bit_keras.benchmarks.saturation import reading, table

    if is_ours(args):
        return _read_ours(args.results, args.where)
    if args.curves:
        return _read_curves(args), None
    if not args.join:
        several = len(args.results) > 1
        tables = [
            reading.read_csv(
                path, _columns(args, path), path if several else ""
            )
            for path in args.results
        ]
        return table.concat(tables) if len(tables) > 1 else tables[0], None
    return _read_joined(args), None


def _read_curves(args: argparse.Namespace) -> "Table":
    from bit_keras.benchmarks.saturation import paired_table, reading

    (path,) = args.results
    frame = reading.read_text(path)
    try:
        return paired_table.from_curves(
            frame,
            at=args.curves,
            value=args.downstream,
            task=args.task,
            upstream_task=args.upstream_task,
            model=split(args.model_id),
            shots=args.shots,
            family=args.family,
            value_is=args.downstream_is,
            unit=args.downstream_unit,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_joined(args: argparse.Namespace) -> "Table":
    from bit_keras.benchmarks.saturation import reading, table

    down, up = joined(args.downstream_tables), joined(args.upstream_tables)
    by_file: dict[str, dict[str, str]] = {}
    for task, path in down.items():
        upstream = up.get(task, args.results[0])
        by_file.setdefault(upstream, {})[task] = path
    tables = [
        reading.join(path, tasks, split(args.join), _columns(args, path))
        for path, tasks in by_file.items()
    ]
    return table.concat(tables) if len(tables) > 1 else tables[0]


def _read_ours(
    paths: list[str], where: list[str]
) -> "tuple[Table, Layers | None]":
    from bit_keras.benchmarks.results_command import read as read_rows
    from bit_keras.benchmarks.saturation import layers, reading

    frame = read_rows(paths, where)
    made = reading.from_results(frame)
    rows = frame[frame["benchmark"] == "fewshot"]
    if rows["endpoint"].nunique() < 2:
        return made, None
    return made, layers.by_endpoint(rows)


def _columns(args: argparse.Namespace, path: str) -> "Columns":
    from bit_keras.benchmarks.saturation.columns import Columns
    from bit_keras.benchmarks.saturation.head import SETTINGS

    names = header(path)
    return Columns(
        upstream=args.upstream,
        downstream=split(args.downstream),
        model=split(args.model_id),
        task=args.task,
        shots=args.shots,
        # Settings of the head are analysed wherever they are known.
        keep=tuple(name for name in SETTINGS if name in names),
        **{name: getattr(args, name) for name in ABOUT},
        upstream_is=args.upstream_is,
        downstream_is=args.downstream_is,
        upstream_unit=args.upstream_unit,
        downstream_unit=args.downstream_unit,
    )
