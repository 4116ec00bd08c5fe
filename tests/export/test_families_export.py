"""ViT and MLP-Mixer as exports: sizes, pooling, reloading, fine-tuning."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras import models
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.export import card, exporter, manifest, source
from bit_keras.export.layer import SavedModelLayer
from bit_keras.export.loaded import Loaded
from bit_keras.export.options import Options

NETWORKS = {
    "vit": ("vit_nano", {}),
    "vit_token": ("vit_nano", {"pool": "token", "name": "of_my_own"}),
    "mixer": ("mixer_nano", {}),
}
LABELS = tuple("abcde")


def seeded(name, options):
    given = {**models.arguments(name), "name": name, **options}
    family = models.VIT if name.startswith("vit") else models.MIXER
    model = models.build(family, num_classes=5, dtype="float32", **given)
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(0.3 * random.standard_normal(variable.shape))
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def export(request, tmp_path_factory):
    """A network, and the directory of its export."""
    model = seeded(*NETWORKS[request.param])
    loaded = Loaded(model, model.name, LABELS, resolution=32)
    options = Options(formats=("savedmodel", "npz", "keras"))
    out = tmp_path_factory.mktemp("exports")
    return model, exporter.export(loaded, out, options, lambda line: None)


def images_for(model, count=2):
    side = model.input_shape[1]
    shape = (count, side or 36, side or 28, 3)
    return np.random.default_rng(1).random(shape, dtype="float32")


def test_outputs_are_the_network_s(export):
    model, folder = export
    images = images_for(model)
    ends = models.endpoints(model, model.endpoint_tensors)(images * 2 - 1)
    loaded = tf.saved_model.load(str(folder))
    np.testing.assert_allclose(
        loaded(images), ends["pre_logits"], rtol=1e-4, atol=1e-5
    )
    got = loaded.signatures["intermediates"](tf.constant(images))
    assert set(got) == set(ends)
    np.testing.assert_allclose(
        got["block01"],
        np.mean(ends["block01"], axis=1),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_manifest_and_the_card_say_what_it_takes(export):
    model, folder = export
    facts = manifest.read(folder)
    text = (folder / "README.md").read_text()
    fixed = model.input_shape[1]
    assert facts.builder == models.builder_of(model)
    assert facts.input["min_size"] == (fixed or 4)
    assert facts.input.get("size") == fixed
    said = "32 x 32 pixels only" if fixed else "any size from 4 pixels"
    assert said in text
    assert facts.pooling["block01"] == "token average"
    token = model.get_config().get("pool") == "token"
    kind = "class token" if token else "token average"
    assert facts.pooling["pre_logits"] == kind
    assert f"{kind} of " in text
    assert "logits" not in facts.pooling
    assert ("arXiv:2105.01601" if fixed else "arXiv:2010.11929") in text
    assert len(card.snippets(text)) == 5


def test_encoded_images_are_served(export):
    _, folder = export
    pixels = np.random.default_rng(2).integers(0, 256, (40, 50, 3), "uint8")
    files = tf.stack([tf.io.encode_png(pixels)])
    loaded = tf.saved_model.load(str(folder))
    answer = loaded.signatures["serve_encoded"](files)
    assert float(tf.reduce_sum(answer["probabilities"])) == pytest.approx(1)
    assert set(answer["classes"][0].numpy()) == {b"a", b"b", b"c", b"d", b"e"}


def test_an_export_is_a_source_again(export, tmp_path):
    model, folder = export
    for path in (folder, folder / "model.keras"):
        again = source.load(path)
        assert again.model.get_config() == model.get_config()
        assert (again.name, again.resolution) == (model.name, 32)
        for one, other in zip(
            again.model.variables, model.variables, strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_an_unknown_family_is_not_imported(export, tmp_path):
    _, folder = export
    copy = tmp_path / "copy"
    copy.mkdir()
    facts = json.loads((folder / "model.json").read_text())
    text = json.dumps({**facts, "builder": "os:system"})
    for path in folder.iterdir():
        if path.name != "model.json":
            (copy / path.name).symlink_to(path)
    (copy / "model.json").write_text(text)
    with pytest.raises(ValueError, match="family 'os:system', which is not"):
        source.load(copy)


def test_an_export_from_before_there_were_families_is_read(export, tmp_path):
    _, folder = export
    facts = json.loads((folder / "model.json").read_text())
    del facts["builder"], facts["pooling"]
    (tmp_path / "model.json").write_text(json.dumps(facts))
    read = manifest.read(tmp_path)
    assert (read.builder, read.pooling) == (models.BIT, {})


def test_it_fine_tunes_as_a_layer(export):
    model, folder = export
    images = images_for(model, 8)
    network = keras.Sequential(
        [bit_keras.SavedModelLayer(folder), keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-3), loss)
    labels = np.arange(8) % 2
    history = network.fit(images, labels, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_a_layer_says_which_size_it_takes(export):
    model, folder = export
    layer = SavedModelLayer(folder)
    inputs = keras.Input((None, None, 3))
    symbolic = keras.Model(inputs, layer(inputs))
    images = images_for(model)
    np.testing.assert_allclose(
        symbolic(images), layer(images), rtol=1e-4, atol=1e-5
    )
    if model.input_shape[1]:
        with pytest.raises(ValueError, match=r"\(batch, 32, 32, 3\); got"):
            layer(np.zeros((1, 40, 40, 3), "float32"))


def test_a_benchmark_opens_it(export):
    model, folder = export
    for handle in (folder, folder / "model.keras", folder / "model.npz"):
        if handle.suffix == ".npz" and model.name == "of_my_own":
            continue  # Recognized as a ViT without a registered name.
        backbone = open_backbone(str(handle))
        assert backbone.resolution == 32
        images = tf.constant(images_for(model))
        got = backbone.features(("block01", "pre_logits"))(images)
        want = models.endpoints(model, "pre_logits")(images * 2 - 1)
        np.testing.assert_allclose(
            got["pre_logits"], want["pre_logits"], rtol=1e-4, atol=1e-5
        )
        assert got["block01"].shape == (2, 32)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("mixer", Options(resolution=48), "of 32 pixels only; got 48"),
        ("vit", Options(resolution=3), "must be >= 4 pixels; got 3"),
        ("vit", Options(folded=True), "nothing to fold. Leave --folded out"),
    ],
)
def test_what_does_not_suit_is_refused(name, options, message, tmp_path):
    model = seeded(*NETWORKS[name])
    loaded = Loaded(model, model.name, LABELS, resolution=32)
    with pytest.raises(ValueError, match=message):
        exporter.export(loaded, tmp_path, options, lambda line: None)
    assert not any(tmp_path.iterdir())


def test_official_weights_for_larger_images_keep_their_name(tmp_path):
    model = seeded("vit_nano", {"image_size": 48})
    bit_keras.save_checkpoint(model, tmp_path / "large.npz")
    loaded = source.load(tmp_path / "large.npz")
    assert (loaded.name, loaded.resolution) == ("vit_nano", 48)
    assert source.load("vit_nano", str(tmp_path / "large.npz")).init
