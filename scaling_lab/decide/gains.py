"""Differences between schedules by a fitted law of loss curves, and how much of such differences came true so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.codes import severity
from ..engine.curves import CurveFit, fit_curves
from ..engine.result import Notice
from ..errors import BadInput, LabError, UsageError
from ..histories import History
from ..quantities import format_quantity
from ..schedules import Schedule, left_out
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
# How wrong laws are of a difference however small it is, as sd in nats: the root mean square error of the fifteen of
# three laws at 25M and 100M that were measured below .01 (.0035 and .0051; bench/best_schedule.py).
LAW_SD = 0.0042
# A pair of runs tells of the bias where the law sees at least this many nats between them: several times what seeds do.
LEAST_DIFFERENCE = 0.005
# The end of a curve, over which losses are averaged.
END = 0.02
# Places of a curve that is drawn.
PATH = 120
# A peak that much above the highest fitted one is another peak, and no rounding.
SAME_PEAK = 1.001
# Beyond the longest curve by more than this factor, a run's end is told of.
LONGER = 1.02


# ---------------------------------------------------------------------------------------------------------------- bias


@dataclass(frozen=True)
class Pair:
    """Two finished curves at a common step: the loss of `run` less that of `against`, as predicted without `run`.

    `doubt` is the sd of the predicted difference by that fit's draws; `alike` says that the rate falls in both, as in
    the schedules that a best one is chosen from.
    """

    run: str
    against: str
    step: int
    predicted: float
    measured: float
    doubt: float
    alike: bool

    @property
    def share(self) -> float:
        """How much of the predicted difference came true."""
        return self.measured / self.predicted

    @property
    def variance(self) -> float:
        """How far off the share may be for the doubt of the fit and the seeds of the runs alone."""
        return (self.doubt**2 + 2 * SEED_SD**2) / self.predicted**2


@dataclass(frozen=True)
class Bias:
    """How much of the differences between schedules that a law predicts comes true.

    `share` is what is expected of a next one, `sd` its spread and `runs` how many values are behind them; `pairs` are
    those of the fit's own curves, each predicted by a fit without one of the two, and `unused` says which runs could
    not be left out, and why. Where the rate falls in both runs of some pairs those alone count: whether a rate falls at
    all is easier foretold than how. Share and spread are of the runs left out and the published ones together, by the
    random-effects mean of DerSimonian & Laird 1986: a value that its own noise leaves open weighs little.
    """

    share: float
    sd: float
    runs: int
    pairs: tuple[Pair, ...]
    unused: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[Pair, ...]:
        """The pairs that tell the share."""
        return tuple(pair for pair in self.pairs if pair.alike) or self.pairs

    @property
    def by_run(self) -> dict[str, tuple[float, float]]:
        """The share that came true for each run that was left out, and its variance by noise alone.

        Pairs of one run weigh by what their noise leaves, and are no surer together than the surest of them.
        """
        found = {}
        for run in dict.fromkeys(pair.run for pair in self.counted):
            own = [pair for pair in self.counted if pair.run == run]
            weights = np.array([1.0 / pair.variance for pair in own])
            shares = np.array([pair.share for pair in own])
            found[run] = (float(weights @ shares / weights.sum()), min(pair.variance for pair in own))
        return found

    @property
    def measured(self) -> float | None:
        """The share on the data at hand, a mean over the runs left out by what their noise leaves; None without any."""
        if not self.pairs:
            return None
        shares, variances = np.array(list(self.by_run.values())).T
        return float(shares @ (1.0 / variances) / (1.0 / variances).sum())

    def draws(self, count: int, seed: int) -> Floats:
        """Shares (count,) of a next difference: Student's t, for the spread is known from few values."""
        return self.share + self.sd * np.random.default_rng([seed, 340]).standard_t(self.runs - 1, count)

    def to_dict(self) -> dict[str, Any]:
        """JSON: the shares, and every pair behind them."""
        return {
            "share": self.share,
            "sd": self.sd,
            "values": self.runs,
            "measured_share": self.measured,
            "published_shares": list(PUBLISHED_SHARES),
            "pairs": [{**vars(pair), "share": pair.share} for pair in self.pairs],
            "unused": list(self.unused),
        }


def measure_bias(fit: CurveFit, published: Sequence[tuple[float, float]] = PUBLISHED) -> Bias:
    """How much of predicted differences came true on the fit's own curves, each schedule left out in turn.

    They are pooled with `published` (measured, predicted) differences, two at least. A share above 1 counts as 1: no
    predicted gain is ever raised.
    """
    pairs, unused = _pairs(fit)
    own = Bias(1.0, 0.0, 1, tuple(pairs), tuple(unused))
    others = [(measured / predicted, 2 * SEED_SD**2 / predicted**2) for measured, predicted in published]
    values = [*others, *own.by_run.values()]
    share, sd = _random_effects(values)
    return Bias(min(share, 1.0), sd, len(values), own.pairs, own.unused)


