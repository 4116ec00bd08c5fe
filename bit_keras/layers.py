"""The two layers BiT adds to Keras, for any backend."""

from bit_keras.group_norm import GroupNorm
from bit_keras.weight_standardization import StdConv2D, standardize

__all__ = ["GroupNorm", "StdConv2D", "standardize"]
