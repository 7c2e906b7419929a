"""Intervals of a fit's parameters from its objective read as a likelihood, and draws that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..laws import Param
from ..tables import Rows
from .coordinates import Coordinates, ends, outward, slope
from .result import Estimate, Notice
from .sandwich import NoCovariance, Sandwich, inverse, sandwich
from .solve import (
    ByDual,
    Derivatives,
    Objective,
    Pull,
    Solutions,
    chunk_size,
    graduated,
    in_chunks,
    newton,
    rounding,
    settled,
    widths,
)

Floats = NDArray[np.float64]

# A profile is looked at from a quarter to 64 times the covariance's half width on either side, and each crossing is
# narrowed down twice by this many values between two.
REACH, PLACES, BETWEEN = (0.25, 64.0), 17, 12
# An objective lower than the fit's by more than this share of it is another optimum.
LOWER = 1e-6


@dataclass(frozen=True)
class Doubt:
    """The parameters' intervals: `estimates` by name, `draws` (n, P) in the order of the registry entry (none: (0, P)),
    the `account` that FIT.json keeps, and what the reader must know."""

    estimates: Mapping[str, Estimate]
    draws: Floats
    account: Mapping[str, Any]
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class Likelihood:
    """An objective near its optimum, read as a likelihood: `rises` above `lowest`, and the sandwich at theta (p,)."""

    coordinates: Coordinates
    rows: Rows
    objective: Objective
    theta: Floats
    lowest: float
    shape: Sandwich

    def rises(self, theta: Floats) -> Floats:
        """How much higher the objective lies at theta (b, p), shape (b,); infinite where it is not a number."""
        return self._values(theta) - self.lowest

    def _values(self, theta: Floats) -> Floats:
        return values(self.coordinates, self.rows, self.objective, theta)

    def log_posterior(self, theta: Floats) -> Floats:
        """The log posterior (b,) at theta (b, p) under flat priors, up to a constant.

        -(df + q) / 2 * log(1 + 2 rise / (dispersion * df)): the likelihood with its unknown scale integrated out, for
        least squares the t that Bayes gives. A Huber sum is no log likelihood: its rise counts in units of the
        sandwich's dispersion, the largest of the parameters', so that no interval comes out narrower than the
        sandwich's own (the magnitude adjustment of Pauli, Racugno and Ventura 2011).
        """
        s = self.shape
        scale = float(np.max(s.dispersion)) * s.df
        with np.errstate(all="ignore"):
            out = -0.5 * (s.df + int(s.alive.sum())) * np.log1p(2.0 * self.rises(theta) / scale)
        return np.where(np.isfinite(out), out, -np.inf)


def values(coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats) -> Floats:
    """The objective (b,) that a minimiser sees at theta (b, p), infinite where it is not a number."""
    target, size = objective.scale(rows.y), chunk_size(rows.used)
    parts = []
    for at in range(0, len(theta), size):
        with np.errstate(all="ignore"):
            named = coordinates.to_params(theta[at : at + size])
            r = objective.residual(np.asarray(coordinates.law.predict(dict(rows.x), **named)), target)
            parts.append(objective.terms(r) @ rows.weights)
    total = np.concatenate(parts)
    return np.where(np.isfinite(total), total, np.inf)


# ------------------------------------------------------------------------------------------------------ the methods


def doubt(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    theta: Floats,
    *,
    method: str,
    count: int,
    resample: str,
    seed: int,
    level: float,
) -> Doubt:
    """Intervals at `level` of the parameters at the optimum theta (p,) by `method`, and `count` draws.

    covariance: a t from the sandwich. profile: where the profiled objective has risen by F(1, df) times the sandwich's
    dispersion; its draws are the covariance's. emcee: quantiles of a posterior's draws. All three work in search
    coordinates, logarithms of parameters with a sign. Where there is no covariance there are no intervals, and a notice
    says why.
    """
    empty = np.empty((0, len(coordinates.law.names)))
    lowest = float(values(coordinates, rows, objective, theta[None, :])[0])
    exact = lowest <= rounding(rows.used)
    if not coordinates.free or exact:
        # A law that meets its rows to the last digit has no doubt that they could show.
        held = {p.name: _point(coordinates, theta, p) for p in coordinates.law.params}
        return Doubt(held, empty, {"method": method, "n": 0, "exact": exact}, ())
    groups = np.arange(rows.used) if resample == "rows" else rows.group
    try:
        shape = sandwich(coordinates, rows.x, rows.y, rows.weights, groups, objective, theta)
    except NoCovariance as why:
        blank = {p.name: _point(coordinates, theta, p, known=False) for p in coordinates.law.params}
        message = f"{why}: the parameters have no intervals by {method}; see --intervals bootstrap"
        return Doubt(blank, empty, {"method": method, "n": 0, "none": str(why)}, (_warning("SL312", message),))
    found = Likelihood(coordinates, rows, objective, theta, lowest, shape)
    account: dict[str, Any] = {
        "method": method, "n": count, "df": shape.df, "groups": shape.groups, "curvature": shape.curvature,
    }  # fmt: skip
    notices = _dead(found, method)
    if method == "emcee":
        chain, sampled, more = _sampled(found, count, seed)
        draws = _array(found, chain)
        estimates = _of_draws(found, draws, level)
        return Doubt(estimates, draws, account | sampled, (*notices, *more))
    draws, failed = _followed(found, shape.steps(count, np.random.default_rng([seed, 3])))
    account["failed"] = failed
    if method == "covariance":
        return Doubt(_normal(found, level), draws, account, tuple(notices))
    estimates, unsettled, more = _profiled(found, level)
    return Doubt(estimates, draws, account | {"unsettled": unsettled}, (*notices, *more))


def _warning(code: str, message: str) -> Notice:
    return Notice(code, "warning", message)


def _array(found: Likelihood, theta: Floats) -> Floats:
    """Parameters (n, P) of coordinates (n, p), those beyond floating point left out."""
    if not len(theta):
        return np.empty((0, len(found.coordinates.law.names)))
    return found.coordinates.to_array(theta[found.coordinates.in_reach(ends(found.rows.x), theta)])


def _value(coordinates: Coordinates, theta: Floats, param: Param) -> float:
    return float(coordinates.to_params(theta[None, :])[param.name][0, 0])


def _point(coordinates: Coordinates, theta: Floats, param: Param, known: bool = True) -> Estimate:
    """A parameter without doubt: held, met exactly, or (known=False) of unknown doubt."""
    held, value = param.name in coordinates.fixed, _value(coordinates, theta, param)
    known = known or held
    return Estimate(value, 0.0 if known else None, (value, value) if known else None, param.unit, fixed=held)


def _dead(found: Likelihood, method: str) -> list[Notice]:
    names = [p.name for p, alive in zip(found.coordinates.free, found.shape.alive, strict=True) if not alive]
    if not names:
        return []
    how = "its end of the interval is the profile's" if method == "profile" else "it has no interval"
    text = f"{', '.join(names)} was driven to nothing: {how}, and draws hold it there; compare --intervals bootstrap"
    return [_warning("SL312", text)]


def _natural(param: Param, theta: float) -> float:
    """A parameter at a coordinate; infinite or zero at the coordinate's own ends."""
    with np.errstate(over="ignore", under="ignore"):
        return float(outward(param, np.asarray(theta))) + 0.0


