"""What a few-shot probe measures, and the hash of each of its numbers."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bit_keras.benchmarks import exclusions, results
from bit_keras.benchmarks.backbone import Backbone
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.protocols import Protocol
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Job:
    """What to measure on each task, and how.

    Attributes:
        backbone: Whose features.
        protocol: Which images, which penalty.
        endpoints: Which of its layers.
        shots: Training images per class.
        seeds: Draws of those.
        preprocessing: Of the images.
        data_dir: Folder of TFDS data; None: TFDS's default.
        cache_dir: Folder of extracted features.
        batch_size: Images per extraction step.
        allow_fewer: Whether small classes may give fewer than k images.
        exclude: Test images to leave out, from `exclusions.read`.
    """

    backbone: Backbone
    protocol: Protocol
    endpoints: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    preprocessing: Preprocessing
    data_dir: str | None
    cache_dir: Path
    batch_size: int = 64
    allow_fewer: bool = False
    exclude: Mapping[str, Collection[str]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def draws(self) -> tuple[int | None, ...]:
        """The seeds that count: a protocol of first images has none."""
        return self.seeds if self.protocol.subset == "seeded" else (None,)

    @property
    def together(self) -> bool:
        """Whether the penalty of a task depends on the other tasks."""
        return self.protocol.name in ("vit", "leave_self_out")

    def hashes(
        self, task: Task, opened: Mapping[Task, Sequence[Source]]
    ) -> dict[tuple, str]:
        """Returns the hash of all that decides each number of a task.

        Args:
            task: Of the numbers.
            opened: Train and test split of all tasks that are measured.

        Returns:
            (endpoint, shots, seed) -> hash.
        """
        voters = opened if self.together else (task,)
        config = {
            "benchmark": "fewshot",
            "model": self.backbone.sha256,
            "input_range": self.backbone.input_range,
            "task": task.name,
            "data": {
                voter.name: [
                    [s.name, s.split, s.fingerprint] for s in opened[voter]
                ]
                for voter in voters
            },
            "protocol": self.protocol.name,
            "preprocessing": str(self.preprocessing),
            "allow_fewer": self.allow_fewer,
            **exclusions.config(self.exclude, (v.name for v in voters)),
        }
        return {
            (endpoint, shots, seed): results.config_hash(
                {**config, "endpoint": endpoint, "shots": shots, "seed": seed}
            )
            for endpoint in self.endpoints
            for shots in self.shots
            for seed in self.draws
        }
