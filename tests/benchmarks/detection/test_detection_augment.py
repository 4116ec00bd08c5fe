import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.benchmarks.detection.augment import (
    SCALE_JITTER,
    eval_batches,
    train_batches,
)
from bit_keras.benchmarks.detection.average_precision import (
    average_precision,
    ground_truth,
    in_image_pixels,
)
from bit_keras.benchmarks.detection.rectangles import rectangles
from bit_keras.benchmarks.detection.sets import DetectionSet, open_set
from bit_keras.benchmarks.detection.squares import fitting_scale, square
from bit_keras.data.batches import BadImages

RED = np.array([200, 40, 40]) / 127.5 - 1


def one_box(box, height=24, width=32, count=4, **extra):
    """A set of gray images with one red box each."""
    left, top, right, bottom = box
    pixels = np.full((height, width, 3), 127, np.uint8)
    pixels[max(top, 0) : bottom, max(left, 0) : right] = (200, 40, 40)
    example = {
        "id": [b"%d" % i for i in range(count)],
        "image": [tf.io.encode_png(pixels).numpy()] * count,
        "height": np.full(count, height, np.int64),
        "width": np.full(count, width, np.int64),
        "boxes": np.full((count, 1, 4), box, np.float32),
        "labels": np.ones((count, 1), np.int64),
        "is_crowd": np.zeros((count, 1), bool),
        "area": np.full((count, 1), 5.0, np.float32),
        **extra,
    }
    return DetectionSet(
        name="one",
        split="all",
        class_names=("a", "b"),
        num_images=count,
        fingerprint="",
        read=lambda: tf.data.Dataset.from_tensor_slices(example),
    )


def red_box(image):
    """The bounds of what is nearer to red than to gray."""
    red = np.abs(image - RED).sum(-1) < np.abs(image - 0).sum(-1)
    ys, xs = np.nonzero(red)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_square_is_a_resize_where_that_is_exact():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    made = square(
        tf.constant(pixels), fitting_scale(50, 12, 20), tf.zeros(2), 50
    )
    expected = tf.image.resize(pixels, (30, 50)) / 127.5 - 1
    np.testing.assert_allclose(made[:30], expected, atol=1e-5)
    assert not np.any(made[30:])
    corner = tf.constant([7.0, 3.0])
    cut = square(tf.constant(pixels), tf.constant(2.5), corner, 20)
    np.testing.assert_allclose(cut, expected[7:27, 3:23], atol=1e-5)


def test_boxes_follow_their_objects():
    """In every augmented image, the box is where the red pixels are."""
    batches = train_batches(one_box((6, 4, 14, 20)), 96, 8, seed=1, max_boxes=3)
    flipped, widths = [], []
    for batch in batches.take(6):
        assert batch["images"].shape == (8, 96, 96, 3)
        assert batch["boxes"].shape == (8, 3, 4)
        assert batch["labels"].numpy().tolist() == [[1, -1, -1]] * 8
        assert batch["weight"].numpy().tolist() == [1] * 8
        for image, boxes in zip(batch["images"], batch["boxes"], strict=True):
            box, padding = boxes[0].numpy(), boxes[1:].numpy()
            np.testing.assert_allclose(box, red_box(image), atol=1)
            assert not padding.any()
            flipped.append(box[0] > 48)
            widths.append((box[2] - box[0]) / 24)
    assert 10 < sum(flipped) < 38
    low, high = SCALE_JITTER
    assert low <= min(widths) < 0.87 and 1.13 < max(widths) <= high + 1e-6


def test_crops_cut_boxes_and_drop_those_outside():
    whole = one_box((0, 0, 32, 24))
    corner = one_box((31, 0, 32, 24))
    for batch in train_batches(whole, 32, 16, seed=0).take(3):
        assert np.all(batch["labels"][:, 0] == 1)
        assert np.all((0 <= batch["boxes"]) & (batch["boxes"] <= 32))
        assert not np.any(batch["labels"][:, 1:] >= 0)
    labels = np.concatenate(
        [
            b["labels"][:, 0]
            for b in train_batches(corner, 32, 16, seed=0).take(6)
        ]
    )
    # Less than a pixel wide below the scale 1, or cropped away.
    assert {-1, 1} == set(labels.tolist())


def test_crowd_boxes_are_not_trained_on():
    crowd = one_box((6, 4, 14, 20), is_crowd=np.ones((4, 1), bool))
    batch = next(iter(train_batches(crowd, 32, 4, seed=0)))
    assert np.all(batch["labels"] == -1)
    images = ground_truth(next(iter(eval_batches(crowd, 32, 4))))
    assert [image["is_crowd"].tolist() for image in images] == [[True]] * 4


