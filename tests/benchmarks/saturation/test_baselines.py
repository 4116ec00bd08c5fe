"""The straight lines that the law is measured against."""

import numpy as np
import pytest
from scipy import stats

from bit_keras.benchmarks.saturation import baselines

# F. J. Anscombe, "Graphs in Statistical Analysis", 1973, data set I: the
# published line is y = 3.00 + 0.500 x.
ANSCOMBE_X = np.array([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5], float)
ANSCOMBE_Y = np.array(
    [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
)


def test_the_published_line_of_known_data():
    line = baselines.fit("linear", ANSCOMBE_X, ANSCOMBE_Y)
    assert round(line.intercept, 2) == 3.00
    assert round(line.slope, 3) == 0.500


@pytest.mark.parametrize(
    "name, scale",
    [
        ("linear", lambda e: e),
        ("log-linear", np.log),
        ("logit-linear", lambda e: np.log(e / (1 - e))),
    ],
)
def test_a_line_is_least_squares_on_its_scale(name, scale):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.05, 0.95, (2, 40))
    line = baselines.fit(name, x, y)
    known = stats.linregress(scale(x), scale(y))
    assert line.slope == pytest.approx(known.slope, rel=1e-12)
    assert line.intercept == pytest.approx(known.intercept, rel=1e-12)
    predicted = known.intercept + known.slope * scale(x)
    np.testing.assert_allclose(scale(line.predict(x)), predicted, rtol=1e-10)


def test_the_power_law_is_recovered():
    x = np.geomspace(0.01, 1, 20)
    line = baselines.fit("log-linear", x, 0.7 * x**1.3)
    assert line.slope == pytest.approx(1.3)
    assert np.exp(line.intercept) == pytest.approx(0.7)


def test_logits_of_errors_and_of_accuracies_are_one_line():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.05, 0.95, (2, 30))
    of_errors = baselines.fit("logit-linear", x, y)
    of_accuracies = baselines.fit("logit-linear", 1 - x, 1 - y)
    at = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        of_errors.predict(at), 1 - of_accuracies.predict(1 - at)
    )


def test_errors_of_zero_and_one_do_not_count_on_logs():
    x = np.array([0.0, 0.2, 0.4, 0.8, 1.0])
    y = np.array([0.1, 0.2, 0.4, 0.8, 1.0])
    assert baselines.fit("linear", x, y).n == 5
    assert baselines.fit("log-linear", x, y).n == 4
    line = baselines.fit("logit-linear", x, y)
    assert line.n == 3
    np.testing.assert_allclose(line.predict(x), x, atol=1e-12)


def test_slips_are_named():
    with pytest.raises(ValueError, match='linear, log-linear.*got "log"'):
        baselines.fit("log", np.array([0.1, 0.2]), np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="two upstream errors; got 1"):
        baselines.fit("linear", np.array([0.1, 0.1]), np.array([0.1, 0.2]))
