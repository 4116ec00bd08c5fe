"""A few cases of each category, always the same ones; `run.py` has thousands.

And that the judge itself is right: one that never fails anything would pass.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from judge import Case, judge

HERE = Path(__file__).parent
# Category -> cases, by how long each takes.
FAST = {
    "checkpoints": 30,
    "images": 10,
    "tables": 60,
    "documents": 80,
    "archives": 40,
    "words": 40,
    "pages": 5,
}


def check(category, number, phases=tuple(hypothesis.Phase)):
    """Tries some cases of a category; none may end badly."""
    module = importlib.import_module(f"hostile_{category}")
    getattr(module, "warm_up", lambda: None)()

    @hypothesis.settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=number,
        phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(module.cases())
    def try_one(case):
        outcome = judge(module.attempt, case)
        assert outcome.verdict != "failed", outcome.message

    try_one()


@pytest.mark.parametrize("category", FAST)
def test_hostile_input_ends_well(category):
    check(category, FAST[category])


@pytest.mark.slow
def test_the_commands_end_well():
    # Without looking for a simpler case: each takes seconds.
    check("commands", 4, phases=[hypothesis.Phase.generate])


CASE = Case("any", "case.csv", b"data")


def raising(error):
    def attempt(case, path):
        raise error

    return attempt


def writing(name, verdict="accepted"):
    def attempt(case, path):
        place = path.parents[1] / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("x")
        if verdict == "refused":
            raise ValueError("case.csv: no")
        return verdict

    return attempt


def test_what_is_refused_as_it_should_be():
    for error in (ValueError("case.csv: no."), OSError(5, "bad", "case.csv")):
        assert judge(raising(error), CASE).verdict == "refused"
    report = "case.csv does not fit\n  missing: a"
    assert judge(raising(ValueError(report)), CASE).verdict == "refused"
    # What would steer a terminal is shown, not sent.
    outcome = judge(raising(ValueError("case.csv: \x1b[31m")), CASE)
    assert outcome.message == "case.csv: \\x1b[31m"


@pytest.mark.parametrize(
    "attempt, message",
    [
        (raising(ValueError("no such column")), "names no file"),
        (raising(KeyError("case.csv")), "bare KeyError"),
        (raising(RecursionError("case.csv")), "bare RecursionError"),
        (raising(MemoryError()), "bare MemoryError"),
        (lambda case, path: "lost a row", "lost a row"),
        (writing("in/ran"), "left in/ran"),
        (writing("escaped"), "left ./escaped"),
        (writing("out/half", "refused"), "left out/half"),
    ],
)
def test_what_fails(attempt, message):
    outcome = judge(attempt, CASE)
    assert outcome.verdict == "failed" and message in outcome.message


def test_results_may_be_written_for_what_is_accepted():
    assert judge(writing("out/table.csv"), CASE).verdict == "accepted"


def test_memory_counts():
    # In a process of its own, which has not had such a peak before.
    program = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import judge;"
        "take = lambda case, path: ('accepted', bytes(b'x' * 2**31))[0];"
        "print(judge.judge(take, judge.Case('a', 'b', b'')).message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout == "took 2.0 GiB\n", done.stderr


def test_the_command_counts_deaths_and_hangs(tmp_path):
    (tmp_path / "hostile_made_up.py").write_text(MADE_UP)
    program = (
        f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(tmp_path)!r}];"
        "import run; run.PATIENCE = 6; run.CATEGORIES = ('made_up',);"
        "sys.exit(run.main())"
    )
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            *(sys.executable, "-c", program),
            *("--only", "made_up", "--cases", "8"),
            *("--json", str(report)),
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(report.read_text())
    messages = {f["kind"]: f["message"] for f in found["failures"]}
    assert messages == {
        "die": "the process died (-6)",
        "hang": "nothing happened for 6 s",
    }
    counts = found["categories"]["made_up"]
    assert counts["cases"] == sum(counts[v] for v in ("failed", "accepted"))
    assert counts["accepted"] >= 1


MADE_UP = """
import os, time
from hypothesis import strategies as st
from judge import Case

def cases():
    names = st.sampled_from(["fine", "die", "hang"])
    return names.map(lambda name: Case(name, "x", b""))

def attempt(case, path):
    if case.kind == "die":
        os.abort()
    if case.kind == "hang":
        time.sleep(999)
    return "accepted"
"""
