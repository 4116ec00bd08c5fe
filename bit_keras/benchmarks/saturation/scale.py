"""Do model size, data and epochs matter beyond the upstream accuracy?

Figure 4 of arXiv 2110.02095: scaling up any of the three moves a model along
one curve of downstream against upstream accuracy, so that they act through the
upstream accuracy alone. Here all points are fitted with one law, and what it
leaves is regressed on log10 of the three. The law's own parameters are held
fixed as further regressors (its derivatives by k, alpha and e_IR: a
Gauss-Newton regression), or an effect that the fit has half absorbed would be
understated.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation import law
from bit_keras.benchmarks.saturation.regression import Regression, regress
from bit_keras.benchmarks.saturation.table import trainings

FACTORS = ("size", "data", "epochs")
# Standard errors from fewer clusters come out too small, whatever the factor
# (A. C. Cameron, D. L. Miller, "A Practitioner's Guide to Cluster-Robust
# Inference", 2015, Section VI: few is less than 20 to 50).
_FEW_CLUSTERS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class ScaleEffect:
    """One task's points on one curve, and what scale adds to it.

    Attributes:
        fit: The law, on all points.
        points: The points that count, with `predicted_error` and `residual`
            (downstream error minus law: positive is worse than the curve).
        regression: Of the residuals on log10 of the factors; a coefficient is
            the change in downstream error by ten times as much, at equal
            upstream accuracy. None if no factor varies.
        law_r2: Share of the variance of downstream error that the law explains.
        left_out: Points without a number for some factor.
        constant: Factors that are the same for all points.
    """

    fit: law.Fit
    points: pd.DataFrame
    regression: Regression | None
    law_r2: float
    left_out: int
    constant: tuple[str, ...]

    def adds(self, level: float = 0.05) -> bool | None:
        """Whether scale adds anything to upstream accuracy.

        Args:
            level: Of the F test of all factors together.

        Returns:
            None if no factor varies.
        """
        if self.regression is None:
            return None
        return self.regression.p_value < level

    def frame(self) -> pd.DataFrame:
        """Returns a row per factor, and one, "together", of all of them."""
        if self.regression is None:
            return pd.DataFrame()
        found = self.regression
        together = {
            "factor": "together",
            "p_value": found.p_value,
            "f": found.f,
            "partial_r2": found.partial_r2,
        }
        rows = [found.frame(), pd.DataFrame([together])]
        return pd.concat(rows, ignore_index=True).assign(
            law_r2=self.law_r2, n=found.n, clusters=found.clusters
        )

    def summary(self) -> str:
        """Returns one sentence on each factor, and the test of all."""
        if self.regression is None:
            return "No factor varies: nothing to test."
        found = self.regression
        lines = [
            f"At equal upstream accuracy, ten times the {row.factor} changes "
            f"downstream error by {row.coefficient:+.4f} [{row.low:+.4f}, "
            f"{row.high:+.4f}]."
            for row in found.frame().itertuples()
        ]
        verdict = "adds to" if self.adds() else "is not shown to add to"
        clusters = f" of {found.clusters} trainings" if found.clusters else ""
        lines.append(
            f"Scale {verdict} upstream accuracy (p = {found.p_value:.2g}, "
            f"{found.n} points{clusters}); it explains "
            f"{found.partial_r2:.1%} of what the law leaves, which is "
            f"{1 - self.law_r2:.1%} of the variance."
        )
        if found.clusters is not None and found.clusters < _FEW_CLUSTERS:
            lines.append("With so few models, p comes out too small.")
        return " ".join(lines)


def beyond_upstream(
    points: pd.DataFrame, factors: Sequence[str] = FACTORS
) -> ScaleEffect:
    """Tests whether scale says more on downstream than upstream accuracy does.

    Checkpoints of one training are not independent: they count as a cluster.

    Args:
        points: Of one task and number of shots, as `Table.points`.
        factors: Columns of positive numbers; those that have no number at all
            do not count.

    Raises:
        ValueError: If a factor is not positive, or there are too few points or
            models.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> upstream = rng.uniform(0.2, 0.7, 60)
    >>> size = 10.0 ** rng.integers(6, 9, 60)
    >>> error = 0.8 * (1 - upstream) ** 2 + 0.1 - 0.01 * np.log10(size / 1e6)
    >>> effect = beyond_upstream(pd.DataFrame({"model": range(60),
    ...     "size": size, "upstream_accuracy": upstream,
    ...     "downstream_accuracy": 1 - error}), factors=("size",))
    >>> effect.regression.coefficients.round(4), effect.adds()
    (array([-0.01]), True)
    """
    used = [name for name in factors if points[name].notna().any()]
    known = points[points[used].notna().all(axis="columns")]
    for name in used:
        if (known[name] <= 0).any():
            raise ValueError(
                f"{name} must be positive; got {known[name].min():g}."
            )
    constant = tuple(name for name in used if known[name].nunique() < 2)
    used = [name for name in used if name not in constant]
    upstream = 1 - known["upstream_accuracy"].to_numpy(float)
    downstream = 1 - known["downstream_accuracy"].to_numpy(float)
    fit = law.SaturationLaw().fit(upstream, downstream, on="all")
    predicted = fit.predict(upstream)
    residual = downstream - predicted
    found = None
    if used:
        models = trainings(known).to_numpy()
        repeated = len(np.unique(models)) < len(models)
        found = regress(
            residual,
            np.log10(known[used].astype(float)),
            _derivatives(fit, upstream),
            models if repeated else None,
        )
    return ScaleEffect(
        fit=fit,
        points=known.assign(predicted_error=predicted, residual=residual),
        regression=found,
        # Residuals of a law at its bounds need not have mean zero.
        law_r2=float(1 - np.mean(residual**2) / np.var(downstream)),
        left_out=len(points) - len(known),
        constant=constant,
    )


def _derivatives(fit: law.Fit, upstream_error: np.ndarray) -> np.ndarray:
    """Returns the law's derivatives by k, alpha and e_IR, `(points, 3)`."""
    power = upstream_error**fit.alpha
    log = np.log(np.where(upstream_error > 0, upstream_error, 1.0))
    by_alpha = fit.k * power * log
    return np.stack([power, by_alpha, np.ones_like(power)], axis=1)
