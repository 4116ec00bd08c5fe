"""What a model with a head says of a split."""

import dataclasses

import numpy as np
import pytest

from bit_keras import checkpoints, models
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.images import Preprocessing, ShortSide
from bit_keras.benchmarks.predictions import predict
from bit_keras.data.sources import open_source

DIGITS = Preprocessing(resize=8, crop=8)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file with a network of ten classes."""
    model = models.create("bit_tiny", num_classes=10)
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    path = tmp_path_factory.mktemp("model") / "ten.npz"
    checkpoints.save(model, path)
    return model, str(path)


def answer(backbone, tmp_path, num_classes=10, own_classes=True, source=None):
    said = []
    found = predict(
        backbone,
        "digits",
        source or open_source("digits", "test[:30]"),
        DIGITS,
        tmp_path,
        num_classes=num_classes,
        say=said.append,
        own_classes=own_classes,
    )
    return found, " ".join(said)


def test_logits_are_those_of_the_network(network, tmp_path):
    model, path = network
    found, said = answer(open_backbone(path), tmp_path)
    source = open_source("digits", "test[:30]")
    images = np.stack([DIGITS(e["image"]) for e in source.read()])
    expected = np.asarray(model(images * 2 - 1))
    np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-4)
    assert found.labels.tolist() == [int(e["label"]) for e in source.read()]
    assert "other classes" not in said


def test_a_head_of_other_classes_is_told(network, tmp_path):
    backbone = open_backbone(network[1])
    with pytest.raises(ValueError, match="a head of 7 classes; that of ten"):
        answer(backbone, tmp_path, num_classes=7)
    # As many, but others: it may be a matter of names.
    animals = dataclasses.replace(backbone, labels=("cat", "dog", "owl"))
    _, said = answer(animals, tmp_path)
    assert "trained on other classes (cat, dog, owl, ...)" in said
    same = dataclasses.replace(backbone, labels=tuple("0123456789"))
    assert "other classes" not in answer(same, tmp_path)[1]


def test_a_head_of_the_same_classes_in_another_order_is_refused(
    network, tmp_path
):
    backbone = open_backbone(network[1])
    turned = dataclasses.replace(backbone, labels=tuple("0132456789"))
    with pytest.raises(
        ValueError, match="in another order; class 2 is 2 and 3"
    ):
        answer(turned, tmp_path)
    # Who joins classes by their names may have them in any order.
    found, _ = answer(turned, tmp_path, own_classes=False)
    assert found.logits.shape == (30, 10)
    # Classes that nobody named are numbered in labels.txt.
    numbered = dataclasses.replace(backbone, labels=tuple("0123456789"))
    names = tuple("0132456789")
    digits = open_source("digits", "test[:30]")
    turned = dataclasses.replace(digits, class_names=names)
    assert answer(numbered, tmp_path, source=turned)[0].ids == found.ids


def test_the_short_side_keeps_the_aspect():
    image = np.zeros((20, 40, 3), np.float32)
    image[:, 10:30] = 255
    # 10 x 20 after resizing; the centre 10 x 10 is white.
    assert (ShortSide(resize=10, crop=10).prepare(image).numpy() == 1).all()
    assert ShortSide.imagenet(224) == ShortSide(256, 224)
    with pytest.raises(ValueError, match="1 <= crop <= resize"):
        ShortSide(resize=8, crop=9)
