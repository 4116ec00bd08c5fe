"""What the campaign against bad input found, one small file for each."""

import contextlib
import io
import json
import os
import struct
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from bit_keras import checkpoint_files, recipe, train
from bit_keras.benchmarks import exclusions, results, tasks_file
from bit_keras.benchmarks.__main__ import main
from bit_keras.benchmarks.objectnet import boxes, files
from bit_keras.benchmarks.objectnet.maps import Maps
from bit_keras.benchmarks.study.settings import Study
from bit_keras.data import imagenet21k, sources
from bit_keras.export import archive, source
from bit_keras.messages import one_line


def opened(path):
    """Returns the arrays of a weight file, or raises what `load` would."""
    with contextlib.ExitStack() as stack, checkpoint_files.reading(path):
        return checkpoint_files.open_arrays(path, stack)


def npz(path, header, size=None):
    """Writes a file with one array, whose header is any text."""
    size = len(header) if size is None else size
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", size) + header
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.npy", head)


@pytest.mark.parametrize(
    "header",
    [b"(" * 5000, b"-" * 5000 + b"1", b"(#" + b"(" * 50, b" \n  1\n 2"],
)
def test_a_header_that_breaks_the_parser_of_python(tmp_path, header):
    npz(tmp_path / "a.npz", header)
    with pytest.raises(ValueError, match="a.npz"):
        opened(tmp_path / "a.npz")


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    npz(tmp_path / "a.npz", b" ", size=4_000_000_000)
    with pytest.raises(ValueError, match="header that is no array's"):
        opened(tmp_path / "a.npz")


def test_a_negative_shape(tmp_path):
    npz(
        tmp_path / "a.npz",
        b"{'descr':'<f4','fortran_order':False,'shape':(-1,)}",
    )
    with pytest.raises(ValueError, match=r"shape \(-1,\)"):
        opened(tmp_path / "a.npz")


def keras3(path, fill):
    """Writes an HDF5 file like Keras 3's."""
    with h5py.File(path, "w") as file:
        layer = file.create_group("layers/conv")
        layer.create_group("vars").attrs["name"] = "head"
        fill(file, layer["vars"])
    return path


def deep(file, group):
    for _ in range(60):
        group = group.create_group("layers")
        group.create_group("vars").attrs["name"] = "x"


def loop(file, group):
    group["again"] = file["layers"]


def diamond(file, group):
    # Two ways to each: 2**40 of them to the last.
    for _ in range(40):
        inner = group.create_group("a")
        group["b"] = inner
        group = inner


@pytest.mark.parametrize(
    "fill, message",
    [
        (deep, "more than 50 deep"),
        (loop, "there twice"),
        (diamond, "there twice"),
        (
            lambda file, group: group.__setitem__(
                "0", h5py.ExternalLink("/etc/hostname", "/")
            ),
            "link to somewhere else",
        ),
        (
            lambda file, group: group.create_dataset(
                "0", (4,), "f4", external=[("/etc/passwd", 0, 16)]
            ),
            "lies in another file",
        ),
    ],
)
def test_hdf5_that_leads_elsewhere(tmp_path, fill, message):
    path = keras3(tmp_path / "a.weights.h5", fill)
    with pytest.raises(ValueError, match=f"a.weights.h5.*{message}"):
        opened(path)


def test_a_variable_numbered_below_zero_is_not_the_last_one(tmp_path):
    def fill(file, group):
        group["1"] = np.zeros(3, "f4")
        group["-1"] = np.ones(3, "f4")

    arrays = opened(keras3(tmp_path / "a.weights.h5", fill))
    assert set(arrays) == {
        "resnet/head/conv2d/bias",
        "resnet/head/conv2d/-1",
    }


def test_a_network_larger_than_its_file_is_not_built(tmp_path):
    shapes = {
        "resnet/root_block/standardized_conv2d/kernel": (7, 7, 3, 64 * 10**6),
        "resnet/block1/unit01/a/group_norm/beta": (64 * 10**6,),
    }
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as made:
        for name, shape in shapes.items():
            head = io.BytesIO()
            about = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(head, about)
            made.writestr(f"{name}.npy", head.getvalue())
    with pytest.raises(ValueError, match="a.npz.*claim to hold"):
        source.load(tmp_path / "a.npz")


