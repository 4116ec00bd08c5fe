"""Fixtures for the whole suite."""

import contextlib
import gc
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

# As the commands have it; see bit_keras/environment.py.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# TensorFlow and Triton, which comes with PyTorch for GPUs, abort in one
# process.  PyTorch does without.
sys.modules["triton"] = None

# Files of a minute and more, which at the end would keep one process busy and
# the others waiting.
LONGEST = (
    "test_resume.py",
    "test_train.py",
    "test_families_export.py",
    "test_bootstrap.py",
    "test_exporter.py",
    "test_duplicates.py",
    "test_exclusions.py",
    "test_vtab.py",
    "test_consumers_run.py",
    "test_backends.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the longest files first."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(autouse=True, scope="module")
def frozen() -> None:
    """Spares the garbage collector what earlier files have left.

    TensorFlow keeps a million objects for as long as the process lives; to go
    through them after each training took a quarter of the suite's time.  Here
    and not at the end of a file, when its fixtures are still alive: what is
    frozen is never collected.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and sample data beside the checkout."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("needs the folder shared/ beside the checkout")
    return path


@pytest.fixture(scope="session")
def make_checkpoint(shared: Path) -> ModuleType:
    """The module that makes the weights and inputs of the parity fixtures."""
    path = shared / "fixtures" / "make_checkpoint.py"
    spec = importlib.util.spec_from_file_location("make_checkpoint", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class SmallDisk:
    """A file system of its own, to be filled to the last byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leaves no room."""
        with open(self._ballast, "ab", buffering=0) as file:
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(4096))

    def free(self) -> None:
        """Makes room again."""
        self._ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of 8 MiB."""
    path = tmp_path / "small disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"may not mount a file system: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="session")
def unverified() -> Callable[[], contextlib.AbstractContextManager]:
    """Spares exports the fresh process, where it is not what is tested."""
    from bit_keras.export import verification

    same = verification.Difference("call", 0.0, 0.0)

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verification, "reloaded", lambda *args: same)
            yield

    return patched


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Finds ports of this machine that nobody listens on."""

    def find(count: int) -> list[int]:
        sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
        ports = [opened.getsockname()[1] for opened in sockets]
        for opened in sockets:
            opened.close()
        return ports

    return find
