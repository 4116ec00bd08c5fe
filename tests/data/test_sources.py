"""What every source must do, whatever it reads from."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.sources import (
    Source,
    multi_hot,
    open_source,
    probe_image_size,
    split_names,
)
from bit_keras.data.splits import slice_split
from bit_keras.data.subset import few_shot

KINDS = ("tfds", "folder", "digits", "shapes", "few_shot")


@pytest.fixture(scope="module")
def source_of(shared, tmp_path_factory):
    """Returns a function from kind to a small source."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(13):
        path = folder / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.full((4, 5, 3), index, np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())

    def make(kind: str) -> Source:
        if kind == "tfds":
            data_dir = str(shared / "data" / "tfds")
            return open_source("kmnist_mini", "test[:30]", data_dir=data_dir)
        if kind == "folder":
            return open_source(str(folder), "all")
        if kind == "few_shot":
            return few_shot(open_source("digits", "train"), 2, seed=0)
        return open_source(kind, "test[:40]")

    return make


def _ids(dataset: tf.data.Dataset, count: int) -> list[bytes]:
    return [example["id"].numpy() for example in dataset.take(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_read_is_complete_ordered_and_typed(kind, source_of):
    source = source_of(kind)
    examples = list(source.read())
    assert len(examples) == source.num_examples
    ids = [example["id"].numpy() for example in examples]
    assert len(set(ids)) == source.num_examples
    assert ids == _ids(source.read(), -1)
    for example in examples:
        assert example["label"].dtype == tf.int64
        assert 0 <= example["label"] < source.num_classes
        image = tf.io.decode_image(example["image"])
        assert image.shape[:2] == source.image_size
    if source.fetch is not None:
        fetched = tf.function(source.fetch)(tf.constant(3, tf.int64))
        assert fetched["id"] == ids[3]
        assert fetched["image"] == examples[3]["image"]


@pytest.mark.parametrize("kind", KINDS)
def test_stream_enters_anywhere(kind, source_of):
    source = source_of(kind)
    total = 2 * source.num_examples + 5
    whole = _ids(source.stream(7, 0, 10), total)
    for start in (1, source.num_examples, source.num_examples + 4):
        rest = _ids(source.stream(7, start, 10), total - start)
        assert rest == whole[start:]


@pytest.mark.parametrize("kind", KINDS)
def test_stream_shuffles_each_epoch_anew(kind, source_of):
    source = source_of(kind)
    n = source.num_examples
    ids = _ids(source.stream(0, 0, n), 2 * n)
    first, second = ids[:n], ids[n:]
    assert sorted(first) == sorted(second) == sorted(_ids(source.read(), n))
    assert first != second
    assert first != _ids(source.read(), n)
    assert first != _ids(source.stream(1, 0, n), n)


@pytest.mark.parametrize(("seed", "epoch"), [(256, 0), (0, 256)])
def test_orders_do_not_come_again(seed, epoch):
    source = open_source("digits", "test[:40]")
    n = source.num_examples
    again = _ids(source.stream(seed, epoch * n, 1), n)
    assert again != _ids(source.stream(0, 0, 1), n)


def test_orders_of_successive_epochs_are_independent():
    n = 20_000
    labels = tf.range(n, dtype=tf.int64)
    source = dataclasses.replace(
        open_source("digits", "test"),
        num_examples=n,
        fetch=lambda index: {"label": labels[index]},
    )
    epochs = [
        batch["label"].numpy()
        for batch in source.stream(0, 0, 1).batch(n).take(3)
    ]
    for one, other in zip(epochs, epochs[1:], strict=False):
        # By chance alone it has the deviation 1 / sqrt(n).
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(n)


@pytest.mark.parametrize("kind", ["tfds", "digits"])
def test_stream_ignores_the_global_seed(kind, source_of):
    source = source_of(kind)
    expected = _ids(source.stream(3, 0, 10), 20)
    try:
        tf.random.set_seed(1234)
        assert _ids(source.stream(3, 0, 10), 20) == expected
    finally:
        tf.random.set_seed(0)

    @tf.function
    def in_graph():
        ids = source.stream(3, 0, 10).take(20).map(lambda e: e["id"])
        return ids.batch(20).get_single_element()

    assert list(in_graph().numpy()) == expected


def test_stream_checks_its_arguments(source_of):
    source = source_of("digits")
    with pytest.raises(ValueError, match="start must be >= 0; got -1"):
        source.stream(0, -1, 10)
    with pytest.raises(ValueError, match="shuffle_buffer must be >= 1; got 0"):
        source.stream(0, 0, 0)


def test_single_example_streams(source_of):
    source = open_source("digits", "test[:1]")
    assert len(set(_ids(source.stream(0, 5, 1), 4))) == 1


def test_fingerprint_tells_data_apart():
    prints = [
        open_source(*arguments).fingerprint
        for arguments in (
            ("digits", "train"),
            ("digits", "test"),
            ("digits", "train[:50%]"),
            ("shapes", "test"),
        )
    ]
    assert len(set(prints)) == 4
    assert prints[0] == open_source("digits", "train").fingerprint
    assert all(len(p) == 64 for p in prints)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("train", 0, 10)]),
        ("train[:80%]", [("train", 0, 8)]),
        ("train[80%:]", [("train", 8, 10)]),
        ("train[-3:]", [("train", 7, 10)]),
        ("train[2:4] + test", [("train", 2, 4), ("test", 0, 4)]),
        ("all", [("train", 0, 10), ("test", 0, 4)]),
    ],
)
def test_slices(split, expected):
    assert slice_split("x", split, {"train": [6, 4], "test": [4]}) == expected


