"""How far our networks are from the official ones, fixture by fixture.

Prints a table (or, with --json, one JSON object) of the errors, on the backend
that KERAS_BACKEND names:

    python tests/models/parity.py ../shared/fixtures/bit_*.npz
"""

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
from keras import ops

from bit_keras import checkpoints, models
from bit_keras.models.bit import BiT

# Ours -> the fixtures' name.
STAGES = {"stem": "root"} | {f"block{b}": f"block{b}" for b in range(1, 5)}
PATCHES = {"top_left": np.s_[:, :2, :2], "bottom_right": np.s_[:, -2:, -2:]}

# The tolerances that the fixtures' README advises, by depth: outputs, relative
# to the largest; gradients and the list of their norms, by relative L2.
TOLERANCES = {
    "tiny1111": {"outputs": 3e-5, "gradients": 1e-4, "grad_norms": 1e-4},
    "r50x1": {"outputs": 1e-4, "gradients": 5e-2, "grad_norms": 5e-3},
    "r101x1": {"outputs": 3e-4, "gradients": 5e-2, "grad_norms": 5e-3},
}


class Reference:
    """One fixture: the official outputs, with the weights and images."""

    def __init__(self, path: Path) -> None:
        self.values = values = dict(np.load(path))
        self.tolerances = TOLERANCES[path.stem.split("_")[1]]
        self.blocks = tuple(int(units) for units in values["blocks"])
        self.width = int(values["width_factor"])
        self.num_classes = int(values["num_classes"])
        make = make_checkpoint(path.parent)
        self.weights = make.make_bit(
            self.blocks, self.width, self.num_classes, values["weight_seed"]
        )
        np.testing.assert_allclose(
            make.fingerprint(self.weights),
            values["weight_fingerprint"],
            rtol=1e-9,
        )
        batch, height, width, _ = values["input_shape"]
        self.images = make.make_input(
            int(values["input_seed"]),
            height,
            width,
            batch,
            float(values["input_amplitude"]),
        )
        self.cotangent = make.make_cotangent(
            int(values["cotangent_seed"]), self.num_classes
        )

    def model(self) -> BiT:
        """Returns our network with the fixture's weights."""
        model = BiT(self.blocks, self.width, self.num_classes)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "official.npz"
            np.savez(path, **self.weights)
            checkpoints.load(model, path, head="keep")
        return model


def make_checkpoint(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_checkpoint", folder / "make_checkpoint.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def official_key(path: str) -> str:
    """Returns the official name of a variable.

    On purpose not by `bit_keras.checkpoints`: a mistake there shows here.
    """
    for ours, theirs in (
        ("_unit", "/unit"),
        ("a_proj_", "a/proj/"),
        ("_group_norm", "/group_norm"),
        ("_standardized", "/standardized"),
        ("head", "head/conv2d"),
    ):
        path = path.replace(ours, theirs)
    return f"resnet/{path}"


def outputs(model: BiT, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns all that the fixtures hold of the forward pass."""
    names = [*STAGES, "pre_logits", "logits"]
    tensors = models.endpoints(model, names)(images, training=False)
    return {
        name: np.asarray(ops.convert_to_numpy(tensor))
        for name, tensor in tensors.items()
    }


def gradients(
    model: BiT, images: np.ndarray, cotangent: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns d sum(logits * cotangent) / d weight, by official name.

    Works on every backend: one step of SGD with so high a learning rate that
    the initial weights vanish in rounding.  The model is of no use afterwards.
    """
    huge = 2.0**40
    model.compile(
        keras.optimizers.SGD(huge),
        loss=lambda weight, logits: ops.sum(weight * logits),
        # JAX would compile every operation on its own.
        run_eagerly=keras.backend.backend() != "jax",
    )
    target = np.broadcast_to(cotangent, (len(images), len(cotangent)))
    model.train_on_batch(images, target)
    return {
        official_key(weight.path): -np.asarray(ops.convert_to_numpy(weight))
        / huge
        for weight in model.trainable_variables
    }


def output_errors(
    reference: Reference, got: dict[str, np.ndarray]
) -> dict[str, float]:
    """Returns the largest error of each endpoint, as part of its largest."""
    errors = {}
    for ours, theirs in STAGES.items():
        np.testing.assert_equal(
            got[ours].shape, tuple(reference.values[f"{theirs}_shape"])
        )
        errors[ours] = max(_stage_errors(reference.values, theirs, got[ours]))
    for name in ("pre_logits", "logits"):
        want = reference.values[name]
        deviation = got[name][:, : want.shape[1]] - want
        errors[name] = abs(deviation).max() / abs(want).max()
    return {name: float(error) for name, error in errors.items()}


def _stage_errors(values: dict, stage: str, got: np.ndarray) -> Iterator:
    largest = values[f"{stage}_absmax"]
    yield abs(abs(got).max() - largest) / largest
    mean = got.mean((1, 2), dtype="float64")
    yield abs(mean - values[f"{stage}_mean"]).max() / largest
    for name, corner in PATCHES.items():
        yield abs(got[corner] - values[f"{stage}_{name}"]).max() / largest


def gradient_errors(
    reference: Reference, got: dict[str, np.ndarray]
) -> dict[str, float]:
    """Returns the relative L2 error of each gradient of the fixture."""
    keys = {"grad_pre_head_gamma": "resnet/group_norm/gamma"}
    keys["grad_root_kernel"] = "resnet/root_block/standardized_conv2d/kernel"
    for block in range(1, 5):
        keys[f"grad_block{block}_gamma"] = (
            f"resnet/block{block}/unit01/a/group_norm/gamma"
        )
    errors = {
        name: relative_l2(got[key], reference.values[name])
        for name, key in keys.items()
    }
    norms = [
        np.linalg.norm(got[str(key)].ravel().astype("float64"))
        for key in reference.values["grad_keys"]
    ]
    assert len(norms) == len(got)
    errors["grad_norms"] = relative_l2(norms, reference.values["grad_norms"])
    return errors


def relative_l2(got: np.ndarray, want: np.ndarray) -> float:
    deviation = np.asarray(got, "float64") - want
    return float(
        np.linalg.norm(deviation.ravel()) / np.linalg.norm(want.ravel())
    )


def measure(path: Path) -> dict[str, float]:
    """Returns the error of every quantity of a fixture, in `limits`' order."""
    reference = Reference(path)
    model = reference.model()
    errors = output_errors(reference, outputs(model, reference.images))
    got = gradients(model, reference.images, reference.cotangent)
    return errors | gradient_errors(reference, got)


def limits(path: Path) -> dict[str, float]:
    """Returns the advised tolerance of every quantity of a fixture."""
    tolerances = TOLERANCES[path.stem.split("_")[1]]
    outputs = (*STAGES, "pre_logits", "logits")
    kernels = ("root_kernel", "pre_head_gamma")
    gammas = (f"block{block}_gamma" for block in range(1, 5))
    return (
        dict.fromkeys(outputs, tolerances["outputs"])
        | {f"grad_{n}": tolerances["gradients"] for n in (*kernels, *gammas)}
        | {"grad_norms": tolerances["grad_norms"]}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Errors against the parity fixtures."
    )
    parser.add_argument("fixture", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    errors = {path.stem: measure(path) for path in args.fixture}
    if args.json:
        print(json.dumps(errors))
        return
    for path in args.fixture:
        print(f"\n{path.stem} ({keras.backend.backend()})")
        for name, limit in limits(path).items():
            print(f"  {name:20} {errors[path.stem][name]:8.1e} of {limit:.0e}")


if __name__ == "__main__":
    main()
