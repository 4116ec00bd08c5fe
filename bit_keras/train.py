"""The command: python -m bit_keras.train --recipe NAME ...

Exit codes: 0 finished, 1 failed, 2 wrong arguments, 3 loss not finite,
130 stopped by Ctrl-C and 143 by SIGTERM, both after saving.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import app, logging

from bit_keras import arguments, models, recipes, released
from bit_keras.recipe import Recipe, override, scale_batch

if TYPE_CHECKING:
    from bit_keras.data.sources import Source

_SMOKE = (
    "data.dataset=shapes",
    "model.name=bit_tiny",
    "preprocess.crop=32",
    "schedule.steps=100",
    "run.eval_every=100",
)
_SMOKE_BATCH = 128


def parser() -> argparse.ArgumentParser:
    """Returns the command line's parser.

    >>> parser().parse_args(["--recipe", "bit_m"]).recipe
    'bit_m'
    """
    return arguments.parser(recipes.names())


def build_recipe(args: argparse.Namespace) -> tuple[ModuleType, Recipe]:
    """Returns the recipe's module and the recipe with all arguments applied.

    Args:
        args: From `parser()`.

    Raises:
        ValueError: For anything misspelt or out of range.

    Example:

    >>> args = parser().parse_args(["--recipe", "bit_m", "--batch-size", "256"])
    >>> build_recipe(args)[1].schedule.learning_rate
    0.03
    """
    module = recipes.load(args.recipe)
    recipe = module.recipe()
    if args.smoke:
        for assignment in _SMOKE:
            recipe = override(recipe, assignment)
        recipe = scale_batch(recipe, _SMOKE_BATCH)
    if args.batch_size is not None:
        recipe = scale_batch(recipe, args.batch_size)
    if args.dataset is not None or args.smoke:
        dataset = args.dataset or recipe.data.dataset
        # The recipe's split belongs to its own dataset.
        data = dataclasses.replace(
            recipe.data, dataset=dataset, eval_split=None
        )
        recipe = dataclasses.replace(recipe, data=data)
    for argument, field in arguments.FIELDS.items():
        value = getattr(args, argument)
        if value is not None and value is not False:
            recipe = override(recipe, f"{field}={value}")
    for assignment in args.overrides:
        recipe = override(recipe, assignment)
    _check(recipe)
    return module, recipe


def _check(recipe: Recipe) -> None:
    """Raises a ValueError for what can be told wrong before TensorFlow."""
    models.check_name(recipe.model.name)
    if recipe.data.dataset is None:
        raise ValueError(
            f"Recipe {recipe.name} needs --dataset: a TFDS name, a folder of "
            'images, a CSV file, "digits" or "shapes".'
        )
    init = recipe.model.init
    if init and not Path(init).exists():
        released.url(init)
    positive = {
        "--batch-size": recipe.run.batch_size,
        "--micro-batch": recipe.run.micro_batch,
        "--steps": recipe.schedule.steps,
        "--resolution": recipe.preprocess.crop,
        "--examples-per-class": recipe.data.examples_per_class,
    }
    for name, value in positive.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1; got {value}.")
    if recipe.model.norm == "batch" and recipe.run.micro_batch:
        raise ValueError(
            "--micro-batch is not exact with model.norm=batch, whose "
            "statistics depend on the batch. Leave one of them out."
        )


def _source_facts(source: "Source | None") -> dict[str, Any] | None:
    if source is None:
        return None
    return {
        "split": source.split,
        "num_examples": source.num_examples,
        "num_classes": source.num_classes,
        "fingerprint": source.fingerprint,
    }


def default_workdir(recipe: Recipe) -> str:
    """Returns where a run goes when nobody says.

    >>> from bit_keras.recipe import Data
    >>> default_workdir(Recipe("transfer", data=Data("eurosat/rgb:2.0.0")))
    'runs/transfer-bit_r50x1-eurosat_rgb_2.0.0'
    """
    dataset = recipe.data.dataset.rstrip("/")
    if Path(dataset).exists():
        dataset = Path(dataset).stem
    dataset = dataset.replace("/", "_").replace(":", "_")
    return f"runs/{recipe.name}-{recipe.model.name}-{dataset}"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Carries out the command.

    Args:
        args: From `parser()`.

    Returns:
        The result, as written to `result.json`.
    """
    module, recipe = build_recipe(args)
    import tensorflow as tf

    from bit_keras import distribution, trainer, workdir
    from bit_keras.data.pair import open_sources

    # Deprecations inside TFDS are nothing a user can act on.
    tf.get_logger().setLevel("ERROR")
    if recipe.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = distribution.strategy(recipe.run.strategy, args.tpu)
    train_source, eval_source = open_sources(recipe)
    recipe = module.finish(
        recipe, train_source.num_examples, train_source.image_size
    )
    path = args.workdir or default_workdir(recipe)
    with workdir.Workdir(path) as directory:
        if args.overwrite:
            directory.clear()
        facts = {
            "command": workdir.command(),
            "dataset": train_source.name,
            "data": {
                "train": _source_facts(train_source),
                "eval": _source_facts(eval_source),
            },
        }
        directory.claim(recipe, facts)
        if directory.result:
            _say(
                f"{path} holds this run, finished. --overwrite trains it anew."
            )
            return directory.result
        _say(f"{recipe.name}: {train_source.name} into {path}")
        _say(workdir.summary(recipe))
        _say(f"devices: {distribution.describe(strategy)}")
        init = recipe.model.init
        if init and not directory.started:
            init = released.resolve(init, released.default_cache())
        return trainer.train(
            recipe,
            train_source,
            eval_source,
            directory,
            strategy,
            Path(init) if init else None,
            _say,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.

    Example:

    >>> main(["--recipe", "bitm"])
    2
    """
    return _main(parser().parse_args(argv))


def _main(args: argparse.Namespace) -> int:
    # absl's command turns on everybody's notes.
    logging.set_verbosity(logging.WARNING)
    try:
        build_recipe(args)
    except ValueError as error:
        _say(f"error: {error}")
        return 2
    # TensorFlow's start-up notes would bury ours; what is wrong it raises.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from bit_keras.trainer import Interrupted, NotFiniteError

    try:
        result = run(args)
    except Interrupted as stop:
        _say(f"Stopped at step {stop.step}, saved. The same command resumes.")
        return 128 + stop.signum
    except NotFiniteError as error:
        _say(f"error: {error}")
        return 3
    except (ValueError, OSError) as error:
        _say(f"error: {error}")
        return 1
    if result["top1"] is not None:
        _say(
            f"{result['dataset']} {result['eval_split']}: top-1 "
            f"{result['top1']:.4f} of {result['eval_examples']} examples"
        )
    return 0


if __name__ == "__main__":
    app.run(_main, flags_parser=lambda argv: parser().parse_args(argv[1:]))
