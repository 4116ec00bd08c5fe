"""Losses, micro-batches and the compiled step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from bit_keras import models, optimizer
from bit_keras.recipe import Recipe, Run, Schedule
from bit_keras.steps import Steps, losses, targets_of


def test_softmax_loss_is_minus_log_probability():
    logits = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    labels = np.array([0, 6, 3, 3, 1])
    targets = targets_of({"label": tf.constant(labels)}, 7)
    expected = -special.log_softmax(logits, -1)[np.arange(5), labels]
    np.testing.assert_allclose(
        losses("softmax", targets, tf.constant(logits)), expected, rtol=1e-5
    )


def test_sigmoid_loss_sums_over_classes():
    logits = np.random.default_rng(1).normal(size=(4, 6)).astype("float32")
    targets = np.array([[1, 0, 1, 0, 0, 0]] * 4, "float32")
    probability = special.expit(logits)
    expected = -np.log(np.where(targets == 1, probability, 1 - probability))
    np.testing.assert_allclose(
        losses("sigmoid", tf.constant(targets), tf.constant(logits)),
        expected.sum(-1),
        rtol=1e-5,
    )


def test_unknown_loss_names_the_legal_ones():
    with pytest.raises(ValueError, match="softmax.*sigmoid.*hinge"):
        losses("hinge", tf.zeros((1, 2)), tf.zeros((1, 2)))


def test_mixed_targets_carry_both_labels():
    batch = {
        "label": tf.constant([0, 1]),
        "partner": tf.constant([1, 1]),
        "mix": tf.constant([0.75, 0.5]),
    }
    np.testing.assert_allclose(
        targets_of(batch, 3), [[0.75, 0.25, 0], [0, 1, 0]]
    )


def make_steps(micro_batch=None, precision="float32", xla=False, **options):
    recipe = Recipe(
        "test",
        schedule=Schedule(0.1, steps=9, warmup_steps=0, boundaries=()),
        run=Run(8, micro_batch=micro_batch, precision=precision, xla=xla),
    )
    keras.utils.set_random_seed(3)
    model = models.create("bit_tiny", 5, dtype=precision, **options)
    strategy = tf.distribute.get_strategy()
    return Steps(model, optimizer.from_recipe(recipe), recipe, strategy)


def batches(count=3):
    rng = np.random.default_rng(5)
    shape = (count, 8, 16, 16, 3)
    return iter(
        tf.data.Dataset.from_tensor_slices(
            {
                "image": rng.uniform(-1, 1, shape).astype("float32"),
                "label": rng.integers(0, 5, (count, 8)),
                "weight": np.ones((count, 8), "float32"),
            }
        )
    )


def weights_after(steps, count=3):
    sums, bad_step = steps.train(batches(count), tf.constant(count))
    assert int(bad_step) == 0
    return sums, [v.numpy() for v in steps.model.trainable_variables]


def assert_same_weights(one, other, rtol=1e-5):
    for a, b in zip(one, other, strict=True):
        scale = max(np.abs(a).max(), 1e-3)
        np.testing.assert_allclose(a / scale, b / scale, atol=rtol)


@pytest.fixture(scope="module")
def plain():
    """Sums, and weights afterwards, of whole batches in float32 without XLA."""
    return weights_after(make_steps())


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_micro_batches_equal_the_full_batch(micro_batch, plain):
    full_sums, full = plain
    sums, weights = weights_after(make_steps(micro_batch))
    assert_same_weights(full, weights)
    for key in full_sums:
        np.testing.assert_allclose(sums[key], full_sums[key], rtol=1e-5)


def test_one_step_is_sgd_by_hand():
    steps = make_steps()
    model = steps.model
    before = [v.numpy() for v in model.trainable_variables]
    batch = next(batches(1))
    with tf.GradientTape() as tape:
        logits = model(batch["image"], training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                batch["label"], logits
            )
        )
    gradients = tape.gradient(
        loss, [v.value for v in model.trainable_variables]
    )
    _, after = weights_after(steps, 1)
    expected = [
        w - 0.1 * g.numpy() for w, g in zip(before, gradients, strict=True)
    ]
    assert_same_weights(expected, after, rtol=1e-6)


def test_examples_of_weight_zero_do_not_count():
    one, other = make_steps(), make_steps()
    batch = next(batches(1))
    weight = np.array([1, 1, 1, 1, 1, 1, 1, 0], "float32")
    garbage = batch["image"].numpy()
    garbage[-1] = 100.0
    for steps, image in ((one, batch["image"]), (other, garbage)):
        data = {**batch, "image": image, "weight": weight}
        data = tf.data.Dataset.from_tensors(data)
        sums, _ = steps.train(iter(data), tf.constant(1))
        assert float(sums["weight"]) == 7
    for a, b in zip(one.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_xla_gives_the_same_weights(plain):
    _, compiled = weights_after(make_steps(xla=True))
    assert_same_weights(plain[1], compiled, rtol=1e-4)


def test_remat_gives_the_same_weights_with_micro_batches(plain):
    _, remat = weights_after(make_steps(micro_batch=2, remat=True))
    assert_same_weights(plain[1], remat)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_near_float32(precision, plain):
    sums, weights = plain
    mixed_sums, mixed = weights_after(make_steps(precision=precision))
    assert all(w.dtype == np.float32 for w in mixed)
    np.testing.assert_allclose(mixed_sums["loss"], sums["loss"], rtol=0.02)
    moved = [
        np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-3)
        for a, b in zip(weights, mixed, strict=True)
    ]
    assert max(moved) < 0.5


def test_first_step_with_infinite_loss_is_named():
    steps = make_steps()
    good, bad, _ = list(batches(3))
    bad = {**bad, "image": bad["image"] * np.nan}
    data = tf.data.Dataset.from_tensor_slices(
        {k: tf.stack([good[k], bad[k], good[k]]) for k in good}
    )
    _, bad_step = steps.train(iter(data), tf.constant(3))
    assert int(bad_step) == 2


def test_indivisible_batch_is_refused(monkeypatch):
    recipe = Recipe("test", run=Run(8, micro_batch=3))
    model = models.create("bit_tiny", 5)
    strategy = tf.distribute.get_strategy()
    with pytest.raises(ValueError, match="--micro-batch 3; got 8"):
        Steps(model, None, recipe, strategy)
    # Fewer images than devices.
    recipe = Recipe("test", run=Run(4))
    monkeypatch.setattr(type(strategy), "num_replicas_in_sync", 8)
    with pytest.raises(ValueError, match="multiple of 8 devices; got 4"):
        Steps(model, None, recipe, strategy)


def test_evaluate_leaves_weights_alone():
    steps = make_steps()
    before = [v.numpy() for v in steps.model.variables]
    sums = steps.evaluate(next(batches(1)))
    assert float(sums["weight"]) == 8
    # A zero head scores every class alike.
    np.testing.assert_allclose(float(sums["loss"]) / 8, np.log(5), rtol=1e-6)
    for a, b in zip(before, steps.model.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_no_number_is_no_answer():
    steps = make_steps()
    head = steps.model.layers[-1]
    head.bias.assign([np.nan] * 5)
    batch = {**next(batches(1)), "label": tf.zeros(8, tf.int64)}
    assert float(steps.evaluate(batch)["correct"]) == 0
