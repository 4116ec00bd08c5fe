"""Shape or texture, from the command line to the rows."""

import argparse
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras import checkpoints, models
from bit_keras.arguments import Parser
from bit_keras.benchmarks import results
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.robustness import command as robustness_command
from bit_keras.benchmarks.robustness import cue_conflict_command
from bit_keras.benchmarks.robustness.label_space import imagenet_classes

# Two outputs for cats, none for most categories.
NAMES = ["n02123045 tabby", "clock", "n02123159", "truck", "thing", "knife"]
CATEGORY = ["cat", "clock", "cat", "truck", None, "knife"]


@pytest.fixture
def command(shared, tmp_path):
    path = tmp_path / "tasks.json"
    task = {
        "name": "conflict",
        "dataset": "cue_conflict_mini",
        "train": "test[:1]",
        "test": "test[:512]",
    }
    path.write_text(json.dumps([task]))
    tf.keras.utils.set_random_seed(0)
    model = models.create("bit_tiny", num_classes=len(NAMES))
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(3).normal(size=kernel.shape))
    checkpoints.save(model, tmp_path / "head.keras")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))

    def run(*words):
        parser = Parser(prog="test", allow_abbrev=False)
        robustness_command.add_arguments(parser)
        args = parser.parse_args(
            [
                "cue_conflict",
                f"--model={tmp_path / 'head.keras'}",
                "--resolution=16",
                "--task=conflict",
                f"--out={tmp_path / 'out'}",
                f"--tasks-file={path}",
                f"--data-dir={shared / 'data/tfds'}",
                *words,
            ]
        )
        robustness_command.check(args)
        assert robustness_command.run(args) == 0
        file = results.ResultsFile(tmp_path / "out" / results.FILE_NAME)
        return {row.metric: row for row in file.rows()}

    return run


def test_the_rows_are_those_of_counting_one_by_one(command, shared, tmp_path):
    rows = command(f"--labels={tmp_path / 'names.txt'}")
    builder = tfds.core.read_only_builder.builder_from_files(
        "cue_conflict_mini", data_dir=shared / "data/tfds"
    )
    data = builder.as_dataset(
        split="test[:512]", decoders={"image": tfds.decode.SkipDecoding()}
    )
    names = builder.info.features["label"].names
    how = Preprocessing(resize=16, crop=16)
    model = open_backbone(str(tmp_path / "head.keras"), resolution=16)
    function = model.features(("logits",))
    shape = texture = conflict = agree = 0
    for example in data:
        one = names[int(example["label"])]
        two = names[int(example["texture_label"])]
        agree += one == two
        if one == two or not {one, two} <= set(CATEGORY):
            continue
        logits = function(how(example["image"])[None])["logits"][0].numpy()
        powers = np.exp(logits - logits.max())
        mean = {
            name: powers[[c == name for c in CATEGORY]].mean()
            for name in ("cat", "clock", "knife", "truck")
        }
        decision = max(mean, key=mean.get)
        conflict += 1
        shape += decision == one
        texture += decision == two
    assert shape and texture
    found = rows["shape_bias"]
    assert (found.value, found.n) == (
        shape / (shape + texture),
        shape + texture,
    )
    assert rows["shape_accuracy"].value == shape / conflict
    assert rows["texture_accuracy"].value == texture / conflict
    assert rows["texture_accuracy"].n == conflict
    details = found.details
    assert details["no_conflict"] == agree == 32
    assert details["unknown"] == 512 - 32 - conflict
    assert details["classes"] == {"cat": 2, "clock": 1, "knife": 1, "truck": 1}
    assert sum(one["shape"] for one in details["categories"]) == shape


def test_without_names_the_command_says_what_is_needed(command, tmp_path):
    with pytest.raises(ValueError, match="nothing tells the names of the 6"):
        command()
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="names 2 classes; the head .* has 6"):
        command(f"--labels={tmp_path / 'names.txt'}")
    with pytest.raises(FileNotFoundError, match="no_such.txt"):
        command("--labels=no_such.txt")
    with pytest.raises(ValueError, match='Did you mean "conflict"'):
        command("--task=conflicts")


def test_a_wrong_texture_feature_is_told(command, tmp_path):
    words = 'no feature "texture".* Did you mean "texture_label"'
    with pytest.raises(ValueError, match=words):
        command(f"--labels={tmp_path / 'names.txt'}", "--texture-label=texture")


def test_a_head_of_1000_is_imagenets(tmp_path):
    args = argparse.Namespace(labels=None, init=None, model="bit_r50x1.i1k.npz")
    assert cue_conflict_command.class_names(args, 1000) == imagenet_classes()


def test_an_export_knows_its_names(tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    args = argparse.Namespace(labels=None, init=None, model=str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert cue_conflict_command.class_names(args, 2) == ("cat", "dog")
