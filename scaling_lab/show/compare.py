"""A comparison of two recipes as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.allocate import Quantile
    from ..decide.compare import Comparison, Crossing, Multiplier


def comparison(found: Comparison) -> str:
    """The multiplier at each place, the crossings with their intervals, and what is assumed."""
    from ..decide.compare import ASSUMED

    level = words.percent(found.level)
    low, high = (words.exponent(end) for end in found.flops)
    target = words.clean(found.target)
    head = prose(f"A ({found.laws[0]}) and B ({found.laws[1]}) by {target}, from {low} to {high} FLOP")
    heads = ("at", f"{target} of A", f"{target} of B", "B needs", f"{level} interval", "A ahead in draws")
    body = [_place(each) for each in found.multipliers]
    tail = [*(_crossing(each, level) for each in found.crossings), *_ahead(found)]
    return f"{head}\n\n{table(heads, body, 'lrrrlr')}\n\n{prose(*tail, ASSUMED)}"


def _place(found: Multiplier) -> tuple[str, ...]:
    where = (
        f"{words.exponent(found.flops, 3)} FLOP"
        if set(found.at) == {"flops"}
        else ", ".join(words.amount(name, value) for name, value in found.at.items())
    )
    share = "-" if found.better is None else words.percent(found.better)
    return (where, *(_loss(q) for q in (found.loss_a, found.loss_b)), _times(found.factor.value), _span(found), share)


def _loss(found: Quantile) -> str:
    return words.fixed(found.value, *(found.ci or (found.value, found.value)))


def _span(found: Multiplier) -> str:
    return "-" if not found.factor.ci else " to ".join(_times(end) for end in found.factor.ci)


def _times(value: float) -> str:
    from ..decide.compare import REACH

    if math.isinf(value):
        return f"more than {format_quantity(REACH)}x" if value > 0 else "no bound"
    return f"{value:.3g}x" if value > 0 else f"less than {1 / REACH:g}x"


def _crossing(found: Crossing, level: str) -> str:
    said = (
        f"they cross at {words.exponent(found.flops.value, 4)} FLOP: {found.before} is ahead below, {found.after} above"
    )
    if not found.flops.ci:
        return f"{said} (no interval: a fit has no draws)"
    low, high = found.flops.ci
    ends = (
        words.exponent(low) if low > 0 else "below the range",
        words.exponent(high) if math.isfinite(high) else "above it",
    )
    solved = "" if found.resolved else "; not resolved"
    share = f"{_share(found.probability)} of draws cross so inside the range"
    return f"{said} ({level} interval {ends[0]} to {ends[1]}{solved}); {share}"


def _ahead(found: Comparison) -> list[str]:
    if found.crossings:
        return []
    said = f"they do not cross: {f'{found.better} is ahead' if found.better else 'they are level'} all over the range"
    return [said if found.probability is None else f"{said}; {_share(found.probability)} of draws cross in it"]


def _share(value: float | None) -> str:
    return "-" if value is None else words.percent(value)