def _normal(found: Likelihood, level: float) -> dict[str, Estimate]:
    """Intervals of the covariance: t in search coordinates, the standard error by the delta method."""
    from scipy.special import stdtrit

    far = float(stdtrit(found.shape.df, (1 + level) / 2))
    out = {}
    errors = dict(zip([p.name for p in found.coordinates.free], found.shape.se, strict=True))
    centers = dict(zip([p.name for p in found.coordinates.free], found.theta, strict=True))
    for p in found.coordinates.law.params:
        se = errors.get(p.name)
        if se is None or not np.isfinite(se):
            out[p.name] = _point(found.coordinates, found.theta, p, known=False)
            continue
        value = _value(found.coordinates, found.theta, p)
        ends = sorted(_natural(p, float(centers[p.name] + side * far * se)) for side in (-1, 1))
        out[p.name] = Estimate(value, float(se) * slope(p, value), (ends[0], ends[1]), p.unit)
    return out


def _of_draws(found: Likelihood, draws: Floats, level: float) -> dict[str, Estimate]:
    """Quantiles and standard deviations of draws (n, P); a parameter that moves nothing has none."""
    alive = dict(zip([p.name for p in found.coordinates.free], found.shape.alive, strict=True))
    out = {}
    for i, p in enumerate(found.coordinates.law.params):
        if not alive.get(p.name, False) or len(draws) < 2:
            out[p.name] = _point(found.coordinates, found.theta, p, known=False)
            continue
        value = _value(found.coordinates, found.theta, p)
        low, high = np.quantile(draws[:, i], [(1 - level) / 2, (1 + level) / 2])
        # The optimum itself is never called impossible, however skewed the draws are.
        ci = (min(float(low), value), max(float(high), value))
        out[p.name] = Estimate(value, float(np.std(draws[:, i], ddof=1)), ci, p.unit)
    return out


