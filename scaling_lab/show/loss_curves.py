"""Fits of loss curves in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..engine.curve_backtest import CurveBacktest
    from ..engine.curves import CurveFit


def fit(found: CurveFit) -> str:
    """A fit of loss curves in full: the curves, the parameters, how well it fits, what the intervals rest on."""
    m = found.metrics
    formula = f"weighted mean of {len(found.members)} fits (in log loss)" if found.members else found.entry.formula
    head = prose(f"{found.law}: {found.target} = {formula}", words.rows(found.rows))
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
    if found.members:
        params = f"{members(found)}\n\nof {found.entry.name}, which weighs most:\n\n{params}"
    return f"{head}\n\n{curves}\n\n{params}\n\n{end}"


def members(found: CurveFit) -> str:
    """The members of the automatic choice: their errors in inner backtests, and what they weigh."""
    rows = [
        (m.law.name, m.variant, "-" if m.error is None else words.percent(m.error), words.percent(m.weight))
        for m in found.members
    ]
    return table(("member", "fitted to", "inner error", "weight"), rows, "llrr")


def backtest(found: CurveBacktest, after_branch: bool = False) -> str:
    """Laws side by side on held-out curves, best first, then each curve under the best; errors in nats/token.

    With `after_branch` errors and coverage are those of the points that no fitted curve has in common.
    """
    split = found.split
    head = prose(
        f"predicted: {split['by']}; {words.rows(found.rows)}",
        "errors are of the points after a curve branches from those fitted" if after_branch else "",
        "means over curves; end is the last 2 % of the steps",
    )
    level = words.percent(found.laws[0].level)
    laws = table(
        ("law", "curves", "MAPE", "MAE", "RMSE", "end", "worst", f"in {level} interval", "width"),
        [
            (
                s.law,
                len(s.curves),
                words.percent(s.mean("mape", after_branch)),
                f"{s.mean('mae', after_branch):.4f}",
                f"{s.mean('rmse', after_branch):.4f}",
                f"{sum(abs(c.last) for c in s.curves) / len(s.curves):.4f}",
                f"{sum(c.worst for c in s.curves) / len(s.curves):.4f}",
                words.percent(sum(c.branch_coverage if after_branch else c.coverage for c in s.curves) / len(s.curves)),
                words.percent(sum(c.width for c in s.curves) / len(s.curves)),
            )
            for s in found.laws
        ],
        "lrrrrrrrr",
    )
    best = found.laws[0]
    curves = table(
        (f"curve, by {best.law}", "points", "MAPE", "MAE", "end", "worst", f"in {level} interval", "width"),
        [
            (
                c.run,
                (c.branch if after_branch else c.metrics).n,
                words.percent((c.branch if after_branch else c.metrics).mape),
                f"{(c.branch if after_branch else c.metrics).mae:.4f}",
                f"{c.last:+.4f}",
                f"{c.worst:.4f}",
                words.percent(c.branch_coverage if after_branch else c.coverage),
                words.percent(c.width),
            )
            for c in best.curves
        ],
        "lrrrrrrr",
    )
    failed = "".join(f"\n\nnot fitted: {name}: {why}" for name, why in found.failed.items())
    return f"{head}\n\n{laws}\n\n{curves}{failed}"
