"""Progress in a terminal (a real pseudo-terminal) and elsewhere."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest

from bit_keras.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.99, "0s"),
        (59.9, "59s"),
        (60, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90_061, "25:01:01"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_plain_lines_outside_a_terminal():
    stream = io.StringIO()
    progress = Progress(10, stream=stream)
    progress.update(3, "loss 1.0")
    assert stream.getvalue() == ""
    progress.line("step 3/10", "", "lr 0.1", note="loss 1.0")
    progress.line("[bold]:smile: 100%[/bold]")
    progress.close()
    progress.line("done")
    assert stream.getvalue() == (
        "step 3/10  lr 0.1  loss 1.0\n[bold]:smile: 100%[/bold]\ndone\n"
    )


def test_standard_error_is_the_default(capsys):
    Progress(10).line("step 1/10")
    captured = capsys.readouterr()
    assert captured.err == "step 1/10\n"
    assert captured.out == ""


def test_eta_is_what_is_left_at_the_mean_speed(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(300, stream=io.StringIO())
    assert progress.eta(0) == "?"
    now[0] += 50
    assert progress.eta(100) == "1:40"
    now[0] += 250
    assert progress.eta(200) == "2:30"
    assert progress.eta(300) == "0s"


def test_eta_after_a_resume_counts_new_steps_only(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(1000, start=900, stream=io.StringIO())
    assert progress.eta(900) == "?"
    now[0] = 10.0
    # 50 steps in 10 s, not 950.
    assert progress.eta(950) == "10s"


class Terminal:
    """A pseudo-terminal that keeps what is written to it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.bytes = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.master, 4096)
            except OSError:  # EIO: the last writer has closed it.
                return
            if not part:
                return
            self.bytes += part

    def text(self) -> str:
        """Closes it; returns its text without colours and cursor moves."""
        os.close(self.slave)
        self.reader.join(timeout=10)
        os.close(self.master)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.bytes.decode())


def assert_shows_a_bar(text: str) -> None:
    assert "━" in text
    assert "2/10" in text
    assert "7/10" in text
    assert "loss 0.123" in text
    (line,) = (n for n in re.split(r"[\r\n]+", text) if "epoch" in n)
    # Brackets and colons are no markup here.
    assert line.rstrip() == "epoch 1 [bold] :smile:"


def test_bar_in_the_terminal_of_the_stream(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    with open(os.dup(terminal.slave), "w", encoding="utf-8") as stream:
        progress = Progress(10, start=2, stream=stream)
        progress.line("epoch 1 [bold] :smile:")
        progress.update(7, "loss 0.123")
        progress.close()
    assert_shows_a_bar(terminal.text())
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_bar_in_the_terminal_of_a_process():
    program = (
        "from bit_keras.progress import Progress; p = Progress(10, 2);"
        "p.line('epoch 1 [bold] :smile:'); p.update(7, 'loss 0.123');"
        "p.close()"
    )
    terminal = Terminal()
    done = subprocess.run(
        [sys.executable, "-c", program],
        stderr=terminal.slave,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout == b""
    assert_shows_a_bar(terminal.text())
