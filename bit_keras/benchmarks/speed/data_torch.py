"""The same images by Pillow and PyTorch's DataLoader, as users of timm have it.

A child of `speed.data`, which never loads TensorFlow.  The steps are those of
torchvision's RandomResizedCrop, Resize, RandomCrop, RandomHorizontalFlip,
ToTensor and Normalize.
"""

import argparse
import functools
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bit_keras.benchmarks.speed.pipelines import WARM_UP, serve

_BILINEAR = Image.Resampling.BILINEAR
# As `data.preprocess`.
_AREA = (0.05, 1.0)
_ASPECT = (3 / 4, 4 / 3)


def inception_crop(image: Image.Image, side: int) -> Image.Image:
    """Cuts out a random part and resizes it, as RandomResizedCrop.

    Args:
        image: To cut from.
        side: In pixels.

    Example:

    >>> inception_crop(Image.new("RGB", (50, 40)), 8).size
    (8, 8)
    """
    width, height = image.size
    low, high = map(math.log, _ASPECT)
    for _ in range(10):
        area = width * height * random.uniform(*_AREA)
        aspect = math.exp(random.uniform(low, high))
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = random.randint(0, width - w)
            top = random.randint(0, height - h)
            image = image.crop((left, top, left + w, top + h))
            break
    return image.resize((side, side), _BILINEAR)


def hyperrule_crop(image: Image.Image, resize: int, crop: int) -> Image.Image:
    """Resizes to a square and cuts out a random one.

    >>> hyperrule_crop(Image.new("RGB", (50, 40)), 20, 16).size
    (16, 16)
    """
    image = image.resize((resize, resize), _BILINEAR)
    left = random.randint(0, resize - crop)
    top = random.randint(0, resize - crop)
    return image.crop((left, top, left + crop, top + crop))


class Jpegs(Dataset):
    """Files, read again from the first on when all have been read.

    Args:
        files: JPEGs.
        length: Examples.
        cut: From an image to a crop.

    Example:

    >>> len(Jpegs([], 3, lambda image: image))
    3
    """

    def __init__(
        self,
        files: Sequence[Path],
        length: int,
        cut: Callable[[Image.Image], Image.Image],
    ) -> None:
        self.files = files
        self.length = length
        self.cut = cut

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index % len(self.files)]) as file:
            image = self.cut(file.convert("RGB"))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        pixels = pixels.view(image.height, image.width, 3).permute(2, 0, 1)
        return pixels.contiguous().float().div(255).sub_(0.5).div_(0.5), 0


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the pipelines; see `pipelines.serve`.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    names = ("batch-size", "batches", "resize", "crop", "inception", "workers")
    for name in names:
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args(argv)
    files = sorted(args.folder.rglob("*.jpg"))
    # The workers begin together, each with a batch of its own; and there are
    # enough for them to be busy to the end.
    warm_up = max(WARM_UP, 2 * args.workers)
    batches = warm_up + args.batches + 4 * args.workers

    def pipeline(cut: Callable[[Image.Image], Image.Image]) -> DataLoader:
        return DataLoader(
            Jpegs(files, batches * args.batch_size, cut),
            batch_size=args.batch_size,
            shuffle=True,
            num_workers=args.workers,
        )

    cuts = {
        "Inception crops": functools.partial(
            inception_crop, side=args.inception
        ),
        "HyperRule crops": functools.partial(
            hyperrule_crop, resize=args.resize, crop=args.crop
        ),
    }
    made = {
        name: functools.partial(pipeline, cut) for name, cut in cuts.items()
    }
    return serve(made, args.batches, warm_up)


if __name__ == "__main__":
    sys.exit(main())
