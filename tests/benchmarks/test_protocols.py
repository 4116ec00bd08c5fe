import json

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks import protocols
from bit_keras.benchmarks.fewshot import linear_probe


@pytest.fixture(scope="module")
def expected(shared):
    path = shared / "fixtures" / "fewshot_expected_public.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def grid_tables(expected):
    """Accuracies over the grid as the fixture has them."""
    return {
        name: pd.concat(
            pd.DataFrame(
                {
                    "shots": int(shots),
                    "seed": pd.NA,
                    "l2": protocols.L2_GRID,
                    "accuracy": np.divide(counts["float64"], 600),
                }
            )
            for shots, counts in by_shots.items()
        )
        for name, by_shots in expected["l2_grid"]["results"].items()
    }


def table(l2, accuracy, shots=5, seed=0, **columns):
    return pd.DataFrame(
        {
            "shots": shots,
            "seed": pd.array([seed] * len(l2), "Int64"),
            "l2": l2,
            "accuracy": accuracy,
            **columns,
        }
    )


def test_vit_selects_the_penalties_of_the_reference(grid_tables, expected):
    found = protocols.evaluate(grid_tables, "vit")
    assert found["seed"].isna().all()
    for shots, want in expected["rank_selection"]["results"].items():
        rows = found[found["shots"] == int(shots)].set_index("task")
        assert (rows["l2"] == want["best_l2"]).all()
        correct = (rows["accuracy"] * 600).round().astype(int).to_dict()
        assert correct == want["correct_at_best"]


def test_leave_self_out_selects_by_the_others(grid_tables, expected):
    found = protocols.evaluate(grid_tables, "leave_self_out")
    for row in found.itertuples():
        want = expected["rank_selection"]["results"][str(row.shots)]
        assert row.l2 == want["leave_self_out"][row.task]["best_l2"]
    assert len(found) == 12


def test_leave_self_out_is_blind_to_the_own_test_set(grid_tables):
    found = protocols.evaluate(grid_tables, "leave_self_out")
    rigged = dict(grid_tables)
    rigged["small"] = rigged["small"].assign(
        accuracy=rigged["small"]["accuracy"].to_numpy()[::-1]
    )
    again = protocols.evaluate(rigged, "leave_self_out")
    small = found["task"] == "small"
    assert found["l2"][small].equals(again["l2"][small])
    assert not found["l2"][~small].equals(again["l2"][~small])


def test_leave_self_out_needs_other_tasks(grid_tables):
    tables = {"small": grid_tables["small"]}
    with pytest.raises(ValueError, match='"small" is the only one with 1 '):
        protocols.evaluate(tables, "leave_self_out")


def test_big_vision_keeps_the_one_penalty():
    tables = {
        "a": table([1.0, 1024.0], [0.9, 0.5]),
        "b": table([1024.0], [0.25], seed=1),
    }
    found = protocols.evaluate(tables, "big_vision")
    assert found["accuracy"].tolist() == [0.5, 0.25]
    assert found["seed"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="l2 = 1024 is not among .*: 1, 2"):
        protocols.evaluate({"a": table([1.0, 2.0], [0.9, 0.5])}, "big_vision")


def test_validation_takes_the_largest_of_the_best_penalties():
    l2, validation = [1.0, 2.0, 4.0, 8.0], [0.7, 0.8, 0.8, 0.6]
    measured = table(l2, [0.1, 0.2, 0.3, 0.4], validation=validation)
    found = protocols.evaluate({"a": measured}, "validation")
    assert found[["l2", "accuracy"]].to_numpy().tolist() == [[4.0, 0.3]]


def test_validation_chooses_for_each_seed_and_fixes_one_shot(shared):
    path = shared / "fixtures" / "fewshot_features_public.npz"
    with np.load(path) as arrays:
        task = [
            arrays[f"small_{split}_{part}"]
            for split in ("train", "test")
            for part in ("q", "labels")
        ]
    task[0], task[2] = task[0] / np.float32(16), task[2] / np.float32(16)
    protocol = protocols.get("validation")
    measured = linear_probe(
        *task,
        num_classes=20,
        l2=protocol.l2,
        subset=protocol.subset,
        validation=protocol.validation,
    )
    found = protocols.evaluate({"small": measured}, "validation")
    assert len(found) == 12
    assert (found["l2"][found["shots"] == 1] == 1024).all()
    assert found["l2"].nunique() > 1
    # Choosing without test labels costs little of what hindsight would get.
    best = measured.groupby(["shots", "seed"])["accuracy"].max()
    chosen = found.set_index(["shots", "seed"])["accuracy"]
    assert (best - chosen).max() < 0.05
    # And the choice does not move when test accuracies do.
    shuffled = measured.assign(accuracy=measured["accuracy"].to_numpy()[::-1])
    again = protocols.evaluate({"small": shuffled}, "validation")
    assert found["l2"].equals(again["l2"])


def test_tables_of_another_protocol_are_refused():
    seeded = {"a": table([1024.0], [0.5])}
    with pytest.raises(ValueError, match='tables\\["a"\\] .*needs subset="fi'):
        protocols.evaluate(seeded, "vit")
    with pytest.raises(ValueError, match='no column "validation"'):
        protocols.evaluate(seeded, "validation")
    first = {"a": table([1024.0], [0.5], seed=None)}
    with pytest.raises(ValueError, match='needs subset="seeded"'):
        protocols.evaluate(first, "big_vision")


def test_penalties_must_be_the_same_in_all_tables():
    tables = {
        "a": table([1.0, 2.0], [0.5, 0.6], seed=None),
        "b": table([1.0], [0.5], seed=None),
    }
    with pytest.raises(
        ValueError, match='tables\\["b"\\] lacks penalties at 5'
    ):
        protocols.evaluate(tables, "vit")


def test_no_tasks_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="tables is empty"):
        protocols.evaluate({}, "vit")
    with pytest.raises(ValueError, match='Did you mean "big_vision"'):
        protocols.get("bigvision")
