"""The image hash against SciPy and PIL, and against what it must survive."""

import io

import numpy as np
import pytest
import scipy.fft
import tensorflow as tf
from PIL import Image

from bit_keras.benchmarks.duplicates import image_hash
from bit_keras.benchmarks.duplicates.image_hash import (
    FLAT,
    Thumbnails,
    hasher,
    unpack,
)


def picture(seed, width=64, height=64):
    """Smooth shapes, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
    noise = rng.normal(0, 3, (height, width, 3))
    pixels = np.clip(np.asarray(image) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def prints(*contents):
    canvas = tf.stack([Thumbnails()(content) for content in contents])
    found = hasher().features(("hashes", "thumbnails"))(canvas)
    codes, contrast = unpack(found["hashes"].numpy())
    return codes, contrast, found["thumbnails"].numpy().reshape(-1, 2, 768)


def distance(one, other):
    return int(np.bitwise_count(one ^ other))


def test_bits_are_the_signs_of_scipys_cosines():
    for seed in range(5):
        image = picture(seed)
        # 64 pixels to 16: PIL's box is the mean of 4x4 pixels, rounded.
        small = np.asarray(image.resize((16, 16), Image.BOX), float) / 255
        gray = small @ [0.299, 0.587, 0.114]
        cosines = scipy.fft.dctn(gray, norm="ortho")
        expected = 0
        order = sorted(
            ((i, j) for i in range(16) for j in range(16)),
            key=lambda place: (sum(place), place),
        )
        close = 0
        for bit, place in enumerate(order[1:65]):
            expected |= int(cosines[place] > 0) << bit
            close += abs(cosines[place]) < 0.005
        (codes, contrast, _) = prints(encoded(image))
        # PIL's rounding may turn the signs of those that are next to nothing.
        assert distance(codes[0, 0], np.uint64(expected)) <= close <= 16
        assert contrast[0, 0] == pytest.approx(gray.std(), abs=0.002)


def test_the_matrix_is_scipys():
    pixels = np.random.default_rng(0).normal(size=(16, 16))
    cosines = scipy.fft.dctn(pixels, norm="ortho")
    expected = [
        cosines[i, total - i]
        for total in range(1, 11)
        for i in range(total + 1)
    ][:64]
    found = pixels.ravel() @ image_hash.dct_matrix()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scaling_and_compression_change_few_bits_and_others_many():
    same, other = [], []
    for seed in range(20):
        image = picture(seed, 96, 96)
        codes, _, _ = prints(
            encoded(image),
            encoded(image.resize((41, 41), Image.BICUBIC)),
            encoded(image, "JPEG", quality=40),
            encoded(picture(seed + 100, 96, 96)),
        )
        # As many bits of a JPEG may turn as have cosines next to nothing.
        same += [distance(codes[0, 0], codes[k, 0]) for k in (1, 2)]
        other.append(distance(codes[0, 0], codes[3, 0]))
    assert np.median(same) <= 5 and max(same) <= 12
    assert 16 < min(other) and 24 < np.mean(other) < 40


def test_an_image_cut_to_a_square_is_found_by_its_centre():
    wide = picture(3, 120, 80)
    square = wide.crop((20, 0, 100, 80))
    squeezed = wide.resize((80, 80), Image.BOX)
    codes, _, thumbnails = prints(*map(encoded, (wide, square, squeezed)))
    assert distance(codes[0, 1], codes[1, 1]) == 0
    assert distance(codes[0, 0], codes[1, 0]) > 10
    assert distance(codes[0, 0], codes[2, 0]) <= 2
    # Both views of a square are the same.
    assert (codes[1:, 0] == codes[1:, 1]).all()
    alike = np.einsum("vw,vw->v", thumbnails[0], thumbnails[1])
    assert alike[1] == pytest.approx(1, abs=1e-5) and alike[0] < 0.9


def test_products_of_thumbnails_are_correlations():
    one, other = picture(0), picture(1)
    small = [
        np.asarray(image.resize((16, 16), Image.BOX), float)
        for image in (one, other)
    ]
    flat = [(x - x.mean((0, 1))).ravel() for x in small]
    expected = np.corrcoef(*flat)[0, 1]
    _, _, thumbnails = prints(encoded(one), encoded(other))
    assert thumbnails[0, 0] @ thumbnails[1, 0] == pytest.approx(
        expected, abs=0.002
    )


def test_flat_images_are_known_by_their_contrast():
    rng = np.random.default_rng(0)
    noisy = 128 + rng.normal(0, 2, (32, 32, 3))
    gray = Image.fromarray(noisy.astype(np.uint8))
    plain = Image.new("L", (9, 7), 200)
    codes, contrast, thumbnails = prints(
        encoded(gray), encoded(plain), encoded(picture(0))
    )
    assert (contrast[:2] < FLAT).all() and (contrast[2] > 4 * FLAT).all()
    # No frequency is there, so that none is there by rounding.
    assert codes[1].tolist() == [0, 0]
    assert np.isfinite(thumbnails).all() and not thumbnails[1].any()


def test_all_64_bits_pass_through_floats():
    rng = np.random.default_rng(0)
    expected = rng.integers(0, 2**64, (100, 2), dtype=np.uint64)
    words = expected[..., None] >> np.arange(0, 64, 16, dtype=np.uint64)
    words = (words & np.uint64(0xFFFF)).astype(np.float32)
    contrast = np.full((100, 2, 1), 0.25, np.float32)
    packed = np.concatenate([words, contrast], axis=2).reshape(100, 10)
    codes, found = unpack(packed)
    assert (codes == expected).all() and (found == 0.25).all()
