"""The arguments of python -m bit_keras.train."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from absl.flags import argparse_flags

from bit_keras.recipe import did_you_mean

_EPILOG = """\
examples:
  python -m bit_keras.train --recipe bit_m --smoke
  python -m bit_keras.train --recipe bit_m --workdir runs/m
  python -m bit_keras.train --recipe transfer --dataset cifar10 \\
      --model bit_r50x1 --init bit_r50x1.i21k --workdir runs/c10

The same command again resumes an interrupted run.
exit codes: 0 finished, 1 failed, 2 wrong arguments, 3 loss not finite,
  4 another worker does not answer, 130 stopped by Ctrl-C, 143 stopped by
  SIGTERM (both after saving)
"""

# What argparse says of a value that is none of `choices`.
_CHOICE = re.compile(
    r".*invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)"
)


class Parser(argparse_flags.ArgumentParser):
    """A parser that suggests the closest flag, or choice, for a misspelt one.

    Example:

    >>> parser = Parser(prog="demo", allow_abbrev=False)
    >>> _ = parser.add_argument("--steps", type=int)
    >>> parser.parse_args(["--steps", "3"]).steps
    3
    """

    _words: Sequence[str] = ()

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        known = [o for a in self._actions for o in a.option_strings]
        prefix, _, unknown = message.partition("unrecognized arguments: ")
        words = unknown.split()[:1] if not prefix else []
        if message.startswith("the following arguments are required"):
            # A misspelt one is what is missing.
            words = [word for word in self._words if word[:2] == "--"]
        for word in (word.split("=")[0] for word in words):
            if word not in known:
                hint = did_you_mean(word, known)
                message = f"unknown argument {word}.{hint}"
                break
        if choice := _CHOICE.fullmatch(message):
            known = re.findall(r"[\w.-]+", choice["known"])
            message += f".{did_you_mean(choice['word'], known)}"
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"error: {message}{end} See --help.\n")


def parser(recipe_names: Sequence[str]) -> argparse.ArgumentParser:
    """Returns the command line's parser.

    Args:
        recipe_names: For the help text.

    Example:

    >>> parser(["bit_m"]).parse_args(["--recipe", "bit_m"]).recipe
    'bit_m'
    """
    made = Parser(
        prog="python -m bit_keras.train",
        description="Pre-train or transfer an image backbone by a recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(made.add_argument_group("what to train"), recipe_names)
    _add_how(made.add_argument_group("how to run it"))
    return made


def _add_what(group: Any, recipe_names: Sequence[str]) -> None:
    add = group.add_argument
    add(
        "--recipe",
        required=True,
        help=f"{', '.join(recipe_names)}, or recipe.json of a run to repeat",
    )
    add(
        "--dataset",
        help="TFDS name[/config][:version], a folder of images (split/class/"
        "image or class/image), a CSV of path,label, digits, or shapes",
    )
    add("--data-dir", help="where TFDS data are prepared")
    add("--train-split", help="such as train or train[:90%%]")
    add(
        "--eval-split", help="such as test or train[90%%:]; none: no evaluation"
    )
    add("--label", help="feature, CSV column or factor that is the label")
    add("--model", help="such as bit_r50x1; the wrong name lists them all")
    add(
        "--init",
        help="weights to start from: released name such as bit_r50x1.i21k, "
        "file (.npz .h5 .weights.h5 .keras) or finished run directory",
    )
    add("--resolution", type=int, metavar="PIXELS", help="side the model sees")
    add("--steps", type=int, help="length; the schedule keeps its proportions")
    add(
        "--batch-size",
        type=int,
        help="images per step; scales the learning rate, not the steps",
    )
    add(
        "--examples-per-class",
        type=int,
        metavar="K",
        help="train on a balanced few-shot subset",
    )
    add("--subset-seed", type=int, help="which few-shot subset")
    add("--seed", type=int, help="of weights, order and augmentation")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        dest="overrides",
        help="override any field of the recipe; may be repeated",
    )
    add(
        "--smoke",
        action="store_true",
        help="a one-minute run: a tiny network on shapes, 300 steps, unless "
        "said",
    )


def _add_how(group: Any) -> None:
    add = group.add_argument
    add("--workdir", help="default: runs/RECIPE-MODEL-DATASET")
    add(
        "--overwrite",
        action="store_true",
        help="discard the run that is in the workdir",
    )
    add("--strategy", help="auto, one, mirrored, multiworker or tpu")
    add(
        "--workers",
        metavar="HOST:PORT,...",
        help="all processes of --strategy multiworker, the same list on every "
        "machine; default: from TF_CONFIG",
    )
    add(
        "--worker-index",
        type=int,
        metavar="K",
        help="which of --workers this is, from 0; default: the one whose host "
        "is an address of this machine",
    )
    add(
        "--tpu",
        default="",
        metavar="NAME",
        help="of the TPU for --strategy tpu",
    )
    add("--micro-batch", type=int, help="images at once per device; exact")
    add("--precision", help="float32, mixed_bfloat16 or mixed_float16")
    add("--remat", action="store_true", help="recompute units to save memory")
    add("--xla", action="store_true", help="compile the step with XLA")
    add(
        "--deterministic", action="store_true", help="bit-equal repeats; slower"
    )
    add("--on-bad-image", help="skip (default) or error")


# Arguments that are plain overrides of one recipe field.
FIELDS = {
    "data_dir": "data.data_dir",
    "train_split": "data.train_split",
    "eval_split": "data.eval_split",
    "label": "data.label",
    "examples_per_class": "data.examples_per_class",
    "subset_seed": "data.subset_seed",
    "on_bad_image": "data.on_bad_image",
    "model": "model.name",
    "init": "model.init",
    "remat": "model.remat",
    "resolution": "preprocess.crop",
    "steps": "schedule.steps",
    "seed": "run.seed",
    "strategy": "run.strategy",
    "micro_batch": "run.micro_batch",
    "precision": "run.precision",
    "xla": "run.xla",
    "deterministic": "run.deterministic",
}
