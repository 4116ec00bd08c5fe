"""ViT and MLP-Mixer on the roads that BiT goes: trained, loaded, refused."""

import json

import numpy as np
import pytest

from bit_keras import checkpoints, models, network, train
from bit_keras.checks import check
from bit_keras.recipe import Data, Model, Preprocess, Recipe, override


def seeded(name, **options):
    model = models.create(name, num_classes=5, **options)
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(0.3 * random.standard_normal(variable.shape))
    return model


@pytest.mark.parametrize("pool", ["mean", "token"])
@pytest.mark.parametrize("suffix", [".npz", ".weights.h5", ".keras"])
def test_positions_are_interpolated_when_loaded(tmp_path, pool, suffix):
    old = seeded("vit_nano", pool=pool)
    checkpoints.save(old, tmp_path / f"a{suffix}")
    new = models.create("vit_nano", 5, pool=pool, image_size=48)
    checkpoints.load(new, tmp_path / f"a{suffix}")
    images = np.random.default_rng(1).uniform(-1, 1, (2, 48, 48, 3))
    # The old network resizes its positions itself, with other code.
    np.testing.assert_allclose(new(images), old(images), rtol=1e-4, atol=1e-5)
    assert new.get_config()["image_size"] == 48
    grid = 12 * 12 + (pool == "token")
    assert new.get_layer("positions").embedding.shape == (1, grid, 32)


def test_positions_of_the_same_size_are_untouched(tmp_path):
    old = seeded("vit_nano")
    checkpoints.save(old, tmp_path / "a.npz")
    new = models.create("vit_nano", 5)
    checkpoints.load(new, tmp_path / "a.npz")
    for one, other in zip(new.variables, old.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_class_token_is_not_made_up(tmp_path):
    checkpoints.save(seeded("vit_nano"), tmp_path / "a.npz")
    model = models.create("vit_nano", 5, pool="token", image_size=48)
    with pytest.raises(ValueError, match=r"missing \(1\): cls"):
        checkpoints.load(model, tmp_path / "a.npz")


def test_a_mixer_of_another_size_is_refused_in_one_line(tmp_path):
    checkpoints.save(seeded("mixer_nano"), tmp_path / "a.npz")
    model = models.create("mixer_nano", 5, image_size=48)
    before = [v.numpy() for v in model.variables]
    with pytest.raises(ValueError) as error:
        checkpoints.load(model, tmp_path / "a.npz")
    text = str(error.value)
    assert "mixer_nano for images of 48 pixels with 5 classes" in text
    assert "made for images of 32 pixels" in text
    assert "--resolution 32" in text and "\n" not in text
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_width_is_not_called_another_size(tmp_path):
    checkpoints.save(seeded("mixer_micro"), tmp_path / "a.npz")
    model = models.create("mixer_nano", 5, image_size=48)
    with pytest.raises(ValueError, match="looks like mixer_micro with 5"):
        checkpoints.load(model, tmp_path / "a.npz")


def recipe(name, crop=None, **model):
    return Recipe(
        "test", Model(name, **model), Data("digits"), Preprocess(crop=crop)
    )


@pytest.mark.parametrize(
    "name, crop, size",
    [
        ("mixer_nano", 48, 48),
        ("mixer_nano", None, 32),
        ("vit_nano", 48, None),
        ("bit_nano", 48, None),
    ],
)
def test_the_resolution_reaches_the_network(name, crop, size):
    model = network.build(recipe(name, crop), 5, "float32")
    assert model.input_shape == (None, size, size, 3)
    made_for = model.get_config().get("image_size")
    assert made_for == (None if name == "bit_nano" else crop or 32)


def test_what_only_bit_has_is_refused():
    with pytest.raises(ValueError, match='vit_nano has no option "norm"'):
        network.build(recipe("vit_nano", norm="batch"), 5, "float32")


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("preprocess.crop=30", "multiple of 4, .* nearest: --resolution 32"),
        ("preprocess.crop=1", "got 1. The nearest: --resolution 4"),
        ("optimizer.clip_norm=0", "optimizer.clip_norm must be > 0; got 0.0"),
        ("schedule.cooldown_steps=3", "schedule.shape without drops"),
        ("schedule.learning_rate=-0.1", "learning_rate must be >= 0; got -0.1"),
        ("optimizer.weight_decay=-1", "weight_decay must be >= 0; got -1.0"),
        ("optimizer.momentum=1", r"momentum must be in \[0, 1\); got 1.0"),
    ],
)
def test_checks_before_tensorflow(assignment, message):
    made = recipe("vit_nano")
    check(made)
    with pytest.raises(ValueError, match=message):
        check(override(made, assignment))


