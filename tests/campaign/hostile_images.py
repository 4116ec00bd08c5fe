"""Image files: of every format, cut, renamed, huge, or of another kind."""

import functools
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from damage import damaged
from hypothesis import strategies as st
from judge import Case
from PIL import Image

from bit_keras import recipe as recipes
from bit_keras.benchmarks import images as few_shot
from bit_keras.benchmarks.duplicates.image_hash import Thumbnails
from bit_keras.data import batches, preprocess, sources

_SIDE = 16
_EXIF_ORIENTATION = 0x0112


def _pixels(mode: str, size: tuple[int, int] = (23, 17)) -> Image.Image:
    rng = np.random.default_rng(0)
    image = Image.fromarray(
        rng.integers(0, 256, (*size[::-1], 3), np.uint8), "RGB"
    )
    return image.convert(mode)


def _save(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = 6
    return _save(_pixels("RGB"), "JPEG", exif=exif)


def _deep() -> bytes:
    gray = np.arange(300, dtype=np.uint16).reshape(20, 15) * 200
    return _save(Image.fromarray(gray), "PNG")


def _frames(kind: str) -> bytes:
    frames = [_pixels("RGB").rotate(angle) for angle in (0, 90, 180)]
    return _save(
        frames[0], kind, save_all=True, append_images=frames[1:], duration=50
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def _png_bomb(width: int, height: int) -> bytes:
    """A PNG of gray rows, packed a thousand to one."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    rows = [packer.compress(row) for _ in range(min(height, 2000))]
    data = b"".join([*rows, packer.flush()])
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head)
    return start + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _sized(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(good()[kind])
    if kind == "jpeg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", width, height)
    else:
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@functools.cache
def good() -> dict[str, bytes]:
    """A file of each kind that is read."""
    rgb = _pixels("RGB")
    return {
        "jpeg": _save(rgb, "JPEG"),
        "progressive jpeg": _save(rgb, "JPEG", progressive=True),
        "gray jpeg": _save(_pixels("L"), "JPEG"),
        "cmyk jpeg": _save(_pixels("CMYK"), "JPEG"),
        "rotated jpeg": _rotated(),
        "png": _save(rgb, "PNG"),
        "16-bit png": _deep(),
        "palette png": _save(_pixels("P"), "PNG"),
        "alpha png": _save(_pixels("RGBA"), "PNG"),
        "1-bit png": _save(_pixels("1"), "PNG"),
        "animated png": _frames("PNG"),
        "gif": _save(_pixels("P"), "GIF"),
        "animated gif": _frames("GIF"),
        "bmp": _save(rgb, "BMP"),
        "webp": _save(rgb, "WEBP"),
        "1x1": _save(_pixels("RGB", (1, 1)), "JPEG"),
        "20000x1": _save(_pixels("RGB", (20_000, 1)), "JPEG"),
        "1x20000": _save(_pixels("RGB", (1, 20_000)), "PNG"),
    }


@functools.cache
def _odd() -> dict[str, bytes]:
    """Files that are no image, or claim to be a huge one."""
    sizes = [(65_535, 65_535), (65_535, 1), (0, 0), (23_000, 23_000)]
    claims = {
        f"{kind} that claims {width}x{height}": _sized(kind, width, height)
        for kind in ("jpeg", "gif", "bmp")
        for width, height in sizes
    }
    return claims | {
        "bmp of negative size": _sized("bmp", -(2**31), -(2**31)),
        "png bomb 50000x50000": _png_bomb(50_000, 50_000),
        "png bomb 20000x20000": _png_bomb(20_000, 20_000),
        "png of 0x0": _png_bomb(0, 0),
        "animated webp": _frames("WEBP"),
        "palette bmp": _save(_pixels("P"), "BMP"),
        "tiff": _save(_pixels("RGB"), "TIFF"),
        "text": b"This is not an image.\n",
        "html": b"<html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "zip": b"PK\x03\x04" + bytes(50),
        "empty": b"",
        "zeros": bytes(5000),
    }


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draws an image, whole or damaged, under the name of any format."""
    how = draw(st.sampled_from(["whole", "odd", *["damaged"] * 6]))
    if how == "odd":
        kind = draw(st.sampled_from(sorted(_odd())))
        data = _odd()[kind]
    else:
        kind = draw(st.sampled_from(sorted(good())))
        data = good()[kind]
        if how == "damaged":
            kind = f"damaged {kind}"
            _, data = draw(damaged(data))
    ending = draw(st.sampled_from([".jpg", ".png", ".gif", ".bmp", ".webp"]))
    # The whole pipeline takes a hundred times as long.
    options = ("pipeline",) if draw(st.integers(0, 39)) == 0 else ()
    return Case(kind, f"case{ending}", data, options)


def attempt(case: Case, path: Path) -> str:
    """Prepares an image for training, evaluation, probes and hashes."""
    if case.options == ("pipeline",):
        return _pipelines(path)
    encoded, verdicts = tf.constant(path.read_bytes()), set()
    for name, prepare in _functions().items():
        try:
            image = prepare(encoded)
            verdicts.add("accepted")
        except tf.errors.OpError:
            # What the pipelines ignore, and count.
            verdicts.add("skipped")
            continue
        if not np.isfinite(image).all():
            return f"{name} made NaN or Inf"
    # Of a damaged JPEG, a crop may be whole.
    return _reported(path) if "skipped" in verdicts else "accepted"


def _reported(path: Path) -> str:
    bad = batches.BadImages("error")
    bad.report(str(path).encode(), path.read_bytes())
    try:
        bad.raise_if_any()
    except ValueError as error:
        fine = path.name in str(error) and "\n" not in str(error)
        return "skipped" if fine else f"reported as {error}"
    return "not reported"


@functools.cache
def _functions() -> dict:
    crop = recipes.Preprocess(train="inception_crop", crop=_SIDE)
    square = recipes.Preprocess(resize=20, crop=_SIDE)
    spec = tf.TensorSpec((), tf.string)
    seed = tf.constant([0, 1])
    made = {
        "inception_crop": lambda e: preprocess.train_function(crop)(e, seed),
        "resize_crop": lambda e: preprocess.train_function(square)(e, seed),
        "evaluation": preprocess.eval_function(crop),
        "few-shot": few_shot.Preprocessing(18, _SIDE),
        "short side": few_shot.ShortSide(18, _SIDE),
        "hash": Thumbnails(),
    }
    return {
        name: tf.function(f, input_signature=(spec,))
        for name, f in made.items()
    }


def _pipelines(path: Path) -> str:
    """Reads a folder with the image in it, as training and probes do."""
    folder = path.parents[1] / "work"
    for number in range(3):
        other = folder / "b" / f"{number}.jpg"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(good()["jpeg"])
    (folder / "a").mkdir()
    (folder / "a" / path.name).write_bytes(path.read_bytes())
    source = sources.open_source(str(folder), "all")
    recipe = recipes.scale_batch(
        recipes.Recipe("r", preprocess=recipes.Preprocess(resize=20, crop=16)),
        4,
    )
    counts = set()
    for made in (
        batches.train_batches,
        batches.eval_batches,
        lambda s, r, n, bad: few_shot.image_batches(
            s, 0, few_shot.Preprocessing(18, 16), 4, bad
        ),
    ):
        bad = batches.BadImages()
        fourth = 0 if made is batches.train_batches else 4
        batch = next(iter(made(source, recipe, fourth, bad)))
        good_ones = batch.get("weight", batch.get("ok"))
        counts.add((bad.count, int(np.sum(good_ones))))
    if counts == {(0, 4)}:
        return "accepted"
    return "skipped" if counts == {(1, 3)} else f"counted {sorted(counts)}"


def warm_up() -> None:
    """Traces the functions, which takes memory."""
    for prepare in _functions().values():
        prepare(tf.constant(good()["png"]))
