"""Grids of the saturation study, arXiv 2110.02095: many recipes at once.

A grid is a function without arguments that returns recipes with different
names; each is one job of `python -m bit_keras.benchmarks study`.  Write your
own with `cells` and name it as `--grid your.module:function`.

The paper's experiment crosses architecture, size, upstream data and epochs
(Section 2, Figure 4), and changes weight decay and learning rate of the head
(Section 4).  Every kept checkpoint of a job is one model of the study.
"""

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Sequence

from bit_keras.recipe import (
    Data,
    Optimizer,
    Preprocess,
    Recipe,
    Run,
    Schedule,
    did_you_mean,
    stretch,
)

Grid = tuple[Recipe, ...]


def cells(
    base: Recipe,
    *,
    models: Sequence[str],
    percents: Sequence[int] = (100,),
    steps: Sequence[int] | None = None,
    head_weight_decays: Sequence[float] = (1.0,),
    head_learning_rates: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    checkpoints: Sequence[float] = (0.25, 0.5, 1.0),
) -> Grid:
    """Returns every combination of the settings, as recipes.

    Args:
        base: What all have in common; its `schedule` is complete, and keeps
            its proportions where `steps` say another length.
        models: Names of networks, such as "bit_tiny"; what is before the "_"
            is the family.
        percents: Share of the upstream training images.
        steps: Lengths of training; None: that of `base`.
        head_weight_decays: Multiples of the backbone's.
        head_learning_rates: Multiples of the backbone's.
        seeds: Of weights and order.
        checkpoints: Which parts of the training are points of the study.

    Returns:
        Recipes; their names tell them apart.

    Raises:
        ValueError: For a share that is no share, or no combination at all.

    Example:

    >>> base = micro()[1]
    >>> made = cells(base, models=("bit_nano", "vit_nano"), percents=(3, 100))
    >>> [recipe.name for recipe in made][:2]
    ['bit_nano-data3', 'bit_nano-data100']
    >>> made[0].data.train_split, made[0].run.keep_weights_at
    ('train[:3%]', (5, 10, 20))
    """
    for name, shares, most in (
        ("percents", percents, 100),
        ("checkpoints", checkpoints, 1),
    ):
        if any(not 0 < share <= most for share in shares):
            raise ValueError(
                f"{name} must be above 0 and at most {most}; got {shares}."
            )
    made = []
    for model, percent, length, decay, rate, seed in itertools.product(
        models,
        percents,
        steps or (base.schedule.steps,),
        head_weight_decays,
        head_learning_rates,
        seeds,
    ):
        name = f"{model}-data{percent}"
        name += f"-steps{length}" if steps else ""
        name += f"-head_decay{decay:g}" if decay != 1 else ""
        name += f"-head_rate{rate:g}" if rate != 1 else ""
        name += f"-seed{seed}" if seed else ""
        recipe = dataclasses.replace(
            base,
            name=name,
            model=dataclasses.replace(base.model, name=model),
            data=_part(base.data, percent),
            optimizer=dataclasses.replace(
                base.optimizer,
                head_weight_decay_multiplier=decay,
                head_learning_rate_multiplier=rate,
            ),
            run=dataclasses.replace(base.run, seed=seed),
        )
        made.append(_of_length(recipe, length, checkpoints))
    return check(tuple(made))


def family(recipe: Recipe) -> str:
    """Returns the family of a recipe's network.

    >>> family(micro()[0])
    'bit'
    """
    return recipe.model.name.partition("_")[0]


def _part(data: Data, percent: int) -> Data:
    if percent == 100:
        return data
    if "[" in data.train_split:
        raise ValueError(
            "percents are of whole splits; data.train_split is "
            f"{data.train_split}."
        )
    split = "+".join(
        f"{part.strip()}[:{percent}%]" for part in data.train_split.split("+")
    )
    return dataclasses.replace(data, train_split=split)


def _of_length(
    recipe: Recipe, steps: int, checkpoints: Sequence[float]
) -> Recipe:
    """Returns the recipe stretched to `steps`, with its checkpoints."""
    recipe = stretch(recipe, steps)
    kept = sorted({max(1, round(steps * share)) for share in checkpoints})
    return dataclasses.replace(
        recipe,
        run=dataclasses.replace(
            recipe.run,
            keep_weights_at=tuple(kept),
            # What is kept is evaluated; more would only cost time.
            eval_every=steps,
        ),
    )


