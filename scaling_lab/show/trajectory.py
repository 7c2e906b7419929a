"""Kaplan's trajectories and their constants as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .critical import span
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.allocate import Quantile
    from ..decide.steps import TrajectoryFit
    from ..decide.trajectory import EarlyStop, Frontier, Trajectory

_MEANS = {
    "N_c": "scale of the finite-model term",
    "alpha_N": "exponent in model size",
    "S_c": "scale of the unfinished-training term",
    "alpha_S": "exponent in least steps",
    "B_star": "critical batch at a loss of 1",
    "alpha_B": "inverse of the power of the loss in it",
}


def constants(found: TrajectoryFit) -> str:
    """The six constants by both methods, how the runs ended, and what was used."""
    level = f"{words.percent(found.level)} interval"
    other = "recipe" if found.method == "joint" else "joint fit"
    body = []
    for name, estimate in found.params.items():
        beside = words.number(found.other.get(name), 4)
        ends = "-" if estimate.ci is None else f"{words.number(estimate.ci[0], 4)} to {words.number(estimate.ci[1], 4)}"
        body.append((name, words.number(estimate.value, 4), ends, beside, estimate.unit, _MEANS[name]))
    runs = [
        (
            f.run,
            format_quantity(f.params),
            f"{f.loss:.4g}",
            words.percent(f.fall),
            f"{f.left:.2g}",
            "x" if f.used else "",
        )
        for f in found.finals
    ]
    head = "L = (N_c / N)**alpha_N + (S_c / S_min)**alpha_S, S_min = S / (1 + B_star * L**(-1 / alpha_B) / B)"
    heads = ("run", "N", "last loss", "last doubling", "still to come", "converged, best of its size")
    tail = f"error on these curves: {words.percent(found.error)}, every run counting once; {words.rows(found.rows)}"
    shown = table(("constant", "value", level, other, "unit", "meaning"), body, "lrlrlp")
    return f"{prose(head)}\n\n{shown}\n\n{table(heads, runs, 'lrrrrl')}\n\n{prose(tail)}"


def trajectory(found: Trajectory) -> str:
    """The least loss, the moments of the training, what the target takes, and the frontier."""
    head = (
        f"{format_quantity(found.params)} parameters (no embeddings) at {format_quantity(found.batch_tokens)} tokens a "
        f"step; constants: {found.source}"
    )
    level = f"{words.percent(found.level)} interval"
    ends = "" if not found.floor.ci else f" ({level} {words.span(*_ends(found.floor))})"
    floor = f"its loss never falls below {words.fixed(found.floor.value, *_ends(found.floor))}{ends}"
    heads = ("steps", "tokens", "FLOP", "loss", level, "critical batch", "min. steps", "min. FLOP")
    body = [
        (
            format_quantity(m.step),
            format_quantity(m.tokens),
            words.exponent(m.flops),
            words.fixed(m.loss.value, *_ends(m.loss)),
            words.span(*_ends(m.loss)) if m.loss.ci else "-",
            format_quantity(m.critical),
            format_quantity(m.min_steps),
            words.exponent(m.min_flops),
        )
        for m in found.moments
    ]
    parts = [prose(head, floor), table(heads, body, "rrrrlrrr")]
    return "\n\n".join([*parts, *_goal(found, level), *_early(found.early_stop), prose(*_frontier(found.frontier))])


def _ends(found: Quantile) -> tuple[float, float]:
    low, high = found.ci or (found.value * (1 - 5e-4), found.value * (1 + 5e-4))
    return float(low), float(high)


def _goal(found: Trajectory, level: str) -> list[str]:
    goal = found.goal
    if goal is None:
        return []
    rows = [
        ("critical batch there", goal.critical, "tokens"),
        ("steps at an endless batch", goal.min_steps, ""),
        ("tokens at a tiny batch", goal.min_tokens, ""),
        ("compute at a tiny batch", goal.min_flops, "FLOP"),
        ("steps at this batch", goal.steps, ""),
        ("tokens at this batch", goal.tokens, ""),
        ("compute at this batch", goal.flops, "FLOP"),
    ]
    body = [
        (what, words.exponent(q.value) if unit == "FLOP" else format_quantity(q.value), unit, _span(q, unit))
        for what, q, unit in rows
    ]
    time, compute = goal.steps.value / goal.min_steps.value, goal.tokens.value / goal.min_tokens.value
    trade = f"this batch takes {time:.3g} times the least steps and {compute:.3g} times the least tokens"
    return [f"{table((f'for a loss of {goal.loss:g}', 'value', 'unit', level), body, 'lrll')}\n\n{prose(trade)}"]


def _early(stop: EarlyStop | None) -> list[str]:
    if stop is None:
        return []
    return [
        prose(
            f"on {format_quantity(stop.unique_tokens)} unique tokens the loss falls to {stop.loss:.4g} (on endless "
            f"ones to {stop.endless:.4g}, by the law of size and data): stop no earlier than after "
            f"{format_quantity(stop.steps)} steps at this batch ({format_quantity(stop.tokens)} tokens, "
            f"{stop.epochs:.3g} epochs), {format_quantity(stop.min_steps)} at an endless one"
        )
    ]


def _span(found: Quantile, unit: str) -> str:
    if unit != "FLOP" or not found.ci:
        return span(found)
    return " to ".join(words.exponent(end) if math.isfinite(end) else "no bound" for end in found.ci)


def _frontier(found: Frontier) -> list[str]:
    line = (
        f"compute-efficient: N grows as C**{found.size:.3g}, the batch as C**{found.batch:.3g}, steps as "
        f"C**{found.steps:.3g}, and the loss falls as C**-{found.loss:.3g}; stop {words.percent(found.stop)} above the "
        "loss at the end"
    )
    if None in (found.flops, found.params, found.min_steps, found.batch_tokens, found.reached):
        return [line]
    assert found.flops is not None
    return [
        line,
        f"at {words.exponent(found.flops, 4)} FLOP (at a tiny batch; twice that at the critical one): "
        f"{format_quantity(found.params or 0)} parameters, critical batch {format_quantity(found.batch_tokens or 0)} "
        f"tokens, {format_quantity(found.min_steps or 0)} least steps, loss {words.number(found.reached, 4)}",
    ]
