"""Differences between schedules by a fitted law of loss curves, and how much of such differences came true so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.codes import severity
from ..engine.curves import CurveFit, fit_curves
from ..engine.result import Notice
from ..errors import BadInput, LabError, UsageError
from ..histories import History
from ..quantities import format_quantity
from ..schedules import Schedule
from ..tables import Curve, Curves
from .schedules import Listing, list_schedules

Floats = NDArray[np.float64]
LOSSES_SCHEMA = "scaling-lab/schedule-losses/1"
# Final losses of runs that differ in nothing but the seed: sd in nats, 25M to 400M (Luo et al. 2025, arXiv:2503.12811).
SEED_SD = 0.0007
# WSD against cosine, both to a tenth of the peak, 24,000 steps, at 25M, 100M and 400M: what was measured and what the
# multi-power law fitted to three other schedules predicted (curves of arXiv:2503.12811; bench/best_schedule.py).
PUBLISHED = ((0.028, 0.039), (0.028, 0.044), (0.017, 0.040))
PUBLISHED_SHARES = tuple(measured / predicted for measured, predicted in PUBLISHED)
# A pair of runs tells of the bias where the law sees at least this many nats between them: several times what seeds do.
LEAST_DIFFERENCE = 0.005
# The end of a curve, over which losses are averaged.
END = 0.02
# A peak that much above the highest fitted one is another peak, and no rounding.
SAME_PEAK = 1.001
# Beyond the longest curve by more than this factor, a run's end is told of.
LONGER = 1.02


# ---------------------------------------------------------------------------------------------------------------- bias


@dataclass(frozen=True)
class Pair:
    """Two finished curves at a common step: the loss of `run` less that of `against`, as predicted without `run`.

    `alike` says that the rate falls in both, as in the schedules that a best one is chosen from.
    """

    run: str
    against: str
    step: int
    predicted: float
    measured: float
    alike: bool

    @property
    def share(self) -> float:
        """How much of the predicted difference came true."""
        return self.measured / self.predicted


@dataclass(frozen=True)
class Bias:
    """How much of the differences between schedules that a law predicts comes true.

    `share` is what is expected of a next one and `sd` its spread; `pairs` are those of the fit's own curves, each
    predicted by a fit without one of the two, and `unused` says which runs could not be left out, and why. Where the
    rate falls in both runs of some pairs those alone count: whether a rate falls at all is easier foretold than how.
    The spread and the centre are those of the pairs and of the published ones together: of the pairs' mean (one value
    for each run left out) and the published mean, each known as well as its scatter allows.
    """

    share: float
    sd: float
    pairs: tuple[Pair, ...]
    unused: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[Pair, ...]:
        """The pairs that tell the share."""
        return tuple(pair for pair in self.pairs if pair.alike) or self.pairs

    @property
    def by_run(self) -> dict[str, float]:
        """The share that came true for each run that was left out, its pairs weighed by their size."""
        runs = dict.fromkeys(pair.run for pair in self.counted)
        return {run: _slope([pair for pair in self.counted if pair.run == run]) for run in runs}

    @property
    def measured(self) -> float | None:
        """The share on the data at hand, a mean over the runs left out; None without any."""
        return float(np.mean(list(self.by_run.values()))) if self.pairs else None

    def draws(self, count: int, seed: int) -> Floats:
        """Shares (count,) of a next difference."""
        return self.share + self.sd * np.random.default_rng([seed, 340]).standard_normal(count)

    def to_dict(self) -> dict[str, Any]:
        """JSON: the shares, and every pair behind them."""
        return {
            "share": self.share,
            "sd": self.sd,
            "measured_share": self.measured,
            "published_shares": list(PUBLISHED_SHARES),
            "pairs": [{**vars(pair), "share": pair.share} for pair in self.pairs],
            "unused": list(self.unused),
        }


def _slope(pairs: Sequence[Pair]) -> float:
    predicted = np.array([pair.predicted for pair in pairs])
    return float(predicted @ np.array([pair.measured for pair in pairs]) / (predicted @ predicted))


def measure_bias(fit: CurveFit) -> Bias:
    """How much of predicted differences came true on the fit's own curves, each schedule left out in turn.

    A share above 1 counts as 1: no predicted gain is ever raised.
    """
    pairs, unused = _pairs(fit)
    own = Bias(1.0, 0.0, tuple(pairs), tuple(unused))
    center, scatter = float(np.mean(PUBLISHED_SHARES)), float(np.std(PUBLISHED_SHARES, ddof=1))
    found = np.array(list(own.by_run.values()))
    spread = max(scatter, float(np.std(found, ddof=1))) if len(found) > 1 else scatter
    known = 1.0 / scatter**2 + len(found) / spread**2
    share = (center / scatter**2 + found.sum() / spread**2) / known
    return Bias(float(min(share, 1.0)), math.sqrt(spread**2 + 1.0 / known), own.pairs, own.unused)


def _pairs(fit: CurveFit) -> tuple[list[Pair], list[str]]:
    curves = own_curves(fit)
    if curves is None:
        return [], ["the fit does not hold its curves' learning rates: fit again"]
    pairs: list[Pair] = []
    unused = []
    held = {name: estimate.value for name, estimate in fit.params.items() if estimate.fixed}
    for kind in dict.fromkeys(curve.schedule for curve in curves.curves):
        left_out = [curve for curve in curves.curves if curve.schedule == kind]
        rest = [curve for curve in curves.curves if curve.schedule != kind]
        names = ", ".join(curve.run for curve in left_out)
        if not rest:
            unused.append(f"{names}: there is no other schedule")
        elif not any(_falls(curve) for curve in rest):
            unused.append(f"{names}: without it no learning rate falls")
        else:
            try:
                other = fit_curves(fit.law, curves.only({curve.run for curve in rest}), fix=held, seed=fit.seed)
            except LabError as fault:
                unused.append(f"{names}: {fault}")
                continue
            pairs += [pair for run in left_out for near in rest if (pair := _pair(other, run, near)) is not None]
    return pairs, unused


def _pair(fit: CurveFit, run: Curve, near: Curve) -> Pair | None:
    """The two curves over the last steps that both have; None where the law sees next to nothing between them."""
    step = float(min(run.step[-1], near.step[-1]))
    ends = []
    for curve in (run, near):
        last = (curve.step <= step) & (curve.step >= (1 - END) * step)
        if not last.any():
            return None
        predicted = fit.at(curve.history, curve.step[last], curve.params)
        ends.append((float(predicted.mean()), float(curve.loss[last].mean())))
    (predicted, measured), (other, beside) = ends
    if abs(predicted - other) < LEAST_DIFFERENCE:
        return None
    alike = _falls(run, step) and _falls(near, step)
    return Pair(run.run, near.run, int(step), predicted - other, measured - beside, alike)


def _falls(curve: Curve, step: float | None = None) -> bool:
    """Whether the rate has fallen by a step, or by the curve's last."""
    return bool((curve.history.drops[: int(curve.step[-1] if step is None else step)] > 0).any())


