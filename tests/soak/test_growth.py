"""What grew in long runs, and the command that finds such growth."""

import gc
import importlib.util
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from bit_keras import graphs
from bit_keras.data.sources import count_from, open_source
from bit_keras.evaluation import Evaluation
from bit_keras.layers import GroupNorm
from bit_keras.optimizer import BiTSGD
from bit_keras.recipe import Preprocess, Recipe, Run
from bit_keras.steps import Steps


@pytest.fixture(scope="module")
def long_run():
    path = Path(__file__).with_name("long_run.py")
    spec = importlib.util.spec_from_file_location("long_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def traced_step():
    """Returns the graph of a training step, which nothing else refers to."""
    norm = GroupNorm(groups=2)
    norm.build((None, 3, 3, 4))
    optimizer = BiTSGD(0.1)
    optimizer.build(norm.trainable_variables)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(norm(tf.ones((2, 3, 3, 4))))
        gradients = tape.gradient(loss, norm.trainable_variables)
        strategy.run(
            lambda: optimizer.apply(gradients, norm.trainable_variables)
        )

    step()
    return weakref.ref(step.get_concrete_function().graph)


def test_the_graph_of_a_step_goes_with_the_run():
    with graphs.temporary():
        graph = traced_step()
    assert graph() is None


def test_gradients_of_operations_registered_in_between_stay():
    with graphs.temporary():

        @tf.RegisterGradient("OfTestGrowth")
        def gradient(op, upstream):
            return upstream

    with pytest.raises(KeyError, match="OfTestGrowth"):
        tf.RegisterGradient("OfTestGrowth")(gradient)


def test_counting_leaves_no_function_behind():
    def functions():
        graph = tf.compat.v1.get_default_graph()
        return len(graph.as_graph_def().library.function)

    before = functions()
    assert [int(n) for n in count_from(3).take(2)] == [3, 4]
    assert functions() == before


def test_an_evaluation_leaves_no_garbage():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    recipe = Recipe(
        "of_a_test",
        preprocess=Preprocess(resize=8, crop=8),
        run=Run(batch_size=32),
        loss="softmax",
    )
    with strategy.scope():
        model = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten()])
        model.add(layers.Dense(10))
        steps = Steps(model, BiTSGD(0.1), recipe, strategy)
    source = open_source("digits", "test[:64]")
    evaluation = Evaluation(steps, source, recipe)
    evaluation.run()
    gc.collect()
    gc.disable()
    try:
        assert evaluation.run()["examples"] == 64
        # Each had left 600 objects, and with them 240 kB of the library's.
        assert gc.collect() < 50
    finally:
        gc.enable()


def rows(memory, files):
    pairs = enumerate(zip(memory, files, strict=True))
    return [{"at": 2.0 * i, "MiB": m, "files": f} for i, (m, f) in pairs]


def test_a_slope_is_found_with_its_error(long_run):
    rng = np.random.default_rng(0)
    at = np.arange(600) * 2 / 3600
    off = []
    for _ in range(50):
        values = 900 + 60 * at + rng.normal(0, 3, 600)
        slope, error = long_run.slope(at, values)
        off.append((slope - 60) / error)
    # Student's t with 18 degrees of freedom: variance 18 / 16.
    assert abs(np.mean(off)) < 0.5 and 0.7 < np.std(off) < 1.5


@pytest.mark.parametrize(
    ("name", "grows"),
    [("flat", False), ("saw", False), ("slow leak", True), ("files", True)],
)
def test_growth_is_told_from_noise(long_run, name, grows):
    index = np.arange(900)
    memory = {
        "flat": 900 + np.sin(index),
        # Garbage that is collected every minute, after a steep warm-up.
        "saw": 900 + index % 30 + np.minimum(index, 200),
        "slow leak": 900 + index % 30 + 60 * index / 1800,
        "files": np.full(900, 900.0),
    }[name]
    files = 6 + (index > 800) * (name == "files")
    assert long_run.growth(rows(memory, files), 20.0)["grows"] == grows


LEAK = """
import time
kept = []
while True:
    kept.append((bytearray(2**20), open("/dev/null")))
    time.sleep(0.02)
"""


def test_a_leaking_process_is_caught(long_run, tmp_path):
    samples = []
    programs = {"leak": LEAK, "quiet": "import time; time.sleep(60)"}
    processes = {
        name: subprocess.Popen([sys.executable, "-c", program])
        for name, program in programs.items()
    }
    try:
        long_run.sample(processes, 3, 0.05, samples.append)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    found = {
        name: long_run.growth([r for r in samples if r["name"] == name], 20.0)
        for name in programs
    }
    assert found["leak"]["grows"] and not found["quiet"]["grows"]
    assert found["leak"]["slope"] > 1000
    assert found["leak"]["files"][1] > found["leak"]["files"][0]
    with pytest.raises(ChildProcessError, match="leak ended"):
        long_run.sample(processes, 3, 0.05, samples.append)
