"""Exports as a whole: what is in them, and that there are no half ones."""

import dataclasses
import json
import re
import shutil
import subprocess
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras import checkpoints, models
from bit_keras.export import (
    card,
    exporter,
    manifest,
    reload,
    saved_model,
    source,
    verification,
)
from bit_keras.export.options import Options
from bit_keras.export.source import Loaded

ALL = ("savedmodel", "npz", "keras")


@pytest.fixture(scope="module")
def loaded(finished_run):
    """The run's model, with a head that is not nearly zero."""
    loaded = source.load(finished_run)
    generator = np.random.default_rng(0)
    for variable in loaded.model.variables:
        if variable.path.startswith("head/"):
            variable.assign_add(0.1 * generator.standard_normal(variable.shape))
    return loaded


@pytest.fixture(scope="module")
def exported(loaded, tmp_path_factory):
    """An export in every format; its folder and what was said."""
    out, said = tmp_path_factory.mktemp("exports"), []
    options = Options(formats=ALL, archive=True, licence="CC0")
    return exporter.export(loaded, out, options, said.append), said


@pytest.fixture
def unit_loaded(unit):
    return Loaded(model=unit, name="one_unit")


@pytest.fixture
def unchecked(unverified):
    with unverified():
        yield


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_everything_is_there(exported, finished_run):
    folder, _ = exported
    assert folder.parts[-2:] == ("bit_tiny", "1")
    assert set(content(folder)) == {
        "README.md",
        "fingerprint.pb",
        "labels.txt",
        "model.json",
        "model.keras",
        "model.npz",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    assert (folder / "labels.txt").read_text().split() == list("0123456789")
    assert manifest.verify(folder) == []
    with tarfile.open(folder.parents[1] / "bit_tiny-1.tar.gz") as packed:
        names = {member.name for member in packed if member.isfile()}
    assert names == set(content(folder))


def test_the_manifest_states_what_is_known(exported, loaded):
    facts = manifest.read(exported[0])
    assert facts.model == "bit_tiny" and facts.num_classes == 10
    assert facts.parameters == loaded.model.count_params()
    assert facts.num_features == facts.endpoints["pre_logits"] == 256
    assert list(facts.endpoints) == list(loaded.model.endpoint_tensors)
    assert facts.recipe["run"]["precision"] == "mixed_bfloat16"
    assert facts.data["train"]["num_examples"] == 1297
    assert facts.preprocessing["resolution"] == 32
    assert (facts.licence, facts.activation) == ("CC0", "softmax")
    (metric,) = facts.metrics
    assert metric["dataset"].startswith("digits")
    assert (
        metric["examples"] == 40 and "after the last step" in metric["source"]
    )
    text = (exported[0] / "README.md").read_text()
    assert f"{metric['value']:g}" in text
    assert "Command of the training run" in text
    assert len(card.snippets(text)) == 5


def test_the_difference_is_said(exported):
    (line,) = [line for line in exported[1] if "difference" in line]
    number = re.match(r"max abs difference (\S+) \(", line)
    assert 0 <= float(number[1]) < 1e-3
    assert sum("bit for bit" in line for line in exported[1]) == 2


def test_every_format_holds_the_weights_in_float32(exported, loaded):
    folder, _ = exported
    images = tf.random.stateless_uniform((2, 40, 32, 3), (0, 0))
    want = loaded.model(images * 2 - 1)
    saved = tf.saved_model.load(folder)
    assert {v.dtype.name for v in saved.variables} == {"float32"}
    (logits,) = saved.signatures["logits"](images=images).values()
    assert logits.shape == (2, 10)
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)
    with np.load(folder / "model.npz") as arrays:
        assert {array.dtype.name for array in arrays.values()} == {"float32"}
    other = models.create("bit_tiny", 10)
    checkpoints.load(other, folder / "model.npz")
    np.testing.assert_allclose(other(images * 2 - 1), want, rtol=1e-5)
    other = models.load(folder / "model.keras")
    np.testing.assert_allclose(other(images * 2 - 1), want, rtol=1e-5)


def test_encoded_images_get_the_runs_labels(exported, loaded):
    saved = tf.saved_model.load(exported[0])
    pixels = tf.random.stateless_uniform(
        (20, 30, 1), (0, 0), maxval=256, dtype=tf.int32
    )
    file = tf.io.encode_png(tf.cast(pixels, tf.uint8))
    answer = saved.signatures["serve_encoded"](file[None])
    gray = tf.cast(tf.repeat(pixels, 3, axis=-1), tf.float32)
    image = tf.image.resize(gray, (32, 32)) / 127.5 - 1
    want = keras.ops.softmax(loaded.model(image[None]))[0].numpy()
    order = np.argsort(-want)[:5]
    assert [int(name) for name in answer["classes"][0].numpy()] == list(order)
    np.testing.assert_allclose(
        answer["probabilities"][0], want[order], rtol=1e-4
    )


