"""Who takes part in `speed model`, and what each is asked to do."""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal

from bit_keras.benchmarks.speed import process_memory
from bit_keras.benchmarks.speed.arguments import at_least_1, words

# As ImageNet's, so that published counts of parameters are met.
NUM_CLASSES = 1000
# A train step is softmax cross-entropy, its gradient, and one step of SGD with
# momentum; the numbers are those of BiT's transfers (arXiv 1912.11370, 3.3).
LEARNING_RATE, MOMENTUM = 0.003, 0.9
# Beside the modes: a matrix product, for what the machine can do at most.
MATMUL = "matmul"
MODES = ("forward", "train")
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A way to run a BiT network.

    `module` is the one of this folder that builds it, `backend` that of Keras;
    `packages` must be installed and are no part of ours.
    """

    name: str
    title: str
    side: Literal["ours", "peer", "naive"]
    module: str
    backend: str = "tensorflow"
    packages: tuple[str, ...] = ()


CONTESTANTS = {
    one.name: one
    for one in (
        Contestant("tensorflow", "ours, TensorFlow", "ours", "with_tensorflow"),
        Contestant(
            "tensorflow_xla", "ours, TensorFlow XLA", "ours", "with_tensorflow"
        ),
        Contestant("jax", "ours, JAX", "ours", "with_jax", "jax", ("jax",)),
        Contestant(
            "torch", "ours, torch", "ours", "with_torch", "torch", ("torch",)
        ),
        Contestant(
            "torch_compiled",
            "ours, torch compiled",
            "ours",
            "with_torch",
            "torch",
            ("torch",),
        ),
        Contestant("timm", "timm", "peer", "peers", packages=("timm", "torch")),
        Contestant(
            "timm_compiled",
            "timm, compiled",
            "peer",
            "peers",
            packages=("timm", "torch"),
        ),
        Contestant(
            "huggingface",
            "Hugging Face",
            "peer",
            "peers",
            packages=("transformers", "torch"),
        ),
        Contestant("naive", "naive, TensorFlow", "naive", "with_tensorflow"),
    )
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What one contestant is to run; sent to its process as JSON."""

    contestant: str
    model: str
    resolution: int
    batch_size: int
    precision: str = "float32"
    modes: tuple[str, ...] = MODES
    # Of a train step, in TensorFlow.
    remat: bool = False
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        at_least_1("--resolution", self.resolution)
        at_least_1("--batch-size", self.batch_size)

    @property
    def label(self) -> str:
        """In words, for messages.

        >>> Task("timm", "bit_r50x1", 224, 8).label
        'timm, bit_r50x1, 224 px, batch 8'
        """
        return (
            f"{self.contestant}, {self.model}, {self.resolution} px, batch "
            f"{self.batch_size}"
        )


@dataclasses.dataclass(frozen=True)
class Network:
    """A contestant in its own process, ready to run.

    Attributes:
        parameters: How many numbers it trains.
        device: "CPU", or the name of the GPU.
        runner: From a mode or `MATMUL` to a function that does it so many times
            and returns when all of it is done; what a mode alone needs is made
            there.
        reset_peak: Forgets the most memory that was in use.
        peak: Returns it, in bytes.
    """

    parameters: int
    device: str
    runner: Callable[[str], Callable[[int], None]]
    reset_peak: Callable[[], None] = process_memory.reset
    peak: Callable[[], int] = process_memory.peak


def matmul_side(device: str) -> int:
    """Returns the side of the square matrices that are multiplied.

    Large enough that larger ones are no faster.

    >>> matmul_side("CPU")
    2048
    """
    return 2048 if device == "CPU" else 8192


def chosen(names: str) -> tuple[str, ...]:
    """Parses the argument --contestants.

    Args:
        names: Separated by commas; "all": all.

    Raises:
        ValueError: For an unknown name.

    Example:

    >>> chosen("timm,naive")
    ('timm', 'naive')
    """
    if names == "all":
        return tuple(CONTESTANTS)
    return words("--contestants", names, CONTESTANTS)


def absent(packages: Sequence[str]) -> tuple[str, ...]:
    """Returns those packages that are not installed.

    >>> absent(("numpy", "no_such_package"))
    ('no_such_package',)
    """
    return tuple(
        name for name in packages if importlib.util.find_spec(name) is None
    )
