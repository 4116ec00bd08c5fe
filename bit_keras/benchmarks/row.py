"""One row of results: one number, and all that says what it means."""

import dataclasses
import hashlib
import json
import math
import numbers
import types
import typing
from datetime import UTC, datetime
from typing import Any

from bit_keras import __version__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One number, and all that is needed to know what it means.

    NumPy scalars are accepted wherever a number is.

    Raises:
        ValueError: For a field of another type, a number that is not finite,
            or details that are not JSON.

    Example:

    >>> row = Row(benchmark="fewshot", model="bit_tiny/1", model_sha256="ab",
    ...           upstream=None, task="dtd", group=None, protocol="big_vision",
    ...           preprocessing="resize 256, crop 224", metric="accuracy",
    ...           value=0.5, stderr=0.01, n=2500, shots=5, seed=0,
    ...           config_hash=config_hash({"l2": 1024}))
    >>> row.value, row.endpoint
    (0.5, 'pre_logits')
    """

    benchmark: str
    # As shown: "bit_tiny/1".
    model: str
    model_sha256: str
    # What the model was pre-trained on.
    upstream: str | None
    task: str
    # Of the task: "natural", "specialized", "structured", ...
    group: str | None
    # How it was measured: "big_vision", "hyperrule", ...
    protocol: str
    # As text: "resize 256, crop 224".
    preprocessing: str
    metric: str
    value: float
    # Of the test set, sqrt(p (1 - p) / n); None: unknown.
    stderr: float | None
    # Test examples.
    n: int
    endpoint: str = "pre_logits"
    # Training examples per class; None: all.
    shots: int | None = None
    seed: int | None = None
    # Anything else worth knowing, as JSON: {"l2": 1024.0}.
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    code_version: str = __version__
    # Of everything that decides the number.
    config_hash: str
    # UTC, ISO 8601.
    time: str = dataclasses.field(default_factory=_now)

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            value = _checked(name, kind, getattr(self, name))
            object.__setattr__(self, name, value)
        smallest = {"n": 1, "shots": 1, "seed": 0, "stderr": 0}
        for name, least in smallest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be >= {least}; got {value}.")
        try:
            datetime.fromisoformat(self.time)
        except ValueError:
            raise ValueError(
                "time must be ISO 8601, such as 2026-01-31T12:00:00+00:00; "
                f'got "{self.time}".'
            ) from None


# Field -> type.
KINDS = typing.get_type_hints(Row)


def _checked(name: str, kind: Any, value: Any) -> Any:
    """Returns `value` as plain Python, or raises if it is of another type."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(k for k in kind.__args__ if k is not types.NoneType)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if kind is int and isinstance(value, numbers.Integral):
            return int(value)
        if kind is float:
            if math.isfinite(value):
                return float(value)
            hint = "None if unknown" if name == "stderr" else "then no row"
            raise ValueError(f"{name} must be finite ({hint}); got {value}.")
    if kind is str and isinstance(value, str) and value:
        return _text(name, value)
    if typing.get_origin(kind) is dict and isinstance(value, dict):
        return _plain(name, value)
    expected = {str: "a text that is not empty", int: "a whole number"}
    what = expected.get(kind, "a number" if kind is float else "a dict")
    raise ValueError(f"{name} must be {what}; got {value!r}.")


def _text(name: str, value: str) -> str:
    """Refuses half a character, which JSON can hold and no file of text."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is no text: {error}.") from None
    return str(value)


def _plain(name: str, value: Any) -> Any:
    """Returns `value` made of JSON types; equal numbers come out equal."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{name} has a key {key!r}; use text.")
            _text(f"a key of {name}", key)
        return {k: _plain(f"{name}.{k}", v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, str):
        return _text(name, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    raise ValueError(
        f"{name} is {value!r}; use text, finite numbers, true, false, None, "
        "lists or dicts."
    )


def config_hash(config: dict[str, Any]) -> str:
    """Returns a short fingerprint of a configuration.

    The order of keys does not matter, nor does 1024 or 1024.0.

    Args:
        config: Everything that decides a number, as JSON values.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: For a value that is not JSON.

    Example:

    >>> config_hash({"a": 1, "b": (2,)}) == config_hash({"b": [2.0], "a": 1})
    True
    """

    def canonical(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: canonical(v) for k, v in value.items()}
        if isinstance(value, list):
            return [canonical(v) for v in value]
        whole = isinstance(value, float) and value.is_integer()
        return int(value) if whole else value

    plain = canonical(_plain("config", config))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
