"""Every kind of handle gives the same vectors for the same weights."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras import checkpoints, models
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.export import exporter, source
from bit_keras.recipe import Model, Preprocess, Recipe, to_dict

ENDPOINTS = ("stem", "block2/unit01", "block3", "pre_logits", "logits")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (3, 32, 40, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    model = models.create("bit_tiny", num_classes=7)
    head = model.get_layer("head")
    head.kernel.assign(keras.random.normal(head.kernel.shape))
    return model


@pytest.fixture(scope="module")
def expected(model, images):
    """The model's own endpoints, averaged over pixels in NumPy."""
    outputs = models.endpoints(model, ENDPOINTS)(images * 2 - 1)
    made = {}
    for name, output in outputs.items():
        array = output.numpy()
        made[name] = array.mean((1, 2)) if array.ndim == 4 else array
    return made


@pytest.fixture(scope="module")
def handles(model, tmp_path_factory, unverified):
    """The same weights in every form."""
    folder = tmp_path_factory.mktemp("backbones")
    checkpoints.save(model, folder / "some.npz")
    checkpoints.save(model, folder / "some.keras")
    loaded = source.load(folder / "some.npz")
    with unverified():
        exported = exporter.export(loaded, folder / "out", say=lambda text: 0)
    foreign = folder / "foreign"
    shutil.copytree(exported, foreign)
    (foreign / "model.json").unlink()
    return {
        "npz": str(folder / "some.npz"),
        "keras": str(folder / "some.keras"),
        "export": str(exported),
        "foreign": str(foreign),
    }


@pytest.mark.parametrize("kind", ["npz", "keras", "export"])
def test_all_forms_of_a_network_agree(kind, handles, images, expected):
    backbone = open_backbone(handles[kind])
    assert set(ENDPOINTS) <= set(backbone.endpoints)
    assert backbone.num_classes == 7
    found = backbone.features(ENDPOINTS)(images)
    assert list(found) == list(ENDPOINTS)
    for name in ENDPOINTS:
        assert found[name].dtype == tf.float32
        np.testing.assert_allclose(found[name], expected[name], 1e-4, 1e-5)


def test_npz_and_keras_of_one_model_share_their_cache_key(handles):
    files = [open_backbone(handles[kind]) for kind in ("npz", "keras")]
    assert files[0].sha256 == files[1].sha256
    assert files[0].name == "some"


def test_model_by_name_with_weights_of_a_file(handles, images, expected):
    backbone = open_backbone("bit_tiny", init=handles["npz"])
    assert backbone.name == "bit_tiny.some"
    found = backbone.features(("pre_logits",))(images)["pre_logits"]
    np.testing.assert_allclose(found, expected["pre_logits"], 1e-4, 1e-5)


def test_what_follows_a_dot_in_a_folder_is_a_part_of_its_name(model, tmp_path):
    # Else all runs of a sweep had one name in every table.
    run = tmp_path / "rate0.03"
    facts = {
        "recipe": to_dict(
            Recipe("transfer", Model("bit_tiny"), preprocess=Preprocess(crop=8))
        ),
        "dataset": "digits",
    }
    run.mkdir()
    checkpoints.save(model, run / "final.npz")
    (run / "recipe.json").write_text(json.dumps(facts))
    (run / "result.json").write_text("{}")
    (run / "labels.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
    assert open_backbone(str(run)).name == "rate0.03"
    assert open_backbone("bit_tiny", str(run)).name == "bit_tiny.rate0.03"


def test_random_weights_are_always_the_same(images):
    first, second = (open_backbone("bit_tiny", init="random") for _ in range(2))
    assert first.sha256 == second.sha256
    function = first.features(("pre_logits",))
    # Tracing a large network takes minutes: once is enough.
    assert function is first.features(("pre_logits",))
    assert np.ptp(function(images)["pre_logits"]) > 0


def test_export_says_all_of_itself(handles):
    backbone = open_backbone(handles["export"])
    card = json.loads(Path(handles["export"], "model.json").read_text())
    assert backbone.name == "bit_tiny/1"
    assert backbone.endpoints == tuple(card["endpoints"])
    assert backbone.resolution == card["preprocessing"]["resolution"]
    assert open_backbone(handles["export"], resolution=48).resolution == 48
    with pytest.raises(ValueError, match="always takes .0, 1.*Leave it out"):
        open_backbone(handles["export"], input_range=(-1, 1))


def test_foreign_saved_model(handles, images, expected):
    backbone = open_backbone(handles["foreign"])
    assert backbone.endpoints[0] == "pre_logits"
    assert "intermediates:block3" in backbone.endpoints
    assert (backbone.resolution, backbone.num_classes) == (224, 0)
    names = ("pre_logits", "intermediates:block3", "logits:logits")
    found = backbone.features(names)(images)
    for name in names:
        ours = name.split(":")[-1]
        np.testing.assert_allclose(found[name], expected[ours], 1e-4, 1e-5)


def _save(path, function):
    module = tf.Module()
    spec = tf.TensorSpec((None, None, None, 3), tf.float32, name="x")
    module.__call__ = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(path))
    return str(path)


def test_input_range_of_a_foreign_saved_model(tmp_path, images):
    # Takes [0, 255]; was saved without the argument `training`.
    handle = _save(tmp_path / "m", lambda x: tf.reduce_mean(x, (1, 2)) / 255)
    backbone = open_backbone(handle, input_range=(0, 255), resolution=32)
    assert backbone.resolution == 32
    found = backbone.features(("pre_logits",))(images)["pre_logits"]
    np.testing.assert_allclose(found, images.mean((1, 2)), 1e-4)
    with pytest.raises(ValueError, match=r"low < high; got \(1, 0\)"):
        open_backbone(handle, input_range=(1, 0))


def test_saved_model_with_signatures_only(tmp_path, images):
    module = tf.Module()
    serve = tf.function(
        lambda x: {"mean": tf.reduce_mean(x, (1, 2))},
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    backbone = open_backbone(str(tmp_path))
    assert backbone.endpoints == ("pre_logits", "serving_default:mean")
    found = backbone.features(backbone.endpoints)(images)
    np.testing.assert_allclose(found["pre_logits"], images.mean((1, 2)), 1e-4)


def test_a_map_is_not_a_vector(tmp_path, images):
    backbone = open_backbone(_save(tmp_path / "m", lambda x: x + 1))
    with pytest.raises(ValueError, match=r"pre_logits must be one vector per"):
        backbone.features(("pre_logits",))(images)


def test_what_is_no_network(tmp_path):
    empty = tmp_path / "empty"
    tf.saved_model.save(tf.Module(), str(empty))
    with pytest.raises(ValueError, match="not callable.*signatures: none"):
        open_backbone(str(empty))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(ValueError, match="cannot be loaded as a SavedModel"):
        open_backbone(str(broken))


@pytest.mark.parametrize(
    "handle, init, message",
    [
        ("nowhere/1", None, "there is no"),
        ("missing.npz", None, "there is no"),
        ("bit_tinny", "random", 'Did you mean "bit_tiny"'),
        ("bit_tiny", None, "which weights"),
    ],
)
def test_handles_that_lead_nowhere(handle, init, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_backbone(handle, init)


def test_resolution_must_be_positive():
    with pytest.raises(ValueError, match="resolution must be >= 1; got 0"):
        open_backbone("bit_tiny", init="random", resolution=0)


def test_misspelt_endpoint():
    backbone = open_backbone("bit_tiny", init="random")
    with pytest.raises(ValueError, match='"blok3".*mean "block3".*It has: st'):
        backbone.features(("blok3",))
