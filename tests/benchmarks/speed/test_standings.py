import pytest

from bit_keras.benchmarks.speed.contest import Result
from bit_keras.benchmarks.speed.contestants import Task
from bit_keras.benchmarks.speed.standings import (
    data_sheet_flops,
    ratio,
    standings,
    verdicts,
)

# Of one image; a matrix product of 2048 has 2 * 2048**3.
FLOPS = 2 * 2048**3 // 8


def result(name, forward, train, peak, matmul=1.0, device="CPU", error=None):
    modes = {"forward": forward, "train": train}
    return Result(
        Task(name, "bit_r50x1", 224, 8),
        parameters=1,
        device=device,
        peak={"forward": peak // 2, "train": peak},
        seconds={
            "matmul": [matmul] * 3,
            **{mode: [s, 1.1 * s, 0.9 * s] for mode, s in modes.items()},
        },
        error=error,
    )


RESULTS = [
    result("tensorflow", 1.0, 3.2, 900),
    result("jax", 2.0, 2.9, 1200),
    result("timm", 1.2, 3.3, 1000, matmul=0.5),
    result("huggingface", 1.5, 3.9, 950),
    result("timm_compiled", 0.1, 0.1, 1, error="killed"),
    result("naive", 2.2, 4.0, 2000),
]


def of(found, contestant, mode):
    (one,) = [s for s in found if (s.contestant, s.mode) == (contestant, mode)]
    return one


def test_standings_by_hand():
    found = standings(RESULTS, FLOPS)
    assert len(found) == 10
    ours = of(found, "tensorflow", "forward")
    assert ours.images_per_second == 8
    # A batch of 8 has the operations of one matrix product, of one second.
    assert ours.flops == 2 * 2048**3
    assert ours.of_matmul == 1
    assert ours.of_best_matmul == 0.5
    assert ours.to_best_peer == pytest.approx(1.2)
    assert ours.to_naive == pytest.approx(2.2)
    assert ours.peak == 450
    assert ours.peak_to_best_peer == pytest.approx(450 / 475)
    assert ours.of_data_sheet is None
    step = of(found, "tensorflow", "train")
    assert step.flops == pytest.approx(3 * 2 * 2048**3 / 3.2)
    assert step.of_matmul == pytest.approx(3 / 3.2)
    assert step.to_best_peer == pytest.approx(3.3 / 3.2)
    # A peer stands beside itself, too; who failed is left out.
    assert of(found, "timm", "forward").to_best_peer == 1
    assert not [s for s in found if s.contestant == "timm_compiled"]


def test_goals_are_met_or_not():
    judged = verdicts(standings(RESULTS, FLOPS), on_gpu=False)
    met = {(v.goal.text, v.contestant): v.met for v in judged}
    assert met == {
        ("forward / best peer", "tensorflow"): True,
        ("forward / best peer", "jax"): False,
        ("forward / matrix product", "tensorflow"): True,
        ("forward / matrix product", "jax"): False,
        ("train step / best peer", "tensorflow"): False,
        ("train step / best peer", "jax"): True,
        ("train step / three forward bounds", "tensorflow"): True,
        ("train step / three forward bounds", "jax"): True,
        ("train memory / best peer", "tensorflow"): True,
        ("train memory / best peer", "jax"): False,
        ("forward / naive", "tensorflow"): True,
        ("forward / naive", "jax"): False,
        ("train step / naive", "tensorflow"): False,
        ("train step / naive", "jax"): False,
    }


def test_without_peers_nothing_is_claimed():
    judged = verdicts(standings(RESULTS[:1], FLOPS), on_gpu=False)
    open_goals = [v.goal.text for v in judged if v.met is None]
    assert open_goals == [
        "forward / best peer",
        "train step / best peer",
        "train memory / best peer",
        "forward / naive",
        "train step / naive",
    ]


def test_only_the_same_device_is_compared():
    gpu = "NVIDIA A100-SXM4-40GB"
    mixed = [RESULTS[0], result("timm", 0.1, 0.3, 5, device=gpu)]
    cpu, peer, *_ = standings(mixed, FLOPS)
    assert cpu.to_best_peer is None
    assert peer.of_data_sheet == pytest.approx(8 * FLOPS / 0.1 / 156e12)


def test_ratios_are_of_the_same_round():
    # Twice as fast in every round, while the machine slows down.
    assert ratio([1, 2, 4], [2, 4, 8]) == 2


def test_data_sheets():
    assert data_sheet_flops("NVIDIA H100 PCIe", "mixed_bfloat16") == 756e12
    assert data_sheet_flops("NVIDIA H200", "float32") == 494.5e12
    assert data_sheet_flops("CPU", "float32") is None
