"""ViT and MLP-Mixer against the outputs of the official code."""

import keras
import numpy as np
import pytest

from bit_keras import checkpoints, models
from bit_keras.models.tokens import gelu
from bit_keras.models.vit import Positions

# Fixture, ours, the maker's function.
FIXTURES = (
    ("vit_ti16_224", "vit_ti16", "make_vit"),
    ("mixer_s32_224", "mixer_s32", "make_mixer"),
)


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda one: one[1])
def case(request, parity, shared, tmp_path_factory):
    """A fixture, our network with its weights, and the weight file."""
    fixture, name, make = request.param
    values = dict(np.load(shared / "fixtures" / f"{fixture}.npz"))
    maker = parity.make_checkpoint(shared / "fixtures")
    classes = int(values["num_classes"])
    weights = getattr(maker, make)(
        num_classes=classes, seed=int(values["weight_seed"])
    )
    np.testing.assert_allclose(
        maker.fingerprint(weights), values["weight_fingerprint"], rtol=1e-9
    )
    path = tmp_path_factory.mktemp("official") / "official.npz"
    np.savez(path, **weights)
    model = models.create(name, num_classes=classes)
    checkpoints.load(model, path)
    batch, height, width, _ = values["input_shape"]
    images = maker.make_input(int(values["input_seed"]), height, width, batch)
    return values, model, path, images


def test_every_endpoint_is_the_official_one(case):
    values, model, _, images = case
    ends = models.endpoints(model, tuple(model.endpoint_tensors))(images)
    ends = {k: keras.ops.convert_to_numpy(v) for k, v in ends.items()}
    for name in ("pre_logits", "logits"):
        error = abs(ends[name] - values[name]).max()
        assert error < 1e-5 * abs(values[name]).max()
    # Ours count from 1.
    stages = {f"block{n + 1:02d}": f"block{n:02d}" for n in range(model.depth)}
    for ours, theirs in {**stages, "encoded": "encoded"}.items():
        for part, got in (
            ("first_token", ends[ours][:, 0]),
            ("last_token", ends[ours][:, -1]),
            ("mean", ends[ours].mean(axis=1)),
        ):
            expected = values[f"{theirs}_{part}"]
            assert abs(got - expected).max() < 1e-5 * abs(expected).max()
    error = abs(ends["embedding"][:, 0, 0] - values["embedding_first_token"])
    assert error.max() < 1e-4


def test_weights_come_back_under_their_official_names(case, tmp_path):
    _, model, path, images = case
    checkpoints.save(model, tmp_path / "ours.npz")
    with np.load(path) as official, np.load(tmp_path / "ours.npz") as ours:
        assert set(official) == set(ours)
        assert all((official[key] == ours[key]).all() for key in official)
    for name in ("ours.weights.h5", "ours.keras"):
        checkpoints.save(model, tmp_path / name)
        other = models.create(model.name, num_classes=model.num_classes)
        checkpoints.load(other, tmp_path / name)
        np.testing.assert_array_equal(other(images), model(images))


def test_another_network_is_refused_by_name(case, tmp_path):
    _, model, path, _ = case
    with pytest.raises(ValueError) as error:
        checkpoints.load(models.create("bit_tiny", 13), path)
    assert f"looks like {model.name} with 13 classes" in str(error.value)


@pytest.mark.parametrize(
    "name, millions",
    # arXiv 2010.11929, table 1; arXiv 2105.01601, table 1. At 1000 classes,
    # which adds at most 1.3 million.
    [
        ("vit_b16", 86),
        ("vit_l16", 307),
        ("vit_h14", 632),
        ("mixer_s32", 19),
        ("mixer_s16", 18),
        ("mixer_b32", 60),
        ("mixer_b16", 59),
        ("mixer_l16", 207),
    ],
)
def test_parameters_are_as_many_as_published(name, millions):
    arguments = models.arguments(name)
    blocks = []
    # Depth 1 and 2 give the parameters of a block, without 2 GB of weights.
    for depth in (1, 2):
        make = models.create(name, num_classes=0, depth=depth)
        blocks.append(make.count_params())
    count = blocks[0] + (arguments["depth"] - 1) * (blocks[1] - blocks[0])
    # The paper's counts include heads, and 1 % more for L.
    assert count / 1e6 == pytest.approx(millions, rel=0.013, abs=1.3)