def _random_effects(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of values with variances, (n, 2), that differ by more than those, and the sd of a next one."""
    found, variances = np.array(values).T
    weights = 1.0 / variances
    center = weights @ found / weights.sum()
    excess = weights @ (found - center) ** 2 - (len(found) - 1)
    between = max(0.0, float(excess / (weights.sum() - (weights @ weights) / weights.sum())))
    weights = 1.0 / (variances + between)
    return float(weights @ found / weights.sum()), math.sqrt(between + 1.0 / float(weights.sum()))


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
    ends, drawn = [], []
    for curve in (run, near):
        last = (curve.step <= step) & (curve.step >= (1 - END) * step)
        if not last.any():
            return None
        by_law = fit.at(curve.history, curve.step[last], curve.params)
        ends.append((float(by_law.mean()), float(curve.loss[last].mean())))
        drawn.append(fit.at_draws(curve.history, curve.step[last], curve.params).mean(axis=1))
    (predicted, measured), (other, beside) = ends
    if abs(predicted - other) < LEAST_DIFFERENCE:
        return None
    apart = drawn[0] - drawn[1]
    doubt = float(np.std(apart[np.isfinite(apart)]))
    alike = _falls(run, step) and _falls(near, step)
    return Pair(run.run, near.run, int(step), predicted - other, measured - beside, doubt, alike)


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
    parameters, the spread of the share that comes true, and how wrong laws are of small differences too.
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


def gain(raw: float, draws: Floats, bias: Bias, level: float, off: float = LAW_SD, seed: int = 0) -> Gain:
    """A gain by the law, with its draws (m,), as it is likely to come true.

    `off` is how wrong a law is of any difference, as sd in nats.
    """
    rng = np.random.default_rng([seed, 341])
    # Each draw of the parameters meets several shares, so that few draws do not make a narrow interval.
    drawn = np.repeat(draws[np.isfinite(draws)], 20)
    drawn = drawn * bias.draws(len(drawn), seed) + off * rng.standard_normal(len(drawn))
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Gain(float(raw), float(raw * bias.share), float(low), float(high), level)


def off_law(fit: CurveFit, loss: float) -> float:
    """How wrong a law is of any difference between two runs about a loss, as sd in nats.

    As other laws were, or as much as two of the fitted points lie off it.
    """
    return max(LAW_SD, math.sqrt(2.0) * fit.sd * loss)


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
    listing = _listed(fit, specs, defaults)
    for listed in listing.each:
        check_peak(fit, listed.schedule.lr_max, listed.label)
        if at_step is not None and not listed.schedule.warmup_steps < at_step <= listed.schedule.total:
            steps = f"{listed.schedule.warmup_steps + 1} … {listed.schedule.total}"
            raise UsageError(f"--at-step {at_step} lies outside {steps}, the steps of {listed.label} after its warm-up")
    bias = measure_bias(fit)
    entries: list[Entry] = []
    drawn: list[Floats] = []
    for listed in listing.each:
        made = listed.schedule
        step = made.total if at_step is None else at_step
        history = fit.history(made)
        found = fit.forecast(history, [step], level, params)
        drawn.append(fit.at_draws(history, [step], params)[:, 0])
        loss, low, high = (float(part[0]) for part in (found.loss, found.low, found.high))
        less = (
            gain(entries[0].loss - loss, drawn[0] - drawn[-1], bias, level, off_law(fit, loss), fit.seed)
            if entries
            else None
        )
        entries.append(Entry(listed.label, made, step, loss, low, high, less))
    warnings = (
        *bias_warnings(bias),
        *listing.warnings,
        *longer(fit, max(entry.step for entry in entries)),
        *lower(fit, [(entry.label, entry.schedule) for entry in entries]),
    )
    return Losses(tuple(entries), fit.law, level, bias, listing, warnings, listing.notes, listing.inputs)


def loss_paths(fit: CurveFit, found: Losses, params: float | None = None) -> list[tuple[Floats, Floats]]:
    """Steps (k,) and losses (k,) by the law of each schedule, from a tenth of its steps to where it is compared."""
    paths = []
    for entry in found.each:
        first = max(entry.schedule.warmup_steps, entry.step // 10, 1)
        steps = np.unique(np.round(np.linspace(first, entry.step, PATH)))
        paths.append((steps, fit.at(fit.history(entry.schedule), steps, params)))
    return paths


# ------------------------------------------------------------------------------------------------- checks and warnings


def check_level(level: float) -> None:
    """Raises UsageError where a level is no probability."""
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} is not between 0 and 1")


def _listed(fit: CurveFit, specs: Sequence[str | Schedule], fields: Mapping[str, Any]) -> Listing:
    """The schedules, what neither they nor the fields say taken from the fitted curves: peak and warm-up.

    A file that rises to its peak from the first step on has its warm-up there. A fault of a spec is a UsageError.
    """
    known = {name: value for name, value in fields.items() if value is not None}
    try:
        missing = {name for spec in specs if isinstance(spec, str) for name in left_out(spec)} - set(known)
        if "lr_max" in missing:
            known["lr_max"] = fit.peak
        if "warmup" in missing:
            known["warmup"] = own_warmup(fit)
        listing = list_schedules(specs, **known)
    except BadInput as fault:
        if fault.file is not None:
            raise
        raise UsageError(str(fault)) from None
    each, notes = [], list(listing.notes)
    for listed in listing.each:
        rise = _rise(listed.schedule)
        if rise:
            notes.append(f"{listed.label}: its first {rise:,} steps rise to the peak, and are taken for its warm-up")
            listed = replace(listed, schedule=replace(listed.schedule, warmup_steps=rise))
        each.append(listed)
    return replace(listing, each=tuple(each), notes=tuple(notes))


def _rise(schedule: Schedule) -> int:
    """Steps of the rise that a free form without a stated warm-up begins with; none where it does not rise."""
    if schedule.kind is not None or schedule.warmup_steps:
        return 0
    rates = schedule.updates()
    top = int(np.argmax(rates >= rates.max() * (1 - 1e-9)))
    return top + 1 if top and bool((np.diff(rates[: top + 1]) > 0).all()) and top + 1 < len(rates) else 0


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
        f"step {format_quantity(steps)} is {steps / fit.steps:.3g} times the last of the fitted curves, "
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
