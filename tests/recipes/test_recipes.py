import dataclasses
import importlib
import json
import pkgutil

import pytest

from bit_keras import recipes, train
from bit_keras.recipe import Recipe, from_dict, override, scale_batch, to_dict
from bit_keras.recipes import bit_l, bit_m, bit_s, mixer, transfer, vit
from bit_keras.recipes.hyperrule import hyperrule

UPSTREAM = {
    "bit_s": bit_s,
    "bit_m": bit_m,
    "bit_l": bit_l,
    "vit": vit,
    "mixer": mixer,
}
# Any (height, width): the upstream recipes do not look at it.
IMAGE_SIZE = (400, 500)


def trainer_rate(schedule, step):
    """The rate of a step as `bit_keras.recipe.Schedule` defines it."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * step / schedule.warmup_steps
    drops = sum(boundary <= step for boundary in schedule.boundaries)
    return schedule.learning_rate * schedule.decay**drops


def test_names_are_the_modules_that_have_a_recipe():
    modules = sorted(m.name for m in pkgutil.iter_modules(recipes.__path__))
    # coco_retinanet is another command's, and has no `finish`.
    found = [
        name
        for name in modules
        if hasattr(
            importlib.import_module(f"bit_keras.recipes.{name}"), "finish"
        )
    ]
    assert recipes.names() == tuple(found)


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError) as caught:
        recipes.load("bitm")
    assert str(caught.value) == (
        'unknown recipe "bitm"; known: bit_l, bit_m, bit_s, mixer, '
        "transfer, vit. "
        'Did you mean "bit_m"?'
    )
    with pytest.raises(ValueError, match='unknown recipe "hyperrule"'):
        recipes.load("hyperrule")


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_finishes_and_survives_json(name):
    module = recipes.load(name)
    recipe = module.recipe()
    assert isinstance(recipe, Recipe)
    assert recipe.name == name
    done = module.finish(recipe, num_examples=50_000, image_size=(32, 32))
    assert None not in dataclasses.astuple(done.schedule)
    assert done.preprocess.crop is not None
    assert done.preprocess.mixup_alpha is not None
    events = (done.schedule.warmup_steps, *done.schedule.boundaries)
    assert list(events) == sorted(set(events))
    assert events[-1] < done.schedule.steps
    assert bool(done.schedule.boundaries) == (done.schedule.shape == "drops")
    assert from_dict(json.loads(json.dumps(to_dict(done)))) == done
    # Finishing twice changes nothing.
    assert module.finish(done, num_examples=7, image_size=(500, 500)) == done
    for part in ("Command", "Hardware:", "Cost:", "Expected:"):
        assert part in module.__doc__


# arXiv 1912.11370 section 3.3; steps as in its epochs at 4096 images.
@pytest.mark.parametrize(
    "name, examples, steps, boundaries, loss",
    [
        ("bit_s", 1_281_167, 28_150, (9383, 18767, 25022), "softmax"),
        ("bit_m", 14_197_122, 311_948, (103983, 207965, 277287), "sigmoid"),
        (
            "bit_l",
            300_000_000,
            2_929_687,
            (732422, 1684570, 2197265, 2709960),
            "sigmoid",
        ),
    ],
)
def test_upstream_equals_the_paper(name, examples, steps, boundaries, loss):
    module = UPSTREAM[name]
    done = module.finish(module.recipe(), examples, IMAGE_SIZE)
    assert done.schedule.steps == steps
    assert done.schedule.warmup_steps == 5000
    assert done.schedule.boundaries == boundaries
    # 0.03 * 4096 / 256.
    assert done.schedule.learning_rate == pytest.approx(0.48, rel=1e-12)
    assert done.schedule.decay == 0.1
    assert done.run.batch_size == 4096
    assert done.optimizer.momentum == 0.9
    assert done.optimizer.weight_decay == 1e-4
    assert done.preprocess.train == "inception_crop"
    assert done.preprocess.crop == 224
    assert done.preprocess.flip
    assert done.preprocess.mixup_alpha == 0.0
    assert done.loss == loss


# vit_i21k.py and mlp_mixer_i1k.py of google-research/big_vision.
@pytest.mark.parametrize(
    "name, examples, steps, shape, bias, mixup",
    [
        ("vit", 14_197_122, 1_039_828, "cosine", -10.0, 0.0),
        ("mixer", 1_281_167, 93_835, "linear", -6.9, 0.5),
    ],
)
def test_adam_recipes_equal_big_vision(
    name, examples, steps, shape, bias, mixup
):
    module = UPSTREAM[name]
    done = module.finish(module.recipe(), examples, IMAGE_SIZE)
    assert done.schedule.steps == steps
    assert done.schedule.warmup_steps == 10_000
    assert (done.schedule.shape, done.schedule.boundaries) == (shape, ())
    assert done.optimizer.name == "adam"
    assert (done.optimizer.momentum, done.optimizer.clip_norm) == (0.9, 1.0)
    # wd of the configs, which is not multiplied by the base rate.
    decay = done.optimizer.weight_decay * done.schedule.learning_rate
    assert done.schedule.learning_rate == 0.001
    assert decay == pytest.approx(1e-4, rel=1e-12)
    assert done.run.batch_size == 4096
    assert (done.loss, done.model.head_bias) == ("sigmoid", bias)
    assert done.preprocess.mixup_alpha == mixup
    assert (done.preprocess.train, done.preprocess.crop) == (
        "inception_crop",
        224,
    )
    # On a smaller dataset, the same part of the run is warm-up.
    small = module.finish(module.recipe(), examples // 100, IMAGE_SIZE)
    share = small.schedule.warmup_steps / small.schedule.steps
    assert share == pytest.approx(10_000 / steps, rel=0.01)


# arXiv 2010.11929, table 3, ViT-B: all with a warm-up of 10,000 steps; only on
# ImageNet-1k are gradients clipped.
FIRST_VIT = ((14_197_122, 90, 1e-3, 0.03), (300_000_000, 7, 8e-4, 0.1))


def test_commands_for_the_first_vit_paper_are_those_of_its_table():
    lines = vit.__doc__.replace("\\\n", "").splitlines()
    commands = [line.split() for line in lines if "--model vit_b16" in line]
    for command, expected in zip(commands, FIRST_VIT, strict=True):
        examples, epochs, rate, decay = expected
        args = train.parser().parse_args(["--recipe", "vit", *command])
        finish, recipe = train.build_recipe(args)
        done = finish(recipe, examples, IMAGE_SIZE)
        assert done.schedule.steps == epochs * examples // 4096
        assert done.schedule.warmup_steps == 10_000
        assert done.schedule.shape == "linear"
        assert done.schedule.learning_rate == rate
        assert done.optimizer.weight_decay == decay
        assert done.optimizer.clip_norm is None


def test_what_was_recorded_of_bit_stays_as_it_was():
    # results.config_hash and recipe.json of runs made before ViT was here.
    for module in (bit_s, bit_m, bit_l, transfer):
        values = to_dict(module.recipe())
        assert set(values["optimizer"]) == {
            "momentum",
            "weight_decay",
            "head_weight_decay_multiplier",
            "head_learning_rate_multiplier",
        }
        assert set(values["schedule"]) == {
            "learning_rate",
            "steps",
            "warmup_steps",
            "boundaries",
            "decay",
        }
    assert to_dict(vit.recipe())["schedule"]["shape"] == "cosine"


def test_upstream_datasets():
    assert bit_s.recipe().data.dataset == "imagenet2012"
    assert bit_s.recipe().data.eval_split == "validation"
    assert bit_m.recipe().data.dataset == "imagenet21k"
    assert bit_l.recipe().data.dataset is None
    assert bit_l.recipe().model.name == "bit_r152x4"


def test_warmup_is_never_a_larger_part_of_the_run_than_in_the_paper():
    done = bit_m.finish(bit_m.recipe(), 100_000, (64, 64))
    assert done.schedule.steps == 90 * 100_000 // 4096 == 2197
    assert done.schedule.warmup_steps == 35  # 5000 * 2197 / 311,948
    assert done.schedule.boundaries == (732, 1465, 1953)
    # A longer run than the paper's warms up no longer than the paper's.
    longer = bit_s.finish(bit_s.recipe(), 14_197_122, IMAGE_SIZE)
    assert longer.schedule.warmup_steps == 5000


def test_upstream_steps_of_the_user_carry_the_schedule_along():
    recipe = override(bit_s.recipe(), "schedule.steps=900")
    done = bit_s.finish(recipe, 1_281_167, IMAGE_SIZE)
    assert done.schedule.steps == 900
    assert done.schedule.boundaries == (300, 600, 800)
    assert done.schedule.warmup_steps == 160  # 5000 * 900 / 28,150
    recipe = override(recipe, "schedule.boundaries=7,8")
    recipe = override(recipe, "schedule.warmup_steps=3")
    done = bit_s.finish(recipe, 1_281_167, IMAGE_SIZE)
    assert done.schedule.boundaries == (7, 8)
    assert done.schedule.warmup_steps == 3


def test_upstream_batch_size_leaves_the_steps_alone():
    small = scale_batch(bit_s.recipe(), 256)
    done = bit_s.finish(small, 1_281_167, IMAGE_SIZE)
    assert done.schedule.steps == 28_150
    assert done.schedule.learning_rate == pytest.approx(0.03, rel=1e-12)


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstream_refuses_nothing_to_do(name):
    module = UPSTREAM[name]
    with pytest.raises(ValueError, match="num_examples must be >= 1; got 0"):
        module.finish(module.recipe(), 0, IMAGE_SIZE)
    none = override(module.recipe(), "schedule.steps=0")
    with pytest.raises(ValueError, match="steps must be >= 1; got 0"):
        module.finish(none, 1000, IMAGE_SIZE)


def test_transfer_settings():
    recipe = transfer.recipe()
    assert recipe.schedule.learning_rate == 0.003
    assert recipe.run.batch_size == 512
    assert recipe.optimizer.momentum == 0.9
    assert recipe.optimizer.weight_decay == 0.0
    assert recipe.model.head == "drop"
    assert recipe.loss == "softmax"
    assert recipe.hyperrule == "released"
    done = transfer.finish(recipe, 50_000, (32, 32))
    assert done.preprocess.train == "resize_crop"
    assert (done.preprocess.resize, done.preprocess.crop) == (160, 128)
    assert done.preprocess.mixup_alpha == 0.1


def test_transfer_in_the_trainer_equals_the_official_code(shared):
    path = shared / "fixtures" / "hyperrule.json"
    official = json.loads(path.read_text())["lr"]
    for num_examples, rates in official.items():
        recipe = transfer.recipe()
        done = transfer.finish(recipe, int(num_examples), (32, 32))
        ended = [step for step, rate in rates if rate is None]
        assert done.schedule.steps == min(ended)
        for step, rate in rates:
            if rate is not None:
                got = trainer_rate(done.schedule, step)
                assert got == pytest.approx(rate, rel=1e-12, abs=0), step


def test_transfer_follows_the_paper_when_asked():
    recipe = override(transfer.recipe(), "hyperrule=paper")
    done = transfer.finish(recipe, 1000, (224, 224))
    rule = hyperrule(1000, (224, 224), "paper", model_name="bit_r50x1")
    assert done.preprocess.resize == rule.resize == 448
    assert done.schedule.boundaries == (150, 300, 450)
    assert done.schedule.warmup_steps == 0
    for step in range(500):
        got = trainer_rate(done.schedule, step)
        assert got == pytest.approx(rule.learning_rate(step), rel=1e-12)
    largest = override(recipe, "model.name=bit_r152x4")
    done = transfer.finish(largest, 1000, (224, 224))
    assert (done.preprocess.resize, done.preprocess.crop) == (512, 480)


def test_transfer_steps_of_the_user_carry_the_schedule_along():
    recipe = override(transfer.recipe(), "schedule.steps=200")
    done = transfer.finish(recipe, 50_000, (32, 32))
    assert done.schedule.steps == 200
    assert done.schedule.warmup_steps == 10
    assert done.schedule.boundaries == (61, 121, 181)


def test_transfer_resolution_of_the_user():
    recipe = override(transfer.recipe(), "preprocess.crop=32")
    done = transfer.finish(recipe, 50_000, (32, 32))
    assert (done.preprocess.resize, done.preprocess.crop) == (40, 32)
    recipe = override(recipe, "preprocess.resize=36")
    done = transfer.finish(recipe, 50_000, (32, 32))
    assert (done.preprocess.resize, done.preprocess.crop) == (36, 32)


def test_transfer_refuses_a_crop_larger_than_its_image():
    recipe = override(transfer.recipe(), "preprocess.resize=100")
    with pytest.raises(ValueError, match="got 100 and 128. Set"):
        transfer.finish(recipe, 50_000, (32, 32))


def test_transfer_keeps_what_the_user_set():
    recipe = override(transfer.recipe(), "preprocess.mixup_alpha=0")
    recipe = override(recipe, "schedule.warmup_steps=0")
    recipe = override(recipe, "schedule.boundaries=5,6")
    done = transfer.finish(recipe, 50_000, (32, 32))
    assert done.preprocess.mixup_alpha == 0.0
    assert done.schedule.warmup_steps == 0
    assert done.schedule.boundaries == (5, 6)
    assert done.schedule.steps == 10_000
