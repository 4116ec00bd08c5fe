"""Preprocessing against PIL, closed forms and statistics over seeds."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

from bit_keras.data.preprocess import (
    decode,
    eval_function,
    inception_crop,
    inception_window,
    train_function,
)
from bit_keras.recipe import Preprocess

ENCODED = tf.TensorSpec((), tf.string)
SEED = tf.TensorSpec((2,), tf.int64)
# Levels of 255 by which two JPEG decoders may differ.
JPEG_TOLERANCE = 4


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height: int = 40, width: int = 60) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    levels = np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1)
    return Image.fromarray(levels.astype(np.uint8))


def blots(height: int = 157, width: int = 211) -> Image.Image:
    """Smooth, but with colour edges everywhere."""
    levels = np.random.default_rng(0).integers(0, 255, (9, 13, 3))
    small = Image.fromarray(levels.astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def coordinates(height: int, width: int) -> bytes:
    """A PNG whose red is the column and whose green is the row."""
    y, x = np.mgrid[:height, :width]
    levels = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    return tf.io.encode_png(levels).numpy()


def levels_of(images: tf.Tensor) -> np.ndarray:
    """Maps [-1, 1] back to 0-255, in float64."""
    return (np.asarray(images, np.float64) + 1) * 127.5


def over_seeds(function, encoded: bytes, count: int) -> list[np.ndarray]:
    """Calls `function(encoded, seed)` with the seeds of examples 0, 1, ..."""
    compiled = tf.function(function, input_signature=[ENCODED, SEED])
    seeds = [tf.constant([0, i], tf.int64) for i in range(count)]
    return [compiled(encoded, seed).numpy() for seed in seeds]


def bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Bilinear resize without antialiasing, pixel centres at halves."""
    image = np.asarray(image, np.float64)
    for axis in (0, 1):
        size = image.shape[axis]
        at = (np.arange(side) + 0.5) * size / side - 0.5
        low = np.floor(at).astype(int)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        below = np.take(image, np.clip(low, 0, size - 1), axis)
        above = np.take(image, np.clip(low + 1, 0, size - 1), axis)
        image = (1 - share) * below + share * above
    return image


IMAGES = {
    "rgb.png": encode(gradient(), "PNG"),
    "gray.png": encode(gradient().convert("L"), "PNG"),
    "gray+alpha.png": encode(gradient().convert("LA"), "PNG"),
    "rgba.png": encode(gradient().convert("RGBA"), "PNG"),
    "palette.png": encode(gradient().quantize(64), "PNG"),
    "1bit.png": encode(gradient().convert("1"), "PNG"),
    "rgb.gif": encode(gradient().quantize(64), "GIF"),
    "animated.gif": encode(
        gradient().quantize(64),
        "GIF",
        save_all=True,
        append_images=[gradient().rotate(180).quantize(64)] * 2,
    ),
    "rgb.bmp": encode(gradient(), "BMP"),
    "gray.bmp": encode(gradient().convert("L"), "BMP"),
    "rgba.bmp": encode(gradient().convert("RGBA"), "BMP"),
    "rgb.webp": encode(gradient(), "WEBP", lossless=True),
    "rgba.webp": encode(gradient().convert("RGBA"), "WEBP", lossless=True),
    "pixel.png": encode(gradient(1, 1), "PNG"),
    "column.png": encode(gradient(40, 1), "PNG"),
    "wide.png": encode(gradient(1, 4000), "PNG"),
    "rgb.jpg": encode(gradient(), "JPEG", quality=95),
    "progressive.jpg": encode(gradient(), "JPEG", progressive=True),
    "gray.jpg": encode(gradient().convert("L"), "JPEG", quality=95),
    "cmyk.jpg": encode(gradient().convert("CMYK"), "JPEG", quality=95),
    "pixel.jpg": encode(gradient(1, 1), "JPEG"),
    "wide.jpg": encode(gradient(1, 4000), "JPEG"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_decode_agrees_with_pil(name):
    expected = np.asarray(Image.open(io.BytesIO(IMAGES[name])).convert("RGB"))
    got = tf.function(decode)(IMAGES[name])
    assert got.dtype == tf.uint8
    assert got.shape == expected.shape
    error = np.abs(got.numpy().astype(int) - expected)
    assert error.max() <= (JPEG_TOLERANCE if name.endswith("jpg") else 0)


def test_gray_is_gray_and_alpha_is_dropped():
    gray = decode(IMAGES["gray.jpg"]).numpy()
    np.testing.assert_array_equal(gray[..., 0], gray[..., 1])
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
    # Invisible, but light gray.
    rgba = np.dstack([np.full((2, 2, 3), 200), np.zeros((2, 2))])
    clear = encode(Image.fromarray(rgba.astype(np.uint8)), "PNG")
    assert (decode(clear).numpy() == 200).all()


def test_cmyk_of_adobe_and_of_others():
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:] = (40, 90, 160, 25)
    # Adobe's files, and so PIL's, hold 255 - ink; others hold the ink itself,
    # and have no APP14 segment (ff ee, two bytes of length, 12 of content).
    adobe = encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=100)
    start = adobe.index(b"\xff\xee\x00\x0eAdobe")
    other = encode(Image.fromarray(255 - ink, "CMYK"), "JPEG", quality=100)
    other = other[:start] + other[start + 16 :]
    expected = (255.0 - ink[0, 0, :3]) * (255 - 25) / 255
    for encoded in (adobe, other):
        error = decode(encoded).numpy() - expected
        assert np.abs(error).max() <= 2


