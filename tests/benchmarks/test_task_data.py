import dataclasses
import json
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from bit_keras.benchmarks import task_status, tasks
from bit_keras.benchmarks.task_data import open_both, open_split
from bit_keras.benchmarks.tasks import Task
from bit_keras.benchmarks.tasks_file import from_json
from bit_keras.data.preprocess import decode


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Makes any attempt to reach a network fail the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def mini(shared) -> str:
    return str(shared / "data" / "tfds")


def _prepare(
    root: Path, name: str, version: str, features, splits: dict[str, list]
) -> None:
    """Writes a prepared TFDS dataset, one shard for each split."""
    folder = root / name / version
    folder.mkdir(parents=True)
    infos = []
    for split, examples in splits.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder,
            dataset_name=name.split("/")[0],
            split=split,
            filetype_suffix="tfrecord",
        )
        path = template.sharded_filepath(shard_index=0, num_shards=1)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                encoded = features.encode_example(example)
                writer.write(features.serialize_example(encoded))
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(examples)],
                num_bytes=100,
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos
    )


def _kitti(index: int, z: float) -> dict:
    seen = {
        "type": "Car",
        "location": [0.0, 0.0, z],
        "alpha": 0.0,
        "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
        "dimensions": [1.0, 1.0, 1.0],
        "occluded": 0,
        "rotation_y": 0.0,
        "truncated": 0.0,
    }
    return {
        "image": np.full((5, 9, 3), index, np.uint8),
        "image/file_name": f"{index:06}.png",
        "objects": [seen] if z < 999 else [],
    }


def _dsprites(index: int) -> dict:
    classes = ("shape", "scale", "orientation", "x_position", "y_position")
    return {
        "image": np.eye(64, dtype=np.uint8)[..., None],
        **{f"label_{key}": 0 for key in classes},
        **{f"value_{key}": 0.0 for key in classes},
        "label_x_position": index,
    }


def _features(name: str, root: Path) -> tfds.features.FeaturesDict:
    return tfds.builder(name, data_dir=str(root / "unused")).info.features


def _labels(source) -> list[int]:
    return [int(example["label"]) for example in source.read()]


def test_labels_are_made(tmp_path):
    examples = [_kitti(i, z) for i, z in enumerate((7.0, 8.5, 1000.0, 25.0))]
    _prepare(
        tmp_path,
        "kitti",
        "3.2.0",
        _features("kitti:3.2.0", tmp_path),
        {"train": examples[:2], "test": examples},
    )
    task = tasks.get("vtab_kitti_distance")
    with pytest.warns(
        UserWarning, match="test .* has 4 examples instead of 711"
    ):
        source = open_split(task, "test", str(tmp_path))
    assert source.name == "kitti:3.2.0"
    assert source.num_classes == 4
    assert source.class_names[3] == "no vehicle"
    assert source.image_size == (5, 9)
    assert _labels(source) == [0, 1, 3, 2]
    for index, example in enumerate(source.read()):
        assert example["label"].dtype == tf.int64
        assert int(decode(example["image"])[0, 0, 0]) == index
    with pytest.raises(ValueError, match=r"vtab_kitti_distance: split: cannot"):
        open_split(task, "train800", str(tmp_path))


def test_images_are_made(tmp_path):
    _prepare(
        tmp_path,
        "dsprites",
        "2.0.0",
        _features("dsprites:2.0.0", tmp_path),
        {"train": [_dsprites(i) for i in (0, 1, 2, 31)]},
    )
    rows = [
        tasks.get(f"vtab_dsprites_{n}") for n in ("location", "orientation")
    ]
    short = {"test": "train", "num_test": 4}
    location, orientation = (
        open_split(dataclasses.replace(row, **short), "test", str(tmp_path))
        for row in rows
    )
    assert _labels(location) == [0, 0, 1, 15]
    assert _labels(orientation) == [0] * 4
    example = next(iter(location.read()))
    expected = np.tile(np.eye(64)[..., None] * 255, (1, 1, 3))
    np.testing.assert_array_equal(decode(example["image"]), expected)
    # Two tasks over the same bytes.
    assert location.fingerprint != orientation.fingerprint


