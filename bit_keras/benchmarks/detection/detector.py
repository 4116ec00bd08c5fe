"""keras-hub's RetinaNet around a backbone of this package.

What keras-hub 0.32 leaves to be set right here: its heads start with the prior
probability of an object in the biases of the box head instead of the class
head, its focal loss without alpha is a mean over classes, and its decoder is
none for average precision (`suppression`). It has no preprocessor here: images
come in [-1, 1], as our backbones take them, and it would rescale them again.
"""

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from bit_keras.benchmarks.detection.suppression import ClassSuppression
from bit_keras.models import replace_head
from bit_keras.recipes.coco_retinanet import RetinaNet

if TYPE_CHECKING:
    from keras_hub.models import RetinaNetObjectDetector

# What helps where memory is too small.
MEMORY = "Use a smaller --batch-size or --size."
# arXiv 1708.02002, section 4.1: all new layers of the heads are Gaussian with
# this standard deviation, and at first an anchor is an object with this
# probability.
_DEVIATION = 0.01
_PRIOR = 0.01
# arXiv 1708.02002, section 4: scales of a level's anchors, and their shapes.
_NUM_SCALES = 3
_ASPECT_RATIOS = (0.5, 1.0, 2.0)


def levels(backbone: keras.Model) -> tuple[int, int]:
    """Returns the first and the last level of the pyramid.

    P3 to P7 (arXiv 1708.02002, section 4) where the backbone has a P5. Smaller
    ones end earlier: then from the level before its last to one above it, as
    far as keras-hub goes.

    Args:
        backbone: With `pyramid_outputs`.

    Raises:
        ValueError: If it has none, or a single one.

    Example:

    >>> from bit_keras import models
    >>> levels(models.create("bit_r26x1", 0)), levels(models.create("bit_tiny"))
    ((3, 7), (2, 4))
    """
    pyramid = getattr(backbone, "pyramid_outputs", {})
    found = sorted(int(name.removeprefix("P")) for name in pyramid)
    if len(found) < 2:
        raise ValueError(
            f"Detection needs the outputs of several stages, which "
            f"{backbone.name} does not have. Use a BiT network."
        )
    top = found[-1]
    # keras-hub refuses a P5 that the backbone does not have.
    return (3, 7) if top >= 5 else (top - 1, min(top + 1, 4))


def check_size(size: int, backbone: keras.Model) -> None:
    """Raises a ValueError unless every level's stride divides the images.

    Args:
        size: Side of the images, in pixels.
        backbone: With `pyramid_outputs`.

    Example:

    >>> from bit_keras import models
    >>> check_size(1024, models.create("bit_r26x1", 0))
    """
    stride = 2 ** levels(backbone)[1]
    if size < stride or size % stride:
        near = max(1, round(size / stride)) * stride
        raise ValueError(
            f"--size must be a multiple of {stride}, the largest stride of the "
            f"pyramid on {backbone.name}; got {size}. The nearest: --size "
            f"{near}."
        )


