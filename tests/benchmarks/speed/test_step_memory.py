import dataclasses

import pytest

from bit_keras.benchmarks.speed.step_memory import (
    Step,
    fixed_bytes,
    image_bytes,
    largest_batch,
    step_bytes,
)

PLAIN = Step("bit_r50x1", 224, 32)


def test_fixed_bytes_by_hand():
    # 25,549,352 parameters: weights, momentum, gradients.
    assert fixed_bytes(PLAIN) == 4 * 3 * 25_549_352
    micro = dataclasses.replace(PLAIN, micro_batch=4)
    assert fixed_bytes(micro) - fixed_bytes(PLAIN) == 4 * 2 * 25_549_352
    # 23,454,912 of them are kernels of convolutions.
    remat = dataclasses.replace(PLAIN, remat=True)
    assert fixed_bytes(remat) - fixed_bytes(PLAIN) == 4 * 23_454_912


def test_image_bytes_are_about_twice_the_convolutions_outputs():
    # timm's table: 44.46 million outputs of convolutions at 448 pixels.
    kept = image_bytes(Step("bit_r50x1", 448, 1)) / 4
    assert 2 * 44.46e6 < kept < 2.5 * 44.46e6


def test_what_a_step_needs_grows_as_it_should():
    def needed(**changes):
        return step_bytes(dataclasses.replace(PLAIN, **changes))

    assert 0.5 * needed() < needed(remat=True) < 0.7 * needed()
    assert needed(micro_batch=8) < 0.4 * needed()
    # Of a larger batch in micro-batches nothing is kept.
    assert needed(micro_batch=8, batch_size=512) == needed(micro_batch=8)
    assert needed(precision="mixed_bfloat16") < needed()
    # Four times the pixels, and images are most of it.
    assert needed(resolution=448) / needed() == pytest.approx(3.7, abs=0.1)


@pytest.mark.parametrize("remat", [False, True])
def test_the_largest_batch_just_fits(remat):
    largest = largest_batch(Step("bit_r101x3", 224, 1, remat), 40e9)
    assert largest > 1
    fits = Step("bit_r101x3", 224, largest, remat)
    assert step_bytes(fits) <= 40e9
    assert step_bytes(fits) + image_bytes(fits) > 40e9


def test_what_does_not_fit_is_0():
    assert largest_batch(Step("bit_r152x4", 480, 1), 14e9) == 0
