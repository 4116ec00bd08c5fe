"""MixUp against its closed form and the Beta distribution."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from bit_keras.data.mixup import mixup
from bit_keras.steps import targets_of


def batch_of(size: int, classes: int = 5) -> dict[str, tf.Tensor]:
    random = np.random.default_rng(size)
    image = random.uniform(-1, 1, (size, 4, 3, 3)).astype(np.float32)
    return {
        "image": tf.constant(image),
        "label": tf.range(size, dtype=tf.int64) % classes,
        "weight": tf.ones(size),
    }


def shares(alpha: float, count: int) -> np.ndarray:
    """The share of the own image in `count` batches, read off the pixels."""
    pair = {
        "image": tf.reshape([1.0, 0.0], (2, 1, 1, 1)),
        "label": tf.constant([0, 1]),
        "weight": tf.ones(2),
    }

    def share(step: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([tf.constant(0, tf.int64), -1 - step])
        return mixup(pair, alpha, seed)["image"][0, 0, 0, 0]

    @tf.function
    def all_shares() -> tf.Tensor:
        steps = tf.range(count, dtype=tf.int64)
        return tf.map_fn(share, steps, fn_output_signature=tf.float32)

    return all_shares().numpy()


@pytest.mark.parametrize("seed", range(4))
def test_closed_form_with_the_share_read_off_the_pixels(seed):
    batch = batch_of(6)
    own = batch["image"].numpy()
    partner = own[[5, 0, 1, 2, 3, 4]]
    mixed = mixup(batch, 1.0, tf.constant([0, seed]))
    # Least squares for lambda, over all pixels of the batch.
    difference = (own - partner).astype(np.float64)
    share = np.sum((mixed["image"] - partner) * difference)
    share /= np.sum(difference**2)
    assert 0 < share < 1
    np.testing.assert_allclose(
        mixed["image"], share * own + (1 - share) * partner, atol=1e-6
    )
    np.testing.assert_allclose(mixed["mix"], share, atol=1e-6)
    np.testing.assert_array_equal(mixed["partner"], [0, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(mixed["label"], batch["label"])
    targets = targets_of(mixed, 5).numpy()
    expected = np.zeros((6, 5))
    for i, (label, other) in enumerate(
        zip([0, 1, 2, 3, 4, 0], [0, 0, 1, 2, 3, 4], strict=True)
    ):
        expected[i, label] += share
        expected[i, other] += 1 - share
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)


def test_one_share_per_batch_another_in_the_next():
    batch = batch_of(4)
    first = mixup(batch, 1.0, tf.constant([0, 1]))["mix"].numpy()
    assert len(set(first)) == 1
    again = mixup(batch, 1.0, tf.constant([0, 1]))["mix"].numpy()
    np.testing.assert_array_equal(first, again)
    for seed in ([0, 2], [1, 1]):
        other = mixup(batch, 1.0, tf.constant(seed))["mix"].numpy()
        assert other[0] != first[0]


# With alpha 0.01, both Gamma draws underflow float32 in one batch out of six.
@pytest.mark.parametrize("alpha", [0.01, 0.1, 1.0])
def test_share_is_beta_distributed(alpha):
    sample = shares(alpha, 4000)
    beta = stats.beta(alpha, alpha)
    # The ends by counts, since float32 rounds what is close to 1 to 1.
    edges = [0, 1e-3, 0.05, 0.5, 0.95, 1 - 1e-3, 1]
    counts, _ = np.histogram(sample, edges)
    expected = np.diff(beta.cdf(edges)) * len(sample)
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    inner = sample[(sample > 1e-3) & (sample < 1 - 1e-3)]
    low, high = beta.cdf([1e-3, 1 - 1e-3])
    uniform = (beta.cdf(inner) - low) / (high - low)
    assert len(uniform) > 200
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_never_nan(alpha):
    sample = shares(alpha, 3000)
    assert np.isfinite(sample).all()
    assert ((sample >= 0) & (sample <= 1)).all()


def test_unreadable_images_are_not_mixed_in():
    batch = batch_of(5)
    batch["weight"] = tf.constant([1.0, 0.0, 1.0, 1.0, 0.0])
    mixed = mixup(batch, 1.0, tf.constant([0, 3]))
    np.testing.assert_array_equal(mixed["weight"], batch["weight"])
    # The partners of 2 and 0 are the unreadable 1 and 4.
    assert mixed["mix"].numpy()[[0, 2]].tolist() == [1, 1]
    for i in (0, 2):
        np.testing.assert_array_equal(mixed["image"][i], batch["image"][i])
    share = mixed["mix"].numpy()[3]
    assert 0 < share < 1
    own, partner = batch["image"][3], batch["image"][2]
    np.testing.assert_allclose(
        mixed["image"][3], share * own + (1 - share) * partner, atol=1e-6
    )
    targets = targets_of(mixed, 5).numpy()
    np.testing.assert_array_equal(targets[2], [0, 0, 1, 0, 0])
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)


def test_multi_hot_labels_are_mixed():
    batch = batch_of(2)
    batch["label"] = tf.constant([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    mixed = mixup(batch, 1.0, tf.constant([0, 0]))
    share = float(mixed["mix"][0])
    np.testing.assert_allclose(
        targets_of(mixed, 3),
        [[share, 1, 0], [1 - share, 1, 0]],
        atol=1e-6,
    )


def test_single_example_stays_itself():
    batch = batch_of(1)
    mixed = mixup(batch, 0.3, tf.constant([0, 0]))
    np.testing.assert_allclose(mixed["image"], batch["image"], atol=1e-6)
    assert targets_of(mixed, 5).numpy().tolist() == [[1, 0, 0, 0, 0]]
