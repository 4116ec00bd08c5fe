"""BiT-HyperRule: fine-tuning settings from dataset size and image size.

Pure functions, arXiv 1912.11370 section 3.3.  Two variants, because the paper
and the code its authors released disagree:

- "released": `bit_hyperrule.py` of google-research/big_transfer, step for step.
  It warms up, drops the rate at other steps and shows every network 480 pixels.
- "paper": the text.  No warm-up, drops at 30, 60 and 90 % of the steps, and 384
  pixels for all networks but the largest.
"""

import dataclasses

from bit_keras.recipe import did_you_mean

VARIANTS = ("released", "paper")

# Section 3.3: fewer than 20k labelled examples are a small task, fewer than
# 500k a medium one, the rest large.
SMALL_BELOW = 20_000
MEDIUM_BELOW = 500_000

# Section 3.3: optimizer steps of a small, a medium and a large task.
STEPS = {"small": 500, "medium": 10_000, "large": 20_000}

# Released code: end of the linear warm-up, then the three drops.
RELEASED_WARMUP = {"small": 100, "medium": 500, "large": 500}
RELEASED_BOUNDARIES = {
    "small": (200, 300, 400),
    "medium": (3000, 6000, 9000),
    "large": (6000, 12_000, 18_000),
}

# Section 3.3: "by a factor of 10 at 30%, 60% and 90% of the training steps".
PAPER_DROP_PERCENT = (30, 60, 90)
DECAY = 0.1

# Section 3.3: MixUp for medium and large tasks.
MIXUP_ALPHA = 0.1

# Section 3.3: images "smaller than 96 x 96" are low resolution; the released
# code compares areas, strictly, so that 96 x 96 itself is not.
LOW_RESOLUTION_AREA_BELOW = 96 * 96

# Side in pixels of (square resize, crop).  The paper, section 3.3, keeps the
# last pair for R152x4; the released code uses it for every network.
LOW_RESOLUTION = (160, 128)
PAPER_RESOLUTION = (448, 384)
LARGEST_RESOLUTION = (512, 480)
PAPER_LARGEST_MODEL = "bit_r152x4"


@dataclasses.dataclass(frozen=True)
class HyperRule:
    """What BiT-HyperRule says about one dataset.

    Attributes:
        variant: "released" or "paper".
        base_learning_rate: Rate after warm-up and before the first drop.
        steps: Length of the training, at 512 examples per step.
        warmup_steps: Steps of linear warm-up from zero.
        boundaries: Steps as the source lists them; where the rate of a step
            really changes is `drop_steps`.
        resize: Side in pixels of the square that training images become.
        crop: Side in pixels of the random crop from it, and of test images.
        mixup_alpha: MixUp's Beta(alpha, alpha); 0: off.
    """

    variant: str
    base_learning_rate: float
    steps: int
    warmup_steps: int
    boundaries: tuple[int, ...]
    resize: int
    crop: int
    mixup_alpha: float

    @property
    def drop_steps(self) -> tuple[int, ...]:
        """First step (from 0) of each lower rate.

        The released code asks `boundary < step`, so its rate drops one step
        after the boundary; the paper's drops at it (`boundary <= step`).
        """
        delay = 1 if self.variant == "released" else 0
        return tuple(boundary + delay for boundary in self.boundaries)

    def learning_rate(self, step: int) -> float | None:
        """Returns the rate of `step` (from 0), or None once training has ended.

        >>> rule = hyperrule(num_examples=1000, image_size=(32, 32))
        >>> rule.learning_rate(50), rule.learning_rate(200)
        (0.0015, 0.003)
        >>> rule.learning_rate(500) is None
        True
        """
        if step < self.warmup_steps:
            return self.base_learning_rate * step / self.warmup_steps
        if step >= self.steps:
            return None
        drops = sum(first <= step for first in self.drop_steps)
        return self.base_learning_rate * DECAY**drops

    def scaled(self, steps: int) -> "HyperRule":
        """Returns the same rule over `steps` steps, durations in proportion.

        >>> rule = hyperrule(num_examples=1000, image_size=(32, 32))
        >>> rule.scaled(50).warmup_steps, rule.scaled(50).boundaries
        (10, (20, 30, 40))
        """
        if steps < 1:
            raise ValueError(f"steps must be >= 1; got {steps}.")
        return dataclasses.replace(
            self,
            steps=steps,
            warmup_steps=round(self.warmup_steps * steps / self.steps),
            boundaries=tuple(
                round(boundary * steps / self.steps)
                for boundary in self.boundaries
            ),
        )


