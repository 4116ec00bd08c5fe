"""keras-hub's RetinaNet around our backbones: every joint of the two."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras import models
from bit_keras.benchmarks.detection import detector as detectors
from bit_keras.benchmarks.detection.augment import train_batches
from bit_keras.benchmarks.detection.rectangles import rectangles
from bit_keras.benchmarks.detection.suppression import ClassSuppression
from bit_keras.benchmarks.detection.train import for_fit
from bit_keras.optimizer import BiTSGD
from bit_keras.recipes import coco_retinanet
from bit_keras.recipes.coco_retinanet import RetinaNet

pytest.importorskip("keras_hub", reason="needs the extra detection")

TINY = RetinaNet(size=32, head_convolutions=1, anchor_scale=2.0)


def four_stages():
    """As bit_r50x1, with a unit in each stage and an eighth of the width."""
    return models.build(
        models.BIT,
        blocks=(1, 1, 1, 1),
        width=0.125,
        groups=4,
        num_classes=0,
        name="small",
    )


def target(boxes, labels, max_boxes=8):
    """Boxes and labels of a batch, padded as `augment.train_batches` does."""
    made = {
        "boxes": np.zeros((len(boxes), max_boxes, 4), np.float32),
        "labels": -np.ones((len(boxes), max_boxes), np.float32),
    }
    for i, (its, classes) in enumerate(zip(boxes, labels, strict=True)):
        if its:
            made["boxes"][i, : len(its)] = its
            made["labels"][i, : len(its)] = classes
    return {name: tf.constant(value) for name, value in made.items()}


def gradients(detector, images, targets):
    variables = [v.value for v in detector.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = detector(images, training=True)
        loss = detector.compute_loss(images, targets, outputs, None)
    found = tape.gradient(loss, variables)
    paths = [v.path for v in detector.trainable_variables]
    return float(loss), dict(zip(paths, found, strict=True))


@pytest.fixture(scope="module")
def tiny():
    made = detectors.build(models.create("bit_nano", 0), 3, TINY, seed=0)
    detectors.compile_losses(made, TINY, BiTSGD(0.01))
    return made


@pytest.fixture(scope="module")
def images():
    return tf.random.stateless_uniform((2, 32, 32, 3), (1, 2), -1, 1)


TARGETS = target(
    [[(2, 3, 12, 13), (15, 8, 31, 26)], [(0, 20, 9, 29)]], [[0, 2], [1]]
)


def check_gradients(backbone, detector, pixels, targets):
    _, found = gradients(detector, pixels, targets)
    names = {v.path for v in backbone.trainable_variables}
    assert names <= set(found)
    for name, gradient in found.items():
        assert gradient is not None, name
        assert np.abs(gradient).max() > 0, name


def test_every_weight_gets_a_gradient_with_three_stages(images):
    backbone = models.create("bit_nano", 0)
    made = detectors.build(backbone, 3, TINY, seed=0)
    detectors.compile_losses(made, TINY, BiTSGD(0.01))
    check_gradients(backbone, made, images, TARGETS)


def test_every_weight_gets_a_gradient_with_four_stages():
    recipe = RetinaNet(size=128, head_convolutions=1)
    backbone = four_stages()
    made = detectors.build(backbone, 2, recipe, seed=0)
    detectors.compile_losses(made, recipe, BiTSGD(0.01))
    # On every level, from the smallest anchors to the largest.
    boxes = [(4, 4, 36, 36), (30, 30, 90, 94), (0, 0, 127, 127)]
    pixels = tf.random.stateless_uniform((1, 128, 128, 3), (3, 4), -1, 1)
    check_gradients(backbone, made, pixels, target([boxes], [[0, 1, 0]]))
    # P3 to P7: 9 anchors each of 16 * 16 + ... + 1 places.
    assert made.output["cls_logits"].shape == (None, 9 * 341, 2)


def test_without_the_last_norm_some_weights_would_get_none(images):
    backbone = models.create("bit_nano", 0)
    backbone.pyramid_outputs["P3"] = backbone.endpoint_tensors["block3"]
    paths = {
        v.path
        for v in keras.Model(
            backbone.inputs, dict(backbone.pyramid_outputs)
        ).trainable_variables
    }
    missed = {v.path for v in backbone.trainable_variables} - paths
    assert missed == {"group_norm/gamma", "group_norm/beta"}


def test_heads_start_with_rare_objects_and_boxes_like_anchors(tiny, images):
    outputs = tiny(images)
    probability = tf.sigmoid(outputs["cls_logits"]).numpy()
    np.testing.assert_allclose(probability.mean(), 0.01, rtol=0.2)
    assert abs(np.mean(outputs["bbox_regression"])) < 0.5
    kernels = [
        v.numpy()
        for head in (tiny.box_head, tiny.classification_head)
        for v in head.trainable_variables
        if v.path.endswith("/kernel")
    ]
    for kernel in kernels:
        np.testing.assert_allclose(kernel.std(), 0.01, rtol=0.1)
    assert not np.array_equal(kernels[0], kernels[2])


def reference_loss(targets, outputs, recipe):
    """As tensorflow/tpu, models/official/retinanet/retinanet_model.py."""
    boxes, labels = (np.asarray(t, np.float64) for t in targets)
    logits = np.asarray(outputs["cls_logits"], np.float64)
    regression = np.asarray(outputs["bbox_regression"], np.float64)
    positives = max(1, (labels >= 0).sum())
    is_class = labels[..., None] == np.arange(logits.shape[-1])
    p = 1 / (1 + np.exp(-logits))
    right = np.where(is_class, p, 1 - p)
    alpha = np.where(is_class, recipe.alpha, 1 - recipe.alpha)
    focal = -alpha * (1 - right) ** recipe.gamma * np.log(right)
    classes = focal[labels != -2].sum() / positives
    error = np.abs(regression - boxes)[labels >= 0]
    delta = recipe.box_delta
    huber = np.where(error <= delta, error**2 / 2, delta * error - delta**2 / 2)
    return classes + recipe.box_weight * huber.sum() / (4 * positives)


def test_loss_is_that_of_the_papers_code(tiny, images):
    outputs = tiny(images)
    encoded = tiny.label_encoder(images, TARGETS["boxes"], TARGETS["labels"])
    assert set(np.unique(encoded[1])) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    loss = tiny.compute_loss(images, TARGETS, outputs, None)
    expected = reference_loss(encoded, outputs, TINY)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    # What keras-hub would take by itself is something else.
    tiny.compile("sgd")
    plain = tiny.compute_loss(images, TARGETS, outputs, None)
    detectors.compile_losses(tiny, TINY, BiTSGD(0.01))
    assert abs(float(plain) - expected) > 0.1 * expected


def test_images_without_boxes_teach_background(tiny, images):
    boxes = [[(2, 3, 12, 13)], []]
    mixed = target(boxes, [[0], []])
    loss, found = gradients(tiny, images, mixed)
    alone, _ = gradients(tiny, images[:1], target(boxes[:1], [[0]]))
    assert np.isfinite(loss) and loss > alone
    assert all(np.isfinite(g).all() for g in map(np.asarray, found.values()))
    # A batch of nothing else has no objects to divide by, and is passed over.
    loss, found = gradients(tiny, images, target([[], []], [[], []]))
    assert loss == 0
    assert all(np.isfinite(g).all() for g in map(np.asarray, found.values()))


def test_perfect_predictions_are_decoded_to_the_true_boxes(tiny, images):
    boxes, labels = tiny.label_encoder(
        images, TARGETS["boxes"], TARGETS["labels"]
    )
    logits = 20 * tf.one_hot(tf.cast(labels, tf.int32), 3) - 10
    outputs = {"bbox_regression": boxes, "cls_logits": logits}
    found = tiny.decode_predictions(outputs, images)
    assert found["num_detections"].numpy().tolist() == [2, 1]
    for i in range(2):
        real = TARGETS["labels"][i] >= 0
        order = np.argsort(found["labels"][i][: int(np.sum(real))])
        np.testing.assert_array_equal(
            np.sort(found["labels"][i][: len(order)]),
            np.sort(TARGETS["labels"][i][real]),
        )
        truth = TARGETS["boxes"][i][real].numpy()
        truth = truth[np.argsort(TARGETS["labels"][i][real])]
        np.testing.assert_allclose(
            found["boxes"][i].numpy()[order], truth, atol=1e-3
        )


def test_backbone_starts_with_its_weights_and_sees_images_as_they_are(images):
    backbone = models.create("bit_nano", 4)
    for variable in backbone.trainable_variables:
        variable.assign_add(0.01 * tf.ones(variable.shape))
    made = detectors.build(backbone, 3, TINY, seed=5)
    assert made.preprocessor is None
    weights = {v.path: v.numpy() for v in made.variables}
    for variable in backbone.variables:
        if not variable.path.startswith("head/"):
            copied = weights[variable.path]
            np.testing.assert_array_equal(copied, variable.numpy())
    pyramid = made.backbone.get_layer("backbone")(images)
    ours = keras.Model(backbone.inputs, dict(backbone.pyramid_outputs))(images)
    np.testing.assert_allclose(pyramid["P3"], ours["P3"], atol=1e-5)


def test_new_weights_are_those_of_the_seed():
    backbone = models.create("bit_nano", 0)
    first, again, other = (
        detectors.build(backbone, 2, TINY, seed, pretrained=False)
        for seed in (0, 0, 1)
    )
    for a, b, c in zip(
        first.variables, again.variables, other.variables, strict=True
    ):
        np.testing.assert_array_equal(a, b)
        if a.path.endswith("/kernel"):
            assert not np.array_equal(a, c), a.path


@pytest.mark.parametrize("name", ["vit_nano", "mixer_nano"])
def test_networks_without_stages_are_refused(name):
    with pytest.raises(ValueError, match="Use a BiT network"):
        detectors.levels(models.create(name, 0))


def test_sizes_that_strides_do_not_divide_are_refused():
    backbone = models.create("bit_nano", 0)
    with pytest.raises(ValueError, match="multiple of 16.*got 40.*--size 32"):
        detectors.check_size(40, backbone)


def overlap(a, b):
    corner = np.maximum(a[:2], b[:2])
    sides = np.maximum(np.minimum(a[2:], b[2:]) - corner, 0)
    area = [(box[2:] - box[:2]).prod() for box in (a, b)]
    return sides.prod() / (sum(area) - sides.prod())


def test_suppression_is_greedy_and_of_each_class_by_itself():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 40, (60, 2))
    boxes = np.concatenate([corners, corners + 20], 1).astype(np.float32)
    logits = random.normal(-1, 2, (60, 3)).astype(np.float32)
    expected = []
    for label in range(3):
        scores, kept = 1 / (1 + np.exp(-logits[:, label])), []
        for i in np.argsort(-scores):
            if scores[i] <= 0.05:
                continue
            if all(overlap(boxes[i], boxes[j]) <= 0.5 for j in kept):
                kept.append(i)
                expected.append((scores[i], label, *boxes[i]))
    expected = np.array(sorted(expected, reverse=True))
    found = ClassSuppression()(
        tf.constant(boxes[None]),
        tf.constant(logits[None]),
        tf.zeros((1, 64, 64, 3)),
    )
    count = int(found["num_detections"][0])
    assert count == len(expected) > 20
    found = np.column_stack(
        [found[key][0][:count] for key in ("confidence", "labels", "boxes")]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.soak
def test_one_step_of_the_full_recipe_at_128_pixels():
    """R101x3 itself: all its weights move, and the loss is finite."""
    recipe = coco_retinanet.scale_batch(coco_retinanet.recipe(), 1)
    recipe = dataclasses.replace(recipe, size=128)
    backbone = models.create(coco_retinanet.MODEL, 0)
    made = detectors.build(backbone, 80, recipe, seed=0)
    detectors.compile_losses(
        made, recipe, BiTSGD(0.08, recipe.momentum, recipe.weight_decay)
    )
    batches = train_batches(rectangles(2, side=128), 128, 1, seed=0)
    before = [first_weights(v) for v in made.trainable_variables]
    history = made.fit(
        batches.map(for_fit), steps_per_epoch=1, verbose=0, shuffle=False
    )
    assert np.isfinite(history.history["loss"][0])
    for variable, old in zip(made.trainable_variables, before, strict=True):
        new = first_weights(variable)
        assert np.isfinite(new).all(), variable.path
        assert np.any(new != old), variable.path


def first_weights(variable):
    """Some of them: all would be another 1.5 GB."""
    return tf.reshape(variable.value, [-1])[:1000].numpy()
