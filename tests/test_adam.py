"""Adam against its formula, torch and several devices; smooth schedules."""

import json
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from bit_keras import models
from bit_keras.optimizer import BiTSGD, DecoupledAdam, from_recipe
from bit_keras.recipe import Optimizer, Recipe, Schedule
from bit_keras.schedules import SmoothSchedule

# Path, and whether it is decayed and the head's.
VARIABLES = {
    "body/kernel": (True, False),
    "body/bias": (False, False),
    "positions/pos_embedding": (False, False),
    "head/kernel": (True, True),
    "head/bias": (False, True),
}


def variables():
    """Variables with seeded values, whose paths are those above."""
    made = []
    for seed, path in enumerate(VARIABLES):
        layer, name = path.split("/")
        value = np.random.default_rng(seed).normal(size=(3, 2))
        with keras.name_scope(layer):
            made.append(keras.Variable(value.astype("float32"), name=name))
    assert [v.path for v in made] == list(VARIABLES)
    return made


def gradients(step):
    random = np.random.default_rng(100 + step)
    # Of very different sizes, so that epsilon and the moments matter.
    scales = (1.0, 1e-3, 1e-7, 10.0, 1.0)
    return [s * random.normal(size=(3, 2)).astype("float32") for s in scales]


def train(optimizer, steps):
    made = variables()
    for step in range(steps):
        optimizer.apply(
            [ops.convert_to_tensor(g) for g in gradients(step)], made
        )
    return [np.array(ops.convert_to_numpy(v), np.float64) for v in made]


def reference(rates, decay=0.0, head_decay=1.0, head_rate=1.0, clip=None):
    """Adam of Kingma & Ba, algorithm 1, and AdamW's decay, in float64."""
    weights = [
        np.array(ops.convert_to_numpy(v), np.float64) for v in variables()
    ]
    first = [np.zeros((3, 2)) for _ in weights]
    second = [np.zeros((3, 2)) for _ in weights]
    for step, rate in enumerate(rates):
        given = [g.astype(np.float64) for g in gradients(step)]
        norm = math.sqrt(sum((g**2).sum() for g in given))
        if clip is not None and norm > clip:
            given = [g * clip / norm for g in given]
        for i, (kernel, head) in enumerate(VARIABLES.values()):
            first[i] = 0.9 * first[i] + 0.1 * given[i]
            second[i] = 0.999 * second[i] + 0.001 * given[i] ** 2
            m = first[i] / (1 - 0.9 ** (step + 1))
            v = second[i] / (1 - 0.999 ** (step + 1))
            pull = decay * kernel * (head_decay if head else 1)
            change = m / (np.sqrt(v) + 1e-8) + pull * weights[i]
            weights[i] -= rate * (head_rate if head else 1) * change
    return weights


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ({}, {}),
        ({"decoupled_decay": 0.3}, {"decay": 0.3}),
        (
            {
                "decoupled_decay": 0.3,
                "head_decay_multiplier": 100.0,
                "head_learning_rate_multiplier": 0.1,
            },
            {"decay": 0.3, "head_decay": 100.0, "head_rate": 0.1},
        ),
        ({"clip_norm": 1.0}, {"clip": 1.0}),
        ({"clip_norm": 1e6}, {}),
    ],
)
def test_against_the_formula(ours, theirs):
    got = train(DecoupledAdam(0.02, **ours), 6)
    for one, other in zip(got, reference([0.02] * 6, **theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_against_torch():
    torch = pytest.importorskip("torch")
    weights = [
        torch.nn.Parameter(torch.tensor(ops.convert_to_numpy(v)).double())
        for v in variables()
    ]
    kernels = [
        w
        for w, (kernel, _) in zip(weights, VARIABLES.values(), strict=True)
        if kernel
    ]
    others = [w for w in weights if all(w is not k for k in kernels)]
    optimizer = torch.optim.AdamW(
        [{"params": kernels}, {"params": others, "weight_decay": 0.0}],
        lr=0.02,
        weight_decay=0.3,
    )
    for step in range(6):
        for weight, gradient in zip(weights, gradients(step), strict=True):
            weight.grad = torch.tensor(gradient).double()
        torch.nn.utils.clip_grad_norm_(weights, 2.0)
        optimizer.step()
    got = train(DecoupledAdam(0.02, decoupled_decay=0.3, clip_norm=2.0), 6)
    for one, other in zip(got, weights, strict=True):
        np.testing.assert_allclose(
            one, other.detach().numpy(), rtol=2e-5, atol=2e-6
        )


def test_decay_without_gradient_shrinks_by_the_rate():
    made = variables()
    before = [np.array(ops.convert_to_numpy(v)) for v in made]
    optimizer = DecoupledAdam(0.5, decoupled_decay=0.2)
    optimizer.apply([ops.zeros((3, 2)) for _ in made], made)
    for variable, old, (kernel, _) in zip(
        made, before, VARIABLES.values(), strict=True
    ):
        # 1 - 0.5 * 0.2.
        np.testing.assert_allclose(
            ops.convert_to_numpy(variable), old * (0.9 if kernel else 1), 1e-6
        )


def test_without_momentum_the_first_step_is_the_sign():
    made = variables()
    before = np.array(ops.convert_to_numpy(made[0]))
    optimizer = DecoupledAdam(0.5, beta_1=0.0)
    given = [ops.convert_to_tensor(g) for g in gradients(0)]
    optimizer.apply(given, made)
    np.testing.assert_allclose(
        ops.convert_to_numpy(made[0]),
        before - 0.5 * np.sign(gradients(0)[0]),
        rtol=1e-5,
    )


def test_sgd_clips_before_its_decay():
    made = variables()
    before = np.array(ops.convert_to_numpy(made[0]))
    given = gradients(0)
    norm = math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in given))
    assert norm > 2
    optimizer = BiTSGD(0.5, 0.0, l2=0.1, clip_norm=2.0)
    optimizer.apply([ops.convert_to_tensor(g) for g in given], made)
    np.testing.assert_allclose(
        ops.convert_to_numpy(made[0]),
        before - 0.5 * (given[0] * 2 / norm + 0.1 * before),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["vit_nano", "mixer_nano"])
