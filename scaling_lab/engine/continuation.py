"""How a running loss curve goes on: laws of curves with known priors, and a slow drift about them, as one posterior.

The loss after step s is a law of the run's learning rates, plus a drift d(s), plus noise. The drift is an integrated
Brownian motion in log s, which starts at the first point used: it lets the curve bend away from its law slowly, widens
an interval the faster the longer the way, and makes neighbouring points depend on each other. Given the law's shape
(its exponents and windows, drawn from a prior or from a fit), all else is Gaussian and solved exactly; shapes, drifts
and noises are weighed by how well they tell the points so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..histories import History, Points
from ..laws import Law
from ..laws.curves import CURVE_LAWS

if TYPE_CHECKING:
    from .curves import CurveFit

Floats = NDArray[np.float64]

# Groups of neighbouring points that a curve is reduced to, and shapes of each law that are tried.
BINS, SHAPES = 110, 96
# Drops gathered for a forecast: the difference to all of them is below 1e-5 nats (tests/decide).
TOGETHER = 128
# Points before this share of the last step say little of the end, and the laws hold there least.
FIRST_SHARE = 1 / 20
# Sizes of the drift, in nats per log-step to the power 1.5. Smaller ones tell the first half of public cosine runs as
# well, and are too sure of the rest of them (bench/forecast.py).
DRIFTS = (1.5e-2, 3e-2, 6e-2)
# The noise of points over what second differences tell; that which neighbours share over the same, and the share of the
# steps so far over which it is forgotten (smoothed logs, one stream of data); whether both fall with the learning rate.
NOISES = (
    (0.7, 0.0, 1.0),
    (1.0, 0.0, 1.0),
    (1.5, 0.0, 1.0),
    *((1.0, shared, reach) for shared in (1.5, 4.0, 10.0) for reach in (0.004, 0.015)),
)
WITH_RATE = (0.0, 1.0)
LEAST_RATE_NOISE = 0.1
# Components that together weigh less than this are left out of a forecast.
NEGLIGIBLE = 1e-4

# What is known of runs before they begin. Exponents and worths are those of the curves published with the annealing
# and multi-power laws (arXiv:2408.11029, 2503.12811; docs/forecast.md lists them): exponents .42 to .76 about .53;
# a fall of the learning rate from its peak to zero worth .07 to .23 nats in the end; windows of 530 to 1000 steps.
ALPHA, ALPHA_SD = 0.53, 0.25
WORTH, WORTH_SD = 0.13, 0.065
WINDOW, WINDOW_SD = 700.0, 0.5
RATE_C, RATE_C_SD = 1.5, 1.0
# Level and what is left above it, over the loss of the last points: wide enough for any run that has begun to learn.
LEVEL, LEVEL_SD, LEFT, LEFT_SD = 0.9, 0.3, 0.1, 0.3
# How far a run of the same size and batch may lie from a fit of others: its level over its loss, its trend and gain
# over theirs. How much of that level and trend it takes (none but noise for the same data, all for other data) is what
# the points decide.
SHIFT, TREND, GAIN = 0.03, 0.1, 0.15
APART = (0.02, 0.15, 1.0)
ALONE = ("annealing", "multi-power")


@dataclass(frozen=True)
class Shapes:
    """Guesses (M,) of a law's exponents and windows by name, with the mean and sd (M, J) of its linear coefficients.

    `weight` is what all of them weigh beforehand against those of other laws.
    """

    law: Law
    params: Mapping[str, Floats]
    mean: Floats
    sd: Floats
    size: float | None = None
    weight: float = 1.0

    @cached_property
    def gain(self) -> str | None:
        """The coefficient of what drops of the learning rate are worth, where the law is linear in it."""
        last = self.law.linear[-1]
        return last if last in ("B", "C") else None


def shapes_alone(law: str, history: History, area: float, loss: float) -> Shapes:
    """What is known of a law before a run has told anything: `area` and `loss` are those of its last points."""
    from scipy.stats import norm, qmc

    unit = qmc.Sobol(2, scramble=True, rng=np.random.default_rng(11)).random(2 ** int(np.ceil(np.log2(SHAPES))))
    normal = norm.ppf(np.clip(unit[:SHAPES], 1e-4, 1 - 1e-4))
    alpha = ALPHA * np.exp(ALPHA_SD * normal[:, 0])
    if law == "annealing":
        momentum = 1.0 - 1.0 / np.maximum(WINDOW * np.exp(WINDOW_SD * normal[:, 1]), 20.0)
        params, per_worth = {"alpha": alpha, "momentum": momentum}, (1.0 - momentum) / history.peak
    elif law == "multi-power":
        params = {"alpha": alpha, "C": RATE_C * np.exp(RATE_C_SD * normal[:, 1])}
        per_worth = np.full(SHAPES, 1.0 / history.peak)
    else:
        raise UsageError(f"{law} has no prior of its own for one running curve; take {', '.join(ALONE)}, or --fit")
    whole, unit_trend = np.ones(SHAPES), area**alpha
    mean = np.column_stack([LEVEL * loss * whole, LEFT * loss * unit_trend, WORTH * per_worth])
    sd = np.column_stack([LEVEL_SD * loss * whole, LEFT_SD * loss * unit_trend, WORTH_SD * per_worth])
    return Shapes(CURVE_LAWS[law], params, mean, sd)


def shapes_of(fit: CurveFit, loss: float, size: float | None = None) -> list[Shapes]:
    """The draws of a fit as guesses of another run of the same size and batch.

    Each member of auto-curve has its own, and so has each of APART. Raises UsageError where the law is of several
    sizes and `size` is not said.
    """
    parts = [(m.law, m.draws, m.weight) for m in fit.members] or [(fit.entry, fit.draws, 1.0)]
    return [
        _shapes_of(law, draws, weight / len(APART), loss, size, apart)
        for law, draws, weight in parts
        for apart in APART
        if weight > 0
    ]


def _shapes_of(law: Law, draws: Floats, weight: float, loss: float, size: float | None, apart: float) -> Shapes:
    if "params" in law.inputs and size is None:
        raise UsageError(f"{law.name} is of models of several sizes: the curve needs its size (column params)")
    draws = draws[:: max(1, len(draws) // SHAPES)]
    column = {name: draws[:, i] for i, name in enumerate(law.names)}
    sd = []
    for name in law.linear:
        share = GAIN if name == law.linear[-1] and name in ("B", "C") else apart * TREND
        sd.append(np.full(len(draws), apart * SHIFT * loss) if name == "L0" else share * np.abs(column[name]))
    mean = np.column_stack([column[name] for name in law.linear])
    rest = {name: values for name, values in column.items() if name not in law.linear}
    return Shapes(law, rest, mean, np.column_stack(sd), size, weight)


def _columns(shapes: Shapes, points: Points) -> tuple[Floats, Floats]:
    """What of the loss no linear coefficient moves (M, n), and what one unit of each does (M, n, J)."""
    law, count = shapes.law, len(points)
    x = dict(points.x)
    if shapes.size is not None:
        x["params"] = np.full(count, shapes.size)
    # A law is the same without its drops in all but the gain: they are most of the work.
    pairs = points.pairs.take(points.starts)
    bare = replace(points, pairs=replace(pairs, drop=np.zeros(count)), starts=np.arange(count))
    short = {**x, "drops": bare, "moment": np.zeros(count)}
    members = len(shapes.mean)
    rest, columns = np.zeros((members, count)), np.empty((members, count, len(law.linear)))
    zero = dict.fromkeys(law.linear, np.zeros((1, 1)))
    # A few shapes at a time: every one of them works on every drop that each point has seen.
    step = max(1, int(2e6 // max(len(points.pairs.drop), 1)))
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, members, step):
            part = slice(at, at + step)
            shape = {name: values[part, None] for name, values in shapes.params.items()}
            for j, name in enumerate(law.linear):
                seen = x if name == shapes.gain else short
                columns[part, :, j] = law.predict(seen, **zero | {name: np.ones((1, 1))} | shape)
            if shapes.gain is None:
                rest[part] = law.predict(x, **zero | shape)
                for j in range(len(law.linear)):
                    columns[part, :, j] -= law.predict(short, **zero | shape)
    return rest, columns


# ----------------------------------------------------------------------------------------------------------- the points


@dataclass(frozen=True)
class Seen:
    """Groups of neighbouring points (n,): mean step and loss, how many points, and the noise of a single one.

    `noise` is the sd of a point at the peak if it does not fall with the rate, `noise_rate` if it does.
    """

    step: Floats
    loss: Floats
    count: Floats
    noise: float
    noise_rate: float

    @classmethod
    def of(cls, step: Floats, loss: Floats, history: History, bins: int = BINS) -> Seen:
        """Groups of a curve that are narrow in steps and in log steps."""
        share = history.lr[np.floor(step).astype(int) - 1] / history.peak
        noise, noise_rate = (_noise(loss, np.maximum(share, LEAST_RATE_NOISE) ** p) for p in WITH_RATE)
        low, high = step[0], step[-1]
        if len(step) <= bins or high == low:
            return cls(step, loss, np.ones(len(step)), noise, noise_rate)
        place = 0.5 * (step - low) / (high - low) + 0.5 * np.log(step / low) / np.log(high / low)
        group = np.minimum((place * bins).astype(int), bins - 1)
        first = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
        count = np.diff(np.append(first, len(step))).astype(float)
        means = [np.add.reduceat(v, first) / count for v in (step, loss)]
        return cls(means[0], means[1], count, noise, noise_rate)


def _noise(loss: Floats, weight: Floats) -> float:
    """The sd of a point by second differences, robustly; never below 1e-5 of the loss."""
    least = 1e-5 * float(np.abs(loss[-1]))
    if len(loss) < 5:
        # Too few points tell nothing of their noise: that of public curves, as a share of the loss.
        return max(3e-4 * float(np.abs(loss[-1])), least)
    second = np.diff(loss, 2) / (np.sqrt(6.0) * weight[1:-1])
    return max(1.4826 * float(np.median(np.abs(second))), least)


# -------------------------------------------------------------------------------------------------------- the posterior


@dataclass(frozen=True)
class Component:
    """The posterior of all shapes of one law (M,) under one drift and one noise, for targets (t,)."""

    log_weight: Floats
    mean: Floats
    var: Floats
    noise: Floats


@dataclass(frozen=True)
class Posterior:
    """A mixture of Gaussians for the loss at each target: weights (K,), means and variances (K, t).

    `laws` says how much each law weighs; `drift` is the mean size of the drift; `var` is that of the curve with the
    noise that neighbours share, `noise` that of one logged point about it.
    """

    weight: Floats
    mean: Floats
    var: Floats
    noise: Floats
    laws: Mapping[str, float]
    drift: float

    def cdf(self, loss: Floats, count: float = 1.0) -> Floats:
        """The probability of less than `loss` (t,) for the mean of `count` points at each target."""
        from scipy.special import ndtr

        sd = np.sqrt(self.var + self.noise / count)
        return np.asarray(self.weight @ ndtr((loss - self.mean) / sd))

    def score(self, loss: Floats, count: float = 1.0) -> Floats:
        """How far `loss` (t,) lies from its forecast, in standard deviations of a normal distribution."""
        from scipy.special import ndtr, ndtri

        sd = np.sqrt(self.var + self.noise / count)
        off = (loss - self.mean) / sd
        low, high = self.weight @ ndtr(off), self.weight @ ndtr(-off)
        # The tail that is smaller is the one that is precise.
        return np.where(low < high, ndtri(np.maximum(low, 1e-300)), -ndtri(np.maximum(high, 1e-300)))

    def quantiles(self, share: float, count: float = 1.0) -> Floats:
        """The loss (t,) that a share of the forecast lies below, for the mean of `count` points at each target."""
        sd = np.sqrt(self.var + self.noise / count)
        low, high = (self.mean - 8 * sd).min(axis=0), (self.mean + 8 * sd).max(axis=0)
        for _ in range(50):
            middle = 0.5 * (low + high)
            below = self.cdf(middle, count) < share
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)


class Continuation:
    """A run's history and laws with what is known of them; `posterior` tells how the curve goes on from its points.

    `members` are the guesses of each law. `shift`: a step from which the level is another one, which is learned.
    """

    def __init__(self, history: History, members: Sequence[Shapes], shift: float | None = None) -> None:
        self.history, self.members, self.shift = history, tuple(members), shift
        self._cache: tuple[Floats, list[Floats], list[Floats], Floats] | None = None

    def _at(self, steps: Floats) -> tuple[list[Floats], list[Floats], Floats]:
        """The columns of every law and the rates at these steps; places already worked out are not worked out again."""
        if self._cache is not None:
            known, rests, columns, rates = self._cache
            place = np.searchsorted(known, steps)
            found = (place < len(known)) & (known[np.minimum(place, len(known) - 1)] == steps)
            if not found.all():
                self._extend(np.unique(steps[~found]))
        else:
            self._extend(np.unique(steps))
        assert self._cache is not None
        known, rests, columns, rates = self._cache
        place = np.searchsorted(known, steps)
        return [r[:, place] for r in rests], [c[:, place] for c in columns], rates[place]

    def _extend(self, steps: Floats) -> None:
        points = self.history.at(steps, TOGETHER)
        new = [_columns(shapes, points) for shapes in self.members]
        rests, columns, rates = [r for r, _ in new], [c for _, c in new], points.lr / self.history.peak
        if self._cache is not None:
            known, old_rests, old_columns, old_rates = self._cache
            steps = np.concatenate([known, steps])
            rests = [np.concatenate(pair, axis=1) for pair in zip(old_rests, rests, strict=True)]
            columns = [np.concatenate(pair, axis=1) for pair in zip(old_columns, columns, strict=True)]
            rates = np.concatenate([old_rates, rates])
        order = np.argsort(steps)
        self._cache = (steps[order], [r[:, order] for r in rests], [c[:, order] for c in columns], rates[order])

    def posterior(self, seen: Seen, targets: Floats) -> Posterior:
        """The losses at the targets (t,), given the points so far."""
        from threadpoolctl import threadpool_limits

        # The matrices are small: threads would only wait for each other.
        with threadpool_limits(limits=1, user_api="blas"):
            return self._posterior(seen, targets)

    def _posterior(self, seen: Seen, targets: Floats) -> Posterior:
        from scipy.linalg import solve_triangular

        n = len(seen.step)
        rests, columns, rates = self._at(np.concatenate([seen.step, targets]))
        step = np.concatenate([seen.step, targets])
        place, apart = np.log(step / seen.step[0]), np.abs(step[:, None] - step)
        unit = _drift(place, place)
        rate = np.maximum(rates, LEAST_RATE_NOISE)
        designs = [self._design(s, r, c, np.concatenate([seen.step, targets])) for s, r, c in
                   zip(self.members, rests, columns, strict=True)]  # fmt: skip
        parts, labels = [], []
        for power in WITH_RATE if np.ptp(rate[:n]) > 1e-3 else WITH_RATE[:1]:
            sd = seen.noise if power == 0 else seen.noise_rate
            for share, shared, reach in NOISES:
                each = sd * rate**power
                noise = (share * each) ** 2
                with_neighbours = np.outer(each, each) * shared**2 * np.exp(-apart / (reach * seen.step[-1]))
                for size in DRIFTS:
                    cov = size**2 * unit + with_neighbours
                    factor = np.asarray(np.linalg.cholesky(cov[:n, :n] + np.diag(noise[:n] / seen.count)), dtype=float)
                    across = solve_triangular(factor, cov[:n, n:], lower=True)
                    left = np.maximum(np.diag(cov)[n:] - np.einsum("nt,nt->t", across, across), 0.0)
                    for shapes, (base, basis) in zip(self.members, designs, strict=True):
                        parts.append(_solve(seen.loss, base, basis, factor, across, left, noise[n:], shapes))
                        labels.append((shapes.law.name, size))
        return _mixed(parts, labels)

    def _design(self, shapes: Shapes, rest: Floats, columns: Floats, step: Floats) -> tuple[Floats, Floats]:
        """What is expected before any point (M, n + t), and what a standard deviation of each coefficient moves."""
        base = rest + np.einsum("mnj,mj->mn", columns, shapes.mean)
        basis = columns * shapes.sd[:, None, :]
        if self.shift is not None:
            # A level of its own after the step: as free as the level itself.
            after = np.where(step >= self.shift, shapes.sd[:, :1], 0.0)
            basis = np.concatenate([basis, after[:, :, None]], axis=2)
        return base, basis


def _drift(left: Floats, right: Floats) -> Floats:
    """The covariance of an integrated Brownian motion that starts at 0."""
    first, last = np.minimum(left[:, None], right), np.maximum(left[:, None], right)
    return first**2 * (0.5 * last - first / 6.0)


def _solve(
    loss: Floats, base: Floats, basis: Floats, factor: Floats, across: Floats, left: Floats, noise: Floats,
    shapes: Shapes,
) -> Component:  # fmt: skip
    """The Gaussian posterior of the linear coefficients and the drift for every shape."""
    from scipy.linalg import solve_triangular

    n, members, kinds = len(loss), len(base), basis.shape[2]
    sides = np.concatenate([(loss - base[:, :n]).T, basis[:, :n].transpose(1, 0, 2).reshape(n, -1)], axis=1)
    white = solve_triangular(factor, sides, lower=True)
    off, design = white[:, :members].T, white[:, members:].reshape(n, members, kinds).transpose(1, 0, 2)
    turned = design.transpose(0, 2, 1)
    precision = np.eye(kinds) + turned @ design
    side = (turned @ off[:, :, None])[:, :, 0]
    cov = np.linalg.inv(precision)
    best = (cov @ side[:, :, None])[:, :, 0]
    fit = np.einsum("mn,mn->m", off, off) - np.einsum("mj,mj->m", side, best)
    weight = -0.5 * fit - 0.5 * np.linalg.slogdet(precision)[1] - np.log(np.diag(factor)).sum()
    weight = weight + _positive(shapes, best, cov) + np.log(shapes.weight / members)
    ahead = basis[:, n:] - (turned @ across).transpose(0, 2, 1)
    mean = base[:, n:] + off @ across + np.einsum("mtj,mj->mt", ahead, best)
    var = left + np.einsum("mtj,mjk,mtk->mt", ahead, cov, ahead)
    return Component(weight, mean, var, noise)


def _positive(shapes: Shapes, best: Floats, cov: Floats) -> Floats:
    """The log of the probability that the coefficients which must lie above zero do, one by one (M,)."""
    from scipy.special import log_ndtr

    total = np.zeros(len(best))
    for j, name in enumerate(shapes.law.linear):
        if shapes.law.param(name).domain != "positive":
            continue
        ratio = shapes.mean[:, j] / shapes.sd[:, j]
        total += log_ndtr((ratio + best[:, j]) / np.sqrt(cov[:, j, j])) - log_ndtr(ratio)
    return total


def _mixed(parts: Sequence[Component], labels: Sequence[tuple[str, float]]) -> Posterior:
    """The components weighed against each other, without the negligible ones."""
    log_weight = np.concatenate([part.log_weight for part in parts])
    log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    order = np.argsort(weight)
    keep = np.sort(order[np.cumsum(weight[order]) > NEGLIGIBLE])
    counts = [len(part.log_weight) for part in parts]
    of = np.repeat(np.arange(len(parts)), counts)
    laws: dict[str, float] = {}
    for k, (law, _) in enumerate(labels):
        laws[law] = laws.get(law, 0.0) + float(weight[of == k].sum())
    sizes = np.array([size for _, size in labels])[of]
    mean, var = (np.concatenate([getattr(p, name) for p in parts])[keep] for name in ("mean", "var"))
    noise = np.concatenate([np.broadcast_to(p.noise, p.mean.shape) for p in parts])[keep]
    return Posterior(weight[keep] / weight[keep].sum(), mean, var, noise, laws, float(weight @ sizes))


__all__ = ["ALONE", "Continuation", "Posterior", "Seen", "Shapes", "shapes_alone", "shapes_of"]
