"""A run's directory: what is in it, and when it may be used again.

recipe.json     recipe, data, versions, command: everything to repeat it
metrics.jsonl   one row per logged step and per evaluation
labels.txt      class names, one per line
checkpoints/    the last few states of training
best.npz        weights of the best evaluation (official key names)
final.npz       weights after the last step
weights-*.npz   weights after the steps of `run.keep_weights_at`
result.json     written last: the run has finished
"""

import dataclasses
import fcntl
import json
import os
import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from bit_keras import json_files
from bit_keras import recipe as recipe_lib
from bit_keras.atomic_writes import write_atomic, writing
from bit_keras.recipe import Recipe

_FILES = (
    "recipe.json",
    "metrics.jsonl",
    "labels.txt",
    "best.npz",
    "final.npz",
    "result.json",
)
_FOLDERS = ("checkpoints", "tensorboard")

# Fields that change how a run is carried out, not what it computes.
_FREE = (
    "data.data_dir",
    "data.on_bad_image",
    "model.remat",
    "run.strategy",
    "run.xla",
    "run.micro_batch",
    "run.eval_batch_size",
    "run.log_every",
    "run.eval_every",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.keep_weights_at",
)


def weights_name(step: int) -> str:
    """Returns the file name of the weights kept after a step.

    >>> weights_name(500)
    'weights-000500.npz'
    """
    return f"weights-{step:06d}.npz"


