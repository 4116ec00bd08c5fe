"""The sub-command `study`: plan, run, status, report."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.benchmarks import selection
from bit_keras.benchmarks.study import engine
from bit_keras.benchmarks.study.settings import Settings, Study
from bit_keras.checks import check as check_recipe
from bit_keras.quiet import quiet
from bit_keras.recipes import study as grids

if TYPE_CHECKING:
    from bit_keras.benchmarks.tasks import Task

_GRID = "mini"
_ACTIONS = {
    "plan": "what the jobs will cost, measured by short rehearsals",
    "run": "runs all jobs that are not done; the same command resumes",
    "status": "how many jobs are done, running, failed; and why they failed",
    "report": "tables of all rows, and the analysis of saturation",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["run", "--grid", "micro", "--out", "o"]).engine
    'loky'
    """
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, allow_abbrev=False)
        action.add_argument(
            "--out", required=True, metavar="DIR", help="folder of the study"
        )
        if name in ("plan", "run"):
            _add_what(action)
            _add_how(action)
    actions.choices["run"].add_argument(
        "--retry-failed", action="store_true", help="failed jobs, too"
    )


def _add_what(parser: argparse.ArgumentParser) -> None:
    # What is not said is as it was, in a study that is there.
    add = parser.add_argument
    add(
        "--grid",
        help=f"{', '.join(grids.GRIDS)}, or your.module:function; default mini",
    )
    selection.add_tasks(parser)
    selection.add_tasks_file(parser)
    add("--shots", help="images per class; default 1,5,10,25")
    add("--seeds", type=int, help="draws of those; default 3")
    add(
        "--layers",
        action="store_true",
        default=None,
        help="probe the last checkpoint of each job at all its layers",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--engine", choices=engine.ENGINES, default="loky", help="default loky")
    add("--address", help="of the cluster: tcp://host:8786, host:6379")
    add("--jobs", type=int, help="at a time; default: one per core or slot")
    add(
        "--threads",
        type=int,
        help="per job; default: cores / jobs; on a cluster 1",
    )


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a folder or file that is not there.
        ValueError: For anything misspelt or out of range.
    """
    if args.action in ("status", "report"):
        Study(args.out).names()
        return
    study = Study(args.out)
    own = selection.read_tasks_file(args.tasks_file or study.tasks_path)
    selection.wanted(args.tasks, own or "fewshot", own)
    if args.shots is not None:
        selection.numbers("--shots", args.shots)
    for option in ("seeds", "threads"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option} must be >= 1; got {value}.")
    if args.data_dir and not Path(os.path.expanduser(args.data_dir)).is_dir():
        raise FileNotFoundError(
            f'--data-dir: there is no folder "{args.data_dir}".'
        )
    engine.check(args.engine, args.address, args.jobs)
    if args.grid or not study.exists:
        for recipe in grids.load(args.grid or _GRID):
            check_recipe(recipe)


def run(args: argparse.Namespace) -> int:
    """Carries out the action.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code: 1 if a job or rehearsal failed.
    """
    study = Study(args.out)
    if args.action == "status":
        from bit_keras.benchmarks.study import status

        print(status.summary(study))
        return 0
    if args.action == "report":
        from bit_keras.benchmarks.study import report

        return report.write(study, say)
    return _plan_or_run(args, study)


def _plan_or_run(args: argparse.Namespace, study: Study) -> int:
    from bit_keras.benchmarks.study import drive

    data_dir = args.data_dir or (study.data_dir if study.exists else None)
    tasks_path = args.tasks_file or study.tasks_path
    own = selection.read_tasks_file(tasks_path)
    settings, grid = _asked(args, study)
    # Misspelt or missing tasks, before anything is written.
    chosen = selection.choose(
        settings.tasks, own or "fewshot", own, data_dir, lambda message: None
    )
    _open_all(chosen, data_dir)
    selection.make_out(args)
    study.create(settings, [_placed(r, data_dir) for r in grid], tasks_path)
    threads = args.threads or engine.threads(args.engine, args.jobs)
    with engine.connect(args.engine, args.address, args.jobs) as workers:
        if args.action == "run":
            return drive.run(study, workers, threads, args.retry_failed, say)
        failed = drive.rehearse(study, threads, say)
        print("\n".join(drive.lines(study, workers)))
    for line in failed:
        say(f"error: {line}")
    return 1 if failed else 0


def _open_all(tasks: "Sequence[Task]", data_dir: str | None) -> None:
    """Finds splits that are not there before days of training, not after."""
    say(f"Loading TensorFlow, and opening {len(tasks)} tasks")
    with quiet():
        from bit_keras.benchmarks import task_data
    for task in tasks:
        try:
            task_data.open_both(task, data_dir)
        except (ValueError, FileNotFoundError) as error:
            about = str(error).removeprefix(f"task {task.name}: ")
            raise ValueError(f"task {task.name}: {about}") from None


def _asked(
    args: argparse.Namespace, study: Study
) -> tuple[Settings, grids.Grid]:
    """Returns what is asked for; what is not said is as it was."""
    old = study.settings if study.exists else Settings(grid=_GRID)
    said = {
        "grid": args.grid,
        "tasks": args.tasks,
        "shots": args.shots and selection.numbers("--shots", args.shots),
        "seeds": args.seeds,
        "layers": args.layers,
    }
    said = {name: value for name, value in said.items() if value is not None}
    settings = dataclasses.replace(old, **said)
    if study.exists and args.grid is None:
        return settings, tuple(map(study.recipe, study.names()))
    return settings, grids.load(settings.grid)


def _placed(recipe: grids.Recipe, data_dir: str | None) -> grids.Recipe:
    """Returns the recipe with its data where `--data-dir` says."""
    if data_dir is None:
        return recipe
    where = str(Path(os.path.expanduser(data_dir)).resolve())
    data = dataclasses.replace(recipe.data, data_dir=where)
    return dataclasses.replace(recipe, data=data)


def say(message: str) -> None:
    """Prints one line on standard error."""
    print(message, file=sys.stderr, flush=True)
