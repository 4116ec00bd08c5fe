"""Memory of this process, in bytes, as the kernel counts it (Linux)."""

import gc
from pathlib import Path


def resident() -> int:
    """Returns what is in memory now.

    >>> 10**6 < resident() <= peak()
    True
    """
    return _status("VmRSS")


def reset() -> None:
    """Starts over: from now on `peak` tells of what comes.

    Example:

    >>> held = bytearray(b"x" * 10**8)
    >>> del held
    >>> before = peak()
    >>> reset()
    >>> before - peak() > 5 * 10**7
    True
    """
    gc.collect()
    # 5: the high-water mark becomes what is resident now (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Returns the most that was in memory since `reset`, or the start.

    Not `resource.getrusage`: there a process inherits what its parent had.
    """
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"The kernel does not tell {name} in /proc/self/status.")
