"""Gradients by hand are those that TensorFlow derives from the formula."""

import functools

import keras
import numpy as np
import pytest

from bit_keras.layers import GroupNorm, StdConv2D, standardize
from bit_keras.weight_standardization import (
    _with_gradient as _standardized_with_gradient,
)
from bit_keras.weight_standardization import filter_mean, standardized

if keras.backend.backend() != "tensorflow":
    pytest.skip("gradients are by hand on TensorFlow", allow_module_level=True)

import tensorflow as tf

from bit_keras import cpu_graphs
from bit_keras.group_norm import _with_gradient
from bit_keras.models.bottleneck import BottleneckUnit
from bit_keras.norm_formula import NormFormula, position_mean

# "parts": a graph of which XLA compiles the norms.
WAYS = ("eager", "graph", "parts", "xla")


def random(*shape: int, seed: int = 0) -> tf.Tensor:
    values = np.random.default_rng(seed).normal(size=shape)
    return tf.constant(values, "float32")


def run(way: str, function, *arguments):
    if way != "eager":
        function = tf.function(function, jit_compile=way == "xla")
    with pytest.MonkeyPatch.context() as patch:
        if way == "parts":
            patch.setattr(cpu_graphs, "_PAYS", 0)
        return function(*arguments)


def gradients(function, weights, *inputs) -> list[tf.Tensor]:
    """Returns outputs and d sum(outputs * weights) / d inputs."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        total = tf.reduce_sum(tf.cast(outputs, "float32") * weights)
    return [outputs, *tape.gradient(total, inputs)]


def second(function, weights, x) -> tf.Tensor:
    """Returns the gradient of the gradient along some direction."""
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(function(x) ** 2 * weights)
        slope = tf.reduce_sum(
            inner.gradient(total, x) * random(*x.shape, seed=9)
        )
    return outer.gradient(slope, x)


def norm(groups: int, relu: bool, dtype: str = "float32"):
    """Returns the norm of (x, gamma, beta): the layer's, and its formula."""
    compute_dtype = keras.DTypePolicy(dtype).compute_dtype
    formula = NormFormula(groups, 1e-5, relu, compute_dtype)

    def plain(x, gamma, beta):
        return formula.forward(position_mean, x, gamma, beta)[0]

    return functools.partial(_with_gradient, formula), plain


def assert_close(got, want, tolerance: float) -> None:
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        a, b = (tf.cast(v, "float64").numpy() for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * abs(b).max())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, -1, 32])
def test_group_norm(groups, relu, way):
    ours, plain = norm(groups, relu)
    x = random(3, 5, 7, 64) + 0.5
    inputs = x, 1 + 0.3 * random(64, seed=1), 0.3 * random(64, seed=2)
    weights = random(3, 5, 7, 64, seed=3)
    got = run(way, lambda *i: gradients(ours, weights, *i), *inputs)
    assert_close(got, gradients(plain, weights, *inputs), 3e-6)


@pytest.mark.parametrize("way", ["eager", "parts"])
@pytest.mark.parametrize("shape", [(2, 9, 64), (2, 3, 1, 5, 64), (1, 1, 1, 64)])
def test_group_norm_of_other_shapes(shape, way):
    ours, plain = norm(4, relu=True)
    inputs = random(*shape), random(64, seed=1), random(64, seed=2)
    weights = random(*shape, seed=3)
    got = run(way, lambda *i: gradients(ours, weights, *i), *inputs)
    assert_close(got, gradients(plain, weights, *inputs), 3e-6)


