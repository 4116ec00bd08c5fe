"""The sub-command `calibration`, from the command line to rows and panels."""

import argparse
import dataclasses
import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from bit_keras import checkpoints, models
from bit_keras.benchmarks import calibration, results
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.calibration import command, panels
from bit_keras.benchmarks.calibration.sets import (
    open_validation,
    trained_on,
)
from bit_keras.benchmarks.features import extract
from bit_keras.benchmarks.images import Preprocessing
from bit_keras.benchmarks.predictions import predict
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import open_source
from bit_keras.export import exporter, source

SIDE = 16
PREPROCESSING = Preprocessing(resize=SIDE, crop=SIDE)
TASKS = [
    {"name": name, "dataset": dataset, "train": train, "test": test}
    for name, dataset, train, test in (
        ("digits_task", "digits", "train", "test"),
        ("first", "digits", "train", "test[:100]"),
        ("seen", "digits", "train", "train[60%:70%]"),
        ("figures", "shapes", "train[:50]", "test[:80]"),
    )
]


@pytest.fixture(scope="module")
def export(tmp_path_factory, unverified):
    """A random network with a head that reads digits, trained on train[:50%].

    Its logits are nine times too large, so that it is too sure.
    """
    folder = tmp_path_factory.mktemp("export")
    keras.utils.set_random_seed(0)
    model = models.create("bit_tiny", num_classes=10)
    checkpoints.save(model, folder / "random.npz")
    features = extract(
        open_backbone(str(folder / "random.npz")),
        "digits",
        open_source("digits", "train[:50%]"),
        ("pre_logits",),
        PREPROCESSING,
        folder / "features",
        say=lambda message: None,
    )
    x = features.features["pre_logits"]
    mean, spread = x.mean(0), x.std(0) + 1e-3
    fitted = LogisticRegression(max_iter=200)
    fitted.fit((x - mean) / spread, features.labels)
    weights = 9 * fitted.coef_ / spread
    head = model.get_layer("head")
    head.kernel.assign(weights.T.reshape(head.kernel.shape))
    head.bias.assign(9 * fitted.intercept_ - weights @ mean)
    checkpoints.save(model, folder / "reader.npz")
    loaded = source.load(folder / "reader.npz")
    with unverified():
        made = exporter.export(loaded, folder / "out", say=lambda text: None)
    card = json.loads((made / "model.json").read_text())
    card["recipe"] = {"data": {"dataset": "digits"}}
    card["data"] = {"train": {"split": "train[:50%]"}}
    (made / "model.json").write_text(json.dumps(card))
    return made


