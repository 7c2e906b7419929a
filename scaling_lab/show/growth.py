"""When to grow a model, and what it saves, as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.growth import Growth, Speedup


def growth(found: Growth) -> str:
    """The plan: the small model, its tokens with their interval, the share and the cost of all that."""
    head = prose(
        f"growing {format_quantity(found.params)} parameters on {format_quantity(found.tokens)} tokens "
        f"({words.exponent(found.flops, 4)} FLOP) by a factor of {found.factor:g}"
    )
    ends = found.growth_tokens.ci
    span = "-" if not ends else f"{format_quantity(ends[0])} to {format_quantity(ends[1])}"
    body = [
        ("train a small model of", format_quantity(found.small_params), "params", ""),
        ("for", format_quantity(found.growth_tokens.value), "tokens", span),
        ("that is", words.percent(found.share), "of all tokens", ""),
        ("and costs", words.exponent(found.small_flops, 3), "FLOP", ""),
        ("as much as", format_quantity(found.worth_tokens), "tokens of the large", ""),
    ]
    level = f"{words.percent(found.level)} interval"
    tail = prose(
        f"then stack its layers {found.factor:g} times and train on; timing by {found.source}",
        "a factor of 4 is the published advice (2 to 4 did best); sizes count no embeddings",
    )
    return f"{head}\n\n{table(('', 'value', 'unit', level), body, 'lrll')}\n\n{tail}"


def speedup(found: Speedup) -> str:
    """The speed-up at each place with its interval."""
    both = found.comparison
    level = words.percent(both.level)
    body = []
    for place, gained in zip(both.multipliers, found.speedups, strict=True):
        where = ", ".join(words.amount(name, value) for name, value in place.at.items())
        loss = words.fixed(place.loss_a.value, *(place.loss_a.ci or (place.loss_a.value,) * 2))
        ends = "-" if not gained.ci else " to ".join(_gain(end) for end in gained.ci)
        body.append((where, loss, _gain(gained.value), ends))
    counted = (
        f"the small model's {words.exponent(found.small_flops, 3)} FLOP are added to the grown recipe's"
        if found.small_flops
        else "the grown runs' compute is taken to hold the small model's (else give --small-flops)"
    )
    head = prose(
        f"speed-up of growing ({both.laws[0]}) over scratch ({both.laws[1]}): FLOPs ratio at equal loss, less 1"
    )
    heads = ("grown with", words.clean(both.target), "speed-up", f"{level} interval")
    return f"{head}\n\n{table(heads, body, 'lrrl')}\n\n{prose(counted)}"


def _gain(value: float) -> str:
    if math.isinf(value):
        return "scratch never gets there"
    return words.percent(value)
