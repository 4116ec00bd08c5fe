"""The command: python -m bit_keras.benchmarks.study DIR

Measures all kept checkpoints of one trained job; `study run` calls it.
Exit codes: 0 done, 1 failed, 2 wrong arguments.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bit_keras.environment import prepare_tensorflow
from bit_keras.quiet import quiet


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.

    Example:

    >>> main([])
    2
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if len(argv) != 1 or not (Path(argv[0]) / "recipe.json").is_file():
        _say("error: give the folder of a job, such as OUT/jobs/NAME.")
        return 2
    prepare_tensorflow()
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.study.measure import measure

        tf.get_logger().setLevel("ERROR")
    try:
        failures = measure(Path(argv[0]).resolve(), _say)
    except (ValueError, OSError) as error:
        failures = [str(error)]
    for failure in failures:
        _say(f"error: {failure}")
    return 1 if failures else 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
