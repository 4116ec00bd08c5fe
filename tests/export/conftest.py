"""Fixtures for the tests of exports: a network, real images, a finished run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.preprocess import decode
from bit_keras.data.sources import open_source
from bit_keras.export import saved_model
from bit_keras.models.bit import BiT

# Run before a program: whatever it loads must need nothing of ours.
_BLOCK = """
import sys
sys.modules["bit_keras"] = None
try:
    import bit_keras
except ImportError:
    pass
else:
    sys.exit("bit_keras was imported")
"""


@pytest.fixture(scope="session")
def network() -> Callable[..., BiT]:
    """Makes one unit of BiT with weights that all matter."""

    def make(num_classes: int = 10, **options) -> BiT:
        model = BiT(
            **{
                "blocks": (1,),
                "width": 0.25,
                "groups": 8,
                "stem": "strided",
                "dtype": "float32",
                "name": "one_unit",
                **options,
            },
            num_classes=num_classes,
        )
        generator = np.random.default_rng(1)
        for variable in model.variables:
            # The mean of a kernel shows whether it is standardized; the head
            # starts at zero, norms at one: any mix-up of these would hide.
            noise = 0.1 * generator.standard_normal(variable.shape)
            ones = variable.path.endswith(("gamma", "variance"))
            variable.assign(noise + (1 if ones else 0.02))
        for variable in model.trainable_variables:
            if variable.path.endswith("kernel"):
                variable.regularizer = keras.regularizers.L2(1e-4)
        return model

    return make


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """64 scanned digits, float32 in [0, 1], and their labels."""
    source = open_source("digits", "train[:64]")
    examples = list(source.read())
    images = [
        tf.image.resize(decode(example["image"]), (32, 32)) / 255.0
        for example in examples
    ]
    labels = [int(example["label"]) for example in examples]
    return np.stack(images), np.array(labels)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The directory of a run on digits in bfloat16."""
    from bit_keras import train

    workdir = tmp_path_factory.mktemp("runs") / "digits"
    code = train.main(
        [
            "--recipe=transfer",
            "--dataset=digits",
            "--model=bit_tiny",
            "--resolution=32",
            "--batch-size=16",
            "--steps=3",
            "--set=run.precision=mixed_bfloat16",
            "--eval-split=test[:40]",
            f"--workdir={workdir}",
        ]
    )
    assert code == 0
    return workdir


@pytest.fixture(scope="session")
def run_apart() -> Callable[..., str]:
    """Runs a program that cannot import bit_keras, and returns its output."""

    def run(program: str, folder: Path, *arguments: str | os.PathLike) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _BLOCK + program, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def unit(network) -> BiT:
    """The model that `handle` is the SavedModel of."""
    return network()


@pytest.fixture(scope="session")
def handle(unit, tmp_path_factory) -> Path:
    """The directory of a SavedModel of ours; read only."""
    path = tmp_path_factory.mktemp("exports") / "one_unit" / "1"
    saved_model.write(unit, path)
    # Only of our own exports is the range of images known.
    (path / "model.json").write_text("{}")
    return path