def test_slices_of_all():
    lengths = {"all": [10]}
    assert slice_split("x", "all[:90%]", lengths) == [("all", 0, 9)]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tran", 'no split "tran". Did you mean "train"\\? It has train, test'),
        ("train[:0]", '"train\\[:0\\]" of x is empty.*train 10, test 4'),
        ("train[3:2]", "is empty"),
        ("train[:11]", "incompatible with 10 examples"),
        ("train[:x]", "cannot read"),
        ("all[:5]", "cannot be cut.*Cut one of these: train\\[:80%\\]"),
        ("", 'no split ""'),
    ],
)
def test_bad_slices(split, message):
    with pytest.raises(ValueError, match=message) as caught:
        slice_split("x", split, {"train": [10], "test": [4]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["./absent", "/absent/folder", "absent.csv"])
def test_absent_path(path):
    with pytest.raises(FileNotFoundError, match="no folder or CSV file"):
        open_source(path, "train")


def test_split_names(tmp_path):
    assert split_names("shapes") == ("train", "test")
    with pytest.raises(FileNotFoundError, match="no folder"):
        split_names(str(tmp_path / "x"))


def test_multi_hot_of_nothing():
    empty = tf.constant([], tf.int64)
    np.testing.assert_array_equal(multi_hot(empty, 3), np.zeros(3))


def test_probe_takes_the_median_and_skips_broken_images():
    images = [
        tf.io.encode_png(np.zeros((h, w, 1), np.uint8)).numpy()
        for h, w in ((10, 70), (20, 50), (90, 60))
    ]
    images.append(tf.io.encode_jpeg(np.zeros((20, 60, 3), np.uint8)).numpy())
    images.append(b"not an image")
    examples = tf.data.Dataset.from_tensor_slices({"image": images})
    assert probe_image_size("x", examples) == (20, 60)
    broken = tf.data.Dataset.from_tensors({"image": b"not an image"})
    with pytest.raises(ValueError, match="none of its first 64 images"):
        probe_image_size("x", broken)


def test_import_is_light():
    code = (
        "import sys; import bit_keras.data.sources; "
        "print('tensorflow_datasets' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.stdout.strip() == "False"