def test_16_bits_are_cut_to_8():
    levels = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1111
    encoded = encode(Image.fromarray(levels), "PNG")
    got = decode(encoded).numpy()
    np.testing.assert_array_equal(got[..., 1], levels >> 8)


@pytest.mark.parametrize("train", ["inception_crop", "resize_crop"])
def test_every_kind_of_image_becomes_model_input(train):
    options = Preprocess(train=train, resize=20, crop=16)
    prepare = tf.function(
        train_function(options), input_signature=[ENCODED, SEED]
    )
    evaluate = tf.function(eval_function(options), input_signature=[ENCODED])
    for name, encoded in IMAGES.items():
        outputs = [prepare(encoded, [0, i]) for i in range(3)]
        for image in [*outputs, evaluate(encoded)]:
            assert image.dtype == tf.float32, name
            assert image.shape == (16, 16, 3), name
            assert -1 <= tf.reduce_min(image), name
            assert tf.reduce_max(image) <= 1, name


def test_levels_0_and_255_become_minus_1_and_1():
    options = Preprocess(train="inception_crop", crop=5)
    for level, expected in ((0, -1.0), (51, -0.6), (255, 1.0)):
        png = tf.io.encode_png(np.full((9, 7, 3), level, np.uint8))
        for image in (
            train_function(options)(png, tf.constant([0, 1])),
            eval_function(options)(png),
        ):
            np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["4:4:4", "gray", "4:2:0"])
def test_fused_jpeg_crop_equals_decode_then_crop(kind):
    image = blots().convert("L") if kind == "gray" else blots()
    subsampling = "4:2:0" if kind == "4:2:0" else "4:4:4"
    jpeg = encode(image, "JPEG", subsampling=subsampling)
    png = tf.io.encode_png(decode(jpeg)).numpy()
    fused = over_seeds(inception_crop, jpeg, 40)
    plain = over_seeds(inception_crop, png, 40)
    assert len({crop.shape for crop in fused}) > 30
    for one, other in zip(fused, plain, strict=True):
        assert one.shape == other.shape
        if kind == "4:2:0":
            # The outer columns' colour lacks the neighbour outside the crop.
            error = np.abs(one.astype(int) - other)[:, [0, -1]]
            assert error.max() <= 24
            one, other = one[:, 1:-1], other[:, 1:-1]
        np.testing.assert_array_equal(one, other)