def check(grid: Grid) -> Grid:
    """Returns the grid, or raises a ValueError if it cannot be a study.

    >>> check((Recipe("a"),))
    Traceback (most recent call last):
    ValueError: a: a study keeps weights: run.keep_weights_at is empty.
    """
    if not grid:
        raise ValueError("The grid has no recipes.")
    seen = set()
    for recipe in grid:
        if recipe.name in seen:
            raise ValueError(f'The grid has two recipes named "{recipe.name}".')
        seen.add(recipe.name)
        if not recipe.run.keep_weights_at:
            raise ValueError(
                f"{recipe.name}: a study keeps weights: run.keep_weights_at "
                "is empty."
            )
        schedule = recipe.schedule
        filled = (schedule.steps, schedule.warmup_steps, schedule.boundaries)
        if None in (*filled, recipe.data.dataset, recipe.preprocess.crop):
            raise ValueError(
                f"{recipe.name}: a job of a study is a finished recipe: "
                "schedule, data.dataset and preprocess.crop must be filled."
            )
    return grid


def micro() -> Grid:
    """Two jobs of seconds on the built-in digits: does a study run at all?

    >>> [recipe.name for recipe in micro()]
    ['bit_nano-data30', 'bit_nano-data100']
    """
    base = Recipe(
        name="micro",
        data=Data(dataset="digits"),
        preprocess=Preprocess(
            train="resize_crop", resize=18, crop=16, mixup_alpha=0.0
        ),
        optimizer=Optimizer(weight_decay=1e-4),
        schedule=Schedule(
            learning_rate=0.1, steps=20, warmup_steps=2, boundaries=(15,)
        ),
        run=Run(batch_size=32),
    )
    return cells(
        base, models=("bit_nano",), percents=(30, 100), checkpoints=(0.5, 1.0)
    )


# Our own, for the miniature study: the published recipes are for TPUs.  Batches
# of 64 got further than twice as large ones in half as many steps (BiT: 5.8 and
# 5.3 % upstream).
_STEPS = 600
_SGD = Optimizer(weight_decay=1e-4)
_DROPS = Schedule(
    learning_rate=0.1, steps=_STEPS, warmup_steps=60, boundaries=(420, 540)
)
_ADAM = Optimizer(name="adam", weight_decay=0.1, clip_norm=1.0)
_COSINE = Schedule(
    learning_rate=0.002,
    steps=_STEPS,
    warmup_steps=60,
    boundaries=(),
    shape="cosine",
)
# The largest networks on all the data, once more: the others see less than one
# epoch of those.
_LONGER = 2400
_SIZES = ("nano", "micro", "tiny")
# Measuring a checkpoint costs as much as training up to it.
_KEPT = (1 / 3, 1.0)


def mini() -> Grid:
    """The miniature study: three families, three sizes, four data sizes.

    Upstream is tiny_imagenet32_mini, 200 classes of 32-pixel images.  All jobs
    see as many examples, so that those with less data see them more often; but
    the largest network of each family is trained four times as long, too.

    >>> len(mini())
    42
    """
    base = Recipe(
        name="mini",
        data=Data(dataset="tiny_imagenet32_mini"),
        preprocess=Preprocess(
            train="resize_crop", resize=36, crop=32, mixup_alpha=0.0
        ),
        run=Run(batch_size=64),
    )
    made: Grid = ()
    for name, optimizer, schedule in (
        ("bit", _SGD, _DROPS),
        ("vit", _ADAM, _COSINE),
        ("mixer", _ADAM, _COSINE),
    ):
        of_family = dataclasses.replace(
            base, optimizer=optimizer, schedule=schedule
        )
        models = [f"{name}_{size}" for size in _SIZES]
        made += cells(
            of_family,
            models=models,
            percents=(3, 10, 30, 100),
            checkpoints=_KEPT,
        )
        made += cells(
            of_family,
            models=models[-1:],
            steps=(_LONGER,),
            checkpoints=_KEPT,
        )
        if name == "bit":
            # Section 4, the decay of the head; 1 is among those above.
            decays = (0, 10, 100)
            made += cells(
                of_family,
                models=models[1:2],
                head_weight_decays=decays,
                checkpoints=_KEPT,
            )
    return check(made)


GRIDS: dict[str, Callable[[], Grid]] = {"micro": micro, "mini": mini}


def load(name: str) -> Grid:
    """Returns the grid that is called so.

    Args:
        name: A key of `GRIDS`, or "module:function" for one of your own.

    Raises:
        ValueError: For a name that is no grid, with the closest known one.

    Example:

    >>> load("bit_keras.recipes.study:micro") == load("micro")
    True
    """
    if name in GRIDS:
        return GRIDS[name]()
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(
            f'--grid: there is no grid "{name}".{did_you_mean(name, GRIDS)} '
            f"Known: {', '.join(GRIDS)}; your own: your.module:function."
        )
    try:
        return check(getattr(importlib.import_module(module), function)())
    except (ImportError, AttributeError) as error:
        raise ValueError(f'--grid: "{name}" cannot be read: {error}.') from None
