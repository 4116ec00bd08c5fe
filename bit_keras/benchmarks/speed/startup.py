"""How long one waits: python -m bit_keras.benchmarks speed startup.

Every command is started in a fresh process, all of them in turns; each figure
is a median.  For the training command the clock stops when the first step is
in metrics.jsonl.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks.robustness.command import KINDS
from bit_keras.benchmarks.speed import arguments
from bit_keras.benchmarks.speed.table import table
from bit_keras.progress import duration

_BARE = "bare interpreter"
_HELP_GOAL = 0.3
_MISTYPED = "train, mistyped recipe"
_MISTYPED_GOAL = 0.5
# Seconds to the first step of each model.
_FIRST_STEP_GOALS = {"bit_tiny": 15.0, "bit_r50x1": 45.0}
_TRAIN = (
    "bit_keras.train",
    "--recipe=bit_s",
    "--dataset=digits",
    "--resolution=224",
    "--batch-size=8",
    "--set=run.log_every=1",
)
# Each is seconds long, and less moved by chance.
_TRAIN_REPEATS = 3
_PATIENCE = 600


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and returns an exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = arguments.parser("startup", __doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=5, help="rounds; default 5")
    add("--no-train", action="store_true", help="--help and errors alone")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"--repeats is 1 or more; got {args.repeats}.")
    from bit_keras.benchmarks.__main__ import usage

    seconds = _in_turns(commands(usage()), args.repeats)
    if not args.no_train:
        for model in _FIRST_STEP_GOALS:
            seconds[_first_step(model)] = [
                seconds_to_first_step(model) for _ in range(_TRAIN_REPEATS)
            ]
    figures = judged(seconds)
    report(figures)
    if args.json:
        write_atomic(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def commands(usage: str) -> dict[str, list[str]]:
    """Returns what is started, as typed after `python`, by name.

    Args:
        usage: Of the benchmarks' command; lists its sub-commands.

    Example:

    >>> usage = "usage: ...\\n\\n  tasks  ...\\n  speed  ...:\\n    data  ..."
    >>> [name for name in commands(usage) if name.endswith("data --help")]
    ['benchmarks speed data --help']
    """
    # By their indent: sub-commands two spaces, those of `speed` four.
    names = re.findall(r"^  (\w+) ", usage, re.MULTILINE)
    speed = re.findall(r"^    (\w+) ", usage, re.MULTILINE)
    words = ["train", "export", "demo", "benchmarks"]
    words += [f"benchmarks {name}" for name in names]
    words += [f"benchmarks robustness {kind}" for kind in KINDS]
    words += [f"benchmarks speed {name}" for name in speed]
    started = {_BARE: ["-c", "pass"]}
    for command in words:
        name = f"{command} --help"
        started[name] = ["-m", *f"bit_keras.{name}".split()]
    started[_MISTYPED] = ["-m", "bit_keras.train", "--recipe=bitm"]
    return started


def _in_turns(
    started: dict[str, list[str]], repeats: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in started}
    for words in started.values():
        # Fills the file system's cache.
        _seconds(words)
    for _ in range(repeats):
        for name, words in started.items():
            seconds[name].append(_seconds(words))
    return seconds


def _seconds(words: Sequence[str]) -> float:
    began = time.perf_counter()
    process = subprocess.run(
        [sys.executable, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - began
    # 2: wrong arguments, as was meant.
    if process.returncode not in (0, 2):
        raise OSError(f"{' '.join(words)} failed: {process.stderr}")
    return seconds


def _first_step(model: str) -> str:
    return f"train, first step of {model}"


def seconds_to_first_step(model: str) -> float:
    """Trains until the first step is logged, and returns the seconds it took.

    Args:
        model: Registered name.

    Raises:
        OSError: If the training ends, or takes too long, before that.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "run", "metrics.jsonl")
        words = [*_TRAIN, f"--model={model}", f"--workdir={rows.parent}"]
        began = time.perf_counter()
        with open(Path(folder, "output"), "w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *words], stdout=output, stderr=output
            )
            try:
                while not _has_train_row(rows):
                    seconds = time.perf_counter() - began
                    if process.poll() is not None or seconds > _PATIENCE:
                        output.seek(0)
                        raise OSError(
                            f"{' '.join(words)}: no step after "
                            f"{duration(seconds)}: {output.read()}"
                        )
                    time.sleep(0.02)
                return time.perf_counter() - began
            finally:
                # Nothing of it is wanted any more.
                process.kill()
                process.wait()


def _has_train_row(rows: Path) -> bool:
    return rows.exists() and any(
        json.loads(line)["kind"] == "train"
        for line in rows.read_text().splitlines(keepends=True)
        # The last one may be half written.
        if line.endswith("\n")
    )


def judged(seconds: dict[str, list[float]]) -> dict[str, dict]:
    """Returns the median of each, its goal, and whether it is met.

    Args:
        seconds: Of each start, by name.

    Example:

    >>> seconds = {"bare interpreter": [0.02], "train --help": [0.2, 0.1, 0.1]}
    >>> judged(seconds)["train --help"]["seconds"]
    0.1
    """
    bare = statistics.median(seconds[_BARE])
    found = {}
    for name, times in seconds.items():
        median = statistics.median(times)
        goal = _goal(name)
        found[name] = {
            "seconds": median,
            "share of the bare interpreter": bare / median,
            "goal": goal,
            "met": None if goal is None else median < goal,
        }
    return found


def _goal(name: str) -> float | None:
    goals = {_MISTYPED: _MISTYPED_GOAL}
    goals |= {_first_step(m): goal for m, goal in _FIRST_STEP_GOALS.items()}
    if name.endswith("--help"):
        return _HELP_GOAL
    return goals.get(name)


def report(figures: dict[str, dict]) -> None:
    """Prints what was measured.

    Args:
        figures: Of `judged`.
    """
    verdicts = {None: "", True: "met", False: "not met"}
    rows = [
        (
            name,
            f"{found['seconds']:.2f}",
            f"{found['share of the bare interpreter']:.0%}",
            f"< {found['goal']:g}" if found["goal"] else "",
            verdicts[found["met"]],
        )
        for name, found in figures.items()
    ]
    header = ("start of", "seconds", "bare interpreter", "goal", "")
    print(table(header, rows))


if __name__ == "__main__":
    sys.exit(main())
