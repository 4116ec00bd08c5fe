"""What an export starts from: a run, a weight file, a model by name."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Literal

import keras

from bit_keras import checkpoints, models, released
from bit_keras.checkpoint_files import open_arrays, reading
from bit_keras.checkpoint_names import HIDDEN
from bit_keras.checkpoint_network import check_claims, recognize
from bit_keras.checkpoint_report import describe
from bit_keras.export import manifest, saved_model
from bit_keras.export.loaded import Loaded, resolution_of
from bit_keras.export.loading import load_model
from bit_keras.export.options import check_source
from bit_keras.export.run import load_run, upstream_of
from bit_keras.stored_arrays import check_size

__all__ = ["Loaded", "load"]


def load(
    source: str | os.PathLike,
    init: str | None = None,
    weights: Literal["final", "best"] = "final",
) -> Loaded:
    """Loads what `python -m bit_keras.export SOURCE` names.

    Args:
        source: The directory of a finished run; an official `.npz` (or `.h5`)
            file, whose network is recognized by its arrays; a `.keras` file;
            an export; a released name such as "bit_r50x1.i21k"; or, with
            `init`, the name of a model.
        init: Weights for a model named by `source`: file, released name, run
            directory, or "random".
        weights: Of a run: after the last step, or of its best evaluation.

    Raises:
        FileNotFoundError: If there is no such file, or the run has not
            finished.
        ValueError: If `source` is none of these, or cannot be read.

    Example:

    >>> load("bit_tiny", init="random").model.num_classes
    0
    """
    path = Path(os.path.expanduser(source))
    is_run = path.is_dir() and not (path / manifest.FILE).is_file()
    if weights != "final" and (init is not None or not is_run):
        raise ValueError(
            f"--weights {weights} is for the directory of a run, which "
            f'"{source}" is not. Leave it out.'
        )
    if init is not None:
        return _load_named(str(source), init)
    if (path / manifest.FILE).is_file():
        return _load_export(path)
    if is_run:
        return load_run(path, weights)
    if path.is_file():
        return _load_file(path)
    if str(source) in released.names():
        return _load_released(str(source))
    check_source(source, init)
    raise FileNotFoundError(f'there is no file "{source}".')


def _load_export(path: Path) -> Loaded:
    """Rebuilds the Keras model of an export from its SavedModel."""
    facts = manifest.read(path)
    if facts.folded:
        raise ValueError(f'"{path}": {saved_model.FOLDED}')
    saved = saved_model.read(path)
    values = [*saved.variables, *getattr(saved, "head_variables", ())]
    # A name to import: only those that are known.
    if not models.names(facts.builder):
        raise ValueError(
            f'"{path}" is of the family {facts.builder!r}, which is not '
            "registered here."
        )
    model = models.build(facts.builder, **facts.architecture)
    # In the order of `saved_model.write`.
    is_head = [v.path.startswith("head/") for v in model.variables]
    last = facts.output == "features"
    order = sorted(range(len(is_head)), key=lambda i: last and is_head[i])
    for i, value in zip(order, values, strict=True):
        model.variables[i].assign(value)
    labels = ()
    if (path / "labels.txt").exists():
        labels = tuple((path / "labels.txt").read_text("utf-8").splitlines())
    return Loaded(
        model=model,
        name=facts.model or facts.architecture["name"],
        labels=labels,
        resolution=facts.preprocessing["resolution"],
        activation=facts.activation or "softmax",
        weights=facts.weights,
        upstream=facts.upstream,
        init=facts.init,
        run={"recipe": facts.recipe, "data": facts.data},
        metrics=tuple(facts.metrics),
        licence=facts.licence,
    )


def _load_file(path: Path) -> Loaded:
    if path.suffix == ".keras":
        with reading(path):
            model = load_model(path)
        _check_ours(model, path)
        return Loaded(
            model=_as_float32(model),
            name=model.name,
            resolution=resolution_of(model),
            weights=path.name,
        )
    with contextlib.ExitStack() as stack:
        with reading(path):
            arrays = open_arrays(path, stack)
            check_size(path, arrays)
        shapes = {key: array.shape for key, array in arrays.items()}
    network = recognize(shapes)
    if network is None:
        raise ValueError(
            f'"{path}" looks like {describe(shapes)}; give the name of its '
            "model, and the file as --init."
        )
    name = network.name or network.builder.partition(":")[2].lower()
    num_classes, head = network.num_classes, "keep"
    if any(key.startswith(HIDDEN) for key in shapes):
        num_classes, head = 0, "drop"
    with reading(path):
        check_claims(network, shapes)
        model = models.build(
            network.builder,
            **network.arguments,
            num_classes=num_classes,
            dtype="float32",
            name=name,
        )
    checkpoints.load(model, path, head)
    return Loaded(
        model=model,
        name=name,
        resolution=resolution_of(model),
        weights=path.name,
    )


def _load_released(name: str) -> Loaded:
    path = released.resolve(name, released.default_cache())
    model = models.create(
        released.model_name(name), released.num_classes(name), dtype="float32"
    )
    checkpoints.load(model, path)
    return Loaded(
        model=model,
        name=released.model_name(name),
        resolution=released.resolution(name),
        activation=released.activation(name),
        weights=path.name,
        upstream=upstream_of(name),
        init=name,
    )


def _load_named(name: str, init: str) -> Loaded:
    models.check_name(name)
    if init == "random":
        keras.utils.set_random_seed(0)
        model = models.create(name, 0, dtype="float32")
        return Loaded(
            model=model,
            name=name,
            resolution=resolution_of(model),
            weights="random",
            init=init,
        )
    # An error of its own if there are no such weights.
    released.resolve(init, released.default_cache())
    loaded = load(init)
    if loaded.name != name:
        raise ValueError(
            f'"{init}" holds weights for {loaded.name}, but the model is '
            f"{name}."
        )
    upstream = loaded.upstream or upstream_of(init)
    return dataclasses.replace(loaded, init=init, upstream=upstream)


def _check_ours(model: keras.Model, path: Path) -> None:
    if not hasattr(model, "endpoint_tensors"):
        raise ValueError(
            f'"{path}" holds a {type(model).__name__}, not a network of this '
            "package (bit_keras.create_model). A model around a "
            "SavedModelLayer is exported by Keras itself: model.export(DIR)."
        )


def _as_float32(model: keras.Model) -> keras.Model:
    """Returns the same model, computing in float32 throughout."""
    config = model.get_config()
    if config["dtype"] == "float32":
        return model
    new = type(model).from_config({**config, "dtype": "float32"})
    for variable, old in zip(new.variables, model.variables, strict=True):
        variable.assign(old)
    return new
