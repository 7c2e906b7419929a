"""Two recipes side by side: how much more compute one needs for the same loss, and where their curves cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize.elementwise import find_root
from scipy.special import stdtrit

from ..engine.blend import TAILS
from ..engine.predict import interval, no_draws
from ..engine.result import Fit, Notice, too_few_draws
from ..engine.solve import one_blas_thread
from ..engine.uncertainty import distance
from ..errors import UsageError
from .allocate import Quantile, check_split, held_tokens, plan_for, quantile_of
from .split import LEAST, MOST, Plan, splits

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
SCHEMA = "scaling-lab/compare/1"
# Draws of each fit that are compared; with more the ends of a 90 % interval move by less than they are worth.
DRAWS = 400
# By what factor a multiplier is looked for, each way; beyond it, it is none.
REACH = 1e4
# Places of the curves, for each factor of ten in compute.
DENSITY = 8
# The same for a choice of laws, whose curve is read off a spline; its intervals are asked for at LEVEL.
FINE, LEVEL, NORMAL = 16, 0.9, 1.6448536269514722
# Places of one piece of work: each is a split of its own.
BLOCK = 4000
# Compute beyond a table's own by more than this factor is told.
BEYOND = 2.0
ASSUMED = (
    "the draws of the two fits are taken as independent; where both are of the same runs or seeds, errors that they "
    "share cancel, and the intervals are too wide"
)


@dataclass(frozen=True)
class Multiplier:
    """How many times the compute of A recipe B needs to reach the loss that A reaches with `flops`.

    Infinite where B does not reach it with REACH times the compute, zero where it does with a REACHth.
    """

    flops: float
    at: Mapping[str, float]
    loss_a: Quantile
    loss_b: Quantile
    factor: Quantile
    better: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON; `better` is the share of draws in which A's loss is the lower at this compute, None without draws."""
        factor = self.factor.to_dict()
        if not np.isfinite(self.factor.value):
            factor["value"] = None
        return {
            "flops": self.flops,
            "at": dict(self.at),
            "loss_a": self.loss_a.to_dict(),
            "loss_b": self.loss_b.to_dict(),
            "multiplier": factor,
            "probability_a_better": self.better,
        }


@dataclass(frozen=True)
class Crossing:
    """Where the curves cross: recipe `before` has the lower loss below it, `after` above it.

    `resolved`: the interval ends inside the range. `probability` is the share of draws that cross in this direction
    inside the range.
    """

    flops: Quantile
    before: str
    after: str
    resolved: bool
    probability: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {**vars(self), "flops": self.flops.to_dict()}


@dataclass(frozen=True)
class Drawn:
    """A recipe's curve over compute for a figure: value, low, high (n,), and its runs (m,), (m,)."""

    name: str
    value: Floats
    low: Floats
    high: Floats
    run_flops: Floats
    run_target: Floats