def test_position_embeddings_are_interpolated():
    layer = Positions(grid=2, class_token=False)
    nothing = np.zeros((1, 4, 4, 1), "float32")
    layer(nothing)
    layer.embedding.assign(np.array([0, 1, 2, 3]).reshape(1, 4, 1))
    got = keras.ops.convert_to_numpy(layer(nothing)).reshape(4, 4)
    # Half-pixel centres: places -0.25, 0.25, 0.75, 1.25, held at the border.
    along = np.array([0, 0.25, 0.75, 1])
    np.testing.assert_allclose(got, along + 2 * along[:, None], atol=1e-6)
    same = keras.ops.convert_to_numpy(layer(nothing[:, :2, :2]))
    assert same.ravel().tolist() == [0, 1, 2, 3]


def test_gelu_is_the_tanh_form():
    # The exact form gives 0.158655 at -1; jax.nn.gelu(-1.0) is -0.15880796.
    assert float(gelu(np.float32(-1))) == pytest.approx(-0.158808, abs=1e-6)


def test_kernels_start_as_in_the_official_code():
    # LeCun's 1 / sqrt(inputs) is Flax's default, for the embedding of patches
    # and all of a Mixer; Xavier's sqrt(2 / (inputs + outputs)) is asked for in
    # the blocks of a ViT.  In vit_s32, heads together are as wide as a token.
    square, mlp = (2 / (384 + 384)) ** 0.5, (2 / (384 + 1536)) ** 0.5
    expected = {
        "vit_s32": {
            "embedding": 3072**-0.5,
            "encoderblock_0/attention/query": square,
            "encoderblock_0/attention/attention_output": square,
            "encoderblock_0/mlp/dense_0": mlp,
            "encoderblock_0/mlp/dense_1": mlp,
        },
        "mixer_s32": {
            "embedding": 3072**-0.5,
            "MixerBlock_0/token_mixing/dense_0": 49**-0.5,
            "MixerBlock_0/token_mixing/dense_1": 256**-0.5,
            "MixerBlock_0/channel_mixing/dense_0": 512**-0.5,
            "MixerBlock_0/channel_mixing/dense_1": 2048**-0.5,
        },
    }
    for name, deviations in expected.items():
        weights = {v.path: v for v in models.create(name, 0).variables}
        for layer, deviation in deviations.items():
            kernel = keras.ops.convert_to_numpy(weights[f"{layer}/kernel"])
            assert kernel.std() == pytest.approx(deviation, rel=0.03), layer


@pytest.mark.parametrize("name", ["vit_tiny", "mixer_tiny"])
def test_small_ones_learn_and_survive_a_file(name, tmp_path):
    model = models.create(name, num_classes=3)
    images = np.random.default_rng(0).uniform(-1, 1, (6, 32, 32, 3))
    labels = np.arange(6) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    losses = model.fit(images, labels, epochs=40, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(np.log(3), abs=1e-3)
    assert losses[-1] < 0.2
    model.save(tmp_path / "model.keras")
    again = models.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"patch": 5}, "patch must divide image_size; got 5 and 32"),
        ({"heads": 5}, "heads must divide width; got 5 and 64"),
        ({"pool": "max"}, 'pool must be "token" or "mean"; got "max"'),
        ({"norm": "batch"}, 'vit_tiny has no option "norm"'),
        ({"haeds": 2}, 'Did you mean "heads"?'),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValueError, match="^.*") as error:
        models.create("vit_tiny", **options)
    assert message in str(error.value)
