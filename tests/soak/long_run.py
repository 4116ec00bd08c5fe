"""Does a process that works for long grow?  Memory and open files, sampled.

    python tests/soak/long_run.py --minutes 30 --out runs/long_run

trains by the real command (with evaluations and checkpoints), and beside it
extracts features again and again in one process, and fine-tunes again and again
in another.  Prints the slope of the resident memory after a warm-up of a third
of the time, and the open file descriptors; exits with 1 if either grows.
"""

import argparse
import contextlib
import csv
import dataclasses
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

EVERY = 2.0  # Seconds between samples.
# Neighbouring samples are alike: the error of the slope is that of the means
# over this many stretches of time.
STRETCHES = 20
# MiB per hour: what a process may grow, beyond two standard errors.  A run of
# two weeks would gain 7 GiB; real leaks were a hundred times as fast.
MOST = 20.0
TRAINING = (
    *("-m", "bit_keras.train", "--recipe=transfer", "--dataset=digits"),
    *("--model=bit_nano", "--resolution=16", "--batch-size=32"),
    *("--steps=100000000", "--set=run.log_every=50"),
    *("--set=run.checkpoint_every=100", "--set=run.eval_every=200"),
)


def extract_forever(folder: Path) -> None:
    """Extracts features of the digits, into a new cache each time."""
    from bit_keras.benchmarks.backbone import open_backbone
    from bit_keras.benchmarks.features import extract
    from bit_keras.benchmarks.images import Preprocessing
    from bit_keras.data.sources import open_source

    backbone = open_backbone("bit_nano", init="random")
    for number in itertools.count(1):
        extract(
            backbone,
            "digits",
            open_source("digits", "test"),
            ("pre_logits",),
            Preprocessing(resize=18, crop=16),
            folder / "cache",
            say=lambda message: None,
        )
        shutil.rmtree(folder / "cache")
        print(number, flush=True)


def finetune_forever(folder: Path) -> None:
    """Fine-tunes a network for 20 steps, into a new folder each time."""
    from bit_keras.benchmarks import finetune, tasks
    from bit_keras.data.sources import open_source

    start = finetune.open_start("bit_nano", "random")
    task = dataclasses.replace(tasks.get("cifar10"), dataset="digits")
    for number in itertools.count(1):
        settings = ("schedule.steps=20", "preprocess.crop=16")
        recipe = finetune.hyperrule_recipe(
            start, task, 32, [*settings, f"run.seed={number}"]
        )
        finetune.finetune(
            start,
            recipe,
            open_source("digits", "train[:200]"),
            open_source("digits", "test[:64]"),
            folder / "run",
            lambda message: None,
        )
        shutil.rmtree(folder / "run")
        print(number, flush=True)


LOOPS = {"extraction": extract_forever, "fine-tuning": finetune_forever}
UNITS = {"training": "steps", "extraction": "passes", "fine-tuning": "runs"}


@contextlib.contextmanager
def started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen]:
    """Runs a Python command that writes to files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open(folder / "done.txt", "w") as out,
        open(folder / "messages.txt", "w") as error,
        subprocess.Popen(
            [sys.executable, *command], stdout=out, stderr=error
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def measured(pid: int) -> tuple[float, int]:
    """Returns resident memory in MiB, and the number of open files."""
    process = Path("/proc", str(pid))
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            files = len(os.listdir(process / "fd"))
            return int(line.split()[1]) / 1024, files
    raise ProcessLookupError(f"process {pid} has ended")


def sample(
    processes: dict[str, subprocess.Popen],
    seconds: float,
    every: float,
    note: Callable[[dict], None],
) -> list[dict]:
    """Measures processes for a time; each sample is noted at once.

    Raises:
        ChildProcessError: If one of them ends before.
    """
    samples = []
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        for name, process in processes.items():
            if process.poll() is not None:
                raise ChildProcessError(f"{name} ended: {process.returncode}")
            memory, files = measured(process.pid)
            row = {"name": name, "at": now, "MiB": memory, "files": files}
            samples.append(row)
            note(row)
        time.sleep(every)
    return samples


def slope(at: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Returns the slope of a least-squares line, and its standard error."""
    stretches = min(STRETCHES, len(at) // 2)
    parts = np.array_split(np.arange(len(at)), stretches)
    x = np.array([at[part].mean() for part in parts])
    y = np.array([values[part].mean() for part in parts])
    x = x - x.mean()
    gradient = (x * y).sum() / (x * x).sum()
    rest = y - y.mean() - gradient * x
    variance = (rest * rest).sum() / (stretches - 2)
    return gradient, math.sqrt(variance / (x * x).sum())


def growth(samples: list[dict], most: float) -> dict:
    """Returns how one process grew after the first third of its samples."""
    samples = samples[len(samples) // 3 :]
    at = np.array([row["at"] for row in samples]) / 3600
    memory = np.array([row["MiB"] for row in samples])
    files = [row["files"] for row in samples]
    gradient, error = slope(at, memory)
    half = len(files) // 2
    return {
        "MiB": (memory[: half // 2].mean(), memory[-half // 2 :].mean()),
        "slope": gradient,
        "error": error,
        "files": (max(files[:half]), max(files[half:])),
        "grows": bool(
            gradient - 2 * error > most or max(files[half:]) > max(files[:half])
        ),
    }


def work_done(name: str, folder: Path) -> int:
    """Returns how many steps, passes or runs a process has finished."""
    if name == "training":
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        return json.loads(lines[-2])["step"]
    return len((folder / "done.txt").read_text().split())


def table(minutes: float, found: dict[str, tuple[int, dict]]) -> str:
    """Returns what was found as markdown."""
    lines = [
        f"| one process, {minutes:g} minutes | did | MiB after a third, at the "
        "end | slope, MiB per hour | most open files: first half, second half "
        "| grows |",
        "|---|---|---|---|---|---|",
    ]
    for name, (done, row) in found.items():
        (first, last), files = row["MiB"], row["files"]
        lines.append(
            f"| {name} | {done} {UNITS[name]} | {first:.0f}, {last:.0f} "
            f"| {row['slope']:+.1f} ± {row['error']:.1f} "
            f"| {files[0]}, {files[1]} | {'yes' if row['grows'] else 'no'} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Runs the soak and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        LOOPS[args.loop](args.out)
        return 0
    out = args.out
    shutil.rmtree(out, ignore_errors=True)
    commands = {"training": [*TRAINING, f"--workdir={out / 'training/run'}"]}
    for name in LOOPS:
        loop = (__file__, "--loop", name, "--out", str(out / name))
        commands[name] = list(loop)
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(started(command, out / name))
            for name, command in commands.items()
        }
        file = stack.enter_context(open(out / "samples.csv", "w", newline=""))
        writer = csv.DictWriter(file, ("name", "at", "MiB", "files"))
        writer.writeheader()
        seconds = 60 * args.minutes
        samples = sample(processes, seconds, EVERY, writer.writerow)
        found = {
            name: (
                work_done(name, out / name),
                growth([row for row in samples if row["name"] == name], MOST),
            )
            for name in commands
        }
    print(table(args.minutes, found))
    return int(any(row["grows"] for _, row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
