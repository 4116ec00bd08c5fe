import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bit_keras
from bit_keras import __main__

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("recipes", "export", "benchmarks")


@pytest.mark.parametrize("name", LINKS)
def test_top_level_folder_is_a_relative_link(name):
    link = ROOT / name
    if not link.is_symlink() and link.is_file():
        pytest.skip("this checkout keeps symbolic links as text files")
    assert link.is_symlink()
    assert link.readlink() == Path("bit_keras") / name
    # Git keeps no empty folders: a link must point to something in the tree.
    assert (link / "__init__.py").is_file()


def test_pyproject_names_the_build_system_and_nothing_else():
    text = (ROOT / "pyproject.toml").read_text()
    assert len(text.splitlines()) == 3
    assert list(tomllib.loads(text)) == ["build-system"]


def test_the_package_tells_its_commands(capfd):
    assert __main__.main([]) == 0
    told = re.findall("^python -m ([a-z_.]+)  ", capfd.readouterr().out, re.M)
    assert "bit_keras.train" in told
    for module in told:
        # A module, or a package that can be run.
        package = (ROOT / module.replace(".", "/")).is_dir()
        assert find_spec(module + ".__main__" * package)
    assert __main__.main(["train"]) == 2


def test_one_version_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)[1]
    cited = re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1]
    assert newest == bit_keras.__version__
    assert cited == bit_keras.__version__


def missing_build_requirements():
    """What pyproject.toml needs that this environment does not have."""
    text = (ROOT / "pyproject.toml").read_text()
    missing = []
    for line in tomllib.loads(text)["build-system"]["requires"]:
        requirement = Requirement(line)
        if not requirement.specifier.contains(
            metadata.version(requirement.name)
        ):
            missing.append(line)
    return missing


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel's file names, built from a copy so that no build/ is left."""
    if missing := missing_build_requirements():
        pytest.skip(f"needs pip install {' '.join(map(repr, missing))}")
    tree = tmp_path_factory.mktemp("tree")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bit_keras", tree / "bit_keras", ignore=skip)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in LINKS:
        (tree / name).symlink_to(Path("bit_keras") / name)
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        + ["--outdir", str(out), str(tree)],
        check=True,
        capture_output=True,
        text=True,
    )
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_wheel_holds_bit_keras_and_nothing_else(wheel):
    info = f"bit_keras-{bit_keras.__version__}.dist-info"
    assert {name.split("/")[0] for name in wheel} == {"bit_keras", info}
    for name in ("py.typed", "recipe.py", "recipes/README.md"):
        assert f"bit_keras/{name}" in wheel
    assert any(name.startswith(info) and "LICENSE" in name for name in wheel)


@pytest.mark.slow
def test_wheel_holds_every_module(wheel):
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "bit_keras").rglob("*.py")
    }
    assert modules <= set(wheel)