def test_an_export_is_a_source(exported, loaded):
    for again in (
        source.load(exported[0]),
        source.load("bit_tiny", init=str(exported[0])),
    ):
        assert (again.name, again.labels) == (loaded.name, loaded.labels)
        assert again.metrics == loaded.metrics
        assert (again.resolution, again.weights) == (32, "final")
        assert exporter._facts(again, Options(), "again")["licence"] == "CC0"
        for mine, theirs in zip(
            loaded.model.variables, again.model.variables, strict=True
        ):
            assert mine.path == theirs.path
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "arguments, output",
    [
        ({"norm": "batch"}, "features"),
        ({"norm": "batch"}, "logits"),
        ({"num_classes": 0}, "features"),
    ],
)
def test_other_exports_are_sources(
    network, unchecked, tmp_path, arguments, output
):
    model = network(**arguments)
    folder = exporter.export(
        Loaded(model=model, name="one_unit"),
        tmp_path,
        Options(output=output),
        str,
    )
    again = source.load(folder)
    assert again.name == "one_unit"
    for mine, theirs in zip(
        model.variables, again.model.variables, strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_exports_that_are_no_source(unit_loaded, unchecked, tmp_path):
    options = Options(folded=True)
    folder = exporter.export(unit_loaded, tmp_path, options, str)
    with pytest.raises(ValueError, match="without --folded"):
        source.load(folder)
    options = Options(version=2, formats=("npz",))
    folder = exporter.export(unit_loaded, tmp_path, options, str)
    with pytest.raises(ValueError) as caught:
        source.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_folded_is_verified_against_the_unfolded_source(unit_loaded, tmp_path):
    said = []
    folder = exporter.export(
        unit_loaded, tmp_path, Options(folded=True), said.append
    )
    (line,) = [line for line in said if "difference" in line]
    # Of its largest value, as float32 allows.
    relative = float(re.search(r"(\S+) of its largest", line)[1])
    assert relative <= 1e-5
    assert manifest.read(folder).folded
    assert "Folded: not fine-tunable" in (folder / "README.md").read_text()


def test_classes_without_names_are_numbered(unit_loaded, unchecked, tmp_path):
    options = Options(resolution=48, name="mine", version=7)
    folder = exporter.export(unit_loaded, tmp_path, options, str)
    assert folder == tmp_path / "mine" / "7"
    assert (folder / "labels.txt").read_text().split() == list("0123456789")
    facts = manifest.read(folder)
    assert facts.model is None and facts.metrics == []
    assert facts.preprocessing["resolution"] == 48
    assert facts.licence == "not stated"


def test_every_output_is_compared(handle, unit, network, tmp_path):
    """In this process, as the script does in its own."""
    file = tmp_path / "expected.npz"
    expected = verification._expected(unit, "features")
    np.savez(file, **expected)
    found = reload.compare(str(handle), str(file))
    ends = {f"intermediates/{name}" for name in unit.endpoint_tensors}
    assert set(found) == {"call", "features", "logits"} | ends
    assert all(relative <= 1e-5 for _, relative in found.values())
    # The last of all batches counts, too.
    expected["1/intermediates/stem"][0, 3] += 0.5
    np.savez(file, **expected)
    found = reload.compare(str(handle), str(file))
    assert found["intermediates/stem"][0] == pytest.approx(0.5, rel=1e-4)
    assert found["intermediates/block1"][0] < 1e-4
    expected["1/features"][0, 0] = np.nan
    np.savez(file, **expected)
    found = reload.compare(str(handle), str(file))
    assert np.isnan(found["features"][0])
    # An output too many or too few.
    np.savez(file, **verification._expected(network(num_classes=0), "features"))
    with pytest.raises(ValueError, match="logits has the shape"):
        reload.compare(str(handle), str(file))


def test_a_nan_never_passes(unit, handle, monkeypatch):
    said = '{"call": [NaN, NaN], "logits": [0.1, 0.01]}'
    done = subprocess.CompletedProcess([], 0, said, "")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    with pytest.raises(ValueError, match="call differs by nan"):
        verification.reloaded(unit, handle)


@pytest.mark.slow
def test_verification_of_cut_weights(handle, unit, tmp_path):
    folder = shutil.copytree(handle, tmp_path / "copy")
    file = folder / "variables" / "variables.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cannot be loaded again") as caught:
        verification.reloaded(unit, folder)
    assert "\n" not in str(caught.value)


