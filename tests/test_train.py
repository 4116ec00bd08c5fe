"""The command users type, in this process and as a process of its own."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from bit_keras import train
from bit_keras.workdir import saved_steps

TINY = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_tiny",
    "--resolution=16",
    "--batch-size=32",
    "--steps=4",
    "--eval-split=test[:40]",
    # Not after every step.
    "--set=run.eval_every=4",
)


def run(workdir, *args):
    return train.main([*TINY, f"--workdir={workdir}", *args])


def rows(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# Answers without TensorFlow.
EARLY = {
    "help": (("--help",), 0, "--recipe RECIPE"),
    "recipe typo": (("--recipe=bitm",), 2, 'Did you mean "bit_m"?'),
    "model typo": (
        ("--recipe=bit_m", "--model=bit_r50x"),
        2,
        'Did you mean "bit_r50x',
    ),
    "released typo": (
        ("--recipe=bit_m", "--init=bit_r50x1.i22k"),
        2,
        'Did you mean "bit_r50x1.i21k"?',
    ),
    "untagged": (
        ("--recipe=bit_m", "--init=bit_r50x1"),
        2,
        "bit_r50x1.i21k",
    ),
    "init of no file": (
        ("--recipe=bit_m", "--init=runs/none"),
        2,
        'no file or folder "runs/none"',
    ),
    "init of another model": (
        ("--recipe=bit_m", "--model=bit_tiny", "--init=bit_r50x1.i21k"),
        2,
        "weights for bit_r50x1, but the model is bit_tiny",
    ),
    "recipe file": (
        ("--recipe=none/recipe.json",),
        2,
        'there is no file "none/recipe.json"',
    ),
    "never": (
        ("--recipe=bit_m", "--set=run.eval_every=0"),
        2,
        "run.eval_every must be >= 1",
    ),
    "field typo": (
        ("--recipe=bit_m", "--set=schedule.step=3"),
        2,
        'Did you mean "schedule.steps"?',
    ),
    "field type": (
        ("--recipe=bit_m", "--set=run.batch_size=many"),
        2,
        'run.batch_size must be of type int; got "many"',
    ),
    "no assignment": (
        ("--recipe=bit_m", "--set=xla"),
        2,
        "section.field=value",
    ),
    "no dataset": (("--recipe=transfer",), 2, "needs --dataset"),
    "misspelt, required": (
        ("--recipee=bit_m", "--steps=3"),
        2,
        'unknown argument --recipee. Did you mean "--recipe"',
    ),
    "none of what is required": (("--steps=3",), 2, "required: --recipe"),
    "negative": (("--recipe=bit_m", "--steps=-3"), 2, "--steps must be >= 1"),
    "keep none": (
        ("--recipe=bit_m", "--set=run.keep_checkpoints=0"),
        2,
        "run.keep_checkpoints must be >= 1",
    ),
    "evaluate none": (
        ("--recipe=bit_m", "--set=run.eval_batch_size=-5"),
        2,
        "run.eval_batch_size must be >= 1",
    ),
    "negative mixing": (
        ("--recipe=bit_m", "--set=preprocess.mixup_alpha=-1"),
        2,
        "preprocess.mixup_alpha must be >= 0; got -1.0",
    ),
    "crop larger than the image": (
        (
            *("--recipe=bit_s", "--set=preprocess.train=resize_crop"),
            *("--set=preprocess.resize=200", "--resolution=224"),
        ),
        2,
        "at least the crop that is cut from it, --resolution 224; got 200",
    ),
    "TPU elsewhere": (
        ("--recipe=bit_m", "--tpu=pod", "--strategy=one"),
        2,
        "--tpu is for --strategy tpu; got one",
    ),
    "folder for a recipe": (("--recipe=dir.json",), 2, "dir.json"),
    "inexact": (
        ("--recipe=bit_m", "--micro-batch=2", "--set=model.norm=batch"),
        2,
        "not exact with model.norm=batch",
    ),
    "uneven parts": (
        ("--recipe=bit_m", "--batch-size=128", "--micro-batch=7"),
        2,
        "--micro-batch must divide --batch-size 128; got 7",
    ),
    "flag typo": (
        ("--recipe=bit_m", "--batchsize=3"),
        2,
        'Did you mean "--batch-size"?',
    ),
}
PROBE = """
import atexit, sys
from bit_keras import train
def heavy():
    found = {"tensorflow", "keras", "numpy"} & set(sys.modules)
    print("imported:", sorted(found), flush=True)
