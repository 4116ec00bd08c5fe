"""The saturation law: e_DS = k e_US^alpha + e_IR (arXiv 2110.02095, Eq. 1).

e_US and e_DS are upstream and downstream error in [0, 1]. As the upstream error
goes to zero the downstream accuracy goes to 1 - e_IR, the saturation value.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from bit_keras.benchmarks.saturation.fit import PARTS, Fit, On, Parameters
from bit_keras.benchmarks.saturation.hull import upper_hull
from bit_keras.benchmarks.saturation.projection import solve


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaturationLaw:
    """How to fit the law: by least squares of the downstream error.

    k is not negative and alpha within `projection.ALPHA_BOUNDS`.

    Attributes:
        bounded: Whether e_IR is at most the lowest downstream error fitted,
            else 1. None: on a hull, yes: the law is that of the best models,
            and none can be better than its end. On all points, no: there it is
            that of the average model, and many are better.
        resamples: Refits behind the confidence intervals; 0: no intervals, and
            a verdict without them, for fits by the thousand.
        seed: Of the resampling.
    """

    bounded: bool | None = None
    resamples: int = 1000
    seed: int = 0

    def fit(
        self,
        upstream_error: np.ndarray,
        downstream_error: np.ndarray,
        on: On = "hull",
        *,
        densify: int | None = None,
        groups: Sequence[Any] | None = None,
    ) -> Fit:
        """Returns the least-squares fit, the global optimum.

        Args:
            upstream_error: In [0, 1], `(models,)`.
            downstream_error: In [0, 1], `(models,)`.
            on: Fitted are the vertices of the upper "hull" of the accuracies,
                those of its "rising" part, or "all" points.
            densify: Fit that many points along the hull instead of its
                vertices, evenly spaced upstream.
            groups: Of each model, `(models,)`: models of one group are drawn
                together for the intervals, since they are not independent.

        Raises:
            ValueError: If an argument is not as said.

        Example:

        >>> upstream = np.linspace(0.4, 0.99, 30)
        >>> fit = SaturationLaw().fit(upstream, 0.8 * upstream**3 + 0.1)
        >>> round(fit.k, 6), round(fit.alpha, 6), round(fit.e_ir, 6)
        (0.8, 3.0, 0.1)
        >>> fit.identified
        True
        """
        x = _errors("upstream_error", upstream_error)
        y = _errors("downstream_error", downstream_error)
        if x.shape != y.shape:
            raise ValueError(
                "upstream_error and downstream_error must be of one length; "
                f"got {len(x)} and {len(y)}."
            )
        if not x.any():
            raise ValueError("upstream_error must not be 0 throughout.")
        numbers = _numbers(groups, len(x))
        vertices, fitted_x, fitted_y = _points(x, y, on, densify)
        bounded = on != "all" if self.bounded is None else self.bounded
        e_ir_max = float(fitted_y.min()) if bounded else 1.0
        released = best = _solve(fitted_x, fitted_y, 1.0)
        if best.e_ir > e_ir_max:
            best = _solve(fitted_x, fitted_y, e_ir_max)
        return Fit(
            **dataclasses.asdict(best),
            on=on,
            densify=densify,
            vertices=vertices,
            e_ir_max=e_ir_max,
            released=released,
            upstream_error=x,
            downstream_error=y,
            fitted_upstream=fitted_x,
            fitted_downstream=fitted_y,
            groups=numbers,
            resamples=self.resamples,
            seed=self.seed,
        )


def _solve(x: np.ndarray, y: np.ndarray, e_ir_max: float) -> Parameters:
    found = solve(x, y, e_ir_max=e_ir_max)
    k, alpha, e_ir = found.k[0], found.alpha[0], found.e_ir[0]
    # From the residuals: of an exact fit, the sums leave only rounding.
    loss = np.sum((y - k * x**alpha - e_ir) ** 2)
    return Parameters(
        k=float(k), alpha=float(alpha), e_ir=float(e_ir), loss=float(loss)
    )


def _points(
    x: np.ndarray, y: np.ndarray, on: On, densify: int | None
) -> tuple[int | None, np.ndarray, np.ndarray]:
    """Returns the vertices of the hull, if any, and the errors to fit."""
    if on not in get_args(On):
        raise ValueError(f"on must be 'hull', 'rising' or 'all'; got {on!r}.")
    if densify is not None and (on == "all" or densify < 3):
        raise ValueError(
            "densify must be 3 or more points along a hull, or None; got "
            f"{densify} with on={on!r}."
        )
    if on == "all":
        return None, x, y
    hull = upper_hull(1 - x, 1 - y, PARTS[on])
    if densify is None:
        return len(hull.indices), x[hull.indices], y[hull.indices]
    along, height = hull.densify(densify)
    return len(hull.indices), 1 - along, 1 - height


def _errors(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"{name} must be a list of numbers, one per model; got the shape "
            f"{values.shape}."
        )
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise ValueError(
            f"{name} must be errors in [0, 1]; got {values[wrong][0]:g}. "
            "Divide percent by 100, and drop models without a number."
        )
    return values


def _numbers(groups: Sequence[Any] | None, models: int) -> np.ndarray:
    if groups is None:
        return np.arange(models)
    groups = np.asarray(groups)
    if groups.shape != (models,):
        raise ValueError(
            f"groups must name one group per model, {models}; got the shape "
            f"{groups.shape}."
        )
    return np.unique(groups, return_inverse=True)[1]
