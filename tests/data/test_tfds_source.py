import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.data.sources import open_source, split_names


@pytest.fixture
def data_dir(shared) -> str:
    return str(shared / "data" / "tfds")


@pytest.fixture
def offline(monkeypatch):
    """Makes any attempt to reach a network fail the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> str:
    """A data_dir with the dataset `made`: 40 examples in 20 shards."""
    root = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
            "tags": tfds.features.Sequence(
                tfds.features.ClassLabel(names=["x", "y", "z"])
            ),
            "depth": tfds.features.Image(shape=(None, None, 1)),
            "number": np.int64,
        }
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=root / "made" / "1.0.0",
        dataset_name="made",
        split="train",
        filetype_suffix="tfrecord",
    )
    (root / "made" / "1.0.0").mkdir(parents=True)
    for shard in range(20):
        path = template.sharded_filepath(shard_index=shard, num_shards=20)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for n in (2 * shard, 2 * shard + 1):
                example = {
                    "image": np.full((10 + n, 30, 3), n, np.uint8),
                    "label": n % 2,
                    "tags": ["x", "z"] if n % 2 else [],
                    "depth": np.zeros((4, 4, 1), np.uint8),
                    "number": n,
                }
                encoded = features.encode_example(example)
                writer.write(features.serialize_example(encoded))
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[2] * 20,
        num_bytes=100,
        filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
        data_dir=root / "made" / "1.0.0",
        features=features,
        split_infos=[split],
    )
    return str(root)


def _ids(dataset: tf.data.Dataset) -> list[bytes]:
    return [example["id"].numpy() for example in dataset]


def test_prepared_data_open_from_files(data_dir):
    source = open_source("cifar100_mini", "test[:10%]", data_dir=data_dir)
    assert source.name == "cifar100_mini:1.0.0"
    assert (source.num_examples, source.num_classes) == (300, 100)
    assert source.image_size == (32, 32)
    assert source.fetch is None
    builder = tfds.builder("cifar100_mini", data_dir=data_dir)
    expected = builder.as_dataset(split="test[:10%]")
    for ours, theirs in zip(source.read(), expected, strict=True):
        # PNG is lossless, so the decoders must agree.
        image = tf.io.decode_image(ours["image"])
        np.testing.assert_array_equal(image, theirs["image"])
        assert ours["label"] == theirs["label"]


def test_order_is_the_stored_one_over_shards(data_dir):
    whole = open_source("tiny_imagenet32_mini", "train", data_dir=data_dir)
    ids = _ids(whole.read().take(300))
    assert ids == _ids(whole.read().take(300))
    head = open_source("tiny_imagenet32_mini", "train[:300]", data_dir=data_dir)
    assert ids == _ids(head.read())
    # Across the border between the two shards.
    border = "train[24900:25100]"
    middle = open_source("tiny_imagenet32_mini", border, data_dir=data_dir)
    assert _ids(middle.read()) == [
        f"tiny_imagenet32_mini-train.tfrecord-0000{s}-of-00002__{i}".encode()
        for s, first in ((0, 24900), (1, 0))
        for i in range(first, first + 100)
    ]


def test_stream_over_shards(data_dir):
    split = "train[24950:25050]"
    source = open_source("tiny_imagenet32_mini", split, data_dir=data_dir)
    whole = _ids(source.stream(0, 0, 30).take(220))
    assert whole[150:] == _ids(source.stream(0, 150, 30).take(70))
    assert sorted(whole[:100]) == sorted(whole[100:200])


def test_other_label(data_dir):
    source = open_source(
        "eth80_mini", "test", data_dir=data_dir, label="elevation"
    )
    assert source.num_classes == 7
    labels = [int(example["label"]) for example in source.read()]
    # The data's README: the majority class of elevation has a share of .390.
    assert np.bincount(labels).max() / len(labels) == pytest.approx(
        0.39, abs=5e-4
    )


def test_versions(data_dir):
    name = "cifar10_mini:1.0.0"
    assert open_source(name, "test", data_dir=data_dir).name == name
    with pytest.raises(
        FileNotFoundError,
        match="no .cifar10_mini:2.0.0.*It has cifar10_mini:1.0.0",
    ):
        open_source("cifar10_mini:2.0.0", "test", data_dir=data_dir)
    assert split_names(name, data_dir) == ("train", "test")


def test_many_shards_read_in_a_fixed_order(made):
    source = open_source("made", "train", data_dir=made)
    ids = _ids(source.read())
    assert ids == _ids(source.read())
    assert len(set(ids)) == source.num_examples == 40
    whole = _ids(source.stream(5, 0, 8).take(100))
    assert whole[47:] == _ids(source.stream(5, 47, 8).take(53))


def test_varying_sizes_and_multi_label(made):
    source = open_source("made", "train[:4]", data_dir=made, label="tags")
    assert source.image_size == (12, 30)
    assert source.multi_label
    assert source.class_names == ("x", "y", "z")
    labels = [example["label"].numpy().tolist() for example in source.read()]
    assert labels == [[0, 0, 0], [1, 0, 1]] * 2


def test_missing_shard(made, tmp_path):
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    next(copy.glob("made/1.0.0/*-00007-of-*")).unlink()
    with pytest.raises(FileNotFoundError, match="1 of the 20 files.*00007-of"):
        open_source("made", "train", data_dir=str(copy))


def test_fingerprint_follows_the_data(made, tmp_path):
    before = open_source("made", "train", data_dir=made).fingerprint
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    same = open_source("made", "train", data_dir=str(copy))
    assert same.fingerprint == before
    other = open_source("made", "train", data_dir=made, label="tags")
    assert other.fingerprint != before
    info = copy / "made" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"100"', '"101"'))
    changed = open_source("made", "train", data_dir=str(copy))
    assert changed.fingerprint != before


@pytest.mark.parametrize(
    ("dataset", "label", "message"),
    [
        ("eth80_mini", "elevatoin", 'Did you mean "elevation".*azimuth'),
        ("eth80_mini", "instance", '"instance" of .* is of type .*ClassLabel'),
        ("bccd_mini", "label", 'no feature "label".*it has none'),
        ("bccd_mini", "objects", '"objects" of .* is of type Sequence'),
    ],
)
def test_bad_label(data_dir, dataset, label, message):
    with pytest.raises(ValueError, match=message):
        open_source(dataset, "train", data_dir=data_dir, label=label)


def test_no_image(made, tmp_path):
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    features = tfds.features.FeaturesDict(
        {
            "label": tfds.features.ClassLabel(names=["a", "b"]),
            "number": np.int64,
        }
    )
    features.save_config(str(copy / "made" / "1.0.0"))
    with pytest.raises(ValueError, match="it has none among label, number"):
        open_source("made", "train", data_dir=str(copy))


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (
            "mnist",
            FileNotFoundError,
            r"tfds.builder\('mnist', data_dir='.*'\).download_and_prepare\(\)",
        ),
        (
            "imagenet2012",
            FileNotFoundError,
            r"downloads/manual.*ILSVRC2012_img_train.tar.*builder\('imagenet20",
        ),
        (
            "imagenet21k",
            FileNotFoundError,
            "nXXXXXXXX.tar.*python -m bit_keras.data.imagenet21k --manual-dir",
        ),
        ("mnsit", ValueError, 'known to TFDS.*Did you mean "mnist"'),
        ("cifar10_mni", ValueError, 'Did you mean "cifar10_mini"'),
        ("shape", ValueError, 'Did you mean "shapes"'),
        ("a b", ValueError, r"Legal: name\[/config\]\[:version\]"),
    ],
)
def test_unprepared_fails_at_once(data_dir, offline, dataset, error, message):
    start = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        open_source(dataset, "train", data_dir=data_dir)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "mistyped", ["my_pictres", "./my_pictres", "my pictures"]
)
def test_a_mistyped_folder_is_guessed(tmp_path, monkeypatch, offline, mistyped):
    (tmp_path / "my_pictures").mkdir()
    (tmp_path / "other.csv").touch()
    monkeypatch.chdir(tmp_path)
    right = mistyped.rpartition("/")[0]
    right = f"{right}/my_pictures" if right else "my_pictures"
    errors = ValueError, FileNotFoundError
    with pytest.raises(errors, match=f'Did you mean "{right}"'):
        open_source(mistyped, "train", data_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        open_source("../nothing/like it", "train")
    assert "Did you mean" not in str(error.value)


def test_absent_data_dir():
    with pytest.raises(FileNotFoundError, match='no folder "/absent"'):
        open_source("mnist", "train", data_dir="/absent")
