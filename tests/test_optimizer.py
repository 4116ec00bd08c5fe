"""The optimizer against NumPy, torch and the official rates; any backend."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops

from bit_keras import models
from bit_keras.optimizer import BiTSGD, StepSchedule, from_recipe
from bit_keras.recipe import Optimizer, Recipe, Run, Schedule

# Three float32 roundings.
FLOAT32 = 3 * 2.0**-23


def layers() -> list[keras.layers.Layer]:
    """A small network: a body, a norm and a head, with seeded weights."""
    body = keras.layers.Dense(3, name="body")
    norm = keras.layers.BatchNormalization(name="norm")
    head = keras.layers.Dense(2, name="head")
    body.build((None, 4))
    norm.build((None, 3))
    head.build((None, 3))
    for seed, variable in enumerate(trainable([body, norm, head])):
        random = np.random.default_rng(seed)
        variable.assign(random.normal(size=variable.shape))
    return [body, norm, head]


def trainable(made: list[keras.layers.Layer]) -> list[keras.Variable]:
    return [v for layer in made for v in layer.trainable_variables]


def values(variables: list[keras.Variable]) -> dict[str, np.ndarray]:
    return {
        v.path: np.array(ops.convert_to_numpy(v), np.float64) for v in variables
    }


def gradients(variables: list, step: int) -> list[np.ndarray]:
    random = np.random.default_rng(100 + step)
    return [random.normal(size=v.shape).astype(np.float32) for v in variables]


def train(optimizer: BiTSGD, steps: int) -> dict[str, np.ndarray]:
    variables = trainable(layers())
    for step in range(steps):
        made = gradients(variables, step)
        optimizer.apply([ops.convert_to_tensor(g) for g in made], variables)
    return values(variables)


def reference(
    rates: list[float],
    momentum: float,
    l2: float = 0.0,
    head_l2: float = 1.0,
    head_rate: float = 1.0,
) -> dict[str, np.ndarray]:
    """The same in float64: v <- m v - rate (g + l2 w), w <- w + v."""
    variables = trainable(layers())
    weights = values(variables)
    speed = {path: np.zeros_like(w) for path, w in weights.items()}
    for step, rate in enumerate(rates):
        for variable, gradient in zip(
            variables, gradients(variables, step), strict=True
        ):
            path = variable.path
            is_head = path in ("head/kernel", "head/bias")
            decay = l2 * (head_l2 if is_head else 1)
            if path not in ("body/kernel", "head/kernel"):
                decay = 0
            total = gradient.astype(np.float64) + decay * weights[path]
            scale = rate * (head_rate if is_head else 1)
            speed[path] = momentum * speed[path] - scale * total
            weights[path] = weights[path] + speed[path]
    return weights


def assert_same(got: dict, expected: dict, rtol: float = 1e-5) -> None:
    assert got.keys() == expected.keys()
    for path in got:
        np.testing.assert_allclose(
            got[path], expected[path], rtol, atol=1e-6, err_msg=path
        )


def test_official_learning_rates(shared):
    path = shared / "fixtures" / "hyperrule.json"
    official = json.loads(path.read_text())
    # The released code drops the rate one step after its boundaries.
    schedules = {
        "1000": StepSchedule(0.003, 100, (201, 301, 401)),
        "50000": StepSchedule(0.003, 500, (3001, 6001, 9001)),
        "1281167": StepSchedule(0.003, 500, (6001, 12_001, 18_001)),
    }
    assert official["lr"].keys() == schedules.keys()
    checked = 0
    for size, rates in official["lr"].items():
        for step, expected in rates:
            if expected is None:
                continue
            got = float(schedules[size](step))
            assert got == pytest.approx(expected, rel=FLOAT32), (size, step)
            checked += 1
    assert checked > 1000


def test_schedule_takes_the_optimizer_s_counter():
    schedule = StepSchedule(1.0, 4, (6,), decay=0.5)
    counter = keras.Variable(0, dtype="int32", trainable=False)
    rates = []
    for step in range(8):
        counter.assign(step)
        rate = schedule(counter)
        assert keras.backend.standardize_dtype(rate.dtype) == "float32"
        rates.append(float(rate))
    assert rates == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5]


def test_schedule_without_warmup_and_drops():
    schedule = StepSchedule(0.25)
    assert float(schedule(0)) == float(schedule(10**6)) == 0.25


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l2": 0.1},
        {"l2": 0.1, "head_l2": 3.0, "head_rate": 0.5},
        {"l2": 0.1, "head_l2": 0.0},
        {"l2": 0.0, "head_rate": 10.0},
    ],
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_against_numpy(momentum, options):
    names = {
        "l2": "l2",
        "head_l2": "head_l2_multiplier",
        "head_rate": "head_learning_rate_multiplier",
    }
    optimizer = BiTSGD(
        0.05, momentum, **{names[key]: v for key, v in options.items()}
    )
    expected = reference([0.05] * 5, momentum, **options)
    assert_same(train(optimizer, 5), expected)


def test_momentum_keeps_the_rate_of_its_step():
    # Keras' form of momentum: a drop acts on new gradients alone.
    schedule = StepSchedule(0.1, warmup_steps=2, boundaries=(4,))
    rates = [0.0, 0.05, 0.1, 0.1, 0.01, 0.01]
    optimizer = BiTSGD(schedule, 0.9, l2=0.05)
    assert_same(train(optimizer, 6), reference(rates, 0.9, l2=0.05))


def test_against_torch():
    torch = pytest.importorskip("torch")
    made = trainable(layers())
    weights = {
        path: torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))
        for path, value in values(made).items()
    }
    kernels = [w for path, w in weights.items() if path.endswith("kernel")]
    others = [w for path, w in weights.items() if not path.endswith("kernel")]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": 0.1}, {"params": others}],
        lr=0.05,
        momentum=0.9,
    )
    for step in range(6):
        for weight, gradient in zip(
            weights.values(), gradients(made, step), strict=True
        ):
            weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    expected = {path: w.detach().numpy() for path, w in weights.items()}
    assert_same(train(BiTSGD(0.05, 0.9, l2=0.1), 6), expected)


def test_decay_is_on_kernels_of_the_network_only():
    model = models.create("bit_tiny", num_classes=5)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(ops.ones(variable.shape))
    optimizer = BiTSGD(0.5, 0.0, l2=0.2, head_l2_multiplier=2.0)
    optimizer.apply([ops.zeros(v.shape) for v in variables], variables)
    after = {
        path: np.unique(value) for path, value in values(variables).items()
    }
    changed = {path for path, value in after.items() if value[0] != 1}
    # Convolutions and the head: everything of more than one dimension.
    kernels = {v.path for v in variables if len(v.shape) > 1}
    assert len(kernels) > 10
    assert changed == kernels
    assert after["head/kernel"] == pytest.approx(1 - 0.5 * 0.2 * 2)
    assert after["head/bias"] == 1
    backbone = kernels - {"head/kernel"}
    for path in backbone:
        assert after[path] == pytest.approx(1 - 0.5 * 0.2), path


def test_head_rate_reaches_the_head_of_the_network_only():
    model = models.create("bit_tiny", num_classes=5)
    variables = model.trainable_variables
    before = values(variables)
    optimizer = BiTSGD(0.5, 0.0, head_learning_rate_multiplier=4.0)
    optimizer.apply([ops.ones(v.shape) for v in variables], variables)
    for path, value in values(variables).items():
        expected = 2.0 if path in ("head/kernel", "head/bias") else 0.5
        np.testing.assert_allclose(
            before[path] - value, expected, rtol=1e-5, err_msg=path
        )


def test_config_survives_serialization():
    optimizer = BiTSGD(
        StepSchedule(0.1, 3, (5, 7), decay=0.2),
        momentum=0.8,
        l2=0.05,
        head_l2_multiplier=2.0,
        head_learning_rate_multiplier=3.0,
    )
    # Through JSON, as in a .keras file.
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert type(again) is BiTSGD
    assert again.get_config() == optimizer.get_config()
    assert_same(train(again, 8), train(optimizer, 8), rtol=0)
    schedule = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(StepSchedule(0.1, 3, (5, 7), 0.2))
    )
    assert float(schedule(6)) == pytest.approx(0.02)


RECIPE = Recipe(
    "test",
    optimizer=Optimizer(0.7, 1e-2, 5.0, 6.0),
    schedule=Schedule(0.04, 100, 10, (20, 30), 0.5),
)


def test_from_recipe_uses_every_field():
    optimizer = from_recipe(RECIPE)
    assert optimizer.momentum == 0.7
    assert optimizer.l2 == 1e-2
    assert optimizer.head_l2_multiplier == 5.0
    assert optimizer.head_learning_rate_multiplier == 6.0
    # Keras' own, decoupled decay would be applied on top.
    assert optimizer.weight_decay is None
    optimizer.build(trainable(layers()))
    rates = []
    for step in (5, 10, 20, 30):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx([0.02, 0.04, 0.02, 0.01], rel=FLOAT32)


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="Keras' LossScaleOptimizer.apply leaks tracers under JAX",
)
def test_float16_scales_the_loss_but_not_the_decay():
    schedule = Schedule(0.05, 100, 0, ())
    run = Run(precision="mixed_float16")
    recipe = dataclasses.replace(RECIPE, schedule=schedule, run=run)
    optimizer = from_recipe(recipe)
    variables = trainable(layers())
    optimizer.build(variables)
    scale = float(optimizer.scale_loss(ops.ones(())))
    assert scale > 1000
    for step in range(3):
        made = [scale * g for g in gradients(variables, step)]
        optimizer.apply([ops.convert_to_tensor(g) for g in made], variables)
    expected = reference([0.05] * 3, 0.7, 1e-2, head_l2=5.0, head_rate=6.0)
    assert_same(values(variables), expected)


def test_compile_and_fit():
    recipe = dataclasses.replace(RECIPE, schedule=Schedule(0.5, 1, 0, ()))
    model = models.create("bit_tiny", num_classes=5)
    before = values(model.trainable_variables)
    model.compile(
        from_recipe(recipe),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    images = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3))
    labels = np.array([0, 1, 1, 4])
    history = model.fit(images, labels, batch_size=4, verbose=0)
    assert history.history["loss"] == pytest.approx([np.log(5)], rel=1e-5)
    after = values(model.trainable_variables)
    # The head starts at zero, so that all classes are equally probable, and
    # the backbone gets no gradient but that of its decay.
    gradient = 1 / 5 - np.bincount(labels, minlength=5) / 4
    np.testing.assert_allclose(
        after["head/bias"], -0.5 * 6.0 * gradient, atol=1e-6
    )
    assert np.abs(after["head/kernel"]).max() > 0
    for path, value in before.items():
        if not path.startswith("head/"):
            shrinks = 0.5 * 1e-2 if path.endswith("kernel") else 0
            np.testing.assert_allclose(
                after[path], (1 - shrinks) * value, rtol=1e-6, err_msg=path
            )
