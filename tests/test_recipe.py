import dataclasses
import json

import pytest

from bit_keras.recipe import (
    Recipe,
    Schedule,
    field_names,
    from_dict,
    override,
    scale_batch,
    to_dict,
)

RECIPE = Recipe(name="r")


def test_override_returns_a_new_recipe():
    changed = override(RECIPE, "optimizer.weight_decay=1e-4")
    assert changed.optimizer.weight_decay == 1e-4
    assert RECIPE.optimizer.weight_decay == 0.0
    assert changed.optimizer.momentum == RECIPE.optimizer.momentum


@pytest.mark.parametrize(
    "assignment, value",
    [
        ("schedule.learning_rate=1", 1.0),
        ("schedule.steps=200", 200),
        ("schedule.steps=none", None),
        ("schedule.boundaries=100,200", (100, 200)),
        ("schedule.boundaries=(100, 200)", (100, 200)),
        ("schedule.boundaries=[7]", (7,)),
        ("schedule.boundaries=", ()),
        ("schedule.boundaries=None", None),
        ("model.init=none", None),
        ("model.init=a=b.npz", "a=b.npz"),
        ("model.norm=batch", "batch"),
        ("run.xla=yes", True),
        ("preprocess.flip=False", False),
        (" run.seed = 3 ", 3),
        ("loss=sigmoid", "sigmoid"),
        ("hyperrule=paper", "paper"),
        ("hyperrule=none", None),
    ],
)
def test_override_parses_by_type(assignment, value):
    node = override(RECIPE, assignment)
    for part in assignment.partition("=")[0].strip().split("."):
        node = getattr(node, part)
    assert node == value
    assert type(node) is type(value)


@pytest.mark.parametrize(
    "assignment, message",
    [
        (
            "schedules.steps=1",
            'no recipe field "schedules.steps".*"schedule.steps"',
        ),
        ("schedule.stepz=1", 'Did you mean "schedule.steps"'),
        ("optimizer.weightdecay=1", 'Did you mean "optimizer.weight_decay"'),
        ("learning_rate=1", 'Did you mean "schedule.learning_rate"'),
        ("run=1", "not one field. Legal: run.batch_size"),
        ("name.first=x", "not one field. Legal: name"),
        ("run.seed", "takes section.field=value; got"),
        ("run.seed=many", 'run.seed must be of type int; got "many"'),
        ("run.seed=1.5", 'run.seed must be of type int; got "1.5"'),
        ("schedule.learning_rate=fast", "must be of type float"),
        ("schedule.boundaries=1,x", 'schedule.boundaries .* int; got "x"'),
        ("run.xla=maybe", 'run.xla must be true or false; got "maybe"'),
        ("loss=softmx", 'softmax, sigmoid; got "softmx".*"softmax"'),
        ("loss=none", "loss must be one of softmax, sigmoid"),
        ("run.seed=none", 'run.seed must be of type int; got "none"'),
    ],
)
def test_override_errors_name_the_repair(assignment, message):
    with pytest.raises(ValueError, match=message) as caught:
        override(RECIPE, assignment)
    assert "\n" not in str(caught.value)


def test_field_names_reach_every_leaf():
    names = field_names(Recipe)
    assert "schedule.steps" in names
    assert "loss" in names
    assert "schedule" not in names
    for name in names:
        node = RECIPE
        for part in name.split("."):
            node = getattr(node, part)
        assert not dataclasses.is_dataclass(node)


def test_json_round_trip():
    recipe = override(RECIPE, "schedule.boundaries=1,2")
    recipe = override(recipe, "model.init=bit_r50x1.i21k")
    again = from_dict(json.loads(json.dumps(to_dict(recipe))))
    assert again == recipe
    assert isinstance(again.schedule.boundaries, tuple)


def test_from_dict_refuses_unknown_fields():
    values = to_dict(RECIPE)
    values["schedule"]["cosine"] = True
    with pytest.raises(ValueError, match="Schedule has no field cosine"):
        from_dict(values)


def test_scale_batch_scales_the_rate_and_leaves_the_steps():
    recipe = Recipe(name="r", schedule=Schedule(learning_rate=0.003, steps=500))
    scaled = scale_batch(recipe, 128)
    assert scaled.run.batch_size == 128
    assert scaled.schedule.learning_rate == pytest.approx(0.00075, rel=1e-12)
    assert scaled.schedule.steps == 500
    back = scale_batch(scaled, 512)
    assert back.schedule.learning_rate == pytest.approx(0.003, rel=1e-12)
    with pytest.raises(ValueError, match="batch_size must be >= 1; got 0"):
        scale_batch(recipe, 0)
