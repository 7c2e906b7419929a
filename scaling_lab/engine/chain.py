"""Predictions through two fits: the first's target is the second's input, and so is its doubt."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import BadInput, UsageError, nearest
from ..laws import Law
from ..quantities import format_quantity
from ..tables import Rows, Table, read_table
from .backtest import measure, split_rows
from .blend import NAME, TAILS
from .fit import Settings, fit_rows, law_of, law_rows
from .metrics import Metrics, coverage, metrics
from .predict import Predictions, cautions, ends, ensemble, no_draws, predict
from .result import Fit, Notice, too_few_draws
from .uncertainty import distance

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA = "scaling-lab/chain-backtest/1"


@dataclass(frozen=True)
class Chained:
    """Predictions at m points through two fits.

    `first` are those of the first fit. `value`, `low` and `high` (m,) are of the second fit's target, with the doubt of
    both steps; `second_low` and `second_high` are what the second step would leave open if the first were exact.
    `feeds` is the input of the second fit that the first's target stands for.
    """

    first: Predictions
    feeds: str
    target: str
    value: Floats
    low: Floats
    high: Floats
    second_low: Floats
    second_high: Floats
    level: float
    outside: tuple[Mapping[str, float], ...]
    warnings: tuple[Notice, ...] = ()

    @property
    def inputs(self) -> Mapping[str, Floats]:
        """The points' inputs: those of the first fit."""
        return self.first.inputs

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON of predict, with `via`: what the first step predicts, and the second step's own doubt."""
        both = Predictions(
            self.inputs, self.target, self.value, self.low, self.high, self.level, self.outside
        ).to_dict()
        for i, (point, step) in enumerate(zip(both["points"], self.first.to_dict()["points"], strict=True)):
            via = {key: step[key] for key in ("target", "value", "interval", "outside")}
            point["via"] = via | {
                "feeds": self.feeds,
                "second_step_alone": [float(self.second_low[i]), float(self.second_high[i])],
            }
        return both | {"warnings": [vars(w) for w in self.warnings]}


def chain(
    first: Fit,
    second: Fit,
    at: Mapping[str, Any] | Sequence[Mapping[str, float]] | str | os.PathLike[str] | pd.DataFrame | Table,
    level: float = 0.9,
    feeds: str | None = None,
) -> Chained:
    """What the second fit expects where the first one's prediction is its input, at points of the first.

    Each of the second's draws sees one of the first's: the interval holds the parameters' doubt of both steps, one
    run's noise in both and the drift of both outside their data. The draws of the two are taken as independent.
    `feeds` names the second's input, where it is not the first's target. Raises UsageError where they don't fit.
    """
    feeds = _fed(first, second, feeds)
    step = predict(first, at, level)
    value = second.at({feeds: step.value})
    _check_finite(second, feeds, step, value)
    far = [second.outside({feeds: v}) for v in step.value]
    rng = _rng(first, second, 0)
    both = _steps(second, feeds, _first(first, step, level, rng), rng)
    low, high = ends(both, level)
    alone = _steps(second, feeds, np.broadcast_to(step.value, (_count(second), len(value))), _rng(first, second, 1))
    second_low, second_high = ends(alone, level)
    own = (*no_draws(second), *too_few_draws(second, level), *cautions(second, {feeds: step.value}))
    return Chained(
        first=step,
        feeds=feeds,
        target=second.target,
        value=value,
        low=np.minimum(low, value),
        high=np.maximum(high, value),
        second_low=np.minimum(second_low, value),
        second_high=np.maximum(second_high, value),
        level=level,
        outside=tuple({**a, **b} for a, b in zip(step.outside, far, strict=True)),
        warnings=(
            *step.warnings,
            *_beyond(second, feeds, far),
            *_other_column(first, second, feeds),
            *_open(both, level),
            *own,
        ),
    )


def _fed(first: Fit, second: Fit, feeds: str | None) -> str:
    """The input of the second fit that the first one's target stands for."""
    wanted = second.entry.inputs
    if second.law == NAME:
        raise UsageError("the second step is a fit of one law, and this one is a choice of several: name a law")
    if len(wanted) != 1:
        raise UsageError(
            f"{second.law} takes {', '.join(wanted)}: a second step takes the first one's target and nothing else"
        )
    name = first.target if feeds is None else feeds
    if name != wanted[0]:
        close = nearest(name, wanted)
        if feeds is not None:
            raise UsageError(f"{second.law} takes {wanted[0]}, not {name!r}; {close}")
        raise UsageError(
            f"the first fit predicts {name} and {second.law} takes {wanted[0]}: where they are the same measurement "
            f"under two names, say so with --feeds {wanted[0]}"
        )
    return name


