"""The choice of laws of loss curves: several, each of all points and of the late ones, weighed by inner backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import DidNotConverge, UsageError
from ..laws import Law
from ..laws.curves import get_curve_law
from ..tables import Curve, Curves
from .coordinates import Coordinates
from .curve_misfit import Split, calibrated, inner_splits, points_in
from .curves import (
    AUTO,
    BLOCKS,
    FIT_TOGETHER,
    CurveFit,
    CurveMember,
    Known,
    curve_notices,
    drawn_optimum,
    draws_of,
    held_out,
    inner_fit,
    known_of,
    likeness,
    points_of,
    spread_of,
    told,
)
from .fit import Settings, estimates
from .metrics import metrics
from .result import Notice, stamp
from .solve import Pull, one_blas_thread

Floats = NDArray[np.float64]

# The laws that are weighed, each drawn to its priors, and their odds before any inner backtest: chosen, as all numbers
# here, on the curves of one 25M model and of ladders of 190M and 370M, and checked on others (docs/curves-accuracy.md).
LAWS = {"multi-power-worth": 4.0, "multi-power": 1.0, "annealing": 1.0}
ALL, LATE = "all points", "late points"
# Late points have this share of the largest area of any curve behind them: laws hold least at the beginning of a run,
# and its points bend the exponent. Where they are almost all there are, they are no variant.
LATE_SHARE, LATE_MOST = 0.2, 0.97
# Points of a curve that members are fitted to, taken evenly.
MOST_POINTS = 120
# Members weigh by (mean inner error) to minus this power.
POWER = 4.0
STARTS, FOLLOWED = 24, (3, 0)


@dataclass(frozen=True)
class Fitted:
    """A law in one variant at its optimum theta (p,), under the pull of what is known."""

    coordinates: Coordinates
    variant: str
    curves: Curves
    theta: Floats
    prior: Known | None
    pull: Pull | None

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.coordinates.law.name}, {self.variant}"


def auto_curves(curves: Curves, settings: Settings) -> CurveFit:
    """The weighted mean of laws, each fitted with its priors, by how well it predicts what was left out of the curves.

    No other curves have a say. Raises NotEnoughData where there are fewer points than parameters.
    """
    if settings.fix:
        raise UsageError("--fix holds a parameter of one law, and auto-curve takes several; name a law")
    with one_blas_thread():
        return _weigh(curves, replace(settings, starts=STARTS, polish=FOLLOWED, audit=0))


def _weigh(curves: Curves, settings: Settings) -> CurveFit:
    some = _thinned(curves)
    fitted = [_fit(get_curve_law(name), part, variant, settings) for name in LAWS for variant, part in _variants(some)]
    splits = inner_splits(some)
    inner = {f.name: [_inner(f, split, settings) for split in splits] for f in fitted}
    errors = {name: _mean_error(found) for name, found in inner.items()}
    weights = _weights([errors[f.name] for f in fitted], [LAWS[f.coordinates.law.name] for f in fitted])
    order = np.argsort(-weights, kind="stable")
    fitted, weights = [fitted[i] for i in order], weights[order]
    members, doubts = _members(fitted, weights, errors, settings)
    rows = curves.rows(FIT_TOGETHER, BLOCKS)
    logs = np.array([np.log(np.asarray(m.law.predict(dict(rows.x), **m.values))) for m in members])
    mean = weights @ logs
    residuals = mean - np.log(rows.y)
    free = max(len(f.coordinates.free) for f in fitted)
    sd = spread_of(residuals, rows, free)
    like = likeness(fitted[0].coordinates, fitted[0].theta, rows)
    tests = [split.test.rows(FIT_TOGETHER) for split in splits]
    blended = [
        (
            weights @ np.array([inner[f.name][i] for f in fitted]),
            like.distances(points_in(test), points_in(split.train.rows(FIT_TOGETHER))),
            _spread(fitted, inner, weights, i),
        )
        for i, (split, test) in enumerate(zip(splits, tests, strict=True))
    ]
    first = members[0]
    return CurveFit(
        law=AUTO,
        target=curves.target,
        params=first.params,
        objective=settings.objective,
        value=float(np.sum(settings.objective.terms(residuals))),
        starts={"n": settings.starts * len(fitted)},
        converged=None,
        draws=first.draws,
        sd=sd,
        metrics=metrics(np.exp(mean), rows.y),
        inputs=rows.inputs,
        rows={"read": curves.read, "used": rows.used, "dropped": dict(curves.dropped), "runs": len(curves.curves)},
        curves=tuple(told(curve) for curve in curves.curves),
        points=points_of(curves, rows, np.exp(mean)),
        warmup=curves.warmup,
        smoothing=curves.smoothing,
        warnings=(*doubts, *curve_notices(first.law, curves), *_unweighed(splits)),
        notes=(*curves.notes, _why(splits)),
        seed=settings.seed,
        level=settings.level,
        misfit=calibrated(blended, sd, like, points_in(rows)),
        members=members,
        made_by=stamp(curves.name, curves.sha256, first.law),
    )


def _thinned(curves: Curves) -> Curves:
    """The curves with MOST_POINTS points each at most."""

    def thin(curve: Curve) -> Curve:
        kept = np.unique(np.round(np.linspace(0, len(curve.step) - 1, min(len(curve.step), MOST_POINTS))).astype(int))
        return replace(curve, step=curve.step[kept], loss=curve.loss[kept], lines=curve.lines[kept])

    return replace(curves, curves=tuple(thin(curve) for curve in curves.curves))


def _variants(curves: Curves) -> list[tuple[str, Curves]]:
    """All points, and the late ones where they are fewer and enough."""
    late = _late(curves)
    enough = late.used >= 2 * BLOCKS and late.used <= LATE_MOST * curves.used
    return [(ALL, curves), *([(LATE, late)] if enough else [])]


def _late(curves: Curves) -> Curves:
    """The points with LATE_SHARE of the largest area behind them."""
    areas = [np.interp(c.step, np.arange(c.history.steps + 1), c.history.areas) for c in curves.curves]
    least = LATE_SHARE * max(float(area[-1]) for area in areas)
    parts = [
        replace(c, step=c.step[area >= least], loss=c.loss[area >= least], lines=c.lines[area >= least])
        for c, area in zip(curves.curves, areas, strict=True)
    ]
    return replace(curves, curves=tuple(part for part in parts if len(part.step)))


def _fit(law: Law, curves: Curves, variant: str, settings: Settings) -> Fitted:
    rows = curves.rows(FIT_TOGETHER, BLOCKS)
    coordinates = Coordinates.of(law, {}, rows.x)
    prior = known_of(coordinates, curves)
    best, pull = drawn_optimum(coordinates, rows, settings, prior)
    return Fitted(coordinates, variant, curves, best.theta, prior, pull)


def _inner(fitted: Fitted, split: Split, settings: Settings) -> Floats:
    """Errors of log loss where the member is fitted to the curves of a split, at those left out."""
    train = _late(split.train) if fitted.variant == LATE else split.train
    theta = inner_fit(fitted.coordinates, train, settings, fitted.theta)
    return held_out(fitted.coordinates, theta, split.test.rows(FIT_TOGETHER))


def _mean_error(found: Sequence[Floats]) -> float | None:
    """The mean over splits of the mean absolute error; None without a split."""
    return float(np.mean([np.mean(np.abs(error)) for error in found])) if found else None


def _weights(errors: Sequence[float | None], odds: Sequence[float]) -> Floats:
    """Shares that add up to one: the odds alone where nothing else tells members apart."""
    known = np.array([np.nan if error is None else error for error in errors], dtype=float)
    if all(error is None for error in errors):
        return np.array(odds) / np.sum(odds)
    if not np.isfinite(known).any():
        raise DidNotConverge("no law of curves predicts what is left out of them as a number: check the losses' unit")
    best = float(np.nanmin(np.where(np.isfinite(known), known, np.nan)))
    raw = np.where(np.isfinite(known), (np.maximum(known, 1e-12) / max(best, 1e-12)) ** -POWER, 0.0) * np.array(odds)
    return np.asarray(raw / raw.sum())


def _spread(fitted: Sequence[Fitted], inner: Mapping[str, Sequence[Floats]], weights: Floats, i: int) -> Floats:
    """The variance (m,) of the members about their mean at what split i left out."""
    each = np.array([inner[f.name][i] for f in fitted])
    return np.asarray(weights @ (each - weights @ each) ** 2)


def _members(
    fitted: Sequence[Fitted], weights: Floats, errors: Mapping[str, float | None], settings: Settings
) -> tuple[tuple[CurveMember, ...], tuple[Notice, ...]]:
    members, doubts = [], []
    for f, weight in zip(fitted, weights, strict=True):
        rows = f.curves.rows(FIT_TOGETHER, BLOCKS)
        draws, notices = draws_of(f.coordinates, rows, settings, f.theta, f.pull, f.prior)
        values = {name: float(v[0, 0]) for name, v in f.coordinates.to_params(f.theta[None, :]).items()}
        law = f.coordinates.law
        params = estimates(law, values, draws, settings.level, {})
        members.append(CurveMember(law, f.variant, float(weight), errors[f.name], params, draws))
        doubts += [replace(notice, message=f"{f.name}: {notice.message}") for notice in notices]
    return tuple(members), tuple(doubts)


def _unweighed(splits: Sequence[Split]) -> tuple[Notice, ...]:
    if splits:
        return ()
    return (Notice("SL323", "warning", "too few points for an inner backtest: the laws weigh alike"),)


def _why(splits: Sequence[Split]) -> str:
    told = "; ".join(split.name for split in splits) or "none"
    return f"members weigh by their errors in inner backtests of the fitted curves alone ({told})"


__all__ = ["auto_curves"]
