"""The best mixture in words and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from ..quantities import SHARE_PREFIX, format_quantity
from . import terminal, words

if TYPE_CHECKING:
    from ..decide.mixture import Mixture
    from ..decide.regression import Regression
    from .plot import Drawing

# Shares below this are listed in one line.
SMALL = 0.0005


def mixture(found: Mixture) -> str:
    """The shares with intervals and what was tried, the other inputs, and the loss there."""
    body = [
        (name.removeprefix(SHARE_PREFIX), f"{q.value:.3f}", _span(q.ci), "{:.3g} to {:.3g}".format(*found.tried[name]))
        for name, q in found.shares.items()
        if q.value >= SMALL or len(found.shares) <= 4
    ]
    level = f"{words.percent(found.level)} interval"
    parts = [
        terminal.prose(f"best mixture by {' and '.join(dict.fromkeys(law.partition('@')[0] for law in found.laws))}"),
        terminal.table(("share", "best", level, "tried"), body, "lrll"),
    ]
    parts += _nothing(tuple(name for name, q in found.shares.items() if q.value < SMALL and len(found.shares) > 4))
    if found.point:
        others = [
            (
                name,
                format_quantity(q.value),
                " to ".join(format_quantity(end) if isfinite(end) else "no bound" for end in q.ci) or "-",
            )
            for name, q in found.point.items()
        ]
        parts.append(terminal.table(("with", "", level), others, "lrl"))
    losses = [
        (f"fit {i + 1} (weight {w:.3g})", q) for i, (q, w) in enumerate(zip(found.losses, found.weights, strict=True))
    ]
    every = [("loss", found.loss), *(losses if len(losses) > 1 else [])]
    rows = [(name, words.fixed(q.value, *q.ci), words.span(*q.ci), "") for name, q in every]
    rows += [
        (f"capped loss {i + 1}", words.fixed(q.value, *q.ci), words.span(*q.ci), f"at most {limit:.5g}")
        for i, (q, limit) in enumerate(found.caps)
    ]
    parts.append(terminal.table(("predicted there", "", level, ""), rows, "lrll"))
    if math.isfinite(found.tried_loss):
        parts.append(terminal.prose(f"by the same fits the best mixture of the table has {found.tried_loss:.5g}"))
    return "\n\n".join(parts)


def regression(found: Regression) -> str:
    """The shares with their spread, the loss there, and how each method did on inner folds."""
    body = [
        (name.removeprefix(SHARE_PREFIX), f"{q.value:.3f}", _span(q.ci))
        for name, q in found.shares.items()
        if q.value >= SMALL or len(found.shares) <= 4
    ]
    small = tuple(name for name, q in found.shares.items() if q.value < SMALL and len(found.shares) > 4)
    methods = [(name, f"{error:.4f}", f"{found.ranks[name]:.3f}") for name, error in found.errors.items()]
    low, high = found.loss.ci
    return "\n\n".join(
        [
            terminal.prose(
                f"best mixture by {found.method}, fitted to {found.rows} runs: the mean of the best {found.top} of "
                f"{found.simulated:,} simulated mixtures"
            ),
            terminal.table(("share", "mean", f"{words.percent(found.level)} of them"), body, "lrl"),
            *_nothing(small),
            terminal.prose(
                f"predicted loss there {words.fixed(found.loss.value, low, high)} ({words.span(low, high)}); the "
                f"lowest of the table is {found.tried_loss:.5g}"
            ),
            terminal.table(("method", "inner MAE", "rank correlation"), methods, "lrr"),
        ]
    )


def _span(ci: Sequence[float]) -> str:
    return "-" if len(ci) < 2 else f"{ci[0]:.3f} to {ci[1]:.3f}"


def _nothing(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [terminal.prose(f"nothing of {', '.join(name.removeprefix(SHARE_PREFIX) for name in names)}")]


def draw_mixture(found: Mixture) -> Drawing:
    """Each share: the best with its interval, over the range that was tried."""
    from . import plot

    names = [name for name, q in found.shares.items() if q.value >= SMALL or len(found.shares) <= 8]
    with plot._style():
        figure = plot._empty(height=1.4 + 0.42 * len(names))
        axes = figure.subplots()
        for at, name in enumerate(names):
            q, (low, high) = found.shares[name], found.tried[name]
            label = "tried" if at == 0 else None
            axes.plot(
                [low, high], [at, at], color=plot.GREY, alpha=0.35, linewidth=9, solid_capstyle="butt", label=label
            )
            if q.ci:
                label = f"{words.percent(found.level)} interval" if at == 0 else None
                axes.plot(list(q.ci), [at, at], color=plot.VERMILLION, linewidth=2.5, label=label)
            label = "best" if at == 0 else None
            axes.plot([q.value], [at], "o", color=plot.VERMILLION, markersize=7, label=label)
        axes.set_yticks(range(len(names)), [name.removeprefix(SHARE_PREFIX) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("share of the mixture")
        plot._legend(figure, axes)
    said = "; ".join(f"{name.removeprefix(SHARE_PREFIX)} {found.shares[name].value:.3f}" for name in names)
    return plot.Drawing(figure, "Best mixture", f"Best shares: {said}. Predicted loss {found.loss.value:.4g}.")
