"""The command: python -m bit_keras.benchmarks NAME ...

Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 stopped by Ctrl-C and 143
by SIGTERM while fine-tuning, 141 if the reader of its output has gone.
"""

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from bit_keras.arguments import Parser
from bit_keras.environment import prepare_tensorflow
from bit_keras.messages import one_line
from bit_keras.quiet import only_warnings
from bit_keras.recipe import did_you_mean
from bit_keras.stops import Interrupted, NotFiniteError

# Name -> (module, one line).  A module has `add_arguments(parser)`, `run(args)`
# and, if the parser cannot see all that is wrong, `check(args)`, which raises.
_COMMANDS = {
    "fewshot": ("fewshot_command", "accuracy from a few images per class"),
    "vtab": ("vtab", "VTAB-1k: 19 tasks of 1000 training images"),
    "objectnet": ("objectnet.command", "top-1 and top-5 on ObjectNet"),
    "robustness": (
        "robustness.command",
        "what is left of the accuracy when images change",
    ),
    "calibration": (
        "calibration.command",
        "how honest a model's probabilities are",
    ),
    "duplicates": (
        "duplicates.command",
        "test images that the upstream images contain",
    ),
    "detection": (
        "detection.command",
        "a RetinaNet around a backbone: average precision",
    ),
    "saturation": (
        "saturation_command",
        "what downstream error becomes as upstream error goes to zero",
    ),
    "scaling": ("scaling_command", "error over examples seen, extrapolated"),
    "study": ("study.command", "plans, runs and reports a grid of trainings"),
    "tasks": ("tasks_command", "lists the tasks, and where their data are"),
    "results": ("results_command", "filters and averages measured rows"),
    "report": ("report", "draws measured rows as one HTML page"),
}
# Each with `main(argv)`.
_SPEED = {
    "model": "forward pass and train step beside timm, Hugging Face, ...",
    "data": "the input pipeline beside bare decoding and PIL",
    "memory": "which batch and resolution fit in how much memory",
    "growth": "time per image against batch, resolution and width",
    "startup": "seconds to --help and to the first training step",
    "profile": "where the time of a train step goes",
    "export": "what an export costs, and how fast it runs",
    "fewshot": "the linear probe against one decomposition per fit",
    "extraction": "feature extraction against the bare model",
    "duplicates": "near-duplicates among a million images",
    "saturation": "fits of the law, with intervals",
}


def usage() -> str:
    """Returns the text of --help.

    >>> usage().splitlines()[0]
    'usage: python -m bit_keras.benchmarks NAME [...]'
    """
    lines = ["usage: python -m bit_keras.benchmarks NAME [...]", ""]
    lines += [f"  {name:11} {text}" for name, (_, text) in _COMMANDS.items()]
    lines += [f"  {'speed':11} timings, as ratios measured in one run:"]
    lines += [f"    {name:11} {text}" for name, text in _SPEED.items()]
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
    only_warnings()
    prepare_tensorflow()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            try:
                return _main(argv)
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt:
        # Before there was anything to go on from.
        _say("Stopped.")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # As `| head` does. What is still to be flushed has nowhere to go.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        return 128 + signal.SIGPIPE


def _main(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "speed":
        return _speed(argv[1:])
    if argv[0] not in _COMMANDS:
        return _unknown("sub-command", argv[0], [*_COMMANDS, "speed"])
    name, text = _COMMANDS[argv[0]]
    module = importlib.import_module(f"bit_keras.benchmarks.{name}")
    parser = Parser(
        prog=f"python -m bit_keras.benchmarks {argv[0]}",
        description=f"{argv[0]}: {text}.",
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    if hasattr(module, "check"):
        try:
            module.check(args)
        except (ValueError, OSError) as error:
            _say(f"error: {one_line(error)}")
            return 2
    return _run(module, "run", args)


def _speed(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in _SPEED:
        return _unknown("speed", argv[0], [*_SPEED])
    module = importlib.import_module(f"bit_keras.benchmarks.speed.{argv[0]}")
    return _run(module, "main", argv[1:], stopped="Stopped; nothing is kept.")


def _run(
    module: ModuleType,
    function: str,
    args: Any,
    stopped: str = "Stopped. The same command goes on from here.",
) -> int:
    """Calls `module.function(args)`, with errors as one line."""
    try:
        return getattr(module, function)(args)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, NotFiniteError) as error:
        _say(f"error: {one_line(error)}")
        return 1
    except KeyboardInterrupt:
        _say(stopped)
        return 128 + signal.SIGINT
    except Interrupted as stop:
        _say(
            f"Stopped at step {stop.step}, saved. The same command goes on "
            "from here."
        )
        return 128 + stop.signum


def _unknown(kind: str, name: str, known: Sequence[str]) -> int:
    _say(
        f'error: {kind}: there is no "{name}".{did_you_mean(name, known)} '
        f"Known: {', '.join(known)}."
    )
    return 2


def _warn(message: Warning | str, *where: Any, **more: Any) -> None:
    """Shows a warning as a line for a user, not as one of the source."""
    _say(f"warning: {one_line(message)}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
