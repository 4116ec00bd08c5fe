"""SavedModelLayer in Keras 3 models: trained, frozen, saved, exported."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.export import saved_model
from bit_keras.export.layer import SavedModelLayer

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.003, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(1e-3),
}


@pytest.fixture(scope="module")
def batch_norm(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("batch_norm")
    saved_model.write(network(norm="batch"), path)
    return path


def features(unit, images):
    network = bit_keras.endpoints(unit, "pre_logits")
    return network(images * 2 - 1)["pre_logits"]


def functional(layer):
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Dense(10)(layer(inputs)))


def sequential(layer):
    return keras.Sequential([layer, keras.layers.Dense(10)])


def compiled(model, optimizer="sgd", **options):
    model.compile(
        OPTIMIZERS[optimizer](),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **options,
    )
    return model


def fit(model, digits, epochs=1):
    images, labels = digits
    history = model.fit(
        images, labels, batch_size=32, epochs=epochs, verbose=0, shuffle=False
    )
    return history.history["loss"]


def values(layer):
    return [v.numpy() for v in layer.variables]


def changed(before, layer):
    """Returns which of the layer's variables are not as before."""
    return [
        bool(np.any(a != b)) for a, b in zip(before, values(layer), strict=True)
    ]


@pytest.mark.parametrize(
    "make, optimizer", [(functional, "sgd"), (sequential, "adamw")]
)
def test_fine_tunes_is_saved_and_exported(
    handle, unit, digits, tmp_path, make, optimizer
):
    keras.utils.set_random_seed(0)
    layer = SavedModelLayer(handle)
    images = digits[0][:4]
    np.testing.assert_allclose(
        layer(images), features(unit, images), rtol=1e-5, atol=1e-6
    )
    model = compiled(make(layer), optimizer)
    before = values(layer)
    losses = fit(model, digits, epochs=4)
    assert losses[-1] < losses[0]
    assert all(changed(before, layer))
    assert len(before) == len(unit.variables) - 2
    want = model(images)
    trained = layer(images)
    assert np.abs(trained - SavedModelLayer(handle)(images)).max() > 1e-3

    # The file holds the fine-tuned weights; the handle holds the first ones.
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images), want, rtol=1e-5, atol=1e-6)
    assert again.optimizer.iterations == model.optimizer.iterations
    np.testing.assert_allclose(
        fit(again, digits), fit(model, digits), rtol=1e-4
    )

    again = keras.saving.load_model(tmp_path / "model.keras")
    again.export(tmp_path / "again", verbose=False)
    # Its variables live as long as the loaded object.
    loaded = tf.saved_model.load(tmp_path / "again")
    np.testing.assert_allclose(
        loaded.serve(tf.constant(images)), want, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "make, optimizer", [(functional, "adamw"), (sequential, "sgd")]
)
def test_frozen_it_does_not_change_and_thawed_it_does(
    handle, digits, make, optimizer
):
    layer = SavedModelLayer(handle, trainable=False)
    model = compiled(make(layer), optimizer)
    before = values(layer)
    fit(model, digits)
    assert not any(changed(before, layer))
    assert len(model.trainable_variables) == 2
    assert layer.losses == []
    # The usual second phase: after the new head, everything.
    layer.trainable = True
    fit(compiled(model, optimizer), digits)
    assert all(changed(before, layer))


def test_every_size_and_batch(handle, unit):
    layer = SavedModelLayer(handle)
    for shape in ((1, 33, 65, 3), (3, 48, 32, 3)):
        images = np.random.default_rng(0).random(shape, dtype="float32")
        np.testing.assert_allclose(
            layer(images), features(unit, images), rtol=1e-5, atol=1e-6
        )
    symbolic = layer(keras.Input((None, 40, 3), batch_size=7))
    assert symbolic.shape == (7, 64) and symbolic.dtype == "float32"
    with pytest.raises(ValueError, match=r"\(batch, height, width, 3\)"):
        layer(keras.Input((32, 32, 1)))


def test_it_is_public():
    assert bit_keras.SavedModelLayer is SavedModelLayer


def test_the_logits_can_be_fine_tuned(handle, unit, digits):
    layer = SavedModelLayer(handle, endpoint="logits")
    images = digits[0][:4]
    np.testing.assert_allclose(
        layer(images), unit(images * 2 - 1), rtol=1e-5, atol=1e-6
    )
    assert len(layer.trainable_variables) == len(unit.trainable_variables)
    model = compiled(keras.Sequential([layer]))
    before = values(layer)
    losses = fit(model, digits, epochs=4)
    assert losses[-1] < losses[0]
    assert all(changed(before, layer))


