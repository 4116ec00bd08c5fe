"""A sheet of images with the boxes predicted and the true ones."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from bit_keras.atomic_writes import writing
from bit_keras.benchmarks.detection.sets import DetectionSet
from bit_keras.benchmarks.drawing.palette import assign
from bit_keras.data.preprocess import decode

# Images on a sheet, in a line of it, and pixels of the longer side of each.
IMAGES, _COLUMNS, _SIDE = 6, 3, 320
# Pixels between images, and for the line of text above each.
_GAP, _TEXT = 10, 14
# Predictions below this score are not drawn.
LEAST_SCORE = 0.3


def sheet(
    images: DetectionSet,
    truth: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
) -> bytes:
    """Draws the first images of a set twice: as annotated, and as predicted.

    Above is what the detector found, with the class's colour and the score;
    below, what is there.

    Args:
        images: The set.
        truth: Of its images; see `evaluate.Evaluation`.
        found: Of its images.

    Returns:
        The bytes of a PNG file.
    """
    by_id = {image["id"]: image for image in truth}
    predicted = {image["id"]: image for image in found}
    colours = assign(images.class_names)
    tiles = []
    for example in images.read().as_numpy_iterator():
        # As `average_precision` names it.
        name = example["id"].decode("utf-8", "backslashreplace")
        if name in by_id:
            pixels = Image.fromarray(decode(example["image"]).numpy())
            tiles.append(
                [
                    _tile(pixels, objects[name], images.class_names, colours)
                    for objects in (predicted, by_id)
                ]
            )
        if len(tiles) == IMAGES:
            break
    return _png(_arranged(tiles))


def _tile(
    pixels: Image.Image,
    objects: Mapping[str, Any],
    class_names: Sequence[str],
    colours: Mapping[str, str],
) -> Image.Image:
    scale = _SIDE / max(pixels.size)
    image = pixels.resize([max(1, round(side * scale)) for side in pixels.size])
    draw = ImageDraw.Draw(image)
    scores = objects.get("scores")
    for i, (box, label) in enumerate(
        zip(objects["boxes"], objects["labels"], strict=True)
    ):
        if scores is not None and scores[i] < LEAST_SCORE:
            continue
        name = class_names[label]
        left, top, right, bottom = (float(v) * scale for v in box)
        draw.rectangle((left, top, right, bottom), None, colours[name], 2)
        text = name if scores is None else f"{name} {scores[i]:.2f}"
        draw.text((left + 3, top + 1), text, fill=colours[name])
    tile = Image.new("RGB", (image.width, image.height + _TEXT), "white")
    tile.paste(image, (0, _TEXT))
    title = "annotated" if scores is None else "predicted"
    ImageDraw.Draw(tile).text((0, 0), title, fill="black")
    return tile


def _arranged(tiles: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pairs side by side, the predicted boxes above the annotated ones."""
    lines = -(-len(tiles) // _COLUMNS)
    columns = min(len(tiles), _COLUMNS)
    width = _SIDE + _GAP
    height = max(sum(tile.height for tile in pair) for pair in tiles) + _GAP
    made = Image.new("RGB", (columns * width, lines * height), "white")
    for number, pair in enumerate(tiles):
        line, column = divmod(number, _COLUMNS)
        x, y = column * width, line * height
        for tile in pair:
            made.paste(tile, (x, y))
            y += tile.height
    return made


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    # 256 colours are a third of the bytes in the report.
    image.quantize(256).save(content, "PNG", optimize=True)
    return content.getvalue()


def save(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees all of it or none.

    >>> save(Path("sheet.png"), b"a picture")
    >>> Path("sheet.png").read_bytes()
    b'a picture'
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with writing(path):
        temporary.write_bytes(content)
        os.replace(temporary, path)