def test_all_kernels_of_a_network_are_decayed_and_nothing_else(name):
    model = models.create(name, num_classes=5)
    made = model.trainable_variables
    for variable in made:
        variable.assign(ops.ones(variable.shape))
    optimizer = DecoupledAdam(0.5, decoupled_decay=0.2)
    optimizer.apply([ops.zeros(v.shape) for v in made], made)
    changed = {v.path for v in made if np.any(ops.convert_to_numpy(v) != 1)}
    assert changed == {v.path for v in made if v.path.endswith("/kernel")}
    assert {v.path for v in made} - changed == {
        v.path
        for v in made
        if v.path.endswith(("bias", "gamma", "beta", "pos_embedding"))
    }


TWO_DEVICES = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
import keras
from bit_keras.distribution import strategy
from bit_keras.optimizer import DecoupledAdam
for name in ("mirrored", "one"):
    made = strategy(name)
    with made.scope():
        weight = keras.Variable(np.ones(2, "float32"), name="kernel")
        optimizer = DecoupledAdam(0.1, clip_norm=1.0, decoupled_decay=0.5)
        optimizer.build([weight])
    @tf.function
    def step(scale):
        def replica():
            # Each device has half of the gradient (3, 4), then of a small one.
            share = scale / made.num_replicas_in_sync
            gradient = share * tf.constant([3.0, 4.0])
            optimizer.apply([gradient], [weight.value])
        made.run(replica)
    for scale in (1.0, 0.1, 1.0):
        step(tf.constant(scale))
    print(made.num_replicas_in_sync, weight.numpy().tolist())