@pytest.mark.parametrize("way", ["eager", "parts"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_group_norm_of_half_precision(dtype, way):
    ours, plain = norm(32, relu=True, dtype=f"mixed_{dtype}")
    x = tf.cast(random(2, 5, 7, 64) + 3, dtype)
    inputs = x, random(64, seed=1), random(64, seed=2)
    weights = random(2, 5, 7, 64, seed=3)
    got = run(way, lambda *i: gradients(ours, weights, *i), *inputs)
    assert [v.dtype.name for v in got] == [dtype, dtype, "float32", "float32"]
    # Of the gradient, too, only what is handed on is rounded. Where float32
    # differs in its last bits, that may go the other way, but seldom does.
    want = gradients(plain, weights, *inputs)
    for a, b in zip(got[:2], want[:2], strict=True):
        assert np.mean(a.numpy() != b.numpy()) < 2e-3
    assert_close(got[2:], want[2:], 1e-5)


@pytest.mark.parametrize("way", ["eager", "parts"])
@pytest.mark.parametrize("groups", [1, -1, 32])
def test_group_norm_far_from_zero(groups, way):
    ours, _ = norm(groups, relu=False)
    x, weights = 1000 + random(2, 9, 7, 64), random(2, 9, 7, 64, seed=3)
    gamma, beta = 1 + 0.3 * random(64, seed=1), random(64, seed=2)
    derive = functools.partial(gradients, ours, weights)
    got = run(way, derive, x, gamma, beta)
    doubles = [tf.cast(v, "float64").numpy() for v in (x, weights, gamma)]
    assert_close(got[1:], closed_form(*doubles, groups), 2e-4)


def test_long_sums_far_from_zero_keep_their_digits():
    """As many positions as in the first block at 224 pixels, compiled."""
    ours, _ = norm(32, relu=False)
    x = 1000 + random(1, 56, 56, 64)
    got = run("parts", ours, x, tf.ones(64), tf.zeros(64))
    split = x.numpy().astype(np.float64).reshape(1, -1, 32, 2)
    hat = split - split.mean((1, 3), keepdims=True)
    hat /= np.sqrt((hat**2).mean((1, 3), keepdims=True) + 1e-5)
    # float32 leaves the inputs 6e-5 of their spread.
    np.testing.assert_allclose(got, hat.reshape(x.shape), atol=2e-4)


def closed_form(x, weights, gamma, groups):
    """Returns the gradients of the norm's x, gamma and beta, by float64."""
    size = 1 if groups == -1 else x.shape[-1] // groups
    split = (len(x), -1, x.shape[-1] // size, size)

    def mean(values):
        means = values.reshape(split).mean((1, 3), keepdims=True)
        return np.broadcast_to(means, values.reshape(split).shape).reshape(
            x.shape
        )

    deviation = np.sqrt(mean((x - mean(x)) ** 2) + 1e-5)
    x_hat = (x - mean(x)) / deviation
    d = weights * gamma
    d_x = (d - mean(d) - x_hat * mean(d * x_hat)) / deviation
    sums = (weights * x_hat).sum((0, 1, 2)), weights.sum((0, 1, 2))
    return [tf.constant(v, "float32") for v in (d_x, *sums)]


def test_group_norm_of_a_constant():
    # Of the deviation only epsilon is left: a large gradient, but no NaN.
    ours, plain = norm(32, relu=True)
    inputs = tf.fill((2, 3, 3, 64), 7.0), tf.ones(64), random(64, seed=2)
    weights = random(2, 3, 3, 64, seed=3)
    outputs, d_x, d_gamma, d_beta = gradients(ours, weights, *inputs)
    want = gradients(plain, weights, *inputs)
    assert_close([outputs, d_x, d_beta], [want[0], want[1], want[3]], 1e-5)
    # TensorFlow's is off by rounding: it adds up what should cancel.
    np.testing.assert_array_equal(d_gamma, 0)


def test_only_large_parts_of_known_shape_are_compiled():
    seen = []

    def watch(x):
        seen.append(cpu_graphs.pays(x))
        return x

    side = tf.TensorSpec((None, 64, 64, 64))
    watch(tf.ones((1, 64, 64, 64)))
    tf.function(watch)(tf.ones((1, 32, 64, 64)))
    tf.function(watch)(tf.ones((1, 31, 64, 64)))
    tf.function(watch, input_signature=[side])(tf.ones((8, 64, 64, 64)))
    assert seen == [False, True, False, False]


@pytest.mark.parametrize("way", [*WAYS, "formula"])
@pytest.mark.parametrize("relu", [False, True])
def test_second_derivatives_of_group_norm(relu, way):
    """By hand, and of the formula, which JAX and torch derive from."""
    ours, formula = norm(4, relu)
    if way == "formula":
        ours, way = formula, "eager"
    x, gamma, beta = random(2, 3, 4, 64), random(64, seed=1), random(64, seed=2)
    weights = random(2, 3, 4, 64, seed=3)
    got = run(
        way, lambda x: second(lambda v: ours(v, gamma, beta), weights, x), x
    )

    def plain(x):
        split = tf.reshape(x, (2, 12, 4, 16))
        mean = tf.reduce_mean(split, (1, 3), keepdims=True)
        square = tf.reduce_mean((split - mean) ** 2, (1, 3), keepdims=True)
        hat = tf.reshape((split - mean) / tf.sqrt(square + 1e-5), x.shape)
        return tf.nn.relu(hat * gamma + beta) if relu else hat * gamma + beta

    assert_close([got], [second(plain, weights, x)], 1e-5)


def standardized_by(way: str, kernel):
    if way != "parts":
        return standardize(kernel)
    parts = cpu_graphs.standardization(tuple(kernel.shape), 1e-10)
    return _standardized_with_gradient(*parts, kernel)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "shape", [(3, 3, 5, 7), (1, 1, 65, 3), (7, 7, 3, 8), (1, 1, 61, 2)]
)
@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (1e-4, 0.0), (0.1, 9.0)])
def test_standardize(shape, scale, offset, way):
    kernel = offset + scale * random(*shape)
    weights = random(*shape, seed=1)
    ours = functools.partial(standardized_by, way)
    got = run(way, lambda k: gradients(ours, weights, k), kernel)
    want = gradients(plain_standardize, weights, kernel)
    assert_close(got, want, 1e-5)


