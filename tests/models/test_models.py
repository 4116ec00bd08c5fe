"""The networks: sizes, endpoints, pyramid, head, files; any backend."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from bit_keras import models
from bit_keras.layers import GroupNorm, StdConv2D
from bit_keras.models import bit, bottleneck

# The table of the official networks: body, then with each head.
PARAMETERS = {
    "bit_r50x1": (23_500_352, 25_549_352, 68_256_659, 60_978_611),
    "bit_r101x1": (42_492_480, 44_541_480, 87_248_787, 79_970_739),
    "bit_r50x3": (211_174_080, 217_319_080, 345_399_315, 323_572_275),
    "bit_r101x3": (381_789_888, 387_934_888, 516_015_123, 494_188_083),
    "bit_r152x2": (232_238_208, 236_335_208, 321_728_979, 307_176_435),
    "bit_r152x4": (928_340_224, 936_533_224, 1_107_299_923, 1_078_198_387),
}
HEADS = (0, 1000, 21843, 18291)
BLOCKS = {
    "bit_r26x1": (2, 2, 2, 2),
    "bit_r50x1": (3, 4, 6, 3),
    "bit_r50x3": (3, 4, 6, 3),
    "bit_r101x1": (3, 4, 23, 3),
    "bit_r101x3": (3, 4, 23, 3),
    "bit_r152x2": (3, 8, 36, 3),
    "bit_r152x4": (3, 8, 36, 3),
}
# What is cheap enough to be run here; the others share its code.
SMALL = [n for n in models.names(models.BIT) if n.endswith("_tiny")]


@functools.cache
def unallocated(name: str, num_classes: int) -> keras.Model:
    """Returns a model without memory for its weights (gigabytes, for some)."""
    with keras.StatelessScope(initialize_variables=False):
        model = models.create(name, num_classes=num_classes)
    # Forget the weights that still wait for their values.
    keras.utils.clear_session(free_memory=False)
    return model


def numpy_of(tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, size=(*shape, 3)).astype("float32")


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Sets all weights: the head too, and the same ones on every backend."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = 0.1 * rng.standard_normal(weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            value = 1 + abs(value)
        weight.assign(value)
    return model


def small(**options) -> bit.BiT:
    """Returns a narrow BiT of four stages, all strides and paddings in it."""
    options = {"num_classes": 5, "width": 0.125, "groups": 8} | options
    return bit.BiT((1, 1, 2, 1), **options)


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: numpy_of(weight) for weight in model.weights}


def gradients(model: keras.Model, images, cotangent) -> dict:
    """Returns d sum(model(images) * cotangent) / d weight, on any backend.

    One step of SGD with so high a learning rate that the initial weights
    vanish in rounding.
    """
    huge = 2.0**40
    model.compile(
        keras.optimizers.SGD(huge),
        loss=lambda weight, output: ops.sum(weight * output),
        # JAX would compile every operation on its own.
        run_eagerly=keras.backend.backend() != "jax",
    )
    model.train_on_batch(images, cotangent)
    return {
        weight.path: -numpy_of(weight) / huge
        for weight in model.trainable_variables
    }


@pytest.mark.parametrize(
    "num_classes",
    [
        pytest.param(k, marks=pytest.mark.slow if k > 1000 else ())
        for k in HEADS
    ],
)
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name, num_classes):
    want = PARAMETERS[name][HEADS.index(num_classes)]
    assert unallocated(name, num_classes).count_params() == want


def test_bit_tiny_has_about_100_k_parameters():
    model = models.create("bit_tiny", num_classes=10)
    assert 80_000 <= model.count_params() <= 140_000
    last = list(model.pyramid_outputs.values())[-1]
    maps = keras.Model(model.inputs[0], last)(random_images(1, 32, 32))
    assert min(maps.shape[1:3]) >= 2


@pytest.mark.parametrize("name", BLOCKS)
def test_every_unit_is_an_endpoint(name):
    want = ["stem"]
    for stage, count in enumerate(BLOCKS[name], start=1):
        want += [f"block{stage}/unit{u:02d}" for u in range(1, count + 1)]
        want += [f"block{stage}"]
    want += ["pre_logits", "logits"]
    assert list(unallocated(name, 1000).endpoint_tensors) == want
    assert list(unallocated(name, 0).endpoint_tensors) == want[:-1]


@pytest.mark.parametrize("name", models.names())
def test_every_model_keeps_the_contract(name):
    model = unallocated(name, 1000)
    assert isinstance(model, keras.Model)
    assert model.name == name
    assert model.num_classes == 1000
    assert model.output_shape == (None, 1000)
    assert model.input_shape[-1] == 3
    tensors = model.endpoint_tensors
    assert tensors["logits"] is model.outputs[0]
    headless = unallocated(name, 0)
    assert headless.output_shape == tuple(tensors["pre_logits"].shape)
    assert headless.endpoint_tensors["pre_logits"] is headless.outputs[0]
    assert "logits" not in headless.endpoint_tensors


@pytest.mark.parametrize("name", SMALL)
def test_endpoints_have_the_shapes_they_declare(name):
    model = models.create(name, num_classes=5)
    images = random_images(2, 45, 64)
    outputs = models.endpoints(model, model.endpoint_tensors)(images)
    for endpoint, tensor in model.endpoint_tensors.items():
        declared, got = tuple(tensor.shape), tuple(outputs[endpoint].shape)
        assert len(declared) == len(got)
        assert declared[-1] == got[-1]
    np.testing.assert_array_equal(
        numpy_of(outputs["logits"]), numpy_of(model(images))
    )


@pytest.mark.parametrize("size", [(64, 96), (45, 33), (32, 57)])
@pytest.mark.parametrize("stride", [1, 2])
def test_unit_shapes(size, stride):
    unit = bottleneck.BottleneckUnit(8, stride, groups=4)
    x = np.ones((2, *size, 16), "float32")
    want = (2, -(-size[0] // stride), -(-size[1] // stride), 32)
    assert tuple(unit(x).shape) == want
    assert unit.compute_output_shape(x.shape) == want
    assert unit.compute_output_shape((None, None, None, 16)) == (
        (None, None, None, 32)
    )


def test_unit_projects_only_where_it_must():
    def has_projection(channels, stride):
        unit = bottleneck.BottleneckUnit(8, stride, groups=4)
        unit.build((None, None, None, channels))
        paths = [weight.path for weight in unit.weights]
        # Last, as the order of the official .h5 files asks.
        assert not any("proj" in path for path in paths[:-1])
        return "proj" in paths[-1]

    assert has_projection(16, 1)
    assert has_projection(32, 2)
    assert not has_projection(32, 1)


def test_endpoints_take_any_iterable_and_share_weights():
    model = randomize(small())
    images = random_images(1, 32, 40)
    names = (name for name in ["block2/unit01", "block4"])
    tapped = models.endpoints(model, names)
    outputs = tapped(images)
    assert list(outputs) == ["block2/unit01", "block4"]
    assert outputs["block4"].shape == (1, 1, 2, 256)
    randomize(model, seed=1)
    again = tapped(images)
    for name, tensor in outputs.items():
        assert abs(numpy_of(again[name]) - numpy_of(tensor)).max() > 0.1


def test_unknown_endpoint_is_answered_with_the_known_ones():
    model = small()
    with pytest.raises(ValueError, match='no endpoint "blok1".*"block1"'):
        models.endpoints(model, ["blok1"])


def test_pyramid_of_an_imagenet_backbone():
    model = small(num_classes=0)
    pyramid = keras.Model(model.inputs[0], model.pyramid_outputs)
    outputs = pyramid(random_images(2, 64, 96))
    shapes = {level: tuple(x.shape) for level, x in outputs.items()}
    assert shapes == {
        "P2": (2, 16, 24, 32),
        "P3": (2, 8, 12, 64),
        "P4": (2, 4, 6, 128),
        "P5": (2, 2, 3, 256),
    }
    block4 = models.endpoints(model, ["block4"])(random_images(2, 64, 96))
    # P5 comes after the final norm and ReLU, block4 before.
    assert numpy_of(outputs["P5"]).min() == 0
    assert numpy_of(block4["block4"]).min() < 0


@pytest.mark.parametrize("name", SMALL)
def test_pyramid_strides(name):
    model = models.create(name, num_classes=0)
    pyramid = keras.Model(model.inputs[0], model.pyramid_outputs)
    for level, x in pyramid(random_images(1, 64, 96)).items():
        stride = 2 ** int(level[1:])
        assert tuple(x.shape[1:3]) == (64 // stride, 96 // stride)


def test_last_pyramid_level_trains_the_whole_backbone():
    model = randomize(small(num_classes=0))
    last = keras.Model(model.inputs[0], model.pyramid_outputs["P5"])
    assert len(last.weights) == len(model.weights)
    cotangent = np.random.default_rng(0).normal(size=(2, 2, 3, 256))
    got = gradients(last, random_images(2, 64, 96), cotangent)
    zero = [path for path, gradient in got.items() if not gradient.any()]
    assert len(got) == len(model.trainable_variables)
    assert not zero


@pytest.mark.parametrize("head_bias", [0.0, -10.0])
@pytest.mark.parametrize("name", SMALL)
def test_new_head_outputs_its_bias(name, head_bias):
    model = models.create(name, num_classes=6, head_bias=head_bias)
    logits = numpy_of(model(random_images(2, 32, 32)))
    np.testing.assert_array_equal(logits, np.full((2, 6), head_bias))


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("name", SMALL)
def test_replace_head_keeps_the_backbone(name, num_classes):
    model = randomize(models.create(name, num_classes=6))
    before = values(model)
    new = models.replace_head(model, num_classes, head_bias=-2.0)
    assert type(new) is type(model)
    assert new.num_classes == num_classes
    after = values(new)
    heads = {path for path in after if path.startswith("head/")}
    assert len(heads) == (2 if num_classes else 0)
    for path in after.keys() - heads:
        np.testing.assert_array_equal(after[path], before[path])
    assert len(after) - len(heads) == len(before) - 2
    images = random_images(2, 32, 32)
    if num_classes:
        np.testing.assert_array_equal(numpy_of(new(images)), -2.0)
    # The old model keeps its own weights.
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "batch", "standardize": False, "stem": "strided"},
        {"dtype": "mixed_bfloat16", "head_bias": -10.0, "num_classes": 0},
    ],
)
def test_keras_file_round_trip(tmp_path, options):
    model = randomize(small(**options))
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert type(copy) is bit.BiT
    assert copy.get_config() == model.get_config()
    assert copy.endpoint_tensors.keys() == model.endpoint_tensors.keys()
    assert copy.pyramid_outputs.keys() == model.pyramid_outputs.keys()
    images = random_images(2, 33, 40)
    np.testing.assert_array_equal(
        numpy_of(copy(images)), numpy_of(model(images))
    )
    tapped = models.endpoints(copy, ["block1"])(images)
    assert numpy_of(tapped["block1"]).any()


@pytest.mark.parametrize("name", SMALL)
def test_weights_file_round_trip(tmp_path, name):
    model = randomize(models.create(name, num_classes=5))
    model.save_weights(tmp_path / "model.weights.h5")
    copy = models.create(name, num_classes=5)
    copy.load_weights(tmp_path / "model.weights.h5")
    for path, value in values(copy).items():
        np.testing.assert_array_equal(value, values(model)[path])


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_ablation_trains_under_compile_and_fit(norm, standardize):
    model = models.create(
        "bit_tiny", num_classes=4, norm=norm, standardize=standardize
    )
    kinds = {type(layer) for layer in model._flatten_layers()}
    assert (StdConv2D in kinds) == standardize
    assert (bottleneck.BatchNormRelu in kinds) == (norm == "batch")
    assert (GroupNorm in kinds) == (norm == "group")
    before = values(model)
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    # Two steps: the head starts at zero and shields the backbone in the first.
    model.fit(
        random_images(16, 32, 32),
        np.arange(16) % 4,
        batch_size=8,
        verbose=0,
    )
    after = values(model)
    same = [path for path in after if np.array_equal(after[path], before[path])]
    assert not same
    assert all(np.isfinite(value).all() for value in after.values())


def test_batch_norm_tracks_the_statistics_of_its_input():
    model = small(norm="batch", num_classes=0)
    norm = model.get_layer("block2_unit01").a_norm
    block1 = models.endpoints(model, ["block1"])
    x = numpy_of(block1(random_images(8, 32, 32), training=True)["block1"])
    model(random_images(8, 32, 32), training=True)
    np.testing.assert_allclose(
        numpy_of(norm.moving_mean), 0.1 * x.mean((0, 1, 2)), atol=1e-4
    )
    np.testing.assert_allclose(
        numpy_of(norm.moving_variance),
        0.9 + 0.1 * x.var((0, 1, 2)),
        rtol=1e-4,
    )


def test_remat_gives_equal_gradients():
    images = random_images(4, 32, 32)
    cotangent = np.random.default_rng(1).normal(size=(4, 5))
    plain, remat = randomize(small()), randomize(small(remat=True))
    np.testing.assert_allclose(
        numpy_of(remat(images)), numpy_of(plain(images)), rtol=1e-5, atol=1e-5
    )
    want = gradients(plain, images, cotangent)
    got = gradients(remat, images, cotangent)
    for path, gradient in want.items():
        np.testing.assert_allclose(
            got[path], gradient, atol=1e-4 * abs(gradient).max(), err_msg=path
        )


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX traces a unit only once"
)
def test_remat_computes_every_unit_twice(monkeypatch):
    def calls(remat: bool) -> int:
        model = small(remat=remat)
        unit, count = model.get_layer("block3_unit02"), []
        body = unit._body
        monkeypatch.setattr(
            unit, "_body", lambda *a, **k: count.append(1) or body(*a, **k)
        )
        gradients(model, random_images(2, 32, 32), np.ones((2, 5)))
        return len(count)

    assert calls(remat=True) == calls(remat=False) + 1


@pytest.mark.slow
def test_remat_under_compile_and_fit():
    plain, remat = (
        randomize(models.create("bit_tiny", num_classes=5, remat=remat))
        for remat in (False, True)
    )
    for model in (plain, remat):
        model.compile("sgd", "mse", jit_compile=False)
        model.fit(random_images(4, 32, 32), np.ones((4, 5)), verbose=0)
    for path, value in values(plain).items():
        np.testing.assert_allclose(values(remat)[path], value, atol=1e-4)


@pytest.mark.parametrize(
    "policy, tolerance", [("mixed_bfloat16", 6e-2), ("mixed_float16", 8e-3)]
)
def test_mixed_precision_stays_close(policy, tolerance):
    exact, mixed = randomize(small()), randomize(small(dtype=policy))
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    images = random_images(2, 40, 48)
    names = ["block4", "pre_logits", "logits"]
    want = models.endpoints(exact, names)(images)
    got = models.endpoints(mixed, names)(images)
    dtypes = [keras.backend.standardize_dtype(got[n].dtype) for n in names]
    # The head, and the mean before it, compute in float32.
    assert dtypes == [policy[6:], "float32", "float32"]
    for name in names:
        reference = numpy_of(want[name])
        error = np.linalg.norm(numpy_of(got[name]) - reference)
        assert 0 < error < tolerance * np.linalg.norm(reference), name


def test_one_model_takes_any_image_size():
    model = randomize(small())
    for size in [(32, 32), (33, 47), (64, 40)]:
        logits = model.predict(random_images(2, *size), verbose=0)
        assert logits.shape == (2, 5)
        assert np.isfinite(logits).all()


def test_global_policy_is_the_default_dtype():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_config()["dtype"] == "mixed_bfloat16"
    assert model.get_layer("block1_unit01").compute_dtype == "bfloat16"
    assert model.get_layer("head").compute_dtype == "float32"


def test_unknown_model_is_answered_with_the_closest():
    with pytest.raises(ValueError, match='"bit_r5x1".*mean "bit_r50x1"'):
        models.create("bit_r5x1")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match='"bit_r50x1" is registered'):
        models.register("bit_r50x1", "bit_keras.models.bit:BiT")


@pytest.mark.parametrize(
    "argument, message",
    [
        ({"blocks": ()}, r"blocks must be 1 to 4 stages.*got \(\)"),
        ({"blocks": (1,) * 5}, r"blocks must be 1 to 4 stages"),
        ({"blocks": (1, 0, 1)}, r"blocks.*got \(1, 0, 1\)"),
        ({"num_classes": -1}, r"num_classes must be >= 0; got -1"),
        ({"norm": "layer"}, r"norm must be .*got 'layer'"),
        ({"norm": "batch", "remat": True}, r'remat needs norm="group"'),
        ({"stem": "resnet"}, r"stem must be .*got 'resnet'"),
        ({"width": 0.25}, r"groups must divide the channels; got groups=32"),
    ],
)
def test_bad_arguments_are_named(argument, message):
    with pytest.raises(ValueError, match=message):
        bit.BiT(**{"blocks": (1, 1), "num_classes": 3} | argument)


def test_a_keras_file_loads_where_nothing_else_is_imported(tmp_path):
    path = tmp_path / "tiny.keras"
    model = models.create("bit_tiny", num_classes=5)
    model.save(path)
    program = (
        "import sys, bit_keras\n"
        "print(bit_keras.load_model(sys.argv[1]).count_params())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(model.count_params())], done.stderr
