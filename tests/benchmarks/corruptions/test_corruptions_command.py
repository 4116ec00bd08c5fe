"""`robustness corruptions`, from the command line to rows and panels."""

import argparse
import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from bit_keras.benchmarks import corruptions, results, task_data
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.corruptions import command, measure, panels
from bit_keras.benchmarks.corruptions.error import mce
from bit_keras.benchmarks.corruptions.images import CorruptedImages
from bit_keras.benchmarks.images import Preprocessing, ShortSide
from bit_keras.benchmarks.predictions import Predictions
from bit_keras.benchmarks.tasks import Task

SMALL = Preprocessing(resize=32, crop=32)
LAND = {
    "name": "land",
    "dataset": "eurosat_mini",
    "train": "train[:20]",
    "test": "test[:40]",
}
WORLD = {
    "name": "world",
    "dataset": "imagenet1k_sample_mini",
    "train": "validation[:10]",
    "test": "validation[10:18]",
}


@pytest.fixture
def encoded(shared):
    task = Task(**LAND)
    source = task_data.open_split(task, "test", f"{shared}/data/tfds")
    return [example["image"] for example in source.read().take(3)]


def images(name="gaussian_noise", severity=3, geometry=SMALL, crop=32):
    return CorruptedImages(
        geometry=geometry, corruption=name, severity=severity, crop=crop
    )


def test_text_says_all_that_is_done():
    assert str(images()) == (
        "resize 32, crop 32, gaussian_noise 3 (cifar10_c constants)"
    )
    made = images("frost", 5, ShortSide.imagenet(224), 480)
    assert str(made) == (
        "short side 256, crop 224, frost 5 (imagenet_c constants, drawn), "
        "resize 480"
    )
    assert made.constants == "imagenet_c"


def test_an_image_is_corrupted_alike_in_any_order_and_run(encoded):
    function = images()

    def through(files):
        dataset = tf.data.Dataset.from_tensor_slices(files).map(
            function, num_parallel_calls=2
        )
        return [image.numpy() for image in dataset]

    forward, backward = through(encoded), through(encoded[::-1])
    for one, other in zip(forward, backward[::-1], strict=True):
        assert one.shape == (32, 32, 3) and one.dtype == np.float32
        assert np.array_equal(one, other)
    eager = function(encoded[0]).numpy()
    np.testing.assert_array_equal(eager, forward[0])


def test_images_do_not_share_their_noise(encoded):
    noise = [images()(one).numpy() - SMALL(one).numpy() for one in encoded]
    assert np.corrcoef([one.ravel() for one in noise])[0, 1] < 0.2


def test_pixels_are_those_of_corrupt(encoded):
    contrast = images("contrast", 4)
    levels = np.uint8(np.round(255 * SMALL(encoded[0]).numpy()))
    expected = corruptions.corrupt(levels, "contrast", 4, seed=0)
    made = 255 * contrast(encoded[0]).numpy()
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_a_larger_model_sees_the_corrupted_image_resized(encoded):
    made = images("pixelate", 5, crop=48)(encoded[0])
    small = images("pixelate", 5)(encoded[0])
    np.testing.assert_allclose(made, tf.image.resize(small, (48, 48)))


def test_a_corruption_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match='Did you mean "snow"'):
        images("snov")


def parse(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(
        ["--model=bit_tiny", "--init=random", "--out=o", *words]
    )


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "--tasks is missing"),
        (("--tasks=pets", "--types=fogg"), '--types: .* Did you mean "fog"'),
        (("--tasks=pets", "--types="), "--types: there is no corruption"),
        (("--tasks=pets", "--severities=6"), 'go from 1 to 5; got "6"'),
        (("--tasks=pets", "--severities=0"), "--severities takes positive"),
        (("--tasks=petz",), "--tasks: there is no task or group"),
    ],
)
def test_wrong_arguments_are_said_in_one_line(words, message):
    with pytest.raises(ValueError, match=message) as error:
        command.check(parse(*words))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def backbones():
    """Tiny networks with heads of 10 and of 1000 classes, by that number."""
    import keras

    from bit_keras import models

    made = {}
    for classes in (10, 1000):
        keras.utils.set_random_seed(0)
        made[classes] = models.create("bit_tiny", num_classes=classes)
    return made


