import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.benchmarks import labels, tasks
from bit_keras.data.preprocess import decode

ALL = [tasks.get(name) for name in tasks.names()]
MADE = [task for task in ALL if task.label_function]


def _just_below(value):
    return np.nextafter(np.float32(value), np.float32(-np.inf))


def _just_above(value):
    return np.nextafter(np.float32(value), np.float32(np.inf))


def _label(function, features):
    """Runs a label function as tf.data does."""
    dataset = tf.data.Dataset.from_tensors(features).map(function)
    label = dataset.get_single_element()
    assert (label.dtype, label.shape) == (tf.int64, ())
    return int(label)


def _clevr(*depths):
    coords = [[100.0 * i, 50.0, d] for i, d in enumerate(depths)]
    return {
        "objects": {
            "size": np.zeros(len(depths), np.int64),
            "pixel_coords": np.array(coords, np.float32),
        }
    }


def _kitti(*objects):
    """From (type, z) of each object; x and y are nearer than any z."""
    return {
        "objects": {
            "type": np.array([kind for kind, _ in objects], np.int64),
            "location": np.array(
                [[-500.0, -500.0, z] for _, z in objects], np.float32
            ).reshape(-1, 3),
        }
    }


@pytest.mark.parametrize("count", range(3, 11))
def test_clevr_count(count):
    features = _clevr(*[9.0] * count)
    assert _label(labels.clevr_count, features) == count - 3


# evaluation.md, section 3.1: label = max{i : threshold_i < value}.
@pytest.mark.parametrize(
    ("edge", "at", "above"),
    [(8.0, 0, 1), (8.5, 1, 2), (9.0, 2, 3), (9.5, 3, 4), (10.0, 4, 5)],
)
def test_clevr_distance_at_its_edges(edge, at, above):
    def label(depth):
        # The closest object counts, wherever it stands.
        return _label(labels.clevr_distance, _clevr(depth + 5, depth, 99.0))

    assert label(_just_below(edge)) == at
    assert label(np.float32(edge)) == at
    assert label(_just_above(edge)) == above


def test_clevr_distance_at_its_ends():
    # TensorFlow takes the smallest positive numbers for 0.
    assert _label(labels.clevr_distance, _clevr(1e-30, 9.0)) == 0
    assert _label(labels.clevr_distance, _clevr(100.0, 120.0)) == 5


@pytest.mark.parametrize(
    ("edge", "at", "above"), [(8.0, 0, 1), (20.0, 1, 2), (999.0, 2, 3)]
)
@pytest.mark.parametrize("vehicle", [0, 1, 2])
def test_kitti_distance_at_its_edges(edge, at, above, vehicle):
    def label(z):
        # Pedestrians (3) in front of the vehicle do not count.
        features = _kitti((3, 1.0), (vehicle, z), (vehicle, z + 1), (7, 0.0))
        return _label(labels.kitti_distance, features)

    assert label(_just_below(edge)) == at
    assert label(np.float32(edge)) == at
    assert label(_just_above(edge)) == above


def test_kitti_distance_at_its_lower_end():
    # The camera may see a vehicle whose centre is behind it.
    features = _kitti((0, _just_above(-100.0)))
    assert _label(labels.kitti_distance, features) == 0


@pytest.mark.parametrize(
    "objects", [(), ((3, 5.0),), ((3, 5.0), (4, 5.0), (5, 5.0), (7, 5.0))]
)
def test_kitti_without_a_vehicle(objects):
    assert _label(labels.kitti_distance, _kitti(*objects)) == 3


@pytest.mark.parametrize(
    ("function", "feature", "first_of_class"),
    [
        # floor(l / 2) and floor(l / 2.5), written out.
        (
            labels.dsprites_location,
            "label_x_position",
            [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32],
        ),
        (
            labels.dsprites_orientation,
            "label_orientation",
            [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 33, 35, 38, 40],
        ),
    ],
)
def test_dsprites_bins(function, feature, first_of_class):
    for label, first in enumerate(first_of_class[:-1]):
        for value in range(first, first_of_class[label + 1]):
            features = {feature: np.int64(value)}
            assert _label(function, features) == label


def test_dsprites_images():
    pixels = np.zeros((64, 64, 1), np.uint8)
    pixels[10:20, 30:] = 1
    encoded = tf.io.encode_png(pixels)
    dataset = tf.data.Dataset.from_tensors(encoded)
    dataset = dataset.map(labels.times_255).map(decode)
    image = dataset.get_single_element().numpy()
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.tile(pixels * 255, (1, 1, 3)))


