import numpy as np
import tensorflow as tf

from bit_keras.benchmarks.detection.boxes import BoxCounts, clean, count_boxes

# One box of each kind, for an image of 40 x 30 pixels.
KINDS = {
    "inside": [5, 5, 15, 25],
    "clipped": [-10, 20, 10, 40],
    "rounding": [20, 0, 40.01, 30],
    "crowd": [0, 0, 40, 30],
    "crowd clipped": [30, 10, 50, 20],
    "outside": [40, 5, 50, 10],
    "above": [5, -9, 9, -1],
    "crowd outside": [-9, 5, -1, 10],
    "no width": [5, 5, 5, 25],
    "turned": [20, 5, 10, 25],
    "nan": [np.nan, 5, 10, 25],
}


def example(names, **extra):
    boxes = np.array([KINDS[name] for name in names], np.float32)
    boxes = boxes.reshape(-1, 4)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return {
        "boxes": boxes,
        "labels": np.arange(len(names), dtype=np.int64),
        "is_crowd": np.array(["crowd" in name for name in names], bool),
        "area": sides.prod(axis=1),
        "height": np.int64(30),
        "width": np.int64(40),
        **extra,
    }


def dataset(*examples):
    def rows():
        yield from examples

    signature = {
        key: tf.TensorSpec([None] * np.ndim(value), np.asarray(value).dtype)
        for key, value in examples[0].items()
    }
    signature["boxes"] = tf.TensorSpec([None, 4], tf.float32)
    return tf.data.Dataset.from_generator(rows, output_signature=signature)


def test_what_is_left_of_each_kind():
    names = list(KINDS)
    cleaned = clean(example(names, id=b"a"), 30, 40)
    kept = [names[i] for i in cleaned["labels"].numpy()]
    assert kept == ["inside", "clipped", "rounding", "crowd", "crowd clipped"]
    np.testing.assert_array_equal(
        cleaned["boxes"],
        [
            [5, 5, 15, 25],
            [0, 20, 10, 30],
            [20, 0, 40, 30],
            [0, 0, 40, 30],
            [30, 10, 40, 20],
        ],
    )
    np.testing.assert_allclose(cleaned["area"], [200, 100, 600, 1200, 100])
    assert cleaned["is_crowd"].numpy().tolist() == [False] * 3 + [True] * 2
    assert cleaned["id"] == b"a"


def test_area_of_a_segmentation_stays():
    given = example(["inside", "clipped"], area=np.float32([50, 300]))
    np.testing.assert_allclose(clean(given, 30, 40)["area"], [50, 100])


def test_every_box_is_counted_once():
    counts = count_boxes(dataset(example(list(KINDS))))
    assert counts == BoxCounts(
        images=1, boxes=11, crowd=2, clipped=2, outside=3, empty=3
    )


def test_images_without_boxes():
    images = dataset(
        example([]),
        example(["crowd"]),
        example(["outside"]),
        example(["inside"]),
    )
    counts = count_boxes(images)
    assert (counts.images, counts.images_without_boxes) == (4, 3)


def test_boxes_beyond_the_limit():
    many = ["inside"] * 5 + ["crowd", "no width"]
    images = dataset(example(many), example(["inside"] * 2))
    assert count_boxes(images, max_boxes=3).beyond == 2
    assert count_boxes(images).beyond == 0


def test_corrupt_images_are_not_counted():
    corrupt = example(["inside"], height=np.int64(0), width=np.int64(0))
    counts = count_boxes(dataset(corrupt, example(["inside"])))
    assert (counts.images, counts.boxes, counts.outside) == (1, 1, 0)


def test_counts_add_up_and_are_told():
    one = BoxCounts(1, 2, 3, 4, 5, 6, 7, 8)
    assert one + one == BoxCounts(2, 4, 6, 8, 10, 12, 14, 16)
    assert str(one) == (
        "1 images (2 without boxes to train on), 3 boxes: 4 crowd, 5 clipped, "
        "6 dropped outside the image, 7 dropped without area, 8 beyond the "
        "limit per image"
    )
