"""Preempts one training run again and again, at moments drawn from a seed.

    python tests/soak/preemption.py --times 50 --out runs/preemption

trains a small network by the real command under deterministic operations, once
whole and once interrupted and resumed as often as asked, and compares weights
(bit by bit) and rows.  `--signal KILL` gives no time to save.  The command goes
on where it was stopped, prints a table, and exits with 1 if anything differs.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

EVAL_EVERY = 200
COMMAND = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_nano",
    "--resolution=16",
    "--batch-size=16",
    "--deterministic",
    "--set=preprocess.mixup_alpha=0.1",
    "--set=schedule.learning_rate=0.02",
    "--set=run.checkpoint_every=20",
    "--set=run.log_every=10",
    f"--set=run.eval_every={EVAL_EVERY}",
)
# When to interrupt; "end": between the last step and the end of the process.
PHASES = ("start-up", "training", "evaluation", "checkpoint", "twice")
ROWS = "interruptions.jsonl"


class Run:
    """A running command, its messages, and how to wait for one of them."""

    def __init__(self, workdir: Path, arguments: tuple[str, ...]) -> None:
        self.workdir = workdir
        command = [sys.executable, "-m", "bit_keras.train", *arguments]
        self.process = subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []
        self.began = time.monotonic()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Waits for the process; returns its code."""
        code = self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def total(self) -> int:
        """Steps of the run, once a line has told them."""
        return int(re.search(r"step \d+/(\d+)", self.text)[1])

    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        folder = self.workdir / "checkpoints"
        names = os.listdir(folder) if folder.exists() else ()
        return any(name.endswith("_temp") for name in names)

    def until(self, there: Callable[[], bool], pause: float = 0.002) -> bool:
        """Waits for something; returns whether it came before the end."""
        while not there():
            if self.process.poll() is not None:
                return False
            time.sleep(pause)
        return True

    def until_step(self, wanted: Callable[[int], bool]) -> bool:
        """Waits for the row of training of a step, which comes before all
        else that is done at this step."""
        seen = 0

        def there() -> bool:
            nonlocal seen
            new, seen = self.lines[seen:], len(self.lines)
            rows = (re.match(r"step (\d+)/\d+ +epoch", line) for line in new)
            return any(row and wanted(int(row[1])) for row in rows)

        return self.until(there)


def wait_for_moment(run: Run, phase: str, rng: random.Random) -> None:
    """Waits for a random moment of a phase."""
    if phase == "start-up":
        # Half of them while libraries load, half while the step is compiled.
        late = rng.uniform(0, 8)
        if late > 4:
            run.until(lambda: any(" at step " in line for line in run.lines))
            late -= 4
        time.sleep(late)
    elif phase in ("training", "twice"):
        run.until_step(lambda step: True)
        time.sleep(rng.uniform(0, 1.5))
    elif phase == "evaluation":
        run.until_step(lambda step: step % EVAL_EVERY == 0)
        time.sleep(rng.uniform(0, 0.3))
    elif phase == "checkpoint":
        run.until_step(lambda step: True)
        run.until(run.saving, pause=0.0002)
        time.sleep(rng.uniform(0, 0.01))
    else:
        run.until(lambda: "step " in run.text)
        run.until_step(lambda step: step == run.total)
        time.sleep(rng.uniform(0, 1))


def interrupt(
    workdir: Path,
    arguments: tuple[str, ...],
    phase: str,
    signum: int,
    rng: random.Random,
) -> dict:
    """Starts (or resumes) a run, interrupts it, and returns what happened."""
    with Run(workdir, arguments) as run:
        wait_for_moment(run, phase, rng)
        saving, began = run.saving(), time.monotonic()
        run.process.send_signal(signum)
        if phase == "twice":
            time.sleep(rng.uniform(0, 0.5))
            run.process.send_signal(signum)
        code = run.end()
    if code not in (0, 128 + signum, -signum) or "Traceback" in run.text:
        raise AssertionError(f"{phase}: exit code {code}:\n{run.text}")
    stopped = re.search(r"Stopped at step (\d+), saved", run.text)
    step = int(stopped[1]) if stopped else None
    resumed = re.search(r"Resuming at step (\d+)", run.text)
    due = step is not None and step % EVAL_EVERY == 0
    return {
        "phase": phase,
        "code": code,
        "saving": saving,
        "evaluating": due and (step, "eval") not in kinds(workdir),
        "resumed": int(resumed[1]) if resumed else 0,
        "step": step,
        "seconds": round(time.monotonic() - began, 2),
    }