"""


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute"
)
def test_gradients_are_clipped_after_all_devices_are_added_up():
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    two, one = done.stdout.splitlines()
    assert (two[0], one[0]) == ("2", "1")
    got, expected = json.loads(two[2:]), json.loads(one[2:])
    assert got == pytest.approx(expected, rel=1e-6)
    # (0.6, 0.8), (0.3, 0.4), (0.6, 0.8) is what Adam should see.
    weights, m, v = np.ones(2), np.zeros(2), np.zeros(2)
    for t, scale in enumerate((1.0, 0.5, 1.0), start=1):
        gradient = scale * np.array([0.6, 0.8])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        root = np.sqrt(v / (1 - 0.999**t))
        weights -= 0.1 * (m / (1 - 0.9**t) / root + 0.5 * weights)
    assert got == pytest.approx(list(weights), rel=1e-5)


# create_learning_rate_schedule of big_vision, by hand, at 100 of 1100 steps.
@pytest.mark.parametrize(
    "shape, step, expected",
    [
        ("linear", 0, 0.0),
        ("linear", 50, 0.5),
        ("linear", 100, 1.0),
        ("linear", 350, 0.75),
        ("linear", 1100, 0.0),
        ("linear", 2000, 0.0),
        ("cosine", 99, 0.99),
        ("cosine", 100, 1.0),
        ("cosine", 350, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 600, 0.5),
        ("cosine", 1100, 0.0),
        ("rsqrt", 50, 0.5),
        ("rsqrt", 100, 1.0),
        ("rsqrt", 400, 0.5),
        ("rsqrt", 1000, math.sqrt(0.1)),
    ],
)
def test_rates_at_the_boundaries(shape, step, expected):
    schedule = SmoothSchedule(2.0, 1100, shape, warmup_steps=100)
    rate = schedule(step)
    assert keras.backend.standardize_dtype(rate.dtype) == "float32"
    assert float(rate) == pytest.approx(2 * expected, rel=1e-6, abs=1e-7)


def test_a_cooldown_ends_at_zero():
    cooled = SmoothSchedule(1.0, 1000, "rsqrt", 100, cooldown_steps=200)
    plain = SmoothSchedule(1.0, 1000, "rsqrt", 100)
    assert float(cooled(800)) == float(plain(800))
    assert float(cooled(900)) == pytest.approx(float(plain(900)) / 2, rel=1e-6)
    assert float(cooled(1000)) == 0.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1.0, 10, "stair"), 'linear, cosine or rsqrt; got "stair"'),
        ((1.0, 10, "rsqrt"), "schedule.shape=rsqrt needs a warm-up"),
        ((1.0, 10, "cosine", 6, 5), "into 10 steps; got 6 and 5"),
    ],
)
def test_impossible_schedules_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        SmoothSchedule(*arguments)


def test_from_recipe_uses_every_field_and_survives_serialization():
    recipe = Recipe(
        "test",
        optimizer=Optimizer(0.8, 0.3, 5.0, 6.0, name="adam", clip_norm=2.0),
        schedule=Schedule(0.04, 100, 10, (), shape="cosine", cooldown_steps=20),
    )
    optimizer = from_recipe(recipe)
    assert (optimizer.beta_1, optimizer.beta_2) == (0.8, 0.999)
    assert optimizer.epsilon == 1e-8
    assert optimizer.decoupled_decay == 0.3
    assert optimizer.head_decay_multiplier == 5.0
    assert optimizer.head_learning_rate_multiplier == 6.0
    assert optimizer.clip_norm == 2.0
    # Keras' own, which spares nothing, and its own clipping.
    assert optimizer.weight_decay is None
    assert optimizer.global_clipnorm is None
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert type(again) is DecoupledAdam
    assert again.get_config() == optimizer.get_config()
    for one, other in zip(train(again, 12), train(optimizer, 12), strict=True):
        np.testing.assert_array_equal(one, other)
