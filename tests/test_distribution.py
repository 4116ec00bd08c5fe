"""Strategies by name; what needs a fresh TensorFlow runs in a process."""

import os
import socket
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from bit_keras import distribution
from bit_keras.distribution import describe, distribute, strategy


def start(program: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
    )


def output(process: subprocess.Popen, timeout: float) -> str:
    try:
        out, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-2000:]
    return out.strip()


def test_one_device():
    made = strategy("one")
    assert isinstance(made, tf.distribute.OneDeviceStrategy)
    assert made.num_replicas_in_sync == 1


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="for CPUs"
)
def test_auto_on_a_cpu_is_one_device():
    made = strategy()
    assert isinstance(made, tf.distribute.OneDeviceStrategy)
    (device,) = made.extended.worker_devices
    assert "CPU:0" in device
    assert describe(made) == "1 x CPU (OneDeviceStrategy)"


def test_unknown_name():
    message = 'got "miror". Did you mean "mirrored"\\?'
    with pytest.raises(ValueError, match=message) as caught:
        strategy("miror")
    for name in ("auto", "one", "mirrored", "multiworker", "tpu"):
        assert name in str(caught.value)


MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from bit_keras.distribution import distribute, strategy
made = strategy("mirrored")
print(type(made).__name__, made.num_replicas_in_sync)
print(strategy("auto").num_replicas_in_sync)
dataset = tf.data.Dataset.range(12).batch(6).map(lambda x: {"x": x})
for batch in distribute(made, dataset, 6):
    print([x.numpy().tolist() for x in made.experimental_local_results(
        batch["x"])])
total = made.reduce("SUM", made.run(lambda: tf.constant(2.5)), axis=None)
print(float(total))
"""


def test_mirrored_on_two_logical_cpus():
    lines = output(start(MIRRORED), timeout=120).splitlines()
    assert lines == [
        "MirroredStrategy 2",
        "1",
        "[[0, 1, 2], [3, 4, 5]]",
        "[[6, 7, 8], [9, 10, 11]]",
        "5.0",
    ]


OVERFLOW = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
import keras
from bit_keras import optimizer
from bit_keras.distribution import strategy
from bit_keras.recipe import Recipe, Run, Schedule
made = strategy("mirrored")
recipe = Recipe(
    "mine",
    schedule=Schedule(
        learning_rate=1.0, steps=9, warmup_steps=0, boundaries=()
    ),
    run=Run(precision="mixed_float16"),
)
with made.scope():
    weight = keras.Variable([1.0], name="kernel")
    scaled = optimizer.from_recipe(recipe)
    scaled.build([weight])


def number(variable):
    return variable.value.numpy().item()


scale = number(scaled.dynamic_scale)

@tf.function
def step(where):
    def replica():
        here = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradient = tf.where(here == where, [float("inf")], [1.0])
        scaled.apply([gradient], [weight])
    made.run(replica)

for where in (0, 1):
    step(where)
    scale /= 2
    print(number(weight), number(scaled.dynamic_scale) == scale)
step(-1)
print(number(weight) < 1)
"""


def test_an_overflow_on_any_device_skips_the_step():
    out = output(start(OVERFLOW), timeout=120)
    assert out.splitlines() == ["1.0 True", "1.0 True", "True"]


def test_multiworker_without_workers(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="needs --workers host:port"):
        strategy("multiworker")


def test_each_worker_keeps_its_rows(monkeypatch):
    """Two workers of two devices each, played by one process."""
    made = strategy("one")
    batches = tf.data.Dataset.range(16).batch(8).map(lambda x: {"x": x})
    monkeypatch.setattr(type(made), "num_replicas_in_sync", 4)
    monkeypatch.setattr(
        made, "distribute_datasets_from_function", lambda function: function
    )
    function = distribute(made, batches, 8)
    dealt = [
        [
            batch["x"].tolist()
            for batch in function(
                tf.distribute.InputContext(2, worker, 4)
            ).as_numpy_iterator()
        ]
        for worker in range(2)
    ]
    assert dealt == [
        [[0, 1], [2, 3], [8, 9], [10, 11]],
        [[4, 5], [6, 7], [12, 13], [14, 15]],
    ]


def test_tpu_without_a_tpu():
    program = (
        "import time; from bit_keras.distribution import strategy\n"
        "began = time.monotonic()\n"
        "try: strategy('tpu')\n"
        "except ValueError as error: print(error)\n"
        "print(time.monotonic() - began)"
    )
    message, seconds = output(start(program), timeout=90).splitlines()
    assert message.startswith('strategy "tpu": no TPU named "local" answers')
    assert "--strategy auto" in message
    assert float(seconds) < 30


@pytest.fixture
def silent_server():
    """A server that takes connections but never says a word."""
    taken = []

    def accept():
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)
    for connection in taken:
        connection.close()


def test_tpu_lookup_does_not_wait_for_ever(silent_server, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_IP", silent_server)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(distribution, "_LOOKUP_SECONDS", 0.5)
    with pytest.raises(ValueError, match='no TPU named "mine" .*timed out'):
        strategy("tpu", "mine")
    assert socket.getdefaulttimeout() is None
