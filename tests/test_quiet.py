"""Loading TensorFlow: its notes stay away, and Ctrl-C is heard at the end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bit_keras.quiet import quiet

LOADING = """
import os, signal, sys
from bit_keras.quiet import quiet
signal.signal(signal.SIGINT, signal.default_int_handler)
with quiet():
    os.write(2, b"a note")
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGINT)
    print("loaded", flush=True)
"""


@pytest.fixture
def usual_handler():
    """Python's own, which it does not install in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_end(usual_handler):
    loaded = []
    with pytest.raises(KeyboardInterrupt), quiet():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        loaded.append("tensorflow")
    assert loaded
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "times, code, printed",
    [(0, 0, "loaded\n"), (1, -2, "loaded\n"), (2, -2, "")],
)
def test_a_second_ctrl_c_is_heard_at_once(times, code, printed):
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(times)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert done.stdout == printed
    assert "a note" not in done.stderr
    assert ("Ctrl-C again: at once" in done.stderr) == bool(times)


def test_notes_are_printed_when_loading_fails(capfd):
    with pytest.raises(ImportError), quiet():
        os.write(2, b"why it failed")
        raise ImportError
    assert capfd.readouterr().err == "why it failed"


def test_others_handlers_and_threads_are_left_alone():
    heard = []
    usual = signal.signal(signal.SIGINT, lambda *_: heard.append("theirs"))
    try:
        with quiet():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            assert heard == ["theirs"]
    finally:
        signal.signal(signal.SIGINT, usual)


def test_other_threads_can_load_too():
    loaded = []

    def load():
        with quiet():
            loaded.append("tensorflow")

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert loaded


def test_the_first_warning_has_no_frills():
    script = (
        "import logging; from bit_keras.quiet import only_warnings; "
        "only_warnings(); logging.info('a note'); logging.warning('of this')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stderr == "WARNING: of this\n"
