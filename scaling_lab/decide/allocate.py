"""How to split a compute budget over the inputs of a fitted law: size and data, and what else it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from ..accounting import six_nd
from ..domains import allowed
from ..engine.predict import far_outside, interval, no_draws
from ..engine.repeats import repeats
from ..engine.result import Fit, Notice, too_few_draws
from ..engine.solve import one_blas_thread
from ..engine.uncertainty import extent
from ..errors import LabError, UsageError
from ..laws import Law, broken_rules
from ..quantities import DOMAINS, format_quantity, quantity
from .split import LEAST, MOST, Plan, Splits, golden_section, least_flops, plan_of, splits

__all__ = ["MOST", "Allocation", "Quantile", "allocate", "best_split", "golden_section", "quantile_of"]

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/allocate/1"
# A size whose loss is within this share of the optimum's is as good as optimal: runs differ by about that much.
NEAR = 0.005
# A law that explains no more of the target than chance would in this share of tables has not been shown to hold.
CHANCE = 0.05
# Rules of thumb: tokens for each parameter, the rule, and where it was read.
RULES = (
    (5.0, "one epoch, before Chinchilla", "One Epoch Is All You Need, Komatsuzaki 2019, arXiv:1906.06669"),
    (20.0, "Chinchilla", "Hoffmann et al. 2022, arXiv:2203.15556, Table 3: 20 to 22 tokens for each parameter"),
)


@dataclass(frozen=True)
class Quantile:
    """A value and its interval, empty without draws; an end is infinite where too many draws have no such value."""

    value: float
    ci: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Value and interval, an infinite end as null."""
        return {"value": self.value, "ci": [end if np.isfinite(end) else None for end in self.ci]}


