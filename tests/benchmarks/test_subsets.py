import numpy as np
import pytest

from bit_keras.benchmarks import subsets

LABELS = np.random.default_rng(3).integers(0, 5, 200)


def test_every_k_shot_set_is_a_prefix_with_k_of_each_class():
    order, rank = subsets.nested_order(LABELS, 5, 10, seed=0)
    for k in (1, 4, 10):
        chosen = LABELS[order[: (rank < k).sum()]]
        assert np.bincount(chosen).tolist() == [k] * 5
    assert len(set(order)) == len(order)


def test_seeded_draw_is_one_permutation_per_class_in_class_order():
    order, rank = subsets.nested_order(LABELS, 5, 3, seed=7)
    rng = np.random.default_rng(7)
    for c in range(5):
        expected = rng.permutation(np.flatnonzero(LABELS == c))[:3]
        assert order[LABELS[order] == c].tolist() == expected.tolist()
        assert rank[LABELS[order] == c].tolist() == [0, 1, 2]


def test_a_class_without_images_does_not_shift_the_draws_of_the_others():
    labels = np.where(LABELS == 4, 5, LABELS)
    order, _ = subsets.nested_order(labels, 6, 3, seed=7)
    rng = np.random.default_rng(7)
    for c in range(6):
        expected = rng.permutation(np.flatnonzero(labels == c))[:3]
        assert order[labels[order] == c].tolist() == expected.tolist()


def test_without_seed_the_first_of_each_class_are_taken():
    order, _ = subsets.nested_order(LABELS, 5, 2, seed=None)
    expected = [np.flatnonzero(LABELS == c)[:2] for c in range(5)]
    assert sorted(order) == sorted(np.concatenate(expected))


def test_a_small_class_gives_what_it_has():
    order, rank = subsets.nested_order(np.array([0, 0, 0, 1]), 2, 3, seed=0)
    assert len(order) == 4
    assert rank.tolist() == [0, 0, 1, 2]


def test_too_few_images_names_the_classes():
    labels = np.repeat(np.arange(8), [9, 1, 9, 2, 2, 2, 2, 2])
    subsets.check_enough(labels, 8, 1)
    with pytest.raises(ValueError) as error:
        subsets.check_enough(labels, 8, 5)
    message = str(error.value)
    assert "6 of 8 classes: class 1 has 1, class 3 has 2" in message
    assert "and 1 more. Ask for at most 1 shot (--shots), or" in message


def test_a_class_without_images_questions_the_labels():
    with pytest.raises(ValueError, match="class 1 has 0. Check num_classes"):
        subsets.check_enough(np.array([0, 2]), 3, 1)