@dataclass(frozen=True)
class Comparison:
    """Two fits compared along their best splits, or along one model's tokens, over a range of compute."""

    laws: tuple[str, str]
    target: str
    flops: tuple[float, float]
    multipliers: tuple[Multiplier, ...]
    crossings: tuple[Crossing, ...]
    probability: float | None
    better: str
    level: float
    grid: Floats
    drawn: tuple[Drawn, Drawn]
    warnings: tuple[Notice, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole; `better` is the recipe that is ahead all over the range, empty where they cross."""
        return {
            "schema": SCHEMA,
            "laws": {"A": self.laws[0], "B": self.laws[1]},
            "target": self.target,
            "flops": list(self.flops),
            "multipliers": [multiplier.to_dict() for multiplier in self.multipliers],
            "crossings": [crossing.to_dict() for crossing in self.crossings],
            "probability_crossing": self.probability,
            "better": self.better,
            "level": self.level,
            "assumed": ASSUMED,
            "warnings": [vars(notice) for notice in self.warnings],
        }


def compare(
    a: Fit,
    b: Fit,
    *,
    flops: tuple[float, float] | None = None,
    at: Sequence[Mapping[str, float]] = (),
    given: Mapping[str, float] | None = None,
    unique_tokens: float | None = None,
    level: float = 0.9,
) -> Comparison:
    """How many times the compute of A recipe B needs for the same target, and where the two are level.

    Laws of compute are compared as they are, laws whose inputs compute is spent on along their own best splits.
    `flops` is the range that crossings are looked for in (default: from the least to the largest compute of either
    table). `at` are places for the multiplier (default five over the range): a compute, or a model of params and
    tokens, whose size is then held for both while B's tokens change. Intervals hold the parameters' doubt and, beyond
    a table's own compute, the law's error there. Raises UsageError where the two are not of one target.
    """
    with one_blas_thread():
        return _compare(a, b, flops, at, dict(given or {}), unique_tokens, level)


def _compare(
    a: Fit,
    b: Fit,
    flops: tuple[float, float] | None,
    at: Sequence[Mapping[str, float]],
    given: Mapping[str, float],
    unique_tokens: float | None,
    level: float,
) -> Comparison:
    if a.target != b.target:
        raise UsageError(f"one fit is of {a.target}, the other of {b.target}: only one and the same can be compared")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    stray = [name for name in given if not any(name in fit.entry.inputs for fit in (a, b))]
    if stray:
        raise UsageError(f"--given {stray[0]}: neither law has such an input")
    plans = [_plan(fit, given, unique_tokens) for fit in (a, b)]
    if unique_tokens is not None and not any(plans):
        raise UsageError("--unique-tokens: both laws are of compute, and neither has tokens that it could limit")
    low, high = _range(flops, [_computes(fit, plan) for fit, plan in zip((a, b), plans, strict=True)])
    asked = [low, high, *(place["flops"] for place in at if set(place) == {"flops"})]
    capped = [
        (which, notice) for which, f, p in zip("AB", (a, b), plans, strict=True) for notice in _capped(f, p, asked)
    ]
    span = (low / REACH, high * REACH)
    pair = (_curve(a, plans[0], span, 1), _curve(b, plans[1], span, 2))
    wide = Table.over(pair, span[0], low, high, span[1])
    inside = wide.within(low, high)
    places = at or [{"flops": float(c)} for c in np.geomspace(low, high, 5)]
    multipliers = tuple(_multiplier(pair, wide, place, level) for place in places)
    crossings, probability = _crossings(pair, inside, level)
    # Curves that touch, or are one and the same, are neither's.
    ahead = "A" if (inside.difference[0] < 0).all() else "B" if (inside.difference[0] > 0).all() else ""
    return Comparison(
        laws=(a.law, b.law),
        target=a.target,
        flops=(low, high),
        multipliers=multipliers,
        crossings=crossings,
        probability=probability,
        better=ahead,
        level=level,
        grid=np.exp(inside.log_c),
        drawn=(_drawn("A", pair[0], inside.a, level), _drawn("B", pair[1], inside.b, level)),
        warnings=(
            *(Notice(n.code, n.severity, f"{which}: {n.message}") for which, n in (*_of_fits(a, b, level), *capped)),
            *_unlike(pair),
            *_beyond(pair, (low, high), multipliers),
            *_unresolved(crossings, (low, high)),
        ),
    )


# ------------------------------------------------------------------------------------------------------------ curves


@dataclass(frozen=True)
class Curve:
    """A recipe's loss against compute: along its best splits, or along the tokens of one `size`.

    Row 0 is the fit itself; the others are draws, each with its own `error` of the law beyond the table's compute
    `reach`, in standard deviations. `span` is the compute that the curve is asked for.
    """

    fit: Fit
    plan: Plan | None
    rows: Floats
    error: Floats
    reach: tuple[float, float]
    span: tuple[float, float]
    size: float | None = None

    @property
    def whole(self) -> bool:
        """Whether the fit's intervals are of its predictions as a whole, and not of draws (a choice of laws)."""
        return self.fit.calibration is not None or self.fit.posterior is not None

    @property
    def doubted(self) -> bool:
        """Whether the rows say how far the fit can be trusted: not where it has no draws."""
        return self.whole or len(self.fit.draws) > 1 or all(p.fixed for p in self.fit.params.values())

    def loss(self, log_c: Floats, row: Places) -> Floats:
        """The law's value (k,) at the log of compute (k,) for rows (k,)."""
        if self.whole:
            value, up, down = self._smooth(log_c).T
            return self._moved(value, self.error[row] * np.where(self.error[row] > 0, up, down))
        parts = [self._drawn(log_c[i : i + BLOCK], row[i : i + BLOCK]) for i in range(0, len(log_c), BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _drawn(self, log_c: Floats, row: Places) -> Floats:
        x, value = self._along(np.exp(log_c), row)
        low, high = np.log(self.reach)
        far = np.maximum(np.maximum(log_c - high, low - log_c), 0.0)
        inputs = {name: v for name, v in x.items() if name != "flops"}
        if inputs:  # a split without an optimum has no inputs to measure a distance by; its compute has one
            far = np.fmax(far, distance(inputs, self.fit.inputs))
        return self._moved(value, self.fit.noise.drift * far * self.error[row])

    def _moved(self, value: Floats, by: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            return value * np.exp(by) if self.fit.objective.on == "log" else value + by

    def _along(self, flops: Floats, row: Places) -> tuple[dict[str, Floats], Floats]:
        """The inputs (k,) and the law's own value (k,)."""
        named = {name: self.rows[row, i][:, None] for i, name in enumerate(self.fit.entry.names)}
        if self.plan is None:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                value = np.asarray(self.fit.entry.predict({"flops": flops[:, None]}, **named))
            return {"flops": flops}, np.broadcast_to(value, (len(flops), 1))[:, 0]
        if self.size is not None:
            size = np.full((len(flops), 1), self.size)
            tokens = self.plan.tokens_for(flops[:, None], size, {})
            value = np.where(tokens > 0, self.plan.loss(named, size, tokens, {}), np.inf)[:, 0]
            return {n: v[:, 0] for n, v in self.plan.inputs(size, np.maximum(tokens, 1.0), {}).items()}, value
        found = splits(self.plan, named, flops)
        return self.plan.inputs(found.params, found.tokens, found.further), found.loss

    @cached_property
    def _smooth(self) -> CubicSpline:
        """The fit's own value, and one standard deviation of its intervals up and down, over the log of compute.

        Through FINE places for each factor of ten, since such a fit is slow to ask.
        """
        low, high = np.log(self.span)
        log_c = np.linspace(low, high, int(np.ceil(FINE * (high - low) / np.log(10))) + 1)
        x, value = self._along(np.exp(log_c), np.zeros(len(log_c), dtype=np.int64))
        known = {name: np.where(np.isfinite(v), v, self.fit.inputs[name]["min"]) for name, v in x.items()}
        ends = np.stack(interval(self.fit, known, LEVEL, noise=False))
        quantile = stdtrit(TAILS, (1 + LEVEL) / 2) if self.fit.calibration is not None else NORMAL
        with np.errstate(all="ignore"):
            away = np.log(ends / value) if self.fit.objective.on == "log" else ends - value
        return CubicSpline(log_c, np.column_stack([value, away[1] / quantile, -away[0] / quantile]))

    def at_size(self, size: float, span: tuple[float, float]) -> Curve:
        """The curve of one model's tokens."""
        return replace(self, size=size, span=span)


def _curve(fit: Fit, plan: Plan | None, span: tuple[float, float], which: int) -> Curve:
    rng = np.random.default_rng([fit.seed, 4, which])
    error = rng.standard_t(TAILS, DRAWS) if fit.calibration is not None else rng.standard_normal(DRAWS)
    # In an order of its own: the rows of one fit must not go with those of the other by chance of a common seed.
    chosen = np.resize(rng.permutation(len(fit.draws)), DRAWS)
    rows = np.concatenate([fit.optimum_row(), fit.draws[chosen]])
    return Curve(fit, plan, rows, np.concatenate([[0.0], error]), _computes(fit, plan), span)


def _plan(fit: Fit, given: Mapping[str, float], unique_tokens: float | None) -> Plan | None:
    """How a fit's law spends compute; None for a law of compute itself."""
    if fit.entry.inputs == ("flops",):
        return None
    return plan_for(fit, {n: v for n, v in given.items() if n in fit.entry.inputs}, 0.0, unique_tokens)


def _computes(fit: Fit, plan: Plan | None) -> tuple[float, float]:
    """The least and largest compute of the rows of a fit, counted as the plan counts it."""
    found = run_flops(fit, plan)
    return float(found.min()), float(found.max())


def run_flops(fit: Fit, plan: Plan | None) -> Floats:
    """The compute (n,) of the rows of a fit."""
    points = {
        name: np.asarray(v, dtype=float) for name, v in fit.points.items() if name in (*fit.entry.inputs, "flops")
    }
    if plan is None or "flops" in fit.entry.inputs:
        return points["flops"]
    return plan.training(points)


def _range(flops: tuple[float, float] | None, reaches: Sequence[tuple[float, float]]) -> tuple[float, float]:
    if flops is None:
        low, high = min(reach[0] for reach in reaches), max(reach[1] for reach in reaches)
        return low, max(high, 1.01 * low)
    low, high = flops
    if not (LEAST < low < high < MOST):
        raise UsageError(f"--flops {low:g}..{high:g} is no range between {LEAST:g} and {MOST:g}")
    return low, high


@dataclass(frozen=True)
class Table:
    """Both curves (rows, m) at the logs of compute (m,)."""

    log_c: Floats
    a: Floats
    b: Floats

    @classmethod
    def over(cls, pair: tuple[Curve, Curve], *ends: float) -> Table:
        """Between rising ends, DENSITY places for each factor of ten; the ends are among them."""
        logs = np.log(ends)
        counts = np.maximum(np.ceil(DENSITY * np.diff(logs) / np.log(10)), 4).astype(int)
        parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(logs[:-1], logs[1:], counts, strict=True)]
        log_c = np.concatenate([*parts, logs[-1:]])
        return cls(log_c, *(_rows_at(curve, log_c) for curve in pair))

    def within(self, low: float, high: float) -> Table:
        """The part of it between two computes."""
        keep = (self.log_c > np.log(low) - 1e-9) & (self.log_c < np.log(high) + 1e-9)
        return Table(self.log_c[keep], self.a[:, keep], self.b[:, keep])

    @cached_property
    def difference(self) -> Floats:
        """A's loss minus B's (rows, m)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.a - self.b)


def _rows_at(curve: Curve, log_c: Floats) -> Floats:
    count = len(curve.rows)
    row = np.repeat(np.arange(count), len(log_c))
    return curve.loss(np.tile(log_c, count), row).reshape(count, len(log_c))


# -------------------------------------------------------------------------------------------- multipliers, crossings


def _multiplier(pair: tuple[Curve, Curve], table: Table, place: Mapping[str, float], level: float) -> Multiplier:
    """B's compute over A's at one place, for every row; a root between two places of B's curve."""
    a, b, log_c = _placed(pair, place)
    drawn = a.doubted and b.doubted
    row = np.arange(len(a.rows))
    target = a.loss(np.full(len(row), log_c), row)
    grid, curve = (table.log_c, table.b)
    if b is not pair[1] or not grid[0] <= log_c <= grid[-1]:
        count = int(2 * DENSITY * np.log10(REACH)) + 1
        grid = np.linspace(log_c - np.log(REACH), log_c + np.log(REACH), count)
        curve = _rows_at(b, grid)
    known = np.isfinite(target) & ~np.isnan(curve).any(axis=1)
    reached = np.where(np.isnan(curve), np.inf, curve) <= target[:, None]
    # The least compute that reaches it: B's curve may rise again.
    first = np.argmax(reached, axis=1)
    factor = np.where(reached.any(axis=1), 0.0, np.inf)
    between = np.flatnonzero(known & reached.any(axis=1) & (first > 0))
    if between.size:

        def excess(at: Floats, which: Places) -> Floats:
            return b.loss(at, which) - target[which]

        ends = grid[first[between] - 1], grid[first[between]]
        factor[between] = np.exp(find_root(excess, ends, args=(between,), tolerances={"xatol": 1e-12}).x - log_c)
    factor = np.where(known, factor, np.nan)
    factor = np.where(factor > REACH, np.inf, np.where(factor < 1 / REACH, 0.0, factor))
    there = b.loss(np.full(len(row), log_c), row)
    loss_a, loss_b, factor_b = (quantile_of(v if drawn else v[:1], level) for v in (target, there, factor))
    better = float(np.mean((target < there)[1:])) if drawn else None
    flops = float(place.get("flops", np.exp(log_c)))
    return Multiplier(flops, dict(place), loss_a, loss_b, factor_b, better)


def _placed(pair: tuple[Curve, Curve], place: Mapping[str, float]) -> tuple[Curve, Curve, float]:
    """The curves that a place is on, and the log of A's compute there."""
    for name, value in place.items():
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"--at {name}={value:g} is not a number above zero")
    if set(place) == {"flops"}:
        spans = [(min(c.span[0], place["flops"] / REACH), max(c.span[1], place["flops"] * REACH)) for c in pair]
        a, b = (replace(c, span=s) if s != c.span else c for c, s in zip(pair, spans, strict=True))
        return a, b, float(np.log(place["flops"]))
    if set(place) != {"params", "tokens"}:
        raise UsageError(
            f"--at {', '.join(place)}: a place to compare at is flops=NUMBER, or params=NUMBER,tokens=NUMBER"
        )
    placed, computes = [], []
    for curve in pair:
        if curve.plan is None:
            placed.append(curve)
            continue
        if curve.plan.open:
            name = next(iter(curve.plan.open))
            raise UsageError(f"{curve.fit.law} at one model needs its {name}: give --given {name}=NUMBER")
        point = {**curve.plan.given, curve.plan.budget.size: place["params"], curve.plan.budget.data: place["tokens"]}
        computes.append(float(curve.plan.training({n: np.asarray(v) for n, v in point.items()})))
        span = (computes[-1] / REACH**1.01, computes[-1] * REACH**1.01)
        placed.append(curve.at_size(place["params"], span))
    if not computes:
        computes = [6.0 * place["params"] * place["tokens"]]
    if max(computes) > 1.0001 * min(computes):
        raise UsageError("the two laws count compute otherwise: compare them at flops=NUMBER")
    return placed[0], placed[1], float(np.log(computes[0]))


def _crossings(pair: tuple[Curve, Curve], table: Table, level: float) -> tuple[tuple[Crossing, ...], float | None]:
    """Every crossing of the fits themselves with its interval, and the share of draws that cross at all."""
    sign = np.sign(table.difference)
    with np.errstate(invalid="ignore"):
        change = sign[:, 1:] * sign[:, :-1] < 0
    row, at = np.nonzero(change)
    row = row.astype(np.int64)

    def difference(log_c: Floats, which: Places) -> Floats:
        return pair[0].loss(log_c, which) - pair[1].loss(log_c, which)

    places = np.empty(0)
    if row.size:
        ends = table.log_c[at], table.log_c[at + 1]
        places = find_root(difference, ends, args=(row,), tolerances={"xatol": 1e-12}).x
    upward = sign[row, at] < 0  # A is ahead before it
    drawn = pair[0].doubted and pair[1].doubted
    found = []
    for i in np.flatnonzero(row == 0):
        values = _like(places[i], upward[i], row, upward, places, sign)
        flops = quantile_of(np.exp(values if drawn else values[:1]), level)
        before, after = ("A", "B") if upward[i] else ("B", "A")
        resolved = bool(flops.ci) and flops.ci[0] > 0 and bool(np.isfinite(flops.ci[1]))
        inside = float(np.mean(np.isfinite(values[1:]))) if drawn else None
        found.append(Crossing(flops, before, after, resolved, inside))
    return tuple(found), float(np.mean(change[1:].any(axis=1))) if drawn else None


def _like(place: float, way: bool, row: Places, upward: NDArray[np.bool_], places: Floats, sign: Floats) -> Floats:
    """For every row its crossing in the same direction that is nearest to `place`, in logs of compute.

    A row that does not cross so crosses beyond the range: above it, where it is all as it is before the crossing;
    below, where it is all as it is after; and anywhere (nan) where it is neither.
    """
    values = np.full(len(sign), np.nan)
    before = -1.0 if way else 1.0
    values[np.all(sign == before, axis=1)] = np.inf
    values[np.all(sign == -before, axis=1)] = -np.inf
    for i in np.argsort(-np.abs(places - place)):  # the nearest is written last
        if upward[i] == way:
            values[row[i]] = places[i]
    return values


def _drawn(name: str, curve: Curve, rows: Floats, level: float) -> Drawn:
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.where(np.isfinite(rows[1:]), rows[1:], np.inf), tails, axis=0, method="nearest")
    if not curve.doubted:
        low = high = rows[0]
    return Drawn(
        name,
        rows[0],
        np.minimum(low, rows[0]),
        np.maximum(high, rows[0]),
        run_flops(curve.fit, curve.plan),
        np.asarray(curve.fit.points[curve.fit.target], dtype=float),
    )


# ---------------------------------------------------------------------------------------------------------- warnings


def _of_fits(a: Fit, b: Fit, level: float) -> list[tuple[str, Notice]]:
    return [(which, n) for which, fit in (("A", a), ("B", b)) for n in (*no_draws(fit), *too_few_draws(fit, level))]


def _capped(fit: Fit, plan: Plan | None, asked: Sequence[float]) -> tuple[Notice, ...]:
    """A warning where a law that says nothing of repeated data is held at the unique tokens.

    Raises LabError where a compute that is asked for has no best split by the fit itself.
    """
    if plan is None:
        return ()
    named = {name: np.array([[value]]) for name, value in fit.values.items()}
    budgets = np.array([flops for flops in asked if np.isfinite(flops) and flops > 0])
    found = splits(plan, named, budgets)
    worst = int(np.argmax(found.edge))
    check_split(fit.entry, bool(found.edge[worst]), float(budgets[worst]))
    return held_tokens(fit.entry, plan.unique_tokens if found.held.any() else None)


def _unlike(pair: tuple[Curve, Curve]) -> tuple[Notice, ...]:
    """A warning where the two count compute in different ways."""
    told = []
    for curve in pair:
        column = curve.fit.inputs.get("flops", {}).get("column", "")
        told.append(column if curve.plan is None else curve.plan.budget.says)
    if told[0] == told[1]:
        return ()
    message = f"A counts compute as {told[0]}, B as {told[1]}: what differs between the counts is part of every factor"
    return (Notice("SL444", "warning", message),)


def _beyond(
    pair: tuple[Curve, Curve], flops: tuple[float, float], multipliers: Sequence[Multiplier]
) -> tuple[Notice, ...]:
    """A warning for each recipe whose runs end well inside what is compared."""
    asked = [*flops, *(m.flops for m in multipliers)]
    found = []
    for which, curve in zip("AB", pair, strict=True):
        low, high = curve.reach
        factor = max(max(asked) / high, low / min(asked))
        if factor > BEYOND:
            message = (
                f"{which} has runs from {low:.3g} to {high:.3g} FLOP: what is compared lies up to {factor:.3g} times "
                "outside, where its curve is its law's word"
            )
            found.append(Notice("SL445", "warning", message))
    return tuple(found)


def _unresolved(crossings: Sequence[Crossing], flops: tuple[float, float]) -> tuple[Notice, ...]:
    open_ended = [crossing for crossing in crossings if not crossing.resolved]
    if not open_ended:
        return ()
    message = (
        f"the crossing at {open_ended[0].flops.value:.3g} FLOP is not resolved: its interval reaches an end of the "
        f"range ({flops[0]:.3g} to {flops[1]:.3g} FLOP), so the curves may not cross in it at all"
    )
    return (Notice("SL443", "warning", message),)
