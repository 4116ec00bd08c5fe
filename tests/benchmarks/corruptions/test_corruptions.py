"""Corruptions against published definitions and closed forms."""

import ast
import colorsys
import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, signal
from tensorflow_datasets.image_classification import corruptions as published

from bit_keras.benchmarks import corruptions
from bit_keras.benchmarks.corruptions import (
    blur,
    digital,
    noise,
    resampling,
    textures,
    weather,
)
from bit_keras.benchmarks.corruptions.constants import (
    CONSTANTS,
    SEVERITIES,
    SIDES,
    constants_for,
)


@pytest.fixture(scope="module")
def photo():
    """An image with edges, textures and colours; uint8 (224, 224, 3)."""
    rng = np.random.default_rng(0)
    coarse = ndimage.gaussian_filter(rng.normal(size=(224, 224, 3)), (9, 9, 0))
    fine = ndimage.gaussian_filter(rng.normal(size=(224, 224, 3)), (1, 1, 0))
    mixed = 128 + 900 * coarse + 60 * fine
    mixed[60:120, 80:180] += 70
    return np.uint8(np.clip(mixed, 0, 255))


def flat(level, side=64):
    return np.full((side, side, 3), level, np.uint8)


def published_constants():
    """The table of constants in each function of TFDS's corruptions."""
    tree = ast.parse(Path(published.__file__).read_text())
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            for node in function.body:
                target = getattr(node, "targets", [None])[0]
                if getattr(target, "id", None) == "c":
                    table = compile(
                        ast.Expression(node.value.value), "c", "eval"
                    )
                    yield function.name, eval(table, {"np": np})


def test_constants_of_imagenet_c_are_those_of_tfds():
    theirs = dict(published_constants())
    for name, sets in CONSTANTS.items():
        ours = list(sets["imagenet_c"])
        if name == "zoom_blur":
            ours = [np.arange(1, *end_and_step) for end_and_step in ours]
        elif name == "elastic_transform":
            ours = np.multiply(ours, 224).tolist()
        elif name == "frost":
            ours = [constants[:2] for constants in ours]
        assert len(theirs[name]) == len(ours) == 5
        for mine, published_one in zip(ours, theirs[name], strict=True):
            np.testing.assert_allclose(mine, published_one, rtol=1e-12)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    "module, name",
    [
        (noise, "gaussian_noise"),
        (noise, "shot_noise"),
        (blur, "zoom_blur"),
        (digital, "contrast"),
        (digital, "jpeg_compression"),
    ],
)
def test_pixels_are_those_of_tfds(photo, module, name, severity):
    # Their functions draw from NumPy's global generator, and round.
    np.random.seed(severity)
    theirs = getattr(published, name)(photo, severity)
    constants = CONSTANTS[name]["imagenet_c"][severity - 1]
    rng = np.random.RandomState(severity)
    ours = getattr(module, name)(photo, constants, rng)
    off = np.abs(np.around(np.clip(ours, 0, 255)) - theirs)
    # Where theirs, in float32, falls on the other side of a half.
    assert off.max() <= 1 and (off > 0).mean() < 1e-3


@pytest.mark.parametrize("decay", [1.4, 3])
def test_plasma_is_that_of_tfds(decay):
    np.random.seed(0)
    theirs = published.plasma_fractal(128, decay)
    ours = textures.plasma(100, 128, decay, np.random.RandomState(0))
    np.testing.assert_allclose(ours, theirs[:100], atol=1e-12)


def test_fog_of_a_large_image_is_that_of_tfds():
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    np.random.seed(1)
    theirs = published.fog(image, 2)
    constants = CONSTANTS["fog"]["imagenet_c"][1]
    ours = weather.fog(image, constants, np.random.RandomState(1))
    assert np.array_equal(np.around(ours), theirs)


