"""The command: python -m bit_keras.train --recipe NAME ...

Exit codes: 0 finished, 1 failed, 2 wrong arguments, 3 loss not finite,
4 another worker does not answer, 130 stopped by Ctrl-C and 143 by SIGTERM,
both after saving.
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app

from bit_keras import arguments, json_files, recipes, released
from bit_keras.checks import check, check_finished
from bit_keras.cluster import Cluster, find_cluster, wait_for_all
from bit_keras.environment import prepare_tensorflow
from bit_keras.messages import one_line
from bit_keras.quiet import only_warnings, quiet
from bit_keras.recipe import (
    Recipe,
    from_dict,
    override,
    scale_batch,
    stretch,
    to_dict,
)
from bit_keras.stops import Interrupted, NotFiniteError, WorkerLostError
from bit_keras.workdir import check_writable

if TYPE_CHECKING:
    from bit_keras.data.sources import Source

_SMOKE_BATCH = 128
_SMOKE = (
    "data.dataset=shapes",
    "model.name=bit_tiny",
    "preprocess.crop=32",
    # Higher than any recipe's, so that a minute is enough to learn something.
    "schedule.learning_rate=0.1",
    "schedule.steps=300",
    "run.eval_every=300",
)


def parser() -> argparse.ArgumentParser:
    """Returns the command line's parser.

    >>> parser().parse_args(["--recipe", "bit_m"]).recipe
    'bit_m'
    """
    return arguments.parser(recipes.names())


Finish = Callable[[Recipe, int, tuple[int, int]], Recipe]


def build_recipe(args: argparse.Namespace) -> tuple[Finish, Recipe]:
    """Returns the recipe's `finish`, and the recipe with all arguments applied.

    Args:
        args: From `parser()`.

    Raises:
        ValueError: For anything misspelt or out of range.

    Example:

    >>> args = parser().parse_args(["--recipe", "bit_m", "--batch-size", "256"])
    >>> build_recipe(args)[1].schedule.learning_rate
    0.03
    """
    smoke = _SMOKE
    if args.recipe.endswith(".json"):
        # A finished recipe: nothing is left to fill.
        recipe, finish = _read_recipe(args.recipe), lambda recipe, *_: recipe
        recipe = _resized(recipe, args.resolution, args.steps)
    else:
        module = recipes.load(args.recipe)
        recipe, finish = module.recipe(), module.finish
        smoke += getattr(module, "SMOKE", ())
    if args.smoke:
        recipe = scale_batch(recipe, _SMOKE_BATCH)
        for assignment in smoke:
            recipe = override(recipe, assignment)
    if args.batch_size is not None:
        recipe = scale_batch(recipe, args.batch_size)
    if args.dataset is not None or args.smoke:
        dataset = args.dataset or recipe.data.dataset
        # The recipe's split belongs to its own dataset.
        data = dataclasses.replace(
            recipe.data, dataset=dataset, eval_split="auto"
        )
        recipe = dataclasses.replace(recipe, data=data)
    for argument, field in arguments.FIELDS.items():
        value = getattr(args, argument)
        if value is not None and value is not False:
            recipe = override(recipe, f"{field}={value}")
    for assignment in args.overrides:
        recipe = override(recipe, assignment)
    if args.workers and recipe.run.strategy == "auto":
        recipe = override(recipe, "run.strategy=multiworker")
    if args.tpu:
        if recipe.run.strategy not in ("auto", "tpu"):
            raise ValueError(
                f"--tpu is for --strategy tpu; got {recipe.run.strategy}. "
                "Leave one of them out."
            )
        recipe = override(recipe, "run.strategy=tpu")
    try:
        check(recipe)
        if args.recipe.endswith(".json"):
            check_finished(recipe)
    except ValueError as error:
        if not args.recipe.endswith(".json"):
            raise
        raise ValueError(f"{args.recipe}: {error}") from None
    return finish, recipe


def _resized(
    recipe: Recipe, resolution: int | None, steps: int | None
) -> Recipe:
    """Returns a finished recipe whose parts keep their proportions."""
    options = recipe.preprocess
    if resolution and options.resize and options.crop:
        resize = round(options.resize * resolution / options.crop)
        recipe = override(recipe, f"preprocess.resize={resize}")
    schedule = recipe.schedule
    complete = None not in (schedule.warmup_steps, schedule.boundaries)
    if steps and schedule.steps and complete:
        recipe = stretch(recipe, steps)
    return recipe


def _cluster(args: argparse.Namespace, recipe: Recipe) -> Cluster | None:
    """Returns the workers of a run on several machines, else None."""
    if recipe.run.strategy == "multiworker":
        tf_config = os.environ.get("TF_CONFIG")
        return find_cluster(args.workers, args.worker_index, tf_config)
    if args.workers or args.worker_index is not None:
        raise ValueError(
            "--workers and --worker-index are for --strategy multiworker; got "
            f"{recipe.run.strategy}. Leave one of them out."
        )
    return None


def _read_recipe(path: str) -> Recipe:
    """Reads the recipe of a `recipe.json`."""
    try:
        return from_dict(json_files.read(path)["recipe"])
    except FileNotFoundError:
        raise ValueError(f'--recipe: there is no file "{path}".') from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'--recipe: "{path}" is not the recipe.json of a run ({error}).'
        ) from None


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


def _say_nothing(message: str) -> None:
    del message


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Carries out the command.

    Args:
        args: From `parser()`.

    Returns:
        The result, as written to `result.json`; None for a worker that is not
        the chief.
    """
    finish, recipe = build_recipe(args)
    cluster = _cluster(args, recipe)
    if cluster is None or cluster.is_chief:
        check_writable(args.workdir or default_workdir(recipe))
    with quiet():
        import tensorflow as tf

        # All that loads is loaded here: it has notes of its own.
        from bit_keras import team, trainer  # noqa: F401

        # Deprecations inside TFDS are nothing a user can act on.
        tf.get_logger().setLevel("ERROR")
        if recipe.run.deterministic:
            tf.config.experimental.enable_op_determinism()
    with team.watched(cluster):
        strategy = _strategy(recipe, args.tpu, cluster)
        return _run(args, finish, recipe, strategy)


