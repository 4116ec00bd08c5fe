"""Labels and images of the VTAB tasks whose dataset does not hold them.

Each function is TensorFlow operations only, for use in `tf.data`.  Source of
all of them: google-research/task_adaptation, the file named at each.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from bit_keras.recipe import did_you_mean

Features = dict[str, Any]

# data/clevr.py, _closest_object_preprocess_fn.
_CLEVR_DISTANCE = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
# data/kitti.py, _closest_vehicle_distance_pp; in metres.  An image without a
# vehicle counts as one at 1000 m.
_KITTI_DISTANCE = (-100.0, 8.0, 20.0, 999.0)
_NO_VEHICLE = 1000.0
# The first three of TFDS's object types: Car, Van, Truck.
_VEHICLES = 3


def bin_of(value: tf.Tensor, thresholds: Sequence[float]) -> tf.Tensor:
    """Returns the index of the last threshold strictly below `value`.

    Args:
        value: A float scalar.
        thresholds: In ascending order.

    Returns:
        An int64 scalar; -1 if no threshold is below.

    Example:

    >>> [int(bin_of(tf.constant(v), (0.0, 8.0))) for v in (0.0, 8.0, 8.1)]
    [-1, 0, 1]
    """
    below = tf.constant(thresholds, value.dtype) < value
    return tf.reduce_sum(tf.cast(below, tf.int64)) - 1


def clevr_count(features: Features) -> tf.Tensor:
    """Returns the number of objects, minus 3; images have 3 to 10.

    >>> int(clevr_count({"objects": {"size": tf.zeros(5)}}))
    2
    """
    # data/clevr.py, _count_preprocess_fn.
    return tf.size(features["objects"]["size"], tf.int64) - 3


def clevr_distance(features: Features) -> tf.Tensor:
    """Returns the bin of the distance to the closest object.

    >>> depth = tf.constant([[10.0, 20.0, 9.2], [0.0, 0.0, 11.0]])
    >>> int(clevr_distance({"objects": {"pixel_coords": depth}}))
    3
    """
    depths = features["objects"]["pixel_coords"][:, 2]
    return bin_of(tf.reduce_min(depths), _CLEVR_DISTANCE)


def kitti_distance(features: Features) -> tf.Tensor:
    """Returns the bin of the distance to the closest vehicle; 3: no vehicle.

    >>> objects = {
    ...     "type": tf.constant([1, 3], tf.int64),
    ...     "location": tf.constant([[0.0, 0.0, 15.0], [0.0, 0.0, 2.0]]),
    ... }
    >>> int(kitti_distance({"objects": objects}))
    1
    """
    objects = features["objects"]
    distances = objects["location"][:, 2]
    vehicles = tf.boolean_mask(distances, objects["type"] < _VEHICLES)
    nearest = tf.reduce_min(tf.concat([vehicles, [_NO_VEHICLE]], axis=0))
    return bin_of(nearest, _KITTI_DISTANCE)


def dsprites_location(features: Features) -> tf.Tensor:
    """Returns the horizontal position in 16 steps, of 32 in the data.

    >>> int(dsprites_location({"label_x_position": tf.constant(31, tf.int64)}))
    15
    """
    return _coarser(features["label_x_position"], 32 / 16)


def dsprites_orientation(features: Features) -> tf.Tensor:
    """Returns the orientation in 16 steps, of 40 in the data.

    >>> int(dsprites_orientation({"label_orientation": tf.constant(5)}))
    2
    """
    return _coarser(features["label_orientation"], 40 / 16)


def _coarser(label: tf.Tensor, factor: float) -> tf.Tensor:
    # data/dsprites.py: floor division in floating point.
    return tf.cast(tf.cast(label, tf.float32) // factor, tf.int64)


def times_255(encoded: tf.Tensor) -> tf.Tensor:
    """Turns a PNG of zeros and ones (dSprites) into one of 0 and 255.

    Decoding to RGB (`bit_keras.data.preprocess.decode`) tiles it.

    >>> ones = tf.io.encode_png(tf.ones((2, 2, 1), tf.uint8))
    >>> int(tf.io.decode_png(times_255(ones))[0, 0, 0])
    255
    """
    # data/dsprites.py, preprocess_fn.
    return tf.io.encode_png(tf.io.decode_png(encoded, channels=1) * 255)


_STEPS = tuple(str(step) for step in range(16))
_LABELS = {
    "clevr_count": (clevr_count, tuple(f"{n} objects" for n in range(3, 11))),
    "clevr_distance": (
        clevr_distance,
        ("to 8", "to 8.5", "to 9", "to 9.5", "to 10", "beyond 10"),
    ),
    "kitti_distance": (
        kitti_distance,
        ("to 8 m", "to 20 m", "beyond 20 m", "no vehicle"),
    ),
    "dsprites_location": (dsprites_location, _STEPS),
    "dsprites_orientation": (dsprites_orientation, _STEPS),
}
_IMAGES = {"times_255": times_255}


def label_function(
    name: str,
) -> tuple[Callable[[Features], tf.Tensor], tuple[str, ...]]:
    """Returns a label function and the names of its classes.

    Args:
        name: As in `Task.label_function`.

    Raises:
        ValueError: For an unknown name.

    Example:

    >>> label_function("kitti_distance")[1][3]
    'no vehicle'
    """
    return _find("label_function", name, _LABELS)


def image_function(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from encoded image to encoded image.

    Args:
        name: As in `Task.image_function`.

    Raises:
        ValueError: For an unknown name.

    Example:

    >>> image_function("times_255") is times_255
    True
    """
    return _find("image_function", name, _IMAGES)


def _find(argument: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise ValueError(
            f'{argument}: there is no "{name}".{did_you_mean(name, known)} '
            f"Known: {', '.join(known)}."
        )
    return known[name]
