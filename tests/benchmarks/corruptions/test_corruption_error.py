"""mCE and its kin, against the published numbers."""

import pytest

from bit_keras.benchmarks.corruptions.error import (
    ALEXNET,
    ALEXNET_CLEAN,
    CONSTANTS,
    mce,
    mean_corruption_error,
    relative_mce,
)

# Hendrycks and Dietterich, arXiv 1903.12261, table 1, ResNet-50: clean error
# 23.9, corruption errors in percent of AlexNet's, mCE 76.7; figure 3: relative
# mCE 105.
RESNET50 = {
    "gaussian_noise": 80,
    "shot_noise": 82,
    "impulse_noise": 83,
    "defocus_blur": 75,
    "glass_blur": 89,
    "motion_blur": 78,
    "zoom_blur": 80,
    "snow": 78,
    "frost": 75,
    "fog": 66,
    "brightness": 57,
    "contrast": 71,
    "elastic_transform": 85,
    "pixelate": 77,
    "jpeg_compression": 77,
}


def errors(ratios):
    return {n: [r / 100 * ALEXNET[n]] * 5 for n, r in ratios.items()}


def test_mce_of_resnet50_is_the_published_one():
    assert 100 * mce(errors(RESNET50)) == pytest.approx(76.7, abs=0.3)


def test_relative_mce_of_resnet50_is_the_published_one():
    relative = 100 * relative_mce(errors(RESNET50), 0.239)
    assert relative == pytest.approx(105, abs=1.0)


def test_the_reference_is_that_of_the_shared_notes(shared):
    text = (shared / "reference" / "evaluation.md").read_text()
    (line,) = [t for t in text.splitlines() if "AlexNet errors:" in t]
    noted = [
        float(word.strip(" .").split()[-1])
        for word in line.split(":", 1)[1].split("·")
    ]
    assert noted == [round(error, 3) for error in ALEXNET.values()]
    assert f"{ALEXNET_CLEAN:.4f}"[1:] in text


def test_means_are_over_severities_first():
    made = {name: [0.0, 0.1, 0.2, 0.3, 0.4] for name in ALEXNET}
    assert mean_corruption_error(made) == pytest.approx(0.2)
    made["fog"] = [1.0] * 5
    assert mean_corruption_error(made) == pytest.approx(0.2 + 0.8 / 15)
    expected = sum(0.2 / error for error in ALEXNET.values()) / 15
    expected += 0.8 / ALEXNET["fog"] / 15
    assert mce(made) == pytest.approx(expected)


@pytest.mark.parametrize("function", [mean_corruption_error, mce])
def test_a_mean_needs_everything(function):
    made = {name: [0.5] * 5 for name in ALEXNET}
    made["snow"] = [0.5] * 4
    with pytest.raises(ValueError, match="all 15 .* snow has 4"):
        function(made)
    del made["snow"]
    with pytest.raises(ValueError, match="snow has 0"):
        function(made)


def test_types_are_those_of_the_corruptions():
    assert list(ALEXNET) == list(CONSTANTS)