atexit.register(heavy)
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("case", EARLY)
def test_mistakes_are_answered_without_tensorflow(case, tmp_path):
    args, code, message = EARLY[case]
    (tmp_path / "dir.json").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert message in done.stdout + done.stderr
    assert "imported: []" in done.stdout
    assert "Traceback" not in done.stderr


def test_mistakes_are_answered_fast():
    # Half a second is promised: of the processor, as the machine is shared.
    command = [sys.executable, "-m", "bit_keras.train", "--recipe", "bitm"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert after.ru_utime - before.ru_utime < 0.5


def recipe_file(path, **fields):
    recipe = {"name": "mine", "data": {"dataset": "digits"}, **fields}
    path.write_text(json.dumps({"recipe": recipe}))
    return f"--recipe={path}"


def test_a_finished_recipe_keeps_its_proportions(tmp_path):
    option = recipe_file(
        tmp_path / "recipe.json",
        schedule={"steps": 1000, "warmup_steps": 50, "boundaries": [300, 600]},
        preprocess={"train": "resize_crop", "resize": 160, "crop": 128},
    )
    args = [option, "--steps=100", "--resolution=224"]
    _, recipe = train.build_recipe(train.parser().parse_args(args))
    schedule = recipe.schedule
    assert (schedule.steps, schedule.warmup_steps) == (100, 5)
    assert schedule.boundaries == (30, 60)
    assert (recipe.preprocess.resize, recipe.preprocess.crop) == (280, 224)


def test_an_unfinished_recipe_file_is_refused(tmp_path):
    option = recipe_file(tmp_path / "recipe.json")
    with pytest.raises(ValueError, match="not finished: it has no schedule.st"):
        train.build_recipe(train.parser().parse_args([option]))


def test_a_tpu_by_name_is_a_strategy():
    args = train.parser().parse_args(["--recipe=bit_m", "--tpu=pod"])
    assert train.build_recipe(args)[1].run.strategy == "tpu"


def test_a_run_leaves_everything_in_its_directory(tmp_path, capfd):
    assert run(tmp_path) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert result["steps"] == 4 and result["eval_examples"] == 40
    assert 0 <= result["top1"] <= 1
    assert recipe["recipe"]["schedule"]["boundaries"] == [3, 3, 4]
    assert recipe["data"]["train"]["num_examples"] == 1297
    assert recipe["versions"]["bit_keras"]
    assert (tmp_path / "labels.txt").read_text().split() == list("0123456789")
    assert (tmp_path / "final.npz").exists()
    assert (tmp_path / "best.npz").exists()
    train_rows = [r for r in rows(tmp_path) if r["kind"] == "train"]
    assert [r["step"] for r in train_rows] == [1, 2, 3, 4]
    assert {
        "step",
        "epoch",
        "loss",
        "top1",
        "learning_rate",
        "images_per_second",
    } <= set(train_rows[0])
    # A zero head scores the ten digits alike.
    np.testing.assert_allclose(train_rows[0]["loss"], np.log(10), rtol=1e-5)
    error = capfd.readouterr().err
    assert "ETA" in error and "top-1" in error


def test_finished_runs_are_kept_and_others_refused(tmp_path, capfd):
    assert run(tmp_path) == 0
    before = (tmp_path / "result.json").read_bytes()
    assert run(tmp_path) == 0
    assert "finished" in capfd.readouterr().err
    assert run(tmp_path, "--seed=5") == 1
    error = capfd.readouterr().err
    assert "run.seed: 0 there, 5 here" in error and "--overwrite" in error
    assert (tmp_path / "result.json").read_bytes() == before
    assert run(tmp_path, "--seed=5", "--overwrite") == 0
    assert rows(tmp_path)[0]["step"] == 1


def test_init_takes_the_backbone_of_a_finished_run(tmp_path, capfd):
    upstream, down = tmp_path / "up", tmp_path / "down"
    assert run(upstream) == 0
    assert "there is no --init" in capfd.readouterr().err
    # Learning rate 0: the backbone stays what it started from.
    assert (
        run(down, f"--init={upstream}", "--set=schedule.learning_rate=0") == 0
    )
    assert "there is no --init" not in capfd.readouterr().err
    with (
        np.load(upstream / "final.npz") as a,
        np.load(down / "final.npz") as b,
    ):
        assert set(a) == set(b)
        for key in a:
            if "/head/" in key:
                assert not b[key].any()
            else:
                np.testing.assert_array_equal(a[key], b[key])


def test_a_head_is_kept_for_the_same_classes_in_the_same_order(tmp_path, capfd):
    up, keep = tmp_path / "up", "--set=model.head=keep"
    assert run(up) == 0
    same = (f"--init={up}", keep, "--set=schedule.learning_rate=0")
    assert run(tmp_path / "same", *same) == 0
    with (
        np.load(up / "final.npz") as a,
        np.load(tmp_path / "same" / "final.npz") as b,
    ):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    capfd.readouterr()
    for names, message in {
        "0132456789": "in another order: class 2 is 2 here and 3 there",
        "01a3456789": "of other classes: class 2 is 2 here and a there",
    }.items():
        (up / "labels.txt").write_text("".join(f"{n}\n" for n in names))
        for init in (up, up / "final.npz"):
            where = tmp_path / f"{names}-{init.name}"
            assert run(where, f"--init={init}", keep) == 1
            assert message in capfd.readouterr().err


def test_a_signal_during_an_evaluation_loses_no_row(
    tmp_path, monkeypatch, capfd
):
    from bit_keras.steps import Steps

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    often = "--set=run.eval_every=2"
    assert run(whole, often) == 0
    evaluate, calls = Steps.evaluate, []

    def interrupted(self, batch):
        calls.append(1)
        # Two batches of 32 an evaluation: in the middle of the second one.
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, batch)

    monkeypatch.setattr(Steps, "evaluate", interrupted)
    assert run(cut, often) == 143
    assert "Stopped at step 4, saved" in capfd.readouterr().err
    monkeypatch.undo()
    assert run(cut, often) == 0
    kept = [
        [(r["kind"], r["step"], r["top1"]) for r in rows(path)]
        for path in (whole, cut)
    ]
    assert kept[0] == kept[1]
    results = [
        json.loads((path / "result.json").read_text()) for path in (whole, cut)
    ]
    assert results[0]["top1"] == results[1]["top1"] is not None


