"""The saturation law's bootstrap against curve_fit, and a hull's seconds.

Both fit the same law with the same bounds to the same resampled models, in
turns; `curve_fit` starts from the parameters that made them, its best case.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence

import numpy as np

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed.table import table
from bit_keras.progress import Progress

# Goals at full size: the least ratio, and the most seconds.
GOALS = {
    "refits, seconds": "<= 10",
    "ratio": ">= 20",
    "hull of scattered models, seconds": "<= 1",
    "hull that all models are on, seconds": "<= 1",
    "analysis, seconds": "<= 180",
}
# Models, tasks and numbers of shots of the whole analysis.
STUDY = (5000, 25, 4)
# k, alpha and e_IR of CIFAR-100 (saturation.md 3), and the scatter of models.
TRUTH = (0.573, 3.79, 0.100)
_SCATTER = 0.02


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bit_keras.benchmarks speed saturation",
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="rounds of timing; default 3")
    add("--quick", action="store_true", help="few models, one round")
    add(
        "--full",
        action="store_true",
        help="time the whole analysis of a large study, too",
    )
    add("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args(argv)
    if args.quick:
        figures = measure(200, 100, 10, 10_000, repeats=1)
    else:
        figures = measure(1500, 1000, 100, 1_000_000, args.repeats)
    if args.full:
        figures |= measure_analysis(*((60, 2, 2) if args.quick else STUDY))
    goals = {} if args.quick else GOALS
    rows = [(k, f"{v:.4g}", goals.get(k, "")) for k, v in figures.items()]
    print(table(("figure", "measured", "goal"), rows))
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def measure(
    num_models: int,
    resamples: int,
    by_curve_fit: int,
    hull_points: int,
    repeats: int,
) -> dict[str, float]:
    """Returns all figures, by name; seconds are medians over the rounds.

    Args:
        num_models: Models of a data set.
        resamples: Refits, of ours.
        by_curve_fit: How many of the same resamples `curve_fit` does; its
            seconds are scaled to all.
        hull_points: Models of which a hull is taken.
        repeats: Rounds, of one run of each way.
    """
    # Here, and below: --help needs neither SciPy nor pandas.
    from bit_keras.benchmarks.saturation.bootstrap import refit_points

    x, y = synthetic_models(num_models)
    groups = np.arange(num_models)
    ours, theirs, unbounded, scattered, on_hull = [], [], [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        refits = refit_points(x, y, groups, resamples, seed=0)
        ours.append(time.perf_counter() - began)
        data = _resampled(x, y, by_curve_fit)
        seconds, worse = _curve_fits(data, refits, bounded=True)
        theirs.append(seconds * resamples / by_curve_fit)
        seconds, _ = _curve_fits(data, refits, bounded=False)
        unbounded.append(seconds * resamples / by_curve_fit)
        upstream, downstream = synthetic_models(hull_points)
        scattered.append(_hull_seconds(upstream, downstream))
        on_hull.append(_hull_seconds(upstream, _law(upstream, *TRUTH)))
    seconds = statistics.median(ours)
    return {
        "CPU cores": os.cpu_count() or 1,
        "models": num_models,
        "refits": resamples,
        "refits, seconds": seconds,
        f"curve_fit, seconds (from {by_curve_fit})": statistics.median(theirs),
        "ratio": statistics.median(theirs) / seconds,
        "ratio to curve_fit without bounds": statistics.median(unbounded)
        / seconds,
        "largest relative difference of the loss": worse,
        "models of a hull": hull_points,
        "hull of scattered models, seconds": statistics.median(scattered),
        "hull that all models are on, seconds": statistics.median(on_hull),
    }


def measure_analysis(models: int, tasks: int, shots: int) -> dict[str, float]:
    """Returns the seconds of the whole analysis, with all defaults.

    Args:
        models: Measured on every task at every number of shots.
        tasks: Number of tasks.
        shots: Numbers of shots.
    """
    import pandas as pd

    from bit_keras.benchmarks.saturation.analysis import analyse
    from bit_keras.benchmarks.saturation.columns import Columns
    from bit_keras.benchmarks.saturation.table import from_frame

    x, y = synthetic_models(models)
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "model": np.arange(models),
                "size": 10 ** (9 - 3 * x),
                "task": f"task{task}",
                "shots": 2**i,
                "upstream": x,
                # Below the best models, as most are.
                "downstream": y + rng.exponential(0.05, models),
            }
        )
        for task in range(tasks)
        for i in range(shots)
    ]
    made = from_frame(
        pd.concat(parts, ignore_index=True),
        Columns(
            upstream="upstream",
            downstream=("downstream",),
            model=("model",),
            task="task",
            shots="shots",
            size="size",
            upstream_is="error",
            downstream_is="error",
        ),
    )
    progress = Progress(tasks * shots)
    began = time.perf_counter()
    try:
        found = analyse(
            made, tell=lambda done, _, name: progress.update(done, name)
        )
    finally:
        progress.close()
    return {
        "points of the analysis": len(made.points),
        "laws of the analysis": len(found.fits),
        "analysis, seconds": time.perf_counter() - began,
    }


def synthetic_models(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns upstream and downstream errors of models around the law.

    Example:

    >>> x, y = synthetic_models(1000)
    >>> bool(x.min() >= 0.4), x.shape, y.shape
    (True, (1000,), (1000,))
    """
    rng = np.random.default_rng(0)
    x = 1 - rng.uniform(0, 0.6, count)
    return x, _law(x, *TRUTH) + rng.normal(0, _SCATTER, count)


def _law(x, k, alpha, e_ir):
    return k * x**alpha + e_ir


def _resampled(x, y, count):
    """Returns the first `count` resamples that `refit_points` draws."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(x), (count, len(x)))
    return x[drawn], y[drawn]


def _curve_fits(data, refits, bounded):
    """Returns the seconds, and the largest relative difference of the loss."""
    from scipy.optimize import curve_fit

    from bit_keras.benchmarks.saturation.projection import ALPHA_BOUNDS

    bounds = (-np.inf, np.inf)
    if bounded:
        low, high = ALPHA_BOUNDS
        bounds = ([0, low, 0], [np.inf, high, 1])
    began = time.perf_counter()
    found = [
        curve_fit(_law, x, y, TRUTH, bounds=bounds)[0]
        for x, y in zip(*data, strict=True)
    ]
    seconds = time.perf_counter() - began
    pairs = zip(found, refits[: len(found)], strict=True)
    losses = [
        [np.sum((_law(x, *parameters) - y) ** 2) for parameters in pair]
        for x, y, pair in zip(*data, pairs, strict=True)
    ]
    theirs, ours = np.array(losses).T
    return seconds, float(np.max(abs(ours / theirs - 1)))


def _hull_seconds(x, y):
    from bit_keras.benchmarks.saturation.hull import upper_hull

    began = time.perf_counter()
    upper_hull(1 - x, 1 - y)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