def test_inception_crop_area_ratio_and_place():
    height, width = 180, 240
    crops = over_seeds(inception_crop, coordinates(height, width), 300)
    boxes = []
    for crop in crops:
        left, top = crop[0, 0, :2]
        right, bottom = crop[-1, -1, :2]
        y, x = np.mgrid[top : bottom + 1, left : right + 1]
        np.testing.assert_array_equal(crop[..., 0], x)
        np.testing.assert_array_equal(crop[..., 1], y)
        boxes.append((left, top, right + 1, bottom + 1))
    left, top, right, bottom = np.array(boxes, float).T
    w, h = right - left, bottom - top
    # A side is rounded to whole pixels.
    area, ratio, pixel = w * h / (width * height), w / h, 1 / h.min()
    assert 0.05 * (1 - pixel) ** 2 <= area.min() < 0.12
    assert 0.85 < area.max() <= 1
    assert 3 / 4 * (1 - pixel) <= ratio.min() < 0.8
    assert 1.25 < ratio.max() <= 4 / 3 * (1 + pixel)
    # Where there is room, the place is uniform.
    for first, length, whole in ((left, w, width), (top, h, height)):
        room = whole - length
        share = first[room > 40] / room[room > 40]
        assert len(share) > 100
        assert stats.kstest(share, "uniform").pvalue > 1e-3


def test_resize_crop_is_uniform_over_all_offsets():
    options = Preprocess(resize=20, crop=16, flip=False)
    crops = over_seeds(train_function(options), coordinates(20, 20), 500)
    counts = np.zeros((5, 5))
    for crop in crops:
        left, top = np.round(levels_of(crop[0, 0, :2])).astype(int)
        y, x = np.mgrid[top : top + 16, left : left + 16]
        np.testing.assert_allclose(levels_of(crop)[..., 0], x, atol=1e-4)
        np.testing.assert_allclose(levels_of(crop)[..., 1], y, atol=1e-4)
        counts[top, left] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_resize_crop_is_a_window_of_the_resized_image():
    image = blots(9, 31)
    resized = bilinear(np.asarray(image), 20)
    options = Preprocess(resize=20, crop=16, flip=False)
    crops = over_seeds(train_function(options), encode(image, "PNG"), 8)
    offsets = [(y, x) for y in range(5) for x in range(5)]
    for crop in crops:
        errors = [
            np.abs(levels_of(crop) - resized[y : y + 16, x : x + 16]).max()
            for y, x in offsets
        ]
        assert min(errors) < 1e-3
        assert np.sum(np.array(errors) < 1) == 1


@pytest.mark.parametrize("train", ["inception_crop", "resize_crop"])
def test_flip_half_of_the_images(train):
    options = Preprocess(train=train, resize=12, crop=12)
    images = over_seeds(train_function(options), coordinates(12, 12), 400)
    flipped = [image[0, 0, 0] > image[0, -1, 0] for image in images]
    # 4 standard deviations; the official code flips all 400.
    assert 160 < np.sum(flipped) < 240
    # Rows never change places.
    assert all(image[0, 0, 1] < image[-1, 0, 1] for image in images)


def test_flip_does_not_depend_on_the_crop():
    options = Preprocess(resize=14, crop=12)
    images = over_seeds(train_function(options), coordinates(14, 14), 400)
    table = np.zeros((2, 3))
    for image in images:
        row = np.round(levels_of(image[0, :, 0])).astype(int)
        table[int(row[0] > row[-1]), row.min()] += 1
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_flip_off_keeps_left_and_right():
    options = Preprocess(train="inception_crop", crop=12, flip=False)
    images = over_seeds(train_function(options), coordinates(30, 30), 50)
    assert all(image[0, 0, 0] < image[0, -1, 0] for image in images)


