"""A SavedModel as a Keras 3 layer that can be fine-tuned.

`hub.KerasLayer` is not a layer of Keras 3, `keras.layers.TFSMLayer` cannot be
trained with momentum or Adam, and a `Lambda` silently trains nothing.
"""

import functools
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from bit_keras.export import handles, saved_model
from bit_keras.recipe import did_you_mean

# Beyond what resizing can overshoot of [0, 1].
_LOWEST, _HIGHEST = -0.5, 2.0
# Of image batches, if nothing else is known.
_ANY = (None, None, None, 3)
_OUT_OF_RANGE = (
    "SavedModelLayer expects images in [0, 1], but these go outside. Divide "
    "images in [0, 255] by 255 (or pass them as uint8, in a model through "
    'keras.Input(..., dtype="uint8")); of images in [-1, 1] take (x + 1) / 2.'
)


@keras.saving.register_keras_serializable("bit_keras")
class SavedModelLayer(keras.layers.Layer):
    """Runs, and fine-tunes, a reusable SavedModel in a Keras 3 model.

    Works with any optimizer, mixed precision (it computes in float32 itself),
    `.keras` files (which refer to the handle) and `tf.distribute` (make it in
    the strategy's scope).  Loading a SavedModel runs its graph: load only what
    you trust; `python -m bit_keras.export --verify DIR` compares an export with
    its checksums.

    Args:
        handle: Directory of an export; an archive of one (`.tar.gz`); an
            https handle, taken from TensorFlow Hub's cache if it is there.
        trainable: Whether to fine-tune its weights.  Frozen, it also runs in
            inference mode.
        endpoint: None: what calling the SavedModel returns (pooled features).
            "logits", or one of the pooled intermediates such as
            "block2/unit01" (not trainable).
        **kwargs: As `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, 3)`, float in [0, 1], or uint8 (in a
            model only through `keras.Input(..., dtype="uint8")`: without, Keras
            makes floats of them).
        training: Python bool; reaches the SavedModel.

    Returns:
        float32 `(batch, features)`.

    Raises:
        FileNotFoundError: If there is nothing at the handle.
        ValueError: If it is not a SavedModel, has no such endpoint, or cannot
            be trained as asked.

    Example:

    >>> from bit_keras import models
    >>> from bit_keras.export import saved_model
    >>> network = models.create("bit_tiny", num_classes=0)
    >>> saved_model.write(network, "exported")
    >>> layer = SavedModelLayer("exported")
    >>> model = keras.Sequential([layer, keras.layers.Dense(10)])
    >>> model(tf.zeros((2, 32, 32, 3))).shape
    TensorShape([2, 10])
    """

    def __init__(
        self,
        handle: str | os.PathLike,
        trainable: bool = True,
        endpoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        # A mixed policy would feed it bfloat16, which it was not traced for.
        kwargs.setdefault("dtype", "float32")
        super().__init__(trainable=trainable, **kwargs)
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "SavedModelLayer needs the TensorFlow backend of Keras; this "
                f"process has {keras.backend.backend()}. Set KERAS_BACKEND="
                "tensorflow before Keras is imported."
            )
        # XLA would compile the whole SavedModel again in every training step.
        self.supports_jit = False
        path = handles.resolve(handle)
        self.handle = _lasting(os.fspath(handle))
        self.endpoint = endpoint
        self._object = saved_model.read(path)
        self._run, variables = self._choose(endpoint)
        # What other modules expect of images, nobody wrote down.
        self._is_ours = (path / "model.json").exists()
        self._shape = _ANY
        if self._is_ours:
            self._shape = _image_shape(self._object)
        if trainable:
            self._check_trainable()
        self._warned = False
        self._penalties = list(
            getattr(self._object, "regularization_losses", ())
        )
        self._track(variables)
        self.built = True

    def _choose(self, endpoint: str | None) -> tuple[Callable, Sequence]:
        """Returns what to run on images and `training`, and its variables."""
        loaded = self._object
        signatures = getattr(loaded, "signatures", {})
        if endpoint is None or (endpoint == "logits" and _has_head(loaded)):
            if not callable(loaded):
                raise ValueError(
                    f'"{self.handle}" can only be called by signature: pass '
                    f"endpoint, one of {', '.join(signatures)}."
                )
            run = functools.partial(_call, loaded)
            variables = list(getattr(loaded, "variables", ()))
            if endpoint == "logits":
                variables += list(loaded.head_variables)
                return lambda x, training: loaded.head(run(x, training)), (
                    variables
                )
            return run, variables
        outputs = _outputs(signatures)
        if endpoint not in outputs:
            raise ValueError(
                f'"{self.handle}" has no endpoint "{endpoint}".'
                f"{did_you_mean(endpoint, outputs)} It has: "
                f"{', '.join(sorted(outputs))}."
            )
        signature, key = outputs[endpoint]
        return (
            lambda x, training: signature(x)[key],
            list(signature.variables),
        )

    def _check_trainable(self) -> None:
        if self.endpoint is not None and not (
            self.endpoint == "logits" and _has_head(self._object)
        ):
            raise ValueError(
                f'endpoint="{self.endpoint}" is for inference: pass '
                "trainable=False, or leave endpoint out."
            )
        if not len(getattr(self._object, "trainable_variables", ())):
            reason = f'"{self.handle}" has no trainable variables.'
            if self._is_ours:
                reason = saved_model.FOLDED
            raise ValueError(f"{reason} Or pass trainable=False.")

    def _track(self, variables: Sequence[tf.Variable]) -> None:
        trainable = {
            id(v)
            for name in ("trainable_variables", "head_variables")
            for v in getattr(self._object, name, ())
        }
        for variable in variables:
            # Optimizers name their slots after it; Keras allows no more.
            name = re.sub(
                r"[^A-Za-z0-9_.-]", "_", variable.name.partition(":")[0]
            )
            # Given a tf.Variable, a Keras variable shares its storage.
            self._track_variable(
                keras.Variable(
                    initializer=variable,
                    shape=variable.shape,
                    dtype=variable.dtype.name,
                    trainable=id(variable) in trainable,
                    name=name,
                )
            )

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        images = tf.convert_to_tensor(inputs)
        if not (images.dtype.is_integer or images.dtype.is_floating):
            raise ValueError(
                "SavedModelLayer takes float images in [0, 1] or uint8; got "
                f"{images.dtype.name}."
            )
        _check_shape(images.shape, self._shape)
        if images.dtype.is_integer:
            images = tf.cast(images, tf.float32) / 255.0
        elif self._is_ours:
            images = self._checked(images)
        images = tf.cast(images, tf.float32)
        if self._shape[1] is not None:
            images = tf.ensure_shape(images, self._shape)
        outputs = self._run(images, bool(training) and self.trainable)
        if self.trainable:
            for penalty in self._penalties:
                self.add_loss(penalty())
        return outputs

    def _checked(self, images: tf.Tensor) -> tf.Tensor:
        """Warns once if the images are not in [0, 1]; changes nothing."""
        outside = (tf.reduce_min(images) < _LOWEST) | (
            tf.reduce_max(images) > _HIGHEST
        )
        if not tf.executing_eagerly():
            # A Python warning cannot be given from a graph, which must also
            # be one that can be saved.
            warn = functools.partial(
                tf.raw_ops.Print,
                input=images,
                data=[],
                message=_OUT_OF_RANGE,
                first_n=1,
            )
            return tf.cond(outside, warn, lambda: images)
        if outside and not self._warned:
            self._warned = True
            warnings.warn(_OUT_OF_RANGE, stacklevel=3)
        return images

    def compute_output_spec(
        self, inputs: keras.KerasTensor, training: bool = False
    ) -> keras.KerasTensor:
        _check_shape(inputs.shape, self._shape)
        spec = tf.TensorSpec(self._shape, tf.float32)
        traced = tf.function(self._run, autograph=False)
        output = traced.get_concrete_function(spec, False).structured_outputs
        return tf.nest.map_structure(
            lambda o: keras.KerasTensor(
                (inputs.shape[0], *o.shape[1:]), o.dtype.name
            ),
            output,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "handle": self.handle,
            "endpoint": self.endpoint,
        }