def test_exploding_loss_names_step_rate_and_checkpoint(tmp_path, capfd):
    code = run(
        tmp_path,
        "--set=schedule.learning_rate=1e30",
        "--set=schedule.warmup_steps=1",
        "--set=run.checkpoint_every=1",
    )
    error = capfd.readouterr().err
    assert code == 3
    # Step 1 has rate 0; two steps later the weights overflow.
    assert "diverged at step 3" in error
    assert "(learning rate 1e+30)" in error
    assert f"checkpoint: {tmp_path / 'checkpoints' / 'ckpt-2'}." in error
    assert not (tmp_path / "result.json").exists()


def test_unfinished_run_cannot_be_an_init(tmp_path, capfd):
    run(tmp_path / "a", "--set=schedule.learning_rate=1e30")
    assert run(tmp_path / "b", f"--init={tmp_path / 'a'}") == 1
    assert "has not finished" in capfd.readouterr().err


@pytest.mark.parametrize(
    "args, message",
    [
        (("--dataset=shapes", "--label=color"), 'Did you mean "colour"?'),
        (("--train-split=tain",), 'Did you mean "train"?'),
        (("--train-split=train[:10]",), "10 examples, less than one batch"),
        (("--dataset=no_such_folder/",), "no_such_folder"),
        (("--train-split=train[:0]",), "empty"),
        (("--strategy=tpu",), "TPU"),
    ],
)
def test_unfit_data_are_refused_before_the_first_step(
    tmp_path, capfd, args, message
):
    assert run(tmp_path, *args) == 1
    error = capfd.readouterr().err
    assert message in error
    # The recipe in seven lines at most, then the error in one.
    assert error.strip().splitlines()[-1].startswith("error: "), error
    assert "Traceback" not in error
    assert not saved_steps(tmp_path / "checkpoints")


def test_one_class_is_refused(tmp_path, capfd):
    import tensorflow as tf

    folder = tmp_path / "images" / "train" / "cat"
    folder.mkdir(parents=True)
    png = tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)).numpy()
    for index in range(40):
        (folder / f"{index}.png").write_bytes(png)
    code = run(
        tmp_path / "run",
        f"--dataset={tmp_path / 'images'}",
        "--eval-split=none",
    )
    assert code == 1
    assert 'only the class "cat"' in capfd.readouterr().err


