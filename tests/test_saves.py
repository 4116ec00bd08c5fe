"""Checkpoints on disk: what damage, full disks and clocks do to them."""

import time

import pytest
import tensorflow as tf

from bit_keras.saves import Saves
from bit_keras.workdir import saved_steps


class Weight:
    """As much of a Keras variable as is needed."""

    def __init__(self, path="kernel", value=0.0, size=1000):
        self.path, self.value = path, tf.Variable(tf.fill((size,), value))


def saves_of(folder, keep=2, **weight):
    made = Saves(
        folder, tf.Variable(0, dtype=tf.int64), [Weight(**weight)], [], keep
    )
    made.told = []
    return made


def save(saves, *steps):
    for step in steps:
        saves._step.assign(step)
        saves._state.model.kernel.assign(tf.fill((1000,), float(step)))
        saves.save()


def restored(saves):
    """Returns the path, the step and the weight; None if there is nothing."""
    path = saves.restore(saves.told.append)
    if path is None:
        return None
    return path.name, int(saves._step), float(saves._state.model.kernel[0])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_ones_are_kept(tmp_path):
    save(saves_of(tmp_path), 1, 2, 10)
    assert saved_steps(tmp_path) == [2, 10]
    assert restored(saves_of(tmp_path)) == ("ckpt-10", 10, 10.0)
    assert restored(saves_of(tmp_path / "new")) is None


@pytest.mark.parametrize(
    "damage",
    {
        "empty index": ("index", lambda data: b""),
        "cut index": ("index", lambda data: data[:10]),
        "cut data": ("data-00000-of-00001", lambda data: data[:100]),
        "flipped bit": (
            "data-00000-of-00001",
            lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:],
        ),
        "no data": ("data-00000-of-00001", None),
    }.items(),
    ids=lambda damage: damage[0],
)
def test_what_cannot_be_read_gives_way_to_the_one_before(tmp_path, damage):
    ending, change = damage[1]
    save(saves_of(tmp_path), 1, 2)
    path = tmp_path / f"ckpt-2.{ending}"
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    saves = saves_of(tmp_path)
    assert restored(saves) == ("ckpt-1", 1, 1.0)
    (told,) = saves.told
    assert f"{tmp_path / 'ckpt-2'} cannot be read" in told
    assert "\n" not in told
    save(saves, 3)
    assert saved_steps(tmp_path) == [1, 3]


def test_when_none_can_be_read_all_are_left(tmp_path):
    save(saves_of(tmp_path), 1, 2)
    for step in (1, 2):
        (tmp_path / f"ckpt-{step}.index").write_bytes(b"")
    before = names(tmp_path)
    with pytest.raises(
        ValueError, match="No checkpoint in .* can be read"
    ) as e:
        restored(saves_of(tmp_path))
    assert "--overwrite" in str(e.value) and str(tmp_path) in str(e.value)
    assert names(tmp_path) == before


@pytest.mark.parametrize("other", [{"path": "bias"}, {"size": 7}])
def test_those_of_another_network_are_refused(tmp_path, other):
    save(saves_of(tmp_path), 1)
    with pytest.raises(ValueError, match="No checkpoint in"):
        restored(saves_of(tmp_path, **other))


def test_what_an_interrupted_save_left_is_removed(tmp_path):
    save(saves_of(tmp_path), 1)
    (tmp_path / "ckpt-2_temp").mkdir()
    (tmp_path / "ckpt-2_temp" / "part-00000-of-00001").write_bytes(b"half")
    (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"no index yet")
    (tmp_path / "ckpt-mine.txt").write_bytes(b"of the user")
    assert restored(saves_of(tmp_path)) == ("ckpt-1", 1, 1.0)
    left = ["ckpt-1.data-00000-of-00001", "ckpt-1.index", "ckpt-mine.txt"]
    assert names(tmp_path) == left


def test_a_folder_named_like_a_pattern(tmp_path):
    folder = tmp_path / "ünï [1] *?\\ {a}"
    save(saves_of(folder), 1, 2, 3)
    assert restored(saves_of(folder)) == ("ckpt-3", 3, 3.0)


def test_the_clock_decides_nothing(tmp_path, monkeypatch):
    now = iter(range(10**9, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    for step in range(1, 5):
        saves = saves_of(tmp_path)
        assert (restored(saves) or (0, step - 1))[1] == step - 1
        save(saves, step)
    assert saved_steps(tmp_path) == [3, 4]


def test_the_same_state_is_not_saved_twice(tmp_path):
    save(saves_of(tmp_path), 5)
    saves = saves_of(tmp_path)
    assert restored(saves)
    before = (tmp_path / "ckpt-5.index").stat().st_mtime_ns
    saves.save()
    assert (tmp_path / "ckpt-5.index").stat().st_mtime_ns == before


def test_a_full_disk_takes_nothing_away(small_disk):
    folder = small_disk.path / "checkpoints"
    saves = saves_of(folder)
    save(saves, 1)
    before = names(folder)
    small_disk.fill()
    with pytest.raises(OSError) as caught:
        save(saves, 2)
    assert str(caught.value) == (
        f"Cannot write {folder / 'ckpt-2'}: No space left on device. What was "
        "saved before is intact: make room or repair the disk, and the same "
        "command goes on from there."
    )
    assert names(folder) == before
    assert restored(saves_of(folder)) == ("ckpt-1", 1, 1.0)
    small_disk.free()
    save(saves, 2)
    assert restored(saves_of(folder)) == ("ckpt-2", 2, 2.0)
