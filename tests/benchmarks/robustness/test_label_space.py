import numpy as np
import pytest
from scipy.special import softmax

from bit_keras.benchmarks.robustness import label_space


def test_restricted_predictions_are_the_best_of_the_allowed_classes():
    logits = np.random.default_rng(0).normal(size=(50, 12))
    allowed = [9, 2, 5]
    found = label_space.predictions(logits, allowed)
    expected = [max(allowed, key=lambda c: row[c]) for row in logits]
    assert found.tolist() == expected
    everything = label_space.predictions(logits)
    assert everything.tolist() == logits.argmax(axis=1).tolist()
    assert (everything != found).any()


def test_probabilities_are_gathered_then_renormalised():
    logits = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    whole = softmax(logits.astype(float), axis=1)
    assert label_space.probabilities(logits) == pytest.approx(whole)
    part = whole[:, [4, 1]] / whole[:, [4, 1]].sum(axis=1, keepdims=True)
    assert label_space.probabilities(logits, [4, 1]) == pytest.approx(part)


def test_large_logits_do_not_overflow():
    found = label_space.probabilities(np.array([[1e5, 0.0]], np.float32))
    assert found.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("classes", [[0, 3], [-1], []])
def test_classes_that_are_no_columns_are_refused(classes):
    with pytest.raises(ValueError, match="classes must be some of 0 to 2"):
        label_space.predictions(np.zeros((1, 3)), classes)


def test_several_answers_may_be_right():
    right = label_space.is_right(np.array([1, 1, 1]), [{1}, {0, 1}, {0}])
    assert right.tolist() == [True, True, False]
    with pytest.raises(ValueError):
        label_space.is_right(np.array([1]), [{1}, {2}])


def test_imagenet_classes_are_those_of_the_sample_set(shared):
    folder = shared / "data/tfds/imagenet1k_sample_mini/1.0.0"
    names = (folder / "label.labels.txt").read_text().splitlines()
    found = label_space.imagenet_classes()
    assert found == tuple(label_space.wordnet_id(name) for name in names)
    assert list(found) == sorted(set(found))


def test_wordnet_ids_are_whole_words():
    assert label_space.wordnet_id("n014435370") is None
    assert label_space.wordnet_id("a n01443537") is None
