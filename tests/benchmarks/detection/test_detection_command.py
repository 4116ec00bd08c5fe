"""The sub-command detection: training, rows, pictures, export, resume."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import models
from bit_keras.arguments import Parser
from bit_keras.benchmarks import results
from bit_keras.benchmarks.detection import (
    command,
    detector,
    export,
    measure,
    panels,
    pictures,
    train,
)
from bit_keras.benchmarks.detection.augment import eval_batches
from bit_keras.benchmarks.detection.average_precision import ground_truth
from bit_keras.benchmarks.detection.evaluate import evaluate
from bit_keras.benchmarks.detection.rectangles import rectangles
from bit_keras.data.preprocess import decode
from bit_keras.recipes.coco_retinanet import Durations, RetinaNet
from bit_keras.stops import Interrupted, NotFiniteError

pytest.importorskip("keras_hub", reason="needs the extra detection")
pytest.importorskip("pycocotools", reason="needs the extra detection")

TINY = RetinaNet(
    size=32,
    batch_size=4,
    learning_rate=0.01,
    head_convolutions=1,
    anchor_scale=2.0,
)


def write_coco(folder, split, images):
    """Images of a set as a folder of COCO's format."""
    (folder / split).mkdir(parents=True)
    made = {"images": [], "annotations": [], "categories": []}
    for number, name in enumerate(images.class_names, 1):
        made["categories"].append({"id": number, "name": name})
    for number, example in enumerate(images.read().as_numpy_iterator(), 1):
        name, pixels = f"{number}.png", decode(example["image"]).numpy()
        Image.fromarray(pixels).save(folder / split / name)
        height, width, _ = pixels.shape
        size = {"height": height, "width": width}
        made["images"].append({"id": number, "file_name": name, **size})
        for box, label in zip(
            example["boxes"].tolist(), example["labels"].tolist(), strict=True
        ):
            left, top, right, bottom = box
            made["annotations"].append(
                {
                    "id": len(made["annotations"]) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                }
            )
    # One of no area, which is dropped and counted.
    made["annotations"].append(
        {
            "id": 10_000,
            "image_id": 1,
            "category_id": 1,
            "bbox": [3, 3, 0, 5],
            "area": 0,
            "iscrowd": 0,
        }
    )
    path = folder / split / "_annotations.coco.json"
    path.write_text(json.dumps(made), "utf-8")


def arguments(*words):
    parser = Parser(prog="detection", allow_abbrev=False)
    command.add_arguments(parser)
    args = parser.parse_args([str(word) for word in words])
    command.check(args)
    return args


