"""JSON: tasks, results, lists of duplicates, recipes, exports, studies."""

import copy
import functools
import json
from pathlib import Path
from typing import Any

from damage import damaged
from hypothesis import strategies as st
from judge import Case

from bit_keras import recipe as recipes
from bit_keras import train
from bit_keras.benchmarks import exclusions, results, tasks_file
from bit_keras.benchmarks.robustness import imagenet_shift
from bit_keras.benchmarks.study.settings import Settings, Study
from bit_keras.export import manifest, run

_ROW = results.Row(
    benchmark="fewshot",
    model="net",
    model_sha256="ab",
    upstream=None,
    task="dtd",
    group=None,
    protocol="vit",
    preprocessing="none",
    metric="accuracy",
    value=0.5,
    stderr=None,
    n=10,
    config_hash="0",
    time="2026-01-31T12:00:00+00:00",
    details={"l2": 1.0},
)
_TASKS = [
    {"name": "a", "dataset": "mnist", "train": "train[:9%]", "test": "test"},
    {"name": "b", "dataset": "x.csv", "train": "train", "test": "test"},
]
_PAIRS = {
    "format": "bit_keras duplicates",
    "version": 1,
    "upstream": "u",
    "settings": {},
    "tasks": [{"task": "pets"}],
    "pairs": [{"task": "pets", "split": "test", "id": "a", "upstream_id": "b"}],
}
_EXPORT = {
    "format": 1,
    "name": "net",
    "version": 1,
    "model": "bit_tiny",
    "architecture": {"name": "bit_tiny"},
    "parameters": 1,
    "num_features": 1,
    "num_classes": 0,
    "endpoints": {"stem": 1},
    "folded": False,
    "output": "features",
    "activation": None,
    "upstream": None,
    "init": None,
    "weights": "final",
    "recipe": None,
    "data": None,
    "metrics": [],
    "preprocessing": {"resolution": 32},
    "input": {},
    "licence": "",
    "code_version": "0",
    "versions": {},
    "sha256": {"../../etc/passwd": "00"},
}


@functools.cache
def _recipe() -> dict:
    data = recipes.Data("digits")
    return {
        "recipe": recipes.to_dict(recipes.Recipe("demo", data=data)),
        "dataset": "digits",
        "data": {},
        "command": [],
    }


def _train(path: Path) -> None:
    train.build_recipe(train.parser().parse_args(["--recipe", str(path)]))


def _moved(path: Path, name: str) -> Path:
    """Puts the file where a command expects it, and names it in errors."""
    folder = path.parents[1] / "work" / path.name
    folder.mkdir(parents=True)
    (folder / name).write_bytes(path.read_bytes())
    return folder


def _run(path: Path) -> None:
    folder = _moved(path, "recipe.json")
    (folder / "labels.txt").write_text("a\nb\n")
    (folder / "result.json").write_text("{}")
    # No weights: a good recipe ends there.
    try:
        run.load_run(folder)
    except FileNotFoundError as error:
        if "final.npz" not in str(error):
            raise


def _rows(path: Path) -> None:
    frame = results.load([path])
    if len(frame):
        results.summarize(frame, ["model", "task", "shots"])


def _append(path: Path) -> None:
    """Goes on with a file of results, which may only lose its torn end."""
    copy = path.parents[1] / "work" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    file = results.ResultsFile(copy)
    file.append([_ROW])
    whole = path.read_bytes().rpartition(b"\n")[0]
    if not copy.read_bytes().startswith(whole):
        raise AssertionError("lost whole lines")
    file.rows()


def _study(path: Path) -> None:
    folder = _moved(path, "study.json")
    study = Study(folder)
    if not isinstance(study.settings, Settings):
        raise AssertionError("no settings")
    study.names()


