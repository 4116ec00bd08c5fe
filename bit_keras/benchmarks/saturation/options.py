"""How an analysis is done."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of an analysis.

    Attributes:
        resamples: Refits behind each interval; 0: no intervals.
        held_out: Share of models, those best upstream, that predictions are
            judged by.
        seed: Of all draws.
        reference_task: Task whose hull is laid over those of all others; None:
            the one that goes along with the upstream accuracy best.

    Raises:
        ValueError: For a number out of range.

    Example:

    >>> Options(held_out=20)
    Traceback (most recent call last):
    ValueError: held_out must be between 0 and 1; got 20.
    """

    resamples: int = 1000
    held_out: float = 0.2
    seed: int = 0
    reference_task: str | None = None

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise ValueError(f"resamples must be >= 0; got {self.resamples}.")
        if not 0 < self.held_out < 1:
            raise ValueError(
                f"held_out must be between 0 and 1; got {self.held_out}."
            )
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0; got {self.seed}.")
