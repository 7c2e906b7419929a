"""Schedules against each other: what a convergence bound says of them, and the schedule that gradient norms ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..engine.codes import severity
from ..engine.result import Notice
from ..errors import BadInput, UsageError, nearest
from ..files import sha256_file
from ..quantities import ALIASES, format_quantity
from ..schedules import FREE_FORM, LEAST_PEAK, MOST_UPDATES, SCHEDULES, Schedule, file_of, left_out
from ..smoothing import smoothed
from ..tables import Table, read_table
from ..tables.table import own_numbers

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SHOWN_SCHEMA, RANKED_SCHEMA = "scaling-lab/schedules/1", "scaling-lab/schedule-bounds/1"
NAMES_SCHEMA = "scaling-lab/schedule-names/1"
# What a spec may leave to an option.
TAKEN = ("total", "lr_max", "warmup", "floor")
OPTIMIZERS = {"adam": 1.0, "sgd": 2.0}
# facebookresearch/adaptive_scheduling: the length to which norms are brought, and the share that a median looks over.
NORMS, MEDIAN = 10_000, "median:10%"
# Steps at which a refined schedule is kept, ten for each norm; a shorter one is kept at every step.
KNOTS = 10 * NORMS
# Fewer norms than this leave a window of a tenth of them with fewer than eleven.
FEW_NORMS = 100
# A log that begins later than this share of the run says nothing of the warm-up.
LATE = 0.02
# How fine a refined schedule is looked at where a warm-up and an exponent are fitted to it.
FITTED = 500


# --------------------------------------------------------------------------------------------------------------- bound


@dataclass(frozen=True)
class Bound:
    """The last iterate's convergence bound of a schedule, D²/(2Ση) and two terms of noise, at every scale of it.

    With rates γ·η the bound is start/γ + γ·(noise + last); `scale` is the γ that makes it least and `value` that least.
    Lengths are in units of the start's distance from the optimum and of the gradient's norm (D = G = 1 unless given).
    `updates` counts the updates that move, `idle` those at a rate of zero, which the bound leaves out.
    """

    start: float
    noise: float
    last: float
    updates: int
    idle: int

    @property
    def scale(self) -> float:
        """γ*, the factor on the rates that makes the bound least."""
        return math.sqrt(self.start / (self.noise + self.last))

    @property
    def value(self) -> float:
        """The bound at γ*."""
        return 2.0 * math.sqrt(self.start * (self.noise + self.last))

    def at(self, scale: float) -> float:
        """The bound with the rates times `scale`."""
        return self.start / scale + scale * (self.noise + self.last)

    def to_dict(self) -> dict[str, Any]:
        """JSON of the bound."""
        return {**vars(self), "scale": self.scale, "value": self.value}


def bound(rates: Schedule | ArrayLike, gradient_norms: ArrayLike | None = None, distance: float = 1.0) -> Bound:
    """The last-iterate bound of a schedule's updates, or of rates (T,), by sums of O(T).

    Schaipp et al. 2025, arXiv:2501.18965, theorem 10: convex, Lipschitz, subgradient steps η_t from a start at
    `distance` from an optimum, gradients of norms `gradient_norms` (T,), 1 unless given. An update at a rate of zero
    moves nothing and is left out, which changes no iterate. Raises BadInput for rates or norms that can't be such.
    """
    eta = rates.updates() if isinstance(rates, Schedule) else np.asarray(rates, dtype=np.float64)
    norms = np.ones_like(eta) if gradient_norms is None else np.asarray(gradient_norms, dtype=np.float64)
    if eta.ndim != 1 or not eta.size or not (np.isfinite(eta).all() and (eta >= 0).all() and eta.any()):
        raise BadInput("the rates of a bound are a list of numbers from zero up, not all of them zero")
    if norms.shape != eta.shape:
        raise BadInput(f"{norms.size} gradient norms are not one for each of {eta.size} updates")
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise BadInput("a gradient norm is zero, negative or no finite number", fix="leave such rows out")
    if not (math.isfinite(distance) and distance > 0):
        raise BadInput(f"a distance of {distance:g} from the optimum is not above zero")
    moving = eta > 0
    # Shares of the peak and of the largest norm: their squares neither overflow nor vanish.
    peak, steep = float(eta.max()), float(norms.max())
    eta = eta[moving] / peak
    squares = (eta * (norms[moving] / steep)) ** 2
    left, noise = np.cumsum(eta[::-1])[::-1], np.cumsum(squares[::-1])[::-1]
    last = 0.5 * float(np.sum(eta[:-1] / left[1:] * (noise[:-1] / left[:-1])))
    return Bound(
        start=distance**2 / (2.0 * float(left[0])) / peak,
        noise=float(noise[0]) / (2.0 * float(left[0])) * peak * steep**2,
        last=last * peak * steep**2,
        updates=int(moving.sum()),
        idle=int((~moving).sum()),
    )


def transfer_lr(
    lr: float,
    tuned: Schedule,
    other: Schedule,
    gradient_norms: ArrayLike | None = None,
) -> float:
    """The peak rate that `other` wants where `lr` was the best peak of `tuned`: by the ratio of the bounds' own peaks.

    Between shapes and between horizons, at one model and batch. `gradient_norms` (T,) where both have T updates.
    """
    if not (math.isfinite(lr) and lr > 0):
        raise BadInput(f"lr = {lr:g}: the tuned peak is a number above zero")
    return lr * _peak(other, bound(other, gradient_norms)) / _peak(tuned, bound(tuned, gradient_norms))


def _peak(schedule: Schedule, found: Bound) -> float:
    return found.scale * schedule.lr_max


@dataclass(frozen=True)
class Listed:
    """A schedule with the words that named it and, where schedules are ranked, its bound.

    `peak` is the peak at which its bound is least, in units of distance over gradient norm; `peak_ratio` that over the
    first schedule's, `lr` the peak it wants where the first one's was tuned, and `kept` the bound with the peak that
    it was written with (none was where that is 1).
    """

    label: str
    schedule: Schedule
    bound: Bound | None = None
    peak: float | None = None
    peak_ratio: float | None = None
    lr: float | None = None

    @property
    def kept(self) -> float | None:
        """The bound at the schedule's own peak, which the tuned peak of the first one gives a scale."""
        if self.bound is None or self.lr is None or self.schedule.lr_max == 1:
            return None
        return self.bound.at(self.bound.scale * self.schedule.lr_max / self.lr)

    @cached_property
    def rates(self) -> Floats:
        """The rates of all updates, shape (T,)."""
        return self.schedule.updates()

    @property
    def idle(self) -> int:
        """Updates at a rate of zero."""
        return int((self.rates == 0).sum())

    def to_dict(self) -> dict[str, Any]:
        """JSON: the schedule, its last rate, its area and what the bound says."""
        made, rates = self.schedule, self.rates
        own: dict[str, Any] = {
            "label": self.label,
            "schedule": made.to_dict(),
            "last": float(rates[-1]),
            "area": float(rates.sum()),
            "warmup_area": made.area(made.warmup_steps),
            "idle": self.idle,
        }
        if self.bound is None:
            return own
        more = {name: getattr(self, name) for name in ("peak", "peak_ratio", "lr", "kept")}
        return own | {"bound": self.bound.to_dict()} | more