def _strategy(recipe: Recipe, tpu: str, cluster: Cluster | None) -> Any:
    from bit_keras import distribution

    name = recipe.run.strategy
    if name == "tpu":
        _say(f"connecting to the TPU {tpu or 'local'}")
        return distribution.strategy(name, tpu)
    if cluster is None:
        with quiet():
            return distribution.strategy(name)
    wait_for_all(cluster, _say)
    if not cluster.is_chief:
        _say(f"{cluster.name(0)} reports on this run and keeps its results.")
    return distribution.strategy("multiworker", cluster=cluster)


def _run(
    args: argparse.Namespace,
    finish: Finish,
    recipe: Recipe,
    strategy: Any,
) -> dict[str, Any] | None:
    from bit_keras import distribution, trainer, workdir
    from bit_keras.data.batches import BadImages
    from bit_keras.data.pair import open_sources
    from bit_keras.failures import explained
    from bit_keras.team import Team

    with explained(BadImages()):
        train_source, eval_source = open_sources(recipe)
    recipe = finish(recipe, train_source.num_examples, train_source.image_size)
    check(recipe)
    check_finished(recipe)
    distribution.check_precision(strategy, recipe.run.precision)
    distribution.check_batch_size(
        strategy, recipe.run.batch_size, recipe.run.micro_batch
    )
    facts = {
        "command": workdir.command(),
        "dataset": train_source.name,
        "data": {
            "train": _source_facts(train_source),
            "eval": _source_facts(eval_source),
        },
    }
    team = Team(strategy)
    team.check_alike({"recipe": to_dict(recipe), "data": facts["data"]})
    tell = _say if team.is_chief else _say_nothing
    path = args.workdir or default_workdir(recipe)
    with contextlib.ExitStack() as stack:
        if not team.is_chief:
            path = stack.enter_context(tempfile.TemporaryDirectory())
        directory = stack.enter_context(workdir.Workdir(path))
        if args.overwrite:
            directory.clear()
        directory.claim(recipe, facts)
        result = directory.result
        if team.exchange([result is not None])[0] == [1]:
            tell(
                f"{path} holds this run, finished. --overwrite trains it anew."
            )
            return result
        _announce(tell, recipe, train_source, eval_source, path)
        if recipe.name == "transfer" and not recipe.model.init:
            tell(
                "warning: transfer continues from pre-trained weights, and "
                "there is no --init. Its schedule is meant for those (here the "
                f"learning rate is {recipe.schedule.learning_rate:.2g}); "
                "--recipe bit_s trains from the beginning."
            )
        tell(workdir.summary(recipe))
        tell(f"devices: {distribution.describe(strategy)}")
        init = recipe.model.init if team.is_chief else None
        if init and not directory.started:
            init = released.resolve(init, released.default_cache())
        result = trainer.train(
            recipe,
            train_source,
            eval_source,
            directory,
            strategy,
            Path(init) if init else None,
            tell,
        )
        return result if team.is_chief else None


def _announce(
    tell: Callable[[str], None],
    recipe: Recipe,
    train_source: "Source",
    eval_source: "Source | None",
    path: str,
) -> None:
    """Says what is trained on and, above all, if nothing is evaluated."""
    tell(
        f"{recipe.name}: {train_source.name}, {train_source.split} "
        f"({train_source.num_examples} examples), into {path}"
    )
    if eval_source is None:
        advice = ""
        # Of several splits, a part of one would not be apart from the others.
        if "+" not in train_source.split:
            whole = _whole(train_source.split)
            advice = (
                f" To cut one off, add --train-split '{whole}[:80%]' "
                f"--eval-split '{whole}[80%:]'."
            )
        tell(
            "No evaluation: no test or validation split was found or wanted."
            f"{advice}"
        )


def _whole(split: str) -> str:
    return split.split("[")[0].split(" ")[0]


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
    only_warnings()
    try:
        _cluster(args, build_recipe(args)[1])
    except (ValueError, OSError) as error:
        _say(f"error: {one_line(error)}")
        return 2
    prepare_tensorflow()
    try:
        result = run(args)
    except KeyboardInterrupt:
        _say("Stopped before the first step: there is nothing new to save.")
        return 128 + signal.SIGINT
    except Interrupted as stop:
        same = "The same command"
        if args.overwrite:
            # With it, all would begin anew.
            same += " without --overwrite"
        _say(f"Stopped at step {stop.step}, saved. {same} resumes.")
        return 128 + stop.signum
    except NotFiniteError as error:
        _say(f"error: {one_line(error)}")
        return 3
    except WorkerLostError as error:
        _say(f"error: {error}")
        return 4
    except (ValueError, OSError) as error:
        _say(f"error: {one_line(error)}")
        return 1
    if result is None:
        _say("Finished.")
        return 0
    bad, eval_bad = result["bad_images"], result.get("eval_bad_images") or 0
    if bad or eval_bad:
        _say(
            f"Corrupt images that were skipped: {bad} in training, {eval_bad} "
            "in the evaluation; each was named when it was met."
        )
    if result["top1"] is not None:
        _say(
            f"{result['dataset']} {result['eval_split']}: top-1 "
            f"{result['top1']:.4f} of {result['eval_examples']} examples"
        )
    return 0


if __name__ == "__main__":
    app.run(_main, flags_parser=lambda argv: parser().parse_args(argv[1:]))
