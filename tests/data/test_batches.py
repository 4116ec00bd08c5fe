"""Batches: order, resume, completeness, and images that cannot be read."""

import dataclasses
import io
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras.data.batches import BadImages, eval_batches, train_batches
from bit_keras.data.preprocess import eval_function, train_function
from bit_keras.data.sources import (
    Source,
    fetch_from,
    open_source,
    read_by_index,
)
from bit_keras.distribution import distribute, strategy
from bit_keras.recipe import Data, Preprocess, Recipe, Run

KINDS = ("indexed", "streamed")


def png(level: int) -> bytes:
    return tf.io.encode_png(np.full((6, 5, 3), level, np.uint8)).numpy()


def noise(seed: int) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3))
    return tf.io.encode_png(levels.astype(np.uint8)).numpy()


def source_of(images: list[bytes], labels: list, kind: str) -> Source:
    """A source that can be entered anywhere, or only be streamed."""
    multi_label = np.ndim(labels) == 2
    ids = [f"image {i}" for i in range(len(images))]
    fetch = None if kind == "streamed" else fetch_from(images, labels, ids)

    def read() -> tf.data.Dataset:
        typed = tf.constant(labels, tf.float32 if multi_label else tf.int64)
        return tf.data.Dataset.from_tensor_slices(
            {"image": images, "label": typed, "id": ids}
        )

    return Source(
        name=kind,
        split="train",
        num_examples=len(images),
        class_names=("a", "b", "c"),
        multi_label=multi_label,
        image_size=(24, 32),
        fingerprint="",
        read=read_by_index(fetch, len(images)) if fetch else read,
        fetch=fetch,
    )


def recipe_of(batch_size: int, **preprocess) -> Recipe:
    options = {"resize": 9, "crop": 8, "mixup_alpha": 0.0} | preprocess
    return Recipe(
        "test",
        data=Data(shuffle_buffer=5),
        preprocess=Preprocess(**options),
        run=Run(batch_size=batch_size, seed=3),
    )


def taken(dataset: tf.data.Dataset, count: int = -1) -> list[dict]:
    return list(dataset.take(count).as_numpy_iterator())


def joined(batches: list[dict], key: str) -> np.ndarray:
    return np.concatenate([batch[key] for batch in batches])


