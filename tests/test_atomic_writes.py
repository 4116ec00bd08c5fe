"""Files that are whole, whatever happens while they are written."""

import errno
import os
from pathlib import Path

import pytest

from bit_keras.atomic_writes import write_atomic


def test_the_new_text_replaces_the_old(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "ä 1\n")
    write_atomic(path, "2\n")
    assert path.read_text() == "2\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_interruption_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def killed(source, target):
        # All of the new text is there before the old one goes.
        assert Path(source).read_text() == "new"
        assert os.path.dirname(source) == os.path.dirname(target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    write_atomic(path, "new")
    assert path.read_text() == "new"


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    # Where a full disk may show: os.fsync comes after all was written.
    for place in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, place, full)
            with pytest.raises(OSError) as caught:
                write_atomic(path, "new")
        message = str(caught.value)
        assert message.startswith(f"Cannot write {path}: No space left on dev")
        assert "make room" in message and "\n" not in message
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
