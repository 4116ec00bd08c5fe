"""Repeats the campaign: python tests/campaign/run.py --cases 2000 --seed 0.

Each category runs in a process of its own, which is limited in memory and
replaced when it dies or hangs; the case that it was at has then failed.
"""

import argparse
import collections
import importlib
import itertools
import json
import os
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from judge import Case

CATEGORIES = (
    "checkpoints",
    "images",
    "tables",
    "documents",
    "archives",
    "words",
    "pages",
    "commands",
)
# Seconds without news from a process, its start included.
PATIENCE = 180
# Memory that a process may ask for beyond what it has after its start.
ROOM = 8 << 30
VERDICTS = ("accepted", "skipped", "refused", "failed")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--cases", type=int, default=2000, help="per category")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--only", nargs="+", default=CATEGORIES)
    made.add_argument("--json", metavar="FILE", help="for counts and failures")
    made.add_argument(
        "--case",
        type=int,
        metavar="N",
        help="only this one, of one category, in this process; its file is "
        "written to the working directory",
    )
    # Of the processes that this one starts.
    made.add_argument("--child", help=argparse.SUPPRESS)
    made.add_argument("--skip", type=int, default=0, help=argparse.SUPPRESS)
    return made


def main() -> int:
    """Runs the campaign; 1 if a case failed."""
    args = parser().parse_args()
    if args.child:
        work(args.child, args.cases, args.seed, args.skip)
        return 0
    if args.case:
        alone(*args.only, args.cases, args.seed, args.case)
        return 0
    began = time.monotonic()
    found = {name: category(name, args.cases, args.seed) for name in args.only}
    print(table(found))
    spent = time.monotonic() - began
    print(f"{spent:.0f} s, seed {args.seed}")
    if args.json:
        report = {"seed": args.seed, "seconds": round(spent)}
        report["categories"] = {n: count(rows) for n, rows in found.items()}
        report["kinds"] = {n: kinds(rows) for n, rows in found.items()}
        report["slowest"] = {n: slowest(rows) for n, rows in found.items()}
        report["failures"] = [
            {"category": name, **row}
            for name, rows in found.items()
            for row in rows
            if row["verdict"] == "failed"
        ]
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n")
    return int(any(r["verdict"] == "failed" for f in found.values() for r in f))


def count(rows: list[dict]) -> dict[str, int]:
    """Returns the number of cases, and of each verdict."""
    counts = collections.Counter(row["verdict"] for row in rows)
    return {"cases": len(rows)} | {name: counts[name] for name in VERDICTS}


def slowest(rows: list[dict]) -> dict:
    """Returns the case that took most of the processor."""
    return max(rows, key=lambda row: row.get("seconds", 0))


def kinds(rows: list[dict]) -> dict[str, dict[str, int]]:
    """Returns the counts of each kind of damage."""
    names = sorted({row["kind"] for row in rows})
    return {n: count([r for r in rows if r["kind"] == n]) for n in names}


def table(found: dict[str, list[dict]]) -> str:
    """Returns the counts as a table of Markdown."""
    lines = [["category", "cases", *VERDICTS], ["---"] * (2 + len(VERDICTS))]
    for name, rows in found.items():
        lines.append([name, *map(str, count(rows).values())])
    total = count([row for rows in found.values() for row in rows])
    lines.append(["all", *map(str, total.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def category(name: str, cases: int, seed: int) -> list[dict]:
    """Runs one category, in as many processes as it takes."""
    rows: list[dict] = []
    while True:
        before = len(rows)
        ended = watch(name, cases, seed, rows)
        if ended is None:
            return rows
        if rows and rows[-1]["verdict"] == "begun":
            rows[-1].update(verdict="failed", message=ended)
            say(rows[-1], name)
        elif len(rows) == before:
            raise SystemExit(f"{name} does not start: {ended}")


def watch(name: str, cases: int, seed: int, rows: list[dict]) -> str | None:
    """Runs one process and collects its rows.

    Returns:
        How it ended before its time; None: it did all cases.
    """
    command = [sys.executable, __file__, "--child", name]
    command += ["--cases", str(cases), "--seed", str(seed)]
    command += ["--skip", str(len(rows))]
    # Without the last, each thread reserves memory that it does not use.
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MALLOC_ARENA_MAX": "2",
    }
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        selector.register(process.stdout, selectors.EVENT_READ)
        buffer = b""
        while selector.select(PATIENCE):
            # Not readline, which would wait for the rest of a line.
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                code = process.wait()
                return None if code == 0 else f"the process died ({code})"
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                take(json.loads(line), rows, name)
        process.kill()
    return f"nothing happened for {PATIENCE} s"


def take(row: dict, rows: list[dict], name: str) -> None:
    """Adds what a process says: a case begins, or its verdict."""
    if row["verdict"] == "begun":
        rows.append(row)
        return
    rows[-1].update(row)
    if row["verdict"] == "failed":
        say(rows[-1], name)


def say(row: dict, name: str) -> None:
    """Prints a failure."""
    text = f"{name} {row['case']} ({row['kind']}): {row.get('message')}"
    print(text[:500], file=sys.stderr, flush=True)


def work(name: str, cases: int, seed: int, skip: int) -> None:
    """Tries the cases of a category but the first `skip`."""
    from judge import judge

    # What the code under test prints is not for the pipe.
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module = importlib.import_module(f"hostile_{name}")
    getattr(module, "warm_up", lambda: None)()
    limit_memory()

    def one(number: int, case: "Case") -> None:
        if number <= skip:
            return
        begun = {"case": number, "kind": case.kind, "verdict": "begun"}
        print(json.dumps(begun), file=pipe)
        before = time.process_time()
        outcome = judge(module.attempt, case)
        done = {
            "verdict": outcome.verdict,
            "message": outcome.message,
            "seconds": round(time.process_time() - before, 3),
        }
        print(json.dumps(done), file=pipe)

    each(module, cases, seed, one)


def alone(name: str, cases: int, seed: int, wanted: int) -> None:
    """Tries one case, writes its file and prints what became of it."""
    from judge import judge

    module = importlib.import_module(f"hostile_{name}")

    def one(number: int, case: "Case") -> None:
        if number == wanted:
            Path(case.name).write_bytes(case.data)
            print(case, flush=True)
            print(judge(module.attempt, case))

    each(module, cases, seed, one)


def each(
    module: ModuleType,
    cases: int,
    seed: int,
    one: Callable[[int, "Case"], None],
) -> None:
    """Draws the cases of a category, always the same for a seed."""
    import hypothesis

    numbers = itertools.count(1)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=min(cases, getattr(module, "MOST", cases)),
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(module.cases())
    def draw(case: "Case") -> None:
        one(next(numbers), case)

    draw()


def limit_memory() -> None:
    """Lets the process ask for `ROOM` more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
