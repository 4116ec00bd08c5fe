"""What can be exported, and what is said of what cannot."""

import contextlib
import json
import shutil

import keras
import numpy as np
import pytest

from bit_keras import checkpoints, models, released
from bit_keras.export import source


@pytest.fixture
def copied_run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


@contextlib.contextmanager
def fails(error, *messages):
    """Expects an error of one line that says all of `messages`."""
    with pytest.raises(error) as caught:
        yield
    text = str(caught.value)
    assert "\n" not in text
    for message in messages:
        assert message in text


def same_weights(model, file):
    other = type(model).from_config(model.get_config())
    checkpoints.load(other, file)
    for mine, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_run_in_bfloat16_is_loaded_in_float32(finished_run):
    run = json.loads((finished_run / "recipe.json").read_text())
    assert run["recipe"]["run"]["precision"] == "mixed_bfloat16"
    loaded = source.load(finished_run)
    model = loaded.model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert {v.dtype for v in model.variables} == {"float32"}
    same_weights(model, finished_run / "final.npz")
    assert model.num_classes == 10
    assert loaded.labels == tuple("0123456789")
    assert (loaded.name, loaded.resolution) == ("bit_tiny", 32)
    assert (loaded.weights, loaded.activation) == ("final", "softmax")
    # Trained from nothing: its upstream is what it was trained on.
    assert loaded.upstream.startswith("digits") and loaded.init is None
    assert loaded.run["recipe"]["name"] == "transfer"
    (metric,) = loaded.metrics
    assert (metric["metric"], metric["examples"]) == ("top1", 40)
    assert (
        metric["value"]
        == json.loads((finished_run / "result.json").read_text())["top1"]
    )


def test_the_best_weights_of_a_run(copied_run):
    model = source.load(copied_run).model
    for variable in model.variables:
        variable.assign(variable + 1)
    checkpoints.save(model, copied_run / "best.npz")
    # A run that goes on has no final weights, but may have best ones.
    (copied_run / "result.json").unlink()
    loaded = source.load(copied_run, weights="best")
    same_weights(loaded.model, copied_run / "best.npz")
    assert loaded.weights == "best"
    lines = (copied_run / "metrics.jsonl").read_text().splitlines()
    evals = [row["top1"] for row in map(json.loads, lines) if "split" in row]
    (metric,) = loaded.metrics
    assert metric["value"] == max(evals)
    assert "best evaluation so far" in metric["source"]
    assert "not finished" in metric["source"]


def test_a_sigmoid_batch_norm_run(copied_run, network):
    path = copied_run / "recipe.json"
    run = json.loads(path.read_text())
    run["recipe"]["loss"] = "sigmoid"
    run["recipe"]["model"]["norm"] = "batch"
    run["recipe"]["model"]["init"] = "bit_r50x1.i21k"
    path.write_text(json.dumps(run))
    model = models.create("bit_tiny", 10, norm="batch")
    checkpoints.save(model, copied_run / "final.npz")
    loaded = source.load(copied_run)
    assert loaded.activation == "sigmoid"
    assert loaded.model.get_config()["norm"] == "batch"
    assert loaded.upstream == "ImageNet-21k"


def test_upstream_through_a_run_that_started_from_another(
    finished_run, copied_run
):
    path = copied_run / "recipe.json"
    run = json.loads(path.read_text())
    run["recipe"]["model"]["init"] = str(finished_run)
    run["dataset"] = "folder:/pictures"
    path.write_text(json.dumps(run))
    loaded = source.load(copied_run)
    assert loaded.upstream.startswith("digits")
    assert loaded.init == str(finished_run)


def test_an_unfinished_run(copied_run):
    (copied_run / "result.json").unlink()
    with fails(FileNotFoundError, "not finished", "resumes", "--weights best"):
        source.load(copied_run)


def test_a_run_that_was_never_evaluated(copied_run):
    (copied_run / "best.npz").unlink(missing_ok=True)
    with fails(FileNotFoundError, "best.npz", "Leave --weights out"):
        source.load(copied_run, weights="best")


