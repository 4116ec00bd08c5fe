"""Who can use an export, and how: a snippet of code for each."""

import dataclasses
import string

from bit_keras.export.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Consumer:
    """One way to use an export.

    Attributes:
        name: Of the library or layer.
        note: What to know before, as Markdown.
        code: Python, to run in the export's own folder.
    """

    name: str
    note: str
    code: str


_IMAGES = """\
# Two random images; yours are float32, RGB, in [0, 1].
images = tf.random.uniform((2, $resolution, $resolution, 3))"""

_TENSORFLOW = """\
import tensorflow as tf

$images

loaded = tf.saved_model.load(".")
print(loaded(images, training=False).shape)
for name in $signatures:
    outputs = loaded.signatures[name](images)
    print(name, {key: value.shape for key, value in outputs.items()})
"""

_HUB = """\
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

$images
labels = tf.constant([0, 1])

print(hub.load(".")(images, training=False).shape)
model = tf_keras.Sequential(
    [
        hub.KerasLayer(".", trainable=$trainable),
        tf_keras.layers.Dense(2),
    ]
)
model.compile(
    optimizer=tf_keras.optimizers.SGD(0.003, momentum=0.9),
    loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(images, labels, epochs=1)
"""

_TFSM_LAYER = """\
import keras
import tensorflow as tf

$images

layer = keras.layers.TFSMLayer(".", call_endpoint="serving_default")
for name, value in layer(images).items():
    print(name, value.shape)
"""

_SAVED_MODEL_LAYER = """\
import bit_keras
import keras
import tensorflow as tf

$images
labels = tf.constant([0, 1])

model = keras.Sequential(
    [
        bit_keras.SavedModelLayer(".", trainable=$trainable),
        keras.layers.Dense(2),
    ]
)
model.compile(
    optimizer=keras.optimizers.SGD(0.003, momentum=0.9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(images, labels, epochs=1)
"""

_SERVE_ENCODED = """\
import tensorflow as tf

# A JPEG of random pixels; yours come from tf.io.read_file, JPEG or PNG.
pixels = tf.random.uniform((48, 64, 3), maxval=256, dtype=tf.int32)
files = tf.stack([tf.io.encode_jpeg(tf.cast(pixels, tf.uint8))])

loaded = tf.saved_model.load(".")
answer = loaded.signatures["serve_encoded"](files)
for label, share in zip(answer["classes"][0], answer["probabilities"][0]):
    print(label.numpy().decode(), float(share))
"""


def consumers(manifest: Manifest, encoded: bool = False) -> list[Consumer]:
    """Lists the consumers of an export.

    Args:
        manifest: Of an export that has a SavedModel.
        encoded: Whether it has the signature `serve_encoded`.

    Returns:
        TensorFlow, TensorFlow Hub, `keras.layers.TFSMLayer`,
        `bit_keras.SavedModelLayer` and, if `encoded`, `serve_encoded`.
    """
    training = (
        "trains a new layer on frozen features"
        if manifest.folded
        else "fine-tunes with a new layer on top"
    )
    listed = [
        ("TensorFlow", "Needs TensorFlow alone.", _TENSORFLOW),
        (
            "TensorFlow Hub",
            f"`hub.KerasLayer` {training}. It works in tf_keras, not in Keras "
            "3, and its import needs an older setuptools: `pip install "
            'tensorflow tensorflow-hub tf_keras "setuptools<82"`.',
            _HUB,
        ),
        (
            "keras.layers.TFSMLayer",
            "Inference in Keras 3 (TensorFlow backend), without bit_keras.",
            _TFSM_LAYER,
        ),
        (
            "bit_keras.SavedModelLayer",
            f"In Keras 3 (TensorFlow backend); {training}, with any optimizer.",
            _SAVED_MODEL_LAYER,
        ),
    ]
    if encoded:
        note = (
            "JPEG or PNG bytes in, the likeliest classes and their "
            "probabilities out."
        )
        listed.append(("serve_encoded", note, _SERVE_ENCODED))
    values = _values(manifest)
    return [
        Consumer(name, note, string.Template(code).substitute(values))
        for name, note, code in listed
    ]


def _values(manifest: Manifest) -> dict[str, str]:
    """Returns what the templates leave open; no text that a user chose."""
    signatures = ["serving_default", "intermediates"]
    if manifest.num_classes:
        signatures.append("logits")
    quoted = ", ".join(f'"{name}"' for name in signatures)
    resolution = int(manifest.preprocessing["resolution"])
    return {
        "images": string.Template(_IMAGES).substitute(resolution=resolution),
        "signatures": f"({quoted})",
        "trainable": str(not manifest.folded),
    }
