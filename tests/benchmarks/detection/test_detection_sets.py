import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.benchmarks.detection.boxes import BoxCounts, count_boxes
from bit_keras.benchmarks.detection.sets import open_set

CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}]


def jpeg(height, width):
    pixels = tf.random.stateless_uniform(
        (height, width, 3), (height, width), 0, 256, tf.int32
    )
    return tf.io.encode_jpeg(tf.cast(pixels, tf.uint8)).numpy()


def annotation(number, image, category=3, bbox=(1, 2, 10, 5), **extra):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(bbox),
        **extra,
    }


def content(num_images=3):
    """Images of 30 x (40 + id) pixels; `id` boxes in each."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 30, "width": 40 + i}
            for i in range(num_images)
        ],
        "categories": list(CATEGORIES),
        "annotations": [
            annotation(10 * i + k, i, 9 if k else 3)
            for i in range(num_images)
            for k in range(i)
        ],
    }


def write(file, images, described=None):
    """Writes the annotations to `file` and the images into `images`."""
    described = described or content()
    file.parent.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(described))
    for image in described["images"]:
        size = image.get("height", 30), image.get("width", 40)
        (images / image["file_name"]).write_bytes(jpeg(*size))
    return file


def by_name(opened):
    return {
        Path(e["id"].numpy().decode()).name: {
            k: v.numpy() for k, v in e.items()
        }
        for e in opened.read()
    }


def test_json_file(tmp_path):
    described = content()
    crowd = {"iscrowd": 1, "area": 33.5, "segmentation": {}}
    described["annotations"].append(
        annotation(99, 0, 9, (-3, 0, 9.5, 4), **crowd)
    )
    file = write(tmp_path / "mine.json", tmp_path, described)
    opened = open_set(str(file), "all")
    assert opened.class_names == ("cat", "dog")
    assert opened.num_images == 3
    images = by_name(opened)
    assert sorted(images) == ["0.jpg", "1.jpg", "2.jpg"]
    assert images["0.jpg"]["boxes"].tolist() == [[-3, 0, 6.5, 4]]
    assert images["0.jpg"]["area"].tolist() == [33.5]
    assert images["0.jpg"]["is_crowd"].tolist() == [True]
    assert images["2.jpg"]["labels"].tolist() == [0, 1]
    assert images["2.jpg"]["boxes"].tolist() == [[1, 2, 11, 7]] * 2
    assert images["2.jpg"]["area"].tolist() == [50, 50]
    assert (images["2.jpg"]["height"], images["2.jpg"]["width"]) == (30, 42)
    assert images["2.jpg"]["image"] == (tmp_path / "2.jpg").read_bytes()
    counts = count_boxes(opened.read(), max_boxes=1)
    assert counts == BoxCounts(3, 1, 4, crowd=1, clipped=1, beyond=1)


@pytest.mark.parametrize(
    ("json_file", "images", "split"),
    [
        ("annotations/instances_val2017.json", "val2017", "validation"),
        ("annotations/instances_val2017.json", "images/val2017", "val2017"),
        ("annotations/instances_train.json", "images", "train"),
        ("valid/_annotations.coco.json", "valid", "validation"),
        ("train/_annotations.coco.json", "train", "train[:100%]"),
    ],
)
def test_folders_as_people_have_them(tmp_path, json_file, images, split):
    write(tmp_path / json_file, tmp_path / images)
    opened = open_set(str(tmp_path), split)
    assert opened.num_images == 3
    assert sorted(by_name(opened)) == ["0.jpg", "1.jpg", "2.jpg"]


def test_images_of_a_json_file_elsewhere(tmp_path):
    file = write(tmp_path / "a" / "b.json", tmp_path / "pictures")
    opened = open_set(str(file), "all", str(tmp_path / "pictures"))
    assert len(by_name(opened)) == 3
    with pytest.raises(
        FileNotFoundError, match=r"b.json, 0.jpg first.*none of"
    ):
        open_set(str(file), "all")


def test_slices_share_a_file_without_overlap(tmp_path):
    file = write(tmp_path / "mine.json", tmp_path, content(10))
    parts = [open_set(str(file), s) for s in ("train[:70%]", "train[70%:]")]
    assert [part.num_images for part in parts] == [7, 3]
    first, second = (set(by_name(part)) for part in parts)
    assert len(first | second) == 10
    assert parts[0].fingerprint != parts[1].fingerprint


def test_fingerprint_follows_the_annotations(tmp_path):
    file = write(tmp_path / "a" / "mine.json", tmp_path / "a")
    before = open_set(str(file), "all").fingerprint
    moved = shutil.copytree(tmp_path / "a", tmp_path / "b") / "mine.json"
    assert open_set(str(moved), "all").fingerprint == before
    described = content()
    described["annotations"][0]["bbox"][0] += 0.5
    file.write_text(json.dumps(described))
    assert open_set(str(file), "all").fingerprint != before


def test_category_named_twice(tmp_path):
    described = content()
    described["categories"] = [*CATEGORIES, {"id": 0, "name": "cat"}]
    file = write(tmp_path / "mine.json", tmp_path, described)
    assert open_set(str(file), "all").class_names == (
        "cat (0)",
        "cat (3)",
        "dog",
    )


def test_corrupt_image_keeps_its_boxes(tmp_path):
    file = write(tmp_path / "mine.json", tmp_path)
    (tmp_path / "2.jpg").write_bytes(b"not an image")
    image = by_name(open_set(str(file), "all"))["2.jpg"]
    assert (image["height"], image["width"]) == (0, 0)
    assert len(image["boxes"]) == 2


def change(key, *values):
    return lambda described: described[key].extend(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda d: d.pop("categories"),
            "not of COCO's format.*lacks categories",
        ),
        (lambda d: d["images"].clear(), "mine.json has no images"),
        (
            change("annotations", annotation(7, 0, category=4)),
            "mine.json, annotation 7: category_id 4 is not among.*3, 9",
        ),
        (
            change("annotations", annotation(7, 55)),
            "mine.json has annotations of the image_id 55",
        ),
        (
            change("annotations", annotation(7, 0, bbox=(1, 2, 3))),
            r"mine.json, annotation 7: it must have .* got \{'id': 7",
        ),
        (
            change("annotations", annotation(7, 0, bbox=(1, 2, 3, np.nan))),
            "mine.json, annotation 7: bbox and area must be finite",
        ),
        (change("annotations", []), "mine.json, annotation list: it must have"),
        (change("images", {"id": 0, "file_name": "x"}), "two images of id 0"),
        (change("images", {"id": 8}), "an image without id and file_name"),
        (
            change("categories", {"id": 3, "name": "x"}),
            "two categories of one id",
        ),
        (change("categories", {"name": "x"}), "a category without id"),
    ],
)
def test_damaged_annotations_are_named(tmp_path, damage, message):
    file = write(tmp_path / "mine.json", tmp_path)
    described = content()
    damage(described)
    file.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=message) as error:
        open_set(str(file), "all")
    assert "\n" not in str(error.value)


def test_files_that_are_not_there(tmp_path):
    file = write(tmp_path / "mine.json", tmp_path)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 of the 3 images.*1.jpg"):
        open_set(str(file), "all")
    file.write_text('{"images": [')
    with pytest.raises(ValueError, match="mine.json is not valid JSON: "):
        open_set(str(file), "all")
    with pytest.raises(FileNotFoundError, match='no file ".*other.json"'):
        open_set(str(tmp_path / "other.json"), "all")
    with pytest.raises(
        FileNotFoundError, match="neither annotations/instances"
    ):
        open_set(str(tmp_path), "train")


def test_splits_that_are_not_there(tmp_path):
    for split in ("train", "valid"):
        folder = tmp_path / split
        write(folder / "_annotations.coco.json", folder)
    with pytest.raises(
        ValueError, match='no split "test".*It has train, valid'
    ):
        open_set(str(tmp_path), "test")
    assert open_set(str(tmp_path), "all").num_images == 6
    other = content()
    other["categories"] = [{"id": 3, "name": "cat"}, {"id": 9, "name": "emu"}]
    file = tmp_path / "valid" / "_annotations.coco.json"
    file.write_text(json.dumps(other))
    with pytest.raises(ValueError, match="has other categories than"):
        open_set(str(tmp_path), "train+valid")


def test_images_resized_after_annotation(tmp_path):
    file = write(tmp_path / "mine.json", tmp_path)
    (tmp_path / "1.jpg").write_bytes(jpeg(15, 20))
    with pytest.raises(ValueError, match="1.jpg is 20 x 15 .* for 41 x 30"):
        open_set(str(file), "all")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data_dir with `made`, of COCO's features, and `difficult`, of VOC's."""
    root = tmp_path_factory.mktemp("tfds")
    box = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["a", "b"]),
    }
    rows = [
        {"bbox": tfds.features.BBox(0.1, 0.2, 0.5, 1.0), "label": "b"},
        {"bbox": tfds.features.BBox(0.0, 0.0, 0.5, 0.5), "label": "a"},
    ]
    coco = {**box, "is_crowd": np.bool_, "area": np.int64}
    told = [{"is_crowd": False, "area": 70}, {"is_crowd": True, "area": 0}]
    _prepare(
        root, "made", coco, [a | b for a, b in zip(rows, told, strict=True)]
    )
    hard = {**box, "is_difficult": np.bool_}
    told = [{"is_difficult": True}, {"is_difficult": False}]
    _prepare(
        root,
        "difficult",
        hard,
        [a | b for a, b in zip(rows, told, strict=True)],
    )
    return str(root)


