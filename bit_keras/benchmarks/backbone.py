"""Any network, by any handle, as a function to pooled features."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras import models, released
from bit_keras.benchmarks import foreign
from bit_keras.export import handles, manifest, source
from bit_keras.export.saved_model import pooled
from bit_keras.recipe import did_you_mean

# Of a SavedModel that does not say; our models say it themselves.
_RESOLUTION = 224
_INPUT_RANGE = (0.0, 1.0)

Extractor = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A frozen network whose endpoints give one vector for each image.

    Attributes:
        name: For tables: "bit_tiny/1", "bit_r50x1.i21k".
        sha256: Of its weights and structure (hexadecimal).
        upstream: Images it was pre-trained on, if known.
        resolution: Side in pixels of the images it is best used with.
        endpoints: What `features` can return; "pre_logits" is always there.
        num_classes: Outputs of its head; 0: none, or unknown.
        handle: What it was opened from.
        input_range: What images in [0, 1] are mapped to before they enter.
        trace: Makes what `features` returns.
        labels: Class names of its head; (): none, or unknown.
    """

    name: str
    sha256: str
    upstream: str | None
    resolution: int
    endpoints: tuple[str, ...]
    num_classes: int
    handle: str
    input_range: tuple[float, float]
    trace: Callable[[tuple[str, ...]], Extractor] = dataclasses.field(
        repr=False, compare=False
    )
    labels: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    def features(self, names: tuple[str, ...]) -> Extractor:
        """Returns a graph function from images to the named endpoints.

        Args:
            names: Some of `endpoints`.

        Returns:
            A `tf.function`, the same for the same names, from float32
            `(batch, height, width, 3)` in [0, 1] to a dict from name to float32
            `(batch, features)`; spatial endpoints are averaged over pixels.

        Raises:
            ValueError: For a name that is not an endpoint.

        Example:

        >>> backbone = open_backbone("bit_tiny", init="random")
        >>> function = backbone.features(("block1", "pre_logits"))
        >>> function(tf.zeros((2, 32, 32, 3)))["pre_logits"].shape
        TensorShape([2, 256])
        """
        for name in names:
            if name not in self.endpoints:
                raise ValueError(
                    f'{self.name} has no endpoint "{name}".'
                    f"{did_you_mean(name, self.endpoints)} It has: "
                    f"{', '.join(self.endpoints)}."
                )
        return self.trace(tuple(names))


def open_backbone(
    handle: str,
    init: str | None = None,
    *,
    resolution: int | None = None,
    input_range: tuple[float, float] | None = None,
) -> Backbone:
    """Opens the network to be measured.

    Args:
        handle: An export (`python -m bit_keras.export`), another SavedModel, an
            archive of one, or the address of one (http(s) or TensorFlow Hub);
            a run directory, `.npz`, `.h5` or `.keras` file; a released name;
            or, with `init`, the name of a model.
        init: Weights for a model named by `handle`: a file, a released name, a
            run directory, or "random" (fresh weights, always the same).
        resolution: Side in pixels of its images; None: what it says itself,
            or 224.
        input_range: Of the images that a SavedModel of others expects; None:
            [0, 1].

    Returns:
        A `Backbone`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: For a handle that cannot be opened as a network, and for an
            `input_range` of a network that needs none.

    Example:

    >>> backbone = open_backbone("bit_tiny", init="random", resolution=32)
    >>> backbone.name, backbone.resolution
    ('bit_tiny.random', 32)
    """
    if resolution is not None and resolution < 1:
        raise ValueError(f"resolution must be >= 1; got {resolution}.")
    if init is not None or is_weights(handle):
        backbone = _open_weights(handle, init)
    else:
        directory = Path(handles.resolve(handle))
        if not (directory / manifest.FILE).exists():
            return _open_foreign(
                directory,
                handle,
                resolution or _RESOLUTION,
                input_range or _INPUT_RANGE,
            )
        backbone = _open_export(directory, handle)
    if input_range is not None:
        raise ValueError(
            "input_range is for SavedModels without model.json; "
            f"{backbone.name} always takes [0, 1]. Leave it out."
        )
    if resolution is not None:
        backbone = dataclasses.replace(backbone, resolution=resolution)
    return backbone