def hyperrule(
    num_examples: int,
    image_size: tuple[int, int],
    variant: str = "released",
    base_learning_rate: float = 0.003,  # Section 3.3.
    model_name: str | None = None,
) -> HyperRule:
    """Applies BiT-HyperRule to a dataset.

    Args:
        num_examples: Labelled training images; of a few-shot subset, its own
            size.
        image_size: Typical `(height, width)` of the images in pixels.
        variant: "released" (the official code) or "paper" (the text).
        base_learning_rate: Rate after warm-up, for 512 examples per step.
        model_name: The network; only the paper's resolution asks for it.

    Returns:
        A `HyperRule`.

    Raises:
        ValueError: For an unknown variant, no examples or an empty image.

    Example:

    >>> rule = hyperrule(num_examples=50_000, image_size=(32, 32))
    >>> rule.steps, rule.warmup_steps, rule.boundaries
    (10000, 500, (3000, 6000, 9000))
    >>> rule.resize, rule.crop, rule.mixup_alpha
    (160, 128, 0.1)
    """
    if variant not in VARIANTS:
        raise ValueError(
            f'variant must be one of {", ".join(VARIANTS)}; got "{variant}".'
            f"{did_you_mean(variant, VARIANTS)}"
        )
    size = task_size(num_examples)
    steps = STEPS[size]
    if variant == "released":
        warmup_steps = RELEASED_WARMUP[size]
        boundaries = RELEASED_BOUNDARIES[size]
    else:
        warmup_steps = 0
        boundaries = tuple(steps * p // 100 for p in PAPER_DROP_PERCENT)
    resize, crop = resolution(image_size, variant, model_name)
    return HyperRule(
        variant=variant,
        base_learning_rate=base_learning_rate,
        steps=steps,
        warmup_steps=warmup_steps,
        boundaries=boundaries,
        resize=resize,
        crop=crop,
        mixup_alpha=0.0 if size == "small" else MIXUP_ALPHA,
    )


def task_size(num_examples: int) -> str:
    """Returns "small", "medium" or "large".

    >>> task_size(19_999), task_size(20_000), task_size(500_000)
    ('small', 'medium', 'large')
    """
    if num_examples < 1:
        raise ValueError(f"num_examples must be >= 1; got {num_examples}.")
    if num_examples < SMALL_BELOW:
        return "small"
    return "medium" if num_examples < MEDIUM_BELOW else "large"


def resolution(
    image_size: tuple[int, int],
    variant: str = "released",
    model_name: str | None = None,
) -> tuple[int, int]:
    """Returns the sides in pixels of (square resize, crop).

    >>> resolution((95, 96)), resolution((96, 96))
    ((160, 128), (512, 480))
    >>> resolution((96, 96), "paper", "bit_r50x1")
    (448, 384)
    """
    height, width = image_size
    if height < 1 or width < 1:
        raise ValueError(
            "image_size must be (height, width) in pixels, both >= 1; got "
            f"{tuple(image_size)}."
        )
    if height * width < LOW_RESOLUTION_AREA_BELOW:
        return LOW_RESOLUTION
    if variant == "paper" and model_name != PAPER_LARGEST_MODEL:
        return PAPER_RESOLUTION
    return LARGEST_RESOLUTION
