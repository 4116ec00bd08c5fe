import json
import subprocess
import sys

import pytest

from bit_keras.benchmarks.speed import model as speed
from bit_keras.benchmarks.speed.bit_shapes import bit_shapes
from bit_keras.benchmarks.speed.contest import Result


def fake_contest(tasks, repeats, say):
    """All alike, but timm has another network, and Hugging Face fails."""
    results = []
    for task in tasks:
        count = bit_shapes(task.model, task.resolution).parameters(1000)
        result = Result(
            task,
            count + (task.contestant == "timm"),
            "CPU",
            {mode: 10**9 for mode in task.modes},
            {mode: [0.5] * repeats for mode in ("matmul", *task.modes)},
        )
        if task.contestant == "huggingface":
            result.error = "ValueError: no such thing"
        results.append(result)
    return results


@pytest.fixture
def contest(monkeypatch):
    monkeypatch.setattr(speed, "contest", fake_contest)


def lacks(*names):
    return lambda packages: tuple(p for p in packages if p in names)


def test_tables_goals_and_failures(contest, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(speed, "absent", lacks("jax"))
    path = tmp_path / "figures.json"
    assert speed.main(["--repeats", "3", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "8.18 GFLOP per image forward (4.09 GMACs)" in printed
    lines = printed.splitlines()
    (row,) = [one for one in lines if one.startswith("forward / best peer")]
    assert row.split()[-2:] == ["NOT", "met"]
    (row,) = [one for one in lines if one.startswith("train memory")]
    assert row.split()[-2:] == ["1.00", "met"]
    assert "Not installed: jax. pip install jax" in lines
    assert "Failed: huggingface: ValueError: no such thing" in lines
    assert (
        "Failed: timm: another network: it has 25549353 parameters, not "
        "25549352" in lines
    )
    figures = json.loads(path.read_text())
    assert figures["not installed"] == {"jax": ["jax"]}
    assert {one["contestant"] for one in figures["standings"]} == {
        "tensorflow",
        "tensorflow_xla",
        "torch",
        "torch_compiled",
        "timm_compiled",
        "naive",
    }
    assert figures["goals"][0]["goal"]["limit"] == 1.05
    assert figures["goals"][0]["met"] is False


def test_without_any_peer_it_still_measures(contest, monkeypatch, capsys):
    monkeypatch.setattr(speed, "absent", lacks("torch", "jax"))
    assert speed.main(["--modes", "train"]) == 0
    printed = capsys.readouterr().out
    assert "Not installed: timm_compiled. pip install torch" in printed
    assert "not measured" in printed
    assert "\nforward" not in printed


def test_none_that_finished_is_a_failure(contest, capsys):
    assert speed.main(["--contestants", "huggingface"]) == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--contestants timn", 'Did you mean "timm"'),
        ("--modes backward", "--modes: there is no"),
        ("--model bit_r50x2", "Did you mean"),
        ("--model vit_b16", "must be a BiT network"),
        ("--batch-size 0", "--batch-size must be >= 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        speed.main(arguments.split())


def test_help_needs_no_tensorflow():
    code = """
import sys
from bit_keras.benchmarks.speed import growth, model, memory
for module in growth, model, memory:
    try:
        module.main(["--help"])
    except SystemExit as end:
        assert end.code == 0
assert not {"tensorflow", "keras", "torch", "jax"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: python -m bit_keras.benchmarks speed") == 3


@pytest.mark.slow
def test_the_real_thing(tmp_path):
    path = tmp_path / "figures.json"
    argv = (
        "--model bit_nano --resolution 32 --batch-size 2 --repeats 2 "
        f"--contestants tensorflow,naive --json {path}"
    )
    assert speed.main(argv.split()) == 0
    figures = json.loads(path.read_text())
    assert [one["error"] for one in figures["results"]] == [None, None]
    for result in figures["results"]:
        assert result["parameters"] == figures["parameters"]
        assert {k: len(v) for k, v in result["seconds"].items()} == {
            "matmul": 2,
            "forward": 2,
            "train": 2,
        }
        assert 10**8 < result["peak"]["forward"] <= result["peak"]["train"]
    assert [one["met"] for one in figures["goals"]].count(None) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm", "huggingface"])
def test_peers_have_the_same_network(name):
    pytest.importorskip("torch")
    pytest.importorskip("timm" if name == "timm" else "transformers")
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bit_keras.benchmarks.speed import peers

    make = {"timm": peers._timm, "huggingface": peers._huggingface}[name]
    for model in ("bit_r50x1", "bit_r101x3"):
        shapes = bit_shapes(model, 64)
        with torch.device("meta"):
            module = make(model)
            images = torch.zeros(1, 3, 64, 64)
        count = sum(p.numel() for p in module.parameters())
        assert count == shapes.parameters(1000)
        with FlopCounterMode(display=False) as counter:
            module(images)
        assert counter.get_total_flops() == shapes.forward_flops(1000)
