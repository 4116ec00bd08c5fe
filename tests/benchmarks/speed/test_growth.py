import json

import pytest

from bit_keras.benchmarks.speed import growth
from bit_keras.benchmarks.speed.bit_shapes import bit_shapes
from bit_keras.benchmarks.speed.contest import Result


def fake_contest(tasks, repeats, say):
    """10 ms per call, and 1 ms for every GFLOP; three times that a step."""
    results = []
    for task in tasks:
        work = bit_shapes(task.model, task.resolution).forward_flops(1000)
        seconds = 0.01 + 1e-12 * work * task.batch_size
        results.append(
            Result(
                task,
                seconds={
                    "forward": [seconds] * repeats,
                    "train": [3 * seconds] * repeats,
                },
            )
        )
    return results


def test_the_command_finds_what_was_put_in(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(growth, "contest", fake_contest)
    path = tmp_path / "figures.json"
    argv = (
        "--modes forward --batches 4,1,64,32 --resolution 224 --repeats 2 "
        f"--resolutions 32,64,896,448 --batch-size 64 --json {path}"
    )
    assert growth.main(argv.split()) == 0
    batch, pixels, width = capsys.readouterr().out.strip().split("\n\n")
    assert "costs 10.0 ms before the first image" in batch
    assert "and 8.2 ms for each" in batch
    # 10 ms are less than 5 % of a call from about 23 images on.
    assert "From batch 32 on" in batch
    # At 32 pixels 64 images are 11 ms of work, at 64 pixels 43.
    assert "It bends between 1024 and 4096" in pixels
    assert pixels.count("It bends") == 1
    assert "operations as width^1.9" in width
    figures = json.loads(path.read_text())
    assert [c["value"] for c in figures["forward, batch"]] == [1, 4, 32, 64]
    assert figures["forward, width"][0]["flops"] == bit_shapes(
        "bit_r50x1", 224
    ).forward_flops(1000)


def test_a_curve_like_the_work_bends_nowhere():
    costs = [growth.Cost(v, 1.1 * v**2, v**2) for v in (1, 2, 4)]
    assert growth.bends(costs) == []
    report = growth.report("width", "train", costs)
    assert "grows as width^2.00" in report
    assert "bends" not in report


def test_a_batch_that_always_gains_is_the_largest():
    costs = [growth.Cost(v, 1 / v, 1) for v in (1, 2, 4, 8)]
    assert growth.enough(costs) == 8
    report = growth.report("batch", "forward", costs)
    assert "Batch 8, the largest, still gains" in report
    # Noise: one image alone takes longer than eight.
    slow_start = [growth.Cost(1, 2.0, 1), growth.Cost(8, 0.1, 1)]
    assert growth.fixed_cost(slow_start)[1] == 0


def test_one_point_is_no_curve():
    report = growth.report("batch", "train", [growth.Cost(1, 0.5, 1e9)])
    assert report.splitlines()[-1].split() == ["1", "500.0", "2.0"]


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="--widths: there is no"):
        growth.main(["--widths", "bit_r50"])
    with pytest.raises(ValueError, match="--modes: there is no"):
        growth.main(["--modes", "backward"])
