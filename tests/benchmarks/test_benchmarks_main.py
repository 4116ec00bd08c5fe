"""The command bit_keras.benchmarks: what it answers before it measures."""

import argparse
import json
import resource
import signal
import subprocess
import sys

import pytest

from bit_keras.benchmarks import __main__ as command
from bit_keras.benchmarks import fewshot_command, protocols, results_export
from bit_keras.benchmarks.results_command import _FORMATS
from bit_keras.stops import Interrupted, NotFiniteError

FEWSHOT = ("fewshot", "--model=bit_tiny", "--init=random", "--out=o")
# Answers without TensorFlow, Keras and pandas.
EARLY = {
    "nothing": ((), 2, "usage: python -m bit_keras.benchmarks NAME"),
    "help": (("--help",), 0, "speed"),
    "command typo": (("fewshots",), 2, 'Did you mean "fewshot"?'),
    "help on fewshot": (("fewshot", "--help"), 0, "--endpoint"),
    "help on tasks": (("tasks", "--help"), 0, "--tasks-file"),
    "help on results": (("results", "--help"), 0, "--pivot"),
    "help on report": (("report", "--help"), 0, "--where"),
    "help on speed": (("speed", "--help"), 0, "extraction"),
    "speed of nothing": (("speed",), 2, "extraction"),
    "speed typo": (("speed", "fewsho"), 2, 'Did you mean "fewshot"?'),
    "help on a speed": (("speed", "export", "--help"), 0, "usage"),
    "no model": (("fewshot", "--out=o"), 2, "--model. See --help."),
    "flag typo": ((*FEWSHOT, "--shot=1"), 2, 'Did you mean "--shots"?'),
    "model typo": (
        ("fewshot", "--model=bit_tin", "--init=random", "--out=o"),
        2,
        'Did you mean "bit_tiny"?',
    ),
    "model without weights": (
        ("fewshot", "--model=bit_tiny", "--out=o"),
        2,
        "say with --init which weights",
    ),
    "released typo": (
        ("fewshot", "--model=bit_r50x1.i22k", "--out=o"),
        2,
        'Did you mean "bit_r50x1.i21k"?',
    ),
    "no such export": (
        ("fewshot", "--model=exports/mine/1", "--out=o"),
        2,
        'error: there is no "exports/mine/1".',
    ),
    "no such weights": (
        ("fewshot", "--model=bit_tiny", "--init=runs/none", "--out=o"),
        2,
        'there is no file or folder "runs/none"',
    ),
    "task typo": (
        (*FEWSHOT, "--tasks=dtd,pet"),
        2,
        'no task or group "pet". Did you mean "pets"?',
    ),
    "group typo": ((*FEWSHOT, "--tasks=vtabb"), 2, 'Did you mean "vtab"?'),
    "no task": ((*FEWSHOT, "--tasks=,"), 2, "--tasks needs the name of a task"),
    "empty task": ((*FEWSHOT, "--tasks="), 2, "--tasks needs the name"),
    "no shots": ((*FEWSHOT, "--shots=0"), 2, "--shots takes positive whole"),
    "shot typo": ((*FEWSHOT, "--shots=1;5"), 2, 'got "1;5"'),
    "no seeds": ((*FEWSHOT, "--seeds=0"), 2, "--seeds must be >= 1; got 0"),
    "protocol typo": (
        (*FEWSHOT, "--protocol=big_visoin"),
        2,
        'Did you mean "big_vision"?',
    ),
    "mode typo": ((*FEWSHOT, "--mode=probes"), 2, 'Did you mean "probe"?'),
    "seeds of vit": (
        (*FEWSHOT, "--protocol=vit", "--seeds=3"),
        2,
        "protocol vit takes the first images",
    ),
    "resolution": (
        (*FEWSHOT, "--resolution=0"),
        2,
        "--resolution must be >= 1; got 0",
    ),
    "batch size": (
        (*FEWSHOT, "--batch-size=0"),
        2,
        "--batch-size must be >= 1; got 0",
    ),
    "input range": (
        (*FEWSHOT, "--input-range=1,-1"),
        2,
        "--input-range takes two numbers",
    ),
    "no data": (
        (*FEWSHOT, "--data-dir=nowhere"),
        2,
        '--data-dir: there is no folder "nowhere"',
    ),
    "no tasks-file": (
        (*FEWSHOT, "--tasks-file=none.json"),
        2,
        'no file "none.json"',
    ),
    "set for a probe": (
        (*FEWSHOT, "--set=schedule.steps=3"),
        2,
        "--set is for --mode finetune",
    ),
    "set typo": (
        (*FEWSHOT, "--mode=finetune", "--set=schedule.step=3"),
        2,
        'Did you mean "schedule.steps"?',
    ),
    "protocol of finetune": (
        (*FEWSHOT, "--mode=finetune", "--protocol=vit"),
        2,
        "--protocol is for --mode probe",
    ),
    "endpoint of finetune": (
        (*FEWSHOT, "--mode=finetune", "--endpoint=block1"),
        2,
        "--endpoint is for --mode probe",
    ),
    "group of tasks typo": (
        ("tasks", "--group=natral"),
        2,
        'Did you mean "natural"?',
    ),
    "format typo": (
        ("results", ".", "--format=csvv"),
        2,
        'Did you mean "csv"?',
    ),
}
PROBE = """
import atexit, sys
from bit_keras.benchmarks import __main__ as command
def heavy():
    found = {"tensorflow", "keras", "pandas"} & set(sys.modules)
    print("imported:", sorted(found), flush=True)
atexit.register(heavy)
sys.exit(command.main(sys.argv[1:]))
"""
COMMAND = (sys.executable, "-m", "bit_keras.benchmarks")