def test_boundaries_are_for_drops():
    made = override(recipe("vit_nano"), "schedule.shape=cosine")
    check(made)
    with pytest.raises(ValueError, match="shape=drops; got cosine"):
        check(override(made, "schedule.boundaries=1,2"))


@pytest.mark.parametrize("name", ["vit_nano", "mixer_nano"])
def test_pre_training_and_transfer_by_command(name, tmp_path):
    shared = [
        "--dataset=digits",
        f"--model={name}",
        "--batch-size=32",
        "--eval-split=test[:64]",
        "--set=run.eval_every=20",
    ]
    family = name.split("_")[0]
    up, down = tmp_path / "up", tmp_path / "down"
    code = train.main(
        [f"--recipe={family}", "--resolution=32", "--steps=20"]
        + ["--set=schedule.learning_rate=0.002", "--set=loss=softmax"]
        + ["--set=model.head_bias=0", f"--workdir={up}", *shared]
    )
    assert code == 0
    kept = json.loads((up / "recipe.json").read_text())["recipe"]
    assert kept["optimizer"]["name"] == "adam"
    rows = [
        json.loads(line)
        for line in (up / "metrics.jsonl").read_text().splitlines()
    ]
    losses = [row["loss"] for row in rows]
    # The head starts at zero: all ten digits are equally probable.
    assert losses[0] == pytest.approx(np.log(10), abs=1e-3)
    assert rows[-1]["kind"] == "eval" and losses[-1] < np.log(10) - 0.005
    # At another size, a ViT goes on and a Mixer says why it does not.
    again = ["--recipe=transfer", f"--init={up}", "--steps=2", *shared]
    code = train.main([*again, "--resolution=40", f"--workdir={down}"])
    assert code == (0 if family == "vit" else 1)
    if family == "vit":
        with np.load(down / "final.npz") as arrays:
            places = arrays["Transformer/posembed_input/pos_embedding"]
        assert places.shape == (1, 100, 32)


@pytest.mark.slow
def test_a_run_resumes_with_adam(tmp_path):
    """Interrupted after 3 of 6 steps, it ends where it would have ended."""
    finals = []
    for folder, stops in (("whole", [6]), ("parts", [3, 6])):
        for steps in stops:
            arguments = [
                "--recipe=vit",
                "--dataset=digits",
                "--model=vit_nano",
                "--resolution=32",
                "--batch-size=16",
                "--steps=6",
                "--eval-split=none",
                "--set=run.checkpoint_every=3",
                "--set=schedule.learning_rate=0.01",
                f"--workdir={tmp_path / folder}",
            ]
            if steps == 3:
                stop_after(arguments, tmp_path / folder)
            else:
                assert train.main(arguments) == 0
        with np.load(tmp_path / folder / "final.npz") as arrays:
            finals.append({key: arrays[key] for key in arrays})
    whole, parts = finals
    for key, value in whole.items():
        np.testing.assert_allclose(parts[key], value, rtol=1e-6, atol=1e-7)


def stop_after(arguments, folder):
    """Trains, then leaves the directory as a run killed at step 3 would."""
    assert train.main(arguments) == 0
    for name in ("result.json", "final.npz"):
        (folder / name).unlink()
    state = folder / "checkpoints"
    for path in state.glob("ckpt-6*"):
        path.unlink()


def test_the_optimizer_of_a_recipe_is_a_field_like_any_other():
    made = override(recipe("bit_nano"), "optimizer.name=adam")
    assert made.optimizer.name == "adam"
    with pytest.raises(ValueError, match="must be one of sgd, adam"):
        override(made, "optimizer.name=adamw")