def test_one_channel_images_are_tiled():
    # smallNORB has no image function: decoding to RGB is all there is to do.
    pixels = np.arange(96 * 96, dtype=np.uint8).reshape(96, 96, 1)
    image = decode(tf.io.encode_png(pixels)).numpy()
    np.testing.assert_array_equal(image, np.tile(pixels, (1, 1, 3)))


@pytest.fixture(scope="module")
def features_of(tmp_path_factory):
    """Returns TFDS's own description of a dataset's features."""
    root = str(tmp_path_factory.mktemp("tfds"))

    def features(dataset, version=None):
        name = f"{dataset}:{version}" if version else dataset
        try:
            return tfds.builder(name, data_dir=root).info.features
        except (ImportError, OSError) as error:
            pytest.skip(f"the builder of {name} cannot be made here: {error}")

    return features


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_labels_fit_the_datasets_features(task, features_of):
    for version in task.versions:
        features = features_of(task.dataset, version)
        assert task.label in features
        assert isinstance(features["image"], tfds.features.Image)
        if task.label_function is None:
            assert isinstance(features[task.label], tfds.features.ClassLabel)
            assert features[task.label].num_classes == task.num_classes
            continue
        function, class_names = labels.label_function(task.label_function)
        assert len(class_names) == task.num_classes
        assert len(set(class_names)) == task.num_classes
        # Fails where a feature is missing or of another type or shape.
        traced = tf.function(function).get_concrete_function(
            features.get_tensor_spec()
        )
        (output,) = traced.outputs
        assert (output.dtype, output.shape) == (tf.int64, ())


def test_the_kitti_vehicles_are_the_first_three_types(features_of):
    objects = features_of("kitti")["objects"]
    assert objects.feature["type"].names[:3] == ["Car", "Van", "Truck"]


def test_dsprites_bins_cover_the_features(features_of):
    features = features_of("dsprites")
    assert features["label_x_position"].num_classes == 32
    assert features["label_orientation"].num_classes == 40
    # One gray channel: preprocess.decode tiles it.
    assert features["image"].shape == (64, 64, 1)
    assert features_of("smallnorb")["image"].shape == (96, 96, 1)


@pytest.mark.parametrize("task", MADE, ids=lambda task: task.name)
def test_functions_run_on_what_tfds_stores(task, features_of):
    """Encodes an example as TFDS does, reads it back, makes the label."""
    features = features_of(task.dataset)
    example, expected = STORED[task.label_function]
    image = np.ones([side or 8 for side in features["image"].shape], np.uint8)
    full = _filled(features, {"image": image, **example})
    stored = features.serialize_example(features.encode_example(full))
    read = features.deserialize_example(
        stored, decoders={"image": tfds.decode.SkipDecoding()}
    )
    function, class_names = labels.label_function(task.label_function)
    assert class_names[_label(function, read)] == expected
    if task.image_function:
        encoded = labels.image_function(task.image_function)(read["image"])
        np.testing.assert_array_equal(decode(encoded), [[[255] * 3] * 64] * 64)


STORED = {
    "clevr_count": (
        {"objects": [{"pixel_coords": [0, 0, z]} for z in (9.6, 12, 11, 14)]},
        "4 objects",
    ),
    "clevr_distance": (
        {"objects": [{"pixel_coords": [0, 0, z]} for z in (9.6, 12, 11, 14)]},
        "to 10",
    ),
    "kitti_distance": (
        {
            "objects": [
                {"type": "Pedestrian", "location": [1, 1, 3]},
                {"type": "Van", "location": [1, 1, 30]},
                {"type": "Truck", "location": [1, 1, 19.5]},
            ]
        },
        "to 20 m",
    ),
    "dsprites_location": ({"label_x_position": 17}, "8"),
    "dsprites_orientation": ({"label_orientation": 39}, "15"),
}


def _filled(features, example):
    """Adds what the example leaves out, of the features' own types."""
    made = {}
    for key, feature in features.items():
        if isinstance(feature, tfds.features.Sequence):
            made[key] = [
                _filled(feature.feature, item) for item in example.get(key, [])
            ]
        elif key in example:
            made[key] = example[key]
        elif isinstance(feature, tfds.features.BBoxFeature):
            made[key] = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
        elif isinstance(feature, tfds.features.ClassLabel):
            made[key] = 0
        elif isinstance(feature, tfds.features.Text):
            made[key] = ""
        else:
            made[key] = np.zeros(feature.shape, feature.np_dtype)
    return made


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (
            labels.label_function,
            "kitti_distnace",
            'label_function.*Did you mean "kitti_distance".*clevr_count',
        ),
        (labels.image_function, "x255", "image_function.*Known: times_255"),
    ],
)
def test_unknown_function(find, name, message):
    with pytest.raises(ValueError, match=message):
        find(name)
