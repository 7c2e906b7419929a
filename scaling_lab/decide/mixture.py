"""The mixture of least loss by fitted mixture laws: over the shares of all sources, or the ratio of two corpora."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..engine.dual import Dual
from ..engine.predict import far_outside, interval, no_draws
from ..engine.result import Fit, Notice, too_few_draws
from ..engine.solve import one_blas_thread
from ..engine.uncertainty import extent
from ..errors import BadInput, LabError, UsageError, nearest
from ..laws.base import ExpOfSum, WeightedSum
from ..quantities import SHARE_PREFIX
from .allocate import Quantile, check_split, check_spread

Floats = NDArray[np.float64]
# The loss at shares (n,) and its slopes (n,).
Value = Callable[[Floats], tuple[float, Floats]]
SCHEMA = "scaling-lab/mixture/1"
# A share this near to the end of the range that was tried, as a share of that range, is at its edge.
NEAR_EDGE = 0.02
# An interval of a share wider than this part of what the bounds allow says hardly anything.
FLAT = 0.5
# Draws for which the best mixture is looked for again, and random starts of the first search.
DRAWS, STARTS = 200, 12
# A cap is kept to this share of its limit: the solver stops on one side of it or the other.
SLACK = 1e-7
# Between values this far apart in a share the slopes of a choice of laws are taken: exact to about 1e-10.
STEP = 1e-5
# How near to 0 or 1 a ratio is looked for, where the laws are not defined.
OPEN = 1e-3


@dataclass(frozen=True)
class Cap:
    """A loss that must not rise by more than a share `rise` over `base`: by default the least within the bounds."""

    fit: Fit
    rise: float
    base: float | None = None


@dataclass(frozen=True)
class Mixture:
    """The best mixture: `shares` by source (a single `ratio` for a law of two corpora) with intervals over draws.

    `losses` are those of each fit there, `loss` their weighted mean, `caps` the capped ones as (loss, limit). `tried`
    is the range of each share in the fits' tables, `tried_loss` the least weighted loss by the fits at a mixture that
    was tried and keeps bounds and caps, nan where none does. `point` are the other inputs, those found included.
    """

    laws: tuple[str, ...]
    weights: tuple[float, ...]
    shares: Mapping[str, Quantile]
    point: Mapping[str, Quantile]
    loss: Quantile
    losses: tuple[Quantile, ...]
    caps: tuple[tuple[Quantile, float], ...]
    tried: Mapping[str, tuple[float, float]]
    tried_loss: float
    level: float
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `mixture --json`."""
        return {
            "schema": SCHEMA,
            "laws": list(self.laws),
            "weights": list(self.weights),
            "shares": {name: {**q.to_dict(), "tried": list(self.tried[name])} for name, q in self.shares.items()},
            "point": {name: q.to_dict() for name, q in self.point.items()},
            "loss": self.loss.to_dict(),
            "losses": [q.to_dict() for q in self.losses],
            "caps": [{"loss": q.to_dict(), "limit": limit} for q, limit in self.caps],
            "best_tried_loss": self.tried_loss if math.isfinite(self.tried_loss) else None,
            "level": self.level,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def mixture(
    fits: Fit | Sequence[Fit],
    *,
    weights: Sequence[float] | None = None,
    caps: Sequence[Cap] = (),
    bounds: Mapping[str, tuple[float, float]] | None = None,
    at: Mapping[str, float] | None = None,
    domain_tokens: float | None = None,
    flops: float | None = None,
    level: float = 0.9,
) -> Mixture:
    """The mixture within `bounds` at which the weighted loss of the fits, one for each validation domain, is least.

    Laws of shares are searched over the simplex. A law of a ratio takes params and tokens from `at`; with
    `domain_tokens` the tokens are that many divided by the ratio, with `flops` params and tokens are searched along
    6 * params * tokens, and where `at` gives the ratio only they are. A capped fit of a ratio is of the other corpus:
    its ratio is one minus this one. Raises UsageError where the fits do not go together, and LabError where no mixture
    keeps the caps.
    """
    fits = [fits] if isinstance(fits, Fit) else list(fits)
    weighted = _weights(fits, weights)
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    ratio = _kind(fits, caps)
    for fit in fits:
        check_spread(fit, "mixture")
    with one_blas_thread():
        if ratio:
            problem: _Problem = _Ratio(fits, weighted, caps, bounds or {}, at or {}, domain_tokens, flops)
        else:
            if domain_tokens is not None or flops is not None or at:
                raise UsageError("--at, --domain-tokens and --flops are for laws of a ratio, such as dcpt")
            problem = _Shares(fits, weighted, caps, bounds or {})
        return _answer(problem, level)


def between_sizes(small: Floats, large: Floats, n_small: float, n_large: float, n: float) -> Floats:
    """The loss of each mixture at n samples, on the line in log n through its losses at two numbers of them.

    The second stage of projektor (Kang et al. 2023, arXiv:2307.02460), for interpolation and beyond.
    """
    if not (n_small > 0 and n_large > 0 and n > 0) or n_small == n_large:
        raise UsageError("give two different numbers of samples above zero, and a third above zero")
    span = math.log(n_large / n_small)
    return np.asarray(
        (math.log(n / n_small) * np.asarray(large) - math.log(n / n_large) * np.asarray(small)) / span, dtype=float
    )


def _weights(fits: Sequence[Fit], weights: Sequence[float] | None) -> Floats:
    """Weights (k,) of the fits, summing to one."""
    if not fits:
        raise UsageError("give at least one FIT.json of a mixture law")
    given = np.ones(len(fits)) if weights is None else np.asarray(weights, dtype=float)
    if len(given) != len(fits):
        raise UsageError(f"{len(given)} weights for {len(fits)} fits; give one for each")
    if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
        raise UsageError("weights are numbers of zero or above, not all zero")
    return np.asarray(given / given.sum())


def _kind(fits: Sequence[Fit], caps: Sequence[Cap]) -> bool:
    """Whether the fits are of a ratio; raises UsageError where they are of neither kind, or of different ones."""
    every = [*fits, *(cap.fit for cap in caps)]
    for fit in every:
        shares = [name for name in fit.entry.inputs if name.startswith(SHARE_PREFIX)]
        if not shares and "ratio" not in fit.entry.inputs:
            raise UsageError(
                f"{fit.law} is a law of {', '.join(fit.entry.inputs)}; a mixture needs one of shares "
                f"({SHARE_PREFIX}NAME) or of a ratio, such as mixing-exp or dcpt"
            )
        if set(fit.entry.inputs) != set(every[0].entry.inputs):
            raise UsageError(
                f"the fits are of different inputs: {', '.join(every[0].entry.inputs)} and "
                f"{', '.join(fit.entry.inputs)}; fit them to tables with the same columns"
            )
    for cap in caps:
        if not (np.isfinite(cap.rise) and cap.rise >= 0):
            raise UsageError(f"a cap of {cap.rise:g} is not a rise of zero or above, such as 0.03")
        if cap.base is not None and not (np.isfinite(cap.base) and cap.base > 0):
            raise UsageError(f"a cap's loss of {cap.base:g} is not a number above zero")
    return "ratio" in every[0].entry.inputs


def _params(fit: Fit, draw: int) -> dict[str, float]:
    """The parameters of the optimum (draw 0), or of one of the draws."""
    row = fit.optimum_row()[0] if draw == 0 else fit.draws[(draw - 1) % len(fit.draws)]
    return dict(zip(fit.entry.names, row.tolist(), strict=True))


class _Problem:
    """What is minimised: for the optimum (draw 0) and each draw, a place z whose inputs are found by `inputs`."""

    fits: Sequence[Fit]
    weights: Floats
    caps: Sequence[Cap]
    names: tuple[str, ...]
    low: Floats
    high: Floats

    def best(self, draw: int, start: Floats | None) -> Floats | None:
        """The shares or the ratio, and whatever else is searched; None where no mixture keeps the caps."""
        raise NotImplementedError

    def inputs(self, z: Floats, other: bool = False) -> dict[str, Floats]:
        """Inputs (1,) of the fits at a place, or those of a capped fit."""
        raise NotImplementedError

    def shown(self, z: Floats) -> tuple[Floats, dict[str, float]]:
        """Shares and the other inputs of a place."""
        raise NotImplementedError

    def tried(self, name: str) -> tuple[float, float]:
        """The range of a share in the tables of the fits: what all of them have seen."""
        known = [fit.inputs[name] for fit in self.fits]
        return max(float(k["min"]) for k in known), min(float(k["max"]) for k in known)


# ------------------------------------------------------------------------------------------------------------- shares


def _slopes(fit: Fit, names: Sequence[str], params: Mapping[str, float]) -> Value:
    """The loss and its slopes as a function of shares (n,): in closed form where the law has one, else by duals.

    A choice of laws has its slopes by central differences.
    """
    law, form = fit.entry, fit.entry.form
    if isinstance(form, ExpOfSum):
        floor, height = params[form.floor], params[form.height]
        by_share = {share: params[slope] for slope, share in form.slopes}
        slopes = np.array([by_share[name] for name in names])

        def exponential(z: Floats) -> tuple[float, Floats]:
            part = height * math.exp(float(slopes @ z))
            return floor + part, part * slopes

        return exponential
    if isinstance(form, WeightedSum) and all(len(set(inputs)) == 1 for _, inputs in form.terms):
        powers = np.array([len(inputs) for _, inputs in form.terms])
        place = np.array([list(names).index(inputs[0]) for _, inputs in form.terms])
        weight = np.array([params[name] for name, _ in form.terms])

        def weighted(z: Floats) -> tuple[float, Floats]:
            part = weight * z[place] ** (powers - 1)
            return float(part @ z[place]), np.bincount(place, part * powers, minlength=len(names)).astype(float)

        return weighted

    def by_dual(z: Floats) -> tuple[float, Floats]:
        found = law.predict({name: Dual.variable(z[[i]], i) for i, name in enumerate(names)}, **params)
        slope = [float(np.ravel(found.grad.get(i, 0.0))[0]) for i in range(len(z))]
        return float(np.ravel(found.value)[0]), np.array(slope)

    def by_differences(z: Floats) -> tuple[float, Floats]:
        n, up, down = len(z), np.full(len(z), STEP), np.minimum(z, STEP)  # no share is below zero
        moved = z + np.vstack([np.zeros(n), np.diag(up), -np.diag(down)])
        found = np.ravel(law.predict({name: moved[:, i] for i, name in enumerate(names)}, **params))
        return float(found[0]), np.asarray((found[1 : n + 1] - found[n + 1 :]) / (up + down))

    # What the processes of a choice of laws add is no function of dual numbers.
    return by_differences if fit.members else by_dual


class _Shares(_Problem):
    """The simplex of shares, by sequential quadratic programming with exact slopes."""

    def __init__(
        self, fits: Sequence[Fit], weights: Floats, caps: Sequence[Cap], bounds: Mapping[str, tuple[float, float]]
    ) -> None:
        self.fits, self.weights, self.caps = fits, weights, caps
        self.names = tuple(fits[0].entry.inputs)
        self.low, self.high = np.zeros(len(self.names)), np.ones(len(self.names))
        for given, (low, high) in bounds.items():
            name = given if given in self.names else SHARE_PREFIX + given
            if name not in self.names:
                raise UsageError(f"--bounds: no share {given!r}; {nearest(name, self.names)}")
            _check_bounds(given, low, high)
            at = self.names.index(name)
            self.low[at], self.high[at] = low, high
        if self.low.sum() > 1 + 1e-12 or self.high.sum() < 1 - 1e-12:
            raise UsageError(
                f"--bounds: shares between {self.low.sum():g} and {self.high.sum():g} in all can't sum to 1"
            )
        rng = np.random.default_rng(0)
        points = fits[0].points
        seen = np.column_stack([np.asarray(points[name], dtype=float) for name in self.names])
        drawn = rng.dirichlet(np.ones(len(self.names)), STARTS)
        # The best of those that were tried for every draw, and random ones: the law need not be convex.
        self.seen = np.array([self.project(w) for w in np.unique(seen, axis=0)])
        self.starts = np.array([self.project(w) for w in (np.full(len(self.names), 1 / len(self.names)), *drawn)])
        self.limits: dict[int, list[float]] = {}
        self.slopes: dict[tuple[int, int], Value] = {}

    def project(self, w: Floats) -> Floats:
        """The shares nearest to w, up to one shift of all, that keep the bounds and sum to one."""
        low, high = -2.0, 2.0
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if np.clip(w + middle, self.low, self.high).sum() < 1 else (low, middle)
        return np.asarray(np.clip(w + (low + high) / 2, self.low, self.high))

    def inputs(self, z: Floats, other: bool = False) -> dict[str, Floats]:
        """See _Problem."""
        return {name: z[[i]] for i, name in enumerate(self.names)}

    def shown(self, z: Floats) -> tuple[Floats, dict[str, float]]:
        """See _Problem."""
        return z, {}

    def loss(self, fit: Fit, draw: int, z: Floats) -> tuple[float, Floats]:
        """The loss of a fit at shares (n,) and its slopes (n,)."""
        key = (id(fit), draw)
        if key not in self.slopes:
            self.slopes[key] = _slopes(fit, self.names, _params(fit, draw))
        return self.slopes[key](z)

    def total(self, draw: int, z: Floats) -> tuple[float, Floats]:
        """The weighted loss and its slopes."""
        parts = [self.loss(fit, draw, z) for fit in self.fits]
        return (
            float(sum(w * value for w, (value, _) in zip(self.weights, parts, strict=True))),
            np.asarray(sum(w * slope for w, (_, slope) in zip(self.weights, parts, strict=True))),
        )

    def limits_of(self, draw: int) -> list[float]:
        """The highest loss that each capped fit may have, by a draw's own least loss where no base is given."""
        if draw not in self.limits:
            found = []
            for cap in self.caps:
                base = cap.base
                if base is None:
                    least = partial(self.loss, cap.fit, draw)
                    base = min(self._search(least, start, ())[1] for start in self.starts[:4])
                found.append((1 + cap.rise) * base)
            self.limits[draw] = found
        return self.limits[draw]

    def best(self, draw: int, start: Floats | None) -> Floats | None:
        """See _Problem."""
        limits = self.limits_of(draw)
        constraints = [
            {
                "type": "ineq",
                "fun": lambda z, f=cap.fit, most=most: (most - self.loss(f, draw, z)[0]) / most,
                "jac": lambda z, f=cap.fit, most=most: -self.loss(f, draw, z)[1] / most,
            }
            for cap, most in zip(self.caps, limits, strict=True)
        ]
        tried = self.seen[np.argmin([self.total(draw, z)[0] for z in self.seen[:: max(len(self.seen) // 200, 1)]])]
        starts = [tried, *(self.starts if start is None else [start])]
        ended = [self._search(lambda z: self.total(draw, z), s, constraints) for s in starts]
        kept = [
            (value, z)
            for z, value in ended
            if all(
                self.loss(cap.fit, draw, z)[0] <= most * (1 + 1e-6) for cap, most in zip(self.caps, limits, strict=True)
            )
        ]
        return min(kept, key=lambda pair: pair[0])[1] if kept else None

    def _search(
        self, value: Callable[[Floats], tuple[float, Floats]], start: Floats, constraints: Sequence[Any]
    ) -> tuple[Floats, float]:
        """Where sequential quadratic programming ends, brought back onto the simplex, and the loss there."""
        ended = minimize(
            value,
            start,
            jac=True,
            method="SLSQP",
            bounds=list(zip(self.low, self.high, strict=True)),
            constraints=[
                {"type": "eq", "fun": lambda z: z.sum() - 1.0, "jac": lambda z: np.ones_like(z)},
                *constraints,
            ],
            options={"maxiter": 300, "ftol": 1e-12},
        )
        place = self.project(np.asarray(ended.x))
        return place, value(place)[0]


def _check_bounds(name: str, low: float, high: float) -> None:
    if not (0 <= low <= high <= 1):
        raise UsageError(f"--bounds {name}={low:g}..{high:g} is no range of a share, as 0.05..0.3 is")


# -------------------------------------------------------------------------------------------------------------- ratio


class _Ratio(_Problem):
    """The ratio, and the split of a budget where one is asked for: a grid refined about its best place, several times.

    The place is (ratio, log params).
    """

    def __init__(
        self,
        fits: Sequence[Fit],
        weights: Floats,
        caps: Sequence[Cap],
        bounds: Mapping[str, tuple[float, float]],
        at: Mapping[str, float],
        domain_tokens: float | None,
        flops: float | None,
    ) -> None:
        self.fits, self.weights, self.caps, self.names = fits, weights, caps, ("ratio",)
        self.at, self.domain_tokens, self.flops = dict(at), domain_tokens, flops
        self.wanted = tuple(name for name in fits[0].entry.inputs if name != "ratio")
        self._check_inputs()
        stray = [name for name in bounds if name != "ratio"]
        if stray:
            raise UsageError(f"--bounds: the fits are of a ratio, not of {stray[0]!r}; write --bounds ratio=LOW..HIGH")
        low, high = bounds.get("ratio", self.tried("ratio"))
        _check_bounds("ratio", low, high)
        if "ratio" in self.at:
            low = high = float(self.at.pop("ratio"))
            if not 0 < low < 1:
                raise BadInput(f"a ratio of {low:g} is none between 0 and 1", fix="give a share of both corpora")
        elif high - low < 1e-9 and "ratio" not in bounds:
            raise UsageError("the fits saw one ratio only: there is nothing to choose; add runs at others")
        self.low, self.high = np.array([max(low, OPEN)]), np.array([min(high, 1 - OPEN)])
        if low == high:
            self.low = self.high = np.array([low])

    def _check_inputs(self) -> None:
        """Raises UsageError where an input is missing, or given twice."""
        if self.domain_tokens is not None and self.flops is not None:
            raise UsageError("give --domain-tokens or --flops, one of the two")
        for name, value in (("--domain-tokens", self.domain_tokens), ("--flops", self.flops), *self.at.items()):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} {value:g} is not a number above zero")
        found = {"tokens"} if self.domain_tokens is not None else {"params", "tokens"} if self.flops else set()
        if not found <= set(self.wanted):
            raise UsageError(f"{self.fits[0].law} is no law of {', '.join(sorted(found - set(self.wanted)))}")
        stray = [name for name in self.at if name not in {*self.wanted, "ratio"} or name in found]
        if stray:
            raise UsageError(f"--at {stray[0]} is not wanted here; {self.fits[0].law} takes {', '.join(self.wanted)}")
        missing = [name for name in self.wanted if name not in self.at and name not in found]
        if missing:
            raise UsageError(f"{self.fits[0].law} needs {', '.join(missing)}: give --at {missing[0]}=NUMBER")

    def grid(self, z: tuple[Floats, Floats], other: bool = False) -> dict[str, Floats]:
        """Inputs (n,) at ratios and log params (n,)."""
        ratio, log_n = z
        x = {name: np.full(len(ratio), self.at.get(name, np.nan)) for name in self.wanted}
        if self.domain_tokens is not None:
            x["tokens"] = self.domain_tokens / ratio
        if self.flops is not None:
            x["params"] = np.exp(log_n)
            x["tokens"] = self.flops / (6.0 * x["params"])
        return {**x, "ratio": 1.0 - ratio if other else ratio}

    def inputs(self, z: Floats, other: bool = False) -> dict[str, Floats]:
        """See _Problem."""
        return self.grid((z[[0]], z[[1]]), other)

    def shown(self, z: Floats) -> tuple[Floats, dict[str, float]]:
        """See _Problem."""
        x = self.inputs(z)
        return z[:1], {name: float(x[name][0]) for name in self.wanted}

    def best(self, draw: int, start: Floats | None) -> Floats | None:
        """See _Problem. Each round looks at a grid about the best place of the round before."""
        low, high = np.append(self.low, 0.0), np.append(self.high, 0.0)
        count = 401
        if self.flops is not None:
            # From one parameter to one token, as `allocate` looks: a best size at an end is none.
            high[1] = max(math.log(self.flops / 6.0), 0.0)
            count = 61
        most = self._limits(draw, low, high)
        left, right = low.copy(), high.copy()
        best: tuple[float, Floats] | None = None
        for _ in range(12):
            axes = [np.linspace(a, b, count if b > a else 1) for a, b in zip(left, right, strict=True)]
            ratio, log_n = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
            value = self._total(draw, ratio, log_n)
            for cap, limit in zip(self.caps, most, strict=True):
                capped = self._one(cap.fit, draw, self.grid((ratio, log_n), other=True))
                value = np.where(capped <= limit * (1 + SLACK), value, np.inf)
            found = int(np.argmin(value))
            if not np.isfinite(value[found]):
                break
            if best is None or value[found] <= best[0]:
                best = (float(value[found]), np.array([ratio[found], log_n[found]]))
            step = np.array([(b - a) / max(count - 1, 1) for a, b in zip(left, right, strict=True)])
            left, right = np.maximum(best[1] - 2 * step, low), np.minimum(best[1] + 2 * step, high)
        return None if best is None else best[1]

    def _one(self, fit: Fit, draw: int, x: Mapping[str, Floats]) -> Floats:
        with np.errstate(all="ignore"):
            named = {name: np.array([[value]]) for name, value in _params(fit, draw).items()}
            found = np.asarray(fit.entry.predict(dict(x), **named))
        return np.broadcast_to(found, (1, len(x["ratio"])))[0]

    def _total(self, draw: int, ratio: Floats, log_n: Floats) -> Floats:
        x = self.grid((ratio, log_n))
        return np.asarray(sum(w * self._one(f, draw, x) for w, f in zip(self.weights, self.fits, strict=True)))

    def _limits(self, draw: int, low: Floats, high: Floats) -> list[float]:
        """The highest loss of each capped fit; without a base, over its loss at the least share of the domain."""
        if self.flops is not None and any(cap.base is None for cap in self.caps):
            raise UsageError("with --flops a cap needs the loss that it is over: --cap FIT.json:RISE:LOSS")
        found = []
        for cap in self.caps:
            base = cap.base
            if base is None:
                ratio = np.linspace(low[0], high[0], 401)
                base = float(np.min(self._one(cap.fit, draw, self.grid((ratio, np.zeros(401)), other=True))))
            found.append((1 + cap.rise) * base)
        return found


# -------------------------------------------------------------------------------------------------------------- answer


def _answer(problem: _Problem, level: float) -> Mixture:
    """The optimum with its intervals, and what a reader must know."""
    fits, weights = problem.fits, problem.weights
    place = problem.best(0, None)
    if place is None:
        raise LabError("no mixture within the bounds keeps the caps by these fits; allow more with --cap or --bounds")
    if isinstance(problem, _Ratio) and problem.flops is not None:
        top = math.log(problem.flops / 6.0)
        check_split(fits[0].entry, not 1e-3 < place[1] < top - 1e-3, problem.flops)
    enough = min(len(fit.draws) for fit in (*fits, *(cap.fit for cap in problem.caps)))
    count = min(enough, DRAWS) if enough > 1 else 0
    drawn = [problem.best(1 + int(d), place) for d in np.linspace(0, enough - 1, count)]
    places = [z for z in drawn if z is not None]
    shares = np.array([problem.shown(z)[0] for z in (place, *places)])
    others = [problem.shown(z)[1] for z in (place, *places)]
    point = {name: np.array([other[name] for other in others]) for name in others[0]}
    losses = [_loss_at(fit, problem.inputs(place), level) for fit in fits]
    capped = [_loss_at(cap.fit, problem.inputs(place, other=True), level) for cap in problem.caps]
    missing = len(drawn) - len(places)
    found = {
        name: _quantile(shares[:, i], level, missing, (float(problem.low[i]), float(problem.high[i])))
        for i, name in enumerate(problem.names)
    }
    return Mixture(
        laws=tuple(fit.law for fit in fits),
        weights=tuple(weights.tolist()),
        shares=found,
        point={name: _quantile(values, level, missing if np.ptp(values) > 0 else 0) for name, values in point.items()},
        loss=_sum(losses, weights),
        losses=tuple(losses),
        caps=tuple(zip(capped, _limits(problem), strict=True)),
        tried={name: problem.tried(name) for name in problem.names},
        tried_loss=_tried_loss(problem),
        level=level,
        warnings=(
            # What is true of several fits in the same words is said once.
            *dict.fromkeys(n for fit in fits for n in (*no_draws(fit), *too_few_draws(fit, level))),
            *dict.fromkeys(n for fit in fits for n in far_outside([fit.outside(_extent(problem.inputs(place)))])),
            *_outside(problem, found),
            *_flat(problem, found),
            *_infeasible(len(drawn), missing),
        ),
    )


def _extent(x: Mapping[str, Floats]) -> dict[str, float]:
    """A place with its compute, where that can be told."""
    return {name: float(value[0]) for name, value in extent(x).items()}


def _limits(problem: _Problem) -> list[float]:
    if isinstance(problem, _Shares):
        return problem.limits_of(0)
    assert isinstance(problem, _Ratio)
    return problem._limits(0, problem.low, problem.high)


def _loss_at(fit: Fit, x: Mapping[str, Floats], level: float) -> Quantile:
    """The loss of a fit with the interval of the law itself."""
    value = float(fit.at(x)[0])
    low, high = interval(fit, x, level, noise=False)
    return Quantile(value, (float(low[0]), float(high[0])))


def _sum(losses: Sequence[Quantile], weights: Floats) -> Quantile:
    """The weighted mean; its interval takes the fits' errors to go together, which they do at most."""
    value = float(sum(w * q.value for w, q in zip(weights, losses, strict=True)))
    ends = [float(sum(w * q.ci[i] for w, q in zip(weights, losses, strict=True))) for i in (0, 1)]
    return Quantile(value, (ends[0], ends[1]))


def _quantile(
    values: Floats, level: float, missing: int = 0, ends: tuple[float, float] = (-np.inf, np.inf)
) -> Quantile:
    """The optimum's value (the first) with the interval of the draws', empty where there are none.

    So many further draws have no answer, and may lie anywhere between the `ends`: each counts at both.
    """
    value, spread = float(values[0]), values[1:]
    if len(spread) + missing < 2:
        return Quantile(value, ())
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = (
        np.quantile(np.append(spread, np.full(missing, end)), tail, method="nearest" if missing else "linear")
        for end, tail in zip(ends, tails, strict=True)
    )
    return Quantile(value, (min(float(low), value), max(float(high), value)))


def _tried_loss(problem: _Problem) -> float:
    """The least weighted loss that the fits give at the mixtures of the first one's table, other inputs as asked."""
    points = problem.fits[0].points
    if isinstance(problem, _Ratio):
        if problem.flops is not None:
            return math.nan
        ratio = np.unique(np.asarray(points["ratio"], dtype=float))
        kept = (ratio >= problem.low[0]) & (ratio <= problem.high[0])
        for cap, limit in zip(problem.caps, _limits(problem), strict=True):
            kept &= problem._one(cap.fit, 0, problem.grid((ratio, np.zeros(len(ratio))), other=True)) <= limit
        return float(np.min(problem._total(0, ratio, np.zeros(len(ratio)))[kept])) if kept.any() else math.nan
    x = {name: np.asarray(points[name], dtype=float) for name in problem.names}
    total = np.asarray(sum(w * fit.at(x) for w, fit in zip(problem.weights, problem.fits, strict=True)))
    every = np.column_stack([x[name] for name in problem.names])
    kept = np.all((every >= problem.low - 1e-9) & (every <= problem.high + 1e-9), axis=1)
    for cap, limit in zip(problem.caps, _limits(problem), strict=True):
        kept &= cap.fit.at(x) <= limit
    return float(np.min(total[kept])) if kept.any() else math.nan


def _outside(problem: _Problem, found: Mapping[str, Quantile]) -> tuple[Notice, ...]:
    """A warning where a share lies at the edge of what was tried, or beyond."""
    told = []
    for at, (name, q) in enumerate(found.items()):
        low, high = problem.tried(name)
        room = NEAR_EDGE * max(high - low, 1e-9)
        held = problem.low[at] == problem.high[at]
        # Below no share there is nothing, where none at all was tried.
        bottom = low + room if low > 0 else 0.0
        if not held and not bottom <= q.value <= high - room:
            where = "beyond" if q.value < low - 1e-9 or q.value > high + 1e-9 else "at the edge of"
            # Nothing is shown as nothing, and not as what rounding left of it.
            value, short = round(q.value, 6), name.removeprefix(SHARE_PREFIX)
            told.append(f"{short} = {value:.3g} is {where} {low:.3g} to {high:.3g}")
    if not told:
        return ()
    listed = "; ".join(told[:4]) + (f"; and {len(told) - 4} more" if len(told) > 4 else "")
    return (Notice("SL426", "warning", f"the best mixture is not inside what was tried: {listed}"),)


def _flat(problem: _Problem, found: Mapping[str, Quantile]) -> tuple[Notice, ...]:
    """A warning where the interval of a share is most of what the bounds allow."""
    wide = [
        f"{name.removeprefix(SHARE_PREFIX)} ({q.ci[0]:.3g} to {q.ci[1]:.3g})"
        for at, (name, q) in enumerate(found.items())
        if q.ci and q.ci[1] - q.ci[0] > FLAT * (problem.high[at] - problem.low[at]) > 0
    ]
    if not wide:
        return ()
    return (Notice("SL427", "warning", f"the runs hardly tell where the best mixture lies: {', '.join(wide)}"),)


def _infeasible(drawn: int, missing: int) -> tuple[Notice, ...]:
    if not missing:
        return ()
    message = (
        f"in {missing} of {drawn} draws no mixture keeps the cap: each counts at both ends of what --bounds allow in "
        "the intervals of the shares"
    )
    return (Notice("SL428", "warning", message),)


__all__ = ["Cap", "Mixture", "between_sizes", "mixture"]