def levels_of(batches: list[dict]) -> list[int]:
    """The gray level of each (plain) image: its identity."""
    image = joined(batches, "image")
    assert (image == image[:, :1, :1, :1]).all()
    return np.round((image[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def assert_equal(batches: list[dict], expected: list[dict]) -> None:
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], key)


@pytest.mark.parametrize(
    ("kind", "train"),
    [("indexed", "inception_crop"), ("streamed", "resize_crop")],
)
def test_resume_is_bit_equal(kind, train):
    images = [noise(i) for i in range(11)]
    source = source_of(images, [i % 3 for i in range(11)], kind)
    recipe = recipe_of(4, train=train, mixup_alpha=0.5)
    whole = taken(train_batches(source, recipe, 0, BadImages()), 7)
    assert len({batch["mix"][0] for batch in whole}) == 7
    for start in (1, 6):
        rest = train_batches(source, recipe, start, BadImages())
        assert_equal(taken(rest, 7 - start), whole[start:])


def test_nothing_is_tuned_and_waited_for_in_the_end():
    source, recipe = source_of([png(0)], [0], "indexed"), recipe_of(1)
    train = train_batches(source, recipe, 0, BadImages())
    for batches in (train, eval_batches(source, recipe, 1, BadImages())):
        assert batches.options().autotune.enabled is False
        # Iterators that fill devices wait all the same.
        assert distribute(strategy("one"), batches, 1) is batches


@pytest.mark.parametrize("train", ["inception_crop", "resize_crop"])
def test_batches_are_their_images_prepared_alone(train):
    source = source_of(
        [noise(i) for i in range(7)], [0, 1, 2] * 2 + [0], "indexed"
    )
    recipe = recipe_of(3, train=train)
    prepare = train_function(recipe.preprocess)
    examples = source.stream(recipe.run.seed, 0, 1)
    batches = train_batches(source, recipe, 0, BadImages())
    image = joined(taken(batches, 4), "image")
    for position, example in enumerate(taken(examples, 12)):
        seed = tf.constant([recipe.run.seed, position], tf.int64)
        np.testing.assert_array_equal(
            image[position], prepare(example["image"], seed)
        )


def test_gaps_of_a_batch_are_black_and_the_rest_in_place():
    # In a batch of many, first, middle and last are missing.
    images = [png(i) for i in range(40)]
    for place in (0, 17, 39):
        images[place] = b"not an image"
    source = source_of(images, [1] * 40, "streamed")
    bad = BadImages()
    (batch,) = taken(eval_batches(source, recipe_of(512), 40, bad))
    gaps = np.flatnonzero(batch["weight"] == 0)
    assert gaps.tolist() == [0, 17, 39]
    assert (batch["label"] == (batch["weight"] > 0)).all()
    expected = [i for i in range(40) if i not in gaps]
    assert np.array(levels_of([batch]))[expected].tolist() == expected
    assert list(bad.reasons) == ["image 0", "image 17", "image 39"]


def test_seed_changes_order_and_mixing():
    source = source_of([noise(i) for i in range(11)], [0] * 11, "indexed")
    recipe = recipe_of(4, mixup_alpha=0.5)
    (first,) = taken(train_batches(source, recipe, 0, BadImages()), 1)
    recipe = dataclasses.replace(recipe, run=Run(batch_size=4, seed=4))
    (other,) = taken(train_batches(source, recipe, 0, BadImages()), 1)
    assert not np.array_equal(first["image"], other["image"])
    assert first["mix"][0] != other["mix"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_epoch_has_every_example_once(kind):
    source = source_of([png(i) for i in range(12)], [0, 1] * 6, kind)
    batches = train_batches(source, recipe_of(4), 0, BadImages())
    levels = levels_of(taken(batches, 9))
    epochs = [levels[i : i + 12] for i in (0, 12, 24)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_go_on_across_epochs():
    source = source_of([png(i) for i in range(5)], [0] * 5, "indexed")
    batches = taken(train_batches(source, recipe_of(4), 0, BadImages()), 5)
    assert [len(batch["label"]) for batch in batches] == [4] * 5
    counts = np.bincount(levels_of(batches), minlength=5)
    assert counts.tolist() == [4] * 5


def test_labels_stay_with_their_images():
    labels = [(7 * i) % 3 for i in range(12)]
    source = source_of([png(i) for i in range(12)], labels, "indexed")
    batches = taken(train_batches(source, recipe_of(4), 0, BadImages()), 6)
    levels = levels_of(batches)
    assert joined(batches, "label").tolist() == [labels[i] for i in levels]
    assert (joined(batches, "weight") == 1).all()


def test_an_image_is_augmented_anew_in_each_epoch():
    source = source_of([noise(0)], [0], "indexed")
    recipe = recipe_of(1, train="inception_crop")
    batches = taken(train_batches(source, recipe, 0, BadImages()), 8)
    assert len({batch["image"].tobytes() for batch in batches}) == 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 8, 75])
def test_evaluation_sees_every_example_once(count, kind):
    images = [png(i) for i in range(count)]
    source = source_of(images, [i % 3 for i in range(count)], kind)
    recipe = recipe_of(512, mixup_alpha=0.5)
    batches = taken(eval_batches(source, recipe, 8, BadImages()))
    assert len(batches) == -(-count // 8)
    for batch in batches:
        assert batch["image"].shape == (8, 8, 8, 3)
        assert batch["label"].shape == batch["weight"].shape == (8,)
        assert set(batch) == {"image", "label", "weight"}
    weight = joined(batches, "weight")
    filling = len(weight) - count
    assert weight.tolist() == [1] * count + [0] * filling
    assert levels_of(batches)[:count] == list(range(count))
    labels = [i % 3 for i in range(count)]
    assert joined(batches, "label").tolist() == labels + [0] * filling


def test_evaluation_shapes_are_known_to_the_compiler():
    source = source_of([png(0)] * 3, [0] * 3, "indexed")
    dataset = eval_batches(source, recipe_of(512), 8, BadImages())
    shapes = {k: v.shape for k, v in dataset.element_spec.items()}
    assert shapes == {"image": (8, 8, 8, 3), "label": (8,), "weight": (8,)}
    dataset = train_batches(
        source, recipe_of(2, mixup_alpha=0.1), 0, BadImages()
    )
    assert dataset.element_spec["image"].shape == (2, 8, 8, 3)
    assert dataset.element_spec["partner"].shape == (2,)


def test_multi_label():
    labels = [[1.0, 0, 1], [0, 0, 0], [0, 1, 1]]
    source = source_of([png(i) for i in range(3)], labels, "streamed")
    batches = taken(eval_batches(source, recipe_of(2), 2, BadImages()))
    expected = [*labels, [0, 0, 0]]
    assert joined(batches, "label").tolist() == expected
    recipe = recipe_of(3, mixup_alpha=0.5)
    (batch,) = taken(train_batches(source, recipe, 0, BadImages()), 1)
    assert sorted(batch["label"].tolist()) == sorted(labels)
    np.testing.assert_array_equal(
        batch["partner"], np.roll(batch["label"], 1, axis=0)
    )


@pytest.fixture
def folder(tmp_path):
    """Images 00 to 39 of different sizes, 3 of them corrupt."""
    for index in range(40):
        kind = "JPEG" if index % 2 else "PNG"
        levels = np.random.default_rng(index).integers(
            0, 256, (20 + index, 30, 3)
        )
        buffer = io.BytesIO()
        Image.fromarray(levels.astype(np.uint8)).save(buffer, kind)
        path = tmp_path / f"class{index % 3}" / f"{index:02d}.{kind.lower()}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return tmp_path


def spoil(folder) -> dict[str, str]:
    """Breaks three images; returns the reason of each, by path."""
    reasons = {}
    for name, content, reason in (
        ("class1/13.jpeg", None, "jpeg::Uncompress failed. Invalid JPEG data"),
        ("class2/17.jpeg", b"hello, world\n", "Unknown image file format"),
        ("class2/38.png", b"", "the file is empty"),
    ):
        path = folder / name
        if content is None:
            content = path.read_bytes()
            content = content[: len(content) // 3]
        path.write_bytes(content)
        reasons[str(path)] = reason
    return reasons


def test_evaluation_skips_corrupt_images(folder, caplog):
    reasons = spoil(folder)
    source = open_source(str(folder), "train")
    recipe, bad = recipe_of(512), BadImages("skip")
    with caplog.at_level(logging.WARNING):
        batches = taken(eval_batches(source, recipe, 16, bad))
        taken(eval_batches(source, recipe, 16, bad))
    examples = list(source.read().as_numpy_iterator())
    weight, image = joined(batches, "weight"), joined(batches, "image")
    label = joined(batches, "label")
    assert len(weight) == 48
    assert weight.sum() == 37
    prepare = eval_function(recipe.preprocess)
    for i, example in enumerate(examples):
        if example["id"].decode() in reasons:
            assert weight[i] == 0
            assert (image[i] == 0).all()
        else:
            # As if it had been alone.
            assert weight[i] == 1
            assert label[i] == example["label"]
            np.testing.assert_array_equal(image[i], prepare(example["image"]))
    assert bad.count == 3
    assert bad.reasons.keys() == reasons.keys()
    for path, reason in reasons.items():
        assert bad.reasons[path].startswith(reason)
        assert "\n" not in bad.reasons[path]
        (message,) = (m for m in caplog.messages if path in m)
        assert message.startswith(f"Skipping corrupt image {path}: {reason}")
    assert len(caplog.messages) == 3


def test_training_goes_on_around_corrupt_images(folder):
    recipe = recipe_of(16)
    source = open_source(str(folder), "train")
    clean = taken(train_batches(source, recipe, 0, BadImages()), 5)
    for name in ("class1/13.jpeg", "class2/17.jpeg", "class2/38.png"):
        (folder / name).write_bytes(b"not an image")
    bad = BadImages("skip")
    batches = taken(train_batches(source, recipe, 0, bad), 5)
    weight = joined(batches, "weight")
    # Two epochs of 40.
    assert weight.sum() == 80 - 2 * 3
    for key in ("image", "label"):
        np.testing.assert_array_equal(
            joined(batches, key)[weight == 1], joined(clean, key)[weight == 1]
        )
    assert bad.count == 3
    later = taken(train_batches(source, recipe, 3, BadImages()), 2)
    assert_equal(later, batches[3:])


@pytest.mark.parametrize("position", [0, 31, 33])
def test_nothing_is_lost_without_the_optimizer_of_tf_data(position):
    # It fuses map and batch, which changes what follows an error.
    images = [png(i) for i in range(35)]
    images[position] = b"not an image"
    source = source_of(images, [0] * 35, "indexed")
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    dataset = eval_batches(source, recipe_of(512), 5, BadImages())
    batches = taken(dataset.with_options(options))
    weight = joined(batches, "weight")
    assert weight.tolist() == [float(i != position) for i in range(35)]
    levels = np.array(levels_of(batches))[weight == 1].tolist()
    assert levels == [i for i in range(35) if i != position]


def test_corrupt_images_are_not_mixed_in():
    images = [png(i) for i in range(0, 240, 20)]
    images[3] = images[8] = b"not an image"
    source = source_of(images, [0, 1, 2] * 4, "indexed")
    recipe, bad = recipe_of(12, mixup_alpha=1.0), BadImages()
    plain = recipe_of(12)
    (batch,) = taken(train_batches(source, recipe, 0, bad), 1)
    (before,) = taken(train_batches(source, plain, 0, bad), 1)
    assert batch["weight"].sum() == 10
    np.testing.assert_array_equal(batch["weight"], before["weight"])
    alone = np.roll(batch["weight"], 1) == 0
    np.testing.assert_array_equal(batch["mix"][alone], [1, 1])
    np.testing.assert_array_equal(batch["image"][alone], before["image"][alone])
    assert (batch["mix"][~alone] < 1).all()


def test_all_images_corrupt():
    source = source_of([b"x", b"", b"y"], [0, 1, 2], "indexed")
    bad = BadImages("skip")
    (batch,) = taken(eval_batches(source, recipe_of(512), 4, bad))
    assert batch["weight"].tolist() == [0] * 4
    assert bad.count == 3
    recipe = recipe_of(2, mixup_alpha=0.5)
    for batch in taken(train_batches(source, recipe, 0, bad), 3):
        assert (batch["weight"] == 0).all()
        assert np.isfinite(batch["image"]).all()


def test_policy_error_names_the_path(folder, caplog):
    source = open_source(str(folder), "train")
    bad = BadImages("error")
    taken(eval_batches(source, recipe_of(512), 16, bad))
    bad.raise_if_any()
    broken = folder / "class2/38.png"
    broken.write_bytes(b"not an image")
    taken(eval_batches(source, recipe_of(512), 16, bad))
    with pytest.raises(ValueError, match="Unknown image file") as caught:
        bad.raise_if_any()
    message = str(caught.value)
    assert f"Corrupt image {broken}: " in message
    assert "--on-bad-image skip" in message
    assert "\n" not in message
    assert not caplog.messages


def test_policy_skip_does_not_raise():
    bad = BadImages("skip")
    bad.report(b"a.jpg", b"not an image")
    bad.raise_if_any()
    assert bad.count == 1


@pytest.mark.parametrize(("kind", "label"), [("indexed", 3), ("streamed", -1)])
def test_label_outside_its_range(kind, label):
    labels = [0, 1, 2, label, 1]
    source = source_of([png(i) for i in range(5)], labels, kind)
    for dataset in (
        eval_batches(source, recipe_of(512), 2, BadImages()),
        train_batches(source, recipe_of(5), 0, BadImages()),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            taken(dataset, 3)
        message = caught.value.message
        assert f"{kind} (train) has a label outside 0 to 2" in message
        assert "image 3" in message
        assert f"[{label}]" in message
