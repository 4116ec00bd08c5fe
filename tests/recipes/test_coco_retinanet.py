"""The recipe of arXiv 1912.11370, section 3.7 and appendix E."""

import dataclasses

import pytest

from bit_keras.recipe import override
from bit_keras.recipes import coco_retinanet
from bit_keras.schedules import StepSchedule

COCO_TRAIN_2017 = 118_287


def test_constants_are_the_papers():
    made = dataclasses.asdict(coco_retinanet.recipe())
    assert {
        "size": 1024,
        "batch_size": 256,
        "epochs": 30,
        "learning_rate": 0.08,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "drop_epochs": (16, 22),
        "decay": 0.1,
        "alpha": 0.25,
        "gamma": 2.0,
    }.items() <= made.items()
    assert coco_retinanet.MODEL == "bit_r101x3"
    assert list(coco_retinanet.PUBLISHED_AP.values()) == [
        40.8,
        41.7,
        43.2,
        43.8,
    ]


def test_rate_drops_at_epochs_16_and_22_of_coco():
    recipe = coco_retinanet.recipe()
    found = coco_retinanet.durations(recipe, COCO_TRAIN_2017)
    rate = StepSchedule(
        recipe.learning_rate,
        found.warmup_steps,
        found.boundaries,
        recipe.decay,
    )
    epoch = COCO_TRAIN_2017 / 256
    at = [float(rate(round(e * epoch))) for e in (2, 15.9, 16.1, 21.9, 22.1)]
    assert at == pytest.approx([0.08, 0.08, 0.008, 0.008, 0.0008])
    assert found.steps == int(30 * epoch)


def test_length_and_batch_keep_the_proportions():
    recipe = coco_retinanet.scale_batch(coco_retinanet.recipe(), 16)
    assert recipe.learning_rate == pytest.approx(0.005)
    short = coco_retinanet.durations(recipe, 205, steps=300)
    assert short == coco_retinanet.Durations(300, 10, (160, 220))
    longer = coco_retinanet.scale_epochs(recipe, 60)
    assert coco_retinanet.durations(longer, 160, 300) == short
    assert coco_retinanet.durations(longer, 160).steps == 600
    assert coco_retinanet.durations(recipe, 3).steps == 5


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("learning_rate=0", "learning_rate must be > 0; got 0.0"),
        ("weight_decay=-1", "weight_decay must be >= 0; got -1.0"),
        ("alpha=1", "alpha must be between 0 and 1; got 1.0"),
        ("head_convolutions=-1", "head_convolutions must be >= 0; got -1"),
        ("drop_epochs=16,40", "must lie within 30 epochs; got 40"),
        ("clip_norm=0", "clip_norm must be > 0; got 0.0"),
        ("learning_rat=1", 'Did you mean "learning_rate"?'),
    ],
)
def test_wrong_values_are_named(assignment, message):
    with pytest.raises(ValueError) as error:
        recipe = override(coco_retinanet.recipe(), assignment)
        coco_retinanet.check(recipe)
    assert message in str(error.value)
