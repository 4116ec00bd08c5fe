"""ObjectNet's maps, coverage and scorings, on logits made by hand."""

import json
import shutil

import numpy as np
import pytest

from bit_keras.benchmarks.objectnet.coverage import PUBLISHED, TOTAL, coverage
from bit_keras.benchmarks.objectnet.maps import read as read_maps
from bit_keras.benchmarks.objectnet.scoring import confusion, per_class, score

FILES = (
    "folder_to_objectnet_label.json",
    "objectnet_to_imagenet_1k.json",
    "imagenet_id_to_objectnet_id.json",
)
# ImageNet ids: two are chairs, one is a broom, and ObjectNet has no tench.
FOLDING_CHAIR, ROCKING_CHAIR, BROOM, TENCH = 559, 765, 462, 0


@pytest.fixture(scope="module")
def maps(shared):
    return read_maps(shared / "data" / "tables")


@pytest.fixture
def copies(shared, tmp_path):
    """Copies of the mapping files, to be damaged."""
    for name in (*FILES, "imagenet_to_labels.json"):
        shutil.copyfile(shared / "data" / "tables" / name, tmp_path / name)
    return tmp_path


def edit(folder, name, change):
    table = json.loads((folder / name).read_text())
    change(table)
    (folder / name).write_text(json.dumps(table))


def logits_of(*rankings):
    """Logits whose best ids are those given, the first the best."""
    logits = np.zeros((len(rankings), 1000), np.float32)
    for row, ranking in zip(logits, rankings, strict=True):
        row[list(ranking)] = np.arange(len(ranking), 0, -1)
    return logits


def test_the_official_maps_are_read(maps):
    assert len(maps.labels) == len(maps.folders) == 113
    assert len(maps.others) == 200
    assert len(maps.imagenet_ids) == 125
    chair = maps.labels.index("Chair")
    assert maps.folders["chair"] == chair
    named = [
        maps.imagenet_names[i]
        for i in maps.imagenet_ids
        if maps.class_of[i] == chair
    ]
    assert sorted(named) == [
        "barber chair",
        "folding chair",
        "rocking chair, rocker",
    ]
    # The nine of evaluation.md that several ImageNet classes belong to.
    counts = np.bincount([c for c in maps.class_of if c >= 0])
    several = [maps.labels[i] for i in np.flatnonzero(counts > 1)]
    assert several == [
        *("Alarm clock", "Bicycle", "Chair", "Helmet", "Pen", "Skirt"),
        *("Still Camera", "Tie", "Wheel"),
    ]


def test_the_published_counts_are_of_the_same_classes(maps):
    assert sorted(PUBLISHED) == list(maps.labels)
    assert sum(PUBLISHED.values()) == TOTAL == 18574
    assert (min(PUBLISHED.values()), max(PUBLISHED.values())) == (55, 284)


def test_names_of_imagenet_classes_are_optional(copies, maps):
    (copies / "imagenet_to_labels.json").unlink()
    found = read_maps(copies)
    assert found.imagenet_names[BROOM] == "462"
    assert found.digest == maps.digest


@pytest.mark.parametrize("name", FILES)
def test_a_missing_map_is_named_with_its_source(copies, name):
    (copies / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"no {name}.*objectnet-templ"):
        read_maps(copies)


@pytest.mark.parametrize(
    "name, change, message",
    [
        (FILES[0], lambda t: t.pop("chair"), "312 labels; the official .* 313"),
        (FILES[1], lambda t: t.pop("Chair"), "has 112 classes"),
        (FILES[2], lambda t: t.pop("559"), "has 124 ImageNet ids"),
        (FILES[2], lambda t: t.update({"559": 313}), "559 -> 313"),
        (FILES[2], lambda t: t.update({"559": "52"}), "text to whole numbers"),
        (FILES[2], lambda t: t.update({"462": 0}), "name different classes"),
        # One of the chairs becomes a broom: only the names tell.
        (FILES[2], lambda t: t.update({"559": 38}), "folding chair -> "),
    ],
)
def test_maps_that_do_not_fit_together(copies, name, change, message):
    edit(copies, name, change)
    with pytest.raises(ValueError, match=message):
        read_maps(copies)


def test_a_damaged_map_is_named(copies):
    (copies / FILES[1]).write_text('{"Chair": ')
    with pytest.raises(ValueError, match=f"{FILES[1]} is not valid JSON"):
        read_maps(copies)


