"""A fitted saturation law: its parameters, how sure they are, and a verdict."""

import dataclasses
import functools
from typing import Literal

import numpy as np

from bit_keras.benchmarks.saturation import bootstrap, identifiability
from bit_keras.benchmarks.saturation.hull import Part
from bit_keras.benchmarks.saturation.projection import ALPHA_BOUNDS

On = Literal["hull", "rising", "all"]
# The part of the hull that is fitted.
PARTS: dict[str, Part] = {"hull": "full", "rising": "rising"}
NAMES = ("k", "alpha", "e_ir")
# A share of refits at the bound of e_IR that matters as little as it should.
_SELDOM = 0.2
_DESCRIPTIONS = {
    "hull": "the full upper hull",
    "rising": "the rising part of the upper hull",
    "all": "all points",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """The law e_DS = k e_US^alpha + e_IR.

    Attributes:
        k: Factor.
        alpha: Exponent.
        e_ir: Irreducible error: downstream error at upstream error 0.
        loss: Sum of squared residuals of what it was fitted to.
    """

    k: float
    alpha: float
    e_ir: float
    loss: float

    def predict(self, upstream_error: np.ndarray) -> np.ndarray:
        """Returns the downstream error that the law says."""
        return self.k * np.asarray(upstream_error) ** self.alpha + self.e_ir


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fit(Parameters):
    """A fitted law, and what it was fitted to.

    Attributes:
        on: "hull" (the full one), "rising" or "all".
        densify: Points along the hull; None: its vertices.
        vertices: Of the hull; None for a fit to all points.
        e_ir_max: Upper bound of e_IR.
        released: The fit with e_IR up to 1.
        upstream_error: Of all models, `(models,)`.
        downstream_error: Of all models, `(models,)`.
        fitted_upstream: Upstream errors of the points fitted.
        fitted_downstream: Downstream errors of the points fitted.
        groups: Number of each model's group, `(models,)`.
        resamples: Refits behind the intervals.
        seed: Of the resampling.
    """

    on: On
    densify: int | None
    vertices: int | None
    e_ir_max: float
    released: Parameters
    upstream_error: np.ndarray
    downstream_error: np.ndarray
    fitted_upstream: np.ndarray
    fitted_downstream: np.ndarray
    groups: np.ndarray
    resamples: int
    seed: int

    @property
    def params(self) -> dict[str, float]:
        """The parameters by name: k, alpha and e_ir."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def saturation_value(self) -> float:
        """Downstream accuracy where upstream accuracy is 1: 1 - e_IR."""
        return 1 - self.e_ir

    @property
    def n(self) -> int:
        """The number of models given."""
        return len(self.upstream_error)

    @property
    def part(self) -> Part | None:
        """The part of the hull that is fitted; None for all points."""
        return PARTS.get(self.on)

    @property
    def bounded(self) -> bool:
        """Whether e_IR is at most the lowest error fitted."""
        return self.e_ir_max < 1

    @property
    def space(self) -> str:
        """Errors are compared as they are: "linear"."""
        return "linear"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """The least and the largest value of each parameter."""
        return {
            "k": (0.0, np.inf),
            "alpha": ALPHA_BOUNDS,
            "e_ir": (0.0, self.e_ir_max),
        }

    @property
    def residuals(self) -> np.ndarray:
        """Downstream errors fitted, less what the law says."""
        return self.fitted_downstream - self.predict(self.fitted_upstream)

    @functools.cached_property
    def covariance(self) -> np.ndarray:
        """Covariance of k, alpha and e_IR, `(3, 3)`, if errors are normal.

        NaN where a parameter is at a bound or there are 3 points or fewer.
        """
        x = self.fitted_upstream
        power = x**self.alpha
        log = np.log(x, out=np.zeros_like(x), where=x > 0)
        slopes = np.stack([power, self.k * power * log, np.ones_like(x)])
        free = [
            low < value < high
            for value, (low, high) in zip(
                self.params.values(), self.bounds.values(), strict=True
            )
        ]
        covariance = np.full((3, 3), np.nan)
        information = slopes[free] @ slopes[free].T
        if len(x) > 3 and np.linalg.matrix_rank(information) == sum(free):
            variance = self.loss / (len(x) - 3)
            inside = variance * np.linalg.inv(information)
            covariance[np.ix_(free, free)] = inside
        return covariance

    @property
    def refits(self) -> np.ndarray:
        """k, alpha and e_IR of each refit, `(resamples, 3)`; see `bootstrap`.

        Of hulls, each is bounded as the fit is: by its own lowest error.

        Raises:
            ValueError: If the law has no resamples, or there is one group.
        """
        return self._all_refits[0 if self.bounded else 1]

    @property
    def released_refits(self) -> np.ndarray:
        """The same with e_IR up to 1.

        Raises:
            ValueError: As `refits`.
        """
        return self._all_refits[1]

    @functools.cached_property
    def _all_refits(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.resamples:
            raise ValueError(
                "resamples must be positive for intervals; got 0. Fit with "
                "SaturationLaw(resamples=1000)."
            )
        if self.groups.max() == 0:
            raise ValueError(
                "groups must be two or more for intervals; got one, of "
                f"{self.n} models."
            )
        data = self.upstream_error, self.downstream_error, self.groups
        how = {"resamples": self.resamples, "seed": self.seed}
        if self.part is None:
            return (bootstrap.refit_points(*data, **how),) * 2
        return bootstrap.refit_hulls(*data, self.part, self.densify, **how)

    def confidence_interval(
        self, level: float = 0.95
    ) -> dict[str, tuple[float, float]]:
        """Returns lower and upper ends by name; `bootstrap` says of what.

        Args:
            level: How much of what could be is inside.

        Returns:
            Of k, alpha, e_ir and saturation_value. The fit is always inside.

        Raises:
            ValueError: As `refits`, or if `level` is not between 0 and 1.
        """
        _check(level)
        ends = {
            name: _with(value, *self._spread(value, self.refits[:, i], level))
            for i, (name, value) in enumerate(self.params.items())
        }
        # The law at upstream error 0; no error is above 1.
        ends["e_ir"] = np.minimum(self.predict_interval(0.0, level), 1)
        ends = {name: (float(a), float(b)) for name, (a, b) in ends.items()}
        lowest, highest = ends["e_ir"]
        return ends | {"saturation_value": (1 - highest, 1 - lowest)}

    def predict_interval(
        self, upstream_error: np.ndarray, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the interval of the law itself at each upstream error.

        Raises:
            ValueError: As `confidence_interval`.
        """
        _check(level)
        x = np.asarray(upstream_error, float)
        laws = [(self, self.refits)]
        if self._at_bound:
            laws.append((self.released, self.released_refits))
        ends = [
            self._spread(
                law.predict(x), _curves(refits, x), level, self._at_bound
            )
            for law, refits in laws
        ]
        low, high = zip(*ends, strict=True)
        return _with(self.predict(x), np.min(low, axis=0), np.max(high, axis=0))

    @functools.cached_property
    def _at_bound(self) -> bool:
        """Whether the lowest error of a hull has a say in what e_IR is."""
        if not self.bounded or self.part is None:
            return False
        held = self.released_refits[:, 2] > self.refits[:, 2] + 1e-9
        return self.released.e_ir > self.e_ir or held.mean() > _SELDOM

    def _spread(self, estimate, refits, level, mirrored=False):
        if self.part is None:
            return bootstrap.percentiles(refits, level)
        return bootstrap.around(estimate, refits, level, mirrored=mirrored)

    @functools.cached_property
    def verdict(self) -> tuple[str, ...]:
        """Why the parameters are not identified; () if they are."""
        return identifiability.reasons(self)

    @property
    def identified(self) -> bool:
        """Whether the parameters mean something."""
        return not self.verdict

    def summary(self) -> str:
        """Returns a few lines for a person; no numbers if not identified.

        Example:

        >>> from bit_keras.benchmarks.saturation.law import SaturationLaw
        >>> upstream = np.linspace(0.4, 0.9, 9)
        >>> print(SaturationLaw().fit(upstream, upstream / 2).summary())
        e_DS = k e_US^alpha + e_IR on the full upper hull
        9 models, 2 vertices; least squares in linear space, e_IR <= 0.2
        not identified: 2 hull vertices; three parameters need 6 or more
        """
        lines = [f"e_DS = k e_US^alpha + e_IR on {_DESCRIPTIONS[self.on]}"]
        points = f"{self.n} models"
        if self.vertices is not None:
            points += f", {self.vertices} vertices"
        if self.densify is not None:
            points += f", {self.densify} points along it"
        lines.append(
            f"{points}; least squares in linear space, "
            f"e_IR <= {self.e_ir_max:.3g}"
        )
        lines += [f"not identified: {reason}" for reason in self.verdict]
        if not self.identified:
            return "\n".join(lines)
        numbers = self.params | {"saturation_value": self.saturation_value}
        ends = self.confidence_interval() if self.resamples else {}
        for name, value in numbers.items():
            line = f"{name.replace('_', ' ')}: {value:.4g}"
            if name in ends:
                line += " (95 %: {:.4g} to {:.4g})".format(*ends[name])
            lines.append(line)
        return "\n".join(lines)


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1; got {level}.")


def _curves(refits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns what each refit says at each x, `(resamples, *x.shape)`."""
    k, alpha, e_ir = refits.T.reshape(3, -1, *[1] * x.ndim)
    return k * x**alpha + e_ir


def _with(value, low, high):
    """Returns an interval that the value is inside of."""
    return np.minimum(low, value), np.maximum(high, value)