def _lasting(handle: str) -> str:
    """Returns a handle that is good from any working directory."""
    if "://" in handle:
        return handle
    path = Path(os.path.expanduser(handle))
    return (
        os.path.abspath(path)
        if path.exists()
        else (handles.official_handle(handle))
    )


def _image_shape(loaded: Any) -> tuple[int | None, ...]:
    """Returns the shape of image batches that an export of ours takes."""
    signature = loaded.signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    return tuple(spec.shape)


def _check_shape(
    shape: Sequence[int | None] | tf.TensorShape,
    wanted: tuple[int | None, ...],
) -> None:
    # Inside tf.data or tf.function, nothing may be known yet.
    shape = tf.TensorShape(shape)
    if not shape.is_compatible_with(wanted):
        _, height, width, _ = wanted
        raise ValueError(
            "SavedModelLayer takes images of shape (batch, "
            f"{height or 'height'}, {width or 'width'}, 3); got {shape}."
        )


def _has_head(loaded: Any) -> bool:
    return hasattr(loaded, "head") and hasattr(loaded, "head_variables")


def _call(loaded: Any, images: tf.Tensor, training: bool) -> Any:
    # Some modules of others make no difference between the two.
    names = loaded.__call__.function_spec.fullargspec
    if "training" in names.args + names.kwonlyargs:
        return loaded(images, training=training)
    return loaded(images)


def _outputs(signatures: Any) -> dict[str, tuple[Any, str]]:
    """Returns endpoint -> signature of images, and its output's key."""
    found = {}
    for name, signature in signatures.items():
        specs = signature.structured_input_signature[1].values()
        if [spec.dtype for spec in specs] != [tf.float32]:
            continue
        keys = list(signature.structured_outputs)
        if len(keys) == 1:
            found[name] = (signature, keys[0])
        for key in keys:
            found.setdefault(key, (signature, key))
    return found
