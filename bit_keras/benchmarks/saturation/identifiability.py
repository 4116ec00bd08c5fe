"""Whether data say what the parameters of the law are.

A fit always returns three numbers. They mean something only if the data would
have given others had the truth been another; each reason here is a way in which
they would not. The limits are ours.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bit_keras.benchmarks.saturation import chance
from bit_keras.benchmarks.saturation.hull import upper_hull
from bit_keras.benchmarks.saturation.projection import ALPHA_BOUNDS, solve

if TYPE_CHECKING:
    from bit_keras.benchmarks.saturation.fit import Fit

# Two for each parameter. With 2 to 5 vertices three parameters fit anything
# (saturation.md 9.1).
LEAST_POINTS = 6
# Error probability of the F tests, and of the interval that is looked at.
SIGNIFICANCE = 0.05
# Hulls drawn without e_IR; and how many more if p is near 0.05 then.
_HULLS, _MORE = 99, 400
_NEAR = (0.02, 0.1)
# An interval of alpha that is wider than this factor says nothing.
WIDEST_ALPHA = 10.0


def reasons(fit: "Fit") -> tuple[str, ...]:
    """Returns why a fit is not identified; nothing if it is.

    What takes refits is looked at only if nothing cheaper is found.
    """
    return tuple(
        _too_few(fit)
        or _degenerate(fit)
        or _tested(fit)
        or _resampled(fit)
        or _by_chance(fit)
    )


def _too_few(fit: "Fit") -> list[str]:
    runs = len(np.unique(fit.groups))
    if runs < min(LEAST_POINTS, fit.n):
        return [
            f"{fit.n} points of {runs} trainings, which are not independent; "
            f"three parameters need {LEAST_POINTS} or more"
        ]
    count, what = fit.vertices, "hull vertices"
    if count is None:
        x, y = fit.fitted_upstream, fit.fitted_downstream
        count, what = len(np.unique(np.stack([x, y]), axis=1).T), "models"
        count = min(count, len(np.unique(x)))
    if count >= LEAST_POINTS:
        return []
    return [f"{count} {what}; three parameters need {LEAST_POINTS} or more"]


def _degenerate(fit: "Fit") -> list[str]:
    low, high = ALPHA_BOUNDS
    if fit.k <= 0:
        return ["downstream error does not fall with upstream error"]
    if fit.alpha < 1.001 * low:
        return [f"alpha is at its lower bound, {low:g}: no exponent fits"]
    if fit.alpha > 0.999 * high:
        return [f"alpha is at its upper bound, {high:g}: a step, not a curve"]
    nearest, farthest = fit.fitted_upstream.min(), fit.fitted_upstream.max()
    seen = fit.k * (farthest**fit.alpha - nearest**fit.alpha)
    ahead = fit.k * nearest**fit.alpha
    if ahead > seen:
        return [
            f"extrapolated too far: {ahead:.3g} of downstream error are said "
            f"to be lost beyond the best upstream error, {nearest:.3g}, more "
            f"than the {seen:.3g} up to there"
        ]
    return []


def _tested(fit: "Fit") -> list[str]:
    """Compares the fit with that of a law with one parameter less or freer."""
    x, y = fit.fitted_upstream, fit.fitted_downstream
    # More points along a hull make it no surer.
    count = fit.vertices or len(x)
    without = solve(x, y, e_ir_max=0.0).loss[0]
    found = []
    if not _worse(without, fit.loss, count):
        found.append(
            "e_IR cannot be told from 0: without it the law fits as well"
        )
    if fit.e_ir >= fit.e_ir_max and _worse(fit.loss, fit.released.loss, count):
        found.append(
            f"e_IR is at its upper bound, the lowest downstream error "
            f"{fit.e_ir_max:.3g}: the law would end above a model that exists, "
            f"at {fit.released.e_ir:.3g}"
        )
    return found


def _worse(loss: float, best: float, points: int) -> bool:
    """Whether a loss is larger by more than chance, by an F test."""
    limit = stats.f.isf(SIGNIFICANCE, 1, points - 3)
    return _ratio(loss, best, points) > limit


def _ratio(loss, best, points):
    """Returns F of one parameter: what it adds to the fit, over the noise."""
    # Losses of exact fits differ by rounding only.
    best = np.maximum(best, 1e-24 * points)
    return (loss - best) / (best / np.maximum(points - 3, 1))


def _resampled(fit: "Fit") -> list[str]:
    if not fit.resamples:
        return []
    intervals = fit.confidence_interval(1 - SIGNIFICANCE)
    found = []
    if intervals["e_ir"][0] <= 1e-6:
        found.append(
            "e_IR cannot be told from 0: its interval is 0 to "
            f"{intervals['e_ir'][1]:.3g}"
        )
    low, high = intervals["alpha"]
    if high > WIDEST_ALPHA * low:
        found.append(
            f"alpha may be anything from {low:.3g} to {high:.3g}, and k with it"
        )
    return found


def _by_chance(fit: "Fit") -> list[str]:
    """Compares a hull with the hulls of models of a law without e_IR.

    The F test takes vertices for independent and as often above the law as
    below. They are neither: each is the best of many models, and together they
    are concave, a curve where there is none. It calls half of such hulls, or
    more, proof of e_IR.
    """
    if fit.part is None:
        return []
    whole = upper_hull(1 - fit.upstream_error, 1 - fit.downstream_error)
    if len(whole.indices) == fit.n:
        # No model is behind it: they do not scatter.
        return []
    ratios = _ratios_by_chance(fit, _HULLS, fit.seed)
    p_value = _share(fit, ratios)
    if _NEAR[0] < p_value < _NEAR[1]:
        more = _ratios_by_chance(fit, _MORE, fit.seed + 1)
        p_value = _share(fit, np.append(ratios, more))
    if p_value < SIGNIFICANCE:
        return []
    return [
        "e_IR cannot be told from 0: without it hulls like this come up by "
        f"chance (p = {p_value:.2g})"
    ]


def _share(fit, ratios):
    """Returns p: the share of hulls that ask for e_IR as much, or more."""
    own = _ratio(_without(fit).loss[0], fit.loss, fit.vertices)
    return (1 + (ratios >= own).sum()) / (1 + len(ratios))


def _ratios_by_chance(fit, hulls, seed):
    """Returns F of hulls of models of the law without e_IR."""
    without = _without(fit)
    losses, best, vertices = chance.losses_by_chance(
        fit.upstream_error,
        fit.downstream_error,
        fit.groups,
        without.k * fit.upstream_error**without.alpha,
        fit.part,
        fit.densify,
        hulls,
        seed,
        bounded=fit.bounded,
    )
    ratios = _ratio(losses, best, vertices)
    # Of too few vertices a fit would not be called identified.
    ratios[vertices < LEAST_POINTS] = -np.inf
    return ratios


def _without(fit):
    return solve(fit.fitted_upstream, fit.fitted_downstream, e_ir_max=0.0)
