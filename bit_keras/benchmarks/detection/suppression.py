"""From all anchors' boxes to the detections of an image."""

from typing import Any

import keras
import tensorflow as tf

# tensorflow/tpu, models/official/retinanet: anchors.py (anchors kept for the
# suppression, detections of an image, overlap) and postprocess.py (score).
CANDIDATES = 5000
DETECTIONS = 100
OVERLAP = 0.5
SCORE = 0.05


@keras.saving.register_keras_serializable("bit_keras")
class ClassSuppression(keras.layers.Layer):
    """Non-maximum suppression of each class by itself.

    A `prediction_decoder` for keras-hub's RetinaNet, whose own knows only the
    best class of a box, and drops scores below .5: much of what average
    precision counts.

    Call arguments:
        boxes: `(batch, anchors, 4)`, "xyxy" in pixels.
        logits: `(batch, anchors, classes)`.
        images: `(batch, height, width, channels)`, to whose edge boxes are cut.

    Returns:
        A dict of `boxes` `(batch, 100, 4)`, `confidence` and `labels`
        `(batch, 100)`, best first, and `num_detections` `(batch,)`; what is
        beyond it has the label -1.

    Example:

    >>> boxes = tf.constant([[[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 0, 99, 9]]])
    >>> logits = tf.constant([[[2.0, -9], [1, -9], [-9, 0]]])
    >>> found = ClassSuppression()(boxes, logits, tf.zeros((1, 32, 32, 3)))
    >>> found["boxes"][0, :2].numpy(), found["labels"][0, :3].numpy()
    (array([[ 0.,  0.,  9.,  9.],
           [20.,  0., 32.,  9.]], dtype=float32), array([ 0,  1, -1]))
    """

    # What keras-hub asks of a decoder.
    bounding_box_format = "xyxy"

    def call(self, boxes: Any, logits: Any, images: Any) -> dict[str, Any]:
        height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
        scores = tf.sigmoid(tf.cast(logits, tf.float32))
        count = min(CANDIDATES, boxes.shape[1])
        _, best = tf.math.top_k(tf.reduce_max(scores, axis=-1), count)
        boxes = tf.gather(boxes, best, batch_dims=1)
        scores = tf.gather(scores, best, batch_dims=1)
        limits = tf.stack([width, height, width, height])
        boxes = tf.clip_by_value(tf.cast(boxes, tf.float32), 0.0, limits)
        found = tf.image.combined_non_max_suppression(
            # Every class has the same boxes; x before y makes no difference.
            boxes[:, :, None],
            scores,
            max_output_size_per_class=DETECTIONS,
            max_total_size=DETECTIONS,
            iou_threshold=OVERLAP,
            score_threshold=SCORE,
            clip_boxes=False,
        )
        real = tf.range(DETECTIONS) < found.valid_detections[:, None]
        labels = tf.cast(found.nmsed_classes, tf.int64)
        return {
            "boxes": found.nmsed_boxes,
            "confidence": found.nmsed_scores,
            "labels": tf.where(real, labels, -1),
            "num_detections": found.valid_detections,
        }
