"""When a fit is said to mean nothing."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.saturation.hull import upper_hull
from bit_keras.benchmarks.saturation.law import SaturationLaw


def law_data(k, alpha, e_ir, low=0.3, n=300, noise=0.005):
    rng = np.random.default_rng(0)
    x = rng.uniform(low, 1, n)
    return x, k * x**alpha + e_ir + rng.normal(0, noise, n)


def verdict(x, y, on="all", **law):
    y = np.clip(y, 0, 1)
    return SaturationLaw(**{"resamples": 200} | law).fit(x, y, on=on).verdict


@pytest.mark.parametrize("on", ["all", "hull", "rising"])
@pytest.mark.parametrize(
    "parameters", [(0.8, 3, 0.12), (0.9, 10, 0.05), (0.5, 1.5, 0.3)]
)
def test_enough_data_identify_the_law(on, parameters):
    assert verdict(*law_data(*parameters), on=on) == ()


@pytest.mark.parametrize("vertices", [2, 3, 4, 5])
def test_few_vertices_do_not(vertices):
    x = np.linspace(0.2, 0.9, vertices)
    y = 0.5 * x**3 + 0.2
    found = verdict(x, y, on="hull")
    assert found == (
        f"{vertices} hull vertices; three parameters need 6 or more",
    )


def test_points_along_few_edges_do_not():
    x = np.linspace(0.2, 0.9, 4)
    fit = SaturationLaw().fit(x, 0.5 * x**3 + 0.2, densify=100)
    assert fit.verdict[0].startswith("4 hull vertices")


def test_repeats_of_few_models_do_not():
    x = np.repeat([0.2, 0.5, 0.9], 50)
    y = 0.5 * x**3 + 0.2
    assert verdict(x, y) == ("3 models; three parameters need 6 or more",)
    y += np.tile([0, 0.01], 75)
    assert verdict(x, y) == ("3 models; three parameters need 6 or more",)


def test_an_error_that_does_not_fall():
    found = verdict(*law_data(-0.3, 1, 0.6))
    assert found == ("downstream error does not fall with upstream error",)


@pytest.mark.parametrize(
    "y, message",
    [
        (lambda x: 0.9 + 0.02 * np.log(x), "alpha is at its lower bound, 0.05"),
        (lambda x: 0.2 + 0.5 * (x > 0.999), "alpha is at its upper bound, 50"),
    ],
)
def test_alpha_at_a_bound(y, message):
    x = np.linspace(0.2, 1, 100)
    (reason,) = verdict(x, y(x))
    assert reason.startswith(message)


@pytest.mark.parametrize("on", ["all", "hull"])
def test_no_irreducible_error(on):
    (reason,) = verdict(*law_data(0.8, 1.5, 0.0, low=0.1), on=on)
    assert reason.startswith("e_IR cannot be told from 0")


def test_an_irreducible_error_that_few_groups_cannot_tell_from_zero():
    # Twelve families with their own accuracies, each off by its own.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 100)
    x = np.linspace(0.3, 0.95, 12)[groups] + rng.uniform(-0.03, 0.03, 1200)
    y = 0.7 * x**1.5 + 0.1 + rng.normal(0, 0.03, 12)[groups]
    law = SaturationLaw(resamples=200)
    assert law.fit(x, y, on="all").identified
    (reason,) = law.fit(x, y, on="all", groups=groups).verdict
    assert reason.startswith("e_IR cannot be told from 0: its interval is 0")


def one_sided(e_ir, seed, alpha=3.0, models=200):
    """Models worse than a law by 0.03 on average, never better."""
    rng = np.random.default_rng(seed)
    x = 0.95 - 0.6 * rng.beta(2, 2, models)
    law = (0.9 - e_ir) * x**alpha + e_ir
    return x, np.clip(law + rng.exponential(0.03, models), 0, 1)


@pytest.mark.parametrize(
    "on, densify", [("hull", None), ("rising", None), ("hull", 50)]
)
def test_hulls_without_an_irreducible_error(on, densify):
    law = SaturationLaw(resamples=0)

    def found(e_ir):
        fits = [
            law.fit(*one_sided(e_ir, seed), on, densify=densify)
            for seed in range(15)
        ]
        return sum(fit.identified for fit in fits)

    # 5 % of 15 are 1. The F test alone finds e_IR in more than half.
    assert found(0.0) <= 2
    assert found(0.1) >= 12


def test_the_reason_says_how_often_chance_gives_such_hulls():
    (reason,) = verdict(*one_sided(0.0, 2, alpha=1.5), on="hull")
    assert reason.startswith(
        "e_IR cannot be told from 0: without it hulls like this come up by "
        "chance (p = 0."
    )


def test_hulls_of_checkpoints_without_an_irreducible_error():
    # Ten trainings of thirty checkpoints, each training off by its own.
    def found(e_ir, seed):
        rng = np.random.default_rng(seed)
        x = np.concatenate(
            [np.linspace(0.95, end, 30) for end in rng.uniform(0.3, 0.7, 10)]
        )
        off = np.repeat(rng.exponential(0.03, 10), 30)
        y = (0.9 - e_ir) * x**3 + e_ir + off + rng.exponential(0.01, 300)
        law = SaturationLaw(resamples=0)
        fit = law.fit(x, y.clip(0, 1), groups=np.arange(300) // 30)
        return fit.identified

    assert sum(found(0.0, seed) for seed in range(20)) <= 3
    assert sum(found(0.2, seed) for seed in range(20)) >= 10


def test_models_beyond_the_end_of_a_bounded_law():
    x, y = law_data(0.8, 6, 0.1, noise=0.001)
    y[x < 0.4] -= 0.05
    (reason,) = verdict(x, y, bounded=True)
    assert reason.startswith("e_IR is at its upper bound")


def test_a_range_far_from_zero():
    (reason,) = verdict(*law_data(0.6, 1.0, 0.1, low=0.8, noise=1e-4))
    assert reason.startswith("extrapolated too far")


def test_alpha_within_no_useful_limits():
    x, y = law_data(0.02, 8, 0.1, n=60, noise=0.004)
    (reason,) = verdict(x, y)
    assert reason.startswith("alpha may be anything from")


def test_what_is_not_identified_is_not_summed_up_in_numbers():
    fit = SaturationLaw(resamples=50).fit(*law_data(0.8, 1.5, 0.0, low=0.1))
    assert not fit.identified
    assert "not identified: " in fit.summary()
    assert "alpha: " not in fit.summary()


@pytest.mark.parametrize(
    "name, clean",
    [
        ("imagenetv2-matched-frequency", "imagenet"),
        ("sketch", "imagenet"),
        ("imagenet-a", "imagenet-a-clean"),
        ("imagenet-r", "imagenet-r-clean"),
    ],
)
@pytest.mark.parametrize("on", ["all", "hull", "rising"])
def test_the_timm_tables_are_not_identified(shared, name, clean, on):
    # Section 9.1: downstream accuracy is a convex function of upstream's.
    data = timm(shared, name, clean)
    fit = SaturationLaw(resamples=100).fit(*data, on=on)
    assert fit.n > 1500
    assert not fit.identified
    if on != "all":
        assert 2 <= len(upper_hull(1 - data[0], 1 - data[1]).x) <= 5
        assert "hull vertices" in fit.verdict[0]


def test_relabelled_imagenet_is(shared):
    fit = SaturationLaw(resamples=100).fit(
        *timm(shared, "imagenet-real", "imagenet")
    )
    assert fit.identified and fit.vertices == 15
    assert fit.e_ir == pytest.approx(0.051, abs=0.002)


def timm(shared, name, clean):
    keys = ["model", "img_size"]
    tables = [
        pd.read_csv(
            shared / "data" / "tables" / f"timm_results-{file}.csv"
        ).set_index(keys)["top1_err"]
        for file in (clean, name)
    ]
    both = pd.concat(tables, axis=1, join="inner").to_numpy() / 100
    return both.T
