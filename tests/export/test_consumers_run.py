"""Consumers: each way to use an export, in a process without bit_keras."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from bit_keras import models
from bit_keras.export import card, exporter, manifest, saved_model
from bit_keras.export.consumers import consumers
from bit_keras.export.folding import fold
from bit_keras.export.hub import import_hub
from bit_keras.export.options import Options
from bit_keras.export.source import Loaded

OURS = "bit_keras.SavedModelLayer"

# Prints one JSON object of all that the tests below look at.
USE = """
import json
import keras
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

export, folded = sys.argv[1:3]
with np.load(sys.argv[3]) as data:
    images, labels = data["images"], data["labels"]
found = {}

def rows(tensor):
    return np.asarray(tensor).tolist()

def train(layer):
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(10)])
    model.compile(
        optimizer=tf_keras.optimizers.SGD(0.003, momentum=0.9),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.build((None, 32, 32, 3))
    before = [v.numpy() for v in layer.variables]
    history = model.fit(images, labels, batch_size=16, epochs=5, verbose=0)
    return {
        "loss": history.history["loss"],
        "changed": [
            bool(np.any(a != b.numpy()))
            for a, b in zip(before, layer.variables)
        ],
        "trainable": len(layer.trainable_weights),
        "penalties": len(layer.losses),
    }

few = tf.constant(images[:3])
wide = tf.constant(images[:1, :, :40])
found["wide"] = rows(wide)
for name, load in {"tf": tf.saved_model.load, "hub": hub.load}.items():
    loaded = load(export)
    found[f"{name} load"] = rows(loaded(few, training=False))
    found[f"{name} load, training"] = rows(loaded(few, training=True))
    found[f"{name} load, wide"] = rows(loaded(wide))
found["eager"] = rows(hub.KerasLayer(export)(few))
found["trained"] = train(hub.KerasLayer(export, trainable=True))
found["frozen"] = train(hub.KerasLayer(export, trainable=False))

found["signatures"] = {}
for name in loaded.signatures:
    layer = hub.KerasLayer(
        export, signature=name, signature_outputs_as_dict=True
    )
    given = few
    if name == "serve_encoded":
        pixels = tf.cast(few[0] * 255, tf.uint8)
        given = tf.stack([tf.io.encode_png(pixels)])
    outputs = layer(given)
    found["signatures"][name] = {
        key: [[x.decode() for x in row] for row in value.numpy()]
        if value.dtype == tf.string else rows(value)
        for key, value in outputs.items()
    }
layer = hub.KerasLayer(export, signature="logits", output_key="logits")
found["output key"] = rows(layer(few))

layer = keras.layers.TFSMLayer(export, call_endpoint="serving_default")
model = keras.Sequential([keras.Input((32, 32, 3)), layer])
(value,) = model.predict(images[:3], verbose=0).values()
found["TFSMLayer"] = rows(value)

found["folded"] = rows(hub.KerasLayer(folded)(few))
try:
    train(hub.KerasLayer(folded, trainable=True))
except tf.errors.InvalidArgumentError as error:
    found["folded, trainable"] = str(error)
print(json.dumps(found))
"""

SNIPPETS = """
import json
import os

for folder, snippets in json.load(open(sys.argv[1])).items():
    os.chdir(folder)
    for name, code in snippets.items():
        print("#", name, flush=True)
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
"""


@pytest.fixture(scope="module")
def loaded(unit):
    labels = tuple(f"digit {i}" for i in range(10))
    return Loaded(unit, "one_unit", labels, resolution=32)


@pytest.fixture(scope="module")
def export(loaded, tmp_path_factory, unverified):
    out = tmp_path_factory.mktemp("exports")
    with unverified():
        return exporter.export(loaded, out, Options(), str)


@pytest.fixture(scope="module")
def folded(loaded, tmp_path_factory):
    path = tmp_path_factory.mktemp("folded")
    saved_model.write(fold(loaded.model), path, trainable=False)
    return path


@pytest.fixture(scope="module")
def used(export, folded, digits, run_apart, tmp_path_factory):
    """What users of other libraries get."""
    folder = tmp_path_factory.mktemp("elsewhere")
    images, labels = digits
    np.savez(folder / "digits.npz", images=images, labels=labels)
    out = run_apart(USE, folder, export, folded, folder / "digits.npz")
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def expected(loaded, digits):
    """Every output of the source for the first three digits."""
    model = loaded.model
    ends = models.endpoints(model, tuple(model.endpoint_tensors))
    values = ends(digits[0][:3] * 2 - 1)
    return {name: saved_model.pooled(v).numpy() for name, v in values.items()}


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loader", ["tf", "hub"])
def test_it_loads_and_can_be_called(used, expected, loaded, loader):
    close(used[f"{loader} load"], expected["pre_logits"])
    close(used[f"{loader} load, training"], expected["pre_logits"])
    network = models.endpoints(loaded.model, "pre_logits")
    wide = network(np.array(used["wide"], "float32") * 2 - 1)
    close(used[f"{loader} load, wide"], wide["pre_logits"])


def test_hub_layer_fine_tunes(used, loaded, expected):
    close(used["eager"], expected["pre_logits"])
    trained = used["trained"]
    assert trained["loss"][-1] < trained["loss"][0]
    assert len(trained["changed"]) == len(loaded.model.variables) - 2
    assert all(trained["changed"])
    kernels = [v for v in loaded.model.variables if v.regularizer]
    # All but that of the head.
    assert trained["penalties"] == len(kernels) - 1 > 0


def test_hub_layer_stays_frozen(used):
    frozen = used["frozen"]
    assert len(frozen["changed"]) == len(used["trained"]["changed"])
    assert not any(frozen["changed"])
    assert frozen["trainable"] == 0
    # The new head learns all the same.
    assert frozen["loss"][-1] < frozen["loss"][0]


def test_hub_layer_has_every_signature(used, expected, loaded):
    signatures = used["signatures"]
    assert set(signatures) == {
        "serving_default",
        "logits",
        "intermediates",
        "serve_encoded",
    }
    close(signatures["serving_default"]["features"], expected["pre_logits"])
    close(signatures["logits"]["logits"], expected["logits"])
    close(used["output key"], expected["logits"])
    assert set(signatures["intermediates"]) == set(expected)
    for name, value in signatures["intermediates"].items():
        close(value, expected[name])
    answer = signatures["serve_encoded"]
    assert set(answer["classes"][0]) < set(loaded.labels)
    assert sum(answer["probabilities"][0]) <= 1


def test_keras_own_layer_infers(used, expected):
    close(used["TFSMLayer"], expected["pre_logits"])


def test_a_folded_export_says_that_it_cannot_be_trained(used, expected):
    limit = 1e-5 * np.abs(expected["pre_logits"]).max()
    assert np.abs(used["folded"] - expected["pre_logits"]).max() <= limit
    assert saved_model.FOLDED in used["folded, trainable"]


@pytest.mark.slow
def test_every_snippet_of_the_card_runs(
    export, folded, run_apart, tmp_path, monkeypatch, capsys
):
    cards = {
        str(export): card.snippets((export / "README.md").read_text()),
        # Those that differ on the card of a folded export.
        str(folded): {
            consumer.name: consumer.code
            for consumer in consumers(
                dataclasses.replace(manifest.read(export), folded=True)
            )
            if "trainable" in consumer.code
        },
    }
    assert list(cards[str(export)]) == [
        "TensorFlow",
        "TensorFlow Hub",
        "keras.layers.TFSMLayer",
        OURS,
        "serve_encoded",
    ]
    ours = {folder: codes.pop(OURS) for folder, codes in cards.items()}
    (tmp_path / "snippets.json").write_text(json.dumps(cards))
    out = run_apart(SNIPPETS, tmp_path, tmp_path / "snippets.json")
    shown = dict(part.split("\n", 1) for part in out.split("# ")[1:6])
    assert "(2, 64)" in shown["TensorFlow"]
    assert "logits {'logits': TensorShape([2, 10])}" in shown["TensorFlow"]
    assert "(2, 64)" in shown["TensorFlow Hub"]
    assert "features (2, 64)" in shown["keras.layers.TFSMLayer"]
    assert len(shown["serve_encoded"].splitlines()) == 5
    # Ours needs this package, and warns of nothing.
    for folder, code in ours.items():
        monkeypatch.chdir(folder)
        exec(compile(code, OURS, "exec"), {"__name__": "__main__"})
        assert "loss" in capsys.readouterr().out


def test_tensorflow_hub_can_be_imported(monkeypatch):
    """With the setuptools that our requirements allow; or it says why not."""
    assert import_hub().load
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    for name in list(sys.modules):
        if name.split(".")[0] == "tensorflow_hub":
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"pip install 'setuptools<82'"):
        import_hub()
