"""Rows on disk, on the screen and in TensorBoard."""

import io

import pytest

from bit_keras.logbook import Logbook, Sums
from bit_keras.progress import Progress
from bit_keras.workdir import Workdir


def write_rows(path):
    stream = io.StringIO()
    sums = Sums()
    sums.add({"loss": 12.0, "correct": 3.0, "weight": 8.0}, 2, seconds=4.0)
    with Workdir(path) as workdir:
        log = Logbook(workdir, Progress(10, stream=stream), 10)
        log.train_row(2, 0.25, sums, 0.1, images_per_second=2.0, bad_images=1)
        log.eval_row(
            2,
            0.25,
            {
                "split": "test",
                "top1": 0.75,
                "loss": 0.5,
                "examples": 4,
                "bad_images": 0,
            },
        )
        log.close()
        return workdir.rows(), stream.getvalue()


def test_rows_hold_means_over_examples(tmp_path):
    rows, text = write_rows(tmp_path)
    assert rows[0]["loss"] == 1.5 and rows[0]["top1"] == 0.375
    assert rows[0]["bad_images"] == 1
    assert rows[1]["kind"] == "eval" and rows[1]["top1"] == 0.75
    assert "step 2/10" in text and "loss 1.500" in text
    assert "test: top-1 0.7500" in text


def test_nothing_seen_is_no_division_by_zero():
    assert Sums().loss == 0.0 and Sums().top1 == 0.0


def test_tensorboard_gets_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing import event_accumulator
    from tensorflow import make_ndarray

    write_rows(tmp_path)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {
        tag: [
            (event.step, float(make_ndarray(event.tensor_proto)))
            for event in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
    }
    assert found["train/loss"] == [(2, 1.5)]
    assert found["eval/top1"] == [(2, 0.75)]


def test_without_tensorboard_nothing_breaks(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rows, _ = write_rows(tmp_path)
    assert len(rows) == 2 and not (tmp_path / "tensorboard").exists()