def test_the_first_boxes_are_kept():
    labels = np.tile(np.arange(5), (4, 1))
    many = one_box(
        (6, 4, 14, 20),
        boxes=np.full((4, 5, 4), (6, 4, 14, 20), np.float32),
        labels=labels,
        is_crowd=np.zeros((4, 5), bool),
        area=np.ones((4, 5), np.float32),
    )
    batch = next(iter(train_batches(many, 32, 2, seed=0, max_boxes=3)))
    assert batch["labels"].numpy().tolist() == [[0, 1, 2]] * 2


def test_batches_are_a_function_of_the_seed():
    def batches(seed, start=0):
        found = train_batches(rectangles(5), 32, 2, seed, start=start).take(4)
        return [batch["images"].numpy() for batch in found]

    first = batches(3)
    np.testing.assert_array_equal(first, batches(3))
    np.testing.assert_array_equal(first[2:], batches(3, start=2)[:2])
    assert not np.array_equal(first, batches(4))


def test_records_resume_as_well(shared):
    opened = open_set("bccd_mini", "test[:6]", str(shared / "data" / "tfds"))
    whole = [b["labels"] for b in train_batches(opened, 32, 2, 0).take(5)]
    later = [
        b["labels"] for b in train_batches(opened, 32, 2, 0, start=3).take(2)
    ]
    np.testing.assert_array_equal(whole[3:], later)


def test_evaluation_sees_each_image_once():
    made = rectangles(5, side=40)
    batches = list(eval_batches(made, 64, 2))
    assert [b["weight"].numpy().tolist() for b in batches] == [
        [1, 1],
        [1, 1],
        [1, 0],
    ]
    assert all(b["images"].shape == (2, 64, 64, 3) for b in batches)
    images = [image for batch in batches for image in ground_truth(batch)]
    assert [image["id"] for image in images] == list("01234")
    for image, example in zip(images, made.read(), strict=True):
        np.testing.assert_array_equal(image["boxes"], example["boxes"])
        np.testing.assert_array_equal(image["labels"], example["labels"])
        assert (image["height"], image["width"]) == (40, 40)


def test_perfect_detections_are_perfect():
    """From pixels of the square back to the image's, at an odd scale."""
    truth, found = [], []
    for batch in eval_batches(rectangles(5, side=50), 77, 2):
        boxes = batch["boxes"] * batch["scale"][:, None, None]
        scores = np.ones(boxes.shape[:2])
        truth += ground_truth(batch)
        found += in_image_pixels(
            batch, boxes.numpy(), scores, batch["labels"].numpy()
        )
    metrics = average_precision(truth, found, ("red", "green", "blue"))
    assert metrics["AP"] == pytest.approx(1)


def test_box_outside_is_clipped_in_the_evaluation():
    batch = next(iter(eval_batches(one_box((-4, 4, 14, 20)), 64, 4)))
    assert batch["scale"].numpy().tolist() == [2] * 4
    assert ground_truth(batch)[0]["boxes"].tolist() == [[0, 4, 14, 20]]
    box = np.array(red_box(batch["images"][0])) / 2
    np.testing.assert_allclose(box, [0, 4, 14, 20], atol=0.5)


def test_corrupt_images_are_counted_and_do_not_stop():
    made = one_box((6, 4, 14, 20))
    good = next(iter(made.read()))["image"].numpy()
    truncated = tf.io.encode_jpeg(tf.zeros((24, 32, 3), tf.uint8)).numpy()[:-90]
    files = [good, truncated, b"", good]
    examples = (
        made.read().batch(4).map(lambda e: {**e, "image": tf.constant(files)})
    )
    broken = dataclasses.replace(made, read=lambda: examples.unbatch())
    bad = BadImages()
    batch = next(iter(eval_batches(broken, 32, 4, bad=bad)))
    assert batch["weight"].numpy().tolist() == [1, 0, 0, 1]
    assert sorted(bad.reasons) == ["1", "2"]
    assert [image["id"] for image in ground_truth(batch)] == ["0", "3"]
    bad = BadImages()
    batch = next(iter(train_batches(broken, 32, 4, seed=0, bad=bad)))
    assert bad.count == 2
    assert batch["weight"].numpy().sum() == 2
    dropped = batch["weight"] == 0
    assert np.all(batch["labels"][dropped] == -1)
    assert not np.any(batch["images"][dropped])
