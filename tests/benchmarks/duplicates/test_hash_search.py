"""All pairs of near hashes, against comparing every two of them."""

import numpy as np
import pytest

from bit_keras.benchmarks.duplicates import hash_search
from bit_keras.benchmarks.duplicates.hash_search import search
from bit_keras.benchmarks.speed import duplicates as speed


def hashes(count, seed, centres=20):
    """Random hashes around a few centres: many pairs at every distance."""
    rng = np.random.default_rng(seed)
    near = np.random.default_rng(7).integers(0, 2**64, centres, np.uint64)
    flips = np.zeros(count, np.uint64)
    for bit in range(64):
        flips |= (rng.random(count) < 0.08).astype(np.uint64) << np.uint64(bit)
    return near[rng.integers(0, centres, count)] ^ flips


def brute(queries, targets):
    return np.bitwise_count(queries[:, None] ^ targets[None])


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 7, 8, 10, 12, 16])
def test_it_finds_every_pair_once_with_its_distance(radius):
    queries, targets = hashes(300, 0), hashes(900, 1)
    queries[:5] = targets[10:15]
    distance = brute(queries, targets)
    expected = np.argwhere(distance <= radius).tolist()
    assert len(expected) >= 5
    found = []
    for part in search(queries, targets, radius):
        assert (distance[part.query, part.target] == part.distance).all()
        found += np.stack(part[:2], axis=1).tolist()
    assert sorted(found) == expected


def test_parts_are_small_and_complete(monkeypatch):
    queries, targets = hashes(200, 0), hashes(1000, 1)
    monkeypatch.setattr(hash_search, "_BLOCK", 64)
    monkeypatch.setattr(hash_search, "_PAIRS", 50)
    parts = list(search(queries, targets, 10))
    sizes = [len(part.query) for part in parts]
    # A part is given away as soon as it has 50 pairs; one query and block
    # bring 64 at most.
    assert len(sizes) > 10 and max(sizes) < 50 + 64
    assert sum(sizes) == (brute(queries, targets) <= 10).sum()


def test_images_that_are_all_alike_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(hash_search, "_PAIRS", 1000)
    queries = np.zeros(100, np.uint64)
    targets = np.full(500, 3, np.uint64)
    sizes = [len(part.query) for part in search(queries, targets, 2)]
    assert sum(sizes) == 50_000 and max(sizes) <= 2000


def test_bands_cannot_miss_a_pair():
    # Limits t of bands: more than t in each is more than the radius together.
    for radius in range(hash_search.MAX_RADIUS + 1):
        limits = hash_search._limits(radius)
        assert sum(limit + 1 for limit in limits) == radius + 1
        assert min(limits) >= -1


def test_nothing_is_found_in_nothing():
    none = np.empty(0, np.uint64)
    assert list(search(none, hashes(5, 0), 4)) == []
    assert list(search(hashes(5, 0), none, 4)) == []


@pytest.mark.parametrize(
    "queries, radius, message",
    [
        (np.zeros(3, np.int64), 4, "queries must be uint64 of shape"),
        (np.zeros((3, 2), np.uint64), 4, "of shape .3, 2."),
        (np.zeros(3, np.uint64), 17, "radius must be 0 to 16 bits; got 17"),
        (np.zeros(3, np.uint64), -1, "radius must be 0 to 16 bits; got -1"),
    ],
)
def test_what_cannot_be_searched_is_refused(queries, radius, message):
    with pytest.raises(ValueError, match=message):
        search(queries, np.zeros(2, np.uint64), radius)


def test_the_benchmark_compares_with_all_pairs(tmp_path, capsys):
    figures = speed.measure(600, 20_000, 100, repeats=1)
    # Of distances 0 to 12, those to 10 are found.
    assert figures["pairs"] == pytest.approx(600 * 11 / 13, abs=2)
    assert figures["recall"] == 1 and figures["wrong or repeated pairs"] == 0
    assert 0 < figures["peak memory, GiB"] < 1
    assert figures["pairs of the sample"] >= 80


def test_a_search_that_misses_a_pair_fails_the_benchmark(monkeypatch, capsys):
    figures = {"peak memory, GiB": 0.1, "recall": 0.99}
    monkeypatch.setattr(speed, "measure", lambda *args, **more: figures)
    assert speed.main(["--quick"]) == 1
    assert "0.99" in capsys.readouterr().out
