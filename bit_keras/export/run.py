"""The directory of a training run, as something to export."""

import dataclasses
import json
import os
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from bit_keras import checkpoints, json_files, network, released
from bit_keras.export import manifest
from bit_keras.export.loaded import Loaded
from bit_keras.recipe import from_dict

# What the official tags say of the images (README of big_transfer).
_UPSTREAM = {
    "i1k": "ILSVRC-2012",
    "i21k": "ImageNet-21k",
    "distill": "ILSVRC-2012",
    "teacher": "ImageNet-21k",
}


def load_run(path: Path, weights: Literal["final", "best"] = "final") -> Loaded:
    """Loads the directory of a training run.

    Args:
        path: Of the directory.
        weights: After the last step, or of the best evaluation (which a run
            that has not finished may have, too).

    Raises:
        FileNotFoundError: If it has no such weights.
        ValueError: If it is not the directory of a run.
    """
    if not (path / "recipe.json").exists():
        raise ValueError(
            f'"{path}" is neither the directory of a training run (it '
            f"has no recipe.json) nor an export (no {manifest.FILE})."
            f"{_below(path)}"
        )
    run = _read_json(path / "recipe.json")
    finished = (path / "result.json").exists()
    file = _weights(path, weights, finished)
    try:
        recipe = run["recipe"]
        labels = (path / "labels.txt").read_text("utf-8").splitlines()
        name = recipe["model"]["name"]
        resolution = recipe["preprocess"]["crop"]
        activation = recipe["loss"]
        init = recipe["model"]["init"]
        dataset = run["dataset"]
        recipe = from_dict(recipe)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f'"{path}" is not the directory of a training run of this '
            f"version: {error!r}."
        ) from None
    # Recomputing is for training only.
    recipe = dataclasses.replace(
        recipe, model=dataclasses.replace(recipe.model, remat=False)
    )
    model = network.build(recipe, len(labels), "float32")
    checkpoints.load(model, file)
    return Loaded(
        model=model,
        name=name,
        labels=tuple(labels),
        resolution=resolution,
        activation=activation,
        weights=weights,
        upstream=upstream_of(init) if init else dataset,
        init=init,
        run=run,
        metrics=_metrics(path, run, weights, finished),
    )


def _weights(path: Path, weights: str, finished: bool) -> Path:
    """Returns the file, or raises an error that says what to do."""
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
    return file


def _below(path: Path) -> str:
    """Returns a hint at what there is one or two folders further down."""
    marks = ("recipe.json", manifest.FILE)
    found = [p.parent for m in marks for p in path.glob(f"[!.]*/{m}")]
    return f' Did you mean "{sorted(found)[0]}"?' if found else ""


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


def upstream_of(init: str) -> str | None:
    """Returns the images that the weights `init` were pre-trained on.

    Args:
        init: What `--init` was: a released name, a run directory, a file.

    Returns:
        None if nobody recorded it.

    Example:

    >>> upstream_of("bit_r50x1.i21k")
    'ImageNet-21k'
    """
    if init in released.names():
        tag = init.partition(".")[2]
        return _UPSTREAM[tag.split("_")[0]]
    recipe = Path(os.path.expanduser(init)) / "recipe.json"
    if not recipe.exists():
        return None
    run = _read_json(recipe)
    before = run.get("recipe", {}).get("model", {}).get("init")
    return upstream_of(before) if before else run.get("dataset")


def _read_json(path: Path) -> dict[str, Any]:
    found = json_files.read(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not of a training run of this version.")
    return found