def _prepare(root, name, inner, objects):
    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "objects": tfds.features.Sequence(inner),
        }
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name=name,
        split="train",
        filetype_suffix="tfrecord",
    )
    path = template.sharded_filepath(shard_index=0, num_shards=1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in (objects, []):
            image = np.zeros((20, 10, 3), np.uint8)
            encoded = features.encode_example({"image": image, "objects": rows})
            writer.write(features.serialize_example(encoded))
    split = tfds.core.SplitInfo(
        name="train", shard_lengths=[2], num_bytes=9, filename_template=template
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=[split]
    )


def test_tfds_in_the_form_of_coco(made):
    opened = open_set("made", "train", made)
    assert (opened.name, opened.num_images) == ("made:1.0.0", 2)
    assert opened.class_names == ("a", "b")
    first, second = opened.read()
    np.testing.assert_allclose(first["boxes"], [[2, 2, 10, 10], [0, 0, 5, 10]])
    assert first["labels"].numpy().tolist() == [1, 0]
    assert first["is_crowd"].numpy().tolist() == [False, True]
    # An area of 0 means that nobody measured it.
    np.testing.assert_allclose(first["area"], [70, 50])
    assert second["boxes"].shape == (0, 4)


def test_difficult_boxes_of_voc_are_kept_for_the_evaluation(made):
    first = next(iter(open_set("difficult", "train", made).read()))
    assert first["is_crowd"].numpy().tolist() == [True, False]
    np.testing.assert_allclose(first["area"], [64, 50])


def test_missing_tfds_file(made, tmp_path):
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    next(copy.glob("made/1.0.0/*tfrecord*")).unlink()
    with pytest.raises(FileNotFoundError, match="1 of the 1 files of made"):
        open_set("made", "train", str(copy))


def test_bccd(shared):
    data_dir = str(shared / "data" / "tfds")
    opened = open_set("bccd_mini", "test", data_dir)
    assert opened.class_names == ("WBC", "RBC", "Platelets")
    # The data's README: 945 boxes, a share of .852 of them RBC.
    assert count_boxes(opened.read()) == BoxCounts(images=72, boxes=945)
    labels = np.concatenate([e["labels"] for e in opened.read()])
    assert np.mean(labels == 1) == pytest.approx(0.852, abs=5e-4)
    with pytest.raises(ValueError, match="cifar10_mini.* must have .*objects"):
        open_set("cifar10_mini", "test", data_dir)
    with pytest.raises(
        ValueError, match='no split "tset".*Did you mean "test"'
    ):
        open_set("bccd_mini", "tset", data_dir)
    with pytest.raises(ValueError, match='Did you mean "bccd_mini"'):
        open_set("bccd_mimi", "test", data_dir)


def test_images_without_boxes_are_no_detection_set():
    with pytest.raises(ValueError, match='"digits" has no boxes.*coco/2017'):
        open_set("digits", "train")
