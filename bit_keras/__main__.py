"""python -m bit_keras: tells the commands there are."""

import sys
from collections.abc import Sequence

_COMMANDS = {
    "train": "pre-train or transfer an image backbone by a recipe",
    "export": "write a finished run, or official weights, as a SavedModel",
    "benchmarks": "judge exports: few-shot, VTAB, ObjectNet, saturation, ...",
    "demo": "pre-train, transfer and judge a tiny BiT without a download",
}


def main(argv: Sequence[str]) -> int:
    """Prints the commands, and returns an exit code.

    Args:
        argv: Arguments; none is legal but --help.

    Example: `python -m bit_keras`.
    """
    for name, what in _COMMANDS.items():
        print(f"python -m bit_keras.{name:10}  {what}")
    print("Each tells more with --help.")
    return 0 if list(argv) in ([], ["-h"], ["--help"]) else 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
