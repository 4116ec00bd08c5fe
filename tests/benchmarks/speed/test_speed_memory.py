import json

import pytest

from bit_keras.benchmarks.speed import memory
from bit_keras.benchmarks.speed.contest import ContestantError
from bit_keras.benchmarks.speed.step_memory import Step, step_bytes


def test_points_that_should_fit_are_measured(monkeypatch, tmp_path, capsys):
    asked = []

    def peak(step):
        asked.append(step)
        if step.remat:
            raise ContestantError("no memory")
        # The smallest network needs a GB beyond what is computed; the others
        # a quarter more than that.
        more = 1.25 if len(asked) > 1 else 1
        return round(more * (10**9 + step_bytes(step)))

    monkeypatch.setattr(memory, "_peak", peak)
    path = tmp_path / "figures.json"
    argv = (
        "--models bit_r50x1,bit_r152x4 --resolutions 64 --batches 8 "
        f"--micro-batch 8 --json {path}"
    )
    # One failed.
    assert memory.main(argv.split()) == 1
    smallest, *small = asked
    assert smallest == Step("bit_r50x1", 32, 1)
    # A micro-batch of the whole batch is none; R152x4 is too large.
    assert small == [
        Step("bit_r50x1", 64, 8),
        Step("bit_r50x1", 64, 8, remat=True),
    ]
    printed = capsys.readouterr().out
    assert "computed is off by up to 20% of the measured peak" in printed
    assert "failed: no memory" in printed
    figures = json.loads(path.read_text())
    offs = [point["off"] for point in figures["points"]]
    assert offs == [-0.2, None, None, None]
    last = figures["points"][-1]
    assert last["computed"] == 10**9 + step_bytes(Step(**last["step"]))


def test_what_fits_is_printed_for_every_kind(capsys, monkeypatch):
    monkeypatch.setattr(memory, "_peak", lambda step: 10**9)
    argv = "--models bit_r152x4 --resolutions 480 --batches 8 --measure-up-to 0"
    assert memory.main(argv.split()) == 0
    *_, plain, micro, remat, both = capsys.readouterr().out.splitlines()
    assert plain.split()[:3] == ["bit_r152x4", "480", "none"]
    assert both.split()[2:4] == ["--remat", "--micro-batch"]
    at_80 = [int(line.split()[-1]) for line in (plain, micro, remat, both)]
    # The sum of gradients takes room; less is kept of each image with remat.
    assert 0 < at_80[1] <= at_80[0] < at_80[3] <= at_80[2]


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--models=bit_r50", "Did you mean"),
        ("--batches=8,0", "--batches must be >= 1; got 0"),
        ("--resolutions=big", "--resolutions must be of type int"),
        ("--micro-batch=0", "--micro-batch must be >= 1"),
    ],
)
def test_wrong_arguments_are_named(argument, message):
    with pytest.raises(ValueError, match=message):
        memory.main([argument])
