"""The measurement of start-up: what is started, and what is judged."""

import subprocess
import sys

import pytest

from bit_keras.benchmarks.__main__ import usage
from bit_keras.benchmarks.speed import startup


def test_every_command_is_started():
    started = startup.commands(usage())
    for command in (
        "train",
        "export",
        "benchmarks",
        "benchmarks fewshot",
        "benchmarks speed",
        "benchmarks robustness shift",
        "benchmarks speed saturation",
    ):
        words = f"bit_keras.{command} --help".split()
        assert started[f"{command} --help"] == ["-m", *words]
    # Those of `speed` are no commands of their own.
    assert "benchmarks extraction --help" not in started
    assert started["bare interpreter"] == ["-c", "pass"]


@pytest.mark.parametrize(
    "name", [n for n in startup.commands(usage()) if n.endswith("--help")]
)
def test_help_needs_no_large_package(name):
    words = startup.commands(usage())[name]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "argparse" in imported and "usage:" in done.stdout
    large = {"tensorflow", "keras", "pandas", "scipy", "sklearn", "matplotlib"}
    # A tenth of a second; the measurements of speed may take that.
    if not name.startswith("benchmarks speed"):
        large.add("numpy")
    assert not large & imported


def test_goals_are_judged_by_the_median():
    found = startup.judged(
        {
            "bare interpreter": [0.1, 0.1, 0.1],
            "train --help": [0.2, 0.9, 0.1],
            "export --help": [0.3, 0.3, 0.3],
            "train, mistyped recipe": [0.6, 0.4, 0.4],
            "train, first step of bit_tiny": [14.0, 16.0, 15.5],
        }
    )
    assert {name: row["met"] for name, row in found.items()} == {
        "bare interpreter": None,
        "train --help": True,
        "export --help": False,
        "train, mistyped recipe": True,
        "train, first step of bit_tiny": False,
    }
    assert found["train --help"]["share of the bare interpreter"] == 0.5


def test_a_start_is_timed():
    assert 0 < startup._seconds(["-c", "raise SystemExit(2)"]) < 60


def test_a_failing_command_is_no_measurement():
    with pytest.raises(OSError, match="no module|No module"):
        startup._seconds(["-c", "import nothing_of_that_name"])


def test_rows_count_when_they_are_whole(tmp_path):
    rows = tmp_path / "metrics.jsonl"
    assert not startup._has_train_row(rows)
    rows.write_text('{"kind": "start"}\n{"kind": "tra')
    assert not startup._has_train_row(rows)
    rows.write_text('{"kind": "start"}\n{"kind": "train"}\n')
    assert startup._has_train_row(rows)


@pytest.mark.slow
def test_the_first_step_is_waited_for(monkeypatch):
    small = (*startup._TRAIN, "--resolution=32")
    monkeypatch.setattr(startup, "_TRAIN", small)
    assert startup.seconds_to_first_step("bit_nano") > 0
    with pytest.raises(OSError, match="no step after .*bit_nanoo"):
        startup.seconds_to_first_step("bit_nanoo")
