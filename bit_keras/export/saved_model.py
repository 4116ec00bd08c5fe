"""A network as a reusable TF2 SavedModel.

The contract is TensorFlow Hub's: a callable of images and `training`, with
`variables`, `trainable_variables` and `regularization_losses`.  Whoever loads
it needs TensorFlow and nothing of this package.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from bit_keras import models
from bit_keras.data.preprocess import decode

# Classes that `serve_encoded` returns for each image.
_TOP = 5
FOLDED = (
    "This SavedModel was exported with --folded, for serving: its kernels are "
    "standardized already and cannot be fine-tuned. Export it again without "
    "--folded to train it."
)


@dataclasses.dataclass(frozen=True)
class Serving:
    """How `serve_encoded` goes from files to names.

    Attributes:
        resolution: Side in pixels that images are resized to.
        labels: Class names, as many as logits.
        activation: From logits to probabilities.
    """

    resolution: int
    labels: Sequence[str]
    activation: Literal["softmax", "sigmoid"] = "softmax"


def write(
    model: keras.Model,
    path: str | os.PathLike,
    serving: Serving | None = None,
    output: Literal["features", "logits"] = "features",
    trainable: bool = True,
) -> None:
    """Writes `model` as a SavedModel.

    Calling it takes float32 `(batch, height, width, 3)` in [0, 1], of any size
    that the model takes, and a Python bool `training`, and returns what
    `output` says.  Signatures, all for inference: `serving_default` (features),
    `logits` (if there is a head), `intermediates` (every endpoint, averaged
    over pixels or tokens, by name) and, with
    `serving`, `serve_encoded` (a batch of encoded images to the names and
    probabilities of the likeliest classes).

    Args:
        model: From `bit_keras.create_model`, in float32, from [-1, 1].
        path: The directory to write.
        serving: For `serve_encoded`; None: without.
        output: What calling returns.  A module that returns logits counts its
            head among its `variables`.
        trainable: False for a folded network: calling it with `training=True`
            is an error that says so.

    Raises:
        ValueError: For `output="logits"` of a model without head.

    Example:

    >>> model = models.create("bit_tiny", num_classes=0)
    >>> write(model, "exported")
    >>> images = tf.zeros((2, 40, 32, 3))
    >>> tf.saved_model.load("exported")(images).shape
    TensorShape([2, 256])
    """
    head = [v for v in model.variables if v.path.startswith("head/")]
    if output == "logits" and not head:
        raise ValueError(
            f'output="logits" needs a head, which {model.name} does not have.'
        )
    kept = {id(v) for v in head} if output == "features" else set()
    body = [v for v in model.variables if id(v) not in kept]
    obj = tf.train.Checkpoint()
    obj.variables = [v.value for v in body]
    obj.trainable_variables = [
        v.value for v in body if v.trainable and trainable
    ]
    obj.regularization_losses = [
        _penalty(v) for v in body if v.regularizer and trainable
    ]
    # A signature's variables must be found from the object, too.
    if kept:
        obj.head_variables = [v.value for v in head]
        obj.head = _head(model)
    call = _call(model, output, trainable)
    for training in (False, True):
        call.get_concrete_function(_images(model), training=training)
    obj.__call__ = call
    signatures = _signatures(model, obj, output)
    if serving and head:
        signatures["serve_encoded"] = _serve_encoded(
            signatures["logits"], serving
        )
    tf.saved_model.save(obj, os.fspath(path), signatures=signatures)


def read(path: str | os.PathLike) -> Any:
    """Loads a SavedModel, of ours or of others.

    Args:
        path: Its directory.

    Raises:
        ValueError: If it is damaged, or none.

    Example:

    >>> read("nothing")
    Traceback (most recent call last):
    ValueError: Cannot load "nothing" as a SavedModel: ...
    """
    try:
        return tf.saved_model.load(os.fspath(path))
    # The last is for a cut file of variables.
    except (OSError, ValueError, tf.errors.OpError, IndexError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f'Cannot load "{path}" as a SavedModel: {reason}'
        ) from error


def _images(model: keras.Model) -> tf.TensorSpec:
    return tf.TensorSpec(model.input_shape, tf.float32, name="images")


def _penalty(variable: keras.Variable) -> Callable[[], tf.Tensor]:
    def penalty() -> tf.Tensor:
        return tf.convert_to_tensor(variable.regularizer(variable.value))

    return tf.function(penalty, input_signature=())


def _call(model: keras.Model, output: str, trainable: bool) -> Any:
    name = {"features": "pre_logits", "logits": "logits"}[output]
    network = models.endpoints(model, name)

    def run(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return network(images * 2 - 1, training=training)[name]

    # Layers that behave differently in training keep statistics or a seed.
    # Without them one trace serves for both: less memory, time and disk.
    if not model.non_trainable_variables:
        shared = tf.function(
            run, input_signature=(_images(model),), autograph=False
        )

        def run(images: tf.Tensor, training: bool = False) -> tf.Tensor:
            return shared(images)

    # What is saved is a graph: nothing here is Python control flow of tensors.
    @tf.function(autograph=False)
    def call(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training and not trainable:
            # In the graph, so that it is said wherever this is loaded.
            refuse = tf.debugging.Assert(False, [FOLDED])
            with tf.control_dependencies([refuse]):
                images = tf.identity(images)
        return run(images, training)

    return call


def _head(model: keras.Model) -> Any:
    """Returns the function from features to logits."""
    width = model.endpoint_tensors["pre_logits"].shape[-1]
    spec = tf.TensorSpec((None, width), tf.float32, name="features")

    @tf.function(input_signature=(spec,), autograph=False)
    def head(features: tf.Tensor) -> tf.Tensor:
        return model.get_layer("head")(features)

    return head


def _signatures(
    model: keras.Model, obj: Any, output: str
) -> dict[str, tf.types.experimental.GenericFunction]:
    """Returns the signatures that take images, by name."""
    every = models.endpoints(model, tuple(model.endpoint_tensors))

    def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if output == "features":
            return {"features": obj.__call__(images, training=False)}
        network = models.endpoints(model, "pre_logits")
        ends = network(images * 2 - 1, training=False)
        return {"features": ends["pre_logits"]}

    def logits(images: tf.Tensor) -> dict[str, tf.Tensor]:
        result = obj.__call__(images, training=False)
        return {"logits": result if output == "logits" else obj.head(result)}

    def intermediates(images: tf.Tensor) -> dict[str, tf.Tensor]:
        ends = every(images * 2 - 1, training=False)
        return {name: pooled(tensor) for name, tensor in ends.items()}

    functions = {"serving_default": features, "intermediates": intermediates}
    if "logits" in model.endpoint_tensors:
        functions["logits"] = logits
    return {
        name: tf.function(
            function, input_signature=(_images(model),), autograph=False
        )
        for name, function in functions.items()
    }


def pooled(tensor: tf.Tensor) -> tf.Tensor:
    """Averages an endpoint over its pixels or tokens.

    Args:
        tensor: `(batch, height, width, channels)`, `(batch, tokens, channels)`
            or `(batch, channels)`.

    Returns:
        `(batch, channels)`.

    Example:

    >>> pooled(tf.ones((2, 4, 3, 8))).shape
    TensorShape([2, 8])
    """
    return tf.reduce_mean(tensor, range(1, tensor.shape.rank - 1))


def pooling(model: keras.Model) -> dict[str, str]:
    """Returns how each endpoint but the logits becomes one vector, by name.

    Args:
        model: From `bit_keras.create_model`.

    Example:

    >>> pooling(models.create("bit_tiny", num_classes=3))["pre_logits"]
    'spatial average'
    """
    kinds = {4: "spatial average", 3: "token average"}
    made, last = {}, ""
    for name, tensor in model.endpoint_tensors.items():
        # What is a vector already was made from what came before it.
        last = made[name] = kinds.get(len(tensor.shape), last)
    made.pop("logits", None)
    if model.get_config().get("pool") == "token":
        made["pre_logits"] = "class token"
    return made


def _serve_encoded(logits: Any, serving: Serving) -> Any:
    side = serving.resolution
    labels = tf.constant(list(serving.labels), tf.string)
    top = min(_TOP, len(serving.labels))
    activation = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}[
        serving.activation
    ]

    def prepare(encoded: tf.Tensor) -> tf.Tensor:
        # As in evaluation: the whole image, bilinear, without antialiasing.
        return tf.image.resize(decode(encoded), (side, side)) / 255.0

    def serve_encoded(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            prepare,
            encoded,
            fn_output_signature=tf.TensorSpec((side, side, 3), tf.float32),
        )
        scores = activation(logits(images)["logits"])
        probabilities, indices = tf.math.top_k(scores, top)
        return {
            "classes": tf.gather(labels, indices),
            "probabilities": probabilities,
        }

    spec = tf.TensorSpec((None,), tf.string, name="encoded")
    return tf.function(serve_encoded, input_signature=(spec,), autograph=False)
