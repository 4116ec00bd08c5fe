"""Other features of a split's examples, by their ids."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from bit_keras.data.prepared import BUILTIN
from bit_keras.data.sources import Source
from bit_keras.recipe import did_you_mean

Value = str | tuple[str, ...]


def read_column(
    source: Source, feature: str, data_dir: str | None
) -> dict[str, Value]:
    """Reads one feature of every example of a split; images stay encoded.

    Args:
        source: The split, of prepared TFDS data.
        feature: A class, whole number or text, or a list of classes.
        data_dir: Where the source was opened from.

    Returns:
        Id of an example (as in `Source`) -> the class's name, the number as
        text, or the text; a tuple of names for a list of classes.

    Raises:
        ValueError: For a feature that does not exist or is of another kind,
            and for data that are not TFDS's.
    """
    if source.name in BUILTIN or source.name.startswith("folder:"):
        raise ValueError(
            f"{source.name} has no features but image and label; only those of "
            "TFDS data can be read."
        )
    builder = tfds.core.read_only_builder.builder_from_files(
        source.name, data_dir=data_dir
    )
    features = builder.info.features
    # TFDS has them in another order in each process.
    legal = sorted(k for k, kind in features.items() if _is_legal(kind))
    if feature not in legal:
        raise ValueError(
            f'{source.name} has no feature "{feature}" that is a class, number '
            f"or text.{did_you_mean(feature, legal)} It has: "
            f"{', '.join(legal)}."
        )
    images = {
        key: tfds.decode.SkipDecoding()
        for key, kind in features.items()
        if isinstance(kind, tfds.features.Image)
    }
    examples = builder.as_dataset(
        split=source.split,
        decoders=images,
        read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        shuffle_files=False,
    ).map(lambda example: (example["tfds_id"], example[feature]))
    kind = features[feature]
    return {
        name.decode(): _value(kind, value)
        for name, value in examples.as_numpy_iterator()
    }


def _is_legal(kind: tfds.features.FeatureConnector) -> bool:
    if isinstance(kind, tfds.features.Sequence):
        return isinstance(kind.feature, tfds.features.ClassLabel)
    if isinstance(kind, tfds.features.Text):
        return True
    scalar = isinstance(kind, tfds.features.Tensor) and kind.shape == ()
    return scalar and kind.tf_dtype.is_integer


def _value(kind: tfds.features.FeatureConnector, value: np.ndarray) -> Value:
    if isinstance(kind, tfds.features.Sequence):
        return tuple(kind.feature.int2str(int(one)) for one in value)
    if isinstance(kind, tfds.features.ClassLabel):
        return kind.int2str(int(value))
    if isinstance(kind, tfds.features.Text):
        return value.decode("utf-8", "replace")
    return str(int(value))


def joined(
    what: str, ids: Sequence[str], column: Mapping[str, Value]
) -> list[Value]:
    """Returns the values of a column in the order of `ids`.

    Raises:
        ValueError: If an id is not in the column.

    Example:

    >>> joined("domain", ["b", "a"], {"a": "photo", "b": "sketch"})
    ['sketch', 'photo']
    """
    missing = [name for name in ids if name not in column]
    if missing:
        raise ValueError(
            f"{what}: {len(missing)} of {len(ids)} images have no value, "
            f"{missing[0]} first."
        )
    return [column[name] for name in ids]
