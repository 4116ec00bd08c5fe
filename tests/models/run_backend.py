"""Runs saved networks on the backend that KERAS_BACKEND names.

    python tests/models/run_backend.py FOLDER [FIXTURE.npz]

Reads each FOLDER/NAME.keras and FOLDER/NAME.npz (images, labels); writes what
it gets to FOLDER/on_<backend>.npz and <backend>.json: every endpoint, the
weights after two steps of training, whether TensorFlow got imported, and the
errors against the parity fixture.
"""

import json
import sys
from pathlib import Path

import bit_keras.layers  # noqa: F401
from bit_keras import models

# Building a network must not import TensorFlow behind another backend's back.
for name in ("bit_tiny", "vit_nano", "mixer_nano"):
    models.create(name, num_classes=2)
TENSORFLOW_IMPORTED = "tensorflow" in sys.modules

import keras  # noqa: E402
import numpy as np  # noqa: E402
import parity  # noqa: E402


def run(path: Path) -> dict[str, np.ndarray]:
    """Returns every endpoint, and the weights after training."""
    data = np.load(path.with_suffix(".npz"))
    model = models.load(path)
    tensors = models.endpoints(model, model.endpoint_tensors)(data["images"])
    arrays = {
        name: np.asarray(keras.ops.convert_to_numpy(tensor))
        for name, tensor in tensors.items()
    }
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() == "jax",
    )
    half = len(data["images"]) // 2
    model.fit(
        data["images"],
        data["labels"],
        batch_size=half,
        shuffle=False,
        verbose=0,
    )
    for weight in model.weights:
        arrays[f"trained/{weight.path}"] = np.asarray(
            keras.ops.convert_to_numpy(weight)
        )
    return {f"{path.stem}/{name}": array for name, array in arrays.items()}


def main(folder: str, *fixtures: str) -> None:
    arrays = {}
    for path in Path(folder).glob("*.keras"):
        arrays |= run(path)
    report = {
        "backend": keras.backend.backend(),
        "tensorflow_imported": TENSORFLOW_IMPORTED,
        "errors": [parity.measure(Path(fixture)) for fixture in fixtures],
    }
    backend = keras.backend.backend()
    np.savez(Path(folder, f"on_{backend}.npz"), **arrays)
    Path(folder, f"{backend}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
