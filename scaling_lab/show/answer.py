"""The question that a report answers, and the answer in sentences with its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..engine.uncertainty import extent
from ..quantities import format_quantity
from . import members, words

if TYPE_CHECKING:
    from ..engine.backtest import Backtest
    from ..engine.predict import Predictions
    from ..engine.result import Fit

# More predictions than this are summed up in the answer; the table has them all.
SPOKEN = 3
# Names under which laws carry the loss that is left when everything else has grown without end.
FLOORS = ("E", "gamma", "L_inf")


class Between(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float: ...
    @property
    def ci(self) -> Sequence[float] | None: ...


class Allocation(Protocol):
    """The compute-optimal size, data and loss at a compute budget; may carry `tokens_per_param` and `level` too."""

    @property
    def flops(self) -> float | Between: ...
    @property
    def params(self) -> Between: ...
    @property
    def tokens(self) -> Between: ...
    @property
    def loss(self) -> Between: ...


def question(fits: Sequence[Fit], predictions: Predictions | None, allocation: Allocation | None) -> str:
    fit = fits[0]
    if predictions is not None and len(predictions.value) == 1:
        return f"What {words.clean(fit.target)} will {_place(point_of(predictions, 0), ' and ')} reach?"
    if predictions is not None:
        return f"What {words.clean(fit.target)} will these {len(predictions.value):,} runs reach?"
    if allocation is not None:
        return f"How should {words.amount('flops', value_of(allocation.flops))} be split between model size and data?"
    if len(fits) > 1:
        return f"Which of {len(fits)} laws describes {words.table_name(fit)} best?"
    return f"What does {fit.law} say of {words.table_name(fit)}?"


def value_of(quantity: float | Between) -> float:
    """The number itself, of a bare number or of a value with an interval."""
    return float(getattr(quantity, "value", quantity))  # type: ignore[arg-type]


def point_of(predictions: Predictions, i: int) -> dict[str, float]:
    return {name: float(values[i]) for name, values in predictions.inputs.items()}


def _place(point: Mapping[str, float], glue: str = " and ") -> str:
    """A point as people say it, with the compute that follows from it."""
    if set(point) == {"params", "tokens"}:
        size, data = words.amount("params", point["params"]), words.amount("tokens", point["tokens"])
        return f"{size}{glue if glue != ' and ' else ' trained on '}{data}"
    return words.amounts(point)


def answer(
    fits: Sequence[Fit],
    backtests: Sequence[Backtest],
    predictions: Predictions | None,
    measured: Mapping[str, Any] | None,
    allocation: Allocation | None,
) -> list[str]:
    """Sentences, the first of which is the answer proper."""
    fit = fits[0]
    said: list[str] = []
    if predictions is not None:
        said += _predicted(fit, predictions, measured)
    if allocation is not None:
        said.append(_allocated(fit, allocation))
    if not said:
        said.append(_chosen(fits, backtests) if len(fits) > 1 else _fitted(fit))
    elif len(fits) == 1:
        said.append(_fitted(fit))
    scored = [(s, found) for found in backtests for s in found.laws if s.scores(fit) and same_table(s.fit, fit)]
    if len(fits) == 1 or predictions is not None:
        said += [words.held_out(s, str(found.split["by"])) for s, found in scored]
    if not backtests:
        said.append("No backtest was made, so this page can't say how well the law predicts larger runs of this table.")
    return [tight(sentence) for sentence in said]


def tight(text: str) -> str:
    """The text with figures tied to their percent sign, so that no line ends between them."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def _predicted(fit: Fit, found: Predictions, measured: Mapping[str, Any] | None) -> list[str]:
    if len(found.value) > SPOKEN:
        low, high = float(np.min(found.value)), float(np.max(found.value))
        far = sum(bool(f) for f in found.outside)
        return [
            f"{fit.law} predicts {words.clean(found.target)} {words.span(low, high)} over {len(found.value):,} points, "
            f"{far:,} of them outside the fitted range; the table below has each with its interval."
        ]
    said = []
    for i in range(len(found.value)):
        place = _place(point_of(found, i))
        said.append(f"{fit.law} predicts {words.prediction(found, i)} for {place}.")
        compute = extent({k: np.array([v]) for k, v in point_of(found, i).items()}).get("flops")
        cost = f"At {words.amount('flops', float(compute[0]))} the" if compute is not None else "The"
        said.append(f"{cost} run lies {words.outside(found.outside[i])}.")
    at = matching(found, measured)
    if measured is not None and at is not None:
        said.append(_compared(found, at, measured))
    return said


