"""Laws of loss curves fitted to some curves and scored on others, or on the rest of the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, LabError
from ..histories import Warmup
from ..laws.curves import get_curve_law
from ..schedules import Schedule
from ..tables import Curve, Curves, Table, read_curves, read_table, select_rows
from .backtest import SCHEMA
from .curve_misfit import after_branch
from .curves import AUTO, CurveFit, fit_curves
from .metrics import Metrics, coverage, interval_score, metrics
from .result import Notice

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

# The end of a curve, which is what a schedule is chosen for.
LAST = 0.02
LAWS = ("multi-power", "annealing", AUTO)


@dataclass(frozen=True)
class CurveScore:
    """One held-out curve under one law: figures over its points, and over those after it branched from a fitted curve.

    `last` is the mean of predicted minus measured over the last LAST of its steps, `worst` the largest error, both in
    the target's unit; `coverage` and `width` (mean full width over loss) are of the interval, `last_inside` says
    whether it held the last point. `branch` and its coverage are of the points after the branch, all where there is
    none.
    """

    run: str
    metrics: Metrics
    last: float
    worst: float
    coverage: float
    width: float
    score: float
    last_inside: bool
    last_width: float
    branch: Metrics
    branch_coverage: float
    fitted: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As the JSON lists it."""
        return asdict(self)


@dataclass(frozen=True)
class LawScore:
    """One law on all held-out curves, whose figures are means over them, and the `fits` made, by what was left out."""

    law: str
    train: int
    test: int
    level: float
    curves: tuple[CurveScore, ...]
    fits: Mapping[str, CurveFit]

    def mean(self, name: str, branch: bool = False) -> float:
        """The mean over curves of a figure of their metrics."""
        return float(np.mean([getattr(c.branch if branch else c.metrics, name) for c in self.curves]))

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What the fits were warned of, each once."""
        return tuple(dict.fromkeys(notice for fit in self.fits.values() for notice in fit.warnings))

    def to_dict(self) -> dict[str, Any]:
        """The contract's entry for a law, with its curves."""
        r2 = [c.metrics.r2 for c in self.curves]
        return {
            "law": self.law,
            "train": self.train,
            "test": self.test,
            "mae": self.mean("mae"),
            "rmse": self.mean("rmse"),
            "mape": self.mean("mape"),
            "r2": None if any(value is None for value in r2) else float(np.mean(np.array(r2, dtype=float))),
            "bias": self.mean("bias"),
            "last": float(np.mean([abs(c.last) for c in self.curves])),
            "worst": float(np.mean([c.worst for c in self.curves])),
            "interval_score": float(np.mean([c.score for c in self.curves])),
            "coverage": float(np.mean([c.coverage for c in self.curves])),
            "last_coverage": float(np.mean([c.last_inside for c in self.curves])),
            "level": self.level,
            "width": float(np.mean([c.width for c in self.curves])),
            "after_branch": {
                "mae": self.mean("mae", True),
                "mape": self.mean("mape", True),
                "coverage": float(np.mean([c.branch_coverage for c in self.curves])),
            },
            "curves": [c.to_dict() for c in self.curves],
            "warnings": [asdict(notice) for notice in self.warnings],
        }


@dataclass(frozen=True)
class CurveBacktest:
    """Laws side by side on the same held-out curves, best mean relative error first; `failed` could not be fitted."""

    split: Mapping[str, Any]
    laws: tuple[LawScore, ...]
    failed: Mapping[str, str]
    rows: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        return {
            "schema": SCHEMA,
            "split": dict(self.split),
            "laws": [scored.to_dict() for scored in self.laws],
            "failed": dict(self.failed),
            "rows": dict(self.rows),
        }


