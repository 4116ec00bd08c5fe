import numpy as np
import pytest
from scipy.special import softmax

from bit_keras.benchmarks.robustness import cue_conflict
from bit_keras.benchmarks.robustness.cue_conflict import CATEGORIES
from bit_keras.benchmarks.robustness.label_space import imagenet_classes

# Of the table in rgeirhos/texture-vs-shape, by WordNet id instead of number.
KNOWN = {
    "airplane": ["n02690373"],
    "bear": ["n02132136", "n02133161", "n02134084", "n02134418"],
    "bicycle": ["n02835271", "n03792782"],
    "boat": ["n02951358", "n03344393", "n03662601", "n04273569", "n04612504"],
    "car": ["n02814533", "n03100240", "n04285008"],
    "clock": ["n02708093", "n03196217", "n04548280"],
    "elephant": ["n02504013", "n02504458"],
    "keyboard": ["n03085013", "n04505470"],
    "knife": ["n03041632"],
    "oven": ["n04111531"],
}


def test_the_categories_are_those_of_the_authors():
    wordnet = imagenet_classes()
    for category, ids in KNOWN.items():
        found = [wordnet[one] for one in cue_conflict.imagenet_ids(category)]
        assert found == ids
    every = [one for c in CATEGORIES for one in cue_conflict.imagenet_ids(c)]
    assert len(every) == len(set(every)) == 207
    counts = {c: len(cue_conflict.imagenet_ids(c)) for c in CATEGORIES}
    assert counts["dog"] == 109 and counts["bird"] == 49


def test_a_head_of_imagenet_has_all_categories_by_their_numbers():
    columns = cue_conflict.category_columns(imagenet_classes())
    assert columns == {c: cue_conflict.imagenet_ids(c) for c in CATEGORIES}


def test_a_head_may_have_the_categories_themselves():
    found = cue_conflict.category_columns(["cat", "thing", "bear"])
    assert found == {"bear": [2], "cat": [0]}


def test_a_head_without_the_categories_is_refused():
    words = r'Its 3 classes \("cat", ...\) belong to 1'
    with pytest.raises(ValueError, match=words):
        cue_conflict.category_columns(["cat", "horse", "guitar"])


def test_probabilities_are_averaged_within_a_category():
    logits = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    columns = {"bird": [0, 3, 5], "car": [1], "dog": [2, 6]}
    chances = softmax(logits.astype(float), axis=1)
    expected = [
        max(columns, key=lambda name: np.mean([row[c] for c in columns[name]]))
        for row in chances
    ]
    assert cue_conflict.decide(logits, columns).tolist() == expected
    assert len(set(expected)) == 3


def test_counts_are_those_of_counting_one_by_one():
    rng = np.random.default_rng(1)
    shapes, textures, decisions = rng.choice(CATEGORIES[:5], size=(3, 300))
    known = CATEGORIES[:4]
    decisions[~np.isin(decisions, known)] = known[0]
    found = cue_conflict.shape_bias(decisions, shapes, textures, known)
    conflict = shape = texture = same = 0
    for d, s, t in zip(decisions, shapes, textures, strict=True):
        same += s == t
        if s != t and s in known and t in known:
            conflict += 1
            shape += d == s
            texture += d == t
    assert (found.shape, found.texture) == (shape, texture)
    assert (found.images, found.no_conflict) == (conflict, same)
    assert found.images + found.no_conflict + found.unknown == 300
    assert found.shape_bias == shape / (shape + texture)
    table = found.categories
    assert table["images"].sum() == conflict
    assert table["shape"].sum() == shape


def test_no_bias_without_a_decision_and_no_unknown_names():
    with pytest.raises(ValueError, match="None of the 1 images in conflict"):
        cue_conflict.shape_bias(["dog"], ["cat"], ["car"])
    with pytest.raises(ValueError, match='"catt" is none .*mean "cat"'):
        cue_conflict.shape_bias(["dog"], ["catt"], ["car"])