class Bench:
    """The command, carried out once on made-up images."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "out"
        self.data, self.export = folder / "data", folder / "exported"
        write_coco(self.data, "train", rectangles(6, side=40))
        write_coco(self.data, "test", rectangles(3, side=40, seed=1))
        self.words = [
            *("--model", "bit_nano", "--init", "random"),
            *("--dataset", self.data, "--size", 32, "--batch-size", 2),
            *("--steps", 2, "--set", "head_convolutions=1"),
            *("--set", "anchor_scale=2", "--out", self.out),
        ]
        assert command.run(arguments(*self.words, "--export", self.export)) == 0

    @property
    def rows(self):
        return results.ResultsFile(self.out / results.FILE_NAME).rows()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("detection"))


def test_rows_say_what_was_measured(bench):
    rows = {row.metric: row for row in bench.rows}
    assert {"AP", "AP50", "AP75", "AR100"} <= set(rows)
    assert any(metric.startswith("AP50/") for metric in rows)
    row = rows["AP50"]
    assert (row.benchmark, row.model, row.n) == (
        "detection",
        "bit_nano.random",
        3,
    )
    assert 0 <= row.value <= 1
    assert row.details["train_boxes"]["empty"] == 1
    assert row.details["test_boxes"]["empty"] == 1
    assert row.details["schedule"]["steps"] == 2
    assert "square 32" in row.preprocessing


def test_what_was_measured_is_not_measured_again(bench, monkeypatch, capsys):
    count = len(bench.rows)

    def nothing(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(measure, "trained", nothing)
    assert command.run(arguments(*bench.words, "--export", bench.export)) == 0
    assert len(bench.rows) == count
    said = capsys.readouterr().err
    assert re.search(r"seed 0: AP \d.* AP50 \d.*measured already", said)
    assert f"benchmarks report {bench.out} " in said
    with pytest.raises(AssertionError, match="trained again"):
        command.run(arguments(*bench.words, "--seeds", 2))


def test_something_else_is_not_overwritten_by_an_export(bench):
    kept = bench.folder / "mine"
    kept.mkdir()
    (kept / "thesis.tex").write_text("years", "utf-8")
    args = arguments(*bench.words, "--export", kept)
    with pytest.raises(ValueError, match="mine.*there already"):
        command.run(args)
    assert [p.name for p in kept.iterdir()] == ["thesis.tex"]


def test_report_shows_numbers_and_pictures(bench):
    frame = results.load([bench.out])
    (panel,) = panels.panels(frame, [bench.out])
    assert panel.table.loc[0, "model"] == "bit_nano.random"
    value = frame.loc[frame["metric"] == "AP50", "value"].iloc[0]
    assert panel.table.loc[0, "AP50"] == f"{100 * value:.1f}"
    assert "1 dropped without area" in panel.text
    bars, seeds = panel.plot.axes[0].series
    assert bars.y[1] == seeds.y[1] == pytest.approx(100 * value)
    assert seeds.hover[1] == f"bit_nano.random\nAP50 {100 * value:.1f}, seed 0"
    named = panel.more[0].frame.columns[3:]
    assert {"AP", *(f"AP50/{name}" for name in named)} <= set(panel.csv)
    assert len(named) >= 1
    ((caption, content),) = panel.images
    assert caption == "bit_nano.random, seed 0"
    assert content.startswith(b"\x89PNG")
    (without,) = panels.panels(frame)
    assert without.images == ()


def test_many_classes_are_in_the_table_only(bench):
    frame = results.load([bench.out])
    one = frame[frame["metric"] == "AP50"]
    many = [one.assign(metric=f"AP50/c{number}") for number in range(80)]
    (panel,) = panels.panels(pd.concat([frame, *many]))
    assert len(panel.plot.axes[0].x_ticks) < 20
    assert "AP50/c79" in panel.csv


def test_panel_has_the_mean_over_seeds(bench):
    frame = results.load([bench.out])
    other = frame.assign(seed=1, value=frame["value"] + 0.1)
    (panel,) = panels.panels(pd.concat([frame, other]))
    mean = 100 * (frame.loc[frame["metric"] == "AP", "value"].iloc[0] + 0.05)
    assert panel.table.loc[0, "AP"].startswith(f"{mean:.1f} ± 7.1")
    assert panel.table.loc[0, "seeds"] == 2


def test_other_trainings_are_no_seeds(bench):
    """Of another split or recipe, with the same steps, batch and rate."""
    frame = results.load([bench.out])
    other = frame.assign(
        value=frame["value"] + 0.1,
        details=[{**d, "training": "another"} for d in frame["details"]],
    )
    (panel,) = panels.panels(pd.concat([frame, other]))
    assert list(panel.table["seeds"]) == [1, 1]
    assert "±" not in "".join(panel.table["AP"])


def test_settings_name_what_is_unusual_and_the_splits(bench):
    (settings,) = {row.details["settings"] for row in bench.rows}
    assert ", head_convolutions 1, anchor_scale 2.0; train to " in settings


def test_half_written_rows_are_measured_again(bench):
    assert set(measure._whole(bench.rows)) == {bench.rows[0].config_hash}
    assert measure._whole(bench.rows[:-1]) == {}


def test_pictures_of_files_whose_names_are_no_unicode():
    images = rectangles(1, side=40)
    (example,) = images.read().as_numpy_iterator()
    odd = {**example, "id": b"/data/caf\xe9/1.jpg"}
    images = dataclasses.replace(
        images, read=lambda: tf.data.Dataset.from_tensors(odd)
    )
    (batch,) = eval_batches(images, 32, 1)
    truth = ground_truth(batch)
    content = pictures.sheet(images, truth, truth)
    assert content.startswith(b"\x89PNG")


def test_exported_detector_finds_what_the_trained_one_finds(tmp_path):
    """On images that are not square; equal in plain TensorFlow."""
    made = detector.build(models.create("bit_nano", 0), 3, TINY, seed=0)
    # As if trained: a network that is sure of something everywhere.
    bias = made.classification_head.prediction_layer.bias
    bias.assign(tf.zeros(bias.shape))
    export.write(made, 32, ("red", "green", "blue"), tmp_path / "1", "note")
    assert (tmp_path / "1" / "labels.txt").read_text() == "red\ngreen\nblue\n"
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    for name, images in {
        "square": rectangles(2, side=48),
        "wide": rectangles(2, side=48),
    }.items():
        (batch,) = eval_batches(images, 32, 2)
        ours = detector.detect(made, batch["images"])
        pixels = [
            tf.cast(decode(example["image"]), tf.float32) / 255
            for example in images.read()
        ]
        pixels = tf.stack(pixels)
        if name == "wide":
            # Gray beyond the image is what the square has there.
            pixels = pixels[:, :30]
            squares = batch["images"].numpy()
            squares[:, 20:] = 0
            ours = detector.detect(made, tf.constant(squares))
        found = loaded.signatures["detect"](images=pixels)
        assert int(found["count"].numpy().min()) > 5
        limits = [48, pixels.shape[1]] * 2
        boxes = np.clip(ours["boxes"] * 48 / 32, 0, limits)
        np.testing.assert_allclose(found["scores"], ours["scores"], atol=2e-3)
        if name == "square":
            np.testing.assert_allclose(found["boxes"], boxes, atol=1e-2)
            np.testing.assert_array_equal(found["classes"], ours["classes"])
        assert float(found["boxes"].numpy().max()) <= 48
    with pytest.raises(ValueError, match="there already"):
        export.write(made, 32, ("red", "green", "blue"), tmp_path / "1")


def fresh():
    backbone = models.create("bit_nano", 0)
    return detector.build(backbone, 3, TINY, seed=0, pretrained=False)


@pytest.mark.slow
def test_interrupted_training_ends_as_the_uninterrupted_one(
    tmp_path, monkeypatch
):
    images, schedule = rectangles(9, side=40), Durations(6, 1, (4,))
    settings = (images, TINY, schedule, 0)
    whole, parts = fresh(), fresh()
    train.train(whole, *settings, tmp_path / "whole", print)
    original = train._Loop.on_train_batch_end

    def interrupt(self, batch, logs=None):
        if self.state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(train._Loop, "on_train_batch_end", interrupt)
        with pytest.raises(Interrupted) as stop:
            train.train(parts, *settings, tmp_path / "parts", print)
    assert (stop.value.signum, stop.value.step) == (signal.SIGTERM, 3)
    parts, said = fresh(), []
    train.train(parts, *settings, tmp_path / "parts", said.append)
    assert "Resuming at step 3" in said[0]
    for a, b in zip(whole.variables, parts.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    # Only the weights are left, and they are those.
    left = sorted(p.name for p in (tmp_path / "parts").iterdir())
    assert left == [train.WEIGHTS]
    again = fresh()
    train.train(again, *settings, tmp_path / "parts", print)
    for a, b in zip(again.variables, parts.variables, strict=True):
        np.testing.assert_array_equal(a, b)


ON_TWO_DEVICES = """
import sys, tempfile
from pathlib import Path
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

