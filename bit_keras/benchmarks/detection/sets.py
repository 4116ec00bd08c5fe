"""Where images with boxes come from: one `DetectionSet` for TFDS and COCO."""

import dataclasses
import os
from collections.abc import Callable

import tensorflow as tf

from bit_keras.data.prepared import BUILTIN, is_folder
from bit_keras.data.sources import Source


@dataclasses.dataclass(frozen=True)
class DetectionSet:
    """One split of a set of images with boxes, not yet read.

    An example is a dict of `id` (string scalar that names it to a user),
    `image` (string scalar: the encoded file), `height` and `width` (int64
    scalars, pixels; 0 where the image is corrupt), and of the boxes as
    annotated, before `boxes.clean`: `boxes` float32 `(n, 4)` "xyxy" in pixels
    of the stored image, `labels` int64 `(n,)`, `is_crowd` bool `(n,)` and
    `area` float32 `(n,)`, of the segmentation where the set knows it, or else
    of the box.

    Attributes:
        name: Canonical name: "coco/2017:1.1.0", "coco:/some/folder".
        split: Split with slice, "train[:80%]".
        class_names: Class names; a label is an index into them.
        num_images: Number of images in this split.
        fingerprint: SHA-256 (hexadecimal); changes when the data change.
        read: Returns the examples once, always in the same order.
        fetch: Returns the example at an int64 index (works in graphs); `None`
            when the set can only be streamed.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    num_images: int
    fingerprint: str
    read: Callable[[], tf.data.Dataset]
    fetch: Callable[[tf.Tensor], dict[str, tf.Tensor]] | None = None

    def stream(
        self, seed: int, start: int, shuffle_buffer: int
    ) -> tf.data.Dataset:
        """Returns examples without end, as `Source.stream` does."""
        source = Source(
            name=self.name,
            split=self.split,
            num_examples=self.num_images,
            class_names=self.class_names,
            multi_label=True,
            image_size=(0, 0),
            fingerprint=self.fingerprint,
            read=self.read,
            fetch=self.fetch,
        )
        return source.stream(seed, start, shuffle_buffer)


def open_set(
    name: str, split: str, data_dir: str | None = None
) -> DetectionSet:
    """Opens one split of a set of images with boxes; never downloads anything.

    Args:
        name: A JSON file of COCO's format, a folder with such files (see
            `coco_json`), or a TFDS name `name[/config][:version]` that is
            prepared on disk and has the feature `objects`.
        split: Split name, with an optional slice as in TFDS.
        data_dir: Where prepared TFDS data lie; `None`: TFDS's own default.
            With a JSON file, where its images lie; `None`: beside it.

    Returns:
        A `DetectionSet`.

    Raises:
        ValueError: For a name, split or annotation that is not legal.
        FileNotFoundError: For data that are not there; the message says how to
            get them.

    Example:

    >>> with open("a.png", "wb") as file:
    ...     black = tf.zeros((9, 9, 3), tf.uint8)
    ...     _ = file.write(tf.io.encode_png(black).numpy())
    >>> with open("a.json", "w") as file:
    ...     _ = file.write('''{"images": [{"id": 1, "file_name": "a.png"}],
    ...         "categories": [{"id": 1, "name": "cat"}],
    ...         "annotations": [{"id": 1, "image_id": 1, "category_id": 1,
    ...                          "bbox": [2, 3, 4, 5]}]}''')
    >>> cats = open_set("a.json", "all")
    >>> next(iter(cats.read()))["boxes"].numpy()
    array([[2., 3., 6., 8.]], dtype=float32)
    """
    # The imports are here because the modules import `DetectionSet`, and
    # because TFDS needs time to load.
    is_json = name.lower().endswith(".json")
    if is_json and not os.path.isfile(os.path.expanduser(name)):
        raise FileNotFoundError(f'dataset: there is no file "{name}".')
    if name in BUILTIN:
        raise ValueError(
            f'dataset: "{name}" has no boxes. Name a TFDS set with some, as '
            "coco/2017 or voc/2007, or a folder or JSON file in COCO's format."
        )
    if is_json or is_folder(name):
        from bit_keras.benchmarks.detection.coco_json import open_coco

        return open_coco(name, split, data_dir)
    from bit_keras.benchmarks.detection.tfds_objects import open_objects

    return open_objects(name, split, data_dir)