def is_weights(handle: str) -> bool:
    """Whether a handle is for `export.source`, and no SavedModel.

    Args:
        handle: As for `open_backbone`, without `init`.

    Example:

    >>> is_weights("mine.npz"), is_weights("exports/bit_tiny/1")
    (True, False)
    """
    path = Path(os.path.expanduser(handle))
    return (
        handle in models.names()
        or handle in released.names()
        or path.suffix in (".npz", ".h5", ".keras")
        or (path / "recipe.json").exists()
    )


def _open_weights(handle: str, init: str | None) -> Backbone:
    loaded = source.load(handle, init)
    model = loaded.model

    def trace(names: tuple[str, ...]) -> Extractor:
        network = models.endpoints(model, names)

        # Our networks take [-1, 1].
        @tf.function(autograph=False)
        def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
            ends = network(images * 2 - 1, training=False)
            return {
                name: tf.cast(pooled(ends[name]), tf.float32) for name in names
            }

        return features

    return Backbone(
        name=_display_name(handle, init),
        sha256=_digest(model),
        upstream=loaded.upstream,
        resolution=loaded.resolution,
        endpoints=tuple(model.endpoint_tensors),
        num_classes=model.num_classes,
        handle=handle,
        input_range=_INPUT_RANGE,
        trace=functools.cache(trace),
        labels=tuple(loaded.labels),
    )


def _display_name(handle: str, init: str | None) -> str:
    """Returns "bit_r50x1.i21k", "bit_tiny.random" or the name of a file."""
    if init in released.names():
        return init
    name = _file_name(handle)
    return f"{name}.{_file_name(init)}" if init else name


def _file_name(handle: str) -> str:
    """Returns the name of a file without its ending, or of a folder."""
    path = Path(os.path.expanduser(handle))
    if path.is_dir():
        return path.resolve().name
    return path.resolve().stem if path.exists() else handle


def _digest(model: keras.Model) -> str:
    config = {**model.get_config(), "name": None}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for variable in model.variables:
        digest.update(variable.path.encode())
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()


def _open_export(directory: Path, handle: str) -> Backbone:
    card = manifest.read(directory)
    loaded = foreign.load(directory)
    intermediates = loaded.signatures["intermediates"]

    def trace(names: tuple[str, ...]) -> Extractor:
        @tf.function(autograph=False)
        def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
            # What is not asked for is pruned from the graph.
            ends = foreign.call(intermediates, images)
            return {name: ends[name] for name in names}

        features.module = loaded  # Or its variables would be collected.
        return features

    labels = directory / "labels.txt"
    names = labels.read_text("utf-8").splitlines() if labels.exists() else ()
    return Backbone(
        name=f"{card.name}/{card.version}",
        sha256=manifest.digest(directory),
        upstream=card.upstream,
        resolution=card.preprocessing["resolution"],
        endpoints=tuple(card.endpoints),
        num_classes=card.num_classes,
        handle=handle,
        input_range=_INPUT_RANGE,
        trace=functools.cache(trace),
        labels=tuple(names),
    )


def _open_foreign(
    directory: Path,
    handle: str,
    resolution: int,
    input_range: tuple[float, float],
) -> Backbone:
    low, high = input_range
    if low >= high:
        raise ValueError(
            f"input_range must be (low, high), low < high; got {input_range}."
        )
    loaded = foreign.load(directory)
    functions = foreign.endpoints(loaded)
    if "pre_logits" not in functions:
        raise ValueError(
            f'"{handle}" cannot be measured: it is not callable, and has no '
            'signature "serving_default" from one float32 image batch to one '
            f"output. Its signatures: {', '.join(loaded.signatures) or 'none'}."
        )

    def trace(names: tuple[str, ...]) -> Extractor:
        @tf.function(autograph=False)
        def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
            images = images * (high - low) + low
            return {
                name: foreign.vectors(
                    f"{handle}: {name}", functions[name](images)
                )
                for name in names
            }

        features.module = loaded  # Or its variables would be collected.
        return features

    return Backbone(
        name=handle,
        sha256=manifest.digest(directory),
        upstream=None,
        resolution=resolution,
        endpoints=tuple(functions),
        num_classes=0,
        handle=handle,
        input_range=(float(low), float(high)),
        trace=functools.cache(trace),
    )
