"""Training and evaluation data, checked together."""

import dataclasses

import pytest
from PIL import Image

from bit_keras.data.pair import open_sources
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
