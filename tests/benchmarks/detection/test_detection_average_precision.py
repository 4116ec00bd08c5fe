import contextlib
import io
import json
import math
import sys

import numpy as np
import pytest

from bit_keras.benchmarks.detection.average_precision import (
    METRICS,
    average_precision,
)


def truth(boxes, labels=None, crowd=None, area=None, id="a"):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return {
        "id": id,
        "boxes": boxes,
        "labels": np.array(labels or [0] * len(boxes)),
        "is_crowd": np.array(crowd or [False] * len(boxes)),
        "area": sides.prod(1) if area is None else np.array(area),
    }


def found(boxes, scores, labels=None, id="a"):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.array(labels or [0] * len(boxes))
    return {"id": id, "boxes": boxes, "scores": scores, "labels": labels}


def box(x, width=100):
    return [x, 0, x + width, 100]


def test_precision_by_hand():
    """Right, wrong, right, and one box missed.

    Precision is 1 up to a recall of 1/3, which the thresholds 0, .01, ..., .33
    reach, and 2/3 up to a recall of 2/3: the thresholds .34, ..., .66.
    """
    images = [truth([box(0), box(200)]), truth([box(0)], id="b")]
    detections = [
        found([box(0), box(500)], [0.9, 0.8]),
        found([box(0)], [0.7], id="b"),
    ]
    metrics = average_precision(images, detections, ["cell"])
    expected = (34 + 33 * 2 / 3) / 101
    for name in ("AP", "AP50", "AP75", "APl", "AP50/cell"):
        assert metrics[name] == pytest.approx(expected, abs=1e-12), name
    assert metrics["AR100"] == pytest.approx(2 / 3)
    assert math.isnan(metrics["APs"]) and math.isnan(metrics["APm"])


@pytest.mark.parametrize(("width", "passed"), [(52, 1), (72, 5), (97, 10)])
def test_overlaps_by_hand(width, passed):
    """A box of 100 pixels found with `width` of them: overlap width/100."""
    metrics = average_precision(
        [truth([box(0)])], [found([box(0, width)], [0.5])], ["cell"]
    )
    assert metrics["AP"] == pytest.approx(passed / 10)
    assert metrics["AP50"] == pytest.approx(1)
    assert metrics["AP75"] == pytest.approx(float(width > 75))
    assert metrics["AR100"] == pytest.approx(passed / 10)


def test_area_is_of_the_segmentation():
    image = truth([box(0), box(200)], area=[1000.0, 5000.0])
    metrics = average_precision([image], [found([box(200)], [0.5])], ["cell"])
    assert metrics["APs"] == 0
    assert metrics["APm"] == pytest.approx(1)
    assert math.isnan(metrics["APl"])


def test_crowd_boxes_neither_help_nor_harm():
    boxes, scores = [box(500, 50), box(520, 50), box(0)], [0.9, 0.8, 0.7]
    detections = [found(boxes, scores)]
    crowd = truth([box(0), box(500, 300)], crowd=[False, True])
    metrics = average_precision([crowd], detections, ["cell"])
    assert metrics["AP"] == pytest.approx(1)
    assert metrics["AR100"] == pytest.approx(1)
    # Without the crowd box they are wrong, and come first.
    alone = average_precision([truth([box(0)])], detections, ["cell"])
    assert alone["AP50"] == pytest.approx(1 / 3)
    # As an ordinary box it is missed: 1/6 of it is not enough.
    whole = truth([box(0), box(500, 300)])
    metrics = average_precision([whole], detections, ["cell"])
    assert metrics["AP50"] == pytest.approx(51 / 101 / 3)
    assert metrics["AR100"] == pytest.approx(1 / 2)


def test_absent_classes_do_not_count():
    images = [truth([box(0)], labels=[1]), truth([], id="b")]
    detections = [found([box(0), box(300)], [0.9, 0.8], labels=[1, 0])]
    metrics = average_precision(images, detections, ["cat", "dog", "emu"])
    assert metrics["AP"] == pytest.approx(1)
    assert metrics["AP50/dog"] == pytest.approx(1)
    assert math.isnan(metrics["AP50/cat"]) and math.isnan(metrics["AP50/emu"])
    assert list(metrics) == [
        *METRICS,
        *(f"AP50/{n}" for n in ("cat", "dog", "emu")),
    ]


def test_nothing_found_and_nothing_to_find(capsys):
    metrics = average_precision([truth([box(0)])], [], ["cell"])
    assert metrics["AP"] == metrics["AP50/cell"] == metrics["AR100"] == 0
    metrics = average_precision([truth([])], [], ["cell"])
    assert all(math.isnan(value) for value in metrics.values())
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_same_as_pycocotools_from_files(tmp_path):
    """The numbers that COCO's own code gives for files in COCO's format."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(0)
    images, detections, rows, results = [], [], [], []
    for number in range(12):
        corners = random.uniform(0, 200, (8, 2))
        boxes = np.concatenate(
            [corners, corners + random.uniform(8, 150, (8, 2))], 1
        )
        labels = random.integers(0, 3, 8).tolist()
        crowd = (random.random(8) < 0.2).tolist()
        images.append(truth(boxes, labels, crowd, id=f"image {number}"))
        moved = np.float32(boxes + random.normal(0, 6, (8, 4)))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        scores = random.random(8)
        detections.append(found(moved, scores, labels, id=f"image {number}"))
        for i, (x0, y0, x1, y1) in enumerate(images[-1]["boxes"].tolist()):
            rows.append(
                {
                    "id": 100 + len(rows),
                    "image_id": number,
                    "category_id": 7 * labels[i],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": int(crowd[i]),
                }
            )
        for i, (x0, y0, x1, y1) in enumerate(moved.tolist()):
            results.append(
                {
                    "image_id": number,
                    "category_id": 7 * labels[i],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": scores[i],
                }
            )
    content = {
        "images": [{"id": number} for number in range(12)],
        "categories": [{"id": 7 * k, "name": str(k)} for k in range(3)],
        "annotations": rows,
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        official = COCOeval(coco, coco.loadRes(results), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
    ours = average_precision(images, detections, ["x", "y", "z"])
    stats = official.stats[[0, 1, 2, 3, 4, 5, 8]]
    np.testing.assert_allclose([ours[m] for m in METRICS], stats, atol=1e-6)
    assert 0.1 < ours["AP"] < 0.9
    per_class = np.mean([ours[f"AP50/{name}"] for name in "xyz"])
    assert ours["AP50"] == pytest.approx(per_class)


@pytest.mark.parametrize(
    ("images", "detections", "message"),
    [
        ([truth([]), truth([])], [], "each image once"),
        ([truth([])], [found([], [], id="c")], "'c' is no image"),
        (
            [truth([])],
            [found([box(0)], [1.0], [2])],
            "0..0; image 'a' has 2..2",
        ),
        ([truth([])], [found([box(math.nan)], [1.0])], "must be finite.*'a'"),
        ([truth([])], [found([box(0)], [math.inf])], "must be finite.*'a'"),
    ],
)
def test_wrong_input_is_named(images, detections, message):
    with pytest.raises(ValueError, match=message):
        average_precision(images, detections, ["cell"])


def test_without_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[detection"):
        average_precision([truth([])], [], ["cell"])
