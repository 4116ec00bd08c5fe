"""The sub-command `robustness effective`: effective robustness."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.benchmarks import selection
from bit_keras.recipe import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bit_keras.benchmarks.robustness.effective import Line

# As in effective.py, which needs SciPy.
_SCALES = ("logit", "probit", "linear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--reference-id a.csv --reference-shifted b.csv --out o"
    >>> parser.parse_args(words.split()).scale
    'logit'
    """
    add = parser.add_argument
    add(
        "--reference-id",
        required=True,
        metavar="CSV",
        help="models and their accuracy on the usual test set, as "
        "timm_results-imagenet.csv",
    )
    add(
        "--reference-shifted",
        required=True,
        metavar="CSV",
        help="the same on the shifted set",
    )
    add("--out", required=True, metavar="DIR", help="for results.jsonl")
    add("--model-column", default="model", help="in both; default model")
    add("--value-column", default="top1", help="in both; default top1")
    add(
        "--reference",
        default="*",
        metavar="GLOB,GLOB",
        help="models that the line goes through; default all, but never those "
        "of --models",
    )
    add(
        "--models",
        default="",
        metavar="GLOB,GLOB",
        help="models of the tables to be judged, such as 'resnetv2_*_bit*'",
    )
    add(
        "--scale",
        choices=_SCALES,
        default="logit",
        help="on which accuracies are on a line; default logit",
    )
    _add_own(parser)


def _add_own(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--results",
        metavar="DIR",
        help="own models to be judged: what `robustness shift` measured",
    )
    add(
        "--task",
        metavar="NAME",
        help='which of them, as "imagenet -> imagenet_v2"; default: the only '
        "one",
    )
    add(
        "--protocol",
        help='which of them, as "restricted"; default: the only one',
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a file that is not there.
        ValueError: For what has no effect.
    """
    for path in (args.reference_id, args.reference_shifted, args.results):
        if path and not Path(path).exists():
            raise FileNotFoundError(f'There is no "{path}".')
    if not args.results and (args.task or args.protocol):
        raise ValueError("--task and --protocol choose from --results.")


def run(args: argparse.Namespace) -> int:
    """Fits the line, judges models, and appends rows to OUT/results.jsonl.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code.
    """
    from bit_keras.benchmarks.robustness import (
        effective,
        effective_rows,
        reference_models,
    )
    from bit_keras.benchmarks.robustness.rows import store

    pairs = reference_models.read_pairs(
        args.reference_id,
        args.reference_shifted,
        args.model_column,
        args.value_column,
    )
    judged = reference_models.matching(pairs["model"], args.models)
    used = reference_models.matching(pairs["model"], args.reference) & ~judged
    good = effective.usable(pairs["source"], pairs["shifted"], args.scale)
    _tell_left_out(pairs, used & ~good, judged & ~good, args.scale)
    reference, judged = pairs[used & good], pairs[judged & good]
    line = effective.fit(reference["source"], reference["shifted"], args.scale)
    own = _own(args)
    between = _between(args)
    task = between if own is None else own["task"].iloc[0]
    protocol = f"effective, {args.scale}"
    if own is not None:
        protocol += f", {own['protocol'].iloc[0]}"
        _say(
            f'Own models on "{task}" are judged by those of "{between}"; these '
            "must be the same two test sets."
        )
    _tell(line)
    selection.make_out(args)
    tables = reference_models.digest(args.reference_id, args.reference_shifted)
    chosen = {
        "between": between,
        "columns": [args.model_column, args.value_column],
        "reference": args.reference,
        "models": args.models,
    }
    pair = effective_rows.Pair(task, protocol, line, tables, chosen)
    rows = effective_rows.rows(pair, reference, judged, own)
    store(args, rows, _say)
    print(effective_rows.text(rows))
    return 0


def _tell_left_out(
    pairs: "pd.DataFrame",
    reference: "np.ndarray",
    judged: "np.ndarray",
    scale: str,
) -> None:
    for what, left_out in (("reference", reference), ("judged", judged)):
        names = pairs["model"][left_out]
        if len(names):
            _say(
                f"{len(names)} {what} models are left out, as an accuracy of 0 "
                f"or 1 has no {scale}: {', '.join(names[:5])}"
                f"{' ...' if len(names) > 5 else ''}"
            )


def _tell(line: "Line") -> None:
    _say(
        f"{line.n} reference models: {line.scale}(shifted) = {line.slope:.3f} "
        f"{line.scale}(source) {line.intercept:+.3f}; R2 {line.r2:.3f}, "
        f"residual sd {line.residual_sd:.3f}"
    )


def _between(args: argparse.Namespace) -> str:
    one, two = Path(args.reference_id).stem, Path(args.reference_shifted).stem
    return f"{one} -> {two}"


def _own(args: argparse.Namespace) -> "pd.DataFrame | None":
    """Returns what `robustness shift` measured of one shift; None: nothing."""
    if not args.results:
        return None
    from bit_keras.benchmarks import results

    frame = results.load([args.results])
    frame = frame[
        (frame["benchmark"] == "robustness")
        & (frame["metric"] == "accuracy_drop")
    ]
    for field in ("task", "protocol"):
        there = sorted(set(frame[field]))
        name = getattr(args, field)
        if name is None and len(there) == 1:
            name = there[0]
        if name not in there:
            hint = did_you_mean(name, there) if name else ""
            raise ValueError(
                f"--{field} must say which shift of {args.results} to take; "
                f"got {name or 'none'}.{hint} There: "
                f"{', '.join(there) or 'none'}."
            )
        frame = frame[frame[field] == name]
    return frame


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
