import dataclasses
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.sources import Source, open_source
from bit_keras.data.subset import few_shot


def _streamed(labels: list[int], images=None, num_classes: int = 3) -> Source:
    """A source without random access, whose ids are positions."""
    images = images or (lambda index: b"image%d" % index)

    def generate():
        for index, label in enumerate(labels):
            yield {"image": images(index), "label": label, "id": str(index)}

    def read() -> tf.data.Dataset:
        return tf.data.Dataset.from_generator(
            generate,
            output_signature={
                "image": tf.TensorSpec((), tf.string),
                "label": tf.TensorSpec((), tf.int64),
                "id": tf.TensorSpec((), tf.string),
            },
        )

    return Source(
        name="made",
        split="train",
        num_examples=len(labels),
        class_names=tuple(f"class{c}" for c in range(num_classes)),
        multi_label=False,
        image_size=(1, 1),
        fingerprint="0" * 64,
        read=read,
    )


def _drawn(source: Source) -> list[tuple[str, int]]:
    return [(e["id"].numpy().decode(), int(e["label"])) for e in source.read()]


@pytest.mark.parametrize("streamed", [True, False])
def test_balanced_and_reproducible(streamed):
    source = open_source("digits", "train")
    if streamed:
        source = dataclasses.replace(source, fetch=None)
    subset = few_shot(source, 7, seed=0)
    drawn = _drawn(subset)
    assert Counter(label for _, label in drawn) == dict.fromkeys(range(10), 7)
    assert len(set(drawn)) == subset.num_examples == 70
    assert set(drawn) <= set(_drawn(source))
    assert drawn == _drawn(few_shot(source, 7, seed=0))
    assert set(drawn) != set(_drawn(few_shot(source, 7, seed=1)))
    # Shuffled: classes are not in blocks.
    assert len({label for _, label in drawn[:10]}) > 3
    assert subset.split == "train (7 per class, seed 0)"


def test_random_access_and_streaming_draw_the_same():
    source = open_source("digits", "test")
    streamed = dataclasses.replace(source, fetch=None)
    assert _drawn(few_shot(source, 3, 5)) == _drawn(few_shot(streamed, 3, 5))


def test_examples_stay_whole():
    source = open_source("digits", "test")
    by_id = {e["id"].numpy(): e for e in source.read()}
    for example in few_shot(source, 2, seed=0).read():
        original = by_id[example["id"].numpy()]
        assert example["image"] == original["image"]
        assert example["label"] == original["label"]


def test_draws_are_uniform():
    source = _streamed([0, 1, 2] * 12)
    places = Counter()
    for seed in range(40):
        drawn = _drawn(few_shot(source, 4, seed))
        places.update(int(name) // 3 for name, _ in drawn)
    # Each of 3 x 40 is drawn with probability 1/3; 5 standard deviations.
    counts = np.array([places[place] for place in range(12)])
    assert np.all(np.abs(counts - 40) < 5 * np.sqrt(120 / 3 * 2 / 3))


def test_memory_holds_no_more_than_the_subset():
    megabyte = 2**20
    labels = [index % 2 for index in range(120)]
    source = _streamed(labels, lambda _: bytes(megabyte), num_classes=2)
    tracemalloc.start()
    subset = few_shot(source, 5, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert subset.num_examples == 10
    # Ten kept, and a few on their way through the pipeline, of 120.
    assert 10 * megabyte < peak < 20 * megabyte


def test_random_access_reads_only_what_it_draws(tmp_path):
    for index in range(40):
        path = tmp_path / str(index % 2) / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.full((2, 2, 3), index, np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    source = open_source(str(tmp_path), "all")
    drawn = {name for name, _ in _drawn(few_shot(source, 3, seed=0))}
    for path in tmp_path.glob("*/*.png"):
        if str(path) not in drawn:
            path.unlink()
    assert {name for name, _ in _drawn(few_shot(source, 3, 0))} == drawn


def test_one_pass():
    passes = []
    source = _streamed([0, 1, 2] * 10)
    counted = dataclasses.replace(
        source, read=lambda: passes.append(1) or source.read()
    )
    few_shot(counted, 2, seed=0)
    assert len(passes) == 1


def test_too_few_examples():
    source = _streamed([0] * 5 + [1] * 3)
    with pytest.raises(
        ValueError,
        match=r"is 4, but 2 of the 3 classes .*: class1 \(3\), class2 \(0\)\.$",
    ):
        few_shot(source, 4, seed=0)


def test_long_lists_of_classes_are_cut():
    source = _streamed([0], num_classes=30)
    with pytest.raises(ValueError, match=r"class9 \(0\) and 20 more\.$"):
        few_shot(source, 2, seed=0)


def test_multi_label():
    source = dataclasses.replace(_streamed([0]), multi_label=True)
    with pytest.raises(ValueError, match="needs one class per image.*multi-l"):
        few_shot(source, 1, seed=0)


@pytest.mark.parametrize("label", [-1, 3])
def test_label_outside_the_classes(label):
    with pytest.raises(ValueError, match=f"label {label} is outside its 3"):
        few_shot(_streamed([0, 1, 2, label]), 1, seed=0)


def test_k_must_be_positive():
    with pytest.raises(ValueError, match="must be >= 1; got 0"):
        few_shot(_streamed([0]), 0, seed=0)


def test_fingerprint_names_the_draw():
    source = open_source("digits", "test")
    prints = {
        few_shot(source, k, s).fingerprint for k, s in ((1, 0), (1, 1), (2, 0))
    }
    assert len(prints) == 3