@pytest.mark.parametrize("size, factor", [(224, 1.13), (64, 2.25), (33, 4.5)])
def test_zoom_is_scipys(size, factor):
    image = np.random.default_rng(0).random((size, size, 3))
    theirs = published.clipped_zoom(image, factor)
    np.testing.assert_allclose(
        resampling.zoomed(image, factor), theirs, atol=1e-9
    )


def test_gaussian_noise_has_its_variance():
    rng = np.random.default_rng(0)
    added = noise.gaussian_noise(flat(128, 224), 0.08, rng) - 128
    assert abs(added.std() - 0.08 * 255) < 0.1
    assert abs(added.mean()) < 0.2


def test_shot_noise_has_the_variance_of_counts():
    rng = np.random.default_rng(0)
    made = noise.shot_noise(flat(102, 224), 25, rng) / 255
    # A Poisson count of mean m has variance m; here m = 0.4 * 25.
    assert abs(made.mean() - 0.4) < 0.002
    assert abs(made.var() - 0.4 / 25) < 2e-4


def test_impulse_noise_hits_channels_alone_half_of_them_white():
    rng = np.random.default_rng(0)
    made = noise.impulse_noise(flat(128, 224), 0.17, rng)
    hit = made != 128
    assert abs(hit.mean() - 0.17) < 0.005
    assert set(np.unique(made)) == {0, 128, 255}
    assert abs((made[hit] == 255).mean() - 0.5) < 0.01
    assert abs(hit.all(axis=2).mean() - 0.17**3) < 0.002


def test_defocus_blur_is_the_convolution_with_a_soft_disk(photo):
    kernel = np.zeros((17, 17))
    for y in range(17):
        for x in range(17):
            kernel[y, x] = math.hypot(y - 8, x - 8) <= 4
    side = math.exp(-2)  # Of a Gaussian with sigma 0.5, one pixel away.
    soft = np.array([side, 1, side]) / (1 + 2 * side)
    soft_disk = signal.convolve2d(kernel / kernel.sum(), np.outer(soft, soft))
    expected = [
        ndimage.correlate(photo[..., c].astype(float), soft_disk, mode="mirror")
        for c in range(3)
    ]
    made = blur.defocus_blur(photo, (4, 0.5), np.random.default_rng(0))
    np.testing.assert_allclose(made, np.stack(expected, 2), atol=1e-9)


@pytest.mark.parametrize("radius, total", [(0.3, 1), (3, 1), (8, 1.01297547)])
def test_a_lens_keeps_the_brightness_but_for_a_quirk(radius, total):
    # OpenCV's GaussianBlur(..., (3, 3), 0.5) of the published disk of radius
    # 8, whose rim the mirrored border counts twice, sums to 1.01297547.
    assert blur.disk(radius, 0.5).sum() == pytest.approx(total, abs=1e-7)


def one_by_one(image, steps, reach):
    """The published loop of glass blur, with the swap it is written as."""
    x = image.copy()
    height, width = x.shape[:2]
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            dx, dy = steps[h - reach - 1, w - reach - 1]
            h_prime, w_prime = h + dy, w + dx
            x[h, w], x[h_prime, w_prime] = x[h_prime, w_prime], x[h, w]
    return x


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_displaces_as_the_published_loop(reach):
    rng = np.random.default_rng(reach)
    image = rng.integers(0, 256, (24, 31, 3), np.uint8)
    inside = (24 - 2 * reach, 31 - 2 * reach, 2)
    steps = rng.integers(-reach, reach, inside)
    made = blur.displaced(image, steps, reach)
    assert np.array_equal(made, one_by_one(image, steps, reach))
    assert (made != image).mean() > 0.4


