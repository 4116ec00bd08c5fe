"""Few-shot accuracies by fine-tuning, from the command line to the rows."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import checkpoints, models, trainer
from bit_keras.benchmarks import __main__ as command
from bit_keras.benchmarks import fewshot_finetune, finetune, results, tasks
from bit_keras.export import __main__ as export_command
from bit_keras.models.bit import BiT
from bit_keras.steps import Steps

RANDOM = ("--model=bit_tiny", "--init=random")
FAST = (
    "--mode=finetune",
    "--set=schedule.steps=3",
    "--batch-size=16",
    "--resolution=32",
    "--shots=1",
)
# Nothing is learnt: what training starts from is what it ends with.
FROZEN = "--set=schedule.learning_rate=0"
TASKS = [
    {
        "name": "my_digits",
        "dataset": "digits",
        "train": "train[:300]",
        "test": "test[:60]",
    }
]


@pytest.fixture(scope="module")
def tasks_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "digits.json"
    path.write_text(json.dumps(TASKS))
    return path


@pytest.fixture(scope="module")
def run(tasks_file):
    """The sub-command; returns its exit code."""

    def run(out, *words):
        fixed = (*FAST, f"--tasks-file={tasks_file}", f"--out={out}")
        return command.main(["fewshot", *fixed, *words])

    return run


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """The folder of two finished runs."""
    out = tmp_path_factory.mktemp("measured")
    assert run(out, *RANDOM, "--seeds=2") == 0
    return out


@pytest.fixture(scope="module")
def exports(tmp_path_factory, unverified):
    """A folder with an export of bit_tiny, and its archive."""
    out = tmp_path_factory.mktemp("exports")
    words = ["bit_tiny", "--init=random", f"--out={out}", "--archive"]
    with unverified():
        assert export_command.main(words) == 0
    return out


def rows(out):
    return results.ResultsFile(out / results.FILE_NAME).rows()


def values(out):
    return {(row.shots, row.seed): row.value for row in rows(out)}


def runs(out):
    return sorted((out / "runs").iterdir())


def recipe_of(folder):
    return json.loads((folder / "recipe.json").read_text())


@pytest.fixture
def trained(monkeypatch):
    """Counts the trainings."""
    calls, train = [], trainer.train

    def counted(*args, **kwargs):
        calls.append(args)
        return train(*args, **kwargs)

    monkeypatch.setattr(trainer, "train", counted)
    return calls


def test_every_run_is_a_row_and_a_directory(measured):
    found = rows(measured)
    assert [(row.shots, row.seed) for row in found] == [(1, 0), (1, 1)]
    assert len({row.config_hash for row in found}) == 2
    for row in found:
        # Other settings than HyperRule's are never averaged with its own.
        settings = "run.batch_size=16, schedule.steps=3"
        assert row.protocol == f"finetune, {settings}"
        assert (row.metric, row.n) == ("accuracy", 60)
        assert row.model == "bit_tiny.random" and row.task == "my_digits"
        assert row.preprocessing == (
            "train: resize 40, random crop 32, flip; test: resize 32"
        )
        folder = measured / "runs" / f"my_digits-{row.config_hash}"
        assert row.details == {"steps": 3, "run": str(folder)}
        result = json.loads((folder / "result.json").read_text())
        assert row.value == result["top1"]
        assert (result["train_examples"], result["eval_examples"]) == (10, 60)
        assert result["eval_split"] == "test[:60]"
        # Hundreds of runs: of each its record and weights, nothing else big.
        assert (folder / "final.npz").exists()
        assert not (folder / "checkpoints").exists()
        assert not (folder / "start.npz").exists()
    assert len(runs(measured)) == 2


def test_the_recipe_is_hyperrule_on_a_balanced_subset(measured):
    found = [recipe_of(folder) for folder in runs(measured)]
    splits = {record["data"]["train"][0] for record in found}
    assert splits == {
        f"train[:300] (1 per class, seed {seed})" for seed in (0, 1)
    }
    assert {record["recipe"]["run"]["seed"] for record in found} == {0, 1}
    for record in found:
        recipe = record["recipe"]
        assert recipe["hyperrule"] == "released"
        # 0.003 for a batch of 512 (section 3.3), scaled to 16.
        assert recipe["schedule"]["learning_rate"] == 0.003 * 16 / 512
        assert recipe["preprocess"]["mixup_alpha"] == 0
        assert recipe["optimizer"]["weight_decay"] == 0
        assert recipe["run"]["eval_every"] == 3


def test_the_median_of_all_runs_is_printed(run, measured, trained, capfd):
    before = (measured / results.FILE_NAME).read_bytes()
    assert run(measured, *RANDOM, "--seeds=2") == 0
    assert (measured / results.FILE_NAME).read_bytes() == before
    assert trained == []
    said = capfd.readouterr()
    assert "my_digits, 1 shots, seed 1: measured already" in said.err
    (_, line) = said.out.splitlines()
    assert float(line.split()[-1]) == pytest.approx(
        np.median([row.value for row in rows(measured)]), abs=5e-5
    )


def test_more_seeds_add_runs(run, measured, trained, tmp_path):
    out = shutil.copytree(measured, tmp_path / "more")
    assert run(out, *RANDOM, "--seeds=3") == 0
    assert len(trained) == 1
    assert {**values(measured), (1, 2): rows(out)[-1].value} == values(out)


def test_a_run_finished_but_not_written_is_not_repeated(
    run, measured, trained, tmp_path
):
    # As a kill leaves it between the end of a run and its row.
    out = shutil.copytree(measured, tmp_path / "lost")
    (out / results.FILE_NAME).unlink()
    folder = runs(out)[0]
    (folder / "start.npz").write_bytes(b"left behind")
    assert run(out, *RANDOM, "--seeds=2") == 0
    assert trained == [] and values(out) == values(measured)
    assert not (folder / "start.npz").exists()


def test_a_signal_saves_and_the_same_command_goes_on(
    run, measured, tmp_path, monkeypatch, capfd
):
    evaluate = Steps.evaluate

    def interrupted(self, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, batch)

    monkeypatch.setattr(Steps, "evaluate", interrupted)
    assert run(tmp_path, *RANDOM, "--seeds=1") == 143
    error = capfd.readouterr().err
    assert "Stopped at step 3, saved. The same command goes on" in error
    assert rows(tmp_path) == []
    monkeypatch.undo()
    assert run(tmp_path, *RANDOM, "--seeds=1") == 0
    assert "Resuming at step 3" in capfd.readouterr().err
    assert values(tmp_path) == {(1, 0): values(measured)[1, 0]}


def test_what_fails_leaves_the_others(run, tmp_path, capfd):
    path = tmp_path / "bad.json"
    bad = {**TASKS[0], "name": "bad", "test": "tset"}
    path.write_text(json.dumps([bad, *TASKS]))
    # 19 sixes among the first 300 digits.
    words = ("--seeds=1", "--shots=1,25", f"--tasks-file={path}")
    assert run(tmp_path, *RANDOM, *words) == 1
    assert values(tmp_path).keys() == {(1, 0)}
    said = capfd.readouterr()
    assert len(said.out.splitlines()) == 2
    *_, data, few = said.err.splitlines()
    assert data.startswith("error: task bad: ") and '"test"' in data
    assert few.startswith("error: my_digits, 25 shots, seed 0: examples_per_c")
    assert "6 (19)" in few


def test_a_diverging_run_is_an_error_of_one_line(run, tmp_path, capfd):
    words = ("--seeds=1", "--set=schedule.learning_rate=1e30")
    assert run(tmp_path, *RANDOM, *words) == 1
    error = capfd.readouterr().err
    assert "error: my_digits, 1 shots, seed 0: Training diverged" in error
    assert "Traceback" not in error and rows(tmp_path) == []


def test_the_head_starts_at_zero_and_the_body_where_it_was(
    run, tmp_path, trained
):
    """Section 3.3; even if the new classes are as many as the old ones."""
    model = models.create("bit_tiny", 10)
    generator = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(variable + 0.1 * generator.random(variable.shape))
    checkpoints.save(model, tmp_path / "mine.npz")
    assert (
        run(tmp_path, f"--model={tmp_path}/mine.npz", "--seeds=1", FROZEN) == 0
    )
    (folder,) = runs(tmp_path)
    with (
        np.load(tmp_path / "mine.npz") as old,
        np.load(folder / "final.npz") as new,
    ):
        assert set(old) == set(new)
        for key in old:
            if "/head/" in key:
                assert old[key].any() and not new[key].any()
            else:
                np.testing.assert_array_equal(old[key], new[key])
    # A head of zeros cannot tell the classes apart.
    assert json.loads((folder / "result.json").read_text())["loss"] == (
        pytest.approx(np.log(10), rel=1e-5)
    )


@pytest.mark.parametrize("name", ["bit_tiny/1", "bit_tiny-1.tar.gz"])
def test_an_export_starts_from_its_own_weights(exports, name):
    start = finetune.open_start(str(exports / name))
    assert start.name == "bit_tiny/1"
    named = finetune.open_start("bit_tiny", "random")
    pairs = zip(
        start.loaded.model.variables, named.loaded.model.variables, strict=True
    )
    for mine, other in pairs:
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
def test_an_export_is_measured(run, exports, tmp_path):
    model = exports / "bit_tiny" / "1"
    assert run(tmp_path, f"--model={model}", "--seeds=1", FROZEN) == 0
    (row,) = rows(tmp_path)
    assert row.model == "bit_tiny/1" and row.protocol.startswith("finetune, ")


@pytest.mark.slow
def test_a_folded_export_cannot_be_finetuned(tmp_path, unverified):
    words = ["bit_tiny", "--init=random", f"--out={tmp_path}", "--folded"]
    with unverified():
        assert export_command.main(words) == 0
    with pytest.raises(ValueError, match="with --folded.*Export it again"):
        finetune.open_start(str(tmp_path / "bit_tiny" / "1"))


def test_what_can_be_probed_but_not_finetuned(tmp_path):
    module = tf.Module()
    module.__call__ = tf.function(
        lambda images: tf.reduce_mean(images, (1, 2)),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    tf.saved_model.save(module, str(tmp_path / "foreign"))
    with pytest.raises(ValueError, match="SavedModel of others.*linear probe"):
        finetune.open_start(str(tmp_path / "foreign"))
    own = BiT((1,), width=0.25, groups=8, stem="strided", name="one_unit")
    own.save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match='"one_unit", which is not registered'):
        finetune.open_start(str(tmp_path / "own.keras"))


def test_the_exceptions_of_a_task_are_kept():
    """Section 3.3: no flip or crop where it changes the label."""
    start = finetune.open_start("bit_tiny", "random")
    for name, flip, crop in (
        ("vtab_dsprites_location", False, False),
        ("vtab_smallnorb_azimuth", False, True),
        ("vtab_clevr_count", True, False),
        ("pets", True, True),
    ):
        task = tasks.get(name)
        preprocess = finetune.hyperrule_recipe(start, task, None, ()).preprocess
        assert (preprocess.flip, preprocess.random_crop) == (flip, crop)


def test_the_hash_is_of_all_that_decides(tasks_file):
    from bit_keras.benchmarks import tasks_file as reader

    start = finetune.open_start("bit_tiny", "random")
    (task,) = reader.from_json(tasks_file)

    def hashes(overrides=(), shots=(1, 5), seeds=(0, 1)):
        recipe = finetune.hyperrule_recipe(start, task, 16, overrides)
        found = fewshot_finetune.trials(task, recipe, shots, seeds, None)
        return {fewshot_finetune.config_hash(start, trial) for trial in found}

    assert len(hashes()) == 4 and hashes() == hashes()
    assert hashes(shots=(5,)) < hashes()
    assert not hashes() & hashes(["schedule.steps=3"])
    assert not hashes() & hashes(["preprocess.crop=32"])