from bit_keras import distribution, models
from bit_keras.benchmarks.detection import detector, train
from bit_keras.benchmarks.detection.rectangles import rectangles
from bit_keras.recipes.coco_retinanet import Durations, RetinaNet

recipe = RetinaNet(size=32, batch_size=4, learning_rate=0.01,
                   head_convolutions=1, anchor_scale=2.0)

def weights(strategy, steps):
    with distribution.strategy(strategy).scope():
        backbone = models.create("bit_nano", 0)
        made = detector.build(backbone, 3, recipe, 0, pretrained=False)
    if steps:
        train.train(made, rectangles(9, side=40), recipe,
                    Durations(steps, 0, ()), 0, Path(tempfile.mkdtemp()), print)
    return np.concatenate([v.numpy().ravel() for v in made.variables])

start, one, two = weights("one", 0), weights("one", 2), weights("mirrored", 2)
moved, apart = np.linalg.norm(one - start), np.linalg.norm(two - one)
print(moved, apart)
assert moved > 0.01 and apart < 0.25 * moved
"""


@pytest.mark.soak
def test_two_devices_take_the_steps_of_one():
    """Nearly: each divides by the objects of its own half of the batch."""
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_training_that_diverges_stops_and_says_so(tmp_path):
    wild = dataclasses.replace(TINY, learning_rate=1e12)
    with pytest.raises(NotFiniteError, match="learning_rate"):
        train.train(
            fresh(),
            rectangles(8, side=40),
            wild,
            Durations(20, 0, ()),
            0,
            tmp_path,
            print,
        )
    assert not (tmp_path / train.WEIGHTS).exists()


@pytest.mark.soak
def test_a_few_hundred_steps_find_most_rectangles(tmp_path):
    """The whole road learns: AP50 from nothing to above a half."""
    recipe = dataclasses.replace(TINY, size=64, batch_size=8)
    recipe = dataclasses.replace(recipe, learning_rate=0.03)
    backbone = models.create("bit_nano", 0)
    made = detector.build(backbone, 3, recipe, seed=0, pretrained=False)
    test = rectangles(40, side=64, seed=1)
    before = evaluate(made, test, 64, print).metrics["AP50"]
    schedule = Durations(300, 10, (200, 260))
    train.train(made, rectangles(400), recipe, schedule, 0, tmp_path, print)
    after = evaluate(made, test, 64, print).metrics["AP50"]
    assert before < 0.05
    assert after > 0.5


@pytest.mark.parametrize(
    "words, message",
    [
        (["--steps", "0"], "--steps must be >= 1; got 0"),
        (["--seeds", "0"], "--seeds must be >= 1; got 0"),
        (["--batch-size", "0"], "batch_size must be >= 1"),
        (["--set", "learning_rat=1"], 'Did you mean "learning_rate"?'),
        (["--data-dir", "nowhere"], 'there is no folder "nowhere"'),
        (["--model", "bit_tinny"], "bit_tiny"),
    ],
)
def test_wrong_arguments_are_named(words, message):
    basis = ["--model", "bit_nano", "--init", "random"]
    basis += ["--dataset", "voc/2007", "--out", "out"]
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        arguments(*basis, *words)
    assert message in str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="bit-keras.detection"):
        arguments(
            *("--model", "bit_nano", "--init", "random"),
            *("--dataset", "voc/2007", "--out", "out"),
        )