def test_versions(tmp_path):
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(4, 4, 3)),
            "label": tfds.features.ClassLabel(num_classes=47),
        }
    )
    task = dataclasses.replace(tasks.get("dtd"), num_test=1)
    examples = [{"image": np.zeros((4, 4, 3), np.uint8), "label": 46}]
    _prepare(tmp_path, "dtd", "2.0.0", features, {"test": examples})
    with pytest.raises(
        ValueError,
        match=r"task dtd: dataset: .* has dtd in version 2.0.0.*accepted: "
        r"3.0.1. Prepare it once with: python -c .*builder\('dtd:3.0.1'",
    ) as caught:
        open_split(task, "test", str(tmp_path))
    assert "\n" not in str(caught.value)
    _prepare(tmp_path, "dtd", "3.0.1", features, {"test": examples})
    _prepare(tmp_path, "dtd", "4.0.0", features, {"test": examples})
    source = open_split(task, "test", str(tmp_path))
    assert source.name == "dtd:3.0.1"
    assert _labels(source) == [46]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "pets",
            r"pets: dataset: oxford_iiit_pet is not prepared in .*builder",
        ),
        (
            "vtab_resisc45",
            r"First download by hand, into .*/downloads/manual.*1drv.ms.*"
            r"builder\('resisc45:3.0.0', data_dir='.*'\)",
        ),
        ("imagenet", "ILSVRC2012_img_train.tar.*imagenet2012_subset/10pct:5.0"),
    ],
)
def test_not_prepared(name, message, tmp_path):
    with pytest.raises(FileNotFoundError, match=message) as caught:
        open_split(tasks.get(name), "train", str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match='no folder "/absent"'):
        open_split(tasks.get(name), "train", "/absent")


def _own(**fields) -> Task:
    return Task(**{"name": "own", "train": "train", "test": "test", **fields})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            _own(dataset="eth80_mini", label="instance"),
            '"instance" of .* is of type .*"num_classes" in .* plain integer.$',
        ),
        (
            _own(dataset="gtsrb_mini", label="track", num_classes=3),
            '"track" of .* is of type Text.*integer, which "track" is not.$',
        ),
        (
            _own(dataset="gtsrb_mini", label="lable"),
            'label: .* no feature "lable". Did you mean "label".*has label.$',
        ),
        (
            _own(dataset="cifar10_mini", num_classes=11),
            'num_classes is 11, but "label" of cifar10_mini:1.0.0 has 10',
        ),
        (
            _own(dataset="cifar10_mini", test="test[:0]"),
            r'split: "test\[:0\]" of cifar10_mini:1.0.0 is empty',
        ),
        (
            _own(dataset="cifar10_mini", test="tset"),
            'no split "tset". Did you mean "test"',
        ),
        (_own(dataset="cifar10_mni"), 'Did you mean "cifar10_mini"'),
    ],
)
def test_mistakes_of_own_tasks(task, message, mini):
    with pytest.raises(ValueError, match=f"task own: .*{message}") as caught:
        open_split(task, "test", mini)
    assert "\n" not in str(caught.value)


def test_version_of_an_own_task(mini):
    task = _own(dataset="cifar10_mini:1.*.*")
    assert open_split(task, "test", mini).name == "cifar10_mini:1.0.0"
    with pytest.raises(FileNotFoundError, match="It has cifar10_mini:1.0.0"):
        open_split(_own(dataset="cifar10_mini:2.0.0"), "test", mini)


def test_integer_label(mini):
    task = _own(dataset="eth80_mini", label="instance", num_classes=15)
    source = open_split(task, "train", mini)
    assert source.num_classes == 15
    assert source.class_names[14] == "14"
    # The data's README: objects 1-7 in train, 8-14 in test.
    assert set(_labels(source)) == set(range(1, 8))
    few = dataclasses.replace(task, num_classes=14)
    test = open_split(few, "test", mini)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="label must be 0..13.*has.*14"
    ):
        _labels(test)


