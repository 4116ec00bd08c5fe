"""COCO's average precision of detections, computed by pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Of COCOeval.stats, the first six and the ninth of its twelve numbers.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
_STATS = (0, 1, 2, 3, 4, 5, 8)


def average_precision(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> dict[str, float]:
    """Returns COCO's metrics: average precision and recall.

    Args:
        ground_truth: For each image, as the function of that name returns it,
            its `id`, and `boxes` `(n, 4)` "xyxy" in pixels of the image,
            `labels`, `is_crowd` and `area` `(n,)`. Detections that match a
            crowd box count neither as right nor as wrong. `area` decides
            whether a box is small (up to 32 x 32), medium or large (from
            96 x 96 pixels on).
        detections: For each image (those without any may be left out), its
            `id`, `boxes` `(m, 4)`, `scores` and `labels` `(m,)`; of an image
            and class, the 100 of the highest scores count.
        class_names: A label is an index into them.

    Returns:
        "AP" (mean over the overlaps .5, .55, ..., .95), "AP50", "AP75", "APs",
        "APm", "APl", "AR100", and for each class "AP50/name". NaN where the
        ground truth has no such boxes; such classes do not count in the means.

    Raises:
        ValueError: For two images of one id, a detection of an unknown image,
            a label outside of `class_names`, or numbers that are not finite.
        ImportError: Without pycocotools.

    Example:

    >>> image = {"id": "a", "boxes": [[0, 0, 50, 50]], "labels": [0],
    ...          "is_crowd": [False], "area": [2500.0]}
    >>> found = {"id": "a", "boxes": [[0, 0, 50, 40]], "labels": [0],
    ...          "scores": [0.9]}
    >>> metrics = average_precision([image], [found], ["cat", "dog"])
    >>> [round(metrics[key], 3) for key in ("AP", "AP50", "APl", "AP50/dog")]
    [0.7, 1.0, nan, nan]
    """
    coco, evaluation = _pycocotools()
    numbers = {image["id"]: n for n, image in enumerate(ground_truth, 1)}
    if len(numbers) < len(ground_truth):
        raise ValueError("ground_truth must have each image once.")
    for image in detections:
        if image["id"] not in numbers:
            raise ValueError(
                f"detections: {image['id']!r} is no image of the ground truth."
            )
    header = {
        "images": [{"id": number} for number in numbers.values()],
        "categories": [
            {"id": number, "name": name}
            for number, name in enumerate(class_names, 1)
        ],
    }
    # pycocotools tells on standard output what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = coco(), coco()
        for made, images in ((truth, ground_truth), (found, detections)):
            rows = _annotations(images, numbers, len(class_names))
            made.dataset = {**header, "annotations": rows}
            made.createIndex()
        result = evaluation(truth, found, "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    values = [result.stats[i] for i in _STATS]
    metrics = dict(zip(METRICS, values, strict=True))
    # (overlap, recall, class, area, detections): .5, all areas, 100.
    curves = result.eval["precision"][0, :, :, 0, -1]
    for name, curve in zip(class_names, curves.T, strict=True):
        metrics[f"AP50/{name}"] = curve.mean()
    return {k: float(v) if v > -1 else float("nan") for k, v in metrics.items()}


def _pycocotools() -> tuple[type, type]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ImportError(
            "Average precision needs pycocotools. Install it with: pip install "
            "'bit-keras[detection]'"
        ) from None
    return COCO, COCOeval


def _annotations(
    images: Iterable[Mapping[str, Any]],
    numbers: Mapping[Any, int],
    num_classes: int,
) -> list[dict[str, Any]]:
    """Boxes of all images as rows of COCO's format."""
    rows = []
    for image in images:
        boxes = np.asarray(image["boxes"], np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        count = len(boxes)
        labels = np.asarray(image["labels"], np.int64)
        if count and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"labels must be 0..{num_classes - 1}; image {image['id']!r} "
                f"has {labels.min()}..{labels.max()}."
            )
        scores = np.asarray(image.get("scores", [1.0] * count), np.float64)
        # pycocotools takes NaN for a match.
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError(
                f"boxes and scores must be finite; those of image "
                f"{image['id']!r} are not. Has the training diverged?"
            )
        columns = zip(
            np.concatenate([boxes[:, :2], sides], axis=1).tolist(),
            labels.tolist(),
            np.asarray(image.get("area", sides.prod(axis=1))).tolist(),
            np.asarray(image.get("is_crowd", [0] * count)).astype(int).tolist(),
            scores.tolist(),
            strict=True,
        )
        rows += [
            {
                "image_id": numbers[image["id"]],
                "bbox": box,
                "category_id": label + 1,
                "area": area,
                "iscrowd": crowd,
                "score": score,
            }
            for box, label, area, crowd, score in columns
        ]
    # pycocotools takes a match with the id 0 for none.
    return [{**row, "id": number} for number, row in enumerate(rows, 1)]