# Reader -> (what calls it, a good document, the file's name).
_READERS = {
    "tasks": (tasks_file.from_json, _TASKS, "tasks.json"),
    "duplicates": (exclusions.read, _PAIRS, "duplicates.json"),
    "recipe": (_train, None, "recipe.json"),
    "run": (_run, None, "run.json"),
    "export": (
        lambda path: manifest.read(_moved(path, "model.json")),
        _EXPORT,
        "export.json",
    ),
    "verify": (
        lambda path: manifest.verify(_moved(path, "model.json")),
        _EXPORT,
        "export.json",
    ),
    "class map": (imagenet_shift.read_class_map, {"mug": [1, 2]}, "map.json"),
    "results": (_rows, vars(_ROW), "results.jsonl"),
    "appending": (_append, vars(_ROW), "results.jsonl"),
    "study": (
        _study,
        {**vars(Settings(grid="mini")), "jobs": ["a", "b"]},
        "study.json",
    ),
}

_VALUES = (
    None,
    True,
    -1,
    0,
    10**30,
    10**400,
    -0.0,
    float("nan"),
    float("inf"),
    1e308,
    "",
    " ",
    "\x00",
    "\x1b[31mred",
    "\ud800",
    "a\nb",
    "../../etc/passwd",
    "/dev/zero",
    "</script><img src=x>",
    "x" * 100_000,
    "__import__('os')",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"__class__": 1},
    "2026-13-45",
    "train[:999999999999%]",
)
_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=9),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    max_leaves=6,
)


@st.composite
def cases(draw: st.DrawFn, readers: tuple[str, ...] = ()) -> Case:
    """Draws a document with something wrong in it."""
    reader = draw(st.sampled_from(sorted(readers or _READERS)))
    _, document, name = _READERS[reader]
    document = _recipe() if document is None else document
    how = draw(st.sampled_from(["damaged", "values", "values", "whole"]))
    if how == "damaged":
        _, data = draw(damaged(_dump(document)))
    elif how == "values":
        data = _dump(draw(_edited(document)))
    else:
        how, data = draw(_rewritten(_dump(document)))
    return Case(f"{reader}: {how}", name, data, (reader,))


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


@st.composite
def _edited(draw: st.DrawFn, document: Any) -> Any:
    """A few values, or keys, are something else."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        node = document
        while True:
            inner = _inner(node)
            deeper = [value for value in inner if _inner(value)]
            if not deeper or draw(st.integers(0, 3)) == 0:
                break
            node = draw(st.sampled_from(deeper))
        if not _inner(node):
            return draw(_JSON)
        _change(draw, node)
    return document


def _inner(node: Any) -> list:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _change(draw: st.DrawFn, node: dict | list) -> None:
    # A copy, because what is put in may be changed in its turn.
    value = copy.deepcopy(draw(st.one_of(st.sampled_from(_VALUES), _JSON)))
    if isinstance(node, list):
        node[draw(st.integers(0, len(node) - 1))] = value
        return
    key = draw(st.sampled_from(sorted(node)))
    how = draw(st.sampled_from(["value", "value", "value", "gone", "renamed"]))
    if how == "value":
        node[key] = value
    elif how == "gone":
        del node[key]
    else:
        new = draw(st.sampled_from(["", "\x1b[31m", key + "s", "__init__"]))
        node[new] = node.pop(key)


@st.composite
def _rewritten(draw: st.DrawFn, text: bytes) -> tuple[str, bytes]:
    """The same document as another program writes it, or none at all."""
    deep = draw(st.sampled_from([900, 10_000, 1_000_000]))
    ways = {
        "BOM": b"\xef\xbb\xbf" + text,
        "CRLF": text.replace(b"\n", b"\r\n"),
        "UTF-16": text.decode().encode("utf-16"),
        "Latin-1": text.replace(b'"', b'"\xe9', 1),
        "nested lists": b"[" * deep + b"]" * deep,
        "nested objects": b'{"a":' * deep + b"1" + b"}" * deep,
        "long number": b"9" * 10_000,
        "twice": text + text,
        "a bare value": draw(st.sampled_from([b"1", b'"a"', b"null", b"NaN"])),
        "empty": b"",
        "NUL": text + b"\x00",
        "comment": b"// a comment\n" + text,
        "binary": draw(st.binary(max_size=300)),
    }
    how = draw(st.sampled_from(sorted(ways)))
    return how, ways[how]


def attempt(case: Case, path: Path) -> str:
    """Reads the document as its command does."""
    _READERS[case.options[0]][0](path)
    return "accepted"