def test_verification_of_weight_files(unit, network, tmp_path):
    other = network()
    other.variables[4].assign_add(np.full(other.variables[4].shape, 1e-7))
    for name in ("a.npz", "a.keras"):
        checkpoints.save(unit, tmp_path / name)
        verification.same_weights(unit, tmp_path / name)
        checkpoints.save(other, tmp_path / name)
        with pytest.raises(ValueError, match=unit.variables[4].path):
            verification.same_weights(unit, tmp_path / name)


def test_what_fails_verification_leaves_nothing(
    unit_loaded, network, tmp_path, monkeypatch
):
    """The graph of another network is written: the real check must see it."""
    write, other = saved_model.write, network()
    for variable in other.variables:
        variable.assign(variable * 1.01)
    monkeypatch.setattr(
        saved_model,
        "write",
        lambda model, *rest, **kw: write(other, *rest, **kw),
    )
    with pytest.raises(ValueError, match="not give what its source") as caught:
        exporter.export(unit_loaded, tmp_path, Options(archive=True), str)
    number = re.search(r"differs by \S+, (\S+) of its", str(caught.value))
    assert 1e-4 < float(number[1]) < 1 and "\n" not in str(caught.value)
    assert content(tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_a_failed_replacement_keeps_the_old(unit_loaded, tmp_path, monkeypatch):
    options = Options(formats=("npz",))
    folder = exporter.export(unit_loaded, tmp_path, options, str)
    before = content(tmp_path)

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(card, "readme", full)
    options = dataclasses.replace(options, overwrite=True)
    with pytest.raises(OSError, match="No space"):
        exporter.export(unit_loaded, tmp_path, options, str)
    assert content(tmp_path) == before
    assert [p.name for p in folder.parent.iterdir()] == ["1"]


def test_nothing_is_overwritten_unless_asked(unit_loaded, network, tmp_path):
    options = Options(formats=("npz",))
    folder = exporter.export(unit_loaded, tmp_path, options, str)
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match="--overwrite"):
        exporter.export(unit_loaded, tmp_path, options, str)
    assert content(tmp_path) == before
    other = Loaded(model=network(num_classes=3), name="one_unit")
    options = Options(formats=("keras",), overwrite=True)
    assert exporter.export(other, tmp_path, options, str) == folder
    assert manifest.read(folder).num_classes == 3
    assert not (folder / "model.npz").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["1"]


@pytest.mark.parametrize("name", ["one_unit/1", "one_unit-1.tar.gz"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_export_is_left_alone(
    unit_loaded, unchecked, tmp_path, name, kind
):
    path = tmp_path / name
    if kind == "folder":
        path.mkdir(parents=True)
        (path / "thesis.tex").write_text("years of work")
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    before = content(tmp_path)
    options = Options(archive=True)
    with pytest.raises(FileExistsError):
        exporter.export(unit_loaded, tmp_path, options, str)
    assert content(tmp_path) == before
    if name.endswith(".tar.gz") and kind == "file":
        # Taken for an older archive.
        return
    options = dataclasses.replace(options, overwrite=True)
    with pytest.raises(FileExistsError, match="not an export"):
        exporter.export(unit_loaded, tmp_path, options, str)
    assert content(tmp_path) == before


def test_logits_need_a_head(network, tmp_path):
    loaded = Loaded(model=network(num_classes=0), name="one_unit")
    with pytest.raises(ValueError, match="needs a head"):
        exporter.export(loaded, tmp_path, Options(output="logits"), str)
    assert content(tmp_path) == {}


def test_nothing_to_fold(network, tmp_path):
    model = network(standardize=False)
    loaded = Loaded(model=model, name="one_unit")
    with pytest.raises(ValueError, match="Leave --folded out"):
        exporter.export(loaded, tmp_path, Options(folded=True), str)
    assert content(tmp_path) == {}


def test_json_is_plain(exported):
    """Programs that know nothing of us can read it."""
    values = json.loads((exported[0] / "model.json").read_text())
    assert values["format"] == 1
    assert values["input"]["range"] == [0, 1]
    assert set(values["sha256"]) == set(content(exported[0])) - {"model.json"}
