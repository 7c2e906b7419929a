"""The best split of a compute budget over a law's inputs, for many sets of parameters at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize.elementwise import find_root

from ..errors import UsageError
from ..laws import Budget, Law
from ..laws.base import SETTINGS
from ..quantities import quantity

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]
GOLDEN = (np.sqrt(5.0) - 1) / 2
# The budgets, in FLOP, between which a target loss is looked for; less than the first trains nothing.
LEAST, MOST = 1e6, 1e40
# Counts that stand for a model's size in 6*N*D where a law names no budget of its own.
SIZES = ("params", "params_nonembed", "params_nonembed_head", "params_active", "params_average")
# What a size is made of: with one of these held, a size is no longer free.
SHAPES = ("width", "depth", "params_vocab", "vocab_size")
# Places of a first scan: along the size, and along each further input.
STEPS, FEW_STEPS = 201, 9
# The search over several inputs at once: a window of SIDE places a side, shrunk by SHRINK for each of ROUNDS.
SIDE, SHRINK, ROUNDS = 7, 0.6, 40


def budget_of(law: Law, members: Sequence[Law] = ()) -> Budget | None:
    """How compute is spent on the law's inputs: as it says, else 6*N*D of its one size and tokens; None without both.

    Then its further inputs must be given; a law whose size is made of some of them has no such budget.
    A blend of laws spends as its first member of the same inputs that says how.
    """
    told = [each for each in (law, *members) if each.budget is not None and set(each.inputs) == set(law.inputs)]
    if told:
        return told[0].budget
    sizes = [name for name in law.inputs if name in SIZES]
    if len(sizes) != 1 or "tokens" not in law.inputs:
        return None
    size = sizes[0]
    further = tuple(name for name in law.inputs if name not in (size, "tokens"))
    if any(name in SHAPES for name in further):
        return None
    return Budget(
        size=size,
        per_token=lambda x: 6.0 * x[size],
        per_served=lambda x: 2.0 * x[size],
        further=further,
        says=f"6*{size}*tokens",
    )


@dataclass(frozen=True)
class Plan:
    """A law and how it is asked to spend: further inputs `given`, or `open` between two ends, and the cap on tokens.

    `unique_tokens` caps the tokens of a law that says nothing of repeated ones.
    """

    law: Law
    budget: Budget
    given: Mapping[str, float] = field(default_factory=dict)
    open: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inference_tokens: float = 0.0
    unique_tokens: float | None = None

    def price(self, further: Mapping[str, Floats], tokens: Floats | float) -> tuple[Floats, Floats]:
        """The compute of `tokens` as (at size 0, for each unit of size); all costs are affine in the size."""

        def cost(size: float) -> Floats:
            point = {**self.given, **further, self.budget.size: np.float64(size)}
            total = self.budget.per_token(point) * tokens
            if self.inference_tokens:
                assert self.budget.per_served is not None
                total = total + self.budget.per_served(point) * self.inference_tokens
            return np.asarray(total, dtype=float)

        # A size far from 1, so that what a size costs is not lost beside what does not depend on it.
        none, large = cost(0.0), cost(1e12)
        fixed = 0.0 if self.budget.fixed is None else self.budget.fixed({**self.given, **further})
        return none + fixed, (large - none) / 1e12

    def size_for(self, flops: Floats, tokens: Floats | float, further: Mapping[str, Floats]) -> Floats:
        """The size with which `tokens` take all of the budget; not above zero where even none is too dear."""
        none, slope = self.price(further, tokens)
        return np.asarray((flops - none) / slope)

    def tokens_for(self, flops: Floats, size: Floats, further: Mapping[str, Floats]) -> Floats:
        """The tokens that a budget leaves for a size; not above zero where it leaves none."""
        point = {**self.given, **further, self.budget.size: size}
        rest = flops / self.budget.per_token(point)
        if self.inference_tokens:
            assert self.budget.per_served is not None
            rest = rest - self.inference_tokens * self.budget.per_served(point) / self.budget.per_token(point)
        if self.budget.fixed is not None:
            rest = rest - self.budget.fixed(point) / self.budget.per_token(point)
        return np.asarray(rest)

    def training(self, x: Mapping[str, Floats]) -> Floats:
        """The compute of training at a point of size, data and further inputs."""
        total = self.budget.per_token(x) * x[self.budget.data]
        return np.asarray(total if self.budget.fixed is None else total + self.budget.fixed(x))

    def inputs(self, size: Floats, tokens: Floats, further: Mapping[str, Floats]) -> dict[str, Floats]:
        """The law's own inputs, all of the shape of size."""
        point: dict[str, Any] = {self.budget.size: size, self.budget.data: tokens, **self.given, **further}
        if self.budget.unique:  # of more distinct tokens than are seen, those that are seen
            point[self.budget.unique] = np.minimum(point[self.budget.unique], tokens)
        found = point if self.budget.inputs is None else self.budget.inputs(point)
        return {name: np.broadcast_to(np.asarray(found[name], dtype=float), size.shape) for name in self.law.inputs}

    def loss(self, named: Mapping[str, Floats], size: Floats, tokens: Floats, further: Mapping[str, Floats]) -> Floats:
        """The law's value (B, n) at sizes and tokens (B, n), with parameters (B, 1)."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.asarray(self.law.predict(self.inputs(size, np.maximum(tokens, 1e-300), further), **named))


@dataclass(frozen=True)
class Splits:
    """Best splits (B,) by size, tokens, further inputs that were open, and loss.

    `held` are those at the cap on tokens. Those at an `edge` have none: their size and tokens are nan. `ended` are, for
    each further input, those that lie at an end of its range.
    """

    params: Floats
    tokens: Floats
    loss: Floats
    held: Truths
    edge: Truths
    further: Mapping[str, Floats] = field(default_factory=dict)
    ended: Mapping[str, Truths] = field(default_factory=dict)


def splits(plan: Plan, named: Mapping[str, Floats], flops: Floats) -> Splits:
    """The best split of each budget (B,), with parameters each (B, 1) or (1, 1).

    An infinite budget is spent on size without end, and on tokens up to the cap; one that is nan has no split.
    """
    endless, flops = np.isinf(flops), np.where(np.isfinite(flops), flops, 1.0)
    at = (_along_size if not plan.open else _along_all)(plan, named, flops)
    cap = np.inf if plan.unique_tokens is None else plan.unique_tokens
    edge = ~endless & at.edge
    return Splits(
        params=np.where(edge, np.nan, np.where(endless, np.inf, at.params)),
        tokens=np.where(edge, np.nan, np.where(endless, cap, at.tokens)),
        loss=at.loss,
        held=at.held,
        edge=edge,
        further=at.further,
        ended=at.ended,
    )


def _along_size(plan: Plan, named: Mapping[str, Floats], flops: Floats) -> Splits:
    """A scan over the log of the size, then a golden-section search, for all budgets at once."""
    spent = flops[:, None]

    def tokens_at(log_n: Floats) -> Floats:
        return plan.tokens_for(spent, np.exp(log_n), {})

    def loss_at(log_n: Floats) -> Floats:
        return plan.loss(named, np.exp(log_n), tokens_at(log_n), {})

    top = _top(plan, flops, {})
    grid = np.linspace(0.0, 1.0, STEPS)[None, :] * top[:, None]
    at = lowest_valley(loss_at(grid))
    low = np.take_along_axis(grid, np.maximum(at - 1, 0)[:, None], 1)
    high = np.take_along_axis(grid, np.minimum(at + 1, grid.shape[1] - 1)[:, None], 1)
    log_n = golden_section(loss_at, low, high)
    # The loss has one minimum along a budget: where that lies beyond the cap, the best that is left lies at the cap.
    held, most = np.zeros(len(flops), bool), np.inf
    if plan.unique_tokens is not None:
        most = plan.unique_tokens
        held = tokens_at(log_n)[:, 0] > most
        at_cap = np.log(np.maximum(plan.size_for(flops, most, {}), 1e-300))
        log_n = np.where(held, at_cap, log_n[:, 0])[:, None]
    edge = (~held & ((at == 0) | (at == grid.shape[1] - 1))) | (top <= 0)
    tokens = np.where(held, most, tokens_at(log_n)[:, 0])
    return Splits(np.exp(log_n[:, 0]), tokens, loss_at(log_n)[:, 0], held, edge)


def _top(plan: Plan, flops: Floats, further: Mapping[str, Floats]) -> Floats:
    """The log of the size that leaves one token to train on; below zero where not even a size of one does."""
    return np.log(np.maximum(plan.size_for(flops, 1.0, further), 0.5))


def _along_all(plan: Plan, named: Mapping[str, Floats], flops: Floats) -> Splits:
    """A scan over the tokens and the open inputs, then a window about the best place that moves and shrinks.

    It goes along the tokens and not the size, for how much data is best hardly depends on what the model is made of: a
    valley along the axes is one that a window follows. Ends within about 1e-6 of the place in what is searched.
    """
    names = list(plan.open)
    scales = {name: _Scale(name, *plan.open[name]) for name in names}
    place, step, edge = _scan(plan, named, flops, scales)
    steps = np.column_stack([step, *(np.full(len(flops), s.step) for s in scales.values())])
    place = _zoom(plan, named, flops, scales, place, 2 * steps)
    further = {n: scales[n].value(place[:, [1 + i]]) for i, n in enumerate(names)}
    loss, size, tokens, held = _spent(plan, named, flops, place[:, :1], further)
    ended = {n: scales[n].ended(place[:, 1 + i]) for i, n in enumerate(names)}
    values = {n: np.where(edge, np.nan, v[:, 0]) for n, v in further.items()}
    return Splits(size[:, 0], tokens[:, 0], loss[:, 0], held[:, 0], edge, values, ended)


def _scan(
    plan: Plan, named: Mapping[str, Floats], flops: Floats, scales: Mapping[str, _Scale]
) -> tuple[Floats, Floats, Truths]:
    """The lowest valley along the tokens for any of a few values of the open inputs.

    Places (B, k), steps along the tokens (B,), and where there is no valley (B,); then the place is the lowest of all.
    """
    count, rows = len(flops), np.arange(len(flops))
    lowest, best = np.full(count, np.inf), np.full(count, np.inf)
    place, step = np.zeros((count, 1 + len(scales))), np.ones(count)
    for corner in product(*(scale.grid(FEW_STEPS) for scale in scales.values())):
        further = {n: np.full((1, 1), s.value(u)) for (n, s), u in zip(scales.items(), corner, strict=True)}
        most = plan.tokens_for(flops[:, None], np.ones((count, 1)), further)
        top = np.log(np.maximum(most, 0.5))
        grid = np.linspace(0.0, 1.0, STEPS)[None, :] * top
        loss, _, _, held = _spent(plan, named, flops, grid, further)
        at = lowest_valley(loss)
        inside = (((at > 0) & (at < STEPS - 1)) | held[rows, at]) & (top[:, 0] > 0)
        value = loss[rows, at]
        better = np.where(inside, value < best, np.isinf(best) & (value < lowest))
        lowest = np.where(better, value, lowest)
        best = np.where(better & inside, value, best)
        place[better] = np.column_stack([grid[rows, at], np.tile(corner, (count, 1))])[better]
        step[better] = np.maximum(top[better, 0], 1.0) / (STEPS - 1)
    return place, step, np.isinf(best)


def _spent(
    plan: Plan, named: Mapping[str, Floats], flops: Floats, log_d: Floats, further: Mapping[str, Floats]
) -> tuple[Floats, Floats, Floats, Truths]:
    """Loss, size, tokens and whether they are at the cap, each (B, n), where the budget is spent about log tokens."""
    tokens = np.exp(log_d)
    held = np.zeros(tokens.shape, bool)
    if plan.unique_tokens is not None:
        held = tokens >= plan.unique_tokens
        tokens = np.where(held, plan.unique_tokens, tokens)
    size = np.broadcast_to(plan.size_for(flops[:, None], tokens, further), tokens.shape)
    fits = (size > 0) & (log_d >= 0)
    loss = plan.loss(named, np.where(fits, size, 1.0), tokens, further)
    return np.where(fits & ~np.isnan(loss), loss, np.inf), size, tokens, held


def _zoom(
    plan: Plan,
    named: Mapping[str, Floats],
    flops: Floats,
    scales: Mapping[str, _Scale],
    place: Floats,
    half: Floats,
) -> Floats:
    """Places (B, k) of the least loss, from a window about `place` whose half sides are `half` (B, k).

    Where the best place of a window lies on its border the next one is as large.
    """
    offsets = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, SIDE)] * place.shape[1], indexing="ij"), -1)
    offsets = offsets.reshape(-1, place.shape[1])
    border = np.abs(offsets).max(axis=1) == 1
    rows = np.arange(len(place))
    for _ in range(ROUNDS):
        window = place[:, None, :] + half[:, None, :] * offsets[None, :, :]
        window[:, :, 0] = np.maximum(window[:, :, 0], 0.0)
        for i, scale in enumerate(scales.values()):
            window[:, :, 1 + i] = np.clip(window[:, :, 1 + i], scale.low, scale.high)
        further = {n: scale.value(window[:, :, 1 + i]) for i, (n, scale) in enumerate(scales.items())}
        at = np.argmin(_spent(plan, named, flops, window[:, :, 0], further)[0], axis=1)
        moved = window[rows, at]
        stays = np.all(np.abs(moved - place) < 1e-3 * half, axis=1)
        half = np.where((border[at] & ~stays)[:, None], half, half * SHRINK)
        place = moved
    return place


@dataclass(frozen=True)
class _Scale:
    """The coordinate an open input is searched in: the logarithm of a size, a share as it is."""

    name: str
    least: float
    most: float

    @property
    def logs(self) -> bool:
        return quantity(self.name).domain == "positive"

    @property
    def low(self) -> float:
        return float(np.log(self.least)) if self.logs else self.least

    @property
    def high(self) -> float:
        return float(np.log(self.most)) if self.logs else self.most

    @property
    def step(self) -> float:
        return (self.high - self.low) / (FEW_STEPS - 1)

    def grid(self, count: int) -> list[float]:
        return [float(u) for u in np.linspace(self.low, self.high, count)]

    def value(self, u: Floats | float) -> Floats:
        return np.asarray(np.exp(u) if self.logs else u, dtype=float)

    def ended(self, u: Floats) -> Truths:
        near = 1e-4 * (self.high - self.low)
        return np.asarray((u - self.low < near) | (self.high - u < near))


def lowest_valley(loss: Floats) -> NDArray[np.intp]:
    """Where each row of losses (B, n) is least between its ends; an end, where it has no valley.

    A law that bends may fall again where a budget leaves a model of one parameter or a single token, many orders of
    magnitude from anything that was trained: a valley is the answer, where there is one.
    """
    inside = (loss[:, 1:-1] < loss[:, :-2]) & (loss[:, 1:-1] <= loss[:, 2:])
    valleys = np.where(inside, loss[:, 1:-1], np.inf)
    return np.where(inside.any(axis=1), 1 + np.argmin(valleys, axis=1), np.argmin(loss, axis=1))


def golden_section(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """The minimum of a unimodal function between low and high, all of one shape, elementwise.

    Fifty steps shrink the bracket 1e10-fold, but values near a minimum agree to rounding from a distance of 1e-8 of
    its scale on: that is the precision of the answer.
    """
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    f_left, f_right = function(left), function(right)
    for _ in range(50):
        shrink = f_left <= f_right
        low, high = np.where(shrink, low, left), np.where(shrink, right, high)
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        f_left, f_right = function(left), function(right)
    return (low + high) / 2


def least_flops(plan: Plan, named: Mapping[str, Floats], target: float) -> Floats:
    """The least compute (B,) whose best split reaches the target; inf where MOST does not, nan where LEAST does."""
    count = len(next(iter(named.values())))

    def excess(log_c: Floats, draw: NDArray[np.int64]) -> Floats:
        some = {name: values[draw] for name, values in named.items()}
        loss = splits(plan, some, np.exp(log_c)).loss
        # A budget that pays for no token and no size has no loss: it lies above any target, by a finite amount.
        return np.where(np.isfinite(loss), loss - target, 1e6)

    every = np.arange(count)
    too_easy = excess(np.full(count, np.log(LEAST)), every) <= 0
    reachable = excess(np.full(count, np.log(MOST)), every) <= 0
    budget = np.where(too_easy, np.nan, np.inf)
    between = np.flatnonzero(reachable & ~too_easy)
    if between.size:
        ends = tuple(np.full(between.size, np.log(end)) for end in (LEAST, MOST))
        budget[between] = np.exp(find_root(excess, ends, args=(between,), tolerances={"xatol": 1e-12}).x)
    return budget


def plan_of(
    law: Law,
    given: Mapping[str, float],
    ranges: Mapping[str, Mapping[str, float]],
    inference_tokens: float = 0.0,
    unique_tokens: float | None = None,
    members: Sequence[Law] = (),
) -> Plan:
    """How a law is asked to spend, with the fitted `ranges` of its inputs; raises UsageError where it can't be.

    Unique tokens are an input of a law that models repeated data, and a cap on the tokens of any other.
    """
    if law.target in SETTINGS:
        raise UsageError(f"{law.name} is a law of {law.target}, a setting and no loss; allocate takes a fit of a loss")
    budget = budget_of(law, members)
    if budget is None:
        raise UsageError(
            f"{law.name} is a law of {', '.join(law.inputs)}; allocate needs one of params and tokens, or one that "
            "says how compute is spent on its inputs"
        )
    held = dict(given)
    if budget.unique and unique_tokens is not None:
        if budget.unique in held:
            raise UsageError(f"--unique-tokens is --given {budget.unique}=NUMBER: give one of the two")
        held[budget.unique] = unique_tokens
    stray = [name for name in held if name not in budget.further]
    if stray:
        known = ", ".join(budget.further) or "none"
        raise UsageError(f"--given {stray[0]}: the further inputs of {law.name} are {known}")
    missing = [name for name in budget.further if name not in held and name not in budget.free]
    if missing:
        option = "--unique-tokens NUMBER" if missing[0] == budget.unique else f"--given {missing[0]}=NUMBER"
        raise UsageError(f"{law.name} splits a budget for one {missing[0]}: give {option}")
    if inference_tokens and budget.per_served is None:
        raise UsageError(f"{law.name} does not say how large the model is that serves: leave --inference-tokens out")
    ends = {name: (ranges[name]["min"], ranges[name]["max"]) for name in budget.free if name not in held}
    held |= {name: low for name, (low, high) in ends.items() if low == high}
    return Plan(
        law,
        budget,
        held,
        {name: pair for name, pair in ends.items() if pair[0] < pair[1]},
        inference_tokens,
        None if budget.unique else unique_tokens,
    )