def complete(found: Predictions | None, measured: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The measured run with the inputs that the only prediction has and it leaves unsaid."""
    if found is None or measured is None or len(found.value) != 1:
        return measured
    return {**point_of(found, 0), **measured}


def matching(found: Predictions | None, measured: Mapping[str, Any] | None) -> int | None:
    """Which prediction is of the measured run, or None."""
    if found is None or measured is None or found.target not in measured:
        return None
    for i in range(len(found.value)):
        point = point_of(found, i)
        if all(name in measured and math.isclose(float(measured[name]), v, rel_tol=1e-6) for name, v in point.items()):
            return i
    return None


def _compared(found: Predictions, i: int, measured: Mapping[str, Any]) -> str:
    value, low, high = (float(v[i]) for v in (found.value, found.low, found.high))
    seen = float(measured[found.target])
    name = f"Run {words.clean(measured['run_id'])}" if "run_id" in measured else "The run itself"
    way = "high" if value > seen else "low"
    where = "inside" if low <= seen <= high else "outside"
    return (
        f"{name}, which the fit did not see, measured {words.fixed(seen, low, high)}: {where} the interval, the "
        f"prediction {words.percent(abs(value / seen - 1))} too {way}."
    )


def _allocated(fit: Fit, found: Allocation) -> str:
    def one(name: str, quantity: Between) -> str:
        return f"{words.amount(name, quantity.value)}{between(quantity, format_quantity)}"

    low, high = found.loss.ci or (found.loss.value, found.loss.value)
    loss = f"{words.clean(fit.target)} {words.fixed(found.loss.value, low, high)} ({words.span(low, high)})"
    spent = {getattr(found, "size", "params"): found.params, getattr(found, "data", "tokens"): found.tokens}
    spent |= getattr(found, "further", {})
    *first, last = (one(name, quantity) for name, quantity in spent.items())
    return (
        f"{fit.law}{held(found)} spends {words.amount('flops', value_of(found.flops))} best on {', '.join(first)} and "
        f"{last}, for {loss}; intervals at {words.percent(getattr(found, 'level', 0.9))}."
    )


def held(found: Allocation) -> str:
    """What a split was asked to hold, as an addition to a heading; empty where it was free."""
    given: Mapping[str, float] = getattr(found, "given", {})
    return "".join(f", with {words.amount(name, value)}" for name, value in given.items())


def between(quantity: Between, write: Callable[[float], str]) -> str:
    if not quantity.ci:
        return ""
    low, high = (write(end) if math.isfinite(end) else "no bound" for end in quantity.ci)
    return f" ({low} to {high})"


def _fitted(fit: Fit) -> str:
    rows = words.plural(int(fit.rows["used"]), "row")
    text = (
        f"{fit.law} reproduces the {rows} of {words.table_name(fit)} it was fitted to "
        f"with a mean error of {words.percent(fit.metrics.mape)}"
    )
    floor = next((n for n in FLOORS if n in fit.params and fit.entry.param(n).unit == words.unit_of(fit.target)), None)
    if members.blended(fit):
        return f"{text}. {members.summary(fit)}"
    if floor is None:
        return f"{text}."
    e = fit.params[floor]
    low, high = e.ci or (e.value, e.value)
    level = words.percent(fit.bootstrap.get("level", 0.95))
    closed = math.isfinite(low) and math.isfinite(high)
    span = words.span(low, high) if closed else words.ends((low, high))
    doubt = "held" if e.fixed else f"{level} interval {span}" if e.ci else "no interval"
    value = words.fixed(e.value, low, high) if closed else words.number(e.value, 4)
    return f"{text}; {fit.entry.param(floor).meaning} ({floor}): {value} {e.unit} ({doubt})."


def _chosen(fits: Sequence[Fit], backtests: Sequence[Backtest]) -> str:
    if not backtests:
        best = min(fits, key=lambda f: f.metrics.mape)
        return (
            f"{best.law} lies closest to the rows it was fitted to ({words.percent(best.metrics.mape)} on average), "
            "which does not say that it predicts best: only a backtest does."
        )
    found = backtests[0]
    first, rest = found.laws[0], found.laws[1:]
    others = ", ".join(f"{words.asked(s)} {words.percent(s.metrics.mape)}" for s in rest)
    return (
        f"{words.asked(first)} predicted the {first.test:,} held-out rows best: {words.percent(first.metrics.mape)} "
        f"off on average{f' ({others})' if others else ''}."
    )


def same_table(one: Fit, other: Fit) -> bool:
    return set(one.made_by.get("inputs", {}).values()) == set(other.made_by.get("inputs", {}).values())
