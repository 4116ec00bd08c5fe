"""Head settings against both accuracies."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bit_keras.benchmarks.saturation import head


def make_points(downstream, upstream=(0.5, 0.48, 0.44, 0.3), **more):
    return pd.DataFrame(
        {
            "family": "BiT",
            "size": 1e6,
            "task": "dtd",
            "shots": pd.array([5] * len(downstream), "Int64"),
            "head_weight_decay": [0.0, 0.01, 0.1, 1.0],
            "upstream_accuracy": upstream,
            "downstream_accuracy": downstream,
            **more,
        }
    )


def test_upstream_and_downstream_may_disagree():
    near = make_points([0.6, 0.66, 0.7, 0.65])
    far = make_points([0.9, 0.8, 0.7, 0.5], task="col_hist")
    result = head.sweep(pd.concat([near, far]))
    effects = result.effects.set_index("task")
    one = effects.loc["dtd"]
    assert (one["best_upstream"], one["best_downstream"]) == (0.0, 0.1)
    assert one["cost"] == pytest.approx(0.1) and one["disagree"]
    assert one["upstream_correlation"] == -1
    known = stats.spearmanr([0, 1, 2, 3], [0.6, 0.66, 0.7, 0.65]).statistic
    assert one["downstream_correlation"] == pytest.approx(known)
    assert one["agreement"] == pytest.approx(-known)
    assert not effects.loc["col_hist", "disagree"]
    assert effects.loc["col_hist", "agreement"] == 1
    assert result.disagreements()["task"].tolist() == ["dtd"]


def test_only_runs_alike_are_compared():
    small = make_points([0.6, 0.7, 0.6, 0.5])
    large = make_points(
        [0.7, 0.7, 0.8, 0.9], upstream=[0.6, 0.7, 0.8, 0.9], size=1e8
    )
    effects = head.sweep(pd.concat([small, large])).effects.set_index("size")
    assert effects["best_downstream"].to_dict() == {1e6: 0.01, 1e8: 1.0}
    # The other setting of the head is held fixed too.
    rates = make_points([0.1, 0.2, 0.3, 0.4], head_learning_rate=0.5)
    base = make_points([0.9, 0.8, 0.7, 0.6], head_learning_rate=1.0)
    both = head.sweep(pd.concat([rates, base])).effects
    assert both["head_learning_rate"].tolist() == [0.5, 1.0]
    assert both["best_downstream"].tolist() == [1.0, 0.0]


def test_runs_of_one_setting_give_their_median():
    points = pd.concat(
        [
            make_points(np.array([0.5, 0.6, 0.4, 0.3]) + d)
            for d in (0, 0.02, 0.2)
        ]
    )
    result = head.sweep(points)
    assert result.curves["runs"].tolist() == [3, 3, 3, 3]
    np.testing.assert_allclose(
        result.curves["downstream_accuracy"], [0.52, 0.62, 0.42, 0.32]
    )


def test_equally_good_upstream_settings_are_no_disagreement():
    points = make_points([0.6, 0.7, 0.5, 0.4], upstream=[0.5, 0.5, 0.4, 0.3])
    effect = head.sweep(points).effects.iloc[0]
    assert effect["cost"] == 0 and not effect["disagree"]


def test_what_does_not_vary_has_no_correlation():
    effect = head.sweep(make_points([0.6] * 4)).effects.iloc[0]
    assert np.isnan(effect["downstream_correlation"])
    assert np.isnan(effect["agreement"])


def test_slips_are_named():
    points = make_points([0.6, 0.7, 0.5, 0.4])
    with pytest.raises(ValueError, match='no column "head_lr"'):
        head.sweep(points, "head_lr")
    alone = points.assign(size=[1e5, 1e6, 1e7, 1e8])
    with pytest.raises(ValueError, match="no runs differ in it and agree"):
        head.sweep(alone)
