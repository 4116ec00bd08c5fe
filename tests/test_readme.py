"""What the documents tell people to type, works."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bit_keras import demo, models, recipes, train
from bit_keras.benchmarks import __main__ as benchmarks_command
from bit_keras.export import __main__ as export_command
from bit_keras.export import saved_model
from bit_keras.export.options import check_source

ROOT = Path(__file__).resolve().parents[1]


def texts():
    """Yields (name, text) of everything that shows commands."""
    for name in ("README.md", "CONTRIBUTING.md", "bit_keras/recipes/README.md"):
        yield name, (ROOT / name).read_text(encoding="utf-8")
    for name in recipes.names():
        yield f"recipes/{name}", recipes.load(name).__doc__


def commands(module):
    for name, text in texts():
        text = text.replace("\\\n", " ")
        pattern = rf"python -m {re.escape(module)} ([^\n`|]*)"
        for found in re.findall(pattern, text):
            yield pytest.param(found.split("#")[0], id=f"{name}: {found[:50]}")


@pytest.mark.parametrize("command", commands("bit_keras.train"))
def test_commands_are_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/m").mkdir(parents=True)
    command = command.replace("--recipe NAME", "--recipe bit_m")
    args = train.parser().parse_args(shlex.split(command))
    _, recipe = train.build_recipe(args)
    assert recipe.data.dataset


@pytest.mark.parametrize("command", commands("bit_keras.export"))
def test_export_commands_are_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/digits").mkdir(parents=True)
    first, *rest = shlex.split(command)
    if first == "install-cache":
        assert export_command.install_parser().parse_args(rest).export
        return
    args = export_command.parser().parse_args([first, *rest])
    if not args.verify:
        check_source(args.source, args.init)
        assert args.out


@pytest.mark.parametrize("command", commands("bit_keras.benchmarks"))
def test_benchmark_commands_are_understood(command, capsys):
    name, *rest = shlex.split(command)
    if name == "speed":
        assert rest[0] in benchmarks_command._SPEED
        return
    module, _ = benchmarks_command._COMMANDS[name]
    parser = argparse.ArgumentParser()
    importlib.import_module(f"bit_keras.benchmarks.{module}").add_arguments(
        parser
    )
    parser.parse_args(rest)


@pytest.mark.parametrize("command", demo.commands(Path("runs/demo")))
def test_the_demo_is_made_of_public_commands(command):
    assert command[0] == "-m"
    parsers = {
        "bit_keras.train": train.parser,
        "bit_keras.export": export_command.parser,
    }
    if command[1] in parsers:
        parsers[command[1]]().parse_args(command[2:])
    else:
        assert command[1] == "bit_keras.benchmarks"
        assert command[2] in benchmarks_command._COMMANDS


def test_there_are_commands_to_check():
    assert len(list(commands("bit_keras.train"))) >= 10
    assert len(list(commands("bit_keras.export"))) >= 4


def test_the_table_of_recipes_is_complete():
    table = (ROOT / "bit_keras/recipes/README.md").read_text(encoding="utf-8")
    for name in recipes.names():
        assert f"| `{name}` |" in table


def test_readme_names_every_model():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in models.names():
        assert f"`{name}`" in text


@pytest.mark.slow
def test_the_python_examples_run(tmp_path, monkeypatch, make_checkpoint):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    layer, network = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    saved_model.write(models.create("bit_tiny", 10), "exports/bit_tiny/1")
    names = {}
    exec(layer, names)
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    names["model"].fit(images, np.array([0, 1]), verbose=0)

    weights = make_checkpoint.make_bit(50, 1, 21843, seed=1)
    np.savez("BiT-M-R50x1.npz", **weights)
    names = {"images": np.zeros((1, 64, 64, 3), "float32")}
    exec(network, names)
    assert names["outputs"]["pre_logits"].shape == (1, 2048)
    assert names["outputs"]["block1/unit01"].shape == (1, 16, 16, 256)
