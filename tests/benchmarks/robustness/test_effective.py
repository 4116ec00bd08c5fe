import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bit_keras.benchmarks.robustness import reference_models
from bit_keras.benchmarks.robustness.effective import SCALES, Line, fit


def logit(p):
    return np.log(p / (1 - p))


def test_the_published_line_for_sketch_gives_the_published_distance():
    # The line that users of the testbed of Taori et al. take for ImageNet-
    # Sketch, and its torchvision ResNet-50.
    line = Line(scale="logit", slope=1.0709154135668684, intercept=-2.370072913)
    expected = 1 / (1 + np.exp(-(logit(0.7613) * line.slope + line.intercept)))
    found = line.effective(0.7613, 0.240916519165039)
    assert found == pytest.approx(0.240916519165039 - expected)
    # On the line, but for half a point: it is one of the plain models.
    assert abs(found) < 0.005


@pytest.mark.parametrize("scale", SCALES)
def test_points_on_a_line_are_found_on_it(scale):
    to, back = {
        "logit": (logit, lambda y: 1 / (1 + np.exp(-y))),
        "probit": (stats.norm.ppf, stats.norm.cdf),
        "linear": (lambda p: p, lambda y: y),
    }[scale]
    source = np.linspace(0.3, 0.9, 7)
    shifted = back(0.8 * to(source) - 0.1)
    line = fit(source, shifted, scale)
    assert (line.slope, line.intercept) == pytest.approx((0.8, -0.1))
    assert line.r2 == pytest.approx(1)
    assert line.effective(source, shifted) == pytest.approx(np.zeros(7))
    assert line.effective(0.5, line.expected(0.5) + 0.1) == pytest.approx(0.1)


def test_the_line_through_timms_models_is_that_of_polyfit(shared):
    tables = shared / "data/tables"
    one, two = (
        pd.read_csv(tables / f"timm_results-{name}.csv").set_index(
            ["model", "img_size"]
        )["top1"]
        for name in ("imagenet", "imagenetv2-matched-frequency")
    )
    both = pd.concat([one, two], axis=1, join="inner") / 100
    slope, intercept = np.polyfit(*logit(both.to_numpy().T), 1)
    pairs = reference_models.read_pairs(
        str(tables / "timm_results-imagenet.csv"),
        str(tables / "timm_results-imagenetv2-matched-frequency.csv"),
        "model",
        "top1",
    )
    line = fit(pairs["source"], pairs["shifted"])
    assert line.n == len(both) == 1556
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    # Known of ImageNet-V2: nearly a perfect line (Recht et al., 1902.10811).
    assert line.r2 > 0.98
    big = pairs.set_index("model").loc[
        "resnetv2_152x4_bit.goog_in21k_ft_in1k@480"
    ]
    assert (big.source, big.shifted) == pytest.approx(
        (0.8494, 0.7314), abs=1e-4
    )
    assert float(line.effective(*big)) == pytest.approx(-0.019, abs=0.001)


def test_the_interval_holds_as_many_new_models_as_it_says():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        x = rng.normal(size=12)
        y = 0.5 * x + rng.normal(scale=0.3, size=12)
        source, shifted = stats.logistic.cdf([x[:11], y[:11]])
        low, high = fit(source, shifted).interval(stats.logistic.cdf(x[11]))
        inside.append(low <= stats.logistic.cdf(y[11]) <= high)
    # Binomial: 0.95 +- 3 * 0.011.
    assert np.mean(inside) == pytest.approx(0.95, abs=0.033)


def test_what_cannot_be_fitted_is_refused():
    good = np.array([0.2, 0.4, 0.6])
    with pytest.raises(ValueError, match='Did you mean "logit"'):
        fit(good, good, "logits")
    with pytest.raises(ValueError, match="1 models have others"):
        fit(good, np.array([0.0, 0.4, 0.6]))
    with pytest.raises(ValueError, match="at least 3 reference models"):
        fit(good[:2], good[:2])
    with pytest.raises(ValueError, match="of differing accuracy"):
        fit(good * 0 + 0.5, good)
    assert fit(
        good, np.array([0.0, 0.4, 0.8]), "linear"
    ).slope == pytest.approx(2)
