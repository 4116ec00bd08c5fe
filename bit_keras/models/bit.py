"""The BiT network: ResNet-v2 with GroupNorm and standardized convolutions.

Kolesnikov et al., arXiv 1912.11370, section 3.3.  Every detail (padding,
epsilons, where the stride sits, what the shortcut sees) follows the official
code of google-research/big_transfer, so that its weights give its outputs.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras

from bit_keras.models.bottleneck import BottleneckUnit, convolution, norm_relu

# Channels of the first convolution of a unit, at width 1, stage by stage.
_STAGE_CHANNELS = (64, 128, 256, 512)


@keras.saving.register_keras_serializable("bit_keras")
class BiT(keras.Model):
    """A BiT network, from images in [-1, 1] to logits.

    An ordinary functional `keras.Model`, with two attributes more:
    `endpoint_tensors` (every named intermediate: `stem`, `block1/unit01`, ...,
    `block1`, ..., `pre_logits`, `logits`) and `pyramid_outputs` (`{"P2": ...}`,
    Pn of stride 2**n, the last one after the final norm so that every backbone
    weight gets a gradient).

    Args:
        blocks: Units of each stage, e.g. `(3, 4, 6, 3)` for ResNet-50.
        width: Multiplies all channels.
        num_classes: Outputs of the head; 0: no head, the model returns
            `pre_logits`.
        norm: "group", or "batch" for the ablation of section 4.3.
        standardize: Whether convolutions are weight-standardized.
        groups: Groups of "group" norm; 32 in all official networks.
        stem: "imagenet" (7x7 stride 2, max-pool stride 2) or "strided" (3x3
            stride 2 alone), for small images.
        head_bias: Initial bias of the head; its kernel starts at zero.
        remat: Recompute each unit in the backward pass to save memory; not
            with norm="batch".
        dtype: A Keras dtype policy name; None: the global one.  The head
            always computes in float32.
        name: Name of the model.

    Call arguments:
        inputs: `(batch, height, width, 3)` in [-1, 1], any size.

    Returns:
        Logits `(batch, num_classes)`, or features `(batch, features)`.

    Example:

    >>> import numpy as np
    >>> model = BiT(blocks=(1, 1, 1, 1), num_classes=10)
    >>> model(np.zeros((2, 32, 32, 3))).shape
    TensorShape([2, 10])
    >>> sorted(model.pyramid_outputs)
    ['P2', 'P3', 'P4', 'P5']

    Reference:
        Big Transfer, https://arxiv.org/abs/1912.11370, section 3.3.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: float = 1,
        num_classes: int = 1000,
        norm: Literal["group", "batch"] = "group",
        standardize: bool = True,
        groups: int = 32,
        stem: Literal["imagenet", "strided"] = "imagenet",
        head_bias: float = 0.0,
        remat: bool = False,
        dtype: str | None = None,
        name: str = "bit",
    ) -> None:
        if not 1 <= len(blocks) <= len(_STAGE_CHANNELS) or min(blocks) < 1:
            raise ValueError(
                "blocks must be 1 to 4 stages of at least one unit each; got "
                f"{tuple(blocks)}."
            )
        if num_classes < 0:
            raise ValueError(f"num_classes must be >= 0; got {num_classes}.")
        dtype = dtype or keras.config.dtype_policy().name
        inputs = keras.Input((None, None, 3), name="images")
        x, stride = _stem(inputs, stem, int(64 * width), standardize, dtype)
        ends, pyramid = {"stem": x}, {}
        for stage, units in enumerate(blocks, start=1):
            channels = int(_STAGE_CHANNELS[stage - 1] * width)
            for unit in range(1, units + 1):
                down = 2 if stage > 1 and unit == 1 else 1
                stride *= down
                x = BottleneckUnit(
                    channels,
                    down,
                    norm,
                    standardize,
                    groups,
                    remat,
                    name=f"block{stage}_unit{unit:02d}",
                    dtype=dtype,
                )(x)
                ends[f"block{stage}/unit{unit:02d}"] = x
            ends[f"block{stage}"] = x
            pyramid[f"P{int(math.log2(stride))}"] = x
        x = norm_relu(norm, groups, "", dtype)(x)
        pyramid[f"P{int(math.log2(stride))}"] = x
        x = keras.layers.GlobalAveragePooling2D(
            name="pre_logits", dtype="float32"
        )(x)
        ends["pre_logits"] = x
        if num_classes:
            x = ends["logits"] = keras.layers.Dense(
                num_classes,
                kernel_initializer="zeros",
                bias_initializer=keras.initializers.Constant(head_bias),
                name="head",
                dtype="float32",
            )(x)
        super().__init__(inputs, x, name=name)
        self.endpoint_tensors = ends
        self.pyramid_outputs = pyramid
        self.num_classes = num_classes
        self._config = {
            "blocks": list(blocks),
            "width": width,
            "num_classes": num_classes,
            "norm": norm,
            "standardize": standardize,
            "groups": groups,
            "stem": stem,
            "head_bias": head_bias,
            "remat": remat,
            "dtype": dtype,
            "name": name,
        }

    def get_config(self) -> dict:
        return dict(self._config)

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> "BiT":
        return cls(**config)


def _stem(
    inputs: Any, stem: str, filters: int, standardize: bool, dtype: str
) -> tuple[Any, int]:
    """Returns the root block's output and its stride in pixels."""

    def pad(pixels: int, name: str) -> keras.layers.Layer:
        return keras.layers.ZeroPadding2D(pixels, name=name, dtype=dtype)

    name = "root_block_standardized_conv2d"
    if stem == "strided":
        x = pad(1, "root_block_pad")(inputs)
        conv = convolution(filters, 3, 2, standardize, name, dtype)
        return conv(x), 2
    if stem != "imagenet":
        raise ValueError(f'stem must be "imagenet" or "strided"; got {stem!r}.')
    x = pad(3, "root_block_pad")(inputs)
    x = convolution(filters, 7, 2, standardize, name, dtype)(x)
    # Zeros, not -inf: pool inputs can be negative (no norm or ReLU here).
    x = pad(1, "root_block_pool_pad")(x)
    pool = keras.layers.MaxPooling2D(
        3, 2, "valid", name="root_block_pool", dtype=dtype
    )
    return pool(x), 4
