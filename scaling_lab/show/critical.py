"""Critical batch sizes as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.allocate import Quantile
    from ..decide.critical import BranchedBatch, CriticalBatch, Level


def span(found: Quantile) -> str:
    """The ends of an interval as counts; an open end says so."""
    if not found.ci:
        return "-"
    low, high = found.ci
    first = format_quantity(low) if low > 0 else "no bound"
    return f"{first} to {format_quantity(high) if math.isfinite(high) else 'no bound'}"


def cbs(found: CriticalBatch) -> str:
    """A row for each loss, the power law through them, and what the numbers are."""
    hyperbola = found.method == "hyperbola"
    sizes = any(level.params is not None for level in found.levels)
    level = f"{words.percent(found.level)} interval"
    asked = found.linear_from is not None
    heads = [*(["params"] if sizes else []), "loss", "batches"]
    heads += ["critical batch" if hyperbola else "fewest tokens at", level]
    heads += ["min. steps", "min. tokens", "spread"] if hyperbola else []
    heads += [f"+{words.percent(found.overhead)} batch"] if asked else []
    body = [_row(each, sizes=sizes, hyperbola=hyperbola, asked=asked) for each in found.levels]
    align = "r" * (len(heads) - (4 if hyperbola else 1) - asked) + "l" + "rrr" * hyperbola + "r" * asked
    return f"{prose(_what(found))}\n\n{table(heads, body, align)}\n\n{prose(*_law(found), words.rows(found.rows))}"


def _what(found: CriticalBatch) -> str:
    if found.method == "optimum":
        return "the batch, in tokens, that reaches a loss with the fewest tokens: minimum of a parabola in log batch"
    what = "critical batch sizes in tokens, from steps = min. steps * (1 + critical batch / batch)"
    if found.linear_from is None or found.overhead is None:
        return what
    return (
        f"{what}; +{words.percent(found.overhead)} batch: where steps exceed linear scaling from "
        f"{format_quantity(found.linear_from)} tokens by {words.percent(found.overhead)}"
    )


def _row(each: Level, *, sizes: bool, hyperbola: bool, asked: bool) -> tuple[str, ...]:
    used = each.status == "used" and each.batch is not None
    first = (*([format_quantity(each.params or math.nan)] if sizes else []), words.number(each.loss, 4))
    shown: tuple[str, ...] = (*first, str(len(each.batches)))
    if not used or each.batch is None:
        return (*shown, "-", each.status, *([""] * (3 * hyperbola + asked)))
    shown += (format_quantity(each.batch.value), span(each.batch))
    if each.hyperbola is not None:
        curve = each.hyperbola
        shown += (format_quantity(curve.min_steps.value), format_quantity(curve.min_tokens.value))
        shown += (words.percent(curve.sd),)
    return (*shown, format_quantity(each.overhead.value)) if asked and each.overhead else shown


def _law(found: CriticalBatch) -> list[str]:
    if found.law is None:
        return [f"no power law: it takes three values of {found.along}"]
    law, ends = found.law, found.law.ci
    interval = "" if ends is None else f" ({words.percent(found.level)} interval {ends[0]:.3g} to {ends[1]:.3g})"
    name = "batch" if found.linear_from is None else f"+{words.percent(found.overhead)} batch"
    line = f"{name} = {words.number(law.coefficient, 4)} * {found.along}**{law.exponent:.4g}{interval}"
    if found.along == "loss" and found.method == "hyperbola" and law.exponent < 0:
        line += f": B_star = {words.number(law.coefficient, 4)} tokens, alpha_B = {-1 / law.exponent:.4g}"
    return [line]


def branched(found: BranchedBatch) -> str:
    """The local critical batch at each checkpoint, and the batch warm-up from it."""
    body = [
        (format_quantity(c.tokens), c.batches, f"{'at least ' if c.open else ''}{format_quantity(c.critical)}")
        for c in found.checkpoints
    ]
    plan = [(format_quantity(d.tokens), format_quantity(d.batch_tokens), f"{d.lr_factor:.3g}") for d in found.plan]
    rule = (
        f"the largest batch whose branch loses at most {found.tolerance:g} nats by its size; the batch doubles where "
        "that is over twice as large, and the learning rate grows by the root of 2"
    )
    first = table(("tokens", "branches", "critical batch (tokens)"), body, "rrr")
    second = table(("from tokens", "batch (tokens)", "learning rate times"), plan, "rrr")
    return f"{first}\n\n{second}\n\n{prose(rule, words.rows(found.rows))}"