def build(
    backbone: keras.Model,
    num_classes: int,
    recipe: RetinaNet,
    seed: int,
    pretrained: bool = True,
) -> "RetinaNetObjectDetector":
    """Returns a new detector; call it in the scope of the strategy.

    Args:
        backbone: From `bit_keras.create_model`; it is copied.
        num_classes: Classes of objects.
        recipe: Whose `size`, `head_convolutions` and `anchor_scale` count.
        seed: Of all random weights.
        pretrained: Whether the backbone starts with the weights it has; False:
            with new ones.

    Returns:
        A `keras.Model` from images `(batch, size, size, 3)` in [-1, 1] to
        `bbox_regression` `(batch, anchors, 4)` and `cls_logits`
        `(batch, anchors, num_classes)`.

    Raises:
        ValueError: For a backbone without pyramid, or a size it does not take.

    Example:

    >>> from bit_keras import models
    >>> backbone = models.create("bit_nano", 0)
    >>> recipe = RetinaNet(size=32, head_convolutions=1)
    >>> outputs = build(backbone, 3, recipe, seed=0)(tf.zeros((1, 32, 32, 3)))
    >>> outputs["cls_logits"].shape  # 9 anchors each of 64 + 16 + 4 places
    TensorShape([1, 756, 3])
    """
    # Takes seconds to load, and is an extra.
    import keras_hub

    low, high = levels(backbone)
    check_size(recipe.size, backbone)
    keras.utils.set_random_seed(seed)
    if pretrained:
        backbone = replace_head(backbone, 0)
    else:
        config = {**backbone.get_config(), "num_classes": 0}
        backbone = type(backbone).from_config(config)
    pyramid = keras_hub.models.RetinaNetBackbone(
        backbone,
        min_level=low,
        max_level=high,
        # As tensorflow/tpu: P6 from the P5 of the pyramid.
        use_p5=False,
        image_shape=(recipe.size, recipe.size, 3),
    )
    anchors = keras_hub.layers.AnchorGenerator(
        "xyxy",
        min_level=low,
        max_level=high,
        num_scales=_NUM_SCALES,
        aspect_ratios=list(_ASPECT_RATIOS),
        anchor_size=recipe.anchor_scale,
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        pyramid,
        num_classes,
        bounding_box_format="xyxy",
        anchor_generator=anchors,
        # GroupNorm, as in the backbone: what the pyramid takes from before the
        # last norm of a stage has any scale.
        use_prediction_head_norm=True,
        pre_logits_num_conv_layers=recipe.head_convolutions,
        preprocessor=None,
        prediction_decoder=ClassSuppression(),
    )
    _initialize_heads(detector, seed)
    return detector


def _initialize_heads(detector: Any, seed: int) -> None:
    """Starts the heads as RetinaNet does; see the module."""
    draw = keras.initializers.RandomNormal(
        stddev=_DEVIATION, seed=keras.random.SeedGenerator(seed)
    )
    heads = (detector.box_head, detector.classification_head)
    for variable in (v for head in heads for v in head.trainable_variables):
        if variable.path.endswith("/kernel"):
            variable.assign(draw(variable.shape, variable.dtype))
    last = detector.box_head.prediction_layer.bias
    last.assign(tf.zeros(last.shape))
    last = detector.classification_head.prediction_layer.bias
    last.assign(tf.fill(last.shape, -math.log((1 - _PRIOR) / _PRIOR)))


def compile_losses(detector: Any, recipe: RetinaNet, optimizer: Any) -> None:
    """Prepares a detector for `fit`, with the losses of the paper's code.

    Both are sums over anchors, divided by the number of those that are objects
    in the batch of one device (a batch without any is passed over), and then
    averaged over devices: the focal loss summed over classes, and the Huber
    loss averaged over the four numbers of a box (tensorflow/tpu,
    retinanet_model.py).

    Args:
        detector: From `build`.
        recipe: Whose `alpha`, `gamma`, `box_delta` and `box_weight` count.
        optimizer: A Keras optimizer.
    """
    # Keras adds up the gradients of all devices, and divides means by their
    # number, but no sums.
    share = 1 / detector.distribute_strategy.num_replicas_in_sync
    detector.compile(
        optimizer,
        box_loss=keras.losses.Huber(delta=recipe.box_delta, reduction="sum"),
        classification_loss=keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True,
            alpha=recipe.alpha,
            gamma=recipe.gamma,
            from_logits=True,
            reduction="sum",
        ),
        # Keras takes the mean over classes; RetinaNet the sum.
        loss_weights={
            "bbox_regression": share * recipe.box_weight,
            "cls_logits": share * detector.num_classes,
        },
        jit_compile=False,
    )


def detect(detector: Any, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the objects in a batch of images.

    Args:
        detector: From `build`.
        images: float32 `(batch, size, size, 3)` in [-1, 1].

    Returns:
        `boxes` `(batch, 100, 4)` "xyxy" in pixels, `scores` and `classes`
        `(batch, 100)`, best first, and `count` `(batch,)`; beyond it the class
        is -1.

    Example:

    >>> from bit_keras import models
    >>> recipe = RetinaNet(size=32, head_convolutions=1)
    >>> detector = build(models.create("bit_nano", 0), 3, recipe, seed=0)
    >>> detect(detector, tf.zeros((2, 32, 32, 3)))["count"].shape
    TensorShape([2])
    """
    outputs = detector(images, training=False)
    found = detector.decode_predictions(outputs, images)
    return {
        "boxes": found["boxes"],
        "scores": found["confidence"],
        "classes": found["labels"],
        "count": found["num_detections"],
    }