def magick(image, radius, sigma, angle):
    """ImageMagick's MotionBlurImage, pixel by pixel, edges continued."""
    width = 2 * radius + 1
    kernel = [math.exp(-i * i / (2 * sigma**2)) for i in range(width)]
    x = width * math.sin(math.radians(angle))
    y = width * math.cos(math.radians(angle))
    steps = [
        (
            math.ceil(i * y / math.hypot(x, y) - 0.5),
            math.ceil(i * x / math.hypot(x, y) - 0.5),
        )
        for i in range(width)
    ]
    height, length = image.shape
    made = np.zeros(image.shape)
    for row, column in np.ndindex(image.shape):
        for weight, (right, down) in zip(kernel, steps, strict=True):
            from_row = min(max(row + down, 0), height - 1)
            from_column = min(max(column + right, 0), length - 1)
            made[row, column] += weight * image[from_row, from_column]
    return made / sum(kernel)


@pytest.mark.parametrize("angle", [-135, -90, -17.3, 0, 44])
def test_motion_is_imagemagicks(angle):
    image = np.random.default_rng(0).uniform(0, 255, (15, 20))
    made = resampling.moved(image, 6, 2.5, angle)
    expected = magick(image, 6, 2.5, angle)
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_a_wide_filter_is_scipys():
    field = np.random.default_rng(0).uniform(-1, 1, (40, 30))
    expected = ndimage.gaussian_filter(field, 21, mode="reflect", truncate=3)
    made = resampling.smoothed(field, 21)
    np.testing.assert_allclose(made, expected, atol=1e-12)


def test_brightness_is_added_to_v_of_hsv(photo):
    made = weather.brightness(photo, 0.3, np.random.default_rng(0))
    for row, column in np.random.default_rng(1).integers(0, 224, (200, 2)):
        h, s, v = colorsys.rgb_to_hsv(*photo[row, column] / 255)
        expected = colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1))
        np.testing.assert_allclose(made[row, column] / 255, expected, atol=1e-9)


def test_snow_whitens_by_the_formula_and_adds_flakes():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 200
    constants = CONSTANTS["snow"]["tiny_imagenet_c"][0]
    made = weather.snow(image, constants, np.random.default_rng(0))
    # 0.8 of the image, 0.2 of 1.5 gray + 0.5 (red: gray is 0.299 of it).
    white = np.maximum(image[0, 0], 1.5 * 0.299 * 200 + 127.5)
    ground = 0.8 * image[0, 0] + 0.2 * white
    np.testing.assert_allclose(made.min(axis=(0, 1)), ground)
    flakes = made - ground
    np.testing.assert_allclose(flakes, np.rot90(flakes, 2), atol=1e-9)
    assert 0.01 < (flakes > 10).mean() < 0.5


def test_fog_lies_between_the_bounds_of_its_formula(photo):
    strength = 1.5
    made = weather.fog(photo, (strength, 2), np.random.default_rng(0)) / 255
    shrunk = photo.max() / 255 / (photo.max() / 255 + strength)
    added = made / shrunk - photo / 255
    assert added.min() == pytest.approx(0, abs=0.2)
    assert -1e-9 <= added.min() and added.max() <= strength + 1e-9
    np.testing.assert_allclose(added[..., 0], added[..., 2], atol=1e-9)


def test_frost_is_the_weighted_sum_of_image_and_picture(photo):
    rngs = [np.random.default_rng(3) for _ in range(2)]
    made = weather.frost(photo, (0.6, 0.75, 1), rngs[0])
    black = weather.frost(np.zeros_like(photo), (0.6, 0.75, 1), rngs[1])
    np.testing.assert_allclose(made - black, 0.6 * photo, atol=1e-9)
    assert black.max() <= 0.75 * 255
    # It is frost: neither nothing nor a flat veil.
    assert black.std() > 20


def test_an_affine_map_takes_its_points_along():
    points = np.array([[5.0, 5], [5, 1], [1, 1]])
    targets = np.array([[6.0, 4], [5, 0], [2, 1]])
    grid = np.stack((targets[:, 1], targets[:, 0]))[..., None]
    back = digital.affine(points, targets, grid)
    np.testing.assert_allclose(back[0, :, 0], points[:, 1], atol=1e-12)
    np.testing.assert_allclose(back[1, :, 0], points[:, 0], atol=1e-12)