def test_the_two_scorings_differ_where_they_should(maps):
    chair, broom = maps.folders["chair"], maps.folders["broom"]
    logits = logits_of(
        # Right under both, by either of two ids of the class.
        (FOLDING_CHAIR,),
        (ROCKING_CHAIR, BROOM),
        # Unmapped first: wrong under full, but top5.
        (TENCH, BROOM),
        # Two chairs take two of the five places, so the broom is sixth.
        (FOLDING_CHAIR, ROCKING_CHAIR, 1, 2, 3, BROOM),
    )
    classes = np.array([chair, chair, broom, broom])
    full = score(logits, classes, maps, "full")
    assert full.top1.tolist() == [True, True, False, False]
    assert full.top5.tolist() == [True, True, True, False]
    assert full.predicted.tolist() == [559, 765, 0, 559]
    restricted = score(logits, classes, maps, "restricted")
    assert restricted.top1.tolist() == [True, True, True, False]
    assert restricted.top5.tolist() == [True, True, True, True]
    assert restricted.predicted.tolist() == [559, 765, 462, 559]


def official(ranking, answer, maps):
    """As validate_and_score.py: each prediction mapped, -1 for none."""
    predictions = [maps.class_of[index] for index in ranking[:5]]
    return predictions[0] == answer, answer in predictions


def test_scores_of_many_images_equal_the_official_loop(maps):
    rng = np.random.default_rng(0)
    # More than one block.
    logits = rng.normal(size=(2500, 1000)).astype(np.float32)
    classes = rng.integers(113, size=2500)
    ids = np.array(maps.imagenet_ids)
    # So that some are right.
    logits[np.arange(2500), ids[rng.integers(125, size=2500)]] += 3
    for scoring, among in (("full", np.arange(1000)), ("restricted", ids)):
        found = score(logits, classes, maps, scoring)
        expected = [
            official(sorted(among, key=lambda i: -row[i]), answer, maps)
            for row, answer in zip(logits, classes, strict=True)
        ]
        assert found.top1.tolist() == [one for one, _ in expected]
        assert found.top5.tolist() == [five for _, five in expected]
        assert found.top5.sum() > found.top1.sum() > 0


def test_the_table_by_class(maps):
    chair, broom = maps.folders["chair"], maps.folders["broom"]
    logits = logits_of((FOLDING_CHAIR,), (1, BROOM), (BROOM,), (BROOM,))
    classes = np.array([chair, broom, broom, chair])
    scores = score(logits, classes, maps, "full")
    table = per_class(classes, maps, scores).set_index("class")
    assert len(table) == 113
    assert table.loc["Broom", ["n", "top1", "top5"]].tolist() == [2, 0.5, 1]
    assert table.loc["Broom", "stderr"] == pytest.approx((0.25 / 2) ** 0.5)
    assert table.loc["Chair", ["n", "top1", "top5"]].tolist() == [2, 0.5, 0.5]
    assert table["top1"].notna().sum() == 2


def test_confusion_lists_what_a_class_is_taken_for(maps):
    broom = maps.folders["broom"]
    logits = logits_of((BROOM,), (TENCH,), (TENCH,), (ROCKING_CHAIR,))
    classes = np.full(4, broom)
    scores = score(logits, classes, maps, "full")
    table = confusion(classes, maps, scores, most=2)
    assert table["imagenet_id"].tolist() == [TENCH, BROOM]
    assert table["imagenet_name"].tolist() == ["tench, Tinca tinca", "broom"]
    assert table["share"].tolist() == [0.5, 0.25]
    assert table["right"].tolist() == [False, True]


def test_scores_need_1000_logits_and_a_known_scoring(maps):
    with pytest.raises(ValueError, match=r"got \(2, 200\)"):
        score(np.zeros((2, 200)), np.zeros(2, int), maps, "full")
    with pytest.raises(ValueError, match="full, restricted"):
        score(np.zeros((2, 1000)), np.zeros(2, int), maps, "all")


def test_coverage_names_what_is_missing_and_unusual(maps):
    classes = np.repeat(np.arange(113), [PUBLISHED[x] for x in maps.labels])
    whole = coverage(maps.labels, classes)
    assert (whole.images, whole.classes, whole.warnings()) == (18574, 113, [])
    broom = maps.folders["broom"]
    without = coverage(maps.labels, classes[classes != broom])
    assert without.partial and without.note() == "partial (112/113 classes)"
    assert without.warnings()[0].endswith(": Broom")
    fewer = coverage(maps.labels, classes[1:])
    assert not fewer.partial
    assert "Alarm clock 143 instead of 144" in fewer.warnings()[0]
    assert "18573 of 18574" in fewer.warnings()[0]