def _check_finite(second: Fit, feeds: str, step: Predictions, value: Floats) -> None:
    if np.isfinite(value).all():
        return
    worst = int(np.argmin(np.isfinite(value)))
    raise BadInput(
        f"{second.law} gives no finite {second.target} at {feeds} = {step.value[worst]:.4g}",
        fix="ask for a point nearer to the data of the second fit",
    )


def _rng(first: Fit, second: Fit, use: int) -> np.random.Generator:
    return np.random.default_rng([first.seed, second.seed, 7, use])


def _count(fit: Fit) -> int:
    return max(len(fit.draws), 1000)


def _first(first: Fit, step: Predictions, level: float, rng: np.random.Generator) -> Floats:
    """What the first's target may come to at each of m points (n, m): every point sees the same random draws."""
    if first.calibration is None and first.posterior is None:
        found = ensemble(first, step.inputs)
        # The draws stand in the order of the bootstrap; shuffled, they pair with no draw of the second by its number.
        return found[rng.permutation(len(found))]
    # Such fits know only widths: those of Student's distribution with the calibration's tails, or of a normal one.
    if first.calibration is not None:
        unit = rng.standard_t(TAILS, _count(first)) / stdtrit(TAILS, (1 + level) / 2)
    else:
        unit = rng.standard_normal(_count(first)) / NormalDist().inv_cdf((1 + level) / 2)
    if first.objective.on == "log":
        return step.value * np.exp(np.outer(unit, np.log(step.high / step.low) / 2))
    return np.asarray(step.value + np.outer(unit, (step.high - step.low) / 2))


def _steps(second: Fit, feeds: str, inputs: Floats, rng: np.random.Generator) -> Floats:
    """What the second's target may come to (n, m) at inputs (n, m), a draw of its parameters for each row."""
    n, m = inputs.shape
    draws = second.draws[rng.permutation(n) % len(second.draws)]
    named = {name: draws[:, [i]] for i, name in enumerate(second.entry.names)}
    known = np.asarray(second.points[feeds], dtype=float)
    free = sum(not p.fixed for p in second.params.values())
    measured = np.asarray(second.points[second.target], dtype=float)
    residuals = second.objective.residual(second.at({feeds: known}), second.objective.scale(measured))
    residuals = residuals * np.sqrt(len(known) / max(len(known) - free, 1))
    with np.errstate(all="ignore"):
        paths = np.broadcast_to(np.asarray(second.entry.predict({feeds: inputs}, **named)), (n, m))
        far = distance({feeds: inputs.ravel()}, second.inputs).reshape(n, m)
        drift = rng.standard_normal((n, 1)) * second.noise.drift * far
        shift = drift - rng.choice(residuals, n)[:, None]
        return paths * np.exp(shift) if second.objective.on == "log" else paths + shift


def _beyond(second: Fit, feeds: str, far: Sequence[Mapping[str, float]]) -> tuple[Notice, ...]:
    """A note where the first step's prediction lies outside the second's table."""
    factors = [point[feeds] for point in far if feeds in point]
    if not factors:
        return ()
    low, high = second.inputs[feeds]["min"], second.inputs[feeds]["max"]
    message = (
        f"the first step predicts a {feeds} outside the {format_quantity(low)} to {format_quantity(high)} that the "
        f"second was fitted to, at {len(factors)} of {len(far)} point{'s' if len(far) != 1 else ''} (by a factor of "
        f"{max(factors):.3g} at most)"
    )
    return (Notice("SL435", "info", message),)


def _open(ensemble: Floats, level: float) -> tuple[Notice, ...]:
    """A warning where so many pairs of draws have no value that an end of the interval is open."""
    none = np.mean(~np.isfinite(ensemble), axis=0)
    if none.max() <= (1 - level) / 2:
        return ()
    message = f"up to {none.max():.0%} of the draws have no value in the second step: its intervals are open there"
    return (Notice("SL439", "warning", message),)


_TAKEN = re.compile(r"^(\S+) is taken from (?:column )?'([^']*)'")


def _other_column(first: Fit, second: Fit, feeds: str) -> tuple[Notice, ...]:
    """A warning where the two fits took their common quantity from columns of different names."""
    taken = {match[1]: match[2] for note in first.notes if (match := _TAKEN.match(note))}
    one, other = taken.get(first.target, first.target), str(second.inputs[feeds].get("column", feeds))
    if one == other or one == first.target or other == feeds:
        return ()
    message = (
        f"the first fit predicts column {one!r} and the second was fitted to column {other!r}: see that both are one"
    )
    return (Notice("SL436", "warning", message),)


# ------------------------------------------------------------------------------------------------------------- backtest


