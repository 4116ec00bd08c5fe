"""The same numbers on TensorFlow, JAX and torch, each in its own process."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras import models

HERE = Path(__file__).parent
# Each with images of another size than it is made for, if it takes them.
NETWORKS = {"bit_tiny": (33, 40), "vit_nano": (36, 40), "mixer_nano": (32, 32)}
# What all keys share, a softmax takes out again; what all channels of a token
# share, the next norm.
WITHOUT_EFFECT = ("/key/bias", "/token_mixing/dense_1/bias")
FIXTURE = Path("fixtures") / "bit_tiny1111_57x70.npz"


def backend(name: str):
    """Returns a test parameter that is skipped without its library."""
    absent = importlib.util.find_spec(name) is None
    reason = f'{name} is not installed (pip install "bit-keras[{name}]")'
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason=reason))


BACKENDS = [backend("tensorflow"), backend("jax"), backend("torch")]


def run(name: str, *arguments: str | Path) -> str:
    """Runs Python on a backend and returns what it printed."""
    # One CPU: an accelerator, or its absence, is not what is tested here.
    environment = os.environ | {
        "KERAS_BACKEND": name,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        # Far less time to compile what runs once.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with networks of random weights and images to train them on."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    for name, size in NETWORKS.items():
        model = models.create(name, num_classes=5)
        for weight in model.weights:
            value = 0.1 * rng.standard_normal(weight.shape)
            weight.assign(1 + value if weight.name == "gamma" else value)
        model.save(folder / f"{name}.keras")
        images = rng.uniform(-1, 1, (8, *size, 3)).astype("float32")
        np.savez(folder / f"{name}.npz", images=images, labels=np.arange(8) % 5)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """Returns (report, arrays) of a backend, each run once."""
    # The fixture's folder may be absent, and then the rest still runs.
    fixture = Path(__file__).resolve().parents[3] / "shared" / FIXTURE
    fixtures = [fixture] if fixture.exists() else []
    cache = {}

    def get(name: str):
        if name not in cache:
            run(name, HERE / "run_backend.py", folder, *fixtures)
            report = json.loads((folder / f"{name}.json").read_text())
            cache[name] = report, dict(np.load(folder / f"on_{name}.npz"))
        return cache[name]

    return get


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", BACKENDS)
def test_outputs_and_training_agree(results, folder, name, network):
    _, arrays = results(name)
    data = np.load(folder / f"{network}.npz")
    model = models.load(folder / f"{network}.keras")
    outputs = models.endpoints(model, model.endpoint_tensors)(data["images"])
    assert len(outputs) >= 6
    for endpoint, tensor in outputs.items():
        want = np.asarray(keras.ops.convert_to_numpy(tensor))
        np.testing.assert_allclose(
            arrays[f"{network}/{endpoint}"], want, atol=3e-5 * abs(want).max()
        )

    _, expected = results("tensorflow")
    for weight in model.weights:
        key = f"{network}/trained/{weight.path}"
        got, want = arrays[key], expected[key]
        step = abs(want - np.asarray(keras.ops.convert_to_numpy(weight))).max()
        assert step > 0 or weight.path.endswith(WITHOUT_EFFECT)
        np.testing.assert_allclose(
            got, want, atol=max(1e-3 * step, 1e-7), err_msg=key
        )


@pytest.mark.parametrize("name", BACKENDS)
def test_parity_on_every_backend(results, parity, shared, name):
    (errors,) = results(name)[0]["errors"]
    limits = parity.limits(shared / FIXTURE)
    assert errors.keys() == limits.keys()
    assert not {q: e for q, e in errors.items() if not e <= limits[q]}


@pytest.mark.parametrize("name", BACKENDS)
def test_other_backends_do_not_import_tensorflow(results, name):
    report, _ = results(name)
    assert report["backend"] == name
    assert report["tensorflow_imported"] == (name == "tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS[1:])
def test_layer_and_model_tests_pass_on(name):
    tests = (HERE.parent / "test_layers.py", HERE / "test_models.py")
    run(name, "-m", "pytest", "-q", "-x", "-m", "not slow", *tests)