def backtest_curves(
    table: str | os.PathLike[str] | pd.DataFrame | Table | Curves,
    laws: Sequence[str] = LAWS,
    *,
    hold_out: str | None = None,
    held_lines: set[int] | None = None,
    level: float = 0.9,
    schedule: Mapping[str, Schedule] | Schedule | None = None,
    warmup: Warmup = "area",
    warmup_steps: int | None = None,
    smooth: str = "none",
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    target: str = "loss",
    drop_bad: bool = False,
    **settings: Any,
) -> CurveBacktest:
    """Each law fitted to the curves of a table but for the rows that `hold_out` selects, and scored on those.

    Without `hold_out` each schedule is left out in turn. Learning rates are those of whole runs: a schedule is known
    before it is run. Of curves already read, `held_lines` says which lines of their table to predict. `settings` are
    those of `fit_curves`. Raises BadInput where nothing is left on either side.
    """
    read: Curves
    lines = held_lines
    if isinstance(table, Curves):
        read = table
    else:
        found = read_table(table, mapping=mapping, where=where)
        read = read_curves(
            found,
            target=target,
            schedule=schedule,
            warmup=warmup,
            warmup_steps=warmup_steps,
            smooth=smooth,
            drop_bad=drop_bad,
        )
        if hold_out is not None:
            lines = {int(line) for line in select_rows(found, hold_out).lines}
    if hold_out is not None and lines is None:
        raise BadInput("hold_out selects rows of a table, and these are curves already read")
    sides = _sides(read, lines, hold_out)
    scored, failed = [], {}
    for law in laws:
        name = AUTO if law in (AUTO, "auto") else get_curve_law(law).name
        try:
            scored.append(_score(name, sides, level, settings))
        except LabError as fault:
            if len(laws) == 1:
                raise
            failed[name] = str(fault)
    if not scored:
        raise BadInput(f"no law could be fitted: {'; '.join(failed.values())}", file=read.name)
    test = sum(len(curve.step) for _, _, held in sides for curve in held)
    split = {
        "by": hold_out or ("each schedule in turn" if lines is None else f"{len(lines)} lines"),
        "train": sum(train.used for _, train, _ in sides),
        "test": test,
        "curves": [curve.run for _, _, held in sides for curve in held],
    }
    account = {"read": read.read, "used": read.used, "dropped": dict(read.dropped)}
    return CurveBacktest(split, tuple(sorted(scored, key=lambda s: s.mean("mape"))), failed, account)


Side = tuple[str, Curves, tuple[Curve, ...]]


def _sides(curves: Curves, lines: set[int] | None, hold_out: str | None) -> list[Side]:
    """What is left out each time, the curves to fit then, and those to predict."""
    if lines is None:
        kinds = list(dict.fromkeys(curve.schedule for curve in curves.curves))
        if len(kinds) < 2:
            raise BadInput(
                "there is one schedule, so none can be left out",
                file=curves.name,
                fix='say which rows to predict, as --hold-out "step > 10000"',
            )
        found = []
        for kind in kinds:
            train = tuple(curve for curve in curves.curves if curve.schedule != kind)
            test = tuple(curve for curve in curves.curves if curve.schedule == kind)
            found.append((", ".join(curve.run for curve in test), replace(curves, curves=train), test))
        return found
    parts: tuple[list[Curve], list[Curve]] = ([], [])
    for curve in curves.curves:
        held = np.array([int(line) in lines for line in curve.lines])
        for side, keep in zip(parts, (~held, held), strict=True):
            if keep.any():
                side.append(replace(curve, step=curve.step[keep], loss=curve.loss[keep], lines=curve.lines[keep]))
    if not parts[0] or not parts[1]:
        what = "nothing to fit" if not parts[0] else "nothing to predict"
        raise BadInput(f"--hold-out {hold_out!r} leaves {what}", file=curves.name, fix="select some of the rows")
    return [(str(hold_out), replace(curves, curves=tuple(parts[0])), tuple(parts[1]))]


def _score(law: str, sides: Sequence[Side], level: float, settings: Mapping[str, Any]) -> LawScore:
    fits, scores = {}, []
    for name, train, held in sides:
        fits[name] = fit_curves(law, train, **settings)
        scores += [_score_curve(fits[name], train, curve, level) for curve in held]
    used = sum(fit.rows["used"] for fit in fits.values())
    return LawScore(law, used, sum(len(c.step) for _, _, held in sides for c in held), level, tuple(scores), fits)


def _score_curve(fit: CurveFit, train: Curves, curve: Curve, level: float) -> CurveScore:
    told = fit.forecast(curve.history, curve.step, level, curve.params)
    error = told.loss - curve.loss
    end = curve.step >= (1 - LAST) * curve.step[-1]
    new = np.isin(curve.step, after_branch(curve, train.curves).step)
    return CurveScore(
        run=curve.run,
        metrics=metrics(told.loss, curve.loss),
        last=float(np.mean(error[end])),
        worst=float(np.max(np.abs(error))),
        coverage=coverage(curve.loss, told.low, told.high),
        width=float(np.mean((told.high - told.low) / curve.loss)),
        score=interval_score(curve.loss, told.low, told.high, level),
        last_inside=bool(told.low[-1] <= curve.loss[-1] <= told.high[-1]),
        last_width=float((told.high[-1] - told.low[-1]) / curve.loss[-1]),
        branch=metrics(told.loss[new], curve.loss[new]),
        branch_coverage=coverage(curve.loss[new], told.low[new], told.high[new]),
        fitted=tuple(c.run for c in train.curves),
    )


__all__ = ["CurveBacktest", "CurveScore", "LawScore", "backtest_curves"]
