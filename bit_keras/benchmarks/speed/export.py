"""What an export costs: python -m bit_keras.benchmarks speed export.

Every ratio is of two things measured in the same run, in turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.speed import process_memory
from bit_keras.benchmarks.speed.table import table
from bit_keras.environment import prepare_tensorflow
from bit_keras.quiet import quiet

# Goals, as limits on the figures of the same name.
_GOALS = {
    "export seconds": "<= 60",
    "export memory beyond the loaded model / model size": "<= 3",
    "reload seconds": "<= 5",
    "SavedModel / in-process, batch 1": ">= 0.97",
    "SavedModel / in-process, batch 8": ">= 0.97",
    "folded / in-process, batch 1": ">= 1",
    "folded / in-process, batch 8": ">= 1",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bit_keras.benchmarks speed export",
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add("--model", default="bit_r50x1", help="default: bit_r50x1")
    add("--resolution", type=int, default=224, help="pixels; default 224")
    add("--repeats", type=int, default=9, help="rounds of timing; default 9")
    add("--json", metavar="FILE", help="write the figures there, too")
    add("--step", choices=("export", "reload"), help=argparse.SUPPRESS)
    add("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    prepare_tensorflow()
    if args.step:
        step = {"export": _export, "reload": _reload}[args.step]
        print(json.dumps(step(Path(args.folder))))
        return 0
    figures = measure(args.model, args.resolution, args.repeats)
    rows = [(k, f"{v:.3g}", _GOALS.get(k, "")) for k, v in figures.items()]
    print(table(("figure", "measured", "goal"), rows))
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def measure(model: str, resolution: int, repeats: int) -> dict[str, float]:
    """Returns all figures, by name.

    Args:
        model: Registered name; its weights are random.
        resolution: Side of the images, in pixels.
        repeats: Rounds over all variants; each figure is a median.
    """
    with quiet():
        from bit_keras import checkpoints, models
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = models.create(model, 1000, dtype="float32")
        checkpoints.save(network, folder / "model.npz")
        size = (folder / "model.npz").stat().st_size
        exported = _in_fresh_process("export", folder)
        reloaded = _in_fresh_process("reload", folder)
        return {
            "model size, MB": size / 1e6,
            "export seconds": exported["seconds"],
            "loading memory / model size": exported["loading"] / size,
            "export memory beyond the loaded model / model size": (
                exported["bytes"] / size
            ),
            "reload seconds": reloaded["seconds"],
            **_inference(network, folder, resolution, repeats),
        }


def _in_fresh_process(step: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bit_keras.benchmarks.speed.export"]
    process = subprocess.run(
        [*command, "--step", step, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def _export(folder: Path) -> dict[str, float]:
    """Exports twice, plain and folded; returns the cost of the first."""
    with quiet():
        import tensorflow as tf

        from bit_keras.export import exporter, source

        # What TensorFlow takes for itself is not the export's.
        tf.zeros(1)
    before = process_memory.resident()
    began = time.monotonic()
    loaded = source.load(folder / "model.npz")
    between = process_memory.resident()
    options = exporter.Options(name="plain")
    exporter.export(loaded, folder, options, lambda line: None)
    seconds = time.monotonic() - began
    peak = process_memory.peak()
    options = exporter.Options(name="folded", folded=True)
    exporter.export(loaded, folder, options, lambda line: None)
    return {
        "seconds": seconds,
        "loading": between - before,
        "bytes": peak - between,
    }


def _reload(folder: Path) -> dict[str, float]:
    with quiet():
        import tensorflow as tf
    tf.zeros(1)
    began = time.monotonic()
    tf.saved_model.load(str(folder / "plain" / "1"))
    return {"seconds": time.monotonic() - began}


def _inference(
    network: Any, folder: Path, resolution: int, repeats: int
) -> dict[str, float]:
    """Returns images/s in process, and the others' ratio to it."""
    import tensorflow as tf

    from bit_keras import models

    features = models.endpoints(network, "pre_logits")
    plain = tf.saved_model.load(str(folder / "plain" / "1"))
    folded = tf.saved_model.load(str(folder / "folded" / "1"))
    variants = {
        "in-process": tf.function(
            lambda x: features(x * 2 - 1, training=False), autograph=False
        ),
        "SavedModel": lambda x: plain(x, training=False),
        "folded": lambda x: folded(x, training=False),
    }
    figures = {}
    for batch in (1, 8):
        images = tf.random.uniform((batch, resolution, resolution, 3))
        seconds = _in_turns(variants, images, repeats, calls=8 // batch)
        own = seconds["in-process"]
        figures[f"in-process images/s, batch {batch}"] = 8 / statistics.median(
            own
        )
        for name in ("SavedModel", "folded"):
            # Rounds are compared one by one: the machine's mood cancels.
            figures[f"{name} / in-process, batch {batch}"] = statistics.median(
                a / b for a, b in zip(own, seconds[name], strict=True)
            )
    return figures


def _in_turns(
    variants: dict[str, Callable], images: Any, repeats: int, calls: int
) -> dict[str, list[float]]:
    """Returns the seconds of each round, by variant."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for variant in variants.values():
        variant(images)
    for turn in range(repeats):
        # Each goes first in its turn.
        first = turn % len(variants)
        for name in [*variants][first:] + [*variants][:first]:
            began = time.perf_counter()
            for _ in range(calls):
                variants[name](images)
            seconds[name].append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
