"""The command: python -m bit_keras.benchmarks NAME ...

Exit codes: 0 done, 1 failed, 2 wrong arguments.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from absl import logging

from bit_keras.arguments import Parser
from bit_keras.recipe import did_you_mean

# Name -> (module with `add_arguments(parser)` and `run(args)`, one line).
COMMANDS = {
    "fewshot": ("fewshot_command", "accuracy from a few images per class"),
    "vtab": ("vtab", "VTAB-1k: 19 tasks of 1000 training images"),
    "tasks": ("tasks_command", "lists the tasks, and where their data are"),
    "results": ("results_command", "filters and averages measured rows"),
    "report": ("report", "draws measured rows as one HTML page"),
}
# Each with `main(argv)`.
SPEED = {
    "export": "what an export costs, and how fast it runs",
    "fewshot": "the linear probe against one decomposition per fit",
    "extraction": "feature extraction against the bare model",
}


def usage() -> str:
    """Returns the text of --help.

    >>> usage().splitlines()[0]
    'usage: python -m bit_keras.benchmarks NAME [...]'
    """
    lines = ["usage: python -m bit_keras.benchmarks NAME [...]", ""]
    lines += [f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()]
    lines += [f"  {'speed':10} timings, as ratios measured in one run:"]
    lines += [f"    {name:10} {text}" for name, text in SPEED.items()]
    lines += ["", "NAME --help says more of each."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.

    Example:

    >>> main(["fewshots"])
    2
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Features come from TensorFlow, whatever backend the user works with.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "speed":
        return _speed(argv[1:])
    if argv[0] not in COMMANDS:
        return _unknown(argv[0], [*COMMANDS, "speed"])
    name, text = COMMANDS[argv[0]]
    module = importlib.import_module(f"bit_keras.benchmarks.{name}")
    parser = Parser(
        prog=f"python -m bit_keras.benchmarks {argv[0]}",
        description=f"{argv[0]}: {text}.",
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    try:
        return module.run(args)
    except (ValueError, OSError) as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("Stopped. The same command goes on from here.")
        return 130


def _speed(argv: Sequence[str]) -> int:
    if not argv or argv[0] not in SPEED:
        return _unknown(argv[0] if argv else "", [*SPEED], "speed ")
    module = importlib.import_module(f"bit_keras.benchmarks.speed.{argv[0]}")
    return module.main(argv[1:])


def _unknown(name: str, known: Sequence[str], before: str = "") -> int:
    _say(
        f'error: there is no "{before}{name}".{did_you_mean(name, known)} '
        f"Known: {', '.join(known)}."
    )
    return 2


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
