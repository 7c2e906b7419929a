"""The gradient noise scale as plain text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .critical import span
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.noise import NoiseScale, Part


def noise(found: NoiseScale) -> str:
    """The noise scale of the log and of its parts, with what each rests on."""
    body = [_row("all", found.whole)]
    if len(found.parts) > 1:
        body += [_row(f"{p.first:g} to {p.last:g}", p) for p in found.parts]
    heads = ("steps", "rows", "|G|^2 <= 0", "|G|^2", "tr(Sigma)", "noise scale")
    head = prose(
        f"gradient noise scale tr(Sigma) / |G|^2 from batches of {format_quantity(found.small)} and "
        f"{format_quantity(found.big)}, in their unit"
    )
    smoothed = (
        f"means of each part are divided, its rows at or below zero among them; moving averages (half-life "
        f"{found.half_life:.3g} rows) give none at {found.skipped} of {words.plural(len(found.step), 'step')}"
    )
    shown = table((*heads, f"{words.percent(found.level)} interval"), body, "lrrrrrl")
    return f"{head}\n\n{shown}\n\n{prose(smoothed, words.rows(found.rows))}"


def _row(name: str, part: Part) -> tuple[str, ...]:
    scale = ("-", "the means are not above zero")
    if part.scale is not None:
        scale = (format_quantity(part.scale.value), span(part.scale))
    means = (f"{part.gradient:.4g}", f"{part.trace:.4g}")
    return (name, f"{part.rows:,}", f"{part.negative:,}", *means, *scale)