# ---------------------------------------------------------------------------------------------------------- profile


def _profiled(found: Likelihood, level: float) -> tuple[dict[str, Estimate], int, list[Notice]]:
    """Intervals where the profiled objective has risen by F(1, df) times the dispersion, how many of the profile's
    minimisations did not settle, and notices of ends that are open and of a lower optimum."""
    from scipy.special import fdtri

    bar = 0.5 * float(fdtri(1, found.shape.df, level)) * found.shape.dispersion
    normal = _normal(found, level)
    out, notices, unsettled, lowest = {}, [], 0, 0.0
    free = [p.name for p in found.coordinates.free]
    for p in found.coordinates.law.params:
        if p.name in found.coordinates.fixed:
            out[p.name] = normal[p.name]
            continue
        j = free.index(p.name)
        profile = Profile(found, j)
        low, high = profile.ends(float(bar[j]), level)
        unsettled, lowest = unsettled + profile.unsettled, min(lowest, profile.least)
        ends = sorted((_natural(p, low), _natural(p, high)))
        value = normal[p.name].value
        out[p.name] = Estimate(value, normal[p.name].se, (min(ends[0], value), max(ends[1], value)), p.unit)
        for end, theta in zip(ends, sorted((low, high)) if p.domain != "negative" else (high, low), strict=True):
            if not np.isfinite(theta):
                where = f"no {p.name} up to its bound {end:g}" if np.isfinite(end) else f"no {p.name}, however far out,"
                notices.append(
                    _warning("SL310", f"{where} is ruled out: its interval is open there; add runs or hold it")
                )
    if lowest < -LOWER * found.lowest:
        notices.append(
            _warning(
                "SL313",
                f"the profile met an objective {-lowest / found.lowest:.2g} of its value below the fit's: the optimum "
                "is not the lowest; fit again with more --starts",
            )
        )
    return out, unsettled, notices