def test_several_labels_are_refused(tmp_path):
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(4, 4, 3)),
            "label": tfds.features.Sequence(
                tfds.features.ClassLabel(num_classes=3)
            ),
        }
    )
    example = {"image": np.zeros((4, 4, 3), np.uint8), "label": [0, 2]}
    _prepare(tmp_path, "made", "1.0.0", features, {"test": [example]})
    with pytest.raises(ValueError, match="several classes; a task needs one"):
        open_split(_own(dataset="made"), "test", str(tmp_path))


def test_split_is_a_role(mini):
    task = _own(dataset="cifar10_mini")
    for split in ("val200", "tset", "train[:5]"):
        with pytest.raises(
            ValueError, match="split must be one of train, test;"
        ):
            open_split(task, split, mini)


def test_a_tasks_file_of_real_images(mini, tmp_path):
    path = tmp_path / "mine.json"
    entries = [
        {
            "name": "cifar",
            "dataset": "cifar100_mini:1.0.0",
            "train": "train[:50%]",
            "test": "test",
            "group": "natural",
            "num_classes": 100,
        },
        {
            "name": "kana",
            "dataset": "kmnist_mini",
            "train": "train[:100]+train[-50:]",
            "test": "test[:200]",
        },
        {
            "name": "height",
            "dataset": "eth80_mini",
            "train": "train",
            "test": "test",
            "label": "elevation",
            "group": "structured",
        },
    ]
    path.write_text(json.dumps(entries))
    cifar, kana, height = from_json(path)
    sizes = {
        task.name: [
            (source.num_examples, source.num_classes)
            for source in (
                open_split(task, split, mini) for split in ("train", "test")
            )
        ]
        for task in (cifar, kana, height)
    }
    # The data's README.
    assert sizes == {
        "cifar": [(3000, 100), (3000, 100)],
        "kana": [(150, 10), (200, 10)],
        "height": [(2255, 7), (1025, 7)],
    }
    # One channel, tiled.
    (example,) = open_split(kana, "test", mini).read().take(1)
    image = decode(example["image"]).numpy()
    assert image.shape == (28, 28, 3)
    assert image.max() > 200 and (image == image[..., :1]).all()
    # The majority class of elevation has a share of .390.
    labels = _labels(open_split(height, "test", mini))
    assert np.bincount(labels).max() / len(labels) == pytest.approx(
        0.39, abs=5e-4
    )


def test_a_folder_of_images_is_a_task(tmp_path):
    for split, shades in (("train", (0, 50)), ("test", (100,))):
        for name in ("cat", "dog"):
            folder = tmp_path / "mine" / split / name
            folder.mkdir(parents=True)
            for shade in shades:
                Image.new("L", (8, 8), shade).save(folder / f"{shade}.png")
    entry = {"name": "mine", "dataset": str(tmp_path / "mine")}
    entry |= {"train": "train", "test": "test"}
    (tmp_path / "tasks.json").write_text(json.dumps([entry]))
    (task,) = from_json(tmp_path / "tasks.json")
    assert task_status.status(task, None) == "present"
    source = open_split(task, "test")
    assert source.class_names == ("cat", "dog")
    assert [int(e["label"]) for e in source.read()] == [0, 1]
    gone = dataclasses.replace(task, dataset=str(tmp_path / "gone" / "away"))
    with pytest.raises(FileNotFoundError, match="no folder or CSV file"):
        task_status.status(gone, None)


@pytest.mark.parametrize(
    "train, test, shared",
    [
        ("train", "train[1200:]", 97),
        ("train[:500]+test", "test[:7]", 7),
        ("train", "train+test", 1297),
    ],
)
def test_training_examples_are_no_test_examples(train, test, shared):
    task = Task(name="mine", dataset="digits", train=train, test=test)
    with pytest.raises(ValueError, match=f"{shared} examples are in"):
        open_both(task)
    # Nothing is trained for what only looks at the test split.
    assert open_split(task, "test").num_examples
    apart = dataclasses.replace(task, train="train[:50%]", test="train[50%:]")
    assert [source.num_examples for source in open_both(apart)] == [648, 649]