def test_elastic_transform_without_its_parts_is_the_image(photo):
    still = digital.elastic_transform(
        photo, (0, 0, 0), np.random.default_rng(0)
    )
    np.testing.assert_allclose(still, photo, atol=1e-6)
    shaken = digital.elastic_transform(
        photo, (0.12, 0.01, 0), np.random.default_rng(0)
    )
    assert np.abs(shaken - photo).mean() > 1


def test_pixelate_and_jpeg_are_pillows(photo):
    image = Image.fromarray(photo)
    box = Image.Resampling.BOX
    small = image.resize((89, 89), box)  # int(224 * 0.4)
    expected = np.asarray(small.resize((224, 224), box))
    assert np.array_equal(
        corruptions.corrupt(photo, "pixelate", 3, 0), expected
    )
    file = io.BytesIO()
    image.save(file, "JPEG", quality=15)
    expected = np.asarray(Image.open(file))
    assert np.array_equal(
        corruptions.corrupt(photo, "jpeg_compression", 3, 0), expected
    )


@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("name", corruptions.names())
def test_more_severe_is_farther_from_the_image(photo, name, side):
    image = np.asarray(Image.fromarray(photo).resize((side, side)))
    off = []
    for severity in (1, 5):
        made = [corruptions.corrupt(image, name, severity, s) for s in range(9)]
        assert made[0].dtype == np.uint8 and made[0].shape == image.shape
        off.append(np.mean(np.abs(np.subtract(made, image, dtype=float))))
    assert off[0] > 0.1
    # Elastic transform moves the whole image at first, then small regions;
    # glass blur is sharp at first; weak frost adds light, strong frost hides.
    if name not in ("elastic_transform", "glass_blur", "frost"):
        assert off[1] > off[0]


@pytest.mark.parametrize("name", corruptions.names())
def test_the_seed_decides(name):
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    before = image.copy()
    first = corruptions.corrupt(image, name, 2, 7)
    np.random.seed(0)
    assert np.array_equal(first, corruptions.corrupt(image, name, 2, 7))
    assert np.array_equal(image, before)
    other = corruptions.corrupt(image, name, 2, 8)
    sure = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate",
            "jpeg_compression"}  # fmt: skip
    assert np.array_equal(first, other) == (name in sure)


@pytest.mark.parametrize(
    "side, name",
    [
        (8, "cifar10_c"),
        (45, "cifar10_c"),
        (46, "tiny_imagenet_c"),
        (119, "tiny_imagenet_c"),
        (120, "imagenet_c"),
        (480, "imagenet_c"),
    ],
)
def test_the_closest_published_size_says_which_constants(side, name):
    assert constants_for(side, 2 * side) == name
    assert {constants_for(s, s) for s in SIDES.values()} == set(SIDES)


@pytest.mark.parametrize("name", corruptions.names())
@pytest.mark.parametrize("shape", [(9, 9), (1100, 17), (20, 300)])
def test_images_of_any_shape_are_corrupted(name, shape):
    image = np.zeros((*shape, 3), np.uint8)
    for severity in SEVERITIES:
        made = corruptions.corrupt(image, name, severity, 0)
        assert made.shape == image.shape


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((flat(0), "fogg", 1, 0), 'no corruption "fogg". Did you mean "fog"'),
        ((flat(0), "fog", 6, 0), "severity must be 1 to 5; got 6"),
        ((flat(0)[..., 0], "fog", 1, 0), r"shape \(height, width, 3\); got"),
        ((flat(0) / 255, "fog", 1, 0), "image must be uint8 .* float64"),
    ],
)
def test_errors_say_what_is_legal(arguments, message):
    with pytest.raises(ValueError, match=message):
        corruptions.corrupt(*arguments)
