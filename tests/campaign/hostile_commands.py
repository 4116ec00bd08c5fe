"""A sample of all the others, through the real commands, each a process."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import hostile_archives
import hostile_checkpoints
import hostile_documents
import hostile_images
import hostile_tables
from hypothesis import strategies as st
from judge import Case

from bit_keras.messages import one_line

# Each takes as long as TensorFlow needs to load.
MOST = 60
_TIMEOUT = 170
_TRAIN = (
    "train --recipe transfer --model bit_nano --resolution 16 --batch-size 2 "
    "--steps 2 --set preprocess.resize=20 --set run.strategy=one --workdir RUN"
)
_MODELS = "--upstream top1 --downstream v2,pets --model-id model --bootstrap 0"
_CURVES = "--x seen --y err --curve model,task --fit fit"
# Sub-command with FILE, DIR, OUT and RUN -> the cases that it is given.
_COMMANDS = {
    "export FILE --out OUT": hostile_checkpoints.cases(),
    f"{_TRAIN} --dataset digits --init FILE": hostile_checkpoints.cases(),
    f"{_TRAIN} --dataset DIR": hostile_images.cases(),
    f"{_TRAIN} --dataset FILE": hostile_tables.cases(("images",)),
    f"benchmarks saturation --results FILE {_MODELS} --out OUT": (
        hostile_tables.cases(("models",))
    ),
    f"benchmarks scaling --results FILE {_CURVES} --out OUT": (
        hostile_tables.cases(("scaling",))
    ),
    "benchmarks tasks --tasks-file FILE": hostile_documents.cases(("tasks",)),
    "benchmarks results FILE": hostile_documents.cases(("results",)),
    "benchmarks report FILE --out OUT": hostile_documents.cases(("results",)),
    "benchmarks fewshot --model bit_nano --init random --tasks mine "
    "--tasks-file MINE --shots 1 --cache-dir CACHE --exclude FILE --out OUT": (
        hostile_documents.cases(("duplicates",))
    ),
    "train --recipe FILE --workdir RUN": hostile_documents.cases(("recipe",)),
    "benchmarks fewshot --model FILE --tasks mine --tasks-file MINE --shots 1 "
    "--cache-dir CACHE --out OUT": hostile_archives.cases(("model",)),
}


warm_up = hostile_checkpoints.warm_up


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draws a command and a case for it."""
    command = draw(st.sampled_from(list(_COMMANDS)))
    case = draw(_COMMANDS[command])
    name = " ".join(command.split()[:2]).removesuffix(" --recipe")
    return dataclasses.replace(
        case, kind=f"{name}: {case.kind}", options=(command,)
    )


def attempt(case: Case, path: Path) -> str:
    """Runs the command: success, or one line on what is wrong."""
    work = path.parents[1] / "work"
    place = {"FILE": str(path), "OUT": str(path.parents[1] / "out")}
    # A run keeps its records, to be resumed once the file is repaired.
    place["RUN"] = str(work / "run")
    if "DIR" in case.options[0].split():
        place["DIR"] = str(_folder(work, path))
    if "MINE" in case.options[0].split():
        place.update(MINE=str(_tasks_file(work)), CACHE=str(work / "features"))
    words = [place.get(word, word) for word in case.options[0].split()]
    command = [sys.executable, "-m", f"bit_keras.{words[0]}", *words[1:]]
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BIT_KERAS_CACHE": str(work),
    }
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=_TIMEOUT,
        env=environment,
        cwd=path.parent,
    )
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode == 0:
        return "skipped" if "orrupt" in said else "accepted"
    return _refused(done.returncode, said, case)


def _folder(work: Path, path: Path) -> Path:
    """A folder of images, with the hostile one among others."""
    for number in range(3):
        other = work / "images" / "b" / f"{number}.jpg"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(hostile_images.good()["jpeg"])
    (work / "images" / "a").mkdir()
    (work / "images" / "a" / path.name).write_bytes(path.read_bytes())
    return work / "images"


def _tasks_file(work: Path) -> Path:
    """A task of one's own: two images of two classes, to learn and to test."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        image = work / "mine" / place / "0.jpg"
        image.parent.mkdir(parents=True)
        image.write_bytes(hostile_images.good()["jpeg"])
    task = {
        "name": "mine",
        "dataset": str(work / "mine"),
        "train": "train",
        "test": "test",
    }
    path = work / "mine.json"
    path.write_text(json.dumps([task]))
    return path


def _refused(code: int, said: str, case: Case) -> str:
    """Checks what a command said when it failed."""
    lines = said.rstrip().split("\n")
    # A report on arrays goes on in indented lines.
    first = next(
        (n for n, x in enumerate(lines) if x.startswith("error: ")), -1
    )
    fine = first >= 0 and all(x.startswith("  ") for x in lines[first + 1 :])
    if code not in (1, 2) or "Traceback" in said or not fine:
        return f"exit code {code}: {said[-1500:]}"
    if one_line(ValueError(case.name)) not in lines[first]:
        return f"names no file: {lines[first]}"
    raise ValueError(lines[first])
