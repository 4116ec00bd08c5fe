"""The kinds of robustness, and the one that is asked for."""

import subprocess
import sys

import pytest

from bit_keras.arguments import Parser
from bit_keras.benchmarks.robustness import command


def parser():
    made = Parser(prog="bench robustness", allow_abbrev=False)
    command.add_arguments(made)
    return made


def test_help_lists_the_kinds(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for kind, (_, text) in command.KINDS.items():
        assert f"{kind} " in out and text in out


@pytest.mark.parametrize("kind", command.KINDS)
def test_every_kind_has_arguments_of_its_own(kind, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args([kind, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: bench robustness {kind}" in out
    assert "--out" in out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["shfit"], 'Did you mean "shift"'),
        ([], "KIND"),
        (["shift"], "are required: --model"),
        (["shift", "--modle=m"], 'argument --modle. Did you mean "--model"'),
        (
            ["shift", "--model=m", "--out=o", "--sourec=x"],
            'unknown argument --sourec. Did you mean "--source"',
        ),
        (["effective", "--scale=logits"], 'Did you mean "logit"'),
    ],
)
def test_slips_are_answered_with_the_closest(words, problem, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(words)
    assert end.value.code == 2
    assert problem in capsys.readouterr().err


def test_the_kind_checks_and_runs(tmp_path):
    words = f"effective --reference-id=no.csv --out={tmp_path}"
    args = parser().parse_args([*words.split(), "--reference-shifted=b.csv"])
    assert args.kind == "effective"
    with pytest.raises(FileNotFoundError, match="no.csv"):
        command.check(args)


def test_a_slip_is_answered_without_tensorflow():
    code = (
        "import sys\n"
        "from bit_keras.arguments import Parser\n"
        "from bit_keras.benchmarks.robustness import command\n"
        "made = Parser(prog='x', allow_abbrev=False)\n"
        "command.add_arguments(made)\n"
        "for kind in ('shift', 'cue_conflict'):\n"
        "    words = [kind, '--model=no/such', '--out=o', '--task=digits']\n"
        "    args = made.parse_args(words[: 3 if kind == 'shift' else 4])\n"
        "    try:\n"
        "        command.check(args)\n"
        "    except FileNotFoundError as error:\n"
        "        print(error)\n"
        "print('tensorflow' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines == ['there is no "no/such".'] * 2 + ["False"]