def own_curves(fit: CurveFit) -> Curves | None:
    """The curves that a fit holds, to be fitted again; None for a fit that does not hold their learning rates."""
    if not all(told.get("rates") for told in fit.curves):
        return None
    runs = np.asarray(fit.points["run_id"], dtype=object)
    curves = []
    for told in fit.curves:
        mine = runs == told["run"]
        plan = Schedule.from_dict(told["rates"])
        curves.append(
            Curve(
                run=str(told["run"]),
                step=np.asarray(fit.points["step"], dtype=float)[mine],
                loss=np.asarray(fit.points[fit.target], dtype=float)[mine],
                lines=np.zeros(int(mine.sum()), dtype=np.int64),
                schedule=plan,
                history=History(plan.updates(), plan.warmup_steps, fit.warmup),
                known_by=str(told["known_by"]),
                params=told.get("params"),
            )
        )
    made = tuple(curve for curve in curves if len(curve.step))
    return Curves(made, fit.target, fit.warmup, fit.smoothing, len(runs), {}, (), (), "FIT.json", "")


# ---------------------------------------------------------------------------------------------------------------- gain


@dataclass(frozen=True)
class Gain:
    """How much lower one schedule ends than another: as the law says, and as much of it as is likely to come true.

    The interval (`low`, `high`) is of what would be measured between two runs: it holds the doubt of the law's
    parameters, the spread of the share that comes true, and what two seeds differ by.
    """

    raw: float
    expected: float
    low: float
    high: float
    level: float

    @property
    def told(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        """JSON of it, in nats."""
        return {"raw": self.raw, "expected": self.expected, "interval": [self.low, self.high], "level": self.level}


def gain(raw: float, draws: Floats, bias: Bias, level: float, seed: int = 0) -> Gain:
    """A gain by the law, with its draws (m,), as it is likely to come true."""
    rng = np.random.default_rng([seed, 341])
    # Each draw of the parameters meets several shares, so that few draws do not make a narrow interval.
    drawn = np.repeat(draws[np.isfinite(draws)], 20)
    drawn = drawn * bias.draws(len(drawn), seed) + math.sqrt(2.0) * SEED_SD * rng.standard_normal(len(drawn))
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Gain(float(raw), float(raw * bias.share), float(low), float(high), level)


# ------------------------------------------------------------------------------------------------------------- compare


@dataclass(frozen=True)
class Entry:
    """A schedule with its loss by the law at `step`, the loss's interval, and how much lower it is than the first's."""

    label: str
    schedule: Schedule
    step: int
    loss: float
    low: float
    high: float
    gain: Gain | None

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "label": self.label,
            "schedule": self.schedule.to_dict(),
            "step": self.step,
            "loss": self.loss,
            "interval": [self.low, self.high],
            "gain": None if self.gain is None else self.gain.to_dict(),
        }


