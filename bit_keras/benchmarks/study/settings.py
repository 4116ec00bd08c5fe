"""A study on disk: which jobs, and what is measured of each checkpoint.

OUT/study.json              the settings below
OUT/tasks.json              the user's tasks, if there are any
OUT/plan.json               what a step and a probe cost here (`study plan`)
OUT/jobs/NAME/recipe.json   one job; the rest of its folder is in `job`
OUT/rehearsal/NAME/         the same for the short jobs of `study plan`
OUT/report/                 what `study report` makes
"""

import dataclasses
import json
import os
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bit_keras import json_files
from bit_keras import recipe as recipe_lib
from bit_keras.atomic_writes import write_atomic
from bit_keras.benchmarks import selection, tasks_file
from bit_keras.benchmarks.tasks import Task
from bit_keras.field_values import check_value
from bit_keras.recipe import Recipe

FILE, TASKS = "study.json", "tasks.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all jobs of a study share.

    Attributes:
        grid: Name of the grid, for people.
        tasks: Names of downstream tasks and groups, as `--tasks`; None: the
            tasks-file's, or else the group "fewshot".
        shots: Training images per class.
        seeds: Draws of those.
        layers: Whether the last checkpoint is probed at all its endpoints, not
            at pre_logits alone.
    """

    grid: str
    tasks: str | None = None
    shots: tuple[int, ...] = (1, 5, 10, 25)
    seeds: int = 3
    layers: bool = False


class Study:
    """The folder of a study.

    Args:
        out: Path; `create` makes it.

    Raises:
        FileNotFoundError: By `settings`, if there is no study.

    Example:

    >>> from bit_keras.recipes import study
    >>> made = Study("out")
    >>> made.create(Settings(grid="micro"), study.micro())
    >>> made.names(), made.recipe(made.names()[0]).model.name
    (('bit_nano-data30', 'bit_nano-data100'), 'bit_nano')
    """

    def __init__(self, out: str | os.PathLike) -> None:
        self.path = Path(os.path.expanduser(out)).resolve()

    def create(
        self,
        settings: Settings,
        grid: Sequence[Recipe],
        tasks_path: str | None = None,
    ) -> None:
        """Writes the study, or checks that it is the one that is there.

        Jobs may be added to a study, never changed.

        Args:
            settings: Of the study.
            grid: Its jobs.
            tasks_path: The user's tasks-file; a copy is kept.

        Raises:
            ValueError: If the folder holds another study; says what differs.
        """
        own = (
            Path(os.path.expanduser(tasks_path)).read_text()
            if tasks_path
            else ""
        )
        path = self.path / FILE
        names = tuple(recipe.name for recipe in grid)
        if self.exists:
            self._check_same(settings, grid, own)
            names = tuple(dict.fromkeys([*self.names(), *names]))
        for recipe in grid:
            write_recipe(self.job(recipe.name), recipe)
        if own:
            write_atomic(self.path / TASKS, own)
        content = {**dataclasses.asdict(settings), "jobs": names}
        write_atomic(path, json.dumps(content, indent=1) + "\n")

    def _check_same(
        self, settings: Settings, grid: Sequence[Recipe], own: str
    ) -> None:
        old, new = vars(self.settings), vars(settings)
        differ = [
            f"{name}: {old[name]} there, {new[name]} here"
            for name in old
            if old[name] != new[name] and name != "grid"
        ]
        kept = self.path / TASKS
        if own != (kept.read_text() if kept.exists() else ""):
            differ.append("the tasks-file")
        differ += [
            f"job {recipe.name}"
            for recipe in grid
            if (self.job(recipe.name) / "recipe.json").exists()
            and _moved(self.recipe(recipe.name)) != _moved(recipe)
        ]
        if differ:
            raise ValueError(
                f"--out {self.path} holds another study ({'; '.join(differ)}). "
                "Choose another folder."
            )

    def _read(self) -> dict:
        path = self.path / FILE
        try:
            return _checked(path, json_files.read(path))
        except FileNotFoundError:
            raise FileNotFoundError(
                f'--out: there is no study in "{self.path}". Begin one with '
                "study plan or study run."
            ) from None

    @property
    def exists(self) -> bool:
        """Whether the folder holds a study."""
        return (self.path / FILE).exists()

    @property
    def data_dir(self) -> str | None:
        """Where the data of its jobs are; None: TFDS's default."""
        return self.recipe(self.names()[0]).data.data_dir

    @property
    def tasks_path(self) -> str | None:
        """The user's tasks; None if there are none."""
        path = self.path / TASKS
        return str(path) if path.exists() else None

    @property
    def settings(self) -> Settings:
        """What all jobs share."""
        content = self._read()
        del content["jobs"]
        return Settings(**content)

    def names(self) -> tuple[str, ...]:
        """Returns the names of the jobs, in the grid's order."""
        return tuple(self._read()["jobs"])

    def job(self, name: str) -> Path:
        """Returns the folder of a job."""
        return self.path / "jobs" / name

    def recipe(self, name: str) -> Recipe:
        """Returns the recipe of a job."""
        return read_recipe(self.job(name))

    def tasks(self, data_dir: str | None) -> tuple[Task, ...]:
        """Returns the downstream tasks whose data are there."""
        own = tasks_file.from_json(self.tasks_path) if self.tasks_path else ()
        return selection.choose(
            self.settings.tasks,
            own or "fewshot",
            own,
            data_dir,
            lambda message: None,
        )


def _checked(path: Path, content: Any) -> dict[str, Any]:
    """Returns what study.json holds, its lists as tuples.

    Raises:
        ValueError: For anything that `Study.create` does not write.
    """
    hints = {**typing.get_type_hints(Settings), "jobs": tuple[str, ...]}
    if not isinstance(content, dict) or set(content) != set(hints):
        raise ValueError(
            f"{path} must be an object with {', '.join(hints)}. Was it written "
            "by another version of bit_keras?"
        )
    for name, value in content.items():
        if isinstance(value, list):
            content[name] = tuple(value)
        check_value(f"{path}: {name}", hints[name], content[name])
    if odd := [name for name in content["jobs"] if Path(name).name != name]:
        raise ValueError(f"{path}: {odd[0]!r:.80} cannot be the name of a job.")
    return content


def _moved(recipe: Recipe) -> Recipe:
    """Returns the recipe without where its data are."""
    data = dataclasses.replace(recipe.data, data_dir=None)
    return dataclasses.replace(recipe, data=data)


def write_recipe(directory: Path, recipe: Recipe) -> None:
    """Writes a job's recipe, as `python -m bit_keras.train --recipe` reads it.

    Args:
        directory: Folder of the job; made if need be.
        recipe: A finished recipe.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {"recipe": recipe_lib.to_dict(recipe)}
    write_atomic(directory / "recipe.json", json.dumps(content, indent=1))


def read_recipe(directory: Path) -> Recipe:
    """Returns the recipe that `write_recipe` wrote.

    Example:

    >>> write_recipe(Path("job"), Recipe("mine"))
    >>> read_recipe(Path("job")).name
    'mine'
    """
    path = directory / "recipe.json"
    try:
        return recipe_lib.from_dict(json_files.read(path)["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not of a job ({error!r}).") from None
