import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from bit_keras.data.builtin import FACTORS
from bit_keras.data.sources import Source, open_source

CHANCE = 1 / len(FACTORS["shape"])


def _arrays(source: Source) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for example in source.read():
        images.append(tf.io.decode_png(example["image"]).numpy())
        labels.append(int(example["label"]))
    return np.stack(images), np.array(labels)


def test_digits_are_the_scans():
    scans, digits = load_digits(return_X_y=True)
    for split, count in (("train", 1297), ("test", 500)):
        source = open_source("digits", split)
        assert source.num_examples == count
        for example in source.read().take(20):
            index = int(example["id"].numpy().decode().removeprefix("digits/"))
            pixels = tf.io.decode_png(example["image"]).numpy()
            assert pixels.shape == (8, 8, 1)
            # 16 is white: 255.
            grey = pixels.ravel() * (16 / 255)
            np.testing.assert_allclose(grey, scans[index], atol=0.04)
            assert int(example["label"]) == digits[index]


def test_digits_splits_are_disjoint_and_stratified():
    ids, shares = [], []
    for split in ("train", "test"):
        source = open_source("digits", split)
        examples = list(source.read())
        ids.append({example["id"].numpy() for example in examples})
        labels = [int(example["label"]) for example in examples]
        shares.append(np.bincount(labels) / len(labels))
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 1797
    np.testing.assert_allclose(*shares, atol=0.002)


def _labels(split: str, factor: str) -> list[int]:
    source = open_source("shapes", split, label=factor)
    return source.fetch(tf.range(source.num_examples))["label"].numpy().tolist()


def test_shapes_splits_share_no_combination():
    combinations = {
        split: list(
            zip(*(_labels(split, factor) for factor in FACTORS), strict=True)
        )
        for split in ("train", "test")
    }
    assert len(combinations["train"]) == 8000
    assert len(combinations["test"]) == 2000
    train, test = set(combinations["train"]), set(combinations["test"])
    assert len(train) + len(test) == 10000
    assert not train & test


def test_shapes_are_balanced_and_mixed():
    labels = _labels("train", "label")
    assert set(np.bincount(labels)) == {500}
    assert len(set(labels[:200])) == len(FACTORS["shape"]) >= 10


def test_shapes_factors_are_labels():
    shape = open_source("shapes", "test")
    assert shape.class_names == FACTORS["shape"]
    x = open_source("shapes", "test", label="x")
    assert x.class_names == ("x=0", "x=1", "x=2", "x=3", "x=4")
    assert x.fingerprint != shape.fingerprint
    for one, other in zip(shape.read().take(5), x.read().take(5), strict=True):
        assert one["image"] == other["image"]
        assert one["id"] == other["id"]


def _inside(images: np.ndarray) -> np.ndarray:
    """Pixels that clearly differ from the border, `(n, 32, 32)`."""
    images = images.astype(float)
    ground = np.median(images[:, [0, -1]], axis=(1, 2), keepdims=True)
    return np.abs(images - ground).mean(axis=-1) > 60


def test_shapes_show_scale_and_place():
    places = np.arange(32)
    measures = {
        "x": lambda inside: inside.mean(0) @ places / inside.mean(),
        "y": lambda inside: inside.mean(1) @ places / inside.mean(),
        "scale": np.sum,
    }
    inside = _inside(_arrays(open_source("shapes", "test"))[0])
    # Some colours are as far from the background as the noise is.
    clear = inside.sum(axis=(1, 2)) > 10
    assert clear.mean() > 0.7
    for factor, measure in measures.items():
        labels = np.array(_labels("test", factor))
        values = np.array([measure(w) for w in inside[clear]])
        classes = range(len(FACTORS[factor]))
        means = [values[labels[clear] == k].mean() for k in classes]
        assert np.all(np.diff(means) > 0), factor


def test_shapes_show_colour():
    images, labels = _arrays(open_source("shapes", "test", label="colour"))
    inside = _inside(images)
    for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
        chosen = labels == FACTORS["colour"].index(name)
        mean = images[chosen][inside[chosen]].mean(axis=0)
        others = np.delete(mean, channel)
        assert np.all(mean[channel] > others + 40), name


def test_shapes_are_not_trivially_separable():
    images, labels = _arrays(open_source("shapes", "train"))
    held, truth = _arrays(open_source("shapes", "test"))
    model = NearestCentroid().fit(images.reshape(len(images), -1), labels)
    accuracy = model.score(held.reshape(len(held), -1), truth)
    assert accuracy < 2 * CHANCE


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("digits", "shape", "digits has no label .shape.*Legal: label"),
        ("shapes", "color", 'Did you mean "colour"'),
    ],
)
def test_unknown_label(name, label, message):
    with pytest.raises(ValueError, match=message):
        open_source(name, "train", label=label)