@dataclass(frozen=True)
class Reference:
    """A split of the same budget by a rule of thumb, and what the fitted law says of it."""

    name: str
    source: str
    params: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class Allocation:
    """The best split of `flops` (training and, where asked, inference), and the sizes that do nearly as well.

    `params` and `tokens` are the law's size and its data, named by `size` and `data`; `further` are its other inputs
    that were optimised, `given` those that were held; `epochs` the passes over the unique tokens, for a law that
    models repeated ones. `costs` says what a point was taken to cost.
    """

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
    size: str = "params"
    data: str = "tokens"
    target: str = "loss"
    costs: str = ""
    further: Mapping[str, Quantile] = field(default_factory=dict)
    given: Mapping[str, float] = field(default_factory=dict)
    epochs: Quantile | None = None
    references: tuple[Reference, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        found = {
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
            "size": self.size,
            "data": self.data,
            "target": self.target,
            "costs": self.costs,
            "further": {name: value.to_dict() for name, value in self.further.items()},
            "given": dict(self.given),
            "references": [vars(reference) for reference in self.references],
            "warnings": [vars(notice) for notice in self.warnings],
        }
        return found | ({"epochs": self.epochs.to_dict()} if self.epochs else {})


def allocate(
    fit: Fit,
    flops: float | None = None,
    *,
    inference_tokens: float = 0.0,
    unique_tokens: float | None = None,
    target_loss: float | None = None,
    given: Mapping[str, float] | None = None,
    level: float = 0.9,
) -> Allocation:
    """The best split of a budget over a law's inputs, or of the least budget that reaches `target_loss`.

    Training costs what the law's `budget` says, 6*N*D for most, and serving 2*N*inference_tokens besides (Sardana et
    al. 2023, arXiv:2401.00448). `unique_tokens` is an input of a law that models repeated data; of any other it caps D
    in the optimum and in every draw. Further inputs are held at what is `given`; the others that a law leaves open are
    optimised within the fitted range. Intervals of what is split hold the parameters' doubt (bootstrap draws); that of
    the loss also holds the law's error outside its data.
    """
    with one_blas_thread():
        return _allocate(fit, flops, inference_tokens, unique_tokens, target_loss, given or {}, level)


def plan_for(
    fit: Fit, given: Mapping[str, float], inference_tokens: float = 0.0, unique_tokens: float | None = None
) -> Plan:
    """How a fit's law is asked to spend; raises UsageError where it can't be, or a value given is none of its kind."""
    for name, value in given.items():
        domain = quantity(name).domain
        if not allowed(domain, np.array([value])).all():
            raise UsageError(f"--given {name}={value:g} is not a number {DOMAINS[domain]}")
    members = tuple(member.law for member in fit.blend.members) if fit.members else ()
    return plan_of(fit.entry, given, fit.inputs, inference_tokens, unique_tokens, members)


def _allocate(
    fit: Fit,
    flops: float | None,
    inference_tokens: float,
    unique_tokens: float | None,
    target_loss: float | None,
    given: Mapping[str, float],
    level: float,
) -> Allocation:
    law = fit.entry
    plan = plan_for(fit, given, inference_tokens, unique_tokens)
    _check(fit, flops, inference_tokens, unique_tokens, target_loss, level)
    check_spread(fit, "split of a budget")
    # The optimum first, then the bootstrap draws: every quantity below is an array over these.
    draws = np.concatenate([fit.optimum_row(), fit.draws])
    named = {name: draws[:, [i]] for i, name in enumerate(law.names)}
    if target_loss is not None:
        budget = least_flops(plan, named, target_loss)
        _check_reached(fit, float(budget[0]), target_loss, unique_tokens)
    else:
        budget = np.full(len(draws), flops, dtype=float)
    found = splits(plan, named, budget)
    check_split(law, bool(found.edge[0]), float(budget[0]))
    x = plan.inputs(found.params[:1], found.tokens[:1], {name: v[:1] for name, v in found.further.items()})
    for why in broken_rules(law, x).values():
        raise LabError(f"{law.name}: {why} at the best split; give other --given values")
    low, high = interval(fit, x, level, noise=False)
    outside = fit.outside({name: float(v[0]) for name, v in extent(x).items()})
    with np.errstate(invalid="ignore"):  # no ratio where both are infinite
        ratio = found.tokens / found.params
    unique = plan.given.get(plan.budget.unique) if plan.budget.unique else None
    return Allocation(
        law=fit.law,
        flops=quantile_of(budget, level),
        params=quantile_of(found.params, level),
        tokens=quantile_of(found.tokens, level),
        tokens_per_param=quantile_of(ratio, level),
        loss=Quantile(float(fit.at(x)[0]), (float(low[0]), float(high[0]))),
        near_optimal_params=_near(plan, fit, float(budget[0]), found),
        level=level,
        inference_tokens=inference_tokens,
        target_loss=target_loss,
        outside=outside,
        warnings=(
            *no_draws(fit),
            *too_few_draws(fit, level),
            *_explains_nothing(fit),
            *_without_split(found),
            *far_outside([outside]),
            *held_tokens(law, unique_tokens if found.held[0] else None),
            *_at_ends(fit, found),
            *_of_the_law(fit, plan, x),
            *repeats(x),
            *_form(outside),
            *_convention(fit),
        ),
        size=plan.budget.size,
        data=plan.budget.data,
        target=fit.target,
        costs=plan.budget.says,
        further={name: quantile_of(_open_ended(plan, found, name), level) for name in found.further},
        given=plan.given,
        epochs=None if unique is None else quantile_of(found.tokens / unique, level),
        references=_references(fit, plan, float(budget[0])),
    )


def _open_ended(plan: Plan, found: Splits, name: str) -> Floats:
    """A further input's best values, where a draw at an end of the range says no more than that it lies there or out.

    The first, the fit's own, stays: it is the best that was looked for.
    """
    values, (low, high) = found.further[name], plan.open[name]
    beyond = np.where(values > (low + high) / 2, np.inf, -np.inf)
    beyond[0] = values[0]
    return np.where(found.ended[name], beyond, values)


def quantile_of(values: Floats, level: float) -> Quantile:
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


def _without_split(found: Splits) -> tuple[Notice, ...]:
    """A warning where the loss of some draws has no minimum along the budget."""
    missing, count = int(np.sum(found.edge[1:])), len(found.edge) - 1
    if not missing:
        return ()
    message = (
        f"{missing} of {count} bootstrap draws have no best split of their own: each counts beyond both ends of the "
        "intervals of params and tokens"
    )
    return (Notice("SL406", "warning", message),)


def held_tokens(law: Law, unique_tokens: float | None) -> tuple[Notice, ...]:
    """A warning where a law that does not model repeated data is held at the unique tokens; none for None."""
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


def check_split(law: Law, edge: bool, budget: float) -> None:
    """Raises LabError where the best split of a budget lies at an edge, and is none."""
    if edge:
        raise LabError(
            f"{law.name}: {budget:.4g} FLOP have no best split into at least one parameter and one token, for the loss "
            "has no minimum along this budget; give another"
        )


def _check(
    fit: Fit,
    flops: float | None,
    inference_tokens: float,
    unique_tokens: float | None,
    target_loss: float | None,
    level: float,
) -> None:
    if (flops is None) == (target_loss is None):
        raise UsageError("give --flops or --target-loss, one of the two")
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")
    domain = quantity(fit.target).domain
    if target_loss is not None and not allowed(domain, np.array([target_loss])).all():
        raise UsageError(f"--target-loss {target_loss:g} is not a number {DOMAINS[domain]}")
    for name, value in (("--flops", flops), ("--unique-tokens", unique_tokens)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} {value:g} is not a number above zero")
    # Further out the loss agrees with its floor to the last digit, and no split is better than another.
    if flops is not None and flops > MOST:
        raise UsageError(f"--flops {flops:g} is more than {MOST:g}, where a law can't tell one split from another")
    if not (np.isfinite(inference_tokens) and inference_tokens >= 0):
        raise UsageError(f"--inference-tokens {inference_tokens:g} is below zero")


def check_spread(fit: Fit, choice: str) -> None:
    """Raises LabError where every run has one and the same target: then nothing tells one choice from another."""
    target = np.asarray(fit.points[fit.target], dtype=float)
    if len(target) > 1 and (target == target[0]).all():
        raise LabError(
            f"{fit.law}: all {len(target)} rows of this fit have one {fit.target}, {target[0]:g}: nothing in them "
            f"tells one {choice} from another; add runs that differ"
        )


def _explains_nothing(fit: Fit) -> tuple[Notice, ...]:
    """A warning where the law explains no more of the target than as many free parameters would by chance (F test)."""
    scale = fit.objective.scale
    inputs = {name: np.asarray(fit.points[name], dtype=float) for name in fit.entry.inputs}
    with np.errstate(all="ignore"):
        target = np.asarray(scale(np.asarray(fit.points[fit.target], dtype=float)))
        rest = float(np.sum((target - np.asarray(scale(fit.at(inputs)))) ** 2))
        total = float(np.sum((target - target.mean()) ** 2))
    free = sum(not p.fixed for p in fit.params.values())
    if fit.members:  # of which a blend has more than any law in it
        free = max(len(member.law.names) for member in fit.blend.members)
    spare = len(target) - free
    if free < 2 or spare < 1 or rest <= 1e-20 * total:  # too few rows to say, or nothing unexplained
        return ()
    chance = float(fdtrc(free - 1, spare, max(total / rest - 1, 0.0) * spare / (free - 1)))
    if not chance >= CHANCE:
        return ()
    message = (
        f"{fit.law} explains no more of the {fit.target} of these {len(target)} rows than {free} parameters would by "
        f"chance (F test, p = {chance:.2g}): the split rests on nothing that was measured"
    )
    return (Notice("SL440", "warning", message),)


def _at_ends(fit: Fit, found: Splits) -> tuple[Notice, ...]:
    """A warning for each further input whose best value is an end of the range that was fitted."""
    notices = []
    for name, ended in found.ended.items():
        if ended[0]:
            low, high = (format_quantity(fit.inputs[name][end]) for end in ("min", "max"))
            message = (
                f"the best {name}, {format_quantity(float(found.further[name][0]))}, is an end of the fitted range "
                f"({low} to {high}): a better one may lie beyond; hold it with --given {name}=NUMBER"
            )
            notices.append(Notice("SL441", "warning", message))
    return tuple(notices)


def _of_the_law(fit: Fit, plan: Plan, x: Mapping[str, Floats]) -> tuple[Notice, ...]:
    """What the law says of the place itself, and of how its inputs are paid for."""
    law = fit.entry
    cautions = law.cautions(x, fit.values) if law.cautions is not None else ()
    notices = [Notice("SL408", "warning", message) for message in cautions]
    if plan.budget.note:
        notices.append(Notice("SL442", "info", f"compute is counted as {plan.budget.says}: {plan.budget.note}"))
    return tuple(notices)


def _references(fit: Fit, plan: Plan, flops: float) -> tuple[Reference, ...]:
    """The splits of rules of thumb, where compute is a plain 6*N*D and all of it is spent on training."""
    if plan.budget.further or plan.budget.size != "params" or plan.inference_tokens or not np.isfinite(flops):
        return ()
    found = []
    for ratio, name, source in RULES:
        size = np.array([np.sqrt(flops / (6 * ratio))])
        loss = float(fit.at(plan.inputs(size, ratio * size, {}))[0])
        found.append(
            Reference(f"{ratio:g} tokens per parameter ({name})", source, float(size[0]), float(ratio * size[0]), loss)
        )
    return tuple(found)


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

    `named` are the law's parameters, each (B, 1). Raises LabError where the loss falls all the way to one parameter or
    one token, for then the law has no compute-optimal size.
    """
    found = splits(plan_of(law, {}, {}, inference_tokens), named, flops)
    worst = int(np.argmax(found.edge))
    check_split(law, bool(found.edge[worst]), float(flops[worst]))
    return found.params, found.tokens, found.loss


def _near(plan: Plan, fit: Fit, flops: float, found: Splits) -> tuple[float, float]:
    """The smallest and largest size whose loss is within NEAR of the best for the budget, with no token repeated.

    Further inputs stay where they are best. A cap on tokens holds for these sizes too.
    """
    named = {name: np.array([[value]]) for name, value in fit.values.items()}
    further = {name: values[:1, None] for name, values in found.further.items()}
    log_n = np.log(found.params[0]) + np.linspace(-8, 8, 16001)[None, :]
    tokens = plan.tokens_for(np.array([[flops]]), np.exp(log_n), further)
    # The size that spends the cap exactly is allowed, whatever its last digit.
    keep = (tokens > 0) & (tokens <= (1 + 1e-9) * (np.inf if plan.unique_tokens is None else plan.unique_tokens))
    log_n, tokens = log_n[keep][None, :], tokens[keep][None, :]
    loss = plan.loss(named, np.exp(log_n), tokens, further)[0]
    inside = log_n[0][loss <= found.loss[0] + NEAR * abs(found.loss[0])]
    return float(np.exp(inside[0])), float(np.exp(inside[-1]))
