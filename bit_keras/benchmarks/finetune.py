"""Fine-tuning a backbone on a task: the training inside a benchmark."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bit_keras import checkpoints, distribution, models, trainer, workdir
from bit_keras.benchmarks.backbone import is_weights, open_backbone
from bit_keras.benchmarks.tasks import Task
from bit_keras.checks import check
from bit_keras.data.sources import Source
from bit_keras.export import handles
from bit_keras.export import source as sources
from bit_keras.export.manifest import FILE as MANIFEST
from bit_keras.recipe import (
    Model,
    Recipe,
    from_dict,
    override,
    scale_batch,
)
from bit_keras.recipes import transfer


@dataclasses.dataclass(frozen=True)
class Start:
    """Where every fine-tuning of a benchmark starts.

    Attributes:
        name: For tables.
        sha256: Of the weights.
        upstream: Images it was pre-trained on, if known.
        loaded: The network with its weights.
    """

    name: str
    sha256: str
    upstream: str | None
    loaded: sources.Loaded


def open_start(handle: str, init: str | None = None) -> Start:
    """Opens what `--model` names, for fine-tuning.

    Args:
        handle: An export (or an archive or handle of one), run directory,
            weight file, released name, or (with `init`) the name of a model.
        init: Weights of a model named by `handle`.

    Raises:
        ValueError: If its network is not a registered one, or cannot be
            fine-tuned.

    Example:

    >>> open_start("bit_tiny", "random").name
    'bit_tiny.random'
    """
    backbone = open_backbone(handle, init)
    source = handle
    if init is None and not is_weights(handle):
        # An export, perhaps packed, or from the network; found once more.
        source = str(handles.resolve(handle))
        if not (Path(source) / MANIFEST).exists():
            raise ValueError(
                f'"{handle}" is a SavedModel of others: only its features can '
                "be measured, by a linear probe."
            )
    loaded = sources.load(source, init)
    if loaded.name not in models.names():
        raise ValueError(
            f'"{handle}" holds the network "{loaded.name}", which is not '
            "registered (bit_keras.models.register): only its features can be "
            "measured, by a linear probe."
        )
    return Start(backbone.name, backbone.sha256, backbone.upstream, loaded)


def protocol_with(
    name: str, batch_size: int | None, overrides: Sequence[str]
) -> str:
    """Returns the protocol of rows: other settings are another protocol.

    Args:
        name: Of the protocol without any.
        batch_size: None: that of the protocol.
        overrides: `section.field=value`.

    Example:

    >>> protocol_with("hyperrule", 64, ["schedule.steps=9"])
    'hyperrule, run.batch_size=64, schedule.steps=9'
    >>> protocol_with("hyperrule", None, [])
    'hyperrule'
    """
    batch = [f"run.batch_size={batch_size}"] if batch_size else []
    return ", ".join([name, *sorted({*batch, *overrides})])


def hyperrule_recipe(
    start: Start, task: Task, batch_size: int | None, overrides: Sequence[str]
) -> Recipe:
    """Returns BiT-HyperRule's recipe for a task; `finish` is still to come.

    Args:
        start: The backbone.
        task: Whose images may or may not be mirrored and cropped.
        batch_size: None: HyperRule's 512; the learning rate scales with it.
        overrides: `section.field=value`, applied last.

    Example:

    >>> from bit_keras.benchmarks import tasks
    >>> start = open_start("bit_tiny", "random")
    >>> task = tasks.get("vtab_smallnorb_azimuth")
    >>> hyperrule_recipe(start, task, None, []).preprocess.flip
    False
    """
    config = start.loaded.model.get_config()
    kept = {k: config[k] for k in ("norm", "standardize") if k in config}
    recipe = transfer.recipe()
    recipe = dataclasses.replace(
        recipe,
        model=Model(name=start.loaded.name, head="drop", **kept),
        data=dataclasses.replace(recipe.data, dataset=task.dataset),
        # Section 3.3 of the paper: no flip or crop where it changes the label.
        preprocess=dataclasses.replace(
            recipe.preprocess, flip=task.flip, random_crop=task.crop
        ),
    )
    if batch_size is not None:
        recipe = scale_batch(recipe, batch_size)
    for assignment in overrides:
        recipe = override(recipe, assignment)
    return recipe


def finetune(
    start: Start,
    recipe: Recipe,
    train: Source,
    test: Source,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fine-tunes the whole network and evaluates it after the last step.

    Args:
        start: The backbone; its head is replaced by zeros.
        recipe: From `hyperrule_recipe`, or finished.
        train: Images to learn from.
        test: Images to measure on; each counts once.
        folder: Run directory: an interrupted run goes on, a finished one is
            not repeated.
        say: Is given each message.

    Returns:
        `result.json` of the run.
    """
    recipe = transfer.finish(recipe, train.num_examples, train.image_size)
    recipe = dataclasses.replace(
        recipe,
        run=dataclasses.replace(recipe.run, eval_every=recipe.schedule.steps),
    )
    check(recipe)
    with workdir.Workdir(folder) as directory:
        facts = {
            "command": workdir.command(),
            "dataset": train.name,
            "data": {
                "start": start.sha256,
                "train": [train.split, train.fingerprint],
                "test": [test.split, test.fingerprint],
            },
        }
        directory.claim(recipe, facts)
        init = directory.path / "start.npz"
        if not directory.result:
            if not directory.started:
                checkpoints.save(start.loaded.model, init)
            trainer.train(
                recipe, train, test, directory, strategy(recipe), init, say
            )
        # A benchmark is hundreds of runs: keep their records and weights only.
        init.unlink(missing_ok=True)
        shutil.rmtree(directory.path / "checkpoints", ignore_errors=True)
        return directory.result


def preprocessing(folder: Path) -> str:
    """Returns what a finished run did to the images, for a row of results.

    Args:
        folder: The run's directory.
    """
    text = (folder / "recipe.json").read_text("utf-8")
    options = from_dict(json.loads(text)["recipe"]).preprocess
    if not options.random_crop:
        cut = f"resize {options.crop}"
    elif options.train == "resize_crop":
        cut = f"resize {options.resize}, random crop {options.crop}"
    else:
        cut = f"inception crop {options.crop}"
    flip = ", flip" if options.flip else ""
    return f"train: {cut}{flip}; test: resize {options.crop}"


def strategy(recipe: Recipe) -> Any:
    """Returns the recipe's distribution strategy, made once per process.

    >>> type(strategy(Recipe("demo"))).__name__
    'OneDeviceStrategy'
    """
    return _strategy(recipe.run.strategy)


_strategy = functools.cache(distribution.strategy)
