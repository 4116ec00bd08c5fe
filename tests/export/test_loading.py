"""A new process loads what an old one saved."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import bit_keras


def run(code, cwd, **environment):
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )
    return process.stdout.strip(), process.stderr


def test_a_model_around_a_layer_loads_in_a_new_process(handle, tmp_path):
    layer = bit_keras.SavedModelLayer(handle)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(layer(inputs)))
    model.save(tmp_path / "mine.keras")
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "elsewhere").mkdir()
    code = (
        "import numpy as np, bit_keras as bk\n"
        "model = bk.load_model('../mine.keras')\n"
        "images = np.load('../images.npy')\n"
        "np.save('outputs.npy', model.predict(images, verbose=0))"
    )
    _, errors = run(code, tmp_path / "elsewhere")
    outputs = tmp_path / "elsewhere/outputs.npy"
    assert outputs.exists(), errors
    expected = model.predict(images, verbose=0)
    np.testing.assert_array_equal(np.load(outputs), expected)


def test_another_backend_is_refused_before_it_trains_nothing(handle, tmp_path):
    pytest.importorskip("torch", reason="needs the torch backend")
    code = (
        "import bit_keras as bk\n"
        "try:\n"
        f"    bk.SavedModelLayer({str(handle)!r})\n"
        "except ValueError as error:\n"
        "    print(error)"
    )
    output, errors = run(code, tmp_path, KERAS_BACKEND="torch")
    assert "needs the TensorFlow backend" in output, errors
    assert "KERAS_BACKEND=tensorflow" in output


@pytest.mark.parametrize("shape", [(2, 32, 32, 1), (32, 32, 3)])
def test_the_shape_of_images_is_checked(handle, shape):
    layer = bit_keras.SavedModelLayer(handle, trainable=False)
    with pytest.raises(ValueError, match=r"\(batch, height, width, 3\)"):
        layer(np.zeros(shape, "float32"))