def test_a_truncated_final_checkpoint(copied_run):
    file = copied_run / "final.npz"
    file.write_bytes(file.read_bytes()[:50_000])
    with fails(ValueError, f'Cannot read "{file}"'):
        source.load(copied_run)


def test_a_missing_final_checkpoint(copied_run):
    (copied_run / "final.npz").unlink()
    with fails(FileNotFoundError, "final.npz"):
        source.load(copied_run)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"recipe": ', "not valid JSON"),
        ('{"recipe": {}}', "'model'"),
        ("[]", "not of a training run"),
    ],
)
def test_a_damaged_run(copied_run, content, message):
    (copied_run / "recipe.json").write_text(content)
    with fails(ValueError, str(copied_run), message):
        source.load(copied_run)


def test_a_folder_that_is_no_run(tmp_path):
    with fails(ValueError, "no recipe.json", "no model.json"):
        source.load(tmp_path)


def test_an_official_file_with_fixture_weights(make_checkpoint, tmp_path):
    weights = make_checkpoint.make_bit((1, 1, 1, 1), 1, 10, 7)
    file = tmp_path / "mine.npz"
    np.savez(file, **weights)
    loaded = source.load(file)
    config = loaded.model.get_config()
    assert config["blocks"] == [1, 1, 1, 1] and config["stem"] == "imagenet"
    assert (loaded.name, loaded.weights) == ("bit", "mine.npz")
    assert (loaded.labels, loaded.run) == ((), None)
    same_weights(loaded.model, file)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_keras_file(network, tmp_path, dtype):
    # The two dtypes of Keras' own: what it stores is float32.
    model = network(3, dtype=dtype)
    model.save(tmp_path / "mine.keras")
    loaded = source.load(tmp_path / "mine.keras")
    assert loaded.model.get_config()["dtype"] == "float32"
    assert {layer.compute_dtype for layer in loaded.model.layers} == {"float32"}
    assert (loaded.name, loaded.weights) == ("one_unit", "mine.keras")
    for mine, theirs in zip(
        model.variables, loaded.model.variables, strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_keras_file_of_others(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.keras")
    with fails(ValueError, "Sequential", "bit_keras.create_model"):
        source.load(tmp_path / "other.keras")


def test_files_that_cannot_be_read(tmp_path):
    for name in ("a.keras", "a.npz", "a.txt"):
        file = tmp_path / name
        file.write_text("nothing")
        with fails(ValueError, f'Cannot read "{file}"'):
            source.load(file)
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    with fails(ValueError, "no network that is known", "--init"):
        source.load(tmp_path / "b.npz")


def test_a_model_by_name():
    loaded = source.load("bit_tiny", init="random")
    assert loaded.model.num_classes == 0
    assert (loaded.name, loaded.init) == ("bit_tiny", "random")
    again = source.load("bit_tiny", init="random").model
    for a, b in zip(loaded.model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_by_name_with_a_file_or_run(finished_run, network, tmp_path):
    loaded = source.load("bit_tiny", init=str(finished_run))
    same_weights(loaded.model, finished_run / "final.npz")
    assert loaded.labels == tuple("0123456789")
    file = finished_run / "final.npz"
    loaded = source.load("bit_tiny", init=str(file))
    same_weights(loaded.model, file)
    assert (loaded.init, loaded.weights) == (str(file), "final.npz")
    # The run beside the file is not consulted.
    assert loaded.upstream is None and loaded.labels == ()
    message = f'"{file}" holds weights for bit_tiny, but the model is bit_r50x1'
    with fails(ValueError, message):
        source.load("bit_r50x1", init=str(file))


def test_a_released_name(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    monkeypatch.setattr(released, "num_classes", lambda name: 0)
    monkeypatch.setattr(released, "model_name", lambda name: "bit_tiny")
    model = models.create("bit_tiny", 0)
    checkpoints.save(model, tmp_path / "BiT-M-R50x1.npz")
    loaded = source.load("bit_r50x1.i21k")
    assert loaded.upstream == "ImageNet-21k"
    assert loaded.weights == "BiT-M-R50x1.npz"
    assert loaded.init == "bit_r50x1.i21k"
    same_weights(loaded.model, tmp_path / "BiT-M-R50x1.npz")
    # Alone, or with the name of its model.
    assert source.load("bit_tiny", init="bit_r50x1.i21k").init == loaded.init


@pytest.mark.parametrize(
    "tag, file, resolution, activation",
    [
        ("i21k", "BiT-M-R50x1.npz", 224, "sigmoid"),
        ("i1k", "BiT-S-R50x1.npz", 224, "softmax"),
        ("distill_i1k_160", "distill/R50x1_160.npz", 160, "softmax"),
        ("i21k_ft_i1k", "BiT-M-R50x1-ILSVRC2012.npz", 384, "softmax"),
    ],
)
def test_released_weights_are_used_as_they_were_trained(
    tag, file, resolution, activation, tmp_path, monkeypatch
):
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    monkeypatch.setattr(released, "num_classes", lambda name: 3)
    monkeypatch.setattr(released, "model_name", lambda name: "bit_nano")
    model = models.create("bit_nano", 3)
    checkpoints.save(model, tmp_path / file)
    name = f"bit_r50x1.{tag}"
    for arguments in ((name,), ("bit_nano", name)):
        loaded = source.load(*arguments)
        assert (loaded.resolution, loaded.activation) == (
            resolution,
            activation,
        )


def test_a_vit_with_a_layer_before_its_head_has_only_its_features(tmp_path):
    """As the first official files of ImageNet-21k; vit_jax drops it, too."""
    model = models.create("vit_nano", 7)
    checkpoints.save(model, tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as arrays:
        made = dict(arrays)
    width = made["head/kernel"].shape[0]
    made["pre_logits/kernel"] = np.eye(width, dtype="float32")
    made["pre_logits/bias"] = np.zeros(width, "float32")
    np.savez(tmp_path / "first.npz", **made)
    loaded = source.load(tmp_path / "first.npz")
    assert (loaded.name, loaded.model.num_classes) == ("vit_nano", 0)
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    want = models.endpoints(model, "pre_logits")(images)["pre_logits"]
    np.testing.assert_allclose(loaded.model(images), want, rtol=1e-5)
    # To transfer it, as --init does.
    fresh = models.create("vit_nano", 3)
    checkpoints.load(fresh, tmp_path / "first.npz", head="drop")
    found = models.endpoints(fresh, "pre_logits")(images)["pre_logits"]
    np.testing.assert_array_equal(found, want)
    # Its logits are of a layer that is not there.
    with pytest.raises(ValueError, match='Pass head="drop"'):
        checkpoints.load(model, tmp_path / "first.npz")


def test_a_released_run_knows_its_upstream(copied_run):
    path = copied_run / "recipe.json"
    run = json.loads(path.read_text())
    # One name of each kind: bit_r50x1.i21k, bit_r50x1.i1k_ft_vtab_..., ...
    kinds = {
        name.split(".")[1].split("_")[0]: name for name in released.names()
    }
    upstreams = {}
    for kind, name in kinds.items():
        run["recipe"]["model"]["init"] = name
        path.write_text(json.dumps(run))
        upstreams[kind] = source.load(copied_run).upstream
    assert len(kinds) >= 2
    assert set(upstreams.values()) == {"ILSVRC-2012", "ImageNet-21k"}


MISTAKES = {
    "model without weights": ("bit_r50x1", None, ValueError, "--init"),
    "unknown model": ("bit_r50x", "random", ValueError, "Did you mean"),
    "released typo": (
        "bit_r50x1.i22k",
        None,
        ValueError,
        'Did you mean "bit_r50x1.i21k"?',
    ),
    "no file": ("a/b.npz", None, FileNotFoundError, 'no "a/b.npz"'),
    "no init": ("bit_tiny", "none.npz", ValueError, "none.npz"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_names_of_nothing(case):
    name, init, error, message = MISTAKES[case]
    with fails(error, message):
        source.load(name, init)


def test_best_weights_are_those_of_a_run(tmp_path, unit):
    checkpoints.save(unit, tmp_path / "tiny.npz")
    with pytest.raises(ValueError, match="is for the directory of a run"):
        source.load(tmp_path / "tiny.npz", weights="best")
    with pytest.raises(ValueError, match="is for the directory of a run"):
        source.load("bit_tiny", init="random", weights="best")
