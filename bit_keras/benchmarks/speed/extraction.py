"""Feature extraction against the bare model on the same batches.

Extraction decodes JPEGs of 500x375 pixels, resizes and crops them, and writes
the features to disk; the bare model is called on batches that are in memory
already.  What the pipeline does not hide behind the model is the difference.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# TensorFlow is loaded in the functions: --help does without.
if TYPE_CHECKING:
    from bit_keras.benchmarks.backbone import Backbone
    from bit_keras.data.sources import Source

# Least share of the bare model's images per second.
GOAL = 0.95
# The median size of ImageNet's images.
_HEIGHT, _WIDTH = 375, 500
# Different images; more would only repeat the same work.
_DIFFERENT = 16


def synthetic_source(num_images: int) -> "Source":
    """Returns `num_images` JPEGs with smooth shapes and noise, in memory.

    Example:

    >>> synthetic_source(3).num_examples
    3
    """
    import numpy as np
    import tensorflow as tf

    from bit_keras.data.sources import Source, fetch_from, read_by_index

    rng = np.random.default_rng(0)
    images = []
    for _ in range(_DIFFERENT):
        coarse = rng.uniform(0, 255, (12, 16, 3)).astype("float32")
        pixels = tf.image.resize(coarse, (_HEIGHT, _WIDTH), "bicubic")
        pixels += rng.normal(0, 14, pixels.shape).astype("float32")
        pixels = tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)
        images.append(tf.io.encode_jpeg(pixels, quality=90).numpy())
    fetch = fetch_from(
        [images[index % _DIFFERENT] for index in range(num_images)],
        [0] * num_images,
        [str(index) for index in range(num_images)],
    )
    return Source(
        name="synthetic",
        split="all",
        num_examples=num_images,
        class_names=("only",),
        multi_label=False,
        image_size=(_HEIGHT, _WIDTH),
        fingerprint="0",
        read=read_by_index(fetch, num_images),
        fetch=fetch,
    )


def measure(
    backbone: "Backbone",
    num_batches: int,
    batch_size: int,
    repeats: int,
    say: Callable[[str], None] = print,
) -> list[tuple[float, float]]:
    """Times both ways in turn, after a warm-up of each.

    Args:
        backbone: The network.
        num_batches: Full batches per measurement.
        batch_size: Images per batch.
        repeats: Measurements of each.
        say: Called with one line per repeat.

    Returns:
        Images per second of extraction and of the bare model, for each repeat.
    """
    import tensorflow as tf

    from bit_keras.benchmarks.features import extract
    from bit_keras.benchmarks.images import Preprocessing, image_batches
    from bit_keras.data.batches import BadImages

    preprocessing = Preprocessing.few_shot(backbone.resolution)
    source = synthetic_source(num_batches * batch_size)
    batches = [
        batch["image"]
        for batch in image_batches(
            source, 0, preprocessing, batch_size, BadImages()
        )
    ]
    side = backbone.resolution
    function = backbone.features(("pre_logits",)).get_concrete_function(
        tf.TensorSpec((None, side, side, 3), tf.float32)
    )

    def bare() -> float:
        began = time.monotonic()
        for images in batches:
            function(images)["pre_logits"].numpy()
        return source.num_examples / (time.monotonic() - began)

    def extraction() -> float:
        with tempfile.TemporaryDirectory() as folder:
            made = extract(
                backbone,
                "speed",
                source,
                ("pre_logits",),
                preprocessing,
                Path(folder),
                batch_size,
                say=lambda message: None,
            )
        return source.num_examples / made.seconds

    bare(), extraction()
    pairs = []
    for repeat in range(1, repeats + 1):
        pairs.append((extraction(), bare()))
        ours, theirs = pairs[-1]
        say(
            f"repeat {repeat}: extraction {ours:.1f} images/s, bare model "
            f"{theirs:.1f} images/s, ratio {ours / theirs:.3f}"
        )
    return pairs


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the speed of extraction as a share of the bare model's.

    Args:
        argv: Arguments without the program's name; None: of this process.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bit_keras.benchmarks speed extraction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        default="bit_r50x1",
        help="a model's name; default: %(default)s",
    )
    add("--resolution", type=int, default=224)
    add("--batch-size", type=int, default=32)
    add("--batches", type=int, default=8)
    add("--repeats", type=int, default=3)
    add("--quick", action="store_true", help="bit_tiny, small: seconds")
    args = parser.parse_args(argv)
    if args.quick:
        args.model, args.resolution, args.batches = "bit_tiny", 64, 2
    import tensorflow as tf

    from bit_keras.benchmarks.backbone import open_backbone

    backbone = open_backbone(
        args.model, init="random", resolution=args.resolution
    )
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    print(
        f"{args.model} at {args.resolution} px, {args.batches} batches of "
        f"{args.batch_size}, {device}"
    )
    pairs = measure(backbone, args.batches, args.batch_size, args.repeats)
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    print(
        f"extraction / bare model: {ratio:.3f} (median of {args.repeats}; goal "
        f"{GOAL} for bit_r50x1 at 224 px)"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
