"""Values of typed fields: parsed from text, and checked when from a file."""

import difflib
import math
import sys
import types
import typing
from typing import Any, Literal


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """Returns ' Did you mean "x"?' for the closest known word, or ''.

    >>> did_you_mean("bitm", ["bit_m", "transfer"])
    ' Did you mean "bit_m"?'
    >>> did_you_mean("--modle", ["--mode", "--model"])
    ' Did you mean "--model"?'
    """
    # Dashes in front are no likeness.
    bare = {other.lstrip("-"): other for other in known}
    mine = word.lstrip("-")
    close = difflib.get_close_matches(mine, bare, n=3, cutoff=0.5)
    # Two letters swapped are a likelier slip than one left out.
    close.sort(key=lambda other: sorted(other) != sorted(mine))
    return f' Did you mean "{bare[close[0]]}"?' if close else ""


def parse_value(path: str, hint: Any, text: str) -> Any:
    """Parses `text` as the type `hint`, or raises a ValueError naming `path`.

    >>> parse_value("run.xla", bool, "true")
    True
    """
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if text.lower() == "none":
            return None
        (hint,) = (h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is Literal:
        legal = typing.get_args(hint)
        if text not in legal:
            raise ValueError(
                f"{path} must be one of {', '.join(legal)}; got "
                f'"{text}".{did_you_mean(text, legal)}'
            )
        return text
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        words = [w for w in text.strip("()[]").split(",") if w.strip()]
        return tuple(parse_value(path, inner, w.strip()) for w in words)
    if hint is bool:
        return parse_bool(path, text)
    try:
        value = hint(text)
    except ValueError:
        raise ValueError(
            f'{path} must be of type {hint.__name__}; got "{text}".'
        ) from None
    if hint is float and not math.isfinite(value):
        raise ValueError(f'{path} must be a finite number; got "{text}".')
    return value


def parse_bool(path: str, text: str) -> bool:
    """Parses true/false (also 1/0, yes/no).

    >>> parse_bool("run.xla", "no")
    False
    """
    words = {"true": True, "1": True, "yes": True}
    words |= {"false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise ValueError(f'{path} must be true or false; got "{text}".')
    return words[text.lower()]


def check_value(path: str, hint: Any, value: Any) -> None:
    """Raises a ValueError for a value that no field of this type has.

    Args:
        path: Of the field, for the message.
        hint: Its type: a class, a union, `Literal[...]` or `tuple[kind, ...]`.
        value: Plain Python, as from JSON but for tuples.

    Example:

    >>> check_value("run.seed", int, "1")
    Traceback (most recent call last):
    ValueError: run.seed must be int; it is '1'.
    """
    if not _fits(hint, value):
        kind = getattr(hint, "__name__", str(hint).replace("typing.", ""))
        raise ValueError(f"{path} must be {kind}; it is {value!r:.80}.")


def _fits(hint: Any, value: Any) -> bool:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(_fits(option, value) for option in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(inner, v) for v in value)
    if hint is float:
        number = type(value) in (int, float)
        return number and abs(value) <= sys.float_info.max
    return type(value) is hint
