"""Our input pipelines, and bare TensorFlow on the same files.

A child of `speed.data`.  The bare ones keep one value of each image: they are
the operations and nothing else, neither augmentation nor batches of images.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bit_keras.benchmarks.speed.pipelines import Pipeline, serve
from bit_keras.quiet import quiet

with quiet():
    import tensorflow as tf

from bit_keras import recipe as recipes
from bit_keras.data import preprocess
from bit_keras.data.batches import BadImages, train_batches
from bit_keras.data.sources import Source, open_source

Decode = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def make_jpegs(folder: Path, count: int, height: int, width: int) -> None:
    """Writes JPEGs of quality 90 with smooth shapes and some noise.

    Args:
        folder: Receives one class of images; made if need be.
        count: Number of images.
        height: In pixels.
        width: In pixels.
    """
    folder = folder / "only"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = rng.uniform(0, 255, (12, 16, 3)).astype("float32")
        pixels = tf.image.resize(coarse, (height, width), "bicubic")
        pixels += rng.normal(0, 14, pixels.shape).astype("float32")
        pixels = tf.saturate_cast(pixels, tf.uint8)
        encoded = tf.io.encode_jpeg(pixels, quality=90).numpy()
        (folder / f"{index}.jpg").write_bytes(encoded)


def ours(source: Source, recipe: recipes.Recipe) -> Pipeline:
    """Returns the training pipeline of a recipe."""
    dataset = train_batches(source, recipe, 0, BadImages())
    return lambda: dataset


def unordered(source: Source, recipe: recipes.Recipe) -> Pipeline:
    """Returns the same work without order, and blind to corrupt images."""
    prepare = preprocess.train_function(recipe.preprocess)
    dataset = _encoded(source, prepare).batch(recipe.run.batch_size)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return lambda: dataset


def bare(source: Source, batch_size: int, decode: Decode) -> Pipeline:
    """Returns `decode` on every file; a batch is one value of each image."""

    def value(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.cast(decode(encoded, seed)[0, 0, 0], tf.float32)

    dataset = _encoded(source, value).batch(batch_size)
    return lambda: dataset


def _encoded(source: Source, prepare: Decode) -> tf.data.Dataset:
    """What `prepare` makes of the files, as fast as they come."""

    def prepared(index: tf.Tensor) -> tf.Tensor:
        example = source.fetch(index % source.num_examples)
        seed = tf.stack([tf.constant(0, tf.int64), index])
        return prepare(example["image"], seed)

    return tf.data.Dataset.counter(dtype=tf.int64).map(
        prepared, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
    )


def _decode(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(encoded, channels=3)


def _decode_and_crop(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    shape = tf.io.extract_jpeg_shape(encoded)
    window = preprocess.inception_window(shape, seed)
    return tf.io.decode_and_crop_jpeg(encoded, window, channels=3)


def _resized(decode: Decode, side: int) -> Decode:
    return lambda encoded, seed: tf.image.resize(
        decode(encoded, seed), (side, side)
    )


def pipelines(
    source: Source, batch_size: int, resize: int, crop: int, inception: int
) -> dict[str, Pipeline]:
    """Returns all pipelines by name.

    Args:
        source: Of JPEGs, with `fetch`.
        batch_size: Images per batch.
        resize: Side that HyperRule resizes images to.
        crop: Side of its crops.
        inception: Side that Inception crops are resized to.
    """

    def recipe(**options: object) -> recipes.Recipe:
        made = recipes.Recipe("speed", preprocess=recipes.Preprocess(**options))
        return recipes.scale_batch(made, batch_size)

    crops = recipe(train="inception_crop", crop=inception)
    rule = recipe(train="resize_crop", resize=resize, crop=crop)
    decodes = {
        "decode_and_crop_jpeg": _decode_and_crop,
        "decode_and_crop_jpeg, resize": _resized(_decode_and_crop, inception),
        "decode_jpeg": _decode,
        "decode_jpeg, resize": _resized(_decode, resize),
    }
    return {
        "Inception crops": ours(source, crops),
        "HyperRule crops": ours(source, rule),
        "Inception crops, unordered": unordered(source, crops),
        "HyperRule crops, unordered": unordered(source, rule),
        **{
            name: bare(source, batch_size, decode)
            for name, decode in decodes.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the pipelines; see `pipelines.serve`.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("batch-size", "batches", "resize", "crop", "inception"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--deterministic", action="store_true")
    args = parser.parse_args(argv)
    if args.deterministic:
        tf.config.experimental.enable_op_determinism()
    made = pipelines(
        open_source(str(args.folder), "train"),
        args.batch_size,
        args.resize,
        args.crop,
        args.inception,
    )
    return serve(made, args.batches)


if __name__ == "__main__":
    sys.exit(main())
