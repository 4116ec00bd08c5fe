"""What an export starts from: a run, a weight file, a model by name."""

import contextlib
import dataclasses
import json
import os
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import keras

from bit_keras import checkpoints, models, released
from bit_keras.checkpoint_files import open_arrays, reading
from bit_keras.checkpoint_report import describe, recognize
from bit_keras.export import manifest, saved_model
from bit_keras.export.loading import load_model
from bit_keras.export.options import check_source
from bit_keras.models.bit import BiT

# Side in pixels that BiT is pre-trained at (arXiv 1912.11370, section 3.3).
_RESOLUTION = 224
# What the official tags say of the images (README of big_transfer).
_UPSTREAM = {
    "i1k": "ILSVRC-2012",
    "i21k": "ImageNet-21k",
    "distill": "ILSVRC-2012",
    "teacher": "ImageNet-21k",
}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its weights, and what is known of where it comes from.

    Attributes:
        model: In float32, from images in [-1, 1].
        name: Its registered name, or that of its class.
        labels: Class names; empty if nobody recorded them.
        resolution: Side in pixels that it was trained (or is best used) at.
        activation: From logits to probabilities.
        weights: What was loaded: "final", "best", or a file's name.
        upstream: Images it was pre-trained on, if known.
        init: What training started from, if recorded.
        run: `recipe.json` of the training run, if it was one.
        metrics: Of these weights, as `manifest.Manifest` has them.
    """

    model: keras.Model
    name: str
    labels: tuple[str, ...] = ()
    resolution: int = _RESOLUTION
    activation: Literal["softmax", "sigmoid"] = "softmax"
    weights: str = ""
    upstream: str | None = None
    init: str | None = None
    run: dict[str, Any] | None = None
    metrics: tuple[dict[str, Any], ...] = ()


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
    path = Path(source).expanduser()
    if init is not None:
        return _load_named(str(source), init)
    if (path / manifest.FILE).is_file():
        return _load_export(path)
    if path.is_dir():
        return _load_run(path, weights)
    if path.is_file():
        return _load_file(path)
    if str(source) in released.names():
        return _load_released(str(source))
    check_source(source, init)
    raise FileNotFoundError(f'there is no file "{source}".')


def _below(path: Path) -> str:
    """Returns a hint at what there is one or two folders further down."""
    marks = ("recipe.json", manifest.FILE)
    found = [p.parent for m in marks for p in path.glob(f"[!.]*/{m}")]
    return f' Did you mean "{sorted(found)[0]}"?' if found else ""


def _load_run(path: Path, weights: str) -> Loaded:
    if not (path / "recipe.json").exists():
        raise ValueError(
            f'"{path}" is neither the directory of a training run (it '
            f"has no recipe.json) nor an export (no {manifest.FILE})."
            f"{_below(path)}"
        )
    run = _read_json(path / "recipe.json")
    finished = (path / "result.json").exists()
    file = path / f"{weights}.npz"
    if weights == "final":
        if not finished:
            best = " An export with --weights best takes its best evaluation."
            raise FileNotFoundError(
                f'The training run in "{path}" has not finished; the same '
                "training command resumes it."
                f"{best if (path / 'best.npz').exists() else ''}"
            )
    elif not file.exists():
        raise FileNotFoundError(
            f'The run in "{path}" has no best.npz: it was not evaluated. '
            "Leave --weights out, once it has finished."
        )
    try:
        recipe = run["recipe"]
        labels = (path / "labels.txt").read_text("utf-8").splitlines()
        options = {
            key: recipe["model"][key]
            for key in ("norm", "standardize", "head_bias")
        }
        name = recipe["model"]["name"]
        resolution = recipe["preprocess"]["crop"]
        activation = recipe["loss"]
        init = recipe["model"]["init"]
        dataset = run["dataset"]
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(
            f'"{path}" is not the directory of a training run of this '
            f"version: {error!r}."
        ) from None
    model = models.create(name, len(labels), dtype="float32", **options)
    checkpoints.load(model, file)
    return Loaded(
        model=model,
        name=name,
        labels=tuple(labels),
        resolution=resolution,
        activation=activation,
        weights=weights,
        upstream=_upstream_of(init) if init else dataset,
        init=init,
        run=run,
        metrics=_metrics(path, run, weights, finished),
    )


def _metrics(
    path: Path, run: dict[str, Any], weights: str, finished: bool
) -> tuple[dict[str, Any], ...]:
    """Returns the accuracy that these weights had when they were saved."""
    rows = []
    if (path / "metrics.jsonl").exists():
        lines = (path / "metrics.jsonl").read_text("utf-8").splitlines()
        # A run that is going on may be writing its last line just now.
        rows = [json.loads(line) for line in lines if line.endswith("}")]
    rows = [row for row in rows if row["kind"] == "eval"]
    if not rows:
        return ()
    row = rows[-1] if weights == "final" else max(rows, key=itemgetter("top1"))
    what = {"final": "after the last step", "best": "best evaluation"}[weights]
    so_far = "" if finished else " so far; the run had not finished"
    return (
        {
            "metric": "top1",
            "value": row["top1"],
            "dataset": run["dataset"],
            "split": row["split"],
            "examples": row["examples"],
            "source": "metrics.jsonl of the training run, step "
            f"{row['step']} ({what}{so_far})",
        },
    )


def _load_export(path: Path) -> Loaded:
    """Rebuilds the Keras model of an export from its SavedModel."""
    facts = manifest.read(path)
    if facts.folded:
        raise ValueError(f'"{path}": {saved_model.FOLDED}')
    saved = saved_model.read(path)
    values = [*saved.variables, *getattr(saved, "head_variables", ())]
    config = dict(facts.architecture)
    if facts.model is None:
        model = BiT.from_config(config)
    else:
        del config["name"]
        model = models.create(facts.model, **config)
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
    )


def _upstream_of(init: str) -> str | None:
    """Returns the images that the weights `init` were pre-trained on."""
    if init in released.names():
        tag = init.partition(".")[2]
        return _UPSTREAM[tag.split("_")[0]]
    recipe = Path(init).expanduser() / "recipe.json"
    if not recipe.exists():
        return None
    run = _read_json(recipe)
    before = run.get("recipe", {}).get("model", {}).get("init")
    return _upstream_of(before) if before else run.get("dataset")


def _load_file(path: Path) -> Loaded:
    if path.suffix == ".keras":
        with reading(path):
            model = load_model(path)
        _check_ours(model, path)
        return Loaded(
            model=_as_float32(model), name=model.name, weights=path.name
        )
    with contextlib.ExitStack() as stack:
        with reading(path):
            arrays = open_arrays(path, stack)
        shapes = {key: array.shape for key, array in arrays.items()}
    network = recognize(shapes)
    if network is None:
        raise ValueError(
            f'"{path}" looks like {describe(shapes)}; give the name of its '
            "model, and the file as --init."
        )
    name = network.name or "bit"
    model = BiT(
        **network.arguments,
        num_classes=network.num_classes,
        dtype="float32",
        name=name,
    )
    checkpoints.load(model, path)
    return Loaded(model=model, name=name, weights=path.name)


def _load_released(name: str) -> Loaded:
    path = released.resolve(name, released.default_cache())
    model = models.create(
        released.model_name(name), released.num_classes(name), dtype="float32"
    )
    checkpoints.load(model, path)
    return Loaded(
        model=model,
        name=released.model_name(name),
        weights=path.name,
        upstream=_upstream_of(name),
        init=name,
    )


def _load_named(name: str, init: str) -> Loaded:
    models.check_name(name)
    if init == "random":
        keras.utils.set_random_seed(0)
        model = models.create(name, 0, dtype="float32")
        return Loaded(model=model, name=name, weights="random", init=init)
    path = released.resolve(init, released.default_cache())
    loaded = load(path)
    if loaded.name != name:
        raise ValueError(
            f'"{init}" holds weights for {loaded.name}, but the model is '
            f"{name}."
        )
    upstream = loaded.upstream or _upstream_of(init)
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f'"{path}" is not valid JSON: {error}.') from None
