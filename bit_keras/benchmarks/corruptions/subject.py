"""What is shown to a model: a task's test images, clean or corrupted."""

import dataclasses
import re
from typing import Any

from bit_keras.benchmarks import results
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.corruptions.constants import SIDES, constants_for
from bit_keras.benchmarks.corruptions.images import CorruptedImages
from bit_keras.benchmarks.images import ImageFunction, Preprocessing, ShortSide
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source

# The label of ImageNet-1k: "n01440764", "n01440764 tench".
_WORDNET_ID = re.compile(r"n\d{8}\b")


@dataclasses.dataclass(frozen=True)
class Condition:
    """How the images of a task are shown to the model.

    Attributes:
        corruption: Type; None: clean.
        severity: 1 to 5; 0: clean.
        images: What makes them.
    """

    corruption: str | None
    severity: int
    images: ImageFunction

    @property
    def name(self) -> str:
        """As in results: "clean", "fog-3"."""
        return (
            f"{self.corruption}-{self.severity}" if self.severity else "clean"
        )


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model, and the test images that it is shown.

    Attributes:
        backbone: With a head for these classes.
        task: The task.
        source: Its test split.
    """

    backbone: Backbone
    task: Task
    source: Source

    @property
    def is_imagenet(self) -> bool:
        """Whether the classes are the 1000 of ImageNet."""
        names = self.source.class_names
        return len(names) == 1000 and all(map(_WORDNET_ID.match, names))

    @property
    def geometry(self) -> Preprocessing | ShortSide:
        """The size at which images are corrupted: the model's.

        ImageNet is corrupted at the published size, whatever the model's.
        """
        if self.is_imagenet:
            return ShortSide.imagenet(SIDES["imagenet_c"])
        side = self.backbone.resolution
        return Preprocessing(resize=side, crop=side)

    def clean(self) -> Condition:
        """Returns the condition without corruption."""
        images = self.geometry
        if self.is_imagenet:
            images = ShortSide.imagenet(self.backbone.resolution)
        return Condition(None, 0, images)

    def corrupted(self, name: str, severity: int) -> Condition:
        """Returns the condition of one corruption at one severity."""
        images = CorruptedImages(
            geometry=self.geometry,
            corruption=name,
            severity=severity,
            crop=self.backbone.resolution,
        )
        return Condition(name, severity, images)

    def config_hash(self, condition: Condition) -> str:
        """Returns the hash of all that decides the accuracy."""
        source = self.source
        return results.config_hash(
            {
                "benchmark": "corruptions",
                "model": self.backbone.sha256,
                "input_range": self.backbone.input_range,
                "task": self.task.name,
                "data": [source.name, source.split, source.fingerprint],
                "preprocessing": str(condition.images),
            }
        )

    def row(
        self,
        name: str,
        preprocessing: str,
        details: dict[str, Any],
        **fields: Any,
    ) -> results.Row:
        """Returns a row of results.

        Args:
            name: What stands behind the task's name; "": nothing.
            preprocessing: As text.
            details: To which the side that the model sees is added.
            **fields: Those of `Row` that differ.
        """
        side = self.geometry.crop
        return results.Row(
            benchmark="corruptions",
            model=self.backbone.name,
            model_sha256=self.backbone.sha256,
            upstream=self.backbone.upstream,
            task=f"{self.task.name}/{name}" if name else self.task.name,
            group=self.task.kind,
            protocol=constants_for(side, side),
            preprocessing=preprocessing,
            endpoint="logits",
            details={**details, "resolution": self.backbone.resolution},
            **fields,
        )
