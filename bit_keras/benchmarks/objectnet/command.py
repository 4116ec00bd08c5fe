"""The sub-command `objectnet`: top-1 and top-5 on ObjectNet."""

import argparse
import sys

from bit_keras.benchmarks import exclusions, selection
from bit_keras.benchmarks.objectnet import files
from bit_keras.benchmarks.objectnet.boxes import read as read_boxes
from bit_keras.benchmarks.objectnet.maps import CLASSES, Maps
from bit_keras.benchmarks.objectnet.maps import read as read_maps
from bit_keras.checkpoint_report import first_names
from bit_keras.progress import duration
from bit_keras.quiet import quiet

# The licence of ObjectNet (objectnet.dev), in short.
LICENCE = (
    "ObjectNet is for evaluation only: its licence forbids to tune the "
    "parameters of any model on it, and lets single images be posted only with "
    "their red border. See objectnet.dev."
)
# Bytes per second of Python's zipfile: 0.2 to 0.6 MB measured on a server CPU.
_DECRYPTED = 500_000
_DESCRIPTION = """\
objectnet: top-1 and top-5 on the 113 classes of ObjectNet that ImageNet has.

Two scorings, both always measured:
  full        all 1000 logits compete; a prediction that is none of the 125
              ImageNet classes of ObjectNet is wrong (official scorer)
  restricted  only the logits of those 125 compete (imagenet-testbed)
"""
_EPILOG = """\
The images and their licence are at objectnet.dev. Unpack the zip first: Python
decrypts at half a megabyte per second.  The model needs the 1000 logits of
an ImageNet-1k head.  DIR of --mappings holds these files of
github.com/abarbu/objectnet-template-tensorflow, mapping_files/:
  folder_to_objectnet_label.json  objectnet_to_imagenet_1k.json
  imagenet_id_to_objectnet_id.json
and, for names of ImageNet classes, imagenet_to_labels.json of
modestyachts/imagenet-testbed.

OUT gets results.jsonl and, per model, the tables
  objectnet-MODEL-classes.csv    accuracy of each class
  objectnet-MODEL-confusion.csv  what ImageNet classes it is taken for

examples:
  python -m bit_keras.benchmarks objectnet --model exports/bit_r50x1/1 \\
      --images objectnet-1.0 --mappings mapping_files --out results/r50
  the setting of the BiT paper: --resolution 480 --resize 512
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--model m --out o --images i --mappings j"
    >>> parser.parse_args(words.split()).endpoint
    'logits'
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    selection.add_model(parser)
    add = parser.add_argument
    add(
        "--images",
        required=True,
        metavar="PATH",
        help="folder objectnet-1.0 (or its parent, or its folder images), or "
        "objectnet-1.0.zip as downloaded",
    )
    add(
        "--mappings",
        required=True,
        metavar="DIR",
        help="folder of the official mapping files, see below",
    )
    add("--password", metavar="TEXT", help="of the zip; see objectnet.dev")
    add(
        "--boxes",
        metavar="CSV",
        help="also measure on objects cut out by these boxes; columns path "
        "(folder/file.png), x_min, y_min, x_max, y_max in pixels of the image "
        "with its red border; images without a box are left out there",
    )
    add(
        "--resize",
        type=int,
        metavar="PIXELS",
        help="that the short side of an image is resized to, without its "
        "border, before the centre is cropped to --resolution; default: "
        "--resolution, as the official code",
    )
    exclusions.add_argument(parser)
    add(
        "--endpoint",
        default="logits",
        metavar="NAME",
        help="where the 1000 logits are; default logits; pre_logits for a "
        "SavedModel of others that returns logits",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments or files, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a file or folder that is not there.
        ValueError: For anything else that is wrong: sizes, a mapping file, the
            layout of the images, the password of the zip, the boxes.
    """
    selection.check(args)
    side = args.resolution
    if args.resize is not None and args.resize < (side or 1):
        raise ValueError(
            "--resize must be at least "
            f"{'1' if side is None else f'--resolution, {side}'}; got "
            f"{args.resize}."
        )
    maps = read_maps(args.mappings)
    if args.boxes:
        read_boxes(args.boxes)
    _excluded(args.exclude)
    files.find(args.images, maps, args.password)


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code.
    """
    say(LICENCE)
    maps = read_maps(args.mappings)
    boxes = read_boxes(args.boxes) if args.boxes else {}
    exclude = _excluded(args.exclude)
    found = files.find(args.images, maps, args.password)
    _describe(found, maps)
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.objectnet.run import run as measure

        tf.get_logger().setLevel("ERROR")
    return measure(args, found, maps, boxes, exclude, say)


def _excluded(path: str | None) -> dict[str, frozenset[str]]:
    """Reads which images to leave out: {} without a list."""
    exclude = exclusions.read(path)
    exclusions.check_tasks(exclude, ["objectnet"])
    if not exclude:
        return {}
    # A list made from the folder has the whole path of each image.
    ids = ("/".join(name.split("/")[-2:]) for name in exclude["objectnet"])
    return {"objectnet": frozenset(ids)}


def _describe(found: files.Images, maps: Maps) -> None:
    """Says what was found, and what is not as it should be."""
    # Not needed for --help.
    import numpy as np

    from bit_keras.benchmarks.objectnet.coverage import coverage

    say(
        f"{len(found.images)} images of the {CLASSES} classes; "
        f"{found.others} images of other classes are not read"
    )
    if found.strange:
        say(
            "warning: these folders are no classes of ObjectNet and are not "
            f"read: {first_names(found.strange)}"
        )
    classes = [maps.folders[i.id.split("/")[0]] for i in found.images]
    for line in coverage(maps.labels, np.array(classes)).warnings():
        say(f"warning: {line}")
    if found.password is not None:
        size = sum(image.size for image in found.images)
        say(
            f"The zip is decrypted in Python: {size / 1e9:.1f} GB, about "
            f"{duration(size / _DECRYPTED)}. Unpacking it first (unzip -P "
            "PASSWORD) and giving the folder is much faster."
        )


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