class Profile:
    """The profiled objective of parameter j: its least rise where j is held and all others are fitted again."""

    def __init__(self, found: Likelihood, j: int) -> None:
        self.found, self.j = found, j
        self.unsettled, self.least = 0, 0.0
        held = np.arange(len(found.theta)) == j
        self.kernel = Held(lambda theta: found.coordinates.model(found.rows.x, theta), _real(found.coordinates), held)
        shape, alive = found.shape, np.flatnonzero(found.shape.alive)
        # How the others move with j while the rise stays quadratic.
        self.along = np.zeros(len(found.theta))
        if shape.alive[j]:
            column = inverse(shape.hessian)[:, int(np.searchsorted(alive, j))]
            self.along[alive] = column / column[int(np.searchsorted(alive, j))]
        self.along[j] = 1.0
        r = found.objective.residual(
            np.asarray(found.coordinates.law.predict(dict(found.rows.x), **self._named())),
            found.objective.scale(found.rows.y),
        )
        self.ladder = widths(found.objective, float(np.median(np.abs(r))))

    def _named(self) -> dict[str, float]:
        return {name: float(v[0, 0]) for name, v in self.found.coordinates.to_params(self.found.theta[None, :]).items()}

    def rises(self, at: Floats, starts: Floats) -> tuple[Floats, Floats]:
        """The rise (b,) with j held at `at` (b,) and where it is reached (b, p), from the best of starts (k, b, p)."""
        found, (k, b, p) = self.found, starts.shape
        begun = starts.copy()
        begun[:, :, self.j] = at
        target = found.objective.scale(found.rows.y)

        def solve(part: slice) -> Solutions:
            with np.errstate(all="ignore"):  # an errstate holds for its own thread only
                theta = begun.reshape(k * b, p)[part]
                return graduated(self.kernel, theta, target, found.rows.weights, found.objective, self.ladder)

        ended = in_chunks(solve, k * b, chunk_size(found.rows.used))
        value = np.where(np.isfinite(ended.value), ended.value, np.inf).reshape(k, b)
        best = np.argmin(value, axis=0), np.arange(b)
        self.unsettled += int(np.sum(~settled(ended.status).reshape(k, b)[best]))
        rise = value[best] - found.lowest
        self.least = min(self.least, float(np.min(rise)))
        return rise, ended.theta.reshape(k, b, p)[best]

    def ends(self, bar: float, level: float) -> tuple[float, float]:
        """The coordinates of j furthest out on either side at which the rise is still below `bar`; infinite on a side
        where it never gets there."""
        from scipy.special import stdtrit

        found, center = self.found, float(self.found.theta[self.j])
        se = float(found.shape.se[self.j])
        unit = se * float(stdtrit(found.shape.df, (1 + level) / 2)) if np.isfinite(se) else 1.0
        places = unit * np.geomspace(*REACH, PLACES)
        at = center + np.concatenate([-places[::-1], [0.0], places])
        straight = found.theta + (at - center)[:, None] * self.along
        rise, theta = self.rises(at, np.stack([straight, np.repeat(found.theta[None, :], len(at), axis=0)]))
        # What a neighbour found may be better than what a straight line led to.
        near = np.stack(
            [theta[np.minimum(np.arange(len(at)) + 1, len(at) - 1)], theta[np.maximum(np.arange(len(at)) - 1, 0)]]
        )
        again, there = self.rises(at, near)
        rise, theta = np.minimum(rise, again), np.where((again < rise)[:, None], there, theta)
        if rise[PLACES] > 0:  # a refit at the optimum may end a rounding above it
            rise[PLACES], theta[PLACES] = 0.0, found.theta
        inside = np.flatnonzero(rise <= bar)
        first, last = int(min(inside[0], PLACES)), int(max(inside[-1], PLACES))
        return (
            -np.inf if first == 0 else self._crossing(first, first - 1, at, theta, bar),
            np.inf if last == len(at) - 1 else self._crossing(last, last + 1, at, theta, bar),
        )

    def _crossing(self, below: int, above: int, at: Floats, theta: Floats, bar: float) -> float:
        """Where the rise crosses `bar` between two places, from the side of the one above it."""
        ends = (float(at[below]), theta[below]), (float(at[above]), theta[above])
        for _ in range(2):
            share = np.linspace(0, 1, BETWEEN + 2)
            between = ends[0][0] + share * (ends[1][0] - ends[0][0])
            mixed = ends[0][1] + share[:, None] * (ends[1][1] - ends[0][1])
            rise, found = self.rises(between[1:-1], mixed[None, 1:-1])
            m = int(np.flatnonzero(rise <= bar)[-1]) + 1 if (rise <= bar).any() else 0
            path = np.concatenate([ends[0][1][None], found, ends[1][1][None]])
            ends = (float(between[m]), path[m]), (float(between[m + 1]), path[m + 1])
        return ends[1][0]


