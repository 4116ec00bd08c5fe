"""model.json, and the checksums of an export's files."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest

from bit_keras.export import manifest
from bit_keras.export.manifest import Manifest

FACTS = Manifest(
    name="bit_tiny",
    version=1,
    model="bit_tiny",
    architecture={"blocks": [1, 1, 1], "width": 0.25},
    parameters=124_947,
    num_features=256,
    num_classes=3,
    endpoints={"stem": 16, "pre_logits": 256, "logits": 3},
    folded=False,
    output="features",
    activation="softmax",
    upstream=None,
    init="random",
    weights="final",
    recipe=None,
    data=None,
    metrics=[],
    preprocessing={"resolution": 32, "resize": "bilinear"},
    input={"dtype": "float32", "range": [0, 1], "min_size": 32},
    licence="Apache-2.0",
    code_version="0.1.0",
    versions={"keras": "3.15.1"},
)
# SHA-256 of "abc": FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def export(tmp_path):
    """A folder with the files of an export, and its model.json."""
    folder = tmp_path / "bit_tiny" / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"abc")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(
        bytes(3 << 20)
    )
    (folder / "README.md").write_text("card")
    manifest.write(folder, FACTS)
    return folder


def edit(export, **changes):
    values = json.loads((export / "model.json").read_text())
    values.update(changes)
    (export / "model.json").write_text(json.dumps(values))


def test_what_is_written_is_read_back(export):
    facts = manifest.read(export)
    assert dataclasses.replace(facts, sha256={}) == FACTS
    assert list(json.loads((export / "model.json").read_text())) == [
        field.name for field in dataclasses.fields(Manifest)
    ]


def test_checksums_cover_every_file_but_model_json(export):
    facts = manifest.write(export, FACTS)
    assert list(facts.sha256) == [
        "README.md",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    assert facts.sha256["saved_model.pb"] == ABC
    assert facts == manifest.read(export)


def test_a_killed_write_leaves_no_trace_in_the_next(export):
    (export / "model.json.tmp").write_text('{"format": 1, "na')
    manifest.write(export, FACTS)
    assert manifest.verify(export) == []


def test_an_infinite_number_is_refused_before_anything_is_written(export):
    before = (export / "model.json").read_text()
    facts = dataclasses.replace(FACTS, metrics=[{"value": float("nan")}])
    with pytest.raises(ValueError, match="every number must be finite"):
        manifest.write(export, facts)
    assert (export / "model.json").read_text() == before


def test_verify_finds_every_kind_of_problem(export):
    assert manifest.verify(export) == []
    with open(export / "saved_model.pb", "r+b") as file:
        file.write(b"x")
    (export / "README.md").unlink()
    (export / "variables" / "more\n\x1b[2J").touch()
    assert manifest.verify(export) == [
        "'README.md' is missing",
        "'saved_model.pb' has changed since the export",
        "'variables/more\\n\\x1b[2J' is not part of the export",
    ]


def test_verify_opens_nothing_outside_and_nothing_that_blocks(export):
    (export.parent / "secret").write_bytes(b"abc")
    (export / "README.md").unlink()
    os.mkfifo(export / "README.md")
    sums = manifest.read(export).sha256
    edit(export, sha256={**sums, "../secret": ABC})
    assert manifest.verify(export) == [
        "'../secret' is missing",
        "'README.md' is not an ordinary file",
    ]
    with pytest.raises(ValueError, match="README.md.* not an ordinary file"):
        manifest.write(export, FACTS)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs sha256sum")
def test_the_digest_is_what_a_shell_computes(export):
    shell = subprocess.run(
        "sha256sum saved_model.pb variables/* | sha256sum",
        shell=True,
        cwd=export,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert manifest.digest(export) == shell.stdout.split()[0]


def test_the_digest_is_of_weights_and_graph(export):
    before = manifest.digest(export)
    (export / "README.md").write_text("another card")
    assert manifest.digest(export) == before
    (export / "variables" / "variables.index").write_bytes(b"another")
    assert manifest.digest(export) != before


def test_without_a_saved_model_the_digest_is_of_all_files(export):
    (export / "saved_model.pb").rename(export / "model.npz")
    before = manifest.digest(export)
    edit(export, licence="another")
    assert manifest.digest(export) == before
    (export / "README.md").write_text("another card")
    assert manifest.digest(export) != before


def test_an_empty_folder_has_no_digest(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model in"):
        manifest.digest(tmp_path)


def test_the_folder_above_names_the_version(export):
    with pytest.raises(FileNotFoundError) as caught:
        manifest.read(export.parent)
    assert f'Did you mean "{export}"?' in str(caught.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"format": 1, "na', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1]", "was not written by bit_keras.export"),
        ('{"name": "x"}', "was not written by bit_keras.export"),
        ('{"format": 2}', "has format 2; this version .* reads format 1"),
        ('{"format": 1, "nmae": "x"}', "fields .*name, nmae.* are missing or"),
    ],
)
def test_a_damaged_model_json_is_one_readable_line(export, text, message):
    (export / "model.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        manifest.read(export)
    assert "\n" not in str(caught.value)
    assert str(export / "model.json") in str(caught.value)


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"version": "1"}, "version"),
        ({"version": True}, "version"),
        ({"endpoints": ["stem"]}, "endpoints"),
        ({"licence": None}, "licence"),
        ({"preprocessing": {}}, "preprocessing.resolution"),
        ({"preprocessing": {"resolution": "32"}}, "preprocessing.resolution"),
        ({"sha256": {"labels.txt": 1}}, "sha256 of labels.txt"),
    ],
)
def test_a_value_of_another_type_is_named(export, changes, name):
    edit(export, **changes)
    with pytest.raises(ValueError, match=f"model.json: {name} cannot be"):
        manifest.read(export)


def test_neither_tensorflow_nor_keras_is_imported():
    code = (
        "import sys\n"
        "sys.modules.update(tensorflow=None, keras=None)\n"
        "from bit_keras.export import card, manifest\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
