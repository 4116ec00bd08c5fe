"""Memory of this process, in bytes, as the kernel counts it (Linux)."""

from pathlib import Path


def resident() -> int:
    """Returns what is in memory now.

    >>> 10**6 < resident() <= peak()
    True
    """
    return _status("VmRSS")


def peak() -> int:
    """Returns the most that ever was in memory.

    Not `resource.getrusage`: there a process inherits what its parent had.
    """
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"The kernel does not tell {name} in /proc/self/status.")