@pytest.fixture
def measured(shared, tmp_path, backbones, monkeypatch):
    """Runs the command in `tmp_path`; returns its exit code, rows, messages."""

    def run(task, classes, *words, resolution=32):
        path = tmp_path / f"head{classes}.keras"
        if not path.exists():
            # A head of zeros, as ours begin, would guess one class.
            model = backbones[classes]
            kernel = model.trainable_variables[-2]
            rng = np.random.default_rng(0)
            kernel.assign(rng.normal(size=kernel.shape, scale=0.1))
            model.save(path)
        tasks = tmp_path / "tasks.json"
        tasks.write_text(json.dumps([task]))
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args(
            [
                f"--model={path}",
                f"--resolution={resolution}",
                f"--tasks-file={tasks}",
                f"--data-dir={shared}/data/tfds",
                f"--out={tmp_path / 'out'}",
                *words,
            ]
        )
        said = []
        monkeypatch.setattr(command, "_say", said.append)
        command.check(args)
        code = command.run(args)
        file = results.ResultsFile(tmp_path / "out" / results.FILE_NAME)
        return code, file.rows(), said

    return run


def test_rows_are_those_asked_for_and_measured_once(measured, capsys):
    words = ("--types=fog,frost", "--severities=2,5")
    code, rows, said = measured(LAND, 10, *words)
    assert code == 0
    tasks = ["clean", "frost-2", "frost-5", "fog-2", "fog-5"]
    assert [row.task for row in rows] == [f"land/{name}" for name in tasks]
    assert {(r.benchmark, r.protocol, r.metric, r.n) for r in rows} == {
        ("corruptions", "cifar10_c", "accuracy", 40)
    }
    clean = {"corruption": "clean", "severity": 0, "resolution": 32}
    assert rows[0].details == clean
    assert rows[1].details["frost"].startswith("drawn")
    assert rows[4].details == clean | {"corruption": "fog", "severity": 5}
    assert len({row.config_hash for row in rows}) == 5
    assert any("5/5" in line and "ETA" in line for line in said)
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["corruption", "0", "2", "5", "mean"]
    assert [line.split()[0] for line in table[2:]] == ["clean", "frost", "fog"]

    code, again, said = measured(LAND, 10, *words)
    assert (code, again) == (0, rows)
    assert said == ["land: 5 of 5 measured already"]
    assert capsys.readouterr().out.splitlines() == table


def test_accuracies_are_those_of_the_model(measured, shared, tmp_path):
    _, rows, _ = measured(LAND, 10, "--types=contrast", "--severities=3")
    backbone = open_backbone(str(tmp_path / "head10.keras"), resolution=32)
    task = Task(**LAND)
    source = task_data.open_split(task, "test", f"{shared}/data/tfds")
    function = images("contrast", 3)
    hits = []
    for example in source.read():
        batch = function(example["image"])[None]
        logits = backbone.features(("logits",))(batch)["logits"]
        hits.append(int(tf.argmax(logits[0])) == int(example["label"]))
    assert rows[1].value == pytest.approx(np.mean(hits))
    assert rows[1].stderr == pytest.approx(
        (np.mean(hits) * (1 - np.mean(hits)) / 40) ** 0.5
    )


@pytest.fixture
def guessing(monkeypatch):
    """Stands in for the model: logits by chance, others for other images."""

    def predict(backbone, name, source, preprocessing, cache_dir, **options):
        rng = np.random.default_rng(list(str(preprocessing).encode()))
        classes = options["num_classes"]
        labels = np.arange(source.num_examples) % classes
        logits = rng.normal(size=(len(labels), classes))
        logits[np.arange(len(labels)), labels] += 2
        return Predictions(logits, labels, [str(n) for n in labels])

    monkeypatch.setattr(measure, "predict", predict)


def test_means_come_when_everything_is_measured(measured, guessing, capsys):
    first = ",".join(corruptions.names()[:14])
    _, rows, _ = measured(LAND, 10, f"--types={first}")
    assert {row.metric for row in rows} == {"accuracy"}
    _, rows, _ = measured(LAND, 10, f"--types={corruptions.names()[14]}")
    (mean,) = [row for row in rows if row.metric != "accuracy"]
    assert (mean.task, mean.metric) == ("land", "mean_corruption_error")
    errors = [1 - r.value for r in rows if r.details.get("severity")]
    assert len(errors) == 75
    assert mean.value == pytest.approx(np.mean(errors))
    capsys.readouterr()
    _, again, _ = measured(LAND, 10)
    assert again == rows
    said = capsys.readouterr().out
    assert f"mean corruption error {mean.value:.4f}: of all 15" in said


