"""The linear probe against one eigendecomposition per fit.

The other way is big_vision's: for each number of shots and seed, decompose,
then for each l2 whiten the test set, multiply with the weights, and take the
winner. Both run in turns on the same features.
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
from bit_keras.benchmarks.subsets import nested_order

# Least ratio of the seconds of both at full size.
GOAL = 10.0
SHOTS = (1, 5, 10, 25)
# Training images per class, to draw 25 from.
_PER_CLASS = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bit_keras.benchmarks speed fewshot",
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="rounds of timing; default 3")
    add("--quick", action="store_true", help="a small task, one round")
    add("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args(argv)
    if args.quick:
        figures = measure(10, 128, 500, seeds=(0, 1), repeats=1)
    else:
        figures = measure(100, 2048, 10_000, range(5), args.repeats)
    goals = {} if args.quick else {"ratio": f">= {GOAL:g}"}
    rows = [(k, f"{v:.4g}", goals.get(k, "")) for k, v in figures.items()]
    print(table(("figure", "measured", "goal"), rows))
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def measure(
    num_classes: int,
    width: int,
    num_test: int,
    seeds: Sequence[int],
    repeats: int,
) -> dict[str, float]:
    """Returns all figures, by name; seconds are medians over the rounds.

    Args:
        num_classes: Number of classes.
        width: Number of features.
        num_test: Test images.
        seeds: Seeds of the subsets.
        repeats: Rounds, of one run of each way.
    """
    # Here, and below: --help needs neither SciPy nor pandas.
    from bit_keras.benchmarks.fewshot import linear_probe
    from bit_keras.benchmarks.protocols import L2_GRID

    task = synthetic_task(num_classes, width, num_test)
    ours, theirs, again = [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        expected, whitening = one_by_one(*task, num_classes, seeds)
        theirs.append(time.perf_counter() - began)
        again.append(whitening)
        began = time.perf_counter()
        probed = linear_probe(
            *task, num_classes=num_classes, shots=SHOTS, seeds=seeds, l2=L2_GRID
        )
        ours.append(time.perf_counter() - began)
    wrong = abs(probed["accuracy"].to_numpy() - expected.ravel())
    moderate = probed["l2"].to_numpy() >= 1
    seconds = statistics.median(theirs)
    return {
        "CPU cores": os.cpu_count() or 1,
        "fits (shots x seeds x l2)": len(probed),
        "one by one, seconds": seconds,
        "of which whitening again for each l2": statistics.median(again),
        "linear_probe, seconds": statistics.median(ours),
        "ratio": seconds / statistics.median(ours),
        "mean accuracy": probed["accuracy"].mean(),
        "largest difference of accuracy": wrong.max(),
        "largest difference of accuracy, l2 >= 1": wrong[moderate].max(),
    }


def synthetic_task(
    num_classes: int, width: int, num_test: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns train and test features and labels, like those of a network.

    Features are correlated (the spectrum falls as 1/i), rectified, and as hard
    to tell apart as a few-shot task is.

    Example:

    >>> task = synthetic_task(num_classes=3, width=16, num_test=9)
    >>> task[0].shape, task[1].shape, task[2].shape
    ((120, 16), (120,), (9, 16))
    """
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, width + 1) ** -0.5
    directions = rng.standard_normal((width, width)) * spectrum[:, None]
    centres = rng.standard_normal((num_classes, width))

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % num_classes
        latent = 0.5 * centres[labels] + rng.standard_normal((count, width))
        noise = rng.standard_normal((count, width))
        raw = latent @ directions / spectrum.sum() + 0.05 * noise
        return np.maximum(raw, 0).astype(np.float32), labels

    return *draw(_PER_CLASS * num_classes), *draw(num_test)


def one_by_one(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    num_classes: int,
    seeds: Sequence[int],
) -> tuple[np.ndarray, float]:
    """Measures the same accuracies as big_vision's `fewshot_lsr` does.

    Returns:
        Accuracies `(shots, seeds, l2)`, and how many of the seconds went into
        whitening the test set after the first l2 of each fit.
    """
    from bit_keras.benchmarks.protocols import L2_GRID

    accuracy = np.empty((len(SHOTS), len(seeds), len(L2_GRID)))
    again = 0.0
    for j, seed in enumerate(seeds):
        order, rank = nested_order(train_labels, num_classes, SHOTS[-1], seed)
        for i, shots in enumerate(SHOTS):
            few = order[rank < shots]
            cache = _decompose(
                train_features[few], train_labels[few], num_classes
            )
            for k, l2 in enumerate(L2_GRID):
                began = time.perf_counter()
                x = _whiten(test_features, *cache[:2])
                again += (time.perf_counter() - began) * (k > 0)
                _, _, eigenvalues, left, right = cache
                scale = (1 / (eigenvalues + l2)).astype(np.float32)
                winners = np.argmax(x @ ((left * scale) @ right), axis=1)
                accuracy[i, j, k] = np.mean(winners == test_labels)
    return accuracy, again


def _whiten(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    white = (x - mean) / std
    return np.pad(white, ((0, 0), (0, 1)), constant_values=100.0)


def _decompose(
    x: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, ...]:
    mean, std = x.mean(axis=0), x.std(axis=0) + np.float32(1e-5)
    x = _whiten(x, mean, std)
    y = 2 * np.eye(num_classes, dtype=np.float32)[labels] - 1
    if len(x) >= x.shape[1]:
        eigenvalues, q = np.linalg.eigh(x.T @ x)
        return mean, std, eigenvalues, q, q.T @ (x.T @ y)
    eigenvalues, q = np.linalg.eigh(x @ x.T)
    return mean, std, eigenvalues, x.T @ q, q.T @ y


if __name__ == "__main__":
    raise SystemExit(main())
