"""The best vocabulary by each approach as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.vocab import Answer, Profile, Vocabulary


def vocabulary(found: Vocabulary) -> str:
    """The answers, the approaches that have none and why, and the minima that were measured."""
    asked = (
        f"best vocabulary for {format_quantity(found.params_nonvocab)} non-vocabulary parameters of width "
        f"{found.width:g} and {found.flops:.4g} FLOP"
    )
    heads = ("approach", "vocabulary", f"{words.percent(found.level)} interval", "vocabulary params", "from")
    body = [(a.approach, _count(a.vocab_size), _ends(a), _count(a.params_vocab), a.source) for a in found.answers]
    blocks = [prose(asked), table(heads, body, "lrlrp")]
    if found.failed:
        blocks.append(prose(*(f"no answer by {name}: {why}" for name, why in found.failed.items())))
    if found.profiles:
        heads = ("non-vocabulary params", "FLOP", "vocabularies", "measured best", "minimum")
        blocks.append(table(heads, [_profile(p) for p in found.profiles], "rrrrp"))
    return "\n\n".join(blocks)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else format_quantity(value)


def _ends(answer: Answer) -> str:
    if not answer.ci:
        return "-"
    return " to ".join(_count(end) if math.isfinite(end) else "no bound" for end in answer.ci)


def _profile(found: Profile) -> tuple[str, str, int, str, str]:
    best = "-" if found.minimum is None else _count(found.minimum)
    return (
        format_quantity(found.params_nonvocab), words.scientific(found.flops), len(found.loss), best, found.status,
    )  # fmt: skip
