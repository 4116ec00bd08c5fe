"""Every public name is documented, and every example runs."""

import dataclasses
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What only the comparisons of benchmarks/speed need.
PEERS = ("jax", "timm", "torch", "torchvision", "transformers")


def module_names():
    """Lists the modules of bit_keras by their files, importing none."""
    for path in sorted((ROOT / "bit_keras").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts[-1] != "__main__":
            yield ".".join(parts)


def load(name):
    """Imports a module, or skips where it runs a peer that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in PEERS:
            raise
        pytest.skip(f"{name} needs {error.name}")


def public(namespace):
    return {k: v for k, v in namespace.items() if not k.startswith("_")}


def undocumented(module):
    """Lists the public names of a module that lack a docstring of their own."""
    missing = [] if module.__doc__ else [module.__name__]
    for name, value in public(vars(module)).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) and not value.__doc__:
            missing.append(f"{module.__name__}.{name}")
        if inspect.isclass(value):
            missing += undocumented_in_class(value)
    return missing


def undocumented_in_class(cls):
    name = f"{cls.__module__}.{cls.__qualname__}"
    doc = cls.__doc__ or ""
    if dataclasses.is_dataclass(cls) and doc.startswith(f"{cls.__name__}("):
        doc = ""  # Written by @dataclass.
    missing = [] if doc else [name]
    for attribute, value in public(vars(cls)).items():
        # A method that overrides one keeps the contract of its base class.
        inherited = any(hasattr(base, attribute) for base in cls.__bases__)
        method = inspect.isroutine(value) or isinstance(value, property)
        if method and not inherited and not value.__doc__:
            missing.append(f"{name}.{attribute}")
    return missing


@pytest.mark.parametrize("name", module_names())
def test_public_names_are_documented(name):
    assert undocumented(load(name)) == []


@pytest.mark.parametrize("name", module_names())
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = load(name)
    report = []
    runner = doctest.DocTestRunner(
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_a_missing_docstring_is_caught():
    source = '''
import dataclasses

@dataclasses.dataclass
class Bare:
    x: int = 0

class Child(dict):
    """Documented."""
    def get(self, key): ...
    def own(self): ...
    @property
    def size(self): ...

def bare(): ...
def _private(): ...
def documented():
    """Documented."""
'''
    module = type(pytest)("made_up")
    exec(source, vars(module))
    assert undocumented(module) == [
        "made_up",
        "made_up.Bare",
        "made_up.Child.own",
        "made_up.Child.size",
        "made_up.bare",
    ]
