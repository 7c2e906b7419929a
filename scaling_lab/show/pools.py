"""A choice of pools of data as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.pools import BestPools, Crossing, PoolChoice, PoolSet

# Sets shown for a budget: the best, and those that come next.
SHOWN = 4


def pools(found: PoolChoice) -> str:
    """The pools by utility, the best sets for each budget, and where a looser set overtakes."""
    body = [
        (
            p.name,
            *(words.number(p.utility.value, 4), words.ends(p.utility.ci)),
            *(words.number(p.half_life.value, 3), words.ends(p.half_life.ci)),
        )
        for p in found.pools
    ]
    heads = ("pool", "utility b", "interval", "half-life tau", "interval")
    level = words.percent(found.level)
    sets = [row for budget in found.budgets for row in _sets(budget)]
    sets_heads = ("samples", "pools in equal shares", "passes", found.target, f"{level} interval", "best in draws")
    more = [_crossing(c, level) for c in found.crossings]
    size = f"one pool: {format_quantity(found.unique_samples)} samples; b and tau with the intervals of the fit"
    return "\n\n".join(
        [
            table(heads, body, "lrlrl"),
            table(sets_heads, sets, "rprrlr"),
            *([prose(*more)] if more else []),
            prose(size),
        ]
    )


def _sets(budget: BestPools) -> list[tuple[str, ...]]:
    return [_set(budget, each, first=i == 0) for i, each in enumerate(budget.sets[:SHOWN])]


def _set(budget: BestPools, found: PoolSet, *, first: bool) -> tuple[str, ...]:
    ci = found.error.ci
    low, high = ci or found.interval
    return (
        format_quantity(budget.samples) if first else "",
        ", ".join(found.names),
        words.number(found.passes, 3),
        words.fixed(found.error.value, low, high),
        words.span(low, high) if ci else "-",
        words.percent(found.best_in),
    )


def _crossing(found: Crossing, level: str) -> str:
    pair = f"{', '.join(found.looser)} overtakes {', '.join(found.tighter)}"
    at = found.samples.value
    if not math.isfinite(at):
        head = f"{pair} at no number of samples that the law is summed to"
    else:
        head = f"{pair} beyond {format_quantity(at)} samples" if at else f"{pair} at any number of samples"
    if not found.samples.ci:
        return head
    low, high = (format_quantity(end) if math.isfinite(end) else "never" for end in found.samples.ci)
    return f"{head} ({level} interval {low} to {high})"
