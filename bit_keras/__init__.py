"""BiT for TensorFlow/Keras: pre-train, transfer, export, and judge.

Importing this package imports neither Keras nor TensorFlow; the names below
are loaded when first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> (module, name there).
_PUBLIC = {
    "create_model": ("bit_keras.models", "create"),
    "endpoints": ("bit_keras.models", "endpoints"),
    "load_model": ("bit_keras.export.loading", "load_model"),
    "replace_head": ("bit_keras.models", "replace_head"),
    "load_checkpoint": ("bit_keras.checkpoints", "load"),
    "save_checkpoint": ("bit_keras.checkpoints", "save"),
    "GroupNorm": ("bit_keras.layers", "GroupNorm"),
    "StdConv2D": ("bit_keras.layers", "StdConv2D"),
    "SavedModelLayer": ("bit_keras.export.layer", "SavedModelLayer"),
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inner = _PUBLIC[name]
    value = getattr(importlib.import_module(module), inner)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
