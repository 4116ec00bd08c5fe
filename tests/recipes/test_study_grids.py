"""Grids of the study: what is crossed, and what is refused."""

import dataclasses
from collections import Counter

import pytest

from bit_keras.checks import check
from bit_keras.recipe import Data, Preprocess, Recipe, Run, Schedule
from bit_keras.recipes import study

BASE = Recipe(
    name="base",
    data=Data(dataset="digits"),
    preprocess=Preprocess(resize=18, crop=16),
    schedule=Schedule(steps=100, warmup_steps=10, boundaries=(60, 80)),
    run=Run(batch_size=8),
)


@pytest.mark.parametrize("name", study.GRIDS)
def test_every_job_of_a_grid_can_run(name):
    for recipe in study.load(name):
        check(recipe)


def test_the_miniature_study_is_the_issue_s():
    """3 families x 3 sizes x 4 shares of the data, and a sweep of the head."""
    grid = study.mini()
    longer = [r for r in grid if r.schedule.steps == 2400]
    assert [r.name for r in longer] == [
        f"{family}_tiny-data100-steps2400" for family in ("bit", "vit", "mixer")
    ]
    plain = [r for r in grid if "head" not in r.name and r not in longer]
    assert Counter(study.family(r) for r in plain) == {
        "bit": 12,
        "vit": 12,
        "mixer": 12,
    }
    assert Counter(r.data.train_split for r in plain) == {
        "train[:3%]": 9,
        "train[:10%]": 9,
        "train[:30%]": 9,
        "train": 9,
    }
    sweep = [r for r in grid if r.model.name == "bit_micro" and r not in plain]
    (reference,) = [r for r in plain if r.name == "bit_micro-data100"]
    decays = [r.optimizer.head_weight_decay_multiplier for r in sweep]
    assert decays == [0, 10, 100]
    for recipe in sweep:
        assert recipe.schedule == reference.schedule
        assert recipe.data == reference.data


def test_all_settings_are_crossed():
    grid = study.cells(
        BASE,
        models=("bit_nano", "vit_nano"),
        percents=(50, 100),
        steps=(100, 200),
        head_weight_decays=(1, 10),
        head_learning_rates=(1, 0.1),
        seeds=(0, 1),
    )
    assert len(grid) == len({recipe.name for recipe in grid}) == 2**6
    last = grid[-1]
    assert last.name == (
        "vit_nano-data100-steps200-head_decay10-head_rate0.1-seed1"
    )
    assert last.run.seed == 1
    assert last.optimizer.head_learning_rate_multiplier == 0.1


def test_a_longer_job_keeps_the_proportions_of_its_schedule():
    (recipe,) = study.cells(
        BASE, models=("bit_nano",), steps=(200,), checkpoints=(0.1, 1)
    )
    assert recipe.schedule.warmup_steps == 20
    assert recipe.schedule.boundaries == (120, 160)
    assert recipe.run.keep_weights_at == (20, 200)


def test_a_share_of_data_is_a_slice_of_the_split():
    data = dataclasses.replace(BASE.data, train_split="all")
    base = dataclasses.replace(BASE, data=data)
    grid = study.cells(base, models=("bit_nano",), percents=(3, 100))
    assert [r.data.train_split for r in grid] == ["all[:3%]", "all"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"percents": (0,)}, "percents must be above 0 and at most 100"),
        ({"checkpoints": (1.5,)}, "checkpoints must be above 0 and at most 1"),
        ({"models": ()}, "no recipes"),
        ({"seeds": (1, 1)}, 'two recipes named "bit_nano-data100-seed1"'),
    ],
)
def test_what_is_no_grid_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        study.cells(BASE, **{"models": ("bit_nano",), **settings})


def test_an_unfinished_recipe_is_no_job():
    schedule = dataclasses.replace(BASE.schedule, warmup_steps=None)
    run = dataclasses.replace(BASE.run, keep_weights_at=(1,))
    recipe = dataclasses.replace(BASE, schedule=schedule, run=run)
    with pytest.raises(ValueError, match="base: a job of a study is a finish"):
        study.check((recipe,))


def test_a_grid_of_one_s_own_is_found_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "grid_of_a_test.py").write_text(
        "from bit_keras.recipes import study\n"
        "def mine():\n    return study.micro()[:1]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (recipe,) = study.load("grid_of_a_test:mine")
    assert recipe == study.micro()[0]


@pytest.mark.parametrize(
    "name, message",
    [
        ("minni", 'no grid "minni". Did you mean "mini"?'),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("bit_keras.recipes.study:no", "has no attribute 'no'"),
    ],
)
def test_an_unknown_grid_is_explained(name, message):
    with pytest.raises(ValueError) as error:
        study.load(name)
    assert message in str(error.value)
