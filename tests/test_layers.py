"""The layers against closed forms in float64 NumPy; any backend."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.lib.stride_tricks import sliding_window_view

from bit_keras.layers import GroupNorm, StdConv2D, standardize

# Gradients are read off one step of SGD with so high a learning rate that the
# initial weights vanish in rounding; a power of two divides out exactly.
HUGE = 2.0**40


def gradients(model: keras.Model, inputs, cotangent) -> dict[str, np.ndarray]:
    """Returns d sum(model(inputs) * cotangent) / d weight, by weight name."""
    model.compile(
        keras.optimizers.SGD(HUGE),
        loss=lambda weight, output: ops.sum(weight * output),
        # JAX would compile every operation on its own.
        run_eagerly=keras.backend.backend() != "jax",
    )
    model.train_on_batch(inputs, cotangent)
    return {
        weight.name: -np.asarray(ops.convert_to_numpy(weight)) / HUGE
        for weight in model.trainable_variables
    }


class Constant(keras.layers.Layer):
    """Outputs a trainable tensor: exposes the gradient of a layer's input."""

    def __init__(self, value: np.ndarray) -> None:
        super().__init__()
        self.value = self.add_weight(
            shape=value.shape, initializer="zeros", name="x"
        )
        self.value.assign(value)

    def call(self, inputs):
        return self.value + 0 * ops.sum(inputs)


