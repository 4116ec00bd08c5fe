"""Who may import whom, read from the source; nothing is imported here."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("recipes", "export", "benchmarks")
# Files that fine-tune as part of a benchmark, and so may train.
MAY_TRAIN = ("bit_keras/benchmarks/finetune.py",)


class Imports(ast.NodeVisitor):
    """Collects (dotted name, whether it runs when the module is imported)."""

    def __init__(self, path):
        # The package that relative imports start from.
        self.package = Path(path).parent.parts
        self.depth = 0
        self.found = []

    def add(self, name):
        self.found.append((name, self.depth == 0))

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node):
        start = ()
        if node.level:
            start = self.package[: len(self.package) - node.level + 1]
        base = ".".join([*start, *filter(None, [node.module])])
        for alias in node.names:
            self.add(f"{base}.{alias.name}")

    def visit_Call(self, node):
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if name in ("import_module", "__import__") and node.args:
            if isinstance(node.args[0], ast.Constant):
                self.add(node.args[0].value)
        self.generic_visit(node)


def within(name, *packages):
    return any(name == p or name.startswith(f"{p}.") for p in packages)


def is_core(path):
    """Everything directly in bit_keras/, and models/ and data/.

    But for the demonstration, which is a user of all the rest.
    """
    if path == "bit_keras/demo.py":
        return False
    folder = Path(path).parent.as_posix()
    return folder == "bit_keras" or path.startswith(
        ("bit_keras/models/", "bit_keras/data/")
    )


def is_light(path):
    """Where TensorFlow must not be imported at all."""
    return path.startswith(("bit_keras/models/", "bit_keras/recipes/")) or (
        path
        in (
            "bit_keras/__init__.py",
            "bit_keras/layers.py",
            "bit_keras/optimizer.py",
            "bit_keras/recipe.py",
            "bit_keras/schedules.py",
        )
    )


def is_stdlib_or_ours(name):
    root = name.split(".")[0]
    return root in sys.stdlib_module_names or root == "bit_keras"


def forbidden(path, name, at_import):
    """Returns why the file may not import `name`, or None."""
    ours = within(name, "bit_keras")
    if within(name, *LINKS):
        return "imports go by the full name, never through the links"
    if path.startswith("bit_keras/recipes/"):
        if ours and not within(name, "bit_keras.recipe", "bit_keras.recipes"):
            return "recipes import only bit_keras.recipe and each other"
    if path.startswith("bit_keras/recipes/") or path == "bit_keras/recipe.py":
        if not is_stdlib_or_ours(name):
            return "recipes use the standard library only"
    if is_core(path):
        if within(name, "bit_keras.export", "bit_keras.benchmarks"):
            return "the core never imports export or benchmarks"
        if within(name, "bit_keras.recipes") and path != "bit_keras/train.py":
            return "of the core, only train.py names the recipes"
    if is_light(path) and within(name, "tensorflow"):
        return "no TensorFlow here"
    if path == "bit_keras/__init__.py" and at_import and not ours:
        if not is_stdlib_or_ours(name):
            return "importing bit_keras is light"
    if path == "bit_keras/train.py" and at_import:
        if within(name, "tensorflow", "keras"):
            return "a slip on the command line answers without TensorFlow"
    if path.startswith("bit_keras/export/"):
        if within(name, "bit_keras.benchmarks"):
            return "export never looks ahead to benchmarks"
    if path.startswith("bit_keras/benchmarks/") and path not in MAY_TRAIN:
        if within(name, "bit_keras.trainer"):
            return "benchmarks train only to fine-tune"
    if path.startswith("bit_keras/benchmarks/drawing/"):
        if within(
            name, "tensorflow", "keras", "bit_keras.benchmarks.saturation"
        ):
            return "drawing knows nothing of what it draws"
    if path.startswith("bit_keras/benchmarks/saturation/"):
        if within(name, "tensorflow", "keras"):
            return "saturation is NumPy, SciPy and pandas only"
        if ours and not within(
            name,
            "bit_keras.benchmarks.results",
            "bit_keras.benchmarks.summary",
            "bit_keras.benchmarks.drawing.plot",
            "bit_keras.benchmarks.saturation",
        ):
            return "saturation imports only results, summary and drawing.plot"
    return None


def violations(path, source):
    """Lists the forbidden imports of one file as readable lines."""
    visitor = Imports(path)
    visitor.visit(ast.parse(source))
    lines = []
    for name, at_import in visitor.found:
        reason = forbidden(path, name, at_import)
        if reason:
            lines.append(f"{path} imports {name}: {reason}")
    return lines


def sources():
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("bit_keras", "tests")
        for path in (ROOT / folder).rglob("*.py")
    )


@pytest.mark.parametrize("path", sources())
def test_imports_look_only_back_along_the_road(path):
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("bit_keras/recipes/x.py", "import numpy"),
        ("bit_keras/recipes/x.py", "import tensorflow as tf"),
        ("bit_keras/recipes/x.py", "from bit_keras import trainer"),
        ("bit_keras/recipes/x.py", "from .. import layers"),
        ("bit_keras/recipe.py", "from keras import ops"),
        ("bit_keras/trainer.py", "from bit_keras.recipes import transfer"),
        ("bit_keras/trainer.py", "from bit_keras import recipes"),
        ("bit_keras/trainer.py", "def f():\n  from .export import layer"),
        ("bit_keras/data/x.py", "import bit_keras.benchmarks.results"),
        ("bit_keras/models/x.py", "from bit_keras.benchmarks import *"),
        ("bit_keras/layers.py", "def f():\n  import tensorflow"),
        ("bit_keras/models/bit.py", "from tensorflow import nn"),
        ("bit_keras/__init__.py", "import keras"),
        ("bit_keras/train.py", "try:\n  import tensorflow\nfinally: 0"),
        ("bit_keras/train.py", "import bit_keras.export.card"),
        ("bit_keras/export/x.py", "from bit_keras.benchmarks import tasks"),
        ("bit_keras/benchmarks/x.py", "from bit_keras import trainer"),
        ("bit_keras/benchmarks/x.py", "import_module('bit_keras.trainer')"),
        ("bit_keras/benchmarks/saturation/x.py", "import tensorflow"),
        ("bit_keras/benchmarks/saturation/x.py", "from bit_keras import data"),
        ("bit_keras/benchmarks/saturation/x.py", "from .. import study"),
        ("bit_keras/benchmarks/saturation/x.py", "from ..drawing import page"),
        ("bit_keras/benchmarks/drawing/x.py", "import tensorflow"),
        ("tests/test_x.py", "import recipes"),
        ("bit_keras/export/x.py", "from benchmarks.results import Row"),
    ],
)
def test_a_forbidden_import_is_caught(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    "path, source",
    [
        ("bit_keras/recipes/x.py", "import math\nfrom . import hyperrule"),
        ("bit_keras/recipes/x.py", "from bit_keras.recipe import Recipe"),
        ("bit_keras/train.py", "from bit_keras import recipes"),
        ("bit_keras/train.py", "def main():\n  import tensorflow"),
        ("bit_keras/trainer.py", "import tensorflow as tf"),
        ("bit_keras/trainer.py", "from bit_keras.recipe import Recipe"),
        ("bit_keras/layers.py", "from keras import ops"),
        ("bit_keras/export/x.py", "from bit_keras import models"),
        ("bit_keras/benchmarks/finetune.py", "from bit_keras import trainer"),
        ("bit_keras/benchmarks/saturation/x.py", "from ..results import Row"),
    ],
)
def test_a_legal_import_passes(path, source):
    assert violations(path, source) == []