def ground_truth(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the images of a batch one by one, without what only fills it up.

    Args:
        batch: From `augment.eval_batches`.

    Returns:
        For each image that could be read, NumPy arrays as `average_precision`
        needs them, with its `id` (a string), `height` and `width`.

    Example:

    >>> from bit_keras.benchmarks.detection.augment import eval_batches
    >>> from bit_keras.benchmarks.detection.rectangles import rectangles
    >>> batch = next(iter(eval_batches(rectangles(3), 64, batch_size=4)))
    >>> images = ground_truth(batch)
    >>> len(images), images[0]["boxes"].shape == (len(images[0]["labels"]), 4)
    (3, True)
    """
    names = ("boxes", "labels", "is_crowd", "area")
    columns = {name: np.asarray(batch[name]) for name in names}
    images = []
    for i in _used(batch):
        real = columns["labels"][i] >= 0
        images.append(
            {
                **_identity(batch, i),
                **{name: columns[name][i][real] for name in names},
            }
        )
    return images


def in_image_pixels(
    batch: Mapping[str, Any],
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
) -> list[dict[str, Any]]:
    """Returns detections of a batch in pixels of its images, clipped to them.

    Args:
        batch: From `augment.eval_batches`.
        boxes: `(batch, m, 4)`, "xyxy" in pixels of the square.
        scores: `(batch, m)`.
        labels: `(batch, m)`; -1 is padding.

    Returns:
        For each image that could be read, its `id`, `height`, `width`,
        `boxes`, `scores` and `labels`, as `average_precision` needs them.

    Example:

    >>> batch = {"id": np.array([b"a"]), "weight": np.ones(1), "scale": [2.0],
    ...          "height": np.array([20]), "width": np.array([30])}
    >>> found = in_image_pixels(batch, np.array([[[4.0, 4, 80, 8]]]),
    ...                         np.array([[0.5]]), np.array([[1]]))
    >>> found[0]["boxes"]
    array([[ 2.,  2., 30.,  4.]])
    """
    boxes, scores, labels = map(np.asarray, (boxes, scores, labels))
    images = []
    for i in _used(batch):
        image, real = _identity(batch, i), labels[i] >= 0
        limits = np.array([image["width"], image["height"]] * 2)
        moved = np.clip(boxes[i][real] / float(batch["scale"][i]), 0, limits)
        own = {"scores": scores[i][real], "labels": labels[i][real]}
        images.append({**image, "boxes": moved, **own})
    return images


def _used(batch: Mapping[str, Any]) -> list[int]:
    return np.flatnonzero(np.asarray(batch["weight"]) > 0).tolist()


def _identity(batch: Mapping[str, Any], i: int) -> dict[str, Any]:
    return {
        # Different ids stay different, whatever their bytes.
        "id": np.asarray(batch["id"])[i].decode("utf-8", "backslashreplace"),
        "height": int(batch["height"][i]),
        "width": int(batch["width"][i]),
    }
