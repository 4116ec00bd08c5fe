"""Weights kept along training, each the point of a curve."""

import json

import numpy as np
import pytest

from bit_keras import train
from bit_keras.workdir import weights_name


def run(path, *more):
    arguments = [
        *("--recipe", "transfer", "--dataset", "digits"),
        *("--model", "bit_tiny", "--steps", "6", "--batch-size", "16"),
        *("--set", "preprocess.resize=18", "--set", "preprocess.crop=16"),
        *("--set", "preprocess.mixup_alpha=0", "--set", "run.eval_every=6"),
        *("--set", "run.keep_weights_at=2,5,6", "--workdir", str(path)),
    ]
    return train.main([*arguments, *more])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept")
    assert run(path) == 0
    return path


def arrays(path):
    with np.load(path) as file:
        return dict(file)


def test_each_is_kept_and_evaluated_once(workdir):
    names = sorted(path.name for path in workdir.glob("weights-*.npz"))
    assert names == [weights_name(step) for step in (2, 5, 6)]
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["step"] for r in rows if r["kind"] == "eval"] == [2, 5, 6]


def test_they_are_those_of_their_step(workdir):
    second = arrays(workdir / weights_name(2))
    last, final = (
        arrays(workdir / weights_name(6)),
        arrays(workdir / "final.npz"),
    )
    assert second.keys() == final.keys()
    assert all(np.array_equal(last[name], final[name]) for name in final)
    assert any(not np.array_equal(second[name], final[name]) for name in final)


def test_they_do_not_change_the_training(workdir, tmp_path):
    assert run(tmp_path, "--set", "run.keep_weights_at=") == 0
    assert not list(tmp_path.glob("weights-*.npz"))
    final, plain = arrays(workdir / "final.npz"), arrays(tmp_path / "final.npz")
    for name in final:
        np.testing.assert_allclose(final[name], plain[name], atol=1e-5)


def test_a_new_training_discards_them(workdir, tmp_path):
    (tmp_path / weights_name(3)).touch()
    assert run(tmp_path, "--overwrite") == 0
    assert not (tmp_path / weights_name(3)).exists()


@pytest.mark.parametrize("steps", ["0,2", "2,7"])
def test_steps_that_are_none_are_refused(steps, tmp_path, capsys):
    assert run(tmp_path, "--set", f"run.keep_weights_at={steps}") == 2
    message = capsys.readouterr().err
    assert "run.keep_weights_at must be steps from 1 to 6" in message