def plain_standardize(kernel):
    return standardized(filter_mean, 1e-10, kernel)[0]


@pytest.mark.parametrize("way", ["eager", "graph", "parts"])
def test_standardize_without_variance(way):
    # Of the deviation only epsilon is left: a large gradient, but no NaN.
    kernel, weights = tf.fill((3, 3, 4, 2), 0.5), random(3, 3, 4, 2)
    ours = functools.partial(standardized_by, way)
    got = run(way, lambda k: gradients(ours, weights, k), kernel)
    want = gradients(plain_standardize, weights, kernel)
    assert np.isfinite(got[1].numpy()).all()
    assert_close(got[1:], want[1:], 1e-5)
    np.testing.assert_array_equal(got[0], 0)


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives_of_standardize(way):
    kernel, weights = random(3, 3, 4, 5), random(3, 3, 4, 5, seed=1)
    ours = functools.partial(standardized_by, way)
    got = run(way, lambda k: second(ours, weights, k), kernel)

    def plain(kernel):
        # Not tf.nn.moments, whose second derivative is wrong.
        centered = kernel - tf.reduce_mean(kernel, (0, 1, 2))
        variance = tf.reduce_mean(centered**2, (0, 1, 2))
        return centered / tf.sqrt(variance + 1e-10)

    assert_close([got], [second(plain, weights, kernel)], 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_convolution_in_parts(size, stride, dtype):
    """As the plain layer of float32, values and gradients."""
    shape = (2, 9, 7, 24)
    conv, plain = (
        StdConv2D(16, size, stride, dtype=d) for d in (dtype, "float32")
    )
    for layer in conv, plain:
        layer.build((None, None, None, 24))
    plain.kernel.assign(conv.kernel)
    weights = random(*conv.compute_output_shape(shape), seed=2)

    def derive(layer, x):
        kernel = layer.kernel.value
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            outputs = layer(x)
            total = tf.reduce_sum(tf.cast(outputs, "float32") * weights)
        gradient = tape.gradient(total, [x, kernel])
        return [tf.cast(v, "float32") for v in (outputs, *gradient)]

    x = random(*shape)
    got = run("parts", functools.partial(derive, conv), x)
    # bfloat16 keeps 8 bits. Of convolutions that are none of ours, TensorFlow
    # sums some in bfloat16, too, where the processor has no AVX-512.
    tolerance = 1e-5
    if dtype != "float32":
        tolerance = 1e-2 if size == stride == 1 else 5e-2
    assert_close(got, derive(plain, x), tolerance)


def test_units_in_parts_are_those_without():
    """All that cpu_graphs.py replaces, and recomputed in the backward pass."""
    for remat in (False, True):
        unit = BottleneckUnit(32, stride=2, remat=remat)
        unit.build((2, 9, 8, 64))
        variables = [v.value for v in unit.trainable_variables]

        def derive(x, unit=unit, variables=variables):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(unit(x) ** 2)
            return tape.gradient(total, variables)

        x = random(2, 9, 8, 64)
        plain = run("graph", derive, x)
        assert_close(run("parts", derive, x), plain, 1e-4)


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_outlive_a_saved_model(tmp_path, remat):
    conv, layer = StdConv2D(8, 3), GroupNorm(4, relu=True)

    def body(x):
        return layer(conv(x))

    conv.build((None, None, None, 3)), layer.build((None, None, None, 8))
    call = tf.function(
        keras.remat(body) if remat else body,
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    saved = tf.train.Checkpoint()
    saved.call = call
    saved.variables = [v.value for v in conv.weights + layer.weights]
    tf.saved_model.save(saved, tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved")

    def derive(function, variables):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(function(random(2, 9, 7, 3)) ** 2)
        return tape.gradient(total, list(variables))

    want = derive(body, saved.variables)
    assert_close(derive(loaded.call, loaded.variables), want, 1e-5)
