import pytest

from bit_keras import models
from bit_keras.benchmarks.speed.bit_shapes import bit_shapes


# GMACs by torch 2.13's FlopCounterMode over timm 1.0.31's resnetv2_..._bit.
@pytest.mark.parametrize(
    "model, resolution, gmacs",
    [
        ("bit_r50x1", 224, 4.089184256),
        ("bit_r50x1", 448, 16.350593024),
        ("bit_r101x3", 448, 277.950676992),
    ],
)
def test_flops_are_those_of_another_counter(model, resolution, gmacs):
    flops = bit_shapes(model, resolution).forward_flops(1000)
    assert flops == pytest.approx(2e9 * gmacs, rel=1e-12)


def test_flops_are_the_published():
    # 4.1 GMACs: torchvision's documentation of resnet50 (4.09 GFLOPS there).
    gmacs = bit_shapes("bit_r50x1", 224).forward_flops(1000) / 2e9
    assert round(gmacs, 1) == 4.1


# The official networks' sizes: 25.5, 388 and 937 million (timm's table).
@pytest.mark.parametrize(
    "model, millions",
    [("bit_r50x1", 25.549), ("bit_r101x3", 387.935), ("bit_r152x4", 936.533)],
)
def test_parameters_of_the_official_networks(model, millions):
    found = bit_shapes(model, 224).parameters(1000) / 1e6
    assert found == pytest.approx(millions, abs=1e-3)


@pytest.mark.parametrize("name", ["bit_tiny", "bit_nano", "bit_r26x1"])
def test_shapes_are_those_of_the_real_network(name):
    model = models.create(name, 10)
    shapes = bit_shapes(name, 50)
    assert shapes.parameters(10) == model.count_params()
    kernels = sorted(
        tuple(v.shape) for v in model.variables if len(v.shape) == 4
    )
    assert kernels == sorted(
        (c.kernel, c.kernel, c.in_channels, c.out_channels)
        for c in shapes.convolutions
    )


@pytest.mark.parametrize("resolution", [32, 49])
def test_image_sizes_are_those_of_the_real_network(resolution):
    model = models.create("bit_tiny", 10)
    units = [n for n in model.endpoint_tensors if "/unit" in n]
    shape = (1, resolution, resolution, 3)
    outputs = models.endpoints(model, units).compute_output_shape(shape)
    found = [outputs[name][1] for name in units]
    shapes = bit_shapes("bit_tiny", resolution)
    assert found == [unit.c.output_pixels for unit in shapes.units]


def test_another_family_is_refused():
    with pytest.raises(ValueError, match="must be a BiT network"):
        bit_shapes("vit_b16", 224)
    with pytest.raises(ValueError, match="Did you mean"):
        bit_shapes("bit_r50x", 224)