@dataclass(frozen=True)
class Stage:
    """The figures of one stage on held-out rows: how far off, and how often its intervals hold the measurement."""

    metrics: Metrics
    coverage: float
    width: float

    @classmethod
    def of(cls, value: Floats, low: Floats, high: Floats, measured: Floats) -> Stage:
        """Of predictions (m,) with their ends, beside measurements (m,)."""
        width = float(np.mean(high - low))
        return cls(metrics(value, measured), coverage(measured, low, high), width)


@dataclass(frozen=True)
class ChainBacktest:
    """Two steps fitted to the small runs and scored on the large ones.

    `first` are the figures of the first step, `second` those of the second at measured inputs, `both` those of the
    chain; `predictions` and `measured` (m,) are what `both` is made of.
    """

    laws: tuple[str, str]
    split: Mapping[str, Any]
    fits: tuple[Fit, Fit]
    first: Stage
    second: Stage
    both: Stage
    predictions: Chained
    measured: Floats
    level: float

    def to_dict(self) -> dict[str, Any]:
        """JSON: the split, and figures of each stage."""
        stages = {
            name: {**asdict(stage.metrics), "coverage": stage.coverage, "width": stage.width}
            for name, stage in (("first", self.first), ("second", self.second), ("both", self.both))
        }
        chained = self.predictions.to_dict()
        for point, value in zip(chained["points"], self.measured, strict=True):
            point["measured"] = float(value)
        return {
            "schema": SCHEMA,
            "laws": list(self.laws),
            "split": dict(self.split),
            "level": self.level,
            **stages,
            "points": chained["points"],
        }


def backtest_chain(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    laws: tuple[str | Law, str | Law],
    *,
    second_table: str | os.PathLike[str] | pd.DataFrame | Table | None = None,
    by: str = "flops",
    test_above: float | None = None,
    test_fraction: float | None = None,
    level: float = 0.9,
    feeds: str | None = None,
    settings: tuple[Settings, Settings] | None = None,
) -> ChainBacktest:
    """Both steps fitted below a value of `by` in `table`, and scored above it through the chain and each alone.

    `table` has the inputs of the first law and the targets of both. The second is fitted to its training rows, or to
    `second_table` (checkpoints, say), of which the runs held out are left out by `run_id`. `settings` are those of each
    step: Settings(bootstrap=400) where none are given.
    """
    read = read_table(table)
    first, second = (law_of(law, read) for law in laws)
    plan = settings or (Settings(bootstrap=400), Settings(bootstrap=400))
    rows = law_rows(first, read)
    train, test, split = split_rows(rows, measure(read, rows, by), by, test_above, test_fraction)
    one = fit_rows(first, rows.take(train), _on(plan[0], first))
    away = set(rows.group[test].astype(str).tolist())
    two = fit_rows(second, _second_rows(second, read, rows, train, second_table, away), _on(plan[1], second))
    feeds = _fed(one, two, feeds)
    tested = rows.take(test)
    points = [dict(zip(tested.x, point, strict=True)) for point in zip(*tested.x.values(), strict=True)]
    through = chain(one, two, points, level, feeds)
    scored = law_rows(second, read)
    at = _same_rows(scored, tested)
    given = predict(two, [{feeds: v} for v in tested.y], level)
    return ChainBacktest(
        laws=(first.name, second.name),
        split=split | {"second_train": two.metrics.n},
        fits=(one, two),
        first=Stage.of(through.first.value, through.first.low, through.first.high, tested.y),
        second=Stage.of(given.value, given.low, given.high, scored.y[at]),
        both=Stage.of(through.value, through.low, through.high, scored.y[at]),
        predictions=through,
        measured=scored.y[at],
        level=level,
    )


def _on(settings: Settings, law: Law) -> Settings:
    return replace(settings, objective=replace(settings.objective, on=law.residual))


def _second_rows(law: Law, read: Table, rows: Rows, train: Any, other: Any, away: set[str]) -> Rows:
    """The rows that the second step is fitted to, without those of runs that are held out."""
    if other is None:
        own = law_rows(law, read)
        return own.take(np.isin(own.lines, rows.lines[train]))
    own = law_rows(law, read_table(other))
    if not own.grouped or not rows.grouped:
        raise BadInput(
            "says no run_id, so the checkpoints of runs held out can't be left out",
            file=own.name if not own.grouped else rows.name,
            fix="add a column run_id to both tables",
        )
    return own.take(~np.isin(own.group.astype(str), sorted(away)))


def _same_rows(rows: Rows, others: Rows) -> NDArray[np.intp]:
    """The places in `rows` of the lines of `others`."""
    place = {int(line): i for i, line in enumerate(rows.lines)}
    missing = [int(line) for line in others.lines if int(line) not in place]
    if missing:
        raise BadInput(
            "a run that is held out has no score to compare with",
            file=rows.name,
            line=missing[0],
            fix="give it, or use --where",
        )
    return np.array([place[int(line)] for line in others.lines], dtype=np.intp)