def picture(path, kind, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    if options:
        options = {"save_all": True, "append_images": frames[1:]}
    frames[0].save(path, kind, **options)


def test_an_animated_webp_does_not_end_the_process(tmp_path):
    picture(tmp_path / "a" / "1.webp", "WEBP", animated=True)
    picture(tmp_path / "b" / "1.png", "PNG")
    assert sources.open_source(str(tmp_path), "all").image_size == (9, 9)


@pytest.mark.parametrize(
    "name", [b"a\nb", b"a\x0bb", "a\u2028b".encode(), b"\xff"]
)
def test_a_class_name_that_is_no_line(tmp_path, name):
    picture(tmp_path / "b" / "1.png", "PNG")
    os.rename(tmp_path / "b", os.fsencode(tmp_path) + b"/" + name)
    with pytest.raises(ValueError, match="not one line of UTF-8") as error:
        sources.open_source(str(tmp_path), "all")
    assert one_line(error.value).isprintable()


def test_csv_cells_and_columns(tmp_path):
    path = tmp_path / "a.csv"
    picture(tmp_path / "1.png", "PNG")
    for text, message in (
        (f"path,label\n1.png,{'x' * 140_000}\n", "a.csv, line 2.*field limit"),
        ("path,label,label\n1.png,cat,dog\n", 'a.csv.*two columns "label"'),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            sources.open_source(str(path), "all")
    path.write_bytes(b"path,x_min,y_min,x_max,y_max\n\xff/a.png,0,0,1,1\n")
    with pytest.raises(ValueError, match="--boxes: .*a.csv is not UTF-8"):
        boxes.read(path)


def test_a_table_of_curves_is_named(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("m,seen,err\na,1,0.5\n")
    given = f"scaling --results {path} --x seen --y err --curve m --out o"
    assert main([*given.split(), "--fit-below", "0"]) == 1
    assert f"error: {path}: no point" in capsys.readouterr().err
    assert main([*given.split(), "--fit", "x"]) == 2
    assert f"error: --results {path}: --fit" in capsys.readouterr().err


DEEP = "[" * 100_000


def test_json_nested_too_deeply(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(DEEP)
    for read in (tasks_file.from_json, exclusions.read):
        with pytest.raises(ValueError, match="a.json is not valid JSON.*deep"):
            read(path)
    assert train.main(["--recipe", str(path)]) == 2
    assert "nested too deeply" in capsys.readouterr().err
    rows = tmp_path / "results.jsonl"
    rows.write_text(f"{DEEP}\n")
    with pytest.raises(ValueError, match="results.jsonl, line 1: not JSON"):
        results.load([rows])


@pytest.mark.parametrize(
    "section, field, value, message",
    [
        ("schedule", "steps", "10", "schedule.steps must be int | None"),
        ("schedule", "boundaries", [1, "2"], "schedule.boundaries"),
        ("run", "xla", 1, "run.xla must be bool"),
        ("run", "seed", 1.5, "run.seed must be int"),
        ("optimizer", "momentum", float("nan"), "optimizer.momentum"),
        ("model", "head", "cut", "model.head"),
        ("data", "dataset", ["x"], "data.dataset"),
    ],
)
def test_a_recipe_of_wrong_types(
    tmp_path, capsys, section, field, value, message
):
    content = recipe.to_dict(recipe.Recipe("demo", data=recipe.Data("digits")))
    content[section][field] = value
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": content}))
    assert train.main(["--recipe", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said and message in said


def test_numbers_that_no_run_can_use():
    for text in ("nan", "inf", "-inf", "1e999"):
        with pytest.raises(ValueError, match="must be a finite number"):
            recipe.override(recipe.Recipe("r"), f"optimizer.momentum={text}")


def test_half_a_character_in_results(tmp_path):
    row = results.Row(
        benchmark="b",
        model="m",
        model_sha256="0",
        upstream=None,
        task="t",
        group=None,
        protocol="p",
        preprocessing="n",
        metric="a",
        value=0.5,
        stderr=None,
        n=1,
        config_hash="0",
    )
    line = json.dumps(vars(row) | {"task": "\ud800"})
    (tmp_path / "results.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="line 1: task is no text"):
        results.load([tmp_path])


@pytest.mark.parametrize("jobs", ["x", [1], ["../../x"]])
def test_a_study_that_nobody_wrote(tmp_path, jobs):
    content = {"grid": "g", "tasks": None, "shots": [1], "seeds": 1}
    content |= {"layers": False, "jobs": jobs}
    (tmp_path / "study.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="study.json: "):
        Study(tmp_path).names()


def test_a_member_without_a_name(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        member = zipfile.ZipInfo("x")
        member.filename = ""
        made.writestr(member, b"")
    maps = Maps(("mug",), {"mug": 0}, frozenset(), (), (), "")
    with pytest.raises(ValueError, match="a.zip"):
        files.find(path, maps)


def test_names_in_archives(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("saved_model.pb"))
        tar.addfile(tarfile.TarInfo("x" * 300))
    with pytest.raises(ValueError, match="a.tar is refused.*255 bytes"):
        archive.unpack(path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="nor in its a.tar"):
        imagenet21k.find_classes(tmp_path)