def test_imagenet_has_mce_and_is_corrupted_at_224(measured, guessing):
    _, rows, _ = measured(WORLD, 1000)
    by_metric = {r.metric: r for r in rows if r.metric != "accuracy"}
    assert list(by_metric) == ["mean_corruption_error", "mce", "relative_mce"]
    errors = {}
    for row in rows[1:76]:
        errors.setdefault(row.details["corruption"], []).append(1 - row.value)
    assert by_metric["mce"].value == pytest.approx(mce(errors))
    assert rows[0].preprocessing == "short side 37, crop 32"
    assert rows[1].preprocessing == (
        "short side 256, crop 224, gaussian_noise 1 (imagenet_c constants), "
        "resize 32"
    )
    assert {row.protocol for row in rows} == {"imagenet_c"}
    panel = panels.panels(frame_of(rows))[0]
    assert list(panel.table["corruption"][-2:]) == ["mce", "relative_mce"]
    assert "AlexNet" in panel.text


def test_imagenet_goes_through_the_model(measured):
    words = ("--types=defocus_blur", "--severities=1")
    code, rows, _ = measured(WORLD, 1000, *words)
    assert code == 0
    assert [row.task for row in rows] == ["world/clean", "world/defocus_blur-1"]


def test_a_model_without_the_head_is_refused_with_the_repair(measured):
    code, rows, said = measured(LAND, 1000, "--types=fog")
    assert (code, rows) == (1, [])
    (error,) = [line for line in said if line.startswith("error:")]
    assert "needs a model with a head of 10 classes" in error
    assert "Transfer it to this task first" in error


def frame_of(rows):
    frame = pd.DataFrame([vars(row) for row in rows])
    return frame.astype({"shots": "Int64", "seed": "Int64"})


def made_row(
    model, name, severity, value, metric="accuracy", sha="a" * 64, side=64
):
    condition = f"{name}-{severity}" if severity else "clean"
    task = f"land/{condition}" if metric == "accuracy" else "land"
    return results.Row(
        benchmark="corruptions",
        model=model,
        model_sha256=sha,
        upstream=None,
        task=task,
        group=None,
        protocol="tiny_imagenet_c",
        preprocessing=f"resize {side}, crop {side}",
        metric=metric,
        value=value,
        stderr=None,
        n=100,
        details={
            "corruption": name or "clean",
            "severity": severity,
            "resolution": side,
        },
        config_hash=f"{sha[0]}{model}{name}{severity}{side}",
    )


def test_panels_draw_a_line_per_model_from_the_clean_accuracy():
    rows = []
    for model, fall in (("one", 0.1), ("two", 0.05)):
        rows.append(made_row(model, None, 0, 0.9))
        rows += [made_row(model, "fog", s, 0.9 - fall * s) for s in range(1, 6)]
        rows.append(
            made_row(model, "all", 0, 3 * fall, "mean_corruption_error")
        )
    (panel,) = panels.panels(frame_of(rows))
    assert panel.title == "land under corruption, tiny_imagenet_c"
    (axes,) = panel.plot.axes
    assert axes.title == "fog"
    one, two = axes.series
    assert (one.label, two.label) == ("one", "two")
    np.testing.assert_allclose(one.x, range(6))
    np.testing.assert_allclose(one.y, [90, 80, 70, 60, 50, 40])
    assert list(panel.table["corruption"]) == [
        "clean",
        "fog",
        "mean_corruption_error",
    ]
    np.testing.assert_allclose(panel.table["one"], [10, 40, 30])
    np.testing.assert_allclose(panel.table["two"], [10, 25, 15])


def test_a_mean_over_some_severities_is_left_out():
    rows = [made_row("one", None, 0, 0.9), made_row("one", "fog", 1, 0.8)]
    (panel,) = panels.panels(frame_of(rows))
    assert panel.table["one"].isna().tolist() == [False, True]


def test_models_of_one_name_are_told_apart():
    rows = [made_row("one", "fog", 1, 0.5, sha=digest * 64) for digest in "ab"]
    (panel,) = panels.panels(frame_of(rows))
    labels = [series.label for series in panel.plot.axes[0].series]
    assert labels == ["one aaaaaa", "one bbbbbb"]


def test_one_model_at_two_resolutions_is_not_averaged():
    rows = [made_row("one", None, 0, 0.75)]
    rows += [made_row("one", None, 0, 0.85, side=128)]
    rows += [made_row("one", "fog", s, 0.5) for s in (1, 2, 3)]
    rows += [made_row("one", "fog", s, 0.6, side=128) for s in (4, 5)]
    (panel,) = panels.panels(frame_of(rows))
    table = panel.table.set_index("corruption")
    assert table.loc["clean"].tolist() == [15, 25]
    assert table.columns.tolist() == ["one at 128", "one at 64"]
    # Of neither are there all severities.
    assert table.loc["fog"].isna().all()


def test_panels_of_nothing():
    assert panels.panels(frame_of([made_row("a", "", 0, 1)])[:0]) == []