@dataclass(frozen=True)
class Losses:
    """Losses under schedules, in their order, with the bias of what is between them."""

    each: tuple[Entry, ...]
    law: str
    level: float
    bias: Bias
    listing: Listing
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The schedule that the others are measured against."""
        return self.each[0].label

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        return {
            "schema": LOSSES_SCHEMA,
            "law": self.law,
            "level": self.level,
            "first": self.first,
            "schedules": [entry.to_dict() for entry in self.each],
            "bias": self.bias.to_dict(),
            "warnings": [vars(notice) for notice in self.warnings],
            "notes": list(self.notes),
        }


def schedule_losses(
    fit: CurveFit,
    specs: Sequence[str | Schedule],
    *,
    at_step: int | None = None,
    level: float = 0.9,
    params: float | None = None,
    **defaults: Any,
) -> Losses:
    """The loss of each schedule by a fitted law of curves, at its last step or at one of all.

    `defaults` are fields that a spec may leave out (total, warmup, floor, lr_max); the peak and the warm-up are those
    of the fitted curves where they are one. Raises UsageError for a peak above all fitted ones, of which laws of loss
    curves say nothing, and for a step outside a schedule.
    """
    check_level(level)
    listing = list_schedules(specs, **filled(fit, defaults))
    bias = measure_bias(fit)
    entries: list[Entry] = []
    drawn: list[Floats] = []
    for listed in listing.each:
        made = listed.schedule
        check_peak(fit, made.lr_max, listed.label)
        step = made.total if at_step is None else at_step
        if not 1 <= step <= made.total:
            raise UsageError(f"--at-step {step} lies outside the {made.total} steps of {listed.label}")
        history = fit.history(made)
        found = fit.forecast(history, [step], level, params)
        drawn.append(fit.at_draws(history, [step], params)[:, 0])
        loss, low, high = (float(part[0]) for part in (found.loss, found.low, found.high))
        less = gain(entries[0].loss - loss, drawn[0] - drawn[-1], bias, level, fit.seed) if entries else None
        entries.append(Entry(listed.label, made, step, loss, low, high, less))
    warnings = (
        *bias_warnings(bias),
        *listing.warnings,
        *longer(fit, max(entry.step for entry in entries)),
        *lower(fit, [(entry.label, entry.schedule) for entry in entries]),
    )
    return Losses(tuple(entries), fit.law, level, bias, listing, warnings, listing.notes, listing.inputs)


# ------------------------------------------------------------------------------------------------- checks and warnings


def check_level(level: float) -> None:
    """Raises UsageError where a level is no probability."""
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")


def filled(fit: CurveFit, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a schedule, those that are None taken from the fitted curves: their peak, and their one warm-up."""
    known = {name: value for name, value in fields.items() if value is not None}
    known.setdefault("lr_max", fit.peak)
    if "warmup" not in known:
        known["warmup"] = own_warmup(fit)
    return known