def image_folder(path, bad=()):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for name, level in (("dark", 40), ("light", 210)):
            folder = path / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(level - 30, level + 30, (24, 20, 3))
                image = tf.constant(pixels, tf.uint8)
                jpeg = tf.io.encode_jpeg(image).numpy()
                (folder / f"{index}.jpg").write_bytes(jpeg)
    for name in bad:
        (path / name).write_bytes((path / name).read_bytes()[:90])


def test_a_folder_with_corrupt_images_trains_and_counts_them(tmp_path, capfd):
    bad = ("train/dark/3.jpg", "train/light/7.jpg", "test/dark/1.jpg")
    image_folder(tmp_path / "images", bad)
    dataset = f"--dataset={tmp_path / 'images'}"
    code = run(tmp_path / "run", dataset, "--eval-split=test", "--batch-size=8")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    last = rows(tmp_path / "run")[-1]
    assert code == 0
    assert last["examples"] == 11 and last["bad_images"] == 1
    # 4 steps of 8 cover 32 of 40 images: one or both of the two.
    assert result["bad_images"] in (1, 2)
    assert result["eval_bad_images"] == 1
    said = capfd.readouterr().err
    assert f"{result['bad_images']} in training, 1 in the evaluation" in said

    code = run(
        tmp_path / "strict",
        dataset,
        "--eval-split=test",
        "--batch-size=8",
        "--on-bad-image=error",
    )
    assert code == 1
    assert "Corrupt image" in capfd.readouterr().err


def test_no_evaluation_when_none_is_wanted(tmp_path, capfd):
    assert run(tmp_path, "--eval-split=none") == 0
    assert {row["kind"] for row in rows(tmp_path)} == {"train"}
    assert not (tmp_path / "best.npz").exists()
    assert "No evaluation" in capfd.readouterr().err


def test_a_run_repeats_from_its_recipe_file(tmp_path):
    assert run(tmp_path / "a", "--deterministic") == 0
    code = train.main(
        [
            f"--recipe={tmp_path / 'a' / 'recipe.json'}",
            f"--workdir={tmp_path / 'b'}",
        ]
    )
    assert code == 0
    with (
        np.load(tmp_path / "a" / "final.npz") as a,
        np.load(tmp_path / "b" / "final.npz") as b,
    ):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_unwritable_workdir_is_named(tmp_path, capfd):
    (tmp_path / "file").write_text("mine")
    assert run(tmp_path / "file" / "run") == 1
    error = capfd.readouterr().err
    assert f"--workdir {tmp_path / 'file' / 'run'} cannot be written" in error


def test_ctrl_c_before_the_first_step_is_one_line(tmp_path, monkeypatch, capfd):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("bit_keras.data.pair.open_sources", interrupted)
    assert run(tmp_path) == 130
    assert "Stopped before the first step" in capfd.readouterr().err


def test_few_shot_subset_may_be_smaller_than_a_batch(tmp_path):
    assert run(tmp_path, "--examples-per-class=2") == 0
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert recipe["data"]["train"]["num_examples"] == 20


def test_ablation_norms_train(tmp_path):
    code = run(
        tmp_path, "--set=model.norm=batch", "--set=model.standardize=false"
    )
    assert code == 0
    with np.load(tmp_path / "final.npz") as arrays:
        means = [k for k in arrays if k.endswith("moving_mean")]
        assert means and all(np.abs(arrays[k]).max() > 0 for k in means)


@pytest.mark.parametrize("recipe", ["bit_s", "bit_m", "bit_l", "transfer"])
def test_every_recipe_has_a_smoke_run(tmp_path, recipe):
    code = train.main(
        [
            f"--recipe={recipe}",
            "--smoke",
            "--steps=2",
            "--eval-split=test[:64]",
            f"--workdir={tmp_path}",
        ]
    )
    assert code == 0
    assert (tmp_path / "final.npz").exists()


def test_a_label_outside_the_classes_names_the_example(tmp_path, capfd):
    import dataclasses

    from bit_keras import distribution, recipes, trainer
    from bit_keras.data.sources import open_source
    from bit_keras.workdir import Workdir

    source = open_source("digits", "train")
    nine = dataclasses.replace(source, class_names=source.class_names[:9])
    args = train.parser().parse_args([*TINY])
    recipe = recipes.load("transfer").finish(
        train.build_recipe(args)[1], nine.num_examples, nine.image_size
    )
    with Workdir(tmp_path) as workdir:
        workdir.claim(recipe, {"data": {}})
        with pytest.raises(ValueError, match=r"outside 0 to 8.*digits/\d+"):
            trainer.train(
                recipe, nine, None, workdir, distribution.strategy("one")
            )
