"""What our own source must not contain, read from it; nothing is imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Modules that run, or load, code from data.
MODULES = {
    "cloudpickle",
    "dill",
    "imp",
    "marshal",
    "pickle",
    "shelve",
    "yaml",
}
CALLS = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "builtins.eval",
    "builtins.exec",
    "keras.config.enable_unsafe_deserialization",
    "mktemp",
    "os.popen",
    "os.system",
    "pd.read_pickle",
    "tempfile.mktemp",
    "torch.load",
}
# Options that switch a protection off.
OPTIONS = {
    ("allow_pickle", True),
    ("safe_mode", False),
    ("shell", True),
    ("trusted", True),
    ("verify", False),
    ("weights_only", False),
}
# Where what is forbidden elsewhere is right, and why.
ALLOWED = {
    # Each member is checked, and the filter is set, before it is called.
    ("bit_keras/export/archive.py", "extractall"),
    # Recognizes what `download` then refuses, but of this machine.
    ("bit_keras/export/handles.py", "http"),
}


class Finder(ast.NodeVisitor):
    """Collects what a file does that it must not, as readable lines."""

    def __init__(self, path):
        self.path, self.found = path, []

    def add(self, node, what, key=None):
        if (self.path, key) not in ALLOWED:
            self.found.append(f"{self.path}:{node.lineno}: {what}")

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name.split(".")[0] in MODULES:
                self.add(node, f"import {alias.name}")

    def visit_ImportFrom(self, node):
        if (node.module or "").split(".")[0] in MODULES:
            self.add(node, f"from {node.module} import")

    def visit_Call(self, node):
        name = ast.unparse(node.func)
        if name in CALLS:
            self.add(node, f"{name}()")
        if name.endswith((".extractall", ".extract")) and ".str." not in name:
            self.add(node, f"{name}()", "extractall")
        for keyword in node.keywords:
            value = getattr(keyword.value, "value", None)
            if (keyword.arg, value) in OPTIONS:
                self.add(node, f"{keyword.arg}={value}")
        if name.endswith("Lambda"):
            self.add(node, "a Lambda layer, which is code in a file")
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, str) and node.value.startswith("http://"):
            self.add(node, node.value, "http")

    def visit_Expr(self, node):
        # Docstrings may speak of anything.
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)


def problems(path, source):
    finder = Finder(path)
    finder.visit(ast.parse(source))
    return finder.found


def sources():
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "bit_keras").rglob("*.py")
    )


def test_nothing_forbidden_is_in_the_source():
    found = [line for path in sources() for line in problems(path, read(path))]
    assert found == []


def read(path):
    return (ROOT / path).read_text()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "def f():\n  exec(text)",
        "yaml.load(text)\nimport yaml",
        "np.load(path, allow_pickle=True)",
        "keras.saving.load_model(path, safe_mode=False)",
        "tar.extractall(folder)",
        "archive.extract(name)",
        "url = 'http://host/model.npz'",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "keras.layers.Lambda(f)",
        "torch.load(path)",
        "tempfile.mktemp()",
    ],
)
def test_what_is_forbidden_is_found(source):
    assert problems("bit_keras/x.py", source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Never eval() or http://host."""',
        "model.compile(loss)",
        "keras.saving.load_model(path)",
        "model.eval()",
        "np.load(path, allow_pickle=False)",
        "url = 'https://host/model.npz'",
        "ast.literal_eval(text)",
    ],
)
def test_what_is_legal_is_not_found(source):
    assert problems("bit_keras/x.py", source) == []


def test_each_exception_is_still_needed():
    for path, _ in ALLOWED:
        ours = Finder("elsewhere.py")
        ours.visit(ast.parse(read(path)))
        assert ours.found, path