def saved_steps(folder: Path) -> list[int]:
    """Returns the steps that a folder has checkpoints of, the oldest first.

    Args:
        folder: `checkpoints` of a run; it need not exist.

    >>> saved_steps(Path("no_such_folder"))
    []
    """
    # The last of a checkpoint's files to be written.
    names = (path.name for path in folder.glob("ckpt-*.index"))
    found = (re.fullmatch(r"ckpt-(\d+)\.index", name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def check_writable(path: str | os.PathLike) -> None:
    """Raises an error unless a run could be written to `path`.

    Nothing is written, and the directory need not exist.

    Args:
        path: Of a run directory.

    Raises:
        OSError: If it, or the folder it would be made in, cannot be written.
        ValueError: If its name is not Unicode.

    Example:

    >>> check_writable("/proc/version/run")
    Traceback (most recent call last):
    NotADirectoryError: --workdir /proc/version/run cannot be written (/proc...
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"--workdir {os.fsencode(path)!r} is not UTF-8, as TensorFlow "
            "wants names to be. Choose another directory."
        ) from None
    whole = Path(path).absolute()
    there = next(p for p in (whole, *whole.parents) if p.exists())
    if not there.is_dir():
        reason = f"{there} is not a directory"
        raise NotADirectoryError(_unwritable(path, reason))
    if not os.access(there, os.W_OK | os.X_OK):
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        why = (
            "on a read-only file system" if read_only else "not yours to write"
        )
        raise PermissionError(_unwritable(path, f"{there} is {why}"))


def _unwritable(path: str | os.PathLike, reason: str | None) -> str:
    return (
        f"--workdir {path} cannot be written ({reason}). Choose another "
        "directory."
    )


class Workdir:
    """Opens a run directory for one process.

    Args:
        path: Of the directory; made if it is not there.

    Raises:
        BlockingIOError: If another process is using it.

    Example:

    >>> import tempfile
    >>> with Workdir(tempfile.mkdtemp()) as workdir:
    ...     workdir.append({"step": 1, "loss": 0.5})
    ...     workdir.rows()
    [{'step': 1, 'loss': 0.5}]
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # The kernel drops the lock when the process dies, however it dies.
            self._lock = open(self.path / ".lock", "w")
        except OSError as error:
            message = _unwritable(self.path, error.strerror)
            raise type(error)(message) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise BlockingIOError(
                f"--workdir {self.path} is in use by another process. Wait for "
                "it, stop it, or choose another directory."
            ) from None
        self._remove_unfinished()

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._lock.close()

    @property
    def started(self) -> bool:
        """Whether a checkpoint was saved here."""
        return bool(saved_steps(self.path / "checkpoints"))

    @property
    def result(self) -> dict | None:
        """What the finished run achieved; None if it has not finished."""
        return self._read("result.json")

    def clear(self) -> None:
        """Removes an old run (its own files only), for `--overwrite`."""
        for name in _FOLDERS:
            if (self.path / name).exists():
                shutil.rmtree(self.path / name)
        for path in self.path.glob("weights-*.npz"):
            path.unlink()
        # What says which run this is goes last: who dies in between leaves no
        # checkpoints that another run would take for its own.
        for name in reversed(_FILES):
            (self.path / name).unlink(missing_ok=True)

    def claim(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Writes recipe.json, or checks that the one there is the same run.

        Where nothing was trained yet, say because the weights to start from
        could not be read, there is nothing to lose, and any run may begin.

        Args:
            recipe: The finished recipe.
            facts: JSON values on data, model and command; `facts["data"]`
                must stay the same from start to resume.

        Raises:
            ValueError: If another recipe or other data were used here; the
                message lists what differs.
        """
        new = {
            "recipe": recipe_lib.to_dict(recipe),
            "versions": versions(),
            **facts,
        }
        new = json.loads(json.dumps(new))
        old = self._read("recipe.json")
        if old is None:
            self._describe(new)
            return
        if not isinstance(old, dict) or not {"recipe", "data"} <= set(old):
            raise ValueError(
                f"--workdir {self.path} has a recipe.json that is not of "
                "bit_keras. Choose another directory."
            )
        differences = [
            f"{name}: {was} there, {now} here"
            for part in ("recipe", "data")
            for name, was, now in _differences(old[part], new[part], part)
            if name.removeprefix("recipe.") not in _FREE
        ]
        if len(differences) > 1:
            # What can be read says more than a fingerprint.
            differences = [d for d in differences if ".fingerprint" not in d]
        if differences and not (self.started or self.rows() or self.result):
            self._describe(new)
        elif differences:
            raise ValueError(
                f"--workdir {self.path} holds another run "
                f"({'; '.join(differences[:5])}). Choose another directory, or "
                "--overwrite to discard what is there."
            )

    def _describe(self, run: dict[str, Any]) -> None:
        text = json.dumps(run, indent=1) + "\n"
        write_atomic(self.path / "recipe.json", text)

    def rows(self) -> list[dict]:
        """Returns the rows of metrics.jsonl, up to one that is damaged."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json_files.parse(line)
            except ValueError:
                break
            if not isinstance(row, dict) or not isinstance(
                row.get("step"), int
            ):
                break
            rows.append(row)
        return rows

    def append(self, row: dict) -> None:
        """Appends one row to metrics.jsonl."""
        path = self.path / "metrics.jsonl"
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> list[dict]:
        """Drops the rows after `step`, which will be made again."""
        rows = [row for row in self.rows() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomic(self.path / "metrics.jsonl", text)
        return rows

    def finish(self, result: dict) -> None:
        """Marks the run as finished."""
        text = json.dumps(result, indent=1) + "\n"
        write_atomic(self.path / "result.json", text)

    def _remove_unfinished(self) -> None:
        """Removes what a process that died was about to write."""
        for path in list(self.path.iterdir()):
            name = path.name.removesuffix(".tmp")
            text = name in _FILES and path.name != name
            # As `checkpoints.save` calls it.
            weights = re.fullmatch(r"\.\d+-(best|final|weights-\d+)\.npz", name)
            if text or weights:
                path.unlink()

    def _read(self, name: str) -> dict | None:
        path = self.path / name
        if not path.exists():
            return None
        return json_files.read(path)


def _differences(old: Any, new: Any, name: str = "") -> list[tuple]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            path = f"{name}.{key}" if name else key
            found += _differences(old.get(key), new.get(key), path)
        return found
    return [(name, _short(old), _short(new))] if old != new else []


def _short(value: Any) -> Any:
    return "some" if isinstance(value, dict) else value


def versions() -> dict[str, str]:
    """Returns the versions that a run's numbers depend on.

    >>> sorted(versions())[:2]
    ['bit_keras', 'keras']
    """
    from bit_keras import __version__

    packages = ("keras", "tensorflow", "tensorflow-datasets", "numpy")
    return {
        "bit_keras": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def command() -> list[str]:
    """Returns the command line of this process, as typed after `python`.

    >>> isinstance(command(), list)
    True
    """
    return list(sys.orig_argv[1:])


def summary(recipe: Recipe) -> str:
    """Returns a recipe as a few readable lines.

    >>> print(summary(Recipe("demo")).splitlines()[0])
    model: name=bit_r50x1 head=drop head_bias=0.0 norm=group standardize=True
    """
    lines = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if not dataclasses.is_dataclass(value):
            continue
        parts = [
            f"{k}={v}"
            for k, v in dataclasses.asdict(value).items()
            if v is not None and v is not False
        ]
        lines.append(f"{field.name}: {' '.join(parts)}")
    return "\n".join(lines)
