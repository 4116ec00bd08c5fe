"""Arguments that are lists, and numbers that must be at least 1."""

from collections.abc import Iterable

from bit_keras.recipe import did_you_mean, parse_value


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
