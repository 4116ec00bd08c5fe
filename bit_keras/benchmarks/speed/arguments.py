"""What the commands of `speed` ask for, and how it is read."""

import argparse
from collections.abc import Iterable, Sequence

from bit_keras.recipe import did_you_mean, parse_value


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Returns the parser of a command, with `--json`, which all have.

    Args:
        name: What is typed after `speed`.
        doc: What the command does.

    Example:

    >>> parser("data", "Loads.").parse_args(["--json", "out.json"]).json
    'out.json'
    """
    made = argparse.ArgumentParser(
        prog=f"python -m bit_keras.benchmarks speed {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--json", metavar="FILE", help="write all figures there, too"
    )
    return made


def add_network(
    parser: argparse.ArgumentParser, precisions: Sequence[str]
) -> None:
    """Adds the arguments that say which network works on what.

    Args:
        parser: Gets `model`, `resolution`, `batch_size` and `precision`.
        precisions: The legal ones; the first is the default.
    """
    add = parser.add_argument
    add("--model", default="bit_r50x1", help="default: %(default)s")
    add("--resolution", type=int, default=224, help="default: %(default)s")
    add("--batch-size", type=int, default=8, help="default: %(default)s")
    add("--precision", choices=precisions, default=precisions[0])


def words(option: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Parses words separated by commas, without repetitions.

    Args:
        option: Its name, for messages.
        text: As typed.
        known: The legal words.

    Raises:
        ValueError: For an unknown word, with the closest known one.

    Example:

    >>> words("--modes", "train", ["forward", "train"])
    ('train',)
    """
    found = tuple(dict.fromkeys(w.strip() for w in text.split(",") if w))
    for word in found:
        if word not in known:
            raise ValueError(
                f'{option}: there is no "{word}".{did_you_mean(word, known)} '
                f"Known: {', '.join(known)}."
            )
    if not found:
        raise ValueError(f"{option} is empty. Known: {', '.join(known)}.")
    return found


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Parses whole numbers from 1 on, separated by commas; sorted.

    Args:
        option: Its name, for messages.
        text: As typed.

    Raises:
        ValueError: For anything else.

    Example:

    >>> numbers("--batches", "8,1")
    (1, 8)
    """
    found = sorted(set(parse_value(option, tuple[int, ...], text)))
    at_least_1(option, *(found or [0]))
    return tuple(found)


def at_least_1(option: str, *values: int) -> None:
    """Raises a ValueError for a number below 1.

    Args:
        option: Its name, for the message.
        *values: The numbers.

    Example:

    >>> at_least_1("--repeats", 9)
    """
    if min(values) < 1:
        raise ValueError(f"{option} must be >= 1; got {min(values)}.")
