"""What the documents tell people to type, works."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bit_keras import recipes, train

ROOT = Path(__file__).resolve().parents[1]


def texts():
    """Yields (name, text) of everything that shows commands."""
    for name in ("README.md", "CONTRIBUTING.md", "bit_keras/recipes/README.md"):
        yield name, (ROOT / name).read_text(encoding="utf-8")
    for name in recipes.names():
        yield f"recipes/{name}", recipes.load(name).__doc__


def commands():
    for name, text in texts():
        text = text.replace("\\\n", " ")
        pattern = r"python -m bit_keras\.train ([^\n`|]*)"
        for found in re.findall(pattern, text):
            yield pytest.param(found.split("#")[0], id=f"{name}: {found[:50]}")


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/m").mkdir(parents=True)
    command = command.replace("--recipe NAME", "--recipe bit_m")
    args = train.parser().parse_args(shlex.split(command))
    _, recipe = train.build_recipe(args)
    assert recipe.data.dataset


def test_there_are_commands_to_check():
    assert len(list(commands())) >= 10


def test_the_table_of_recipes_is_complete():
    table = (ROOT / "bit_keras/recipes/README.md").read_text(encoding="utf-8")
    for name in recipes.names():
        assert f"| `{name}` |" in table


def test_readme_names_every_model():
    from bit_keras import models

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in models.names():
        assert f"`{name}`" in text


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, make_checkpoint):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    weights = make_checkpoint.make_bit(50, 1, 21843, seed=1)
    np.savez("BiT-M-R50x1.npz", **weights)
    names = {"images": np.zeros((1, 64, 64, 3), "float32")}
    exec(block, names)
    assert names["outputs"]["pre_logits"].shape == (1, 2048)
    assert names["outputs"]["block1/unit01"].shape == (1, 16, 16, 256)