@pytest.fixture(scope="module")
def bench(export, tmp_path_factory):
    """Calls the sub-command and returns its exit code."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tasks.json").write_text(json.dumps(TASKS))

    def call(*words, out="out", model=export):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args(
            [
                f"--model={model}",
                f"--resolution={SIDE}",
                f"--tasks-file={folder / 'tasks.json'}",
                f"--cache-dir={folder / 'features'}",
                f"--out={folder / out}",
                *words,
            ]
        )
        command.check(args)
        return command.run(args)

    call.folder = folder
    return call


WORDS = (
    "--tasks=digits_task",
    "--validation-split=train[50%:]",
    "--shifted=first",
    "--ood=figures",
)


@pytest.fixture(scope="module")
def frame(bench):
    assert bench(*WORDS) == 0
    return results.load([bench.folder / "out"])


def value(frame, task, protocol, metric):
    chosen = frame[["task", "protocol", "metric"]] == [task, protocol, metric]
    (row,) = frame[chosen.all(axis=1)].itertuples()
    return row


def test_every_number_is_a_row_of_its_own(frame):
    counts = frame.groupby(["benchmark", "task", "protocol"]).size()
    assert counts.to_dict() == {
        ("calibration", "digits_task", "raw"): 7,
        ("calibration", "digits_task", "temperature"): 7,
        ("calibration", "digits_task/first", "raw"): 7,
        ("calibration", "digits_task/first", "temperature"): 7,
        ("ood", "digits_task vs figures", "max_softmax_probability"): 5,
        ("ood", "digits_task vs figures", "max_logit"): 5,
        ("ood", "digits_task vs figures", "negative_energy"): 5,
    }
    assert frame["config_hash"].is_unique
    assert set(frame["endpoint"]) == {"logits"}
    assert set(frame["preprocessing"]) == {"resize 16, crop 16"}


def test_the_rows_are_the_metrics_of_the_logits(bench, export, frame):
    found = predict(
        open_backbone(str(export), resolution=SIDE),
        "digits_task",
        open_source("digits", "test"),
        PREPROCESSING,
        bench.folder / "features",
        num_classes=10,
        say=lambda message: None,
    )
    fitted = value(frame, "digits_task", "temperature", "nll").details
    for protocol, temperature in (
        ("raw", 1.0),
        ("temperature", fitted["temperature"]),
    ):
        expected = calibration.measure(
            found.logits, found.labels, temperature=temperature
        )
        for metric in ("accuracy", "top5", "nll", "brier", "ece", "mce"):
            row = value(frame, "digits_task", protocol, metric)
            assert row.value == getattr(expected, metric)
            assert row.n == len(found.labels)
        row = value(frame, "digits_task", protocol, "ece")
        assert row.details["bins"] == expected.curve.as_details()
        assert np.isnan(row.stderr)
        row = value(frame, "digits_task", protocol, "nll")
        assert row.stderr == expected.nll_stderr


def test_temperature_makes_a_model_honest_that_was_too_sure(frame):
    for task in ("digits_task", "digits_task/first"):
        before, after = (
            {
                metric: value(frame, task, protocol, metric).value
                for metric in ("accuracy", "nll", "brier", "ece")
            }
            for protocol in ("raw", "temperature")
        )
        # A linear head on a random network still reads digits.
        assert before["accuracy"] == after["accuracy"] > 0.8
        assert after["nll"] < before["nll"] / 2
        assert after["brier"] < before["brier"]
        assert after["ece"] < before["ece"]
    details = value(frame, "digits_task", "temperature", "ece").details
    assert details["temperature"] > 3
    assert details["validation"] == "digits train[50%:]"


def test_what_was_measured_is_not_measured_again(bench, frame, capsys):
    (bench.folder / "features").rename(bench.folder / "away")
    try:
        assert bench(*WORDS) == 0
        assert not (bench.folder / "features").exists()
    finally:
        (bench.folder / "away").rename(bench.folder / "features")
    told = capsys.readouterr()
    assert "digits_task: measured already" in told.err
    assert len(results.load([bench.folder / "out"])) == len(frame)
    # The tables are shown all the same.
    lines = told.out.splitlines()
    ece = value(frame, "digits_task", "raw", "ece").value
    assert f"{ece:.4f}" in lines[1]
    assert [line.split()[4] for line in lines[-3:]] == [
        "max_softmax_probability",
        "max_logit",
        "negative_energy",
    ]


def test_an_overlap_with_what_is_measured_is_refused(bench, capsys):
    """The task "seen" is tested on a part of the training split."""
    words = ("--tasks=digits_task", "--shifted=seen")
    code = bench(*words, "--validation-split=train[50%:]", out="overlap")
    told = capsys.readouterr().err
    assert code == 1
    assert "error: digits_task, temperature: The validation split" in told
    assert "digits_task/seen train[60%:70%] share 130 examples" in told
    rows = results.load([bench.folder / "overlap"])
    assert set(rows["protocol"]) == {"raw"}
    assert set(rows["task"]) == {"digits_task", "digits_task/seen"}


def test_training_images_are_warned_of(bench, frame, capsys):
    split = "--validation-split=train[40%:70%]"
    assert bench("--tasks=digits_task", split, out="trained") == 0
    told = capsys.readouterr().err
    assert "was trained on 129 of the 389 validation images" in told
    rows = results.load([bench.folder / "trained"])
    row = value(rows, "digits_task", "temperature", "nll")
    assert row.details["validation_trained_on"] == 129
    # Not so of the other half.
    other = value(frame, "digits_task", "temperature", "nll")
    assert "validation_trained_on" not in other.details


def test_what_the_model_was_trained_on_may_be_unknown(export, tmp_path):
    task = Task(name="a", dataset="digits", train="train", test="test")
    validation = open_source("digits", "train[:100]")
    assert trained_on(str(export), task, validation, None) == 100
    assert trained_on("bit_tiny", task, validation, None) == 0
    card = json.loads((export / "model.json").read_text())
    card["recipe"] = None
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert trained_on(str(tmp_path), task, validation, None) == 0


def test_a_few_images_per_class_were_trained_on(export, tmp_path):
    card = json.loads((export / "model.json").read_text())
    card["recipe"] = {"data": {"dataset": "digits"}}
    card["data"] = {"train": {"split": "train[10%:] (5 per class, seed 3)"}}
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "model.json").write_text(json.dumps(card))
    task = Task(name="a", dataset="digits", train="train", test="test")
    seen = {
        split: trained_on(
            str(tmp_path), task, open_source("digits", split), None
        )
        for split in ("train", "train[:10%]", "train[:50%]", "train[50%:]")
    }
    assert (seen["train"], seen["train[:10%]"]) == (50, 0)
    assert 0 < seen["train[:50%]"] == 50 - seen["train[50%:]"]
    # The directory of the run knows as much.
    run = tmp_path / "run"
    run.mkdir()
    facts = {"recipe": card["recipe"], "data": card["data"]}
    (run / "recipe.json").write_text(json.dumps(facts))
    validation = open_source("digits", "train")
    assert trained_on(str(run), task, validation, None) == 50
    # So does that of a benchmark's fine-tuning, in its own way.
    for split, number in (
        ("train[:30]", 30),
        ("train (2 per class, seed 0)", 20),
    ):
        facts["data"] = {"train": [split, "fingerprint"]}
        (run / "recipe.json").write_text(json.dumps(facts))
        assert trained_on(str(run), task, validation, None) == number


def test_training_images_in_a_folder_are_known_by_its_place(
    export, tmp_path, monkeypatch
):
    for number in range(12):
        path = tmp_path / "images" / "train" / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8, 3), 20 * number, np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    card = json.loads((export / "model.json").read_text())
    card["recipe"] = {"data": {"dataset": str(tmp_path / "images")}}
    card["data"] = {"train": {"split": "train[:75%]"}}
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "model.json").write_text(json.dumps(card))
    monkeypatch.chdir(tmp_path)
    # The same folder under another name.
    task = Task(name="a", dataset="./images", train="train", test="train")
    validation = open_source("./images", "train[50%:]")
    assert trained_on(str(tmp_path), task, validation, None) == 3


def test_without_a_validation_split_there_is_no_temperature(bench, capsys):
    assert bench("--tasks=first", out="alone") == 0
    assert "no --validation-split" in capsys.readouterr().err
    rows = results.load([bench.folder / "alone"])
    assert set(rows["protocol"]) == {"raw"}


def test_vtabs_own_validation_split_needs_no_option():
    task = Task(name="a", dataset="digits", train="train", test="test")
    assert open_validation(task, None, None) is None
    vtab = dataclasses.replace(task, val200="train[:200]")
    assert open_validation(vtab, None, None).split == "train[:200]"
    assert open_validation(vtab, "train[:20]", None).split == "train[:20]"
    with pytest.raises(ValueError, match="is what a is tested on"):
        open_validation(vtab, "test", None)


def test_another_head_is_refused_and_says_what_it_needs(bench, capsys):
    assert bench("--tasks=figures", out="wrong") == 1
    told = capsys.readouterr().err
    assert "error: figures needs a model with a head of" in told
    assert told.count("error:") == 1
    assert not (bench.folder / "wrong" / results.FILE_NAME).exists()


def test_a_shift_to_other_classes_is_refused(bench, capsys):
    assert bench("--tasks=first", "--shifted=figures", out="classes") == 1
    told = capsys.readouterr().err
    assert "figures cannot be a shift of first: their classes differ" in told
    assert len(results.load([bench.folder / "classes"])) == 7


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "--tasks is missing"),
        (["--tasks=digits_tsk"], 'there is no task .*Did you mean "digits_ta'),
        (["--tasks=first", "--ood=figure"], '--ood: .*Did you mean "figures"'),
        (["--tasks=first", "--shifted=frist"], '--shifted: .* "first"'),
        (["--tasks=first", "--shifted=first"], "--shifted: first is one of"),
        (["--tasks=first", "--validation-split=test"], "is tested on"),
        (["--tasks=first", "--validation-split=dev"], "not what first learns"),
        (["--tasks=first", "--model=no/such"], "no/such"),
    ],
)
def test_slips_are_told_before_tensorflow_loads(bench, words, message):
    with pytest.raises((ValueError, OSError), match=message):
        bench(*words, out="never")
    assert not (bench.folder / "never").exists()


def test_an_empty_slice_fails_after_the_raw_rows(bench, capsys):
    code = bench("--tasks=first", "--validation-split=train[:0]", out="empty")
    assert code == 1
    assert 'split: "train[:0]" of digits is empty' in capsys.readouterr().err
    assert len(results.load([bench.folder / "empty"])) == 7


def test_panels_show_tables_and_diagrams(frame):
    made = panels.panels(frame)
    assert [panel.title for panel in made] == [
        "Calibration",
        "Reliability of bit_tiny/1 on digits_task",
        "Reliability of bit_tiny/1 on digits_task/first",
        "Out-of-distribution detection",
    ]
    table = made[0].table
    assert table["protocol"].tolist() == ["raw", "temperature"] * 2
    assert table["temperature"].isna().tolist() == [True, False] * 2
    raw, scaled = made[1].plot.axes
    assert raw.title.startswith("raw, ECE") and ", T " in scaled.title
    row = value(frame, "digits_task", "raw", "ece")
    shown = [one for one in raw.series if one.kind == "bars"]
    told = [text for one in shown for text in one.hover]
    assert sum(int(text.split()[0]) for text in told) == row.n
    heights = sorted(y for one in shown for y in one.y)
    accuracy = row.details["bins"]["accuracy"]
    assert heights == sorted(y for y in accuracy if y is not None)
    assert made[3].table["auroc"].between(0, 1).all()


def test_panels_tell_models_of_one_name_apart(frame):
    other = frame.assign(model_sha256="f" * 64)
    both = panels.panels(pd.concat([frame, other]))
    titles = [panel.title for panel in both if panel.plot]
    assert len(titles) == 4 and any("(ffffffff)" in t for t in titles)
    assert len(both[0].table) == 8


def test_no_rows_are_no_panels(frame):
    assert panels.panels(frame[:0]) == []
