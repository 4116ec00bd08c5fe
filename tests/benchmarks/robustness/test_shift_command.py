"""Accuracy before and after a shift, from the command line to the rows."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import checkpoints, models
from bit_keras.arguments import Parser
from bit_keras.benchmarks import results, task_data
from bit_keras.benchmarks.__main__ import main
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.predictions import predict
from bit_keras.benchmarks.robustness import command as robustness_command
from bit_keras.benchmarks.tasks import Task

TASKS = {
    "clean": Task(
        name="clean", dataset="mnist_mini", train="train", test="test[:200]"
    ),
    "shifted": Task(
        name="shifted", dataset="mnist_m_mini", train="train", test="test[:150]"
    ),
    "pacs": Task(
        name="pacs", dataset="pacs_mini", train="train", test="test[:112]"
    ),
    "photos": Task(
        name="photos",
        dataset="imagenet1k_sample_mini",
        train="validation[:1]",
        test="validation",
    ),
}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Networks with random heads, by number of classes."""
    folder, paths = tmp_path_factory.mktemp("models"), {}
    for classes in (7, 10, 1000):
        tf.keras.utils.set_random_seed(classes)
        model = models.create("bit_tiny", num_classes=classes)
        kernel = model.get_layer("head").kernel
        kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
        paths[classes] = str(folder / f"head{classes}.keras")
        checkpoints.save(model, paths[classes])
    return paths


@pytest.fixture
def command(shared, tmp_path, heads):
    """Runs the sub-command; returns its rows."""
    path = tmp_path / "tasks.json"
    keys = ("name", "dataset", "train", "test")
    tasks = [{k: getattr(task, k) for k in keys} for task in TASKS.values()]
    path.write_text(json.dumps(tasks))

    def run(classes, *words, data_dir=None):
        parser = Parser(prog="test", allow_abbrev=False)
        robustness_command.add_arguments(parser)
        args = parser.parse_args(
            [
                "shift",
                f"--model={heads[classes]}",
                "--resolution=16",
                f"--out={tmp_path / 'out'}",
                f"--tasks-file={path}",
                f"--data-dir={data_dir or shared / 'data/tfds'}",
                *words,
            ]
        )
        robustness_command.check(args)
        assert robustness_command.run(args) == 0
        file = results.ResultsFile(tmp_path / "out" / results.FILE_NAME)
        return {(r.task, r.protocol, r.metric): r for r in file.rows()}

    return run


def answers(model, task, how, data_dir, classes, cache):
    """What the model says of a task's test images, and what is right."""
    source = task_data.open_split(task, "test", str(data_dir))
    found = predict(
        open_backbone(model, resolution=16),
        task.name,
        source,
        how,
        cache,
        num_classes=classes,
        say=lambda message: None,
    )
    return np.array(found.logits), found.labels


def test_a_pair_of_tasks(command, heads, shared, tmp_path, capsys):
    rows = command(10, "--source=clean", "--shifted=shifted")
    expected = {}
    for name in ("clean", "shifted"):
        logits, labels = answers(
            heads[10],
            TASKS[name],
            Preprocessing(resize=16, crop=16),
            shared / "data/tfds",
            10,
            tmp_path / "apart",
        )
        expected[name] = np.mean(logits.argmax(axis=1) == labels)
    found = rows["clean", "shift", "accuracy"]
    assert (found.value, found.n) == (expected["clean"], 200)
    found = rows["clean -> shifted", "shift", "accuracy"]
    assert (found.value, found.n) == (expected["shifted"], 150)
    drop = rows["clean -> shifted", "shift", "accuracy_drop"]
    assert drop.value == expected["clean"] - expected["shifted"]
    assert len(rows) == 3
    # The table for people has the same numbers; again is not measured again.
    assert f"{expected['shifted']:.4f}" in capsys.readouterr().out
    times = {key: row.time for key, row in rows.items()}
    again = command(10, "--source=clean", "--shifted=shifted")
    assert {key: row.time for key, row in again.items()} == times
    assert "3 numbers were in" in capsys.readouterr().err


def test_accuracy_by_another_feature(command):
    rows = command(7, "--source=pacs", "--by=domain")
    parts = [row for key, row in rows.items() if "/domain=" in key[0]]
    # Each prefix of 28 images holds every class in every domain once.
    assert [row.n for row in parts] == [28] * 4
    whole = rows["pacs", "shift", "accuracy"].value
    assert np.mean([row.value for row in parts]) == pytest.approx(whole)
    assert {row.task for row in parts} == {
        f"pacs/domain={name}"
        for name in ("art_painting", "cartoon", "photo", "sketch")
    }


def test_folders_of_images_are_compared(heads, tmp_path):
    for place, shade in (("indoors", 40), ("outdoors", 200)):
        for name in "abcdefg":
            folder = tmp_path / place / "test" / name
            folder.mkdir(parents=True)
            Image.new("L", (8, 8), shade).save(folder / "1.png")
    entries = [
        {"name": n, "dataset": str(tmp_path / n), "train": "train"}
        for n in ("indoors", "outdoors")
    ]
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{**e, "test": "test"} for e in entries]))
    words = ["robustness", "shift", "--model", heads[7], "--source=indoors"]
    words += ["--shifted=outdoors", f"--tasks-file={path}", "--resolution=16"]
    assert main([*words, f"--out={tmp_path / 'out'}"]) == 0
    rows = results.ResultsFile(tmp_path / "out" / results.FILE_NAME).rows()
    # All images of a folder are the same: one of seven is right.
    found = {r.task: r.value for r in rows if r.metric == "accuracy"}
    assert found == {
        "indoors": pytest.approx(1 / 7),
        "indoors -> outdoors": pytest.approx(1 / 7),
    }


def test_other_classes_and_features_are_refused(command):
    with pytest.raises(ValueError, match="pacs cannot be a shift of clean"):
        command(10, "--source=clean", "--shifted=pacs")
    with pytest.raises(ValueError, match='"domian".*Did you mean "domain"'):
        command(7, "--source=pacs", "--by=domian")
    with pytest.raises(ValueError, match="head of 10 classes; that of .* 7"):
        command(7, "--source=clean", "--shifted=shifted")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--shifted=shifted"], "--source: what is shifted a shift of"),
        (["--shifted=imagenet_b"], 'Did you mean "imagenet_'),
        (["--source=clean"], "--shifted needs the name"),
        (["--source=claen", "--shifted=shifted"], 'Did you mean "clean"'),
        (
            ["--source=clean", "--shifted=shifted,imagenet_a"],
            "in a run of its own",
        ),
        (["--shifted=imagenet_a", "--by=label"], "--by is for own tasks"),
        (["--shifted=imagenet_a", "--metadata=x"], "--metadata belongs to"),
        (["--images=."], "need each other"),
    ],
)
def test_wrong_arguments_are_told(command, words, problem):
    with pytest.raises(ValueError, match=problem):
        command(1000, *words)


def test_a_set_is_no_shift_of_itself(command):
    with pytest.raises(ValueError, match="clean is the --source itself"):
        command(10, "--source=clean", "--shifted=clean")


def test_a_named_set_that_is_not_there_says_how_to_get_it(command):
    with pytest.raises(FileNotFoundError, match="tfds.builder.'imagenet_a:0"):
        command(1000, "--shifted=imagenet_a")
