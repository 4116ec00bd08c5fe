"""Training and evaluation data, checked together."""

import dataclasses

import pytest
import tensorflow as tf
from PIL import Image

from bit_keras.data import pair, sources
from bit_keras.data.pair import open_sources
from bit_keras.data.sources import Source
from bit_keras.recipe import Data, Recipe, Run


def make_folder(root, classes):
    for split in ("train", "test"):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / "1.png")
    data = Data(str(root))
    return Recipe("mine", data=data, run=Run(batch_size=2))


def test_objectnet_is_never_trained_on(tmp_path):
    names = ["bottle_stopper", "mixing_salad_bowl", "still_camera", "chair"]
    recipe = make_folder(tmp_path / "objectnet", names)
    with pytest.raises(ValueError, match="is for evaluation only"):
        open_sources(recipe)
    # One such class is nobody's property.
    train, test = open_sources(make_folder(tmp_path / "mine", names[2:]))
    assert train.class_names == ("chair", "still_camera")
    assert test.num_examples == 2


def test_there_must_be_something_to_learn(tmp_path):
    recipe = make_folder(tmp_path / "one", ["chair"])
    with pytest.raises(ValueError, match='only the class "chair"'):
        open_sources(recipe)
    recipe = make_folder(tmp_path / "two", ["chair", "desk"])
    large = dataclasses.replace(recipe, run=Run(batch_size=3))
    with pytest.raises(ValueError, match="less than one batch of 3"):
        open_sources(large)


def unlabelled(source: Source) -> Source:
    """The source as TFDS has those whose labels were never published."""

    def read() -> tf.data.Dataset:
        none = tf.constant(-1, tf.int64)
        return source.read().map(lambda example: {**example, "label": none})

    return dataclasses.replace(source, read=read)


@pytest.mark.parametrize("without", [("test",), ("test", "val")])
def test_splits_without_labels_measure_nothing(tmp_path, monkeypatch, without):
    recipe = make_folder(tmp_path, ["chair", "desk"])
    (tmp_path / "val").symlink_to(tmp_path / "test")
    real = sources.open_source

    def opened(dataset, split, **options):
        source = real(dataset, split, **options)
        return unlabelled(source) if split in without else source

    monkeypatch.setattr(pair.sources, "open_source", opened)
    _, evaluation = open_sources(recipe)
    assert getattr(evaluation, "split", None) == (
        "val" if "val" not in without else None
    )
    asked = dataclasses.replace(recipe.data, eval_split="test")
    with pytest.raises(ValueError, match=r"\(test\) has no labels"):
        open_sources(dataclasses.replace(recipe, data=asked))
