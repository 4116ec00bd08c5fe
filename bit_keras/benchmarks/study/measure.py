"""What a job measures: each kept checkpoint, upstream and on all tasks."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bit_keras.benchmarks import fewshot, fewshot_probe, protocols, results
from bit_keras.benchmarks.backbone import Backbone, open_backbone
from bit_keras.benchmarks.fewshot_job import Job
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.study.settings import Settings, Study, read_recipe
from bit_keras.recipe import Recipe
from bit_keras.recipes.study import family
from bit_keras.workdir import weights_name


def measure(directory: Path, say: Callable[[str], None]) -> list[str]:
    """Appends the rows of a trained job that are not there yet.

    Args:
        directory: Of the job, two levels below the study's.
        say: Is given a line on each thing done.

    Returns:
        Why tasks could not be measured; empty if all were.

    Raises:
        FileNotFoundError: If the job has not been trained.
    """
    study = Study(directory.parents[1])
    recipe = read_recipe(directory)
    chosen = study.tasks(recipe.data.data_dir)
    file = results.ResultsFile(directory / results.FILE_NAME)
    evals = _evaluations(directory / "run")
    failures = {}
    for step in recipe.run.keep_weights_at:
        weights = directory / "run" / weights_name(step)
        backbone = _open(recipe, step, weights)
        if step in evals:
            row = _upstream_row(recipe, backbone, evals[step], weights)
            if row.config_hash not in {old.config_hash for old in file.rows()}:
                file.append([row])
        job = _job(directory, recipe, study.settings, backbone, step)
        _, failed = fewshot_probe.measure(job, chosen, file, say)
        # A task fails alike at all checkpoints.
        failures.update(dict.fromkeys(failed))
        # They are many, and the rows are all that is wanted of them.
        shutil.rmtree(job.cache_dir, ignore_errors=True)
    return list(failures)


def _evaluations(run: Path) -> dict[int, dict]:
    """Returns what the training measured upstream, by step."""
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["step"]: row for row in rows if row["kind"] == "eval"}


def _images(run: Path) -> int:
    """Returns how many images were trained on."""
    facts = json.loads((run / "recipe.json").read_text("utf-8"))
    return facts["data"]["train"]["num_examples"]


def _open(recipe: Recipe, step: int, weights: Path) -> Backbone:
    backbone = open_backbone(
        recipe.model.name, str(weights), resolution=recipe.preprocess.crop
    )
    return dataclasses.replace(
        backbone, name=f"{recipe.name}@{step}", upstream=recipe.data.dataset
    )


def _job(
    directory: Path,
    recipe: Recipe,
    settings: Settings,
    backbone: Backbone,
    step: int,
) -> Job:
    endpoints = ("pre_logits",)
    if settings.layers and step == recipe.run.keep_weights_at[-1]:
        endpoints = tuple(e for e in backbone.endpoints if e != "logits")
    return Job(
        backbone=backbone,
        protocol=protocols.get("big_vision"),
        endpoints=endpoints,
        shots=settings.shots,
        seeds=tuple(range(settings.seeds)),
        preprocessing=Preprocessing.few_shot(backbone.resolution),
        data_dir=recipe.data.data_dir,
        cache_dir=directory / "features",
    )


def _upstream_row(
    recipe: Recipe, backbone: Backbone, evaluation: dict, weights: Path
) -> results.Row:
    """Returns the row by which the analysis knows the model.

    Its details are what `saturation.reading.from_results` asks for: sizes in
    parameters (the head's included), data in images.
    """
    with np.load(weights) as arrays:
        size = sum(array.size for array in arrays.values())
    options, step = recipe.optimizer, evaluation["step"]
    seen = step * recipe.run.batch_size
    task = f"{recipe.data.dataset}/{evaluation['split']}"
    top1, n = evaluation["top1"], evaluation["examples"]
    data = _images(weights.parent)
    decay = options.weight_decay * options.head_weight_decay_multiplier
    rate = recipe.schedule.learning_rate * options.head_learning_rate_multiplier
    return results.Row(
        benchmark="upstream",
        model=backbone.name,
        model_sha256=backbone.sha256,
        upstream=backbone.upstream,
        task=task,
        group=None,
        protocol="trained head",
        preprocessing=str(
            Preprocessing(resize=backbone.resolution, crop=backbone.resolution)
        ),
        metric="accuracy",
        value=top1,
        stderr=fewshot.stderr(top1, n),
        n=n,
        endpoint="logits",
        details={
            "family": family(recipe),
            "network": recipe.model.name,
            "size": size,
            "data": data,
            "epochs": seen / data,
            "step": step,
            "examples_seen": seen,
            "head_weight_decay": decay,
            "head_learning_rate": rate,
            "upstream_seed": recipe.run.seed,
        },
        config_hash=results.config_hash(
            {
                "benchmark": "upstream",
                "model": backbone.sha256,
                "task": task,
                "job": backbone.name,
            }
        ),
    )
