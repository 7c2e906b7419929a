"""How to split a compute budget between model size and data, by a fitted law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize.elementwise import find_root

from ..accounting import six_nd
from ..engine.predict import far_outside, interval, no_draws
from ..engine.result import Fit, Notice, too_few_draws
from ..engine.solve import one_blas_thread
from ..errors import LabError, UsageError
from ..laws import Law

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/allocate/1"
# A size whose loss is within this share of the optimum's is as good as optimal: runs differ by about that much.
NEAR = 0.005
GOLDEN = (np.sqrt(5.0) - 1) / 2
# The budgets, in FLOP, between which a target loss is looked for; less than the first trains nothing.
LEAST, MOST = 1e6, 1e40


@dataclass(frozen=True)
class Quantile:
    """A value and its interval, empty without draws; an end is infinite where too many draws have no such value."""

    value: float
    ci: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Value and interval, an infinite end as null."""
        return {"value": self.value, "ci": [end if np.isfinite(end) else None for end in self.ci]}


@dataclass(frozen=True)
class Allocation:
    """The best split of `flops` (training and, where asked, inference), and the sizes that do nearly as well."""

    law: str
    flops: Quantile
    params: Quantile
    tokens: Quantile
    tokens_per_param: Quantile
    loss: Quantile
    near_optimal_params: tuple[float, float]
    level: float
    inference_tokens: float
    target_loss: float | None
    outside: Mapping[str, float]
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        return {
            "schema": SCHEMA,
            "law": self.law,
            "flops": self.flops.value,
            "flops_ci": self.flops.to_dict()["ci"],
            "params": self.params.to_dict(),
            "tokens": self.tokens.to_dict(),
            "tokens_per_param": self.tokens_per_param.to_dict(),
            "loss": self.loss.to_dict(),
            "near_optimal": {"within": NEAR, "params": list(self.near_optimal_params)},
            "level": self.level,
            "inference_tokens": self.inference_tokens,
            "target_loss": self.target_loss,
            "outside": dict(self.outside),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def allocate(
    fit: Fit,
    flops: float | None = None,
    *,
    inference_tokens: float = 0.0,
    unique_tokens: float | None = None,
    target_loss: float | None = None,
    level: float = 0.9,
) -> Allocation:
    """The compute-optimal params and tokens for a budget, or for the least budget that reaches `target_loss`.

    Compute is 6*N*D for training plus 2*N*inference_tokens (Sardana et al. 2023, arXiv:2401.00448). Intervals of params
    and tokens hold the parameters' doubt (bootstrap draws); that of the loss also holds the law's error outside its
    data. `unique_tokens` caps D in the optimum and in every draw, since these laws say nothing of repeated data.
    """
    with one_blas_thread():
        return _allocate(fit, flops, inference_tokens, unique_tokens, target_loss, level)


def _allocate(
    fit: Fit,
    flops: float | None,
    inference_tokens: float,
    unique_tokens: float | None,
    target_loss: float | None,
    level: float,
) -> Allocation:
    law = fit.entry
    _check(law, flops, inference_tokens, unique_tokens, target_loss, level)
    # The optimum first, then the bootstrap draws: every quantity below is an array over these.
    draws = np.concatenate([fit.optimum_row(), fit.draws])
    named = {name: draws[:, [i]] for i, name in enumerate(law.names)}
    if target_loss is not None:
        budget = _least_flops(law, named, target_loss, inference_tokens, unique_tokens)
        _check_reached(fit, float(budget[0]), target_loss, unique_tokens)
    else:
        budget = np.full(len(draws), flops, dtype=float)
    found = _splits(law, named, budget, inference_tokens, unique_tokens)
    _check_split(law, bool(found.edge[0]), float(budget[0]))
    x = {"params": found.params[:1], "tokens": found.tokens[:1]}
    low, high = interval(fit, x, level, noise=False)
    outside = fit.outside({name: float(v[0]) for name, v in (x | {"flops": six_nd(x["params"], x["tokens"])}).items()})
    with np.errstate(invalid="ignore"):  # no ratio where both are infinite
        ratio = found.tokens / found.params
    return Allocation(
        law=fit.law,
        flops=_quantile(budget, level),
        params=_quantile(found.params, level),
        tokens=_quantile(found.tokens, level),
        tokens_per_param=_quantile(ratio, level),
        loss=Quantile(float(fit.at(x)[0]), (float(low[0]), float(high[0]))),
        near_optimal_params=_near(law, fit, float(budget[0]), inference_tokens, unique_tokens),
        level=level,
        inference_tokens=inference_tokens,
        target_loss=target_loss,
        outside=outside,
        warnings=(
            *no_draws(fit),
            *too_few_draws(fit, level),
            *_without_split(found),
            *far_outside([outside]),
            *_held(law, unique_tokens if found.held[0] else None),
            *_form(outside),
            *_convention(fit),
        ),
    )


def _quantile(values: Floats, level: float) -> Quantile:
    """The optimum's value (the first) with the draws' interval, empty where there are no draws.

    A draw that never reaches the target is infinite, and lies beyond the upper end. One without a value (nan) may lie
    anywhere: it counts beyond both ends, so that it widens the interval.
    """
    value, spread = float(values[0]), values[1:]
    if len(spread) < 2:
        return Quantile(value, ())
    tail = (1 - level) / 2
    low = float(np.quantile(np.where(np.isnan(spread), -np.inf, spread), tail, method="nearest"))
    high = float(np.quantile(np.where(np.isnan(spread), np.inf, spread), 1 - tail, method="nearest"))
    return Quantile(value, (min(low, value), max(high, value)))


def _without_split(found: _Splits) -> tuple[Notice, ...]:
    """A warning where the loss of some draws has no minimum along the budget."""
    missing, count = int(np.sum(found.edge[1:])), len(found.edge) - 1
    if not missing:
        return ()
    message = (
        f"{missing} of {count} bootstrap draws have no best split of their own: each counts beyond both ends of the "
        "intervals of params and tokens"
    )
    return (Notice("SL406", "warning", message),)


def _held(law: Law, unique_tokens: float | None) -> tuple[Notice, ...]:
    if unique_tokens is None:
        return ()
    message = f"tokens are held at the {unique_tokens:.4g} unique ones: {law.name} does not model repeated data"
    return (Notice("SL403", "warning", message),)


def _form(outside: Mapping[str, float]) -> tuple[Notice, ...]:
    if not outside:
        return ()
    message = (
        "outside the fitted range the intervals of params and tokens still assume that the law's form holds; "
        "compare the split by other laws before you rely on it"
    )
    return (Notice("SL404", "info", message),)


def _check_reached(fit: Fit, budget: float, target_loss: float, unique_tokens: float | None) -> None:
    if np.isnan(budget):
        raise LabError(
            f"{fit.law}: a loss of {target_loss:g} lies above all that this fit gives for a trained model (one of "
            f"{LEAST:g} FLOP or more); ask for a lower loss"
        )
    if np.isinf(budget):
        by = f" from {unique_tokens:.4g} unique tokens" if unique_tokens is not None else ""
        raise LabError(
            f"{fit.law}: no amount of compute reaches a loss of {target_loss:g}{by} by this fit; ask for a higher loss"
        )


def _check_split(law: Law, edge: bool, budget: float) -> None:
    if edge:
        raise LabError(
            f"{law.name}: {budget:.4g} FLOP have no best split into at least one parameter and one token, for the loss "
            "has no minimum along this budget; give another"
        )


def _check(
    law: Law,
    flops: float | None,
    inference_tokens: float,
    unique_tokens: float | None,
    target_loss: float | None,
    level: float,
) -> None:
    if set(law.inputs) != {"params", "tokens"}:
        raise UsageError(f"{law.name} is a law of {', '.join(law.inputs)}; allocate needs one of params and tokens")
    if (flops is None) == (target_loss is None):
        raise UsageError("give --flops or --target-loss, one of the two")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    for name, value in (("--flops", flops), ("--unique-tokens", unique_tokens), ("--target-loss", target_loss)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} {value:g} is not a number above zero")
    # Further out the loss agrees with its floor to the last digit, and no split is better than another.
    if flops is not None and flops > MOST:
        raise UsageError(f"--flops {flops:g} is more than {MOST:g}, where a law can't tell one split from another")
    if not (np.isfinite(inference_tokens) and inference_tokens >= 0):
        raise UsageError(f"--inference-tokens {inference_tokens:g} is below zero")


def _convention(fit: Fit) -> tuple[Notice, ...]:
    """A warning where the table's own compute is not 6*N*D, which the budget here is."""
    if "flops" not in fit.points or not {"params", "tokens"} <= set(fit.points):
        return ()
    share = float(np.median(np.asarray(fit.points["flops"]) / six_nd(fit.points["params"], fit.points["tokens"])))
    if 0.9 < share < 1.1:
        return ()
    return (
        Notice(
            "SL101",
            "warning",
            f"the table's flops are {share:.3g} times 6*params*tokens; the budget here counts 6*params*tokens",
        ),
    )


@dataclass(frozen=True)
class _Splits:
    """Best splits (B,) by params, tokens and loss.

    `held` are those at the cap on tokens. Those at an `edge` have none: their params and tokens are nan.
    """

    params: Floats
    tokens: Floats
    loss: Floats
    held: NDArray[np.bool_]
    edge: NDArray[np.bool_]


def best_split(
    law: Law, named: Mapping[str, Floats], flops: Floats, inference_tokens: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """The params, tokens and loss (B,) of least loss with 6*N*D + 2*N*inference_tokens = flops (B,).

    `named` are the law's parameters, each (B, 1). Raises LabError where the loss falls all the way to one parameter or
    one token, for then the law has no compute-optimal size.
    """
    found = _splits(law, named, flops, inference_tokens)
    worst = int(np.argmax(found.edge))
    _check_split(law, bool(found.edge[worst]), float(flops[worst]))
    return found.params, found.tokens, found.loss


def _splits(
    law: Law,
    named: Mapping[str, Floats],
    flops: Floats,
    inference_tokens: float = 0.0,
    unique_tokens: float | None = None,
) -> _Splits:
    """The best split of each budget (B,): a scan over log N, then a golden-section search, all at once.

    An infinite budget is spent on params without end, and on tokens up to the cap; one that is nan has no split.
    """
    most_tokens = np.inf if unique_tokens is None else unique_tokens
    endless, flops = np.isinf(flops), np.where(np.isfinite(flops), flops, 1.0)
    # From one parameter to the size that leaves one token to train on.
    top = np.log(flops / (6.0 + 2.0 * inference_tokens))

    def tokens_at(log_n: Floats) -> Floats:
        return flops[:, None] / (6.0 * np.exp(log_n)) - inference_tokens / 3.0

    def loss_at(log_n: Floats) -> Floats:
        x = {"params": np.exp(log_n), "tokens": np.maximum(tokens_at(log_n), 1e-300)}
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.asarray(law.predict(x, **named))

    grid = np.linspace(0.0, 1.0, 201)[None, :] * top[:, None]
    at = _lowest_valley(loss_at(grid))
    low = np.take_along_axis(grid, np.maximum(at - 1, 0)[:, None], 1)
    high = np.take_along_axis(grid, np.minimum(at + 1, grid.shape[1] - 1)[:, None], 1)
    log_n = golden_section(loss_at, low, high)
    # The loss has one minimum along a budget: where that lies beyond the cap, the best that is left lies at the cap.
    held = tokens_at(log_n)[:, 0] > most_tokens
    at_cap = np.log(flops / (6.0 * most_tokens + 2.0 * inference_tokens)) if unique_tokens is not None else top
    log_n = np.where(held, at_cap, log_n[:, 0])[:, None]
    edge = ~endless & ((~held & ((at == 0) | (at == grid.shape[1] - 1))) | (top <= 0))
    params, tokens = np.exp(log_n[:, 0]), np.where(held, most_tokens, tokens_at(log_n)[:, 0])
    return _Splits(
        params=np.where(edge, np.nan, np.where(endless, np.inf, params)),
        tokens=np.where(edge, np.nan, np.where(endless, most_tokens, tokens)),
        loss=loss_at(log_n)[:, 0],
        held=held,
        edge=edge,
    )


def _lowest_valley(loss: Floats) -> NDArray[np.intp]:
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


def _least_flops(
    law: Law,
    named: Mapping[str, Floats],
    target: float,
    inference_tokens: float,
    unique_tokens: float | None = None,
) -> Floats:
    """The least compute (B,) whose best split reaches the target; inf where MOST does not, nan where LEAST does."""
    count = len(next(iter(named.values())))

    def excess(log_c: Floats, draw: NDArray[np.int64]) -> Floats:
        some = {name: values[draw] for name, values in named.items()}
        return _splits(law, some, np.exp(log_c), inference_tokens, unique_tokens).loss - target

    every = np.arange(count)
    too_easy = excess(np.full(count, np.log(LEAST)), every) <= 0
    reachable = excess(np.full(count, np.log(MOST)), every) <= 0
    budget = np.where(too_easy, np.nan, np.inf)
    between = np.flatnonzero(reachable & ~too_easy)
    if between.size:
        ends = tuple(np.full(between.size, np.log(end)) for end in (LEAST, MOST))
        budget[between] = np.exp(find_root(excess, ends, args=(between,), tolerances={"xatol": 1e-12}).x)
    return budget


def _near(
    law: Law, fit: Fit, flops: float, inference_tokens: float, unique_tokens: float | None
) -> tuple[float, float]:
    """The smallest and largest size whose loss is within NEAR of the best for the budget, with no token repeated."""
    named = {name: np.array([[value]]) for name, value in fit.values.items()}
    best = _splits(law, named, np.array([flops]), inference_tokens, unique_tokens)
    log_n = np.log(best.params[0]) + np.linspace(-8, 8, 16001)
    tokens = flops / (6 * np.exp(log_n)) - inference_tokens / 3
    # The size that spends the cap exactly is allowed, whatever its last digit.
    keep = (tokens > 0) & (tokens <= (1 + 1e-9) * (np.inf if unique_tokens is None else unique_tokens))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = np.asarray(law.predict({"params": np.exp(log_n[keep]), "tokens": tokens[keep]}, **named))[0]
    inside = log_n[keep][found <= best.loss[0] * (1 + NEAR)]
    return float(np.exp(inside[0])), float(np.exp(inside[-1]))
