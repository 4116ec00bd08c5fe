import re

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation.shots import claims, effect_of_shots


def fits(**columns):
    given = {
        "task": "dtd",
        "shots": [1, 5, 10, 25],
        "on": "hull",
        "k": [0.9, 0.8, 0.7, 0.6],
        "alpha": [1.0, 2.0, 3.0, 4.0],
        "e_ir": [0.4, 0.3, 0.2, 0.1],
        "identified": True,
    }
    return pd.DataFrame(given | columns)


def by_parameter(frame):
    return effect_of_shots(frame).set_index("parameter")


def numbers(cell):
    """The first three of a cell such as ".643, 3.46, .283 (10)"."""
    return [float(v) for v in re.findall(r"\d*\.\d+|\d+", cell)[:3]]


@pytest.fixture(scope="module")
def published(shared):
    """The fits of section 8.1 of the reference, by kind of hull."""
    text = (shared / "reference" / "saturation.md").read_text(encoding="utf-8")
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        # Section 3 has a row of Caltech101, too, without a number of shots.
        if cells[0] not in ("bird", "cifar100", "caltech"):
            continue
        if cells[1] not in ("5", "10", "25"):
            continue
        full = numbers(cells[3])
        rising = full if cells[4].startswith("same") else numbers(cells[4])
        for on, (k, alpha, e_ir) in (("full", full), ("rising", rising)):
            rows.append((cells[0], int(cells[1]), on, k, alpha, e_ir, True))
    names = ["task", "shots", "on", "k", "alpha", "e_ir", "identified"]
    assert len(rows) == 18
    return pd.DataFrame(rows, columns=names)


def test_everything_moves_as_claimed():
    found = by_parameter(fits())
    assert found["sign"].to_dict() == {"k": -1, "alpha": 1, "e_ir": -1}
    assert found["rank_correlation"].tolist() == [-1, 1, -1]
    assert found["monotone"].tolist() == [1, 1, 1]
    assert found["holds"].all()
    assert found["claimed"].tolist() == ["falls", "rises", "falls"]
    assert found.loc["k", "shots"] == "1, 5, 10, 25"
    assert (found.loc["k", "first"], found.loc["k", "last"]) == (0.9, 0.6)


def test_correlation_is_with_the_logarithm_of_shots():
    found = by_parameter(fits(k=-np.log([1, 5, 10, 25])))
    assert found.loc["k", "correlation"] == pytest.approx(-1)
    other = by_parameter(fits(k=[0.9, 0.8, 0.7, 0.9]))
    expected = np.corrcoef(np.log([1, 5, 10, 25]), [0.9, 0.8, 0.7, 0.9])[0, 1]
    assert other.loc["k", "correlation"] == pytest.approx(expected)


def test_steps_are_counted_one_by_one():
    found = by_parameter(fits(e_ir=[0.4, 0.2, 0.2, 0.3]))
    # One falls, one stays, one rises.
    assert found.loc["e_ir", "monotone"] == pytest.approx(1 / 3)
    assert not found.loc["e_ir", "holds"]


def test_rows_may_be_in_any_order():
    frame = fits(k=[0.9, 0.7, 0.8, 0.6])
    other = frame.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        effect_of_shots(frame), effect_of_shots(other)
    )


def test_fits_that_are_not_identified_are_left_out():
    frame = fits(
        e_ir=[0.4, 0.9, 0.2, 0.1], identified=[True, False] + [True] * 2
    )
    found = by_parameter(frame)
    assert found.loc["e_ir", "left_out"] == 1
    assert found.loc["e_ir", "n"] == 3
    assert found.loc["e_ir", "monotone"] == 1


def test_all_examples_are_no_number_of_shots():
    shots = pd.array([1, 5, 10, None], dtype="Int64")
    found = by_parameter(fits(shots=shots, e_ir=[0.4, 0.3, 0.2, 0.9]))
    assert found.loc["e_ir", "n"] == 3 and found.loc["e_ir", "holds"]


def test_one_number_of_shots_says_nothing():
    effect = effect_of_shots(fits().iloc[:1])
    assert effect["sign"].tolist() == [0, 0, 0]
    assert effect["monotone"].isna().all()
    assert effect["holds"].tolist() == [None] * 3
    assert claims(effect).empty


def test_several_fits_of_one_thing_are_a_mistake():
    with pytest.raises(ValueError, match="task dtd has several fits of 5"):
        effect_of_shots(fits(shots=[1, 5, 5, 25]))


def test_error_falls_with_shots_on_the_full_hull_only(published):
    found = claims(effect_of_shots(published))
    errors = found[found["parameter"] == "e_ir"].set_index("on")
    assert errors.loc["full", ["tasks", "same_sign", "holds"]].tolist() == [
        3,
        3,
        3,
    ]
    assert errors.loc["full", "monotone"] == 1
    rising = errors.loc["rising"]
    assert rising["fails_on"] == "bird"
    # cifar100 is flat: .211, then .216.
    assert (rising["same_sign"], rising["holds"]) == (2, 1)


def test_each_task_of_the_published_fits(published):
    effect = effect_of_shots(published).set_index(["on", "task", "parameter"])
    bird = effect.loc[("rising", "bird", "e_ir")]
    assert bird["sign"] == 1 and bird["monotone"] == 0
    cifar = effect.loc[("rising", "cifar100", "e_ir")]
    assert cifar["sign"] == -1 and cifar["monotone"] == 0.5
    caltech = effect.loc[("rising", "caltech", "e_ir")]
    assert caltech["holds"] and caltech["rank_correlation"] == -1
