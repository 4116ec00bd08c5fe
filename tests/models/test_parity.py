"""Our networks against the official ones, on the same random weights."""

import numpy as np
import pytest

FIXTURES = (
    "bit_tiny1111_32x32",
    "bit_tiny1111_57x70",
    "bit_tiny1111_57x70_low_contrast",
    "bit_r50x1_64x64",
    "bit_r50x1_97x129",
    pytest.param("bit_r101x1_64x64", marks=pytest.mark.slow),
    pytest.param("bit_r101x1_97x129", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs_and_gradients(parity, shared, name):
    path = shared / "fixtures" / f"{name}.npz"
    errors, limits = parity.measure(path), parity.limits(path)
    assert errors.keys() == limits.keys()
    assert not {
        quantity: f"{error:.1e} > {limits[quantity]:.0e}"
        for quantity, error in errors.items()
        if not error <= limits[quantity]
    }


def test_no_fixture_is_left_out(shared):
    names = {getattr(name, "values", (name,))[0] for name in FIXTURES}
    present = {path.stem for path in (shared / "fixtures").glob("bit_*.npz")}
    assert present == names


def test_one_wrong_gradient_shows(parity, shared):
    # Guards the guard: a kernel's gradient counts even where only its norm is
    # in the fixture.
    path = shared / "fixtures" / "bit_tiny1111_32x32.npz"
    reference, limits = parity.Reference(path), parity.limits(path)
    right = parity.gradients(
        reference.model(), reference.images, reference.cotangent
    )
    assert set(right) == set(reference.weights)
    key = "resnet/block3/unit01/a/proj/standardized_conv2d/kernel"
    wrong = right | {key: np.float32(1.1) * right[key]}
    errors = parity.gradient_errors(reference, wrong)
    assert errors["grad_norms"] > 3 * limits["grad_norms"]