@pytest.mark.parametrize("case", EARLY)
def test_mistakes_are_answered_without_tensorflow(case, tmp_path):
    args, code, message = EARLY[case]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert message in done.stdout + done.stderr
    assert "imported: []" in done.stdout
    assert "Traceback" not in done.stderr
    if done.stderr:
        assert done.stderr.count("\n") == 1, done.stderr
    # Nothing is left behind.
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_tasks_file_names_entry_and_key(tmp_path, capsys):
    path = tmp_path / "mine.json"
    entry = {"name": "a", "dataset": "digits", "train": "train", "tets": "test"}
    path.write_text(json.dumps([entry]))
    assert command.main([*FEWSHOT, f"--tasks-file={path}"]) == 2
    error = capsys.readouterr().err
    assert 'entry 1 ("a")' in error and 'Did you mean "test"?' in error


@pytest.mark.parametrize("argument", ["--shots=0", "--protocol=vitt"])
def test_mistakes_are_answered_fast(argument):
    # Half a second is promised: of the processor, as the machine is shared.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*COMMAND, *FEWSHOT, argument], capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert after.ru_utime - before.ru_utime < 0.5


@pytest.mark.parametrize(
    "args", [("--help",), ("tasks", "--data-dir=."), ("fewshot", "--help")]
)
def test_a_reader_that_has_gone_is_no_error(args):
    # As `| head` and, for both streams, `2>&1 | head` do.
    for error in (subprocess.PIPE, subprocess.STDOUT):
        with subprocess.Popen(
            [*COMMAND, *args], stdout=subprocess.PIPE, stderr=error, text=True
        ) as process:
            process.stdout.close()
            told = process.stderr.read() if process.stderr else ""
        # argparse itself keeps quiet if its help cannot be written.
        legal = {128 + signal.SIGPIPE, *([0] if "fewshot" in args else [])}
        assert process.returncode in legal
        assert told == ""


@pytest.mark.parametrize(
    "raised, code, message",
    [
        (KeyboardInterrupt(), 130, "Stopped. The same command goes on"),
        (Interrupted(signal.SIGTERM, 7), 143, "Stopped at step 7, saved."),
        (NotFiniteError("diverged"), 1, "error: diverged"),
        (OSError("disk full"), 1, "error: disk full"),
        (ValueError("a task"), 1, "error: a task"),
    ],
)
def test_what_stops_a_measurement_is_one_line(
    monkeypatch, capsys, raised, code, message
):
    def run(args):
        raise raised

    monkeypatch.setattr(fewshot_command, "run", run)
    assert command.main(FEWSHOT) == code
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1


def test_warnings_are_lines_for_users(tmp_path):
    # Half a row, as a killed job leaves it.
    row = '{"benchmark": "fewshot"'
    program = (
        "import sys, warnings; from bit_keras.benchmarks import __main__ as c\n"
        "from bit_keras.benchmarks import fewshot_command\n"
        "from bit_keras.benchmarks.results import ResultsFile\n"
        "def run(args): return len(ResultsFile('o/results.jsonl').rows())\n"
        "fewshot_command.run = run\n"
        "sys.exit(c.main(sys.argv[1:]))"
    )
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "results.jsonl").write_text(row)
    done = subprocess.run(
        [sys.executable, "-c", program, *FEWSHOT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: o/results.jsonl: the last line is incompl")


def test_tasks_lists_what_is_there(shared, tmp_path, capsys):
    path = tmp_path / "mine.json"
    mini = {"dataset": "dtd10_mini", "train": "train", "test": "test"}
    path.write_text(json.dumps([{"name": "mine", "group": "g", **mini}]))
    args = ["tasks", f"--data-dir={shared}/data/tfds"]
    assert command.main(args) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "task"
    found = {line.split()[0]: line.split()[-1] for line in lines[1:32]}
    assert len(found) == 31
    assert found["dtd"] == "downloadable" and found["imagenet"] == "manual"
    args.append(f"--tasks-file={path}")
    assert command.main(args) == 0
    _, mine = capsys.readouterr().out.splitlines()
    assert mine.startswith("mine ") and mine.endswith("present")
    assert command.main([*args, "--group=g"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["task", "mine"]


def test_lists_that_are_spelt_out_for_speed_are_right():
    assert tuple(protocols.PROTOCOLS) == fewshot_command._PROTOCOLS
    firsts = [
        p.name for p in protocols.PROTOCOLS.values() if p.subset == "first"
    ]
    assert tuple(firsts) == fewshot_command._NO_SEEDS
    frame = results_export.pd.DataFrame({"task": ["dtd"]})
    made = {kind: results_export.render(frame, kind) for kind in _FORMATS}
    assert len(set(made.values())) == len(_FORMATS)


def test_defaults_are_those_of_the_protocol():
    parser = argparse.ArgumentParser()
    fewshot_command.add_arguments(parser)
    args = parser.parse_args(["--model", "m", "--out", "o"])
    assert (args.shots, args.protocol) == ("1,5,10,25", "big_vision")
    assert fewshot_command._SEEDS == {"probe": 3, "finetune": 5}