def test_an_intermediate_is_for_inference(handle, unit, digits, tmp_path):
    layer = SavedModelLayer(handle, trainable=False, endpoint="block1/unit01")
    images = digits[0][:4]
    block = bit_keras.endpoints(unit, "block1/unit01")(images * 2 - 1)
    want = tf.reduce_mean(block["block1/unit01"], (1, 2))
    np.testing.assert_allclose(layer(images), want, rtol=1e-5, atol=1e-6)
    model = compiled(functional(layer))
    before = values(layer)
    fit(model, digits)
    assert not any(changed(before, layer))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images), model(images), rtol=1e-5)
    with pytest.raises(ValueError, match="pass trainable=False") as caught:
        SavedModelLayer(handle, endpoint="block1/unit01")
    assert "block1/unit01" in str(caught.value)


@pytest.mark.parametrize("trainable", [True, False])
def test_batch_norm_learns_its_statistics(batch_norm, digits, trainable):
    layer = SavedModelLayer(batch_norm, trainable=trainable)
    model = compiled(functional(layer))
    moving = ["moving" in v.name for v in layer.variables]
    assert any(moving)
    before = values(layer)
    fit(model, digits)
    assert changed(before, layer) == [trainable] * len(moving)
    # Outside of training they stay.
    before = values(layer)
    model.predict(digits[0], verbose=0)
    layer(digits[0], training=False)
    assert not any(changed(before, layer))


def test_penalties_are_part_of_the_loss(handle, digits):
    images, labels = digits
    layer = SavedModelLayer(handle)
    model = functional(layer)
    logits = model(images, training=True)
    kernels = [v for v in layer.variables if v.ndim == 4]
    want = [1e-4 * np.square(v).sum() for v in kernels]
    np.testing.assert_allclose(layer.losses, want, rtol=1e-5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    total = float(loss(labels, logits)) + sum(want)
    compiled(model)
    evaluated = model.evaluate(images, labels, batch_size=64, verbose=0)
    np.testing.assert_allclose(evaluated, total, rtol=1e-5)
    # In training, once per step, not once per trace or call.
    layer(images)
    (first,) = model.fit(images, labels, 64, verbose=0).history["loss"]
    np.testing.assert_allclose(first, total, rtol=1e-5)


@pytest.mark.parametrize(
    "policy",
    ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)],
)
def test_a_mixed_policy(handle, unit, digits, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = SavedModelLayer(handle)
        model = compiled(functional(layer))
        weights = values(layer)
        fit(model, digits)
    finally:
        keras.config.set_dtype_policy(before)
    assert all(changed(weights, layer))
    images = digits[0][:4]
    half = tf.cast(images, policy.removeprefix("mixed_"))
    output = SavedModelLayer(handle)(half)
    assert output.dtype == tf.float32
    want = features(unit, tf.cast(half, tf.float32))
    np.testing.assert_allclose(output, want, rtol=1e-5, atol=1e-6)


def test_no_xla_and_no_tracing_in_each_step(handle, digits, monkeypatch):
    # As on one GPU, where Keras' "auto" would compile.
    from keras.src.trainers import trainer

    layer = SavedModelLayer(handle)
    assert not layer.supports_jit
    model = functional(layer)
    assert not trainer.model_supports_jit(model)
    compiled(model, jit_compile="auto")
    assert not model.jit_compile
    traces = []
    run = layer._run

    def counted(images, training):
        traces.append(training)
        return run(images, training)

    monkeypatch.setattr(layer, "_run", counted)
    fit(model, digits)
    first = len(traces)
    assert first >= 1
    fit(model, digits, epochs=3)
    assert len(traces) == first


MIRRORED = """
import sys
import keras
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from bit_keras import SavedModelLayer

def train(strategy):
    with strategy.scope():
        layer = SavedModelLayer(sys.argv[1])
        inputs = keras.Input((32, 32, 3))
        head = keras.layers.Dense(10, kernel_initializer="zeros")
        model = keras.Model(inputs, head(layer(inputs)))
        model.compile(
            keras.optimizers.SGD(0.003, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    data = np.load(sys.argv[2])
    dataset = tf.data.Dataset.from_tensor_slices((data["x"], data["y"]))
    model.fit(dataset.batch(32).repeat(2), verbose=0)
    return [v.numpy() for v in layer.variables]

mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert mirrored.num_replicas_in_sync == 2
one, two = train(tf.distribute.get_strategy()), train(mirrored)
start = [v.numpy() for v in SavedModelLayer(sys.argv[1]).variables]
for a, b, c in zip(one, two, start, strict=True):
    assert np.abs(b - c).max() > 0
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
print(len(one), "variables agree")
"""


@pytest.mark.slow
def test_two_devices_train_as_one(handle, digits, tmp_path):
    np.savez(tmp_path / "digits.npz", x=digits[0], y=digits[1])
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, handle, tmp_path / "digits.npz"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("variables agree\n")
