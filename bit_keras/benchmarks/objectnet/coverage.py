"""Whether all images of ObjectNet are there, class by class."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from bit_keras.benchmarks.objectnet.maps import CLASSES
from bit_keras.checkpoint_report import first_names

# Images of each of the 113 classes, as counted in A. Borji, "ObjectNet
# Dataset: Reanalysis and Correction", arXiv 2004.02042 (code/SummaryFull.txt
# of aliborji/ObjectNetReanalysis).  Sum and range are those of the answers
# released with ObjectNet: 18574 images, 55 to 284 per class.
# fmt: off
PUBLISHED = {
    "Alarm clock": 144, "Backpack": 235, "Banana": 235, "Band Aid": 244,
    "Basket": 181, "Bath towel": 149, "Beer bottle": 219, "Bench": 132,
    "Bicycle": 147, "Binder (closed)": 183, "Bottle cap": 248,
    "Bread loaf": 221, "Broom": 232, "Bucket": 265, "Butcher's knife": 195,
    "Can opener": 204, "Candle": 233, "Cellphone": 231, "Chair": 220,
    "Clothes hamper": 163, "Coffee/French press": 107, "Combination lock": 144,
    "Computer mouse": 224, "Desk lamp": 200, "Dishrag or hand towel": 178,
    "Doormat": 168, "Dress": 113, "Dress shoe (men)": 168, "Drill": 150,
    "Drinking Cup": 159, "Drying rack for plates": 55, "Envelope": 284,
    "Fan": 185, "Frying pan": 189, "Hair dryer": 175, "Hammer": 144,
    "Helmet": 142, "Iron (for clothes)": 173, "Jeans": 172, "Keyboard": 163,
    "Ladle": 154, "Lampshade": 123, "Laptop (open)": 153, "Lemon": 148,
    "Letter opener": 68, "Lighter": 169, "Lipstick": 158, "Match": 111,
    "Measuring cup": 155, "Microwave": 121, "Mixing / Salad Bowl": 159,
    "Monitor": 114, "Mug": 218, "Nail (fastener)": 87, "Necklace": 171,
    "Orange": 143, "Padlock": 164, "Paintbrush": 157, "Paper towel": 164,
    "Pen": 189, "Pill bottle": 170, "Pillow": 196, "Pitcher": 153,
    "Plastic bag": 166, "Plate": 187, "Plunger": 134, "Pop can": 141,
    "Portable heater": 103, "Printer": 125, "Remote control": 183, "Ruler": 152,
    "Running shoe": 210, "Safety pin": 176, "Salt shaker": 153, "Sandal": 267,
    "Screw": 203, "Shovel": 81, "Skirt": 110, "Sleeping bag": 55,
    "Soap dispenser": 163, "Sock": 182, "Soup Bowl": 161, "Spatula": 168,
    "Speaker": 159, "Still Camera": 108, "Strainer": 172, "Stuffed animal": 191,
    "Suit jacket": 95, "Sunglasses": 185, "Sweater": 161,
    "Swimming trunks": 147, "T-shirt": 170, "TV": 155, "Teapot": 113,
    "Tennis racket": 81, "Tie": 131, "Toaster": 163, "Toilet paper roll": 204,
    "Trash bin": 242, "Tray": 160, "Umbrella": 160, "Vacuum cleaner": 148,
    "Vase": 156, "Wallet": 189, "Watch": 158, "Water bottle": 236,
    "Weight (exercise)": 142, "Weight scale": 155, "Wheel": 122, "Whistle": 109,
    "Wine bottle": 156, "Winter glove": 144, "Wok": 123,
}
# fmt: on
TOTAL = 18574


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What of the 113 classes was found.

    Attributes:
        images: All that were found.
        missing: Labels of classes without any image.
        differing: Label -> (found, published), of the other classes whose
            number of images is not the published one.
    """

    images: int
    missing: tuple[str, ...]
    differing: Mapping[str, tuple[int, int]]

    @property
    def classes(self) -> int:
        """Classes with images."""
        return CLASSES - len(self.missing)

    @property
    def partial(self) -> bool:
        """Whether a class is missing."""
        return bool(self.missing)

    def note(self) -> str:
        """Returns "partial (k/113 classes)", or "" if none is missing."""
        return f"partial ({self.classes}/{CLASSES} classes)" * self.partial

    def warnings(self) -> list[str]:
        """Says what is not as published, in at most two lines.

        >>> Coverage(18573, (), {"Wok": (122, 123)}).warnings()
        ['1 of 113 classes differ from the published number of images (found
          18573 of 18574 in all): Wok 122 instead of 123']
        """
        lines = []
        if self.missing:
            lines.append(
                f"{len(self.missing)} of {CLASSES} classes have no images, so "
                f"the scores are {self.note()}: {first_names(self.missing)}"
            )
        if self.differing:
            counts = [
                f"{label} {found} instead of {published}"
                for label, (found, published) in self.differing.items()
            ]
            lines.append(
                f"{len(counts)} of {CLASSES} classes differ from the published "
                f"number of images (found {self.images} of {TOTAL} in all): "
                f"{first_names(counts)}"
            )
        return lines


def coverage(labels: Sequence[str], classes: np.ndarray) -> Coverage:
    """Compares the images there are with those published.

    Args:
        labels: Names of the 113 classes.
        classes: Class of each image, an index into `labels`, `(images,)`.

    Example:

    >>> found = coverage(sorted(PUBLISHED), np.zeros(144, int))
    >>> found.classes, found.note(), dict(found.differing)
    (1, 'partial (1/113 classes)', {})
    """
    counts = np.bincount(classes, minlength=len(labels)).tolist()
    found = dict(zip(labels, counts, strict=True))
    return Coverage(
        images=len(classes),
        missing=tuple(label for label, count in found.items() if not count),
        differing={
            label: (count, PUBLISHED[label])
            for label, count in found.items()
            if count and count != PUBLISHED.get(label, count)
        },
    )
