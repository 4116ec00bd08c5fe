"""Who is how fast, beside whom, and which goals are met."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Literal

from bit_keras.benchmarks.speed.contest import Result
from bit_keras.benchmarks.speed.contestants import (
    CONTESTANTS,
    MATMUL,
    matmul_side,
)

# A train step's floating-point operations, in forward passes: as many again for
# the gradients of the inputs, and of the kernels.
_PASSES = {"forward": 1, "train": 3}
# Dense TFLOP/s of GPUs in bfloat16 and in TensorFloat-32, from NVIDIA's data
# sheets; the first name that a device's name contains counts.
_GPU_TFLOPS = {
    "H200": (989, 494.5),
    "H100 PCIe": (756, 378),
    "H100 NVL": (835, 417.5),
    "H100": (989, 494.5),
    "A100": (312, 156),
}


@dataclasses.dataclass(frozen=True)
class Standing:
    """What one contestant did in one mode; ratios are medians over rounds.

    Attributes:
        contestant: Its name.
        mode: "forward" or "train".
        images_per_second: The median.
        flops: Floating-point operations per second, of convolutions and head.
        of_matmul: `flops` as a share of its own library's matrix product.
        of_best_matmul: The same, of the fastest library's.
        of_data_sheet: The same, of what the GPU's maker states; None: a CPU, or
            not known ("model FLOP utilisation").
        to_best_peer: Speed, as a multiple of the fastest peer's.
        to_naive: Speed, as a multiple of the naive baseline's.
        peak: Most memory of a call, in bytes.
        peak_to_best_peer: `peak` as a multiple of the least of a peer.
    """

    contestant: str
    mode: str
    images_per_second: float
    flops: float
    of_matmul: float
    of_best_matmul: float
    of_data_sheet: float | None
    to_best_peer: float | None
    to_naive: float | None
    peak: int
    peak_to_best_peer: float | None


@dataclasses.dataclass(frozen=True)
class Goal:
    """A limit on a figure of a `Standing`."""

    text: str
    mode: str
    figure: str
    sense: Literal[">=", "<="]
    limit: float

    def met(self, value: float) -> bool:
        """Returns whether a value is on the right side of the limit.

        >>> Goal("memory", "train", "peak", "<=", 1).met(0.9)
        True
        """
        if self.sense == ">=":
            return value >= self.limit
        return value <= self.limit


_ON_CPU = (
    Goal("forward / best peer", "forward", "to_best_peer", ">=", 1.05),
    Goal("forward / matrix product", "forward", "of_matmul", ">=", 0.9),
    Goal("train step / best peer", "train", "to_best_peer", ">=", 1.10),
    Goal("train step / three forward bounds", "train", "of_matmul", ">=", 0.9),
    Goal("train memory / best peer", "train", "peak_to_best_peer", "<=", 1.0),
    Goal("forward / naive", "forward", "to_naive", ">=", 2.0),
    Goal("train step / naive", "train", "to_naive", ">=", 1.5),
)
_ON_GPU = (
    Goal("forward / best peer", "forward", "to_best_peer", ">=", 1.0),
    Goal("train step / best peer", "train", "to_best_peer", ">=", 1.0),
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A goal, and what one of ours reached; None: there is none to compare."""

    goal: Goal
    contestant: str
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: not measured."""
        return None if self.value is None else self.goal.met(self.value)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Returns how many times as fast we are: the median over rounds.

    Args:
        ours: Seconds, round by round.
        theirs: Seconds in the same rounds.

    Example:

    >>> ratio([1.0, 2.0, 1.0], [1.5, 3.0, 4.0])
    1.5
    """
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def standings(results: Sequence[Result], forward_flops: int) -> list[Standing]:
    """Returns the standings of all that finished, in every mode.

    Args:
        results: Of one contest; those with an error are left out, and compared
            are only those on the same device.
        forward_flops: Of one image.
    """
    finished = [r for r in results if r.error is None and r.seconds]
    return [
        _standing(result, mode, finished, forward_flops * _PASSES[mode])
        for mode in _PASSES
        for result in finished
        if mode in result.task.modes
    ]


def _standing(
    result: Result, mode: str, finished: list[Result], flops: int
) -> Standing:
    beside = [other for other in finished if other.device == result.device]
    peers = [other for other in beside if _side(other) == "peer"]
    naive = [other for other in beside if _side(other) == "naive"]
    fastest = min(
        peers, key=lambda p: statistics.median(p.seconds[mode]), default=None
    )
    least = min((peer.peak[mode] for peer in peers), default=None)
    seconds = result.seconds[mode]
    median = statistics.median(seconds)
    work = flops * result.task.batch_size
    matmul = 2 * matmul_side(result.device) ** 3
    best_matmul = max(
        matmul / statistics.median(other.seconds[MATMUL]) for other in beside
    )
    sheet = data_sheet_flops(result.device, result.task.precision)
    return Standing(
        contestant=result.task.contestant,
        mode=mode,
        images_per_second=result.task.batch_size / median,
        flops=work / median,
        of_matmul=ratio(seconds, result.seconds[MATMUL]) * work / matmul,
        of_best_matmul=work / median / best_matmul,
        of_data_sheet=sheet and work / median / sheet,
        to_best_peer=fastest and ratio(seconds, fastest.seconds[mode]),
        to_naive=ratio(seconds, naive[0].seconds[mode]) if naive else None,
        peak=result.peak[mode],
        peak_to_best_peer=least and result.peak[mode] / least,
    )


def _side(result: Result) -> str:
    return CONTESTANTS[result.task.contestant].side


def data_sheet_flops(device: str, precision: str) -> float | None:
    """Returns what a GPU's maker says it does per second; None: not known.

    Args:
        device: Its name, or "CPU".
        precision: A Keras dtype policy name.

    Example:

    >>> data_sheet_flops("NVIDIA H100 80GB HBM3", "mixed_bfloat16")
    989000000000000.0
    """
    for name, (bfloat16, float32) in _GPU_TFLOPS.items():
        if name in device:
            return 1e12 * (float32 if precision == "float32" else bfloat16)
    return None


def verdicts(found: Sequence[Standing], on_gpu: bool) -> list[Verdict]:
    """Returns what each of ours makes of each goal.

    Args:
        found: The standings.
        on_gpu: Which goals to take.
    """
    return [
        Verdict(goal, standing.contestant, getattr(standing, goal.figure))
        for goal in (_ON_GPU if on_gpu else _ON_CPU)
        for standing in found
        if standing.mode == goal.mode
        and CONTESTANTS[standing.contestant].side == "ours"
    ]
