"""How to split a compute budget between model size and data, by a fitted law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..engine.predict import interval, no_draws
from ..engine.result import Fit, Notice
from ..errors import LabError, UsageError
from ..laws import Law

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/allocate/1"
# A size whose loss is within this share of the optimum's is as good as optimal: runs differ by about that much.
NEAR = 0.005
GOLDEN = (np.sqrt(5.0) - 1) / 2


@dataclass(frozen=True)
class Quantile:
    """A value and its interval; an end is infinite where some draws never reach the target."""

    value: float
    ci: tuple[float, float]

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
    data. `unique_tokens` caps D, since these laws say nothing of repeated data.
    """
    law = fit.entry
    _check(law, flops, inference_tokens, unique_tokens, target_loss, level)
    # The optimum first, then the bootstrap draws: every quantity below is an array over these.
    draws = np.concatenate([fit.optimum_row(), fit.draws])
    named = {name: draws[:, [i]] for i, name in enumerate(law.names)}
    if target_loss is not None:
        budget = _least_flops(law, named, target_loss, inference_tokens)
    else:
        budget = np.full(len(draws), flops, dtype=float)
    reach = np.isfinite(budget)
    if not reach[0]:
        raise LabError(
            f"{fit.law}: no amount of compute reaches a loss of {target_loss:g} by this fit; ask for a higher loss"
        )
    budget = budget[reach]
    params, tokens, _ = best_split(law, {n: v[reach] for n, v in named.items()}, budget, inference_tokens)
    held = unique_tokens if unique_tokens is not None and tokens[0] > unique_tokens else None
    if held is not None:
        tokens = np.minimum(tokens, held)
        params = budget / (6.0 * tokens + 2.0 * inference_tokens)
    x = {"params": params[:1], "tokens": tokens[:1]}
    low, high = interval(fit, x, level, noise=False)
    outside = fit.outside({**{k: v[0] for k, v in x.items()}, "flops": six_nd(params[0], tokens[0])})
    missing = int(np.sum(~reach))
    return Allocation(
        law=fit.law,
        flops=_quantile(budget, missing, level),
        params=_quantile(params, missing, level),
        tokens=_quantile(tokens, missing, level),
        tokens_per_param=_quantile(tokens / params, missing, level),
        loss=Quantile(float(fit.at(x)[0]), (float(low[0]), float(high[0]))),
        near_optimal_params=_near(law, fit, float(budget[0]), inference_tokens),
        level=level,
        inference_tokens=inference_tokens,
        target_loss=target_loss,
        outside=outside,
        warnings=_notices(fit, outside, held),
    )


def _quantile(values: Floats, missing: int, level: float) -> Quantile:
    """The optimum's value (the first) with the draws' interval; draws that never reach the target count as infinite."""
    spread = np.concatenate([values[1:], np.full(missing, np.inf)])
    if len(spread) < 2:
        return Quantile(float(values[0]), (float(values[0]), float(values[0])))
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Quantile(float(values[0]), (min(float(low), float(values[0])), max(float(high), float(values[0]))))


def _notices(fit: Fit, outside: Mapping[str, float], held: float | None) -> tuple[Notice, ...]:
    found = [*no_draws(fit)]
    if held is not None:
        found.append(
            Notice(
                "SL403",
                "warning",
                f"tokens are held at the {held:.4g} unique ones: {fit.law} does not model repeated data",
            )
        )
    if outside:
        found.append(
            Notice(
                "SL404",
                "info",
                "outside the fitted range the intervals of params and tokens still assume that the law's form holds; "
                "compare the split by other laws before you rely on it",
            )
        )
    return (*found, *_convention(fit))


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


def best_split(
    law: Law, named: Mapping[str, Floats], flops: Floats, inference_tokens: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """The params, tokens and loss (B,) of least loss with 6*N*D + 2*N*inference_tokens = flops (B,).

    `named` are the law's parameters, each (B, 1). A scan over log N, then a golden-section search, all at once. Raises
    LabError where the loss falls all the way to an edge, for then the law has no compute-optimal size.
    """
    # From one parameter to the size that leaves one token to train on.
    top = np.log(flops / (6.0 + 2.0 * inference_tokens))

    def tokens_at(log_n: Floats) -> Floats:
        return flops[:, None] / (6.0 * np.exp(log_n)) - inference_tokens / 3.0

    def loss_at(log_n: Floats) -> Floats:
        x = {"params": np.exp(log_n), "tokens": np.maximum(tokens_at(log_n), 1e-300)}
        with np.errstate(over="ignore"):
            return np.asarray(law.predict(x, **named))

    grid = np.linspace(0.0, 1.0, 201)[None, :] * top[:, None]
    at = np.argmin(loss_at(grid), axis=1)
    edge = (at == 0) | (at == grid.shape[1] - 1)
    if edge[0]:
        raise LabError(f"{law.name}: the loss has no minimum along this budget, so no split of it is best")
    low = np.take_along_axis(grid, np.maximum(at - 1, 0)[:, None], 1)
    high = np.take_along_axis(grid, np.minimum(at + 1, grid.shape[1] - 1)[:, None], 1)
    log_n = golden_section(loss_at, low, high)
    return np.exp(log_n[:, 0]), tokens_at(log_n)[:, 0], loss_at(log_n)[:, 0]


def golden_section(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """The minimum of a unimodal function between low and high, all of one shape, elementwise.

    Eighty steps shrink the bracket 1e16-fold, but values near a minimum agree to rounding from a distance of 1e-8 of
    its scale on: that is the precision of the answer.
    """
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    f_left, f_right = function(left), function(right)
    for _ in range(80):
        shrink = f_left <= f_right
        low, high = np.where(shrink, low, left), np.where(shrink, right, high)
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        f_left, f_right = function(left), function(right)
    return (low + high) / 2


def _least_flops(law: Law, named: Mapping[str, Floats], target: float, inference_tokens: float) -> Floats:
    """The least compute (B,) whose best split reaches the target loss; infinite where 1e40 FLOP does not."""
    count = len(next(iter(named.values())))
    low, high = np.full(count, np.log(1e6)), np.full(count, np.log(1e40))
    reachable = best_split(law, named, np.exp(high), inference_tokens)[2] <= target
    for _ in range(50):
        middle = (low + high) / 2
        enough = best_split(law, named, np.exp(middle), inference_tokens)[2] <= target
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reachable, np.exp(high), np.inf)


def _near(law: Law, fit: Fit, flops: float, inference_tokens: float) -> tuple[float, float]:
    """The smallest and largest size whose loss is within NEAR of the best for the budget."""
    named = {name: np.array([[value]]) for name, value in fit.values.items()}
    params, _, loss = best_split(law, named, np.array([flops]), inference_tokens)
    log_n = np.log(params[0]) + np.linspace(-8, 8, 16001)
    tokens = flops / (6 * np.exp(log_n)) - inference_tokens / 3
    keep = tokens > 0
    found = np.asarray(law.predict({"params": np.exp(log_n[keep]), "tokens": tokens[keep]}, **named))[0]
    inside = log_n[keep][found <= loss[0] * (1 + NEAR)]
    return float(np.exp(inside[0])), float(np.exp(inside[-1]))
