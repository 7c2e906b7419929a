"""Grids of learning rate and batch as plain text: their optima, the power laws through them, and what rules lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.hpgrid import GridReport, Optimum, Plateau, Regret
    from ..decide.steplaw import Best, StepLaw
    from ..engine.result import Fit

_WAYS = {
    "near": "the geometric mean of all cells within {near} of the best",
    "best": "the best cell",
    "quadratic": "the vertex of a quadratic surface through the 25 best cells",
    "akima": "the minimum of Akima interpolants, over the rate and then over the batch",
    "lr-quadratic": "the vertex of a parabola in log rate at the best cell's batch",
}


def step_law(found: StepLaw, at: Sequence[Best]) -> str:
    """The optima, both power laws with their intervals, what they say at some places, and the regret of every rule."""
    way = _WAYS[found.method].format(near=words.percent(found.near))
    parts = [
        prose(*found.notes, f"best learning rate and batch of each size and tokens: {way}"),
        _optima(found.optima),
        "\n".join(_law(fit, found.size) for fit in found.fits),
    ]
    if at:
        parts.append(_places(at))
        parts.append("scale and exponents are strongly correlated: judge what the laws say of a place, not one of them")
    if found.regrets:
        regrets = (*((found.left_out,) if found.left_out else ()), *found.regrets)
        parts.append(f"{_regret_head(found.size)}\n{regret(regrets)}")
    head = f"step-law: {words.rows(found.rows)}"
    return "\n\n".join([head, *(part for part in parts if part)])


def report(found: GridReport) -> str:
    """The best of each grid with its plateaus, and the regret of every rule."""
    heads = ("params", "tokens", "cells", "loss", "best lr", "best batch", "lr ×", "batch ×")
    body = [
        (
            format_quantity(best.grid.params),
            format_quantity(best.grid.tokens),
            str(len(best.grid.loss)),
            words.number(float(best.grid.loss.min()), 5),
            words.number(float(best.grid.lr[best.grid.at]), 3),
            format_quantity(float(best.grid.batch[best.grid.at])),
            " / ".join(_wide(p, "lr") for p in wide),
            " / ".join(_wide(p, "batch") for p in wide),
        )
        for best, wide in zip(found.optima, found.plateaus, strict=True)
    ]
    said = prose(
        f"×: highest over lowest value within {' / '.join(words.percent(p.within) for p in found.plateaus[0])} of the "
        "least loss, the other of the two at its best; + reaches the edge of what was tried"
    )
    parts = [
        f"hpgrid: {words.rows(found.grids.rows)}",
        prose(*found.grids.notes),
        table(heads, body, "r" * len(heads)),
        said,
        f"{_regret_head(found.grids.size)}\n{regret(found.regrets)}",
        prose(*(one.note for one in found.regrets if one.note)),
    ]
    return "\n\n".join(part for part in parts if part)


def regret(found: Sequence[Regret]) -> str:
    """What each rule loses: mean and largest loss above the best cell, of the cell nearest to its choice."""
    body = [
        (
            one.name,
            words.percent(float(one.excess.mean())),
            words.percent(float(one.excess.max())),
            f"{float(one.losses.mean()):.4f}",
            f"{one.outside} of {len(one.excess)}" if one.outside else "none",
        )
        for one in found
    ]
    return table(("rule", "mean", "largest", "mean, nats", "beyond the grid"), body, "lrrrr")


def _regret_head(size: str) -> str:
    return prose(
        "loss above the best cell, of the cell nearest to each rule's learning rate and batch "
        f"(every rule's N taken from {size}, C as 6*N*D, a loss as the best cell's)"
    )


def _optima(found: Sequence[Optimum]) -> str:
    body = [
        (
            format_quantity(best.grid.params),
            format_quantity(best.grid.tokens),
            str(len(best.grid.loss)),
            words.number(float(best.grid.loss.min()), 5),
            words.number(best.lr, 3),
            format_quantity(best.batch),
            str(len(best.lrs)) if best.status == "used" else "-",
            best.status,
        )
        for best in found
    ]
    return table(("params", "tokens", "cells", "loss", "best lr", "batch", "behind it", ""), body, "rrrrrrrl")


def _law(fit: Fit, size: str) -> str:
    """A power law on one line, and its exponents' intervals on the next."""
    values = fit.values
    names = {"alpha": size if fit.target == "lr_max" else "tokens", "beta": "tokens"}
    factors = " * ".join(f"{names[n]}**{values[n]:.4g}" for n in values if n != "scale")
    level = words.percent(fit.bootstrap["level"])
    spread = [
        f"{n} {estimate.ci[0]:.3g} to {estimate.ci[1]:.3g}"
        for n, estimate in fit.params.items()
        if estimate.ci is not None
    ]
    told = f"\n  {level} intervals: {', '.join(spread)}" if spread else ""
    return f"{fit.target} = {values['scale']:.4g} * {factors}{told}"


def _places(at: Sequence[Best]) -> str:
    level = words.percent(at[0].level)
    body = [
        (
            format_quantity(best.params),
            format_quantity(best.tokens),
            words.number(best.lr_max.value, 4),
            " to ".join(words.number(end, 4) for end in best.lr_max.ci) or "-",
            format_quantity(best.batch_tokens.value),
            " to ".join(format_quantity(end) for end in best.batch_tokens.ci) or "-",
        )
        for best in at
    ]
    return table(
        ("params", "tokens", "lr_max", f"{level} interval", "batch_tokens", f"{level} interval"), body, "rrrlrl"
    )


def _wide(found: Plateau, of: str) -> str:
    value, reaches = (found.lr, found.lr_open) if of == "lr" else (found.batch, found.batch_open)
    return f"{value:.3g}{'+' if reaches else ''}"
