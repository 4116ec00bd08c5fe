"""The SavedModel itself: what it gives, and what can be done with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bit_keras import checkpoints, cpu_graphs, models
from bit_keras.export import saved_model, source
from bit_keras.export.folding import fold

# Odd sizes, batches of one and more.
SHAPES = ((1, 32, 32, 3), (3, 48, 40, 3), (2, 65, 33, 3))
LABELS = [f"digit {i}" for i in range(10)]


def written(model, path, serving=None, **options):
    """Writes a SavedModel and loads it."""
    saved_model.write(model, path, serving, **options)
    return tf.saved_model.load(path)


@pytest.fixture(scope="module")
def model(network):
    return network()


@pytest.fixture(scope="module")
def loaded(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved")
    return written(model, path, saved_model.Serving(24, LABELS))


def random(shape, seed=0):
    return tf.random.stateless_uniform(shape, (seed, 0))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_output_is_the_models(model, loaded, shape):
    images = random(shape)
    ends = models.endpoints(model, tuple(model.endpoint_tensors))
    want = {
        # Averaged over pixels where there are any.
        name: tf.reduce_mean(t, (1, 2)) if len(t.shape) == 4 else t
        for name, t in ends(images * 2 - 1).items()
    }
    got = loaded.signatures["intermediates"](images=images)
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)
    close = dict(rtol=1e-5, atol=1e-6)
    features = want["pre_logits"]
    for training in (False, True):
        np.testing.assert_allclose(
            loaded(images, training=training), features, **close
        )
    np.testing.assert_allclose(loaded(images), features, **close)
    (served,) = loaded.signatures["serving_default"](images=images).values()
    np.testing.assert_allclose(served, features, **close)
    (logits,) = loaded.signatures["logits"](images=images).values()
    np.testing.assert_allclose(logits, want["logits"], **close)


def test_no_part_needs_xla(model, tmp_path, monkeypatch):
    """Not every program that serves a SavedModel can compile."""
    monkeypatch.setattr(cpu_graphs, "_PAYS", 0)
    saved_model.write(model, tmp_path / "saved", None)
    saved = saved_model_pb2.SavedModel.FromString(
        (tmp_path / "saved" / "saved_model.pb").read_bytes()
    )
    functions = saved.meta_graphs[0].graph_def.library.function
    assert len(functions) > 10
    assert not [f for f in functions if f.attr["_XlaMustCompile"].b]


def test_variables_are_the_backbones(model, loaded):
    body = [v for v in model.variables if not v.path.startswith("head/")]
    assert len(loaded.variables) == len(body)
    assert len(loaded.trainable_variables) == len(body)
    for mine, theirs in zip(body, loaded.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    head = [v for v in model.variables if v.path.startswith("head/")]
    for mine, theirs in zip(head, loaded.head_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_regularization_losses_are_those_of_the_weights(model, loaded):
    kernels = [
        v
        for v in model.trainable_variables
        if v.path.endswith("kernel") and not v.path.startswith("head/")
    ]
    want = [1e-4 * np.square(v).sum() for v in kernels]
    got = [penalty().numpy() for penalty in loaded.regularization_losses]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # They follow the weights, as fine-tuning needs.
    with tf.GradientTape() as tape:
        total = tf.add_n([p() for p in loaded.regularization_losses])
    gradients = tape.gradient(total, loaded.trainable_variables)
    assert sum(g is not None for g in gradients) == len(kernels)


def test_every_weight_gets_a_gradient(loaded):
    images = random((2, 32, 32, 3))
    with tf.GradientTape() as tape:
        features = loaded(images, training=True)
        loss = tf.reduce_sum(features * random(features.shape, 1))
    for variable, gradient in zip(
        loaded.trainable_variables,
        tape.gradient(loss, loaded.trainable_variables),
        strict=True,
    ):
        assert gradient is not None, variable.name
        assert tf.reduce_max(abs(gradient)) > 0, variable.name


def test_training_moves_the_statistics_of_batch_norm(network, tmp_path):
    model = network(norm="batch")
    loaded = written(model, tmp_path)
    assert len(loaded.trainable_variables) < len(loaded.variables)
    images = random((4, 32, 32, 3))

    def moving():
        return [v.numpy() for v in loaded.variables if "moving" in v.name]

    before = moving()
    assert before
    calm = loaded(images, training=False)
    np.testing.assert_allclose(
        calm,
        models.endpoints(model, "pre_logits")(images * 2 - 1)["pre_logits"],
        rtol=1e-5,
        atol=1e-6,
    )
    for a, b in zip(before, moving(), strict=True):
        np.testing.assert_array_equal(a, b)
    stirred = loaded(images, training=True)
    assert np.abs(stirred - calm).max() > 1e-3
    for a, b in zip(before, moving(), strict=True):
        assert np.abs(a - b).max() > 0


def test_official_weights_give_the_official_outputs(
    shared, make_checkpoint, tmp_path
):
    """The whole way: .npz, network, SavedModel, images in [0, 1]."""
    with np.load(shared / "fixtures" / "bit_tiny1111_57x70.npz") as fixture:
        f = dict(fixture)
    weights = make_checkpoint.make_bit(
        tuple(f["blocks"]),
        int(f["width_factor"]),
        int(f["num_classes"]),
        int(f["weight_seed"]),
    )
    np.savez(tmp_path / "official.npz", **weights)
    batch, height, width, _ = (int(size) for size in f["input_shape"])
    images = make_checkpoint.make_input(
        int(f["input_seed"]), height, width, batch, float(f["input_amplitude"])
    )
    model = source.load(tmp_path / "official.npz").model
    loaded = written(model, tmp_path / "saved")
    images = tf.constant((images + 1) / 2)
    got = {
        "pre_logits": loaded(images),
        "logits": loaded.signatures["logits"](images=images)["logits"],
    }
    for name, value in got.items():
        # The tolerance that the fixtures' README advises.
        limit = 3e-5 * np.abs(f[name]).max()
        assert np.abs(value - f[name]).max() <= limit, name


def encoded_images():
    """A colour JPEG, a gray PNG and a gray JPEG, of different sizes."""
    pixels = tf.random.stateless_uniform(
        (40, 56, 3), (3, 0), maxval=256, dtype=tf.int32
    )
    pixels = tf.cast(pixels, tf.uint8)
    return [
        tf.io.encode_jpeg(pixels),
        tf.io.encode_png(pixels[:30, :, :1]),
        tf.io.encode_jpeg(pixels[:, :20, :1], format="grayscale"),
    ]


def by_hand(model, file, side, activation):
    """Decodes, resizes and asks the model: probabilities of one image."""
    image = tf.io.decode_image(file, channels=3, expand_animations=False)
    image = tf.image.resize(image, (side, side), "bilinear", antialias=False)
    logits = model(image[None] / 127.5 - 1)
    return activation(logits)[0].numpy()


def test_encoded_images_are_served(model, loaded):
    files = encoded_images()
    answer = loaded.signatures["serve_encoded"](tf.stack(files))
    assert answer["classes"].shape == (3, 5)
    for row, file in enumerate(files):
        want = by_hand(model, file, 24, tf.nn.softmax)
        order = np.argsort(-want)[:5]
        names = [name.decode() for name in answer["classes"][row].numpy()]
        assert names == [LABELS[i] for i in order]
        np.testing.assert_allclose(
            answer["probabilities"][row], want[order], rtol=1e-4
        )


def test_few_classes_with_sigmoid_are_served(network, tmp_path):
    model = network(num_classes=3)
    serving = saved_model.Serving(16, ("ä", "b c", ""), "sigmoid")
    loaded = written(model, tmp_path, serving)
    (file, *_) = encoded_images()
    answer = loaded.signatures["serve_encoded"](tf.stack([file]))
    want = by_hand(model, file, 16, tf.nn.sigmoid)
    order = np.argsort(-want)
    np.testing.assert_allclose(
        answer["probabilities"][0], want[order], rtol=1e-4
    )
    names = [name.decode() for name in answer["classes"][0].numpy()]
    assert names == [("ä", "b c", "")[i] for i in order]


def test_a_file_that_is_no_image(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image"):
        loaded.signatures["serve_encoded"](tf.constant([b"no image"]))


def test_a_module_that_returns_logits(network, tmp_path):
    model = network(num_classes=3)
    serving = saved_model.Serving(16, LABELS[:3])
    loaded = written(model, tmp_path, serving, output="logits")
    images = random((2, 32, 32, 3))
    want = model(images * 2 - 1)
    np.testing.assert_allclose(loaded(images), want, rtol=1e-5, atol=1e-6)
    assert len(loaded.variables) == len(model.variables)
    signatures = loaded.signatures
    assert set(signatures) == {
        "serving_default",
        "logits",
        "intermediates",
        "serve_encoded",
    }
    (features,) = signatures["serving_default"](images=images).values()
    assert features.shape == (2, 256 // 4)
    np.testing.assert_allclose(
        signatures["logits"](images=images)["logits"],
        want,
        rtol=1e-5,
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="does not have"):
        saved_model.write(
            network(num_classes=0), tmp_path / "none", output="logits"
        )


def test_without_a_head_there_are_no_logits(network, tmp_path):
    loaded = written(
        network(num_classes=0), tmp_path, saved_model.Serving(16, ())
    )
    assert set(loaded.signatures) == {"serving_default", "intermediates"}


def test_only_float32_images_can_be_called_with(loaded):
    with pytest.raises((ValueError, TypeError)):
        loaded(tf.zeros((1, 32, 32, 3), tf.uint8))


def test_folded_kernels_give_the_same(model, loaded, tmp_path):
    folded = written(fold(model), tmp_path, trainable=False)
    assert len(folded.trainable_variables) == 0
    assert list(folded.regularization_losses) == []
    for shape in SHAPES:
        images = random(shape)
        for name, want in loaded.signatures["intermediates"](
            images=images
        ).items():
            got = folded.signatures["intermediates"](images=images)[name]
            difference = np.abs(got - want).max()
            assert difference <= 1e-5 * np.abs(want).max(), name
    kernels = [
        (mine, theirs)
        for mine, theirs in zip(loaded.variables, folded.variables, strict=True)
        if "kernel" in mine.name
    ]
    for mine, theirs in kernels:
        mean = np.mean(theirs, (0, 1, 2))
        np.testing.assert_allclose(mean, 0, atol=1e-6)
        assert np.abs(mine - theirs).max() > 0.1


def test_a_folded_network_cannot_be_trained(model, tmp_path):
    folded = written(fold(model), tmp_path, trainable=False)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        folded(random((1, 32, 32, 3)), training=True)
    assert saved_model.FOLDED in str(caught.value)


def test_nothing_to_fold(network):
    with pytest.raises(ValueError, match="Leave --folded out"):
        fold(network(standardize=False))


def test_timm_reads_our_npz(shared, make_checkpoint, tmp_path):
    pytest.importorskip("torch", reason="timm needs torch")
    pytest.importorskip("timm", reason="compares with timm's BiT")
    import functools

    import torch
    from timm.layers import GroupNormAct, StdConv2d
    from timm.models.resnetv2 import ResNetV2

    weights = make_checkpoint.make_bit((1, 1, 1, 1), 1, 10, 7)
    np.savez(tmp_path / "official.npz", **weights)
    ours = source.load(tmp_path / "official.npz").model
    checkpoints.save(ours, tmp_path / "model.npz")
    # timm standardizes with 1e-8 where the official code has 1e-10.
    theirs = ResNetV2(
        layers=(1, 1, 1, 1),
        num_classes=10,
        stem_type="fixed",
        conv_layer=functools.partial(StdConv2d, eps=1e-10),
        norm_layer=functools.partial(GroupNormAct, num_groups=32),
    ).eval()
    theirs.load_pretrained(str(tmp_path / "model.npz"))
    images = make_checkpoint.make_input(5, 64, 64, 2)
    with torch.no_grad():
        want = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    got = keras.ops.convert_to_numpy(ours(images))
    assert want.shape == got.shape == (2, 10)
    assert np.abs(got - want).max() <= 3e-5 * np.abs(want).max()