def own_warmup(fit: CurveFit) -> int:
    """The warm-up of the fitted curves; raises UsageError where they had several."""
    lengths = sorted({int(told["warmup_steps"]) for told in fit.curves})
    if len(lengths) > 1:
        told = ", ".join(f"{length:,}" for length in lengths)
        raise UsageError(f"the fitted curves' warm-ups were of {told} steps; say which with --warmup")
    return lengths[0]


def check_peak(fit: CurveFit, peak: float, label: str) -> None:
    """Raises UsageError where a peak lies above every fitted one."""
    if peak > SAME_PEAK * fit.peak:
        raise UsageError(
            f"{label}: a peak of {peak:g} lies above {fit.peak:g}, the highest of the fitted curves; laws of loss "
            "curves take any higher rate for a better one, so nothing is computed there: fit curves of that peak too"
        )


def bias_warnings(bias: Bias) -> tuple[Notice, ...]:
    """What the data at hand say, or can't, of the bias of predicted differences."""
    if not bias.pairs:
        message = (
            "no two of the fitted curves tell how much of a predicted difference comes true: gains are discounted by "
            f"the published shares alone, {min(PUBLISHED_SHARES):.2f} to {max(PUBLISHED_SHARES):.2f}"
        )
        return (Notice("SL340", severity("SL340"), message),)
    wrong = [pair for pair in bias.pairs if pair.share <= 0]
    if wrong:
        said = "; ".join(f"{pair.run} against {pair.against}" for pair in wrong)
        message = f"without the one run the law gets the order of two of the fitted curves wrong: {said}"
        return (Notice("SL343", severity("SL343"), message),)
    return ()


def longer(fit: CurveFit, steps: int) -> tuple[Notice, ...]:
    """A notice where a run is longer than every fitted curve."""
    if steps <= LONGER * fit.steps:
        return ()
    message = (
        f"step {format_quantity(steps)} is {steps / fit.steps:.2g} times the last of the fitted curves, "
        f"{format_quantity(fit.steps)}: the trend is carried on"
    )
    return (Notice("SL342", severity("SL342"), message),)


def lower(fit: CurveFit, made: Sequence[tuple[str, Schedule]]) -> tuple[Notice, ...]:
    """A notice where a rate lies below every fitted one: laws go on promising there."""
    least = min(float(told["final_lr"]) for told in fit.curves)
    lowest = [(label, float(plan.updates()[plan.warmup_steps :].min())) for label, plan in made]
    below = [f"{label} ({value:.3g})" for label, value in lowest if value < 0.99 * least]
    if not below:
        return ()
    message = f"rates fall below {least:.3g}, the lowest that a fitted curve ended on: {', '.join(below)}"
    return (Notice("SL344", severity("SL344"), message),)


def check_curve_fit(fit: Any) -> CurveFit:
    """The fit; raises BadInput where it is none of loss curves."""
    if not isinstance(fit, CurveFit):
        raise BadInput(
            "is not a fit of loss curves", fix="make one with scaling-lab fit multi-power CURVES --out F.json"
        )
    return fit