def numpy_of(tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def group_moments(x: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance, of the shape of `x`, in float64."""
    channels = x.shape[-1]
    groups = channels if groups == -1 else groups
    split = x.astype("float64").reshape(len(x), -1, groups, channels // groups)
    moments = (f(split, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    return tuple(
        np.broadcast_to(moment, split.shape).reshape(x.shape)
        for moment in moments
    )


def group_norm(x, gamma, beta, groups, epsilon=1e-5, relu=False):
    mean, variance = group_moments(x, groups)
    y = (x - mean) / np.sqrt(variance + epsilon) * gamma + beta
    return np.maximum(y, 0) if relu else y


def standardized(kernel: np.ndarray, epsilon: float = 1e-10) -> np.ndarray:
    kernel = kernel.astype("float64")
    axes = (0, 1, 2)
    deviation = np.sqrt(kernel.var(axes) + epsilon)
    return (kernel - kernel.mean(axes)) / deviation


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    return np.einsum("bhwiyx,yxio->bhwo", patches(x, kernel, stride), kernel)


def patches(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return windows[:, ::stride, ::stride]


def built_norm(channels: int, **arguments) -> GroupNorm:
    layer = GroupNorm(**arguments)
    layer.build((None, None, None, channels))
    layer.gamma.assign(1 + 0.3 * random(channels, seed=1))
    layer.beta.assign(0.3 * random(channels, seed=2))
    return layer


def affine(layer: GroupNorm) -> tuple[np.ndarray, np.ndarray]:
    return numpy_of(layer.gamma), numpy_of(layer.beta)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, -1, 2, 32])
def test_group_norm_is_the_closed_form(groups, relu):
    x = 3 + 2 * random(2, 5, 7, 64)
    layer = built_norm(64, groups=groups, relu=relu)
    want = group_norm(x, *affine(layer), groups, relu=relu)
    np.testing.assert_allclose(numpy_of(layer(x)), want, atol=3e-6)
    assert (want == 0).any() == relu


@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 3, 4, 5, 8)])
def test_group_norm_of_other_ranks(shape):
    x = random(*shape)
    layer = GroupNorm(groups=4)
    want = group_norm(x, 1, 0, 4)
    np.testing.assert_allclose(numpy_of(layer(x)), want, atol=3e-6)


@pytest.mark.parametrize("groups", [1, -1, 4])
def test_group_norm_equals_keras_own(groups):
    x = random(2, 6, 5, 8) - 1
    ours = built_norm(8, groups=groups)
    theirs = keras.layers.GroupNormalization(groups, epsilon=1e-5)
    theirs.build(x.shape)
    theirs.gamma.assign(ours.gamma)
    theirs.beta.assign(ours.beta)
    np.testing.assert_allclose(
        numpy_of(ours(x)), numpy_of(theirs(x)), atol=3e-6
    )


def test_group_norm_epsilon_is_1e_5_inside_the_root():
    x = 1e-3 * random(2, 6, 5, 32)
    got = numpy_of(GroupNorm(groups=4)(x))
    np.testing.assert_allclose(got, group_norm(x, 1, 0, 4), atol=1e-6)
    # Small inputs tell the epsilons apart; that Keras' own is 1e-3 is why the
    # layer cannot be left at its default.
    assert keras.layers.GroupNormalization().epsilon == 1e-3
    for wrong in (1e-3, 1e-6):
        deviation = abs(got - group_norm(x, 1, 0, 4, epsilon=wrong)).max()
        assert deviation > 0.1


def test_group_norm_keeps_precision_far_from_zero():
    # E[x^2] - E[x]^2 is wrong by a percent or more here.
    x = 3000 + random(2, 16, 16, 8)
    got = numpy_of(GroupNorm(groups=2)(x))
    np.testing.assert_allclose(got, group_norm(x, 1, 0, 2), atol=2e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_group_norm_takes_float16_statistics_in_float32(policy):
    # Squares and sums of these leave float16's range (65504).
    x = (600 * random(2, 16, 16, 8) + 800).astype("float16")
    layer = GroupNorm(groups=2, dtype=policy)
    got = layer(x)
    assert keras.backend.standardize_dtype(got.dtype) == "float16"
    want = group_norm(x.astype("float32"), 1, 0, 2)
    np.testing.assert_allclose(numpy_of(got), want, rtol=1e-3, atol=1e-3)
    with np.errstate(over="ignore"):
        assert np.isinf(np.square(x - x.mean(dtype="float16"))).any()


def test_group_norm_under_mixed_bfloat16():
    x = random(2, 8, 6, 64) + 100
    layer = built_norm(64, dtype="mixed_bfloat16")
    assert layer.gamma.dtype == "float32"
    x = ops.cast(x, "bfloat16")
    got = layer(x)
    assert keras.backend.standardize_dtype(got.dtype) == "bfloat16"
    want = group_norm(numpy_of(x), *affine(layer), 32)
    np.testing.assert_allclose(numpy_of(got), want, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, -1, 4])
def test_group_norm_gradients(groups, relu):
    x, cotangent = random(2, 5, 7, 16) + 1, random(2, 5, 7, 16, seed=3)
    layer = built_norm(16, groups=groups, relu=relu)
    gamma, beta = affine(layer)
    inputs = keras.Input(batch_shape=(2, 1))
    model = keras.Model(inputs, layer(Constant(x)(inputs)))
    got = gradients(model, np.ones((2, 1)), cotangent)

    mean, variance = group_moments(x, groups)
    deviation = np.sqrt(variance + 1e-5)
    x_hat = (x - mean) / deviation
    d_y = cotangent * (x_hat * gamma + beta > 0) if relu else cotangent
    d_hat = d_y * gamma
    along = group_moments(d_hat * x_hat, groups)[0]
    d_x = (d_hat - group_moments(d_hat, groups)[0] - x_hat * along) / deviation
    np.testing.assert_allclose(got["x"], d_x, atol=1e-5)
    np.testing.assert_allclose(
        got["gamma"], (d_y * x_hat).sum((0, 1, 2)), atol=3e-5
    )
    np.testing.assert_allclose(got["beta"], d_y.sum((0, 1, 2)), atol=3e-5)


def test_group_norm_config_round_trip():
    layer = GroupNorm(8, 1e-4, relu=True, name="n", dtype="mixed_bfloat16")
    copy = GroupNorm.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.groups, copy.epsilon, copy.relu) == (8, 1e-4, True)


def test_group_norm_names_the_bad_argument():
    with pytest.raises(ValueError, match=r"groups=32 and 48 channels"):
        GroupNorm()(np.ones((1, 2, 2, 48)))
    with pytest.raises(ValueError, match=r"rank 3 or more; got shape"):
        GroupNorm(2)(np.ones((4, 8)))
    with pytest.raises(ValueError, match=r"groups must be >= 1.*got 0"):
        GroupNorm(0)


@pytest.mark.parametrize(
    "size, stride", [((3, 3), 2), ((1, 1), 1), ((7, 2), 1)]
)
def test_std_conv_is_the_closed_form(size, stride):
    x = random(2, 9, 12, 6)
    conv = StdConv2D(10, size, strides=stride)
    conv.build(x.shape)
    kernel = 0.02 + 0.1 * random(*size, 6, 10, seed=1)
    conv.kernel.assign(kernel)
    want = convolve(x, standardized(kernel), stride)
    np.testing.assert_allclose(numpy_of(conv(x)), want, atol=1e-4)
    # The stored kernel stays raw.
    np.testing.assert_array_equal(numpy_of(conv.kernel), kernel)


def test_std_conv_has_a_bias_only_if_asked():
    x = random(1, 4, 4, 3)
    plain, biased = StdConv2D(5, 3), StdConv2D(5, 3, use_bias=True)
    plain.build(x.shape)
    biased.build(x.shape)
    assert [w.name for w in plain.weights] == ["kernel"]
    assert [w.name for w in biased.weights] == ["kernel", "bias"]
    biased.kernel.assign(plain.kernel)
    biased.bias.assign([1, 2, 3, 4, 5])
    np.testing.assert_allclose(
        numpy_of(biased(x)), numpy_of(plain(x)) + [1, 2, 3, 4, 5], atol=1e-5
    )


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-5])
def test_std_conv_epsilon_is_1e_10_inside_the_root(scale):
    kernel = scale * random(3, 3, 8, 16)
    got = numpy_of(standardize(kernel))
    np.testing.assert_allclose(got, standardized(kernel), rtol=2e-5, atol=1e-6)
    if scale < 1:
        outside = standardized(kernel, 0) * scale / (scale + 1e-10)
        for wrong in (outside, standardized(kernel, 1e-8)):
            assert abs(got / wrong - 1).max() > 1e-3


@pytest.mark.parametrize(
    "policy, tolerance",
    [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)],
)
def test_std_conv_statistics_are_float32_under(policy, tolerance):
    # The variance, 1e-8, is below what float16 can hold.
    kernel, x = 1e-4 * random(3, 3, 8, 16), random(2, 6, 5, 8, seed=1)
    assert np.float16(1e-4) ** 2 == 0
    conv = StdConv2D(16, 3, dtype=policy)
    conv.build(x.shape)
    conv.kernel.assign(kernel)
    assert conv.kernel.dtype == "float32"
    got = conv(x)
    assert keras.backend.standardize_dtype(got.dtype) == policy[6:]
    want = convolve(x, standardized(kernel), 1)
    np.testing.assert_allclose(
        numpy_of(got), want, atol=tolerance * abs(want).max()
    )


def test_standardized_filters_have_mean_zero_to_the_last_bits():
    # One float32 sum over 4608 taps can leave a mean of 1e-6, enough to flip
    # ReLUs and with them percents of a ResNet-50's gradients.
    kernel = 0.02 + 0.0125 * random(3, 3, 512, 64)
    got = numpy_of(standardize(kernel))
    assert abs(got.mean((0, 1, 2), dtype="float64")).max() < 1e-7
    np.testing.assert_allclose(got, standardized(kernel), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1e-4])
def test_std_conv_gradients(scale):
    x, cotangent = random(2, 7, 8, 4), random(2, 3, 3, 6, seed=1)
    kernel = scale * random(3, 3, 4, 6, seed=2)
    conv = StdConv2D(6, 3, strides=2)
    inputs = keras.Input(batch_shape=(2, 1))
    model = keras.Model(inputs, conv(Constant(x)(inputs)))
    conv.kernel.assign(kernel)
    got = gradients(model, np.ones((2, 1)), cotangent)

    hat = standardized(kernel)
    windows = patches(x.astype("float64"), kernel, 2)
    d_hat = np.einsum("bhwiyx,bhwo->yxio", windows, cotangent)
    axes = (0, 1, 2)
    d_kernel = d_hat - d_hat.mean(axes) - hat * (d_hat * hat).mean(axes)
    d_kernel /= np.sqrt(kernel.astype("float64").var(axes) + 1e-10)
    np.testing.assert_allclose(
        got["kernel"], d_kernel, atol=2e-5 * abs(d_kernel).max()
    )
    d_x = np.zeros(x.shape)
    for row, column in np.ndindex(cotangent.shape[1:3]):
        window = np.s_[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        d_x[window] += np.einsum(
            "bo,yxio->byxi", cotangent[:, row, column], hat
        )
    np.testing.assert_allclose(got["x"], d_x, atol=3e-5 * abs(d_x).max())


def test_std_conv_config_round_trip():
    conv = StdConv2D(4, 3, strides=2, epsilon=1e-8, name="c")
    copy = StdConv2D.from_config(conv.get_config())
    assert copy.get_config() == conv.get_config()
    assert (copy.filters, copy.epsilon, copy.use_bias) == (4, 1e-8, False)
    assert StdConv2D(4, 3).epsilon == 1e-10


def test_layers_survive_a_keras_file(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            StdConv2D(8, 3, strides=2, padding="same", epsilon=1e-9),
            GroupNorm(groups=4, epsilon=1e-4, relu=True),
            StdConv2D(8, 1, use_bias=True),
            GroupNorm(groups=-1),
        ]
    )
    model.set_weights(
        [
            1 + 0.2 * random(*weight.shape, seed=i)
            for i, weight in enumerate(model.weights)
        ]
    )
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    x = random(2, 9, 8, 3)
    np.testing.assert_array_equal(numpy_of(copy(x)), numpy_of(model(x)))
    for ours, theirs in zip(model.layers, copy.layers, strict=True):
        assert ours.get_config() == theirs.get_config()
