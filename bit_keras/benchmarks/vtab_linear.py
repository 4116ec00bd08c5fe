"""VTAB-1k by linear probes of frozen features.

For each task: the probe of few-shot evaluation (`fewshot.linear_probe`: ridge
regression to +-1 targets on whitened features) is fitted to all of train800
with each l2 of `protocols.L2_GRID`, the one with the best top-1 on val200 is
taken (of equal ones the largest, as 200 images cannot tell them apart and a
stronger penalty generalizes better), and the probe is fitted again to all 1000
images and tested on the whole test set.  Images are resized whole to the
backbone's resolution; nothing is cropped.  Nothing is drawn at random: one row
for each task, without a seed.
"""

import argparse
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pandas as pd

from bit_keras.benchmarks import (
    exclusions,
    fewshot,
    protocols,
    results,
    selection,
)
from bit_keras.benchmarks.backbone import Backbone, open_backbone
from bit_keras.benchmarks.features import Features, extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.source_subset import present
from bit_keras.benchmarks.task_data import open_split
from bit_keras.benchmarks.tasks import Task

_ENDPOINT = "pre_logits"
_SPLITS = ("train800", "val200", "train", "test")


@dataclasses.dataclass(frozen=True)
class Job:
    """What to probe on each task.

    Attributes:
        protocol: "linear".
        model: Whose features.
        preprocessing: Of the images.
        batch_size: Images per extraction step.
        data_dir: Folder of TFDS data; None: TFDS's default.
        cache_dir: Folder of extracted features.
        say: Is given each message.
        exclude: Test images to leave out, from `exclusions.read`.
    """

    protocol: str
    model: Backbone
    preprocessing: Preprocessing
    batch_size: int
    data_dir: str | None
    cache_dir: Path
    say: Callable[[str], None]
    exclude: Mapping[str, Collection[str]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def settings(self) -> str:
        """Rows that agree in it belong together."""
        without = exclusions.label(self.exclude)
        return ", ".join(filter(None, [str(self.preprocessing), without]))

    @property
    def row_protocol(self) -> str:
        """Of the rows: deduplicated ones are another protocol."""
        return exclusions.protocol(self.protocol, self.exclude)

    def rows(self, task: Task, done: Collection[str]) -> Iterator[results.Row]:
        """Measures one task; yields its row.

        Args:
            task: Of VTAB.
            done: Configuration hashes of rows that are there already.

        Raises:
            ValueError: If the task cannot be measured.
            FileNotFoundError: If its data are not there.
        """
        data = {name: open_split(task, name, self.data_dir) for name in _SPLITS}
        hashed = results.config_hash(
            {
                "benchmark": "vtab",
                "model": self.model.sha256,
                "input_range": self.model.input_range,
                "task": task.name,
                "data": [
                    [s.name, s.split, s.fingerprint] for s in data.values()
                ],
                "protocol": self.protocol,
                "preprocessing": str(self.preprocessing),
                **exclusions.config(self.exclude, [task.name]),
            }
        )
        if hashed in done:
            self.say(f"{task.name}: measured already")
            return
        excluded = {
            "test": present(
                task.name, data["test"], self.exclude.get(task.name, ())
            )
        }
        features = {
            name: extract(
                self.model,
                task.name,
                source,
                (_ENDPOINT,),
                self.preprocessing,
                self.cache_dir,
                self.batch_size,
                self.say,
                excluded.get(name, ()),
            )
            for name, source in data.items()
        }
        more = {"excluded": len(excluded["test"])} if self.exclude else {}
        num_classes = data["train"].num_classes
        yield self._row(task, features, num_classes, more, hashed)

    def _row(
        self,
        task: Task,
        features: dict[str, Features],
        num_classes: int,
        more: dict[str, int],
        hashed: str,
    ) -> results.Row:
        sweep = probe(
            features["train800"],
            features["val200"],
            num_classes,
            protocols.L2_GRID,
        )
        l2 = best_l2(sweep)
        final = probe(features["train"], features["test"], num_classes, (l2,))
        accuracy, n = final["accuracy"].item(), len(features["test"].labels)
        return results.Row(
            benchmark="vtab",
            model=self.model.name,
            model_sha256=self.model.sha256,
            upstream=self.model.upstream,
            task=task.name,
            group=task.kind,
            protocol=self.row_protocol,
            preprocessing=str(self.preprocessing),
            metric="accuracy",
            value=accuracy,
            stderr=fewshot.stderr(accuracy, n),
            n=n,
            endpoint=_ENDPOINT,
            details={
                "settings": self.settings,
                "l2": l2,
                "val200": sweep["accuracy"].max(),
                "train_examples": len(features["train"].labels),
                **more,
            },
            config_hash=hashed,
        )


def probe(
    train: Features, test: Features, num_classes: int, l2: tuple[float, ...]
) -> pd.DataFrame:
    """Fits probes to all images of one split, and measures them on another.

    Args:
        train: To fit to.
        test: To measure on.
        num_classes: Number of classes.
        l2: Penalties.

    Returns:
        As `fewshot.linear_probe`: one line for each penalty.
    """
    return fewshot.linear_probe(
        train.features[_ENDPOINT],
        train.labels,
        test.features[_ENDPOINT],
        test.labels,
        num_classes=num_classes,
        # No class has more images than there are: every image is taken.
        shots=(len(train.labels),),
        l2=l2,
        subset="first",
        allow_fewer=True,
    )


def best_l2(sweep: pd.DataFrame) -> float:
    """Returns the penalty of the highest accuracy; of equal ones, the largest.

    Args:
        sweep: From `probe`.

    Example:

    >>> best_l2(pd.DataFrame({"l2": [1.0, 2.0, 4.0, 8.0],
    ...                       "accuracy": [0.5, 0.75, 0.75, 0.6]}))
    4.0
    """
    good = sweep["accuracy"] == sweep["accuracy"].max()
    return float(sweep["l2"][good].max())


def open_job(args: argparse.Namespace, say: Callable[[str], None]) -> Job:
    """Opens the model whose features are probed.

    Args:
        args: Of the sub-command.
        say: Is given each message.

    Raises:
        ValueError: For a model that cannot be opened.
    """
    model = open_backbone(
        args.model,
        args.init,
        resolution=args.resolution,
        input_range=selection.input_range(args),
    )
    return Job(
        protocol=args.protocol,
        model=model,
        preprocessing=Preprocessing(model.resolution, model.resolution),
        batch_size=args.batch_size or 64,
        data_dir=args.data_dir,
        cache_dir=selection.cache_dir(args),
        say=say,
        exclude=exclusions.read(args.exclude),
    )
