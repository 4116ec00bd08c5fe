"""The shapes in a BiT network, from its name: no TensorFlow, no Keras."""

import dataclasses
import math
from collections.abc import Iterator

from bit_keras import models

# Channels of a unit's first convolution at width 1, stage by stage: arXiv
# 1912.11370, section 3.3, as `models.bit`.
_STAGE_CHANNELS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution of square images, without bias.

    `pixels` is the side of its input, `kernel` that of its kernel; `padding`
    pixels are added on each side.

    Example:

    >>> stem = Convolution("stem", 7, 3, 64, pixels=224, stride=2, padding=3)
    >>> stem.output_pixels, stem.macs
    (112, 118013952)
    """

    name: str
    kernel: int
    in_channels: int
    out_channels: int
    pixels: int
    stride: int = 1
    padding: int = 0

    @property
    def output_pixels(self) -> int:
        """Side of the output, in pixels."""
        return (self.pixels + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def weights(self) -> int:
        """Parameters of the kernel."""
        return self.kernel**2 * self.in_channels * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return self.weights * self.output_pixels**2


@dataclasses.dataclass(frozen=True)
class Unit:
    """A bottleneck unit: 1x1, 3x3, 1x1, and perhaps a projection shortcut."""

    a: Convolution
    b: Convolution
    c: Convolution
    projection: Convolution | None

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All of the unit's."""
        projection = (self.projection,) if self.projection else ()
        return (self.a, self.b, self.c, *projection)


@dataclasses.dataclass(frozen=True)
class Shapes:
    """A network for images of one size.

    Example:

    >>> shapes = bit_shapes("bit_r50x1", 224)
    >>> shapes.parameters(1000)
    25549352
    >>> round(shapes.forward_flops(1000) / 1e9, 2)
    8.18
    """

    stem: Convolution
    # Side of what the first unit sees: after the pooling, if there is one.
    stem_pixels: int
    units: tuple[Unit, ...]

    @property
    def features(self) -> int:
        """Channels of the last unit."""
        return self.units[-1].c.out_channels

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All of them, in the order of the network."""
        units = (c for unit in self.units for c in unit.convolutions)
        return (self.stem, *units)

    def forward_flops(self, num_classes: int) -> int:
        """Returns floating-point operations of one image, forward.

        Of convolutions and head alone, as is usual: two for a multiply-add.

        Args:
            num_classes: Outputs of the head.
        """
        macs = sum(convolution.macs for convolution in self.convolutions)
        return 2 * (macs + self.features * num_classes)

    def parameters(self, num_classes: int) -> int:
        """Returns how many numbers are trained.

        Args:
            num_classes: Outputs of the head.
        """
        kernels = sum(c.weights for c in self.convolutions)
        # A scale and an offset for what each of a unit's convolutions but the
        # projection reads, and for what the head reads.
        norms = 2 * self.features + sum(
            2 * convolution.in_channels
            for unit in self.units
            for convolution in (unit.a, unit.b, unit.c)
        )
        return kernels + norms + (self.features + 1) * num_classes


def bit_shapes(model: str, resolution: int) -> Shapes:
    """Returns the shapes of a registered BiT network.

    Args:
        model: A BiT's name.
        resolution: Side of the images, in pixels.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> len(bit_shapes("bit_r50x1", 224).convolutions)  # and the head: 54
    53
    """
    models.check_name(model)
    if model not in models.names(models.BIT):
        raise ValueError(
            f"--model must be a BiT network, which {model} is not. Known: "
            f"{', '.join(models.names(models.BIT))}."
        )
    if resolution < 1:
        raise ValueError(f"--resolution must be >= 1 pixel; got {resolution}.")
    of = {"width": 1, "stem": "imagenet", **models.arguments(model)}
    filters = int(64 * of["width"])
    if of["stem"] == "imagenet":
        stem = Convolution("stem", 7, 3, filters, resolution, 2, 3)
        # Max-pooling: 3x3, stride 2, one pixel of padding.
        pixels = (stem.output_pixels + 2 - 3) // 2 + 1
    else:
        stem = Convolution("stem", 3, 3, filters, resolution, 2, 1)
        pixels = stem.output_pixels
    units = tuple(_units(of["blocks"], of["width"], filters, pixels))
    return Shapes(stem, pixels, units)


def _units(
    blocks: tuple[int, ...], width: float, channels: int, pixels: int
) -> Iterator[Unit]:
    for stage, units in enumerate(blocks, start=1):
        inner = int(_STAGE_CHANNELS[stage - 1] * width)
        for number in range(1, units + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            name = f"block{stage}/unit{number:02d}/"
            after = math.ceil(pixels / stride)
            projection = None
            if stride > 1 or channels != 4 * inner:
                projection = Convolution(
                    f"{name}projection", 1, channels, 4 * inner, pixels, stride
                )
            yield Unit(
                Convolution(f"{name}a", 1, channels, inner, pixels),
                Convolution(f"{name}b", 3, inner, inner, pixels, stride, 1),
                Convolution(f"{name}c", 1, inner, 4 * inner, after),
                projection,
            )
            channels, pixels = 4 * inner, after