@dataclass(frozen=True)
class Listing:
    """Schedules in the order given, or best bound first; `first` is the label that others are measured against."""

    each: tuple[Listed, ...]
    first: str
    ranked: bool = False
    tuned_lr: float | None = None
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    def rates(self) -> pd.DataFrame:
        """A row for each step 1 … T: step and lr, and before them the schedule's label where there are several."""
        import pandas as pd

        frames = []
        for entry in self.each:
            steps = np.arange(1, entry.schedule.total + 1)
            frames.append(pd.DataFrame({"schedule": entry.label, "step": steps, "lr": entry.rates}))
        whole = pd.concat(frames, ignore_index=True)
        return whole if len(self.each) > 1 else whole[["step", "lr"]]

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        return {
            "schema": RANKED_SCHEMA if self.ranked else SHOWN_SCHEMA,
            "schedules": [entry.to_dict() for entry in self.each],
            **({"first": self.first, "tuned_lr": self.tuned_lr} if self.ranked else {}),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def list_schedules(specs: Sequence[str | Schedule], **defaults: Any) -> Listing:
    """The schedules of specs such as cosine:total=24K, in their order; `defaults` are fields that a spec may leave out.

    Raises UsageError without one, or where no spec takes a default that is given; BadInput naming what is wrong.
    """
    if not specs:
        raise UsageError("name a schedule, as cosine:total=24000,warmup=2000,floor=0.1")
    _check_taken(specs, defaults)
    each = tuple(
        Listed(_label(spec), spec if isinstance(spec, Schedule) else _parsed(spec, defaults)) for spec in specs
    )
    inputs = {path: sha256_file(path) for spec in specs if isinstance(spec, str) and (path := file_of(spec))}
    repeated = [entry.label for i, entry in enumerate(each) if entry.label in {e.label for e in each[:i]}]
    if repeated:
        raise UsageError(f"{repeated[0]} is named twice; name it once")
    return Listing(each, each[0].label, warnings=_idle(each), inputs=inputs)


def rank_schedules(
    specs: Sequence[str | Schedule], *, tuned_lr: float | None = None, distance: float = 1.0, **defaults: Any
) -> Listing:
    """The schedules, least bound first, each with the peak it wants beside the first one's.

    `tuned_lr` is the best peak that was found for the first schedule: each entry's `lr` is then the peak that its own
    bound asks for. The bound is of convex problems and knows no loss: it ranks, it predicts nothing.
    """
    listed = list_schedules(specs, **defaults)
    if tuned_lr is not None and not LEAST_PEAK <= tuned_lr <= 1 / LEAST_PEAK:
        raise UsageError(f"--tuned-lr {tuned_lr:g} is not a rate above zero that a run can have")
    bounds = [bound(entry.rates, distance=distance) for entry in listed.each]
    peaks = [_peak(entry.schedule, found) for entry, found in zip(listed.each, bounds, strict=True)]
    entries = [
        Listed(
            entry.label,
            entry.schedule,
            found,
            peak,
            peak / peaks[0],
            None if tuned_lr is None else tuned_lr * peak / peaks[0],
        )
        for entry, found, peak in zip(listed.each, bounds, peaks, strict=True)
    ]
    entries.sort(key=lambda entry: entry.bound.value if entry.bound else math.inf)
    warnings = (*listed.warnings, *_horizons(entries))
    return replace(listed, each=tuple(entries), ranked=True, tuned_lr=tuned_lr, warnings=warnings)


def _check_taken(specs: Sequence[str | Schedule], defaults: Mapping[str, Any]) -> None:
    """Refuses a default of the command line that would change nothing."""
    texts = [spec for spec in specs if isinstance(spec, str)]
    for name in TAKEN:
        value = defaults.get(name)
        if value is not None and not any(name in left_out(text) for text in texts):
            raise UsageError(
                f"--{name.replace('_', '-')} {value:g} is taken by none of the schedules: each gives its own or has no "
                "such number; leave it out"
            )


def _label(spec: str | Schedule) -> str:
    return str(spec) if isinstance(spec, Schedule) else spec.strip()


def _parsed(spec: str, defaults: Mapping[str, Any]) -> Schedule:
    return Schedule.parse(spec, **{name: value for name, value in defaults.items() if value is not None})


def _idle(each: Sequence[Listed]) -> tuple[Notice, ...]:
    """Updates at a rate of zero, but for the last one of a schedule that falls to zero."""
    # An optimizer with decoupled weight decay scales that by the rate too: such an update changes nothing at all.
    found = [(entry.label, entry.idle) for entry in each if entry.idle > 1]
    if not found:
        return ()
    said = ", ".join(f"{count:,} of {label}" for label, count in found)
    message = f"updates at a learning rate of zero change nothing: {said}"
    return (Notice("SL450", severity("SL450"), message),)


def _horizons(each: Sequence[Listed]) -> tuple[Notice, ...]:
    totals = sorted({entry.schedule.total for entry in each})
    if len(totals) < 2:
        return ()
    span = f"{format_quantity(totals[0])} to {format_quantity(totals[-1])} steps"
    message = f"the schedules have {span}: a longer one has the lower bound for its length alone"
    return (Notice("SL451", severity("SL451"), message),)


def catalogue() -> dict[str, Any]:
    """JSON of all names: formula, source, which of floor and decay each has, its own settings (null: must be given)."""
    listed = [
        {
            "name": name,
            "formula": kind.formula,
            "source": kind.source,
            "uses": sorted(kind.uses),
            "settings": {key: {"default": s.default, "meaning": s.meaning} for key, s in kind.settings.items()},
        }
        for name, kind in SCHEDULES.items()
    ]
    return {"schema": NAMES_SCHEMA, "schedules": listed}


# ---------------------------------------------------------------------------------------------------------- refinement


@dataclass(frozen=True)
class Refined:
    """The schedule that gradient norms of a run ask for, and its summary as a warm-up and a power.

    `warmup` and `exponent` are those of the nearest schedule that rises in a line to its peak at that share of the run
    and then falls as (1 − x)^exponent; `off` is the root mean square of what it differs by, over the peak.
    """

    schedule: Schedule
    optimizer: str
    smooth: str
    norms: int
    warmup: float
    exponent: float
    off: float
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        """The nearest schedule with a name."""
        total = self.schedule.total
        return f"poly:total={total},warmup={round(self.warmup * total)},q={self.exponent:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """JSON of the refinement, without the rates themselves (they are the schedule's)."""
        names = ("optimizer", "smooth", "norms", "warmup", "exponent", "off", "spec")
        return {name: getattr(self, name) for name in names}


def list_refined(found: Refined) -> Listing:
    """The refined schedule as a listing of one."""
    entry = Listed(f"refined for {found.optimizer}", found.schedule)
    return Listing((entry,), entry.label, warnings=found.warnings, notes=found.notes, inputs=found.inputs)


def refined_shares(gradient_norms: ArrayLike, optimizer: str = "adam") -> Floats:
    """The refined rates of updates 0 … T as shares of the largest, shape (T + 1,), for norms (T,) taken as they are.

    Defazio et al. 2023, arXiv:2310.07831: η_t ∝ w_t · Σ_{p > t} w_p with w = 1/G of L1 norms for adam and 1/G² of L2
    norms for sgd, so that η_T = 0; equal norms give 1 − t/T. Step 0 stands before the first update, at w_1 · Σ w.
    """
    if optimizer not in OPTIMIZERS:
        raise UsageError(f"--optimizer {optimizer!r} is not known; {nearest(optimizer, OPTIMIZERS)}")
    norms = np.asarray(gradient_norms, dtype=np.float64)
    if norms.ndim != 1 or norms.size < 2:
        raise BadInput(f"{norms.size} gradient norms make no schedule", fix="give one for each of at least two updates")
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise BadInput("a gradient norm is zero, negative or no finite number", fix="leave such rows out")
    # Only ratios of the weights matter: at scale one no norm, however small, overflows.
    weights = (norms / norms.min()) ** -OPTIMIZERS[optimizer]
    tails = np.concatenate([np.cumsum(weights[::-1])[::-1], [0.0]])
    rates = np.concatenate([weights[:1], weights]) * tails
    return np.asarray(rates / rates.max())


def refined(
    gradient_norms: ArrayLike,
    *,
    optimizer: str = "adam",
    total: float | None = None,
    lr_max: float = 1.0,
    steps: ArrayLike | None = None,
    smooth: str = MEDIAN,
) -> Refined:
    """The refined schedule of `total` updates (default: the norms' own) from the norms (n,) of a run like it.

    `steps` (n,) says after which update each norm was logged, 1 … n where it is left out. The norms are brought to at
    most 10,000 even places and smoothed: median:10% is the published filter, "none" none, others as in `--smooth`.
    Raises BadInput for norms or steps that can't be such.
    """
    norms = np.asarray(gradient_norms, dtype=np.float64)
    places = np.arange(1.0, norms.size + 1) if steps is None else np.asarray(steps, dtype=np.float64)
    if places.shape != norms.shape or (np.diff(places) <= 0).any() or not places.size or places[0] < 0:
        raise BadInput("the steps of the norms are not one for each, rising", fix="sort the log by step")
    if places[-1] <= 0:
        raise BadInput("the norms end at step 0", fix="give the step of each norm")
    refined_shares(norms, optimizer)  # refuses what can't be norms before they are smoothed
    count = min(norms.size, NORMS)
    even = np.interp(np.arange(1, count + 1) * (places[-1] / count), places, norms)
    shares = refined_shares(_smoothed_norms(even, smooth), optimizer)
    updates = round(places[-1]) if total is None else total
    if not 2 <= updates <= MOST_UPDATES or updates != round(updates):
        raise UsageError(f"--total {updates:g} is not a number of updates, 2 to {MOST_UPDATES:g}")
    if not (math.isfinite(lr_max) and lr_max > 0):
        raise UsageError(f"--lr-max {lr_max:g} is not a rate above zero")
    # The shares are lines between at most NORMS places: more knots than that say nothing more.
    knots = np.unique(np.round(np.linspace(0.0, updates, min(int(updates), KNOTS) + 1)))
    rates = np.interp(knots / updates, np.arange(count + 1) / count, shares)
    rates /= rates.max()
    made = Schedule(FREE_FORM, int(updates), knots=tuple(knots.tolist()), rates=tuple((lr_max * rates).tolist()))
    warmup, exponent, off = fit_poly(rates)
    return Refined(made, optimizer, smooth, norms.size, warmup, exponent, off, _doubts(norms, places, optimizer))


def _smoothed_norms(norms: Floats, smooth: str) -> Floats:
    """Norms at even places, smoothed; the published median looks past the end at the mirrored norms."""
    if not smooth.startswith("median:"):
        return smoothed(norms, smooth)
    from scipy.ndimage import median_filter

    try:
        share = float(smooth.removeprefix("median:").removesuffix("%")) / 100 if smooth.endswith("%") else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 0.5:
        raise UsageError(f"smoothing {smooth!r}: give a share of all norms up to 50 %, as in {MEDIAN}")
    width = 2 * (int(share * norms.size) // 2) + 1
    pad = min(2 * width, norms.size - 1)
    mirrored = np.concatenate([norms, norms[-2 : -2 - pad : -1]])
    return np.asarray(median_filter(mirrored, size=width, mode="nearest")[: norms.size])


def fit_poly(shares: ArrayLike) -> tuple[float, float, float]:
    """The warm-up share, the exponent and the misfit of the schedule nearest to shares of a peak (T + 1,).

    Least squares over even places: x/f up to the warm-up's end f, then (1 − (x − f)/(1 − f))^q. Searched on a grid and
    polished; the misfit is the root mean square.
    """
    from scipy.optimize import least_squares

    given = np.asarray(shares, dtype=np.float64)
    # From the first place on: at 0 a warm-up of no length has two values.
    x = np.linspace(0.0, 1.0, min(FITTED, given.size - 1) + 1)[1:]
    y = np.interp(x, np.linspace(0.0, 1.0, given.size), given)
    warmups, exponents = np.linspace(0.0, 0.95, 96), np.geomspace(0.05, 20.0, 60)
    errors = np.array([((_poly(x, f, exponents[:, None]) - y) ** 2).mean(axis=1) for f in warmups])
    best: tuple[float, float, float] | None = None
    for place in np.argsort(errors, axis=None)[:5]:
        row, column = np.unravel_index(place, errors.shape)
        found = least_squares(
            lambda p: _poly(x, p[0], p[1]) - y,
            (max(float(warmups[row]), 1e-6), float(exponents[column])),
            bounds=((0.0, 0.01), (0.99, 100.0)),
            x_scale=(0.01, 0.1),
        )
        if best is None or found.cost < best[0]:
            best = (float(found.cost), float(found.x[0]), float(found.x[1]))
    assert best is not None
    return best[1], best[2], math.sqrt(2.0 * best[0] / x.size)


def _poly(x: Floats, warmup: float, exponent: Any) -> Floats:
    rise = x / warmup if warmup > 0 else np.ones_like(x)
    fall = np.clip((1.0 - x) / (1.0 - warmup), 0.0, 1.0) ** exponent
    return np.where(x < warmup, rise, fall)


def _doubts(norms: Floats, steps: Floats, optimizer: str) -> tuple[Notice, ...]:
    found = []
    if norms.size < FEW_NORMS:
        message = f"{norms.size} gradient norms are few: below {FEW_NORMS} the median of a tenth of them smooths little"
        found.append(Notice("SL452", severity("SL452"), message))
    if steps[0] > 1 and steps[0] > LATE * steps[-1]:
        message = f"the norms begin at step {steps[0]:g} of {steps[-1]:g}: the first of them stands for all before it"
        found.append(Notice("SL453", severity("SL453"), message))
    return tuple(found)


def refine_log(
    source: str | pd.DataFrame | Table,
    column: str,
    *,
    optimizer: str = "adam",
    total: float | None = None,
    lr_max: float = 1.0,
    smooth: str = MEDIAN,
    where: str | None = None,
) -> Refined:
    """The refined schedule from the column of gradient norms in a log, by its column `step` where it has one.

    Rows without a norm are left out and counted. Raises BadInput with the line of a norm that can't be one.
    """
    table = read_table(source, where=where)
    norms, steps, notes = _norms(table, column)
    found = refined(norms, optimizer=optimizer, total=total, lr_max=lr_max, steps=steps, smooth=smooth)
    doubts = found.warnings
    if optimizer == "adam" and not any(word in column.lower() for word in ("l1", "norm1", "abs")):
        message = (
            f"for adam the norms are L1 (sums of absolute values); {column!r} does not say so, and most logs hold L2"
        )
        doubts = (*doubts, Notice("SL454", severity("SL454"), message))
    return replace(found, warnings=doubts, notes=notes, inputs={table.name: table.sha256})


def _norms(table: Table, column: str) -> tuple[Floats, Floats | None, tuple[str, ...]]:
    """The norms, their steps where the table has them, and what was left out."""
    own = [str(name) for name in table.frame.columns]
    if column not in own:
        close = nearest(column, own)
        fix = close if "did you" in close else f"it has {', '.join(own[:12])}"
        raise BadInput(
            f"no column {column!r} of gradient norms", file=table.name, fix=f"{fix}; name it with --norm-column"
        )
    norms, odd = own_numbers(table, column)
    there = ~np.isnan(norms)
    for row in sorted({*odd, *np.flatnonzero(there & ~(np.isfinite(norms) & (norms > 0)))}):
        shown = odd.get(int(row), f"{norms[row]:g}")
        raise BadInput(
            f"{shown!r} is no gradient norm above zero",
            file=table.name,
            line=int(table.lines[row]),
            column=column,
            fix=f"leave such rows out, as with --where '{column} > 0'",
        )
    if not there.any():
        raise BadInput("the column has no number", file=table.name, column=column, fix="name another --norm-column")
    left_out = int((~there).sum())
    notes = (f"{left_out:,} of {norms.size:,} rows have no {column} and are left out",) if left_out else ()
    at = next((name for name in own if ALIASES.get(name.strip().lower()) == "step"), None)
    if at is None:
        return norms[there], None, (*notes, "no column step: the norms are taken as one for each update")
    steps, _ = own_numbers(table, at)
    steps = steps[there]
    wrong = np.flatnonzero(~np.isfinite(steps) | np.concatenate([[False], np.diff(steps) <= 0]))
    if wrong.size:
        line = int(np.asarray(table.lines)[there][wrong[0]])
        raise BadInput(
            "steps are not numbers that rise", file=table.name, line=line, column=at, fix="sort the log; one run"
        )
    return norms[there], steps, notes
