"""A contact sheet of pairs: is what was found the same picture?"""

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import tensorflow as tf
from PIL import Image, ImageDraw

from bit_keras.benchmarks.duplicates.pairs import Pair
from bit_keras.benchmarks.source_subset import only
from bit_keras.data.preprocess import decode
from bit_keras.data.sources import Source

# Pairs on a sheet, and in a line of it.
MAX_PAIRS, _COLUMNS = 40, 5
# Pixels: side of an image, height of the text above, and between pairs.
_SIDE, _TEXT, _GAP = 96, 14, 10

# By id.
Tiles = dict[str, Image.Image]


def spread(pairs: Sequence[Pair], count: int = MAX_PAIRS) -> list[Pair]:
    """Returns at most `count` pairs, evenly from the first to the last.

    Args:
        pairs: Most similar first; doubtful ones are at the end.
        count: At least 2.

    Example:

    >>> spread("abcde", 3)
    ['a', 'c', 'e']
    """
    if len(pairs) <= count:
        return list(pairs)
    step = (len(pairs) - 1) / (count - 1)
    return [pairs[round(i * step)] for i in range(count)]


def save_sheet(
    path: Path, pairs: Sequence[Pair], images: Tiles, upstream: Tiles
) -> None:
    """Draws pairs side by side, the downstream image to the left.

    Above are the similarity and the distance of the hashes.

    Args:
        path: Of the PNG file.
        pairs: At least one.
        images: With every `Pair.id`.
        upstream: With every `Pair.upstream_id`.
    """
    width, height = 2 * _SIDE + 2 + _GAP, _SIDE + _TEXT + _GAP
    lines = -(-len(pairs) // _COLUMNS)
    columns = min(len(pairs), _COLUMNS)
    sheet = Image.new("RGB", (columns * width, lines * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        line, column = divmod(number, _COLUMNS)
        x, y = column * width, line * height
        bits = "1 bit" if pair.distance == 1 else f"{pair.distance} bits"
        draw.text((x, y), f"{pair.similarity:.3f}, {bits}", fill="black")
        sheet.paste(images[pair.id], (x, y + _TEXT))
        sheet.paste(upstream[pair.upstream_id], (x + _SIDE + 2, y + _TEXT))
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content.getvalue())
    temporary.replace(path)


def read_tiles(source: Source, ids: Collection[str]) -> Tiles:
    """Reads some images, each whole and with its own aspect on a square.

    Args:
        source: With all of these images; it is read once.
        ids: Names of examples.

    Example:

    >>> from bit_keras.data.sources import open_source
    >>> read_tiles(open_source("digits", "test"), {"digits/87"}).keys()
    dict_keys(['digits/87'])
    """

    def tile(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.cast(decode(example["image"]), tf.float32)
        image = tf.image.resize(
            image, (_SIDE, _SIDE), preserve_aspect_ratio=True, antialias=True
        )
        return example["id"], tf.cast(tf.round(image), tf.uint8)

    tiles: Tiles = {}
    if not ids:
        return tiles
    for name, pixels in only(source, ids).read().map(tile).as_numpy_iterator():
        square = Image.new("RGB", (_SIDE, _SIDE), "lightgray")
        height, width, _ = pixels.shape
        corner = ((_SIDE - width) // 2, (_SIDE - height) // 2)
        square.paste(Image.fromarray(pixels), corner)
        tiles[name.decode("utf-8", "replace")] = square
    return tiles
