"""SavedModelLayer: images and handles it takes, warns about, or refuses."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.export import archive, saved_model
from bit_keras.export.folding import fold
from bit_keras.export.layer import SavedModelLayer
from bit_keras.export.saved_model import FOLDED


@pytest.fixture(scope="module")
def folded(unit, tmp_path_factory):
    path = tmp_path_factory.mktemp("folded")
    saved_model.write(fold(unit), path, trainable=False)
    (path / "model.json").write_text("{}")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What keras' own export() writes."""
    path = tmp_path_factory.mktemp("plain")
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.export(path, verbose=False)
    return path


def features(unit, images):
    network = bit_keras.endpoints(unit, "pre_logits")
    return network(images * 2 - 1)["pre_logits"]


def with_head(layer):
    """Returns a model that can be trained."""
    model = keras.Sequential([layer, keras.layers.Dense(10)])
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def test_bytes_are_accepted(handle, unit, digits):
    layer = SavedModelLayer(handle)
    images = (digits[0][:4] * 255).round().astype("uint8")
    want = features(unit, images.astype("float32") / 255)
    np.testing.assert_allclose(layer(images), want, rtol=1e-5, atol=1e-6)
    inputs = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(inputs, layer(inputs))
    np.testing.assert_allclose(
        model.predict(images, verbose=0), want, rtol=1e-5, atol=1e-6
    )


def test_numpy_images_of_other_floats(handle, unit, digits):
    images = digits[0][:4]
    want = features(unit, images)
    output = SavedModelLayer(handle)(images.astype("float64"))
    np.testing.assert_allclose(output, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [lambda x: x * 255, lambda x: x * 2 - 1])
def test_a_wrong_range_is_warned_about_once(handle, digits, scale):
    layer = SavedModelLayer(handle)
    layer(digits[0])
    wrong = scale(digits[0])
    with pytest.warns(UserWarning, match=r"expects images in \[0, 1\]"):
        layer(wrong)
    layer(wrong)
    # What is shown is a reminder, the output is that of what came.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = SavedModelLayer(handle)(wrong)
    np.testing.assert_array_equal(layer(wrong), other)


def test_a_wrong_range_in_fit_is_warned_about_once(handle, digits, capfd):
    images, labels = digits
    model = with_head(SavedModelLayer(handle))
    model.fit(images, labels, verbose=0)
    model.predict(images, verbose=0)
    assert "expects images" not in capfd.readouterr().err
    # Without an Input of their own dtype, bytes come as floats in [0, 255].
    wrong = (images * 255).astype("uint8")
    model.fit(wrong, labels, epochs=3, verbose=0)
    error = capfd.readouterr().err
    assert error.count("expects images in [0, 1]") == 1
    assert 'keras.Input(..., dtype="uint8")' in error


def test_models_of_others_may_expect_another_range(unit, digits, tmp_path):
    saved_model.write(unit, tmp_path)
    # No model.json: no warning, which would be an error here.
    SavedModelLayer(tmp_path)(digits[0] * 255)


def test_text_is_no_image(handle):
    with pytest.raises(ValueError, match="float images in .* got string"):
        SavedModelLayer(handle)(tf.constant([["a.jpg"]]))


def test_an_unknown_endpoint(handle):
    with pytest.raises(ValueError, match='Did you mean "block1"') as caught:
        SavedModelLayer(handle, trainable=False, endpoint="blok1")
    for name in ("stem", "block1/unit01", "pre_logits", "logits"):
        assert name in str(caught.value)


def test_a_folded_export_cannot_be_trained(folded, unit, digits):
    with pytest.raises(ValueError) as caught:
        SavedModelLayer(folded)
    assert FOLDED in str(caught.value)
    layer = SavedModelLayer(folded, trainable=False)
    images = digits[0][:4]
    want = features(unit, images)
    limit = 1e-5 * np.abs(want).max()
    assert np.abs(layer(images) - want).max() <= limit
    before = [v.numpy() for v in layer.variables]
    with_head(layer).fit(*digits, verbose=0)
    for a, b in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    # What the constructor would not allow, training does not, either.
    layer.trainable = True
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        layer(images, training=True)
    assert FOLDED in str(caught.value)


def test_a_plain_keras_export(plain):
    with pytest.raises(ValueError, match="pass endpoint, one of") as caught:
        SavedModelLayer(plain)
    assert "serving_default" in str(caught.value)
    with pytest.raises(ValueError, match="pass trainable=False"):
        SavedModelLayer(plain, endpoint="serving_default")
    layer = SavedModelLayer(plain, trainable=False, endpoint="serving_default")
    images = np.ones((2, 32, 32, 3), "float32")
    loaded = tf.saved_model.load(plain)
    np.testing.assert_allclose(layer(images), loaded.serve(images), rtol=1e-6)


def test_a_callable_module_without_variables(tmp_path):
    module = tf.train.Checkpoint()
    module.__call__ = tf.function(
        lambda images: tf.reduce_mean(images, (1, 2)),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    tf.saved_model.save(module, tmp_path)
    with pytest.raises(ValueError, match="no trainable variables") as caught:
        SavedModelLayer(tmp_path)
    assert "pass trainable=False" in str(caught.value)
    layer = SavedModelLayer(tmp_path, trainable=False)
    np.testing.assert_array_equal(layer(np.ones((2, 4, 4, 3))), np.ones((2, 3)))


def test_an_archive_in_the_home_directory(handle, unit, digits, tmp_path):
    archive.pack(handle, tmp_path / "one-1.tar.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))
        patch.setenv("HOME", str(tmp_path))
        layer = SavedModelLayer("~/one-1.tar.gz")
        # What is saved does not depend on where the program was started.
        assert layer.get_config()["handle"] == str(tmp_path / "one-1.tar.gz")
        again = SavedModelLayer.from_config(layer.get_config())
    images = digits[0][:4]
    np.testing.assert_array_equal(layer(images), again(images))
    np.testing.assert_allclose(
        again(images), features(unit, images), rtol=1e-5, atol=1e-6
    )


def test_nothing_there(tmp_path, handle):
    with pytest.raises(FileNotFoundError, match="there is no"):
        SavedModelLayer(tmp_path / "none")
    with pytest.raises(ValueError, match=r'Did you mean ".*one_unit/1"'):
        SavedModelLayer(handle.parent)


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.data-00000-of-00001"]
)
def test_a_truncated_model(unit, tmp_path, name):
    saved_model.write(unit, tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError) as caught:
        SavedModelLayer(tmp_path)
    assert f'Cannot load "{tmp_path}"' in str(caught.value)
    assert "\n" not in str(caught.value)