# ------------------------------------------------------------------------------------------------------------ draws


class Held(ByDual):
    """A kernel that leaves the `held` (p,) of its coordinates where each start has them."""

    def __init__(self, model: Any, real: NDArray[np.bool_], held: NDArray[np.bool_]) -> None:
        super().__init__(model, real)
        self.held = held

    def derivatives(
        self, theta: Floats, target: Floats, weights: Floats, objective: Objective, width: float, pull: Pull | None
    ) -> Derivatives:
        """See Kernel; what is held has no gradient, and a curvature of its own of the others' size."""
        value, gradient, hessian, diagonal = super().derivatives(theta, target, weights, objective, width, pull)
        at, size = np.flatnonzero(self.held), np.max(diagonal[:, ~self.held], axis=1, initial=1e-300)
        gradient[:, at] = 0.0
        hessian[:, at, :] = 0.0
        hessian[:, :, at] = 0.0
        hessian[:, at, at] = size[:, None]
        diagonal[:, at] = size[:, None]
        return value, gradient, hessian, diagonal


def _real(coordinates: Coordinates) -> NDArray[np.bool_]:
    return np.array([p.domain == "real" for p in coordinates.free])


def _followed(found: Likelihood, steps: Floats) -> tuple[Floats, int]:
    """Parameters (n, P) whose predictions move as steps (n, p) would move a straight law's, and how many have none.

    A and alpha, say, trade along a bent valley a thousand times longer than wide. Straight steps leave it, and their
    predictions would scatter more than any fit's; so each step is taken in the tangent plane of the predictions, and
    the parameters are those that come nearest to it (Bates and Watts 1988, parameter-effects curvature).
    """
    rows, objective, s = found.rows, found.objective, found.shape
    with np.errstate(all="ignore"):  # second derivatives may overflow, and only the first are used
        f = found.coordinates.model(rows.x, found.theta[None, :])
    value = np.broadcast_to(f.value, (1, rows.used))[0]
    per = value if objective.on == "log" else np.ones(rows.used)
    jac = np.stack([np.broadcast_to(f.grad.get(i, 0.0), (1, rows.used))[0] / per for i in range(steps.shape[1])])
    center = objective.scale(value)
    nearest = Objective("l2", on=objective.on)
    kernel = Held(lambda theta: found.coordinates.model(rows.x, theta), _real(found.coordinates), ~s.alive)

    def solve(part: slice) -> Any:
        with np.errstate(all="ignore"):  # an errstate holds for its own thread only
            return newton(kernel, found.theta + steps[part], center + steps[part] @ jac, rows.weights, nearest)

    if not len(steps):
        return np.empty((0, len(found.coordinates.law.names))), 0
    draws = _array(found, in_chunks(solve, len(steps), chunk_size(rows.used)).theta)
    return draws, len(steps) - len(draws)


# ------------------------------------------------------------------------------------------------------------ emcee


def _sampled(found: Likelihood, count: int, seed: int) -> tuple[Floats, dict[str, Any], list[Notice]]:
    """Draws (n, p) of the posterior by lmfit's emcee, an account of the chain, and a notice where it is short."""
    from .bridge import LENGTHS, sample

    chain = sample(found, seed)
    account = {
        "prior": "flat in search coordinates, start ranges widened 1000 times",
        "walkers": chain.walkers, "steps": chain.steps, "burn": chain.burn, "autocorrelation": chain.autocorrelation,
        "acceptance": chain.acceptance,
    }  # fmt: skip
    notices = []
    if not chain.steps >= LENGTHS * chain.autocorrelation:
        notices.append(
            _warning(
                "SL311",
                f"the chain of {chain.steps} steps is shorter than {LENGTHS} times its autocorrelation time "
                f"({chain.autocorrelation:.3g} steps): read the intervals as rough, or take --intervals profile",
            )
        )
    draws = chain.theta
    keep = np.linspace(0, len(draws) - 1, min(count, len(draws))).astype(int)
    return draws[keep], account, notices