def kinds(workdir: Path) -> list[tuple[int, str]]:
    """Returns step and kind of each whole row."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [(row["step"], row["kind"]) for row in rows]


def finish(workdir: Path, arguments: tuple[str, ...]) -> Run:
    """Trains to the end."""
    with Run(workdir, arguments) as run:
        code = run.end()
    if code:
        raise AssertionError(f"exit code {code}:\n{run.text}")
    return run


def differences(one: Path, other: Path) -> list[str]:
    """Returns in what two finished runs differ: weights, rows, files."""
    found = []
    for name in ("final.npz", "best.npz"):
        with np.load(one / name) as a, np.load(other / name) as b:
            found += [f"{name}: arrays"] * (set(a) != set(b))
            found += [
                f"{name}: {key}"
                for key in set(a) & set(b)
                if a[key].tobytes() != b[key].tobytes()
            ]
    texts = [(path / "metrics.jsonl").read_text() for path in (one, other)]
    rows = [
        [
            {k: row[k] for k in ("kind", "step", "epoch") + TOP1[row["kind"]]}
            for row in map(json.loads, text.splitlines())
        ]
        for text in texts
    ]
    found += ["rows of metrics.jsonl"] * (rows[0] != rows[1])
    files = [
        sorted(
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if "tensorboard" not in path.parts
        )
        for folder in (one, other)
    ]
    found += ["names of files"] * (files[0] != files[1])
    return found


# Rows of training hold means since the last row or the last start.
TOP1 = {"train": ("learning_rate",), "eval": ("loss", "top1", "examples")}


def plan(times: int, seed: int) -> list[str]:
    """Returns the phase of each interruption; a tenth is at the end."""
    ends = times // 10
    phases = [PHASES[index % len(PHASES)] for index in range(times - ends)]
    random.Random(seed).shuffle(phases)
    return phases + ["end"] * ends


def campaign(
    out: Path, arguments: tuple[str, ...], phases: list[str], signum: int
) -> list[dict]:
    """Interrupts the run `out/cut` in each phase, and compares it to the end.

    Args:
        out: Holds the whole run, `whole`, and all that the campaign makes.
        arguments: Of the command.
        phases: Of `PHASES`, then perhaps "end" several times.
        signum: The signal.

    Returns:
        A row for each interruption; `differences` is set where the run was
        finished after it.
    """
    path = out / ROWS
    rows = [json.loads(line) for line in path.open()] if path.exists() else []
    for index in range(len(rows), len(phases)):
        phase, rng = phases[index], random.Random(f"{signum} {index}")
        if phase == "end":
            last_steps(out, arguments)
        row = interrupt(out / "cut", arguments, phase, signum, rng)
        if phase == "end" or index + 1 == len(phases):
            finish(out / "cut", arguments)
            row["differences"] = differences(out / "whole", out / "cut")
        elif row["code"] == 0:
            raise AssertionError("finished early; give it more --steps")
        rows.append(row)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{index + 1}/{len(phases)}", row, flush=True)
    return rows


def last_steps(out: Path, arguments: tuple[str, ...]) -> None:
    """Puts the run back to shortly before its end, where it then begins."""
    kept, cut = out / "near_the_end", out / "cut"
    if not kept.exists():
        with Run(cut, arguments) as run:
            run.until(lambda: "step " in run.text)
            run.until_step(lambda step: step >= run.total - EVAL_EVERY)
            run.process.send_signal(signal.SIGTERM)
            run.end()
        shutil.copytree(cut, out / "copy", dirs_exist_ok=True)
        (out / "copy").rename(kept)
    shutil.rmtree(cut)
    shutil.copytree(kept, cut)


def table(rows: list[dict], signum: int) -> str:
    """Returns the rows by phase, as markdown."""
    lines = [
        "| meant for | times | a checkpoint was being written | an evaluation "
        f"was unfinished | saved and stopped ({128 + signum}) | died at once | "
        "finished | seconds to the end: median, most |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for phase in dict.fromkeys(sorted(row["phase"] for row in rows)):
        of = [row for row in rows if row["phase"] == phase]
        codes = [row["code"] for row in of]
        seconds = [row["seconds"] for row in of]
        lines.append(
            f"| {phase} | {len(of)} | {sum(row['saving'] for row in of)} "
            f"| {sum(row['evaluating'] for row in of)} "
            f"| {codes.count(128 + signum)} | {codes.count(-signum)} "
            f"| {codes.count(0)} | {statistics.median(seconds):.1f}, "
            f"{max(seconds):.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Runs the campaign and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=("TERM", "KILL"), default="TERM")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    signum = int(signal.Signals[f"SIG{args.signal}"])
    arguments = (*COMMAND, f"--steps={args.steps}")
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "whole" / "result.json").exists():
        finish(args.out / "whole", arguments)
    phases = plan(args.times, args.seed)
    rows = campaign(args.out, arguments, phases, signum)
    ends = [row["differences"] for row in rows if "differences" in row]
    print(table(rows, signum))
    print(
        f"Of {len(ends)} finished runs after {len(rows)} interruptions, "
        f"{sum(not found for found in ends)} equal the uninterrupted one: "
        "weights bit by bit, evaluations, and names of files."
    )
    for found in filter(None, ends):
        print("differs in:", "; ".join(found[:20]))
    return int(any(ends))


if __name__ == "__main__":
    sys.exit(main())
