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
from typing import TYPE_CHECKING, Any, NoReturn

from absl import app, logging
from absl.flags import argparse_flags

from bit_keras import models, recipes, released
from bit_keras.recipe import Recipe, did_you_mean, override, scale_batch

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

_EPILOG = """\
examples:
  python -m bit_keras.train --recipe bit_m --smoke
  python -m bit_keras.train --recipe bit_m --workdir runs/m
  python -m bit_keras.train --recipe transfer --dataset cifar10 \\
      --model bit_r50x1 --init bit_r50x1.i21k --workdir runs/c10

The same command again resumes an interrupted run.
exit codes: 0 finished, 1 failed, 2 wrong arguments, 3 loss not finite,
  130 stopped by Ctrl-C, 143 stopped by SIGTERM (both after saving)
"""


class _Parser(argparse_flags.ArgumentParser):
    """Suggests the closest flag for one that does not exist."""

    def error(self, message: str) -> NoReturn:
        prefix, _, unknown = message.partition("unrecognized arguments: ")
        if unknown and not prefix:
            word = unknown.split()[0].split("=")[0]
            known = [o for a in self._actions for o in a.option_strings]
            message = f"unknown argument {word}.{did_you_mean(word, known)}"
        self.exit(2, f"error: {message} See --help.\n")


def parser() -> argparse.ArgumentParser:
    """Returns the command line's parser.

    >>> parser().parse_args(["--recipe", "bit_m"]).recipe
    'bit_m'
    """
    made = _Parser(
        prog="python -m bit_keras.train",
        description="Pre-train or transfer an image backbone by a recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(made.add_argument_group("what to train"))
    _add_how(made.add_argument_group("how to run it"))
    return made


def _add_what(group: Any) -> None:
    add = group.add_argument
    add("--recipe", required=True, help=f"one of {', '.join(recipes.names())}")
    add(
        "--dataset",
        help="TFDS name[/config][:version], a folder of images (split/class/"
        "image or class/image), a CSV of path,label, digits, or shapes",
    )
    add("--data-dir", help="where TFDS data are prepared")
    add("--train-split", help="such as train or train[:90%%]")
    add("--eval-split", help="such as test or train[90%%:]; none: no evaluation")
    add("--label", help="feature, CSV column or factor that is the label")
    add("--model", help="such as bit_r50x1; the wrong name lists them all")
    add(
        "--init",
        help="weights to start from: released name such as bit_r50x1.i21k, "
        "file (.npz .h5 .weights.h5 .keras) or finished run directory",
    )
    add("--resolution", type=int, metavar="PIXELS", help="side the model sees")
    add("--steps", type=int, help="length; the schedule keeps its proportions")
    add(
        "--batch-size",
        type=int,
        help="images per step; scales the learning rate, not the steps",
    )
    add(
        "--examples-per-class",
        type=int,
        metavar="K",
        help="train on a balanced few-shot subset",
    )
    add("--subset-seed", type=int, help="which few-shot subset")
    add("--seed", type=int, help="of weights, order and augmentation")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        dest="overrides",
        help="override any field of the recipe; may be repeated",
    )
    add(
        "--smoke",
        action="store_true",
        help="a one-minute run: bit_tiny on shapes, 100 steps, unless said",
    )


def _add_how(group: Any) -> None:
    add = group.add_argument
    add("--workdir", help="default: runs/RECIPE-MODEL-DATASET")
    add(
        "--overwrite",
        action="store_true",
        help="discard the run that is in the workdir",
    )
    add("--strategy", help="auto, one, mirrored, multiworker or tpu")
    add("--tpu", default="", metavar="NAME", help="of the TPU for --strategy tpu")
    add("--micro-batch", type=int, help="images at once per device; exact")
    add("--precision", help="float32, mixed_bfloat16 or mixed_float16")
    add("--remat", action="store_true", help="recompute units to save memory")
    add("--xla", action="store_true", help="compile the step with XLA")
    add("--deterministic", action="store_true", help="bit-equal repeats; slower")
    add("--on-bad-image", help="skip (default) or error")


# Arguments that are plain overrides of one recipe field.
_FIELDS = {
    "data_dir": "data.data_dir",
    "train_split": "data.train_split",
    "eval_split": "data.eval_split",
    "label": "data.label",
    "examples_per_class": "data.examples_per_class",
    "subset_seed": "data.subset_seed",
    "on_bad_image": "data.on_bad_image",
    "model": "model.name",
    "init": "model.init",
    "remat": "model.remat",
    "resolution": "preprocess.crop",
    "steps": "schedule.steps",
    "seed": "run.seed",
    "strategy": "run.strategy",
    "micro_batch": "run.micro_batch",
    "precision": "run.precision",
    "xla": "run.xla",
    "deterministic": "run.deterministic",
}


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
    for argument, field in _FIELDS.items():
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


def open_sources(recipe: Recipe) -> tuple["Source", "Source | None"]:
    """Opens the training and evaluation data of a recipe.

    Args:
        recipe: With `data.dataset` set.

    Returns:
        The (few-shot) training source and the evaluation source; None for the
        latter if the recipe or the dataset has none.

    Raises:
        ValueError, FileNotFoundError: If the data are not there or do not suit.

    Example:

    >>> from bit_keras.recipe import Data
    >>> recipe = Recipe("demo", data=Data("digits"))
    >>> train, test = open_sources(scale_batch(recipe, 32))
    >>> train.num_examples, test.num_examples
    (1297, 500)
    """
    from bit_keras.data import sources, subset

    data = recipe.data

    def opened(split: str) -> "Source":
        return sources.open_source(
            data.dataset, split, data_dir=data.data_dir, label=data.label
        )

    train = opened(data.train_split)
    if data.examples_per_class is not None:
        train = subset.few_shot(
            train, data.examples_per_class, data.subset_seed
        )
    split = data.eval_split
    if split is None:
        known = sources.split_names(data.dataset, data.data_dir)
        usual = ("test", "validation", "val")
        split = next((name for name in usual if name in known), None)
    evaluation = None if split in (None, "none") else opened(split)
    _check_sources(recipe, train, evaluation)
    return train, evaluation


def _check_sources(
    recipe: Recipe, train: "Source", evaluation: "Source | None"
) -> None:
    if train.num_classes < 2:
        raise ValueError(
            f"{train.name} has only the class "
            f'"{", ".join(train.class_names)}": there is nothing to learn.'
        )
    if train.multi_label and recipe.loss == "softmax":
        raise ValueError(
            f"{train.name} has several labels per image, which softmax cannot "
            "learn. Add --set loss=sigmoid."
        )
    size = recipe.run.batch_size
    few_shot = recipe.data.examples_per_class is not None
    if train.num_examples < size and not few_shot:
        raise ValueError(
            f"{train.name} ({train.split}) has {train.num_examples} examples, "
            f"less than one batch of {size}. Use --batch-size "
            f"{train.num_examples} or less."
        )
    if evaluation and evaluation.class_names != train.class_names:
        raise ValueError(
            f"{train.name}: the classes of {evaluation.split} "
            f"({evaluation.num_classes}) are not those of {train.split} "
            f"({train.num_classes})."
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
        _say(
            f"Stopped at step {stop.step}, saved. The same command resumes."
        )
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
