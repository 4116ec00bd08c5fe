import importlib.util
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data import imagenet21k
from bit_keras.data.sources import open_source

WNIDS = ("n00000003", "n00000001", "n00000002")
PER_CLASS = 4


def _jpeg(value: int) -> bytes:
    pixels = np.full((12, 10, 3), value, np.uint8)
    return tf.io.encode_jpeg(pixels, quality=95).numpy()


def _images(wnid: str) -> dict[str, bytes]:
    """Four images; the first class also has two that are broken."""
    value = 40 * int(wnid[-1])
    images = {f"{wnid}_{i}.JPEG": _jpeg(value) for i in range(PER_CLASS)}
    if wnid == WNIDS[0]:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
        whole = tf.io.encode_jpeg(noise.astype(np.uint8)).numpy()
        images[f"{wnid}_8.JPEG"] = whole[: len(whole) // 2]
        images[f"{wnid}_9.JPEG"] = b"<html>flickr: not available</html>"
    return images


def _tar(images: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _make(folder: Path, layout: str) -> Path:
    folder.mkdir()
    tars = {f"{wnid}.tar": _tar(_images(wnid)) for wnid in WNIDS}
    if layout == "tar of tars":
        (folder / "winter21_whole.tar").write_bytes(_tar(tars))
    elif layout == "folder of tars":
        (folder / "winter21_whole").mkdir()
        for name, data in tars.items():
            (folder / "winter21_whole" / name).write_bytes(data)
    else:
        for wnid in WNIDS:
            (folder / wnid).mkdir()
            for name, data in _images(wnid).items():
                (folder / wnid / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "layout", ["tar of tars", "folder of tars", "folder of folders"]
)
def test_prepare_and_open(tmp_path, capsys, layout):
    manual = _make(tmp_path / "manual", layout)
    data_dir = tmp_path / "data"
    imagenet21k.main(["--manual-dir", str(manual), "--data-dir", str(data_dir)])
    assert "12 images of 3 classes; 2 corrupt" in capsys.readouterr().out

    source = open_source("imagenet21k", "train", data_dir=str(data_dir))
    assert source.name == "imagenet21k:1.0.0"
    assert source.class_names == tuple(sorted(WNIDS))
    assert (source.num_examples, source.image_size) == (12, (12, 10))
    labels = []
    for example in source.read():
        labels.append(int(example["label"]))
        # The bytes are the member's own, not encoded anew.
        value = 40 * int(source.class_names[labels[-1]][-1])
        assert example["image"].numpy() == _jpeg(value)
    assert Counter(labels) == dict.fromkeys(range(3), PER_CLASS)
    part = open_source("imagenet21k", "train[:5]", data_dir=str(data_dir))
    assert part.num_examples == 5

    corrupt = imagenet21k.corrupt_images(data_dir / "imagenet21k" / "1.0.0")
    cut, html = (f"{WNIDS[0]}/{WNIDS[0]}_{i}.JPEG" for i in (8, 9))
    assert sorted(corrupt) == [cut, html]
    assert "truncated" in corrupt[cut]
    assert corrupt[html] == "not an image"


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="needs apache_beam",
)
def test_examples_are_a_beam_transform(tmp_path):
    import apache_beam as beam

    builder = imagenet21k.Imagenet21k(data_dir=tmp_path)
    assert isinstance(builder._generate_examples([]), beam.PTransform)


def test_nothing_there(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(
        FileNotFoundError, match="no classes in .*nXXXXXXXX.tar"
    ):
        imagenet21k.find_classes(tmp_path)


def test_class_twice(tmp_path):
    manual = _make(tmp_path / "manual", "folder of folders")
    (manual / f"{WNIDS[0]}.tar").write_bytes(_tar(_images(WNIDS[0])))
    with pytest.raises(ValueError, match=f"class {WNIDS[0]} is in both"):
        imagenet21k.find_classes(manual)


def test_compressed_archive(tmp_path):
    (tmp_path / "winter21_whole.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="is compressed.*tar -xzf"):
        imagenet21k.find_classes(tmp_path)


@pytest.mark.parametrize("keep", [700, 100])
def test_broken_archive(tmp_path, keep):
    path = tmp_path / f"{WNIDS[0]}.tar"
    path.write_bytes(_tar(_images(WNIDS[0]))[:keep])
    (files,) = imagenet21k.find_classes(tmp_path)
    with pytest.raises(ValueError, match=f"archive of {WNIDS[0]}.*is broken"):
        list(imagenet21k.read_class(files, str(tmp_path)))


def test_report_is_repeatable(tmp_path):
    manual = _make(tmp_path / "manual", "tar of tars")
    files = imagenet21k.find_classes(manual)[-1]
    assert files.wnid == WNIDS[0]
    for _ in range(2):
        keys = [key for key, _ in imagenet21k.read_class(files, str(tmp_path))]
        assert len(keys) == len(set(keys)) == PER_CLASS
        (report,) = tmp_path.glob("corrupt-*")
        assert len(json.loads(report.read_text())) == 2
