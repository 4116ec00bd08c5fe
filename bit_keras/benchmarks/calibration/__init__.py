"""How well a model's probabilities agree with how often it is right.

The one door to the metrics. They are loaded when first used: --help of the
command, whose modules lie here, too, does not need NumPy.
"""

import importlib
from typing import Any

# Public name -> module.
_PUBLIC = {
    "BINS": "bins",
    "BrierParts": "decomposition",
    "Calibration": "metrics",
    "Reliability": "bins",
    "adaptive_ece": "metrics",
    "brier": "metrics",
    "brier_parts": "decomposition",
    "ece": "metrics",
    "mce": "metrics",
    "measure": "metrics",
    "nll": "metrics",
    "reliability_curve": "metrics",
    "top_k_accuracy": "metrics",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    return getattr(module, name)
