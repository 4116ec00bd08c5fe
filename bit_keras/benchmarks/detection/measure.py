"""A backbone as the start of a detector, as rows of results."""

import argparse
import collections
import dataclasses
import math
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bit_keras import distribution, workdir
from bit_keras.benchmarks import results
from bit_keras.benchmarks.detection import (
    augment,
    boxes,
    detector,
    evaluate,
    export,
    pictures,
    train,
)
from bit_keras.benchmarks.detection.sets import DetectionSet, open_set
from bit_keras.benchmarks.finetune import Start, open_start
from bit_keras.benchmarks.selection import make_out
from bit_keras.data.batches import BadImages
from bit_keras.failures import explained
from bit_keras.recipes import coco_retinanet
from bit_keras.recipes.coco_retinanet import RetinaNet

_PROTOCOL = "retinanet"
_MAX_BOXES = 100
# Folder of the trainings, within that of the results.
_RUNS = "runs"


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything but the seed that decides a number.

    Attributes:
        start: The backbone.
        pretrained: Whether it starts with the weights it has.
        recipe: How the detector is made and trained.
        steps: Length of the training; None: by its epochs.
        train: Images to train on.
        test: Images to measure on.
    """

    start: Start
    pretrained: bool
    recipe: RetinaNet
    steps: int | None
    train: DetectionSet
    test: DetectionSet

    @property
    def schedule(self) -> coco_retinanet.Durations:
        """The schedule in steps."""
        return coco_retinanet.durations(
            self.recipe, self.train.num_images, self.steps
        )

    @property
    def settings(self) -> str:
        """What tells this training from others of the same backbone."""
        recipe = self.recipe
        usual = coco_retinanet.RetinaNet()
        others = [
            f", {field.name} {value}"
            for field in dataclasses.fields(recipe)
            if field.name not in ("batch_size", "learning_rate", "size")
            and (value := getattr(recipe, field.name))
            != getattr(usual, field.name)
        ]
        return (
            f"{self.schedule.steps} steps of {recipe.batch_size}, rate "
            f"{recipe.learning_rate:.4g}, {recipe.size} pixels"
            f"{''.join(others)}; {self.train.split} to {self.test.split}"
        )

    def config_hash(self, seed: int | None) -> str:
        """Returns the fingerprint of one training; None: of all its seeds."""
        sets = (self.train, self.test)
        return results.config_hash(
            {
                "benchmark": "detection",
                "start": self.start.sha256,
                "pretrained": self.pretrained,
                "recipe": dataclasses.asdict(self.recipe),
                "schedule": dataclasses.asdict(self.schedule),
                "sets": [[s.name, s.split, s.fingerprint] for s in sets],
                "scale_jitter": augment.SCALE_JITTER,
                "max_boxes": _MAX_BOXES,
                "seed": seed,
            }
        )


def run(
    args: argparse.Namespace,
    recipe: RetinaNet,
    test_split: str,
    say: Callable[[str], None],
) -> None:
    """Carries out the sub-command.

    Args:
        args: Of the sub-command.
        recipe: With all that the arguments change.
        test_split: To measure on.
        say: Is given one line on each thing done.

    Raises:
        FileNotFoundError: For data that are not there.
        ValueError: For data, a backbone or a size that do not fit.
    """
    job = Job(
        start=open_start(args.model, args.init),
        pretrained=args.init != "random",
        recipe=recipe,
        steps=args.steps,
        train=open_set(args.dataset, args.train_split, args.data_dir),
        test=open_set(args.dataset, test_split, args.data_dir),
    )
    detector.check_size(recipe.size, job.start.loaded.model)
    if job.train.class_names != job.test.class_names:
        raise ValueError(
            f"{args.dataset}: {args.train_split} and {test_split} do not have "
            "the same classes."
        )
    make_out(args)
    out = Path(args.out)
    file = results.ResultsFile(out / results.FILE_NAME)
    done = _whole(file.rows())
    # Not overwritten, and known before hours of training.
    if args.export and not _exported(Path(args.export), job.config_hash(0)):
        export.check_new(args.export)
    say(f"{job.start.name} on {job.train.name}: {job.settings}")
    counts = None
    for seed in range(args.seeds):
        key = job.config_hash(seed)
        if key in done:
            say(f"{_line(seed, done[key])} (measured already)")
        else:
            counts = counts or _counts(job, say)
            rows = _measured(job, seed, out, counts, say)
            file.append(rows)
            say(_line(seed, rows))
    if args.export:
        _export(job, out, Path(args.export), say)
    say(
        f"{file.path}: all numbers; pictures beside it, weights in {_RUNS}/. "
        f"Next: python -m bit_keras.benchmarks report {shlex.quote(str(out))} "
        "--out DIR"
    )


def _whole(rows: Iterable[results.Row]) -> dict[str, list[results.Row]]:
    """Returns the trainings of which no row is missing."""
    found: dict[str, list[results.Row]] = collections.defaultdict(list)
    for row in rows:
        found[row.config_hash].append(row)
    return {k: v for k, v in found.items() if len(v) >= v[-1].details["rows"]}


def _counts(job: Job, say: Callable[[str], None]) -> dict[str, boxes.BoxCounts]:
    with explained(BadImages()):
        found = {
            "train": boxes.count_boxes(job.train.read(), _MAX_BOXES),
            "test": boxes.count_boxes(job.test.read()),
        }
    for name, counts in found.items():
        say(f"{name}: {counts}")
    return found


def _measured(
    job: Job,
    seed: int,
    out: Path,
    counts: dict[str, boxes.BoxCounts],
    say: Callable[[str], None],
) -> list[results.Row]:
    say(f"seed {seed}: the first step and the first image also compile")
    found = evaluate.evaluate(
        trained(job, seed, out, say),
        job.test,
        job.recipe.size,
        say,
        # What fitted in training fits here.
        min(8, job.recipe.batch_size),
    )
    name = f"detection-{job.config_hash(seed)}.png"
    content = pictures.sheet(job.test, found.truth, found.found)
    pictures.save(out / name, content)
    details = {
        "settings": job.settings,
        "training": job.config_hash(None),
        # Tells a half-written measurement from a whole one.
        "rows": sum(not math.isnan(v) for v in found.metrics.values()),
        "pictures": name,
        "bad_images": found.bad_images,
        "train_split": job.train.split,
        "test_split": job.test.split,
        "recipe": dataclasses.asdict(job.recipe),
        "schedule": dataclasses.asdict(job.schedule),
        # Those of the recipe, unless --steps says something else.
        "epochs": job.schedule.steps
        * job.recipe.batch_size
        / job.train.num_images,
    }
    for split, its in counts.items():
        details[f"{split}_boxes"] = dataclasses.asdict(its)
        details[f"{split}_boxes_text"] = str(its)
    return list(_rows(job, seed, found, details))


def trained(job: Job, seed: int, out: Path, say: Callable[[str], None]) -> Any:
    """Returns the detector of a seed, trained now or before.

    Args:
        job: What to train.
        seed: Of weights, order and augmentation.
        out: The folder of results; the run's own folder is in it.
        say: Is given each message.
    """
    folder = out / _RUNS / f"detection-{job.config_hash(seed)}"
    with distribution.strategy("auto").scope():
        made = detector.build(
            job.start.loaded.model,
            len(job.train.class_names),
            job.recipe,
            seed,
            job.pretrained,
        )
    # Nobody else may train in it.
    with workdir.Workdir(folder):
        train.train(
            made, job.train, job.recipe, job.schedule, seed, folder, say
        )
    return made


def _rows(
    job: Job, seed: int, found: evaluate.Evaluation, details: dict[str, Any]
) -> Iterator[results.Row]:
    low, high = augment.SCALE_JITTER
    size = job.recipe.size
    for metric, value in found.metrics.items():
        # A class, or a size, of which there are no objects.
        if math.isnan(value):
            continue
        yield results.Row(
            benchmark="detection",
            model=job.start.name,
            model_sha256=job.start.sha256,
            upstream=job.start.upstream,
            task=_task(job.test.name),
            group=None,
            protocol=_PROTOCOL,
            preprocessing=f"train: square {size}, flip, scale {low}-{high}; "
            f"test: square {size}",
            metric=metric,
            value=value,
            stderr=None,
            n=len(found.truth),
            endpoint="pyramid",
            seed=seed,
            details=details,
            config_hash=job.config_hash(seed),
        )


def _task(name: str) -> str:
    """Returns the name of a set, without the version that TFDS gives it."""
    return name if name.startswith("coco:") else name.partition(":")[0]


def _line(seed: int, rows: list[results.Row]) -> str:
    shown = [f"{r.metric} {r.value:.3f}" for r in rows if "/" not in r.metric]
    return f"seed {seed}: {', '.join(shown)}"


def _exported(path: Path, config_hash: str) -> bool:
    """Whether this very detector is there already."""
    note = path / export.NOTE
    return note.is_file() and note.read_text("utf-8").strip() == config_hash


def _export(
    job: Job, out: Path, path: Path, say: Callable[[str], None]
) -> None:
    if _exported(path, job.config_hash(0)):
        say(f"{path}: exported already")
        return
    export.write(
        trained(job, 0, out, say),
        job.recipe.size,
        job.test.class_names,
        path,
        note=job.config_hash(0),
    )
    say(f"{path}: SavedModel with the signature detect")
