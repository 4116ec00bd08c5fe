"""The measurement of input pipelines: figures, goals, and equal work."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.benchmarks.speed import data, data_tensorflow
from bit_keras.benchmarks.speed.pipelines import (
    WARM_UP,
    Cost,
    PipelineProcess,
    steady_cost,
)
from bit_keras.data.sources import open_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jpegs")
    data_tensorflow.make_jpegs(folder, 5, 60, 80)
    return open_source(str(folder), "train")


def test_the_files_are_jpegs_of_that_size(source):
    assert source.num_examples == 5
    assert source.image_size == (60, 80)
    images = [example["image"].numpy() for example in source.read()]
    assert all(image.startswith(b"\xff\xd8\xff") for image in images)
    assert len(set(images)) == 5


def test_pipelines_do_the_same_work(source):
    made = data_tensorflow.pipelines(
        source, 2, resize=40, crop=32, inception=24
    )
    for crops, side in (("Inception crops", 24), ("HyperRule crops", 32)):
        batch = next(iter(made[crops]()))
        assert batch["image"].shape == (2, side, side, 3)
        assert batch["weight"].numpy().tolist() == [1, 1]
        batch = next(iter(made[f"{crops}, unordered"]()))
        assert batch.shape == (2, side, side, 3)
        assert np.abs(batch).max() <= 1
    for name in ("decode_jpeg", "decode_and_crop_jpeg"):
        for bare in (name, f"{name}, resize"):
            values = next(iter(made[bare]())).numpy()
            assert values.shape == (2,)
            assert ((values >= 0) & (values <= 255)).all()


def test_bare_decoding_cuts_the_windows_that_we_cut(source):
    (encoded,) = [e["image"] for e in source.read().take(1)]
    seed = tf.constant([0, 7], tf.int64)
    np.testing.assert_array_equal(
        data_tensorflow._decode_and_crop(encoded, seed),
        data_tensorflow.preprocess.inception_crop(encoded, seed),
    )


def test_pytorch_makes_crops_of_the_same_size(source):
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("bit_keras.benchmarks.speed.data_torch")
    files = [example["id"].numpy().decode() for example in source.read()]
    jpegs = module.Jpegs(
        files, 7, lambda image: module.inception_crop(image, 24)
    )
    pixels, _ = jpegs[6]
    assert len(jpegs) == 7
    assert pixels.shape == (3, 24, 24)
    assert pixels.dtype == torch.float32
    assert -1 <= pixels.min() < pixels.max() <= 1


def test_the_clock_starts_when_the_pipeline_is_in_full_swing():
    def slow_start():
        time.sleep(0.2)
        yield from range(WARM_UP + 3)

    cost = steady_cost(slow_start, 3)
    assert 0 < cost.seconds < 0.2
    assert 0 <= cost.processor_seconds < 0.2
    with pytest.raises(StopIteration):
        steady_cost(slow_start, 4)


def test_ratios_compare_round_by_round():
    crops = "Inception crops"
    costs = {
        # The second round was slow for both.
        crops: [Cost(1.0, 2.0), Cost(10.0, 2.0), Cost(1.0, 2.0)],
        f"{crops}, unordered": [Cost(0.8, 3.0), Cost(8.0, 3.0), Cost(2.0, 3.0)],
        f"PyTorch, {crops}": [Cost(2.0, 5.0), Cost(20.0, 5.0), Cost(2.0, 5.0)],
    }
    assert data.ratios(costs) == {
        f"{crops} / {crops}, unordered": {
            "speed": 0.8,
            "processor": 1.5,
            "goal": 0.9,
            "met": False,
        },
        f"{crops} / PyTorch, {crops}": {
            "speed": 2.0,
            "processor": 2.5,
            "goal": 2.0,
            "met": True,
        },
    }


CHILD = """
import itertools, sys
from bit_keras.benchmarks.speed.pipelines import serve

def broken():
    raise OSError("out of images")

pipelines = {"numbers": itertools.count, "broken": broken}
sys.exit(serve(pipelines, int(sys.argv[1])))
"""


def test_children_answer_until_they_fail(tmp_path, monkeypatch, capfd):
    (tmp_path / "child_of_speed.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with PipelineProcess("child_of_speed", ["100000"]) as child:
        assert child.names == ["numbers", "broken"]
        for _ in range(2):
            cost = child.cost("numbers")
            assert cost.seconds > 0
            assert cost.processor_seconds > 0
        with pytest.raises(ChildProcessError, match="child_of_speed ended"):
            child.cost("broken")
    assert "out of images" in capfd.readouterr().err
    with pytest.raises(ChildProcessError, match="ended with code 1"):
        PipelineProcess("child_of_speed", ["many"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--size", "500"], 'WIDTHxHEIGHT, as 500x375; got "500"'),
        (["--images", "9"], "--images is 64 or more"),
        (["--repeats", "0"], "--repeats 1 or more"),
    ],
)
def test_wrong_arguments(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        data.main(arguments)
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(tmp_path):
    path = tmp_path / "figures.json"
    command = "bit_keras.benchmarks.speed.data --size 60x45 --images 64"
    printed = subprocess.run(
        [sys.executable, "-m", *command.split(), "--repeats=1"]
        + [f"--json={path}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    figures = json.loads(path.read_text())
    assert figures["images"] == 64 * 4 * figures["cores"]
    peer = {"PyTorch, Inception crops", "PyTorch, HyperRule crops"}
    assert peer & set(figures["speeds"]) == (
        peer if data.peer_installed() else set()
    )
    for speed in figures["speeds"].values():
        assert speed["per core"] > 0
        assert speed["per processor-second"] > 0
    for name, found in figures["ratios"].items():
        assert name in printed
        if found["goal"]:
            assert found["met"] == (found["speed"] >= found["goal"])
