"""VTAB-1k by fine-tuning the whole network: BiT's rule, or the small sweep."""

import argparse
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bit_keras.benchmarks import (
    exclusions,
    fewshot,
    results,
    source_subset,
    vtab_lightweight,
)
from bit_keras.benchmarks.finetune import (
    Start,
    finetune,
    hyperrule_recipe,
    open_start,
    preprocessing,
    protocol_with,
)
from bit_keras.benchmarks.task_data import open_split
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source
from bit_keras.recipe import Recipe, to_dict
from bit_keras.stops import NotFiniteError

# BiT, section 4.1, and VTAB: the median of three runs.
_RUNS = 3


@dataclasses.dataclass(frozen=True)
class Job:
    """How to fine-tune on each task.

    Attributes:
        protocol: "hyperrule": BiT-HyperRule (arXiv 1912.11370, section 3.3),
            without mirroring or cropping where the task says so;
            "lightweight": the best setting of `vtab_lightweight` on val200
            after training on train800.
        model: What every run starts from.
        seeds: One run for each, on the task's 1000 images.
        batch_size: None: 512; learning rates scale with it.
        overrides: Of recipe fields, `section.field=value`.
        data_dir: Folder of TFDS data; None: TFDS's default.
        out: Runs go to `runs/` in it.
        say: Is given each message.
        exclude: Test images to leave out, from `exclusions.read`.
    """

    protocol: str
    model: Start
    seeds: tuple[int, ...]
    batch_size: int | None
    overrides: tuple[str, ...]
    data_dir: str | None
    out: Path
    say: Callable[[str], None]
    exclude: Mapping[str, Collection[str]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def settings(self) -> str:
        """Rows that agree in it, and in their protocol, belong together."""
        return exclusions.label(self.exclude)

    @property
    def row_protocol(self) -> str:
        """Of the rows: what differs from the protocol is another."""
        settled = protocol_with(self.protocol, self.batch_size, self.overrides)
        return exclusions.protocol(settled, self.exclude)

    def recipes(self, task: Task) -> tuple[Recipe, ...]:
        """Returns the settings to choose from for a task.

        Args:
            task: Of VTAB.
        """
        given = (self.model, task, self.batch_size, self.overrides)
        if self.protocol == "lightweight":
            return vtab_lightweight.recipes(*given)
        return (hyperrule_recipe(*given),)

    def rows(self, task: Task, done: Collection[str]) -> Iterator[results.Row]:
        """Measures one task; yields a row after each run.

        Args:
            task: Of VTAB.
            done: Configuration hashes of rows that are there already.

        Raises:
            ValueError: If the task cannot be measured.
            FileNotFoundError: If its data are not there.
            NotFiniteError: If a run on the 1000 images diverges.
        """
        recipes = self.recipes(task)
        splits = ["train", "test"]
        if len(recipes) > 1:
            splits += ["train800", "val200"]
        data = {name: open_split(task, name, self.data_dir) for name in splits}
        hashes = {
            seed: self._hash(task, recipes, data, seed) for seed in self.seeds
        }
        for seed, hashed in hashes.items():
            if hashed in done:
                self.say(f"{task.name}, seed {seed}: measured already")
        if set(hashes.values()) <= set(done):
            return
        recipe, details = recipes[0], {}
        if len(recipes) > 1:
            recipe, details = self._choose(task, recipes, data)
        if self.exclude:
            test, ids = data["test"], self.exclude[task.name]
            ids = source_subset.present(task.name, test, ids)
            data["test"] = source_subset.without(test, ids)
            details = {**details, "excluded": len(ids)}
        for seed, hashed in hashes.items():
            if hashed not in done:
                run = dataclasses.replace(recipe.run, seed=seed)
                chosen = dataclasses.replace(recipe, run=run)
                yield self._row(task, chosen, data, details, hashed)

    def _hash(
        self,
        task: Task,
        recipes: Sequence[Recipe],
        data: Mapping[str, Source],
        seed: int,
    ) -> str:
        return results.config_hash(
            {
                "benchmark": "vtab",
                "model": self.model.sha256,
                "task": task.name,
                "data": [
                    [s.name, s.split, s.fingerprint] for s in data.values()
                ],
                "protocol": self.protocol,
                "recipes": [to_dict(recipe) for recipe in recipes],
                "seed": seed,
                **exclusions.config(self.exclude, [task.name]),
            }
        )

    def _choose(
        self,
        task: Task,
        recipes: Sequence[Recipe],
        data: Mapping[str, Source],
    ) -> tuple[Recipe, dict[str, Any]]:
        """Returns the setting that is best on val200, and how all did."""
        accuracies, sweep = [], []
        for recipe in recipes:
            schedule = recipe.schedule
            setting = {
                "learning_rate": schedule.learning_rate,
                "steps": schedule.steps,
            }
            words = f"{schedule.steps} steps at {schedule.learning_rate:g}"
            try:
                result, _ = self._train(
                    task, recipe, data["train800"], data["val200"]
                )
            except NotFiniteError:
                # No better than the worst that can be measured.
                self.say(f"{task.name}, {words}: diverged")
                accuracies.append(0.0)
            else:
                accuracies.append(result["top1"])
                self.say(f"{task.name}, {words}: {accuracies[-1]:.4f} (val200)")
            sweep.append({**setting, "val200": accuracies[-1]})
        place = vtab_lightweight.best(accuracies)
        return recipes[place], {**sweep[place], "sweep": sweep}

    def _train(
        self, task: Task, recipe: Recipe, train: Source, test: Source
    ) -> tuple[dict[str, Any], Path]:
        """Fine-tunes in a folder of its own: a finished run is not repeated."""
        decides = {
            "model": self.model.sha256,
            "recipe": to_dict(recipe),
            "data": [[s.name, s.split, s.fingerprint] for s in (train, test)],
        }
        name = f"{task.name}-{results.config_hash(decides)}"
        folder = self.out / "runs" / name
        result = finetune(self.model, recipe, train, test, folder, self.say)
        return result, folder

    def _row(
        self,
        task: Task,
        recipe: Recipe,
        data: Mapping[str, Source],
        details: dict[str, Any],
        hashed: str,
    ) -> results.Row:
        result, folder = self._train(task, recipe, data["train"], data["test"])
        top1, n = result["top1"], result["eval_examples"]
        return results.Row(
            benchmark="vtab",
            model=self.model.name,
            model_sha256=self.model.sha256,
            upstream=self.model.upstream,
            task=task.name,
            group=task.kind,
            protocol=self.row_protocol,
            preprocessing=self._preprocessing(recipe),
            metric="accuracy",
            value=top1,
            stderr=fewshot.stderr(top1, n),
            n=n,
            seed=recipe.run.seed,
            details={
                "settings": self.settings,
                "images": preprocessing(folder),
                "steps": result["steps"],
                "train_examples": result["train_examples"],
                "run": str(folder),
                **details,
            },
            config_hash=hashed,
        )

    def _preprocessing(self, recipe: Recipe) -> str:
        """Names the rule, the same for all tasks: their mean is the score.

        What the rule made of a task is in the row's details.
        """
        rule = f"HyperRule ({recipe.hyperrule})"
        if self.protocol == "lightweight":
            rule = "resize 224"
        changes = [o for o in self.overrides if o.startswith("preprocess.")]
        return ", ".join([rule, *changes])


def open_job(args: argparse.Namespace, say: Callable[[str], None]) -> Job:
    """Opens the model that every run starts from.

    Args:
        args: Of the sub-command.
        say: Is given each message.

    Raises:
        ValueError: For a model that cannot be fine-tuned.
    """
    overrides = list(args.overrides)
    if args.resolution is not None:
        overrides.append(f"preprocess.crop={args.resolution}")
    return Job(
        protocol=args.protocol,
        model=open_start(args.model, args.init),
        seeds=tuple(range(args.seeds or _RUNS)),
        batch_size=args.batch_size,
        overrides=tuple(overrides),
        data_dir=args.data_dir,
        out=Path(args.out),
        say=say,
        exclude=exclusions.read(args.exclude),
    )