@pytest.mark.parametrize("train", ["inception_crop", "resize_crop"])
def test_no_crop_is_a_plain_resize(train):
    png = encode(blots(9, 31), "PNG")
    options = Preprocess(
        train=train, resize=20, crop=16, random_crop=False, flip=False
    )
    expected = bilinear(np.asarray(blots(9, 31)), 16)
    for image in over_seeds(train_function(options), png, 5):
        np.testing.assert_allclose(levels_of(image), expected, atol=1e-3)


def test_no_crop_still_flips():
    options = Preprocess(resize=20, crop=16, random_crop=False)
    png = encode(blots(9, 31), "PNG")
    expected = bilinear(np.asarray(blots(9, 31)), 16)
    flipped = 0
    for image in over_seeds(train_function(options), png, 100):
        left_to_right = np.abs(levels_of(image) - expected).max() < 1e-3
        mirror = np.abs(levels_of(image) - expected[:, ::-1]).max() < 1e-3
        assert left_to_right != mirror
        flipped += mirror
    assert 30 < flipped < 70


@pytest.mark.parametrize("size", [(41, 67), (9, 31), (16, 16)])
def test_evaluation_resizes_straight_to_the_crop(size):
    image = blots(*size)
    # `resize` is for training only.
    prepare = eval_function(Preprocess(resize=20, crop=16))
    got = levels_of(prepare(encode(image, "PNG")))
    expected = bilinear(np.asarray(image), 16)
    np.testing.assert_allclose(got, expected, atol=1e-3)
    smooth = tf.image.resize(np.asarray(image), (16, 16), antialias=True)
    assert (np.abs(got - smooth).max() > 1) == (size != (16, 16))


def test_evaluation_by_hand():
    # 1x4 to 2x2: columns at 0.5 and 2.5, so the means of neighbours.
    row = np.array([[[10] * 3, [30] * 3, [100] * 3, [200] * 3]], np.uint8)
    prepare = eval_function(Preprocess(crop=2))
    got = levels_of(prepare(tf.io.encode_png(row)))[..., 0]
    np.testing.assert_allclose(got, [[20, 150], [20, 150]], atol=1e-4)


@pytest.mark.parametrize("train", ["inception_crop", "resize_crop"])
def test_seed_decides(train):
    options = Preprocess(train=train, resize=40, crop=16)
    prepare = train_function(options)
    png = encode(blots(), "PNG")
    first = over_seeds(prepare, png, 6)
    try:
        tf.random.set_seed(99)
        again = over_seeds(prepare, png, 6)
    finally:
        tf.random.set_seed(0)
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 6
    other_run = prepare(png, tf.constant([1, 0], tf.int64))
    assert not np.array_equal(first[0], other_run)


@pytest.mark.parametrize("side", [11, 12, 40, 90])
def test_scaling_first_or_last_is_the_same(side):
    # 41 x 67 pixels are more than three times 30 x 30.
    image = np.asarray(blots(41, 67))
    expected = tf.image.resize(image, (side, side)) / 127.5 - 1.0
    prepare = eval_function(Preprocess(crop=side))
    got = prepare(encode(blots(41, 67), "PNG"))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_every_level_is_scaled_exactly():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    image = tf.io.encode_png(np.tile(levels, (1, 1, 3)))
    got = eval_function(Preprocess(crop=16))(image).numpy()[..., 0].ravel()
    np.testing.assert_allclose(got, np.arange(256) / 127.5 - 1, atol=2e-7)
    assert got[0] == -1
    assert got[255] == 1


def test_window_is_what_the_crop_shows():
    png = coordinates(60, 90)
    shape = tf.shape(decode(png))
    for number in range(6):
        seed = tf.constant([0, number], tf.int64)
        top, left, height, width = inception_window(shape, seed).numpy()
        crop = inception_crop(png, seed).numpy()
        assert crop.shape == (height, width, 3)
        whole = decode(png).numpy()
        np.testing.assert_array_equal(
            crop, whole[top : top + height, left : left + width]
        )
