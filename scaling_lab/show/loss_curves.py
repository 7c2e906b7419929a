"""Fits of loss curves in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..engine.curves import CurveFit


def fit(found: CurveFit) -> str:
    """A fit of loss curves in full: the curves, the parameters, how well it fits, what the intervals rest on."""
    m = found.metrics
    head = prose(f"{found.law}: {found.target} = {found.entry.formula}", words.rows(found.rows))
    curves = table(
        ("curve", "points", "steps", "peak LR", "last LR", "warm-up", "learning rates"),
        [
            (
                curve["run"],
                curve["points"],
                f"{curve['first']:g} to {curve['last']:g}",
                f"{curve['peak']:.4g}",
                f"{curve['final_lr']:.4g}",
                curve["warmup_steps"],
                curve["known_by"],
            )
            for curve in found.curves
        ],
        "lrlrrrp",
    )
    level = words.percent(found.level)
    params = table(
        ("parameter", "value", "standard error", f"{level} interval", "unit"),
        [
            (name, words.number(e.value), words.number(e.se, 3), "fixed" if e.fixed else words.ends(e.ci), e.unit)
            for name, e in found.params.items()
        ],
        "lrrll",
    )
    how = {"area": "as an area, without drops", "flat": "as run at the peak", "included": "with its rises"}
    end = prose(
        f"error on these points: {words.percent(m.mape)} on average (MAE {m.mae:.3g}, RMSE {m.rmse:.3g} nats/token); "
        f"spread of the residuals {words.percent(found.sd)}",
        f"objective {found.objective.name} of log loss, delta {found.objective.delta:g}: {found.value:.6g}",
        f"warm-up counted {how[found.warmup]}; smoothing {found.smoothing}; intervals by groups of neighbouring points",
    )
    return f"{head}\n\n{curves}\n\n{params}\n\n{end}"
