"""Coverage-guided fuzzing of the formats that Python code reads, by atheris.

    pip install atheris
    python tests/campaign/fuzz.py archive -max_total_time=60

Targets: archive (.tar), npz, images (CSV), tasks and results (JSON).  What
follows is libFuzzer's.  Stops at the first input that does not end well, and
keeps it.
"""

import io
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["bit_keras", "csv", "json", "numpy.lib", "tarfile", "zipfile"]
):
    import numpy as np

    from bit_keras import csv_files
    from bit_keras.benchmarks import results, tasks_file
    from bit_keras.checkpoint_files import open_arrays, reading
    from bit_keras.export import archive

import contextlib

from judge import Case, judge

_TASKS = b'[{"name":"a","dataset":"x","train":"train[:9%]","test":"test"}]'
_ROW = (
    b'{"benchmark":"b","model":"m","model_sha256":"0","upstream":null,"task":'
    b'"t","group":null,"protocol":"p","preprocessing":"n","metric":"a","value":'
    b'0.5,"stderr":null,"n":1,"config_hash":"0","details":{"l2":1}}\n'
)


def _read_npz(path: Path) -> None:
    with contextlib.ExitStack() as stack, reading(path):
        for array in open_arrays(path, stack).values():
            # As `checkpoints.load`, which knows the shapes that it wants.
            if array.shape == (3, 4):
                array.read()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"a/kernel": np.ones((3, 4), "f4"), "b": np.ones(2)})
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("saved_model.pb"))
        made.addfile(tarfile.TarInfo("variables/variables.index"))
    return file.getvalue()


# Target -> (what reads a file, its name, a good one).
TARGETS: dict[str, tuple[Callable[[Path], object], str, bytes]] = {
    "archive": (
        lambda path: archive.unpack(path, path.parents[1] / "out"),
        "case.tar",
        _tar(),
    ),
    "npz": (_read_npz, "case.npz", _npz()),
    "images": (csv_files.read, "case.csv", b'path,label\na.png,"b"\n'),
    "tasks": (tasks_file.from_json, "case.json", _TASKS),
    "results": (
        lambda path: results.ResultsFile(path).rows(),
        "results.jsonl",
        _ROW,
    ),
}


def main() -> None:
    """Fuzzes the target that the command line names."""
    read, name, good = TARGETS[sys.argv.pop(1)]

    def attempt(case: Case, path: Path) -> str:
        read(path)
        return "accepted"

    def one(data: bytes) -> None:
        outcome = judge(attempt, Case("fuzz", name, data))
        assert outcome.verdict != "failed", outcome.message

    one(good)
    corpus = Path(f"corpus-{name}")
    corpus.mkdir(exist_ok=True)
    (corpus / "good").write_bytes(good)
    # Two modes of tar and zip are long runs of zeros.
    atheris.Setup([*sys.argv, "-max_len=20000", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
