import pytest

from bit_keras.benchmarks.robustness.columns import joined, read_column
from bit_keras.data.sources import open_source


@pytest.fixture
def tfds_dir(shared):
    return str(shared / "data/tfds")


def source(name, split, tfds_dir):
    return open_source(name, split, data_dir=tfds_dir)


def test_a_class_is_its_name_and_belongs_to_its_example(tfds_dir):
    split = source("pacs_mini", "test[10:40]", tfds_dir)
    column = read_column(split, "label", tfds_dir)
    read = [
        (example["id"].decode(), split.class_names[example["label"]])
        for example in split.read().as_numpy_iterator()
    ]
    assert list(column.items()) == read and len(read) == 30


def test_texts_and_numbers_are_texts(tfds_dir):
    split = source("gtsrb_mini", "test[:3]", tfds_dir)
    tracks = read_column(split, "track", tfds_dir)
    assert len(tracks) == 3
    assert all(isinstance(one, str) and one for one in tracks.values())
    split = source("mnist_m_mini", "test[:50]", tfds_dir)
    numbers = read_column(split, "mnist_index", tfds_dir).values()
    # The first 1500 digits of the MNIST test file, in another order.
    assert all(0 <= int(one) < 1500 for one in numbers)
    assert len(set(numbers)) == 50


def test_images_and_unknown_features_are_refused(tfds_dir):
    split = source("pacs_mini", "test[:3]", tfds_dir)
    with pytest.raises(ValueError, match="It has: domain, label"):
        read_column(split, "image", tfds_dir)
    with pytest.raises(ValueError, match="digits has no features but"):
        read_column(open_source("digits", "test"), "label", None)


def test_an_example_without_a_value_is_named():
    with pytest.raises(ValueError, match="age: 1 of 2 images .* b first"):
        joined("age", ["a", "b"], {"a": "1"})
