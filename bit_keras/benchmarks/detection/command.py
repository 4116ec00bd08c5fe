"""`detection`: a RetinaNet around a backbone, trained and measured."""

import argparse
import dataclasses
import importlib.util
import os
import sys
from pathlib import Path

from bit_keras.checks import check_init
from bit_keras.export.options import check_source
from bit_keras.quiet import quiet
from bit_keras.recipe import override
from bit_keras.recipes import coco_retinanet

_NEEDED = {"keras_hub": "keras-hub", "pycocotools": "pycocotools"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--model bit_tiny --init random --dataset voc --out o"
    >>> parser.parse_args(words.split()).seeds
    1
    """
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="BiT network: export (folder or .tar.gz), .keras, official .npz, "
        "run directory, released name, or model name (with --init)",
    )
    add("--init", help='weights of a model named by --model, or "random"')
    add(
        "--dataset",
        required=True,
        help="TFDS name such as coco/2017 or voc/2007, or a folder or JSON "
        "file in COCO's format",
    )
    add("--train-split", default="train", help="default: train")
    add(
        "--test-split",
        help="default: validation for coco, whose test split has no boxes, "
        "else test",
    )
    add("--data-dir", help="where TFDS data are prepared")
    add("--size", type=int, metavar="PIXELS", help="side; default: 1024")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--steps", type=int, help="length; the schedule keeps its proportions"
    )
    length.add_argument(
        "--epochs", type=float, help="length; likewise; default: 30"
    )
    add(
        "--batch-size",
        type=int,
        help="images per step; scales the learning rate; default: 256",
    )
    add("--seeds", type=int, default=1, help="trainings; default: 1")
    add(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="FIELD=VALUE",
        help="override a field of the recipe: learning_rate, weight_decay, "
        "head_convolutions, anchor_scale, ...",
    )
    add("--out", required=True, metavar="DIR", help="for results.jsonl")
    add(
        "--export",
        metavar="DIR",
        help="write the detector of the first seed as a SavedModel",
    )


def recipe(args: argparse.Namespace) -> coco_retinanet.RetinaNet:
    """Returns the paper's recipe with what the arguments change.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        ValueError: For an unknown field, or a value that is not legal.

    Example:

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--model m --dataset voc --out o --batch-size 16 --epochs 3"
    >>> recipe(parser.parse_args(words.split())).learning_rate
    0.005
    """
    made = coco_retinanet.recipe()
    if args.batch_size is not None:
        made = coco_retinanet.scale_batch(made, args.batch_size)
    if args.epochs is not None:
        made = coco_retinanet.scale_epochs(made, args.epochs)
    if args.size is not None:
        made = dataclasses.replace(made, size=args.size)
    for assignment in args.overrides:
        made = override(made, assignment)
    coco_retinanet.check(made)
    return made


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model or folder that is not there.
        ValueError: For a value that is not legal, or a missing package.
    """
    for option in ("steps", "seeds"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option} must be >= 1; got {value}.")
    coco_retinanet.durations(recipe(args), 1, args.steps)
    if args.data_dir and not Path(os.path.expanduser(args.data_dir)).is_dir():
        raise FileNotFoundError(
            f'--data-dir: there is no folder "{args.data_dir}".'
        )
    is_packed = args.model.endswith((".tar.gz", ".tgz", ".tar"))
    if args.init is not None or not (is_packed or "://" in args.model):
        check_source(args.model, args.init)
    if args.init not in (None, "random"):
        check_init(args.init, args.model)
    for module, package in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                f"detection needs {package}. Install it with: pip install "
                "'bit-keras[detection]'"
            )


def test_split(args: argparse.Namespace) -> str:
    """Returns the split to measure on.

    >>> test_split(argparse.Namespace(test_split=None, dataset="coco/2017"))
    'validation'
    """
    is_coco = args.dataset.partition(":")[0].partition("/")[0] == "coco"
    return args.test_split or ("validation" if is_coco else "test")


def run(args: argparse.Namespace) -> int:
    """Trains, measures, and appends rows to OUT/results.jsonl.

    What is there already is not measured again; an interrupted training goes
    on.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code.
    """
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.detection import measure

        tf.get_logger().setLevel("ERROR")
    measure.run(args, recipe(args), test_split(args), _say)
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
