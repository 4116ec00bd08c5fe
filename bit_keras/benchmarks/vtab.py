"""The sub-command `vtab`: VTAB-1k, 19 tasks of 1000 training images.

Zhai et al., arXiv 1910.04867.  The score is the mean of top-1 over the 19
tasks (not over the three groups), each the median of its runs; with tasks
missing there is none.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bit_keras.benchmarks import exclusions, selection, tasks
from bit_keras.benchmarks.tasks import Task
from bit_keras.quiet import quiet
from bit_keras.recipe import did_you_mean, override
from bit_keras.recipes import transfer
from bit_keras.stops import NotFiniteError

if TYPE_CHECKING:
    from bit_keras.benchmarks.results import ResultsFile

_PROTOCOLS = ("hyperrule", "lightweight", "linear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["--model", "m", "--out", "o"]).protocol
    'hyperrule'
    """
    selection.add_arguments(parser)
    exclusions.add_argument(parser)
    add = parser.add_argument
    add(
        "--protocol",
        choices=_PROTOCOLS,
        default="hyperrule",
        help="hyperrule (BiT's rule on the 1000 images; default), lightweight "
        "(the best of 4 settings on 200 of them, at 224 pixels) or linear "
        "(probe of frozen features)",
    )
    add("--seeds", type=int, help="runs of each task; default 3 (linear: 1)")
    add(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.FIELD=VALUE",
        help="override a field of the recipe, not for linear",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model or folder that is not there.
        ValueError: For anything misspelt, out of range, or without effect.
    """
    selection.check(args)
    exclusions.read(args.exclude)
    if args.tasks is not None:
        _check_names(args.tasks)
    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds must be >= 1; got {args.seeds}.")
    linear = args.protocol == "linear"
    others = "hyperrule or lightweight" if linear else "linear"
    without_effect = {
        "--seeds": linear and args.seeds is not None,
        "--set": linear and args.overrides,
        "--cache-dir": not linear and args.cache_dir,
        "--input-range": not linear and args.input_range,
    }
    for option, given in without_effect.items():
        if given:
            raise ValueError(
                f"{option} is for --protocol {others}. Leave it out, or "
                "choose another protocol."
            )
    recipe = transfer.recipe()
    for assignment in args.overrides:
        recipe = override(recipe, assignment)


def run(args: argparse.Namespace) -> int:
    """Measures, appends rows to OUT/results.jsonl, and prints the score.

    What is there already is not measured again; an interrupted run goes on.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code: 1 if a task failed.
    """
    chosen = selection.choose(args.tasks, "vtab", (), args.data_dir, say)
    exclusions.check_tasks(
        exclusions.read(args.exclude), (task.name for task in chosen)
    )
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks import results, vtab_finetune, vtab_linear
        from bit_keras.benchmarks.vtab_overview import overview

        tf.get_logger().setLevel("ERROR")
    linear = args.protocol == "linear"
    job = (vtab_linear if linear else vtab_finetune).open_job(args, say)
    protocol = job.row_protocol
    say(f"{job.model.name}: {len(chosen)} tasks, protocol {protocol}")
    file = results.ResultsFile(Path(args.out) / results.FILE_NAME)
    failures = measure(job, chosen, file)
    print(
        overview(file.rows(), job.model.sha256, protocol, job.settings),
        end="",
    )
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0


def _check_names(names: str) -> None:
    """Refuses what is not of VTAB; its protocols need train800 and val200."""
    vtab = tasks.group("vtab")
    legal = dict.fromkeys(group for task in vtab for group in task.groups)
    legal = [*legal, *(task.name for task in vtab)]
    words = [word.strip() for word in names.split(",")]
    if not any(words):
        raise ValueError(f'--tasks needs the name of a task; got "{names}".')
    for name in filter(None, words):
        if name not in legal:
            raise ValueError(
                f'--tasks: "{name}" is not of VTAB-1k.'
                f"{did_you_mean(name, legal)} Known: {', '.join(legal)}."
            )


def measure(job: Any, chosen: Sequence[Task], file: "ResultsFile") -> list[str]:
    """Measures all tasks and appends each row as soon as it is there.

    Args:
        job: `vtab_finetune.Job` or `vtab_linear.Job`.
        chosen: Tasks.
        file: Of the rows.

    Returns:
        Why tasks failed; the others are measured nevertheless.
    """
    done = {row.config_hash for row in file.rows()}
    failures = []
    for task in chosen:
        try:
            for row in job.rows(task, done):
                file.append([row])
                trial = "" if row.seed is None else f", seed {row.seed}"
                say(f"{task.name}{trial}: {row.value:.4f}")
        # What one task has: data, a diverging run, a folder in use.
        except (
            ValueError,
            FileNotFoundError,
            BlockingIOError,
            NotFiniteError,
        ) as error:
            reason = str(error).removeprefix(f"task {task.name}: ")
            failures.append(f"{task.name}: {reason}")
    return failures


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
