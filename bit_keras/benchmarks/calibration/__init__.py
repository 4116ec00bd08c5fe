"""How well a model's probabilities agree with how often it is right."""

from bit_keras.benchmarks.calibration.bins import BINS, Reliability
from bit_keras.benchmarks.calibration.decomposition import (
    BrierParts,
    brier_parts,
)
from bit_keras.benchmarks.calibration.metrics import (
    Calibration,
    adaptive_ece,
    brier,
    ece,
    mce,
    measure,
    nll,
    reliability_curve,
    top_k_accuracy,
)

# The one door to the metrics.
__all__ = [
    "BINS",
    "BrierParts",
    "Calibration",
    "Reliability",
    "adaptive_ece",
    "brier",
    "brier_parts",
    "ece",
    "mce",
    "measure",
    "nll",
    "reliability_curve",
    "top_k_accuracy",
]
