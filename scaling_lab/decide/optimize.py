"""The best learning-rate schedule under a fitted law of loss curves: the best of each family, and of all that fall."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.codes import severity
from ..engine.curves import CurveFit
from ..engine.result import Notice
from ..errors import BadInput, UsageError, nearest
from ..histories import History, Pairs, Points
from ..laws import Law
from ..schedules import FREE_FORM, SCHEDULES, Schedule
from .gains import (
    SEED_SD,
    Bias,
    Gain,
    bias_warnings,
    check_level,
    check_peak,
    gain,
    longer,
    lower,
    measure_bias,
    off_law,
    own_warmup,
)

Floats = NDArray[np.float64]
# Rates or losses that carry a complex step with them.
Numbers = NDArray[Any]
Slope = Callable[[Floats], tuple[float, Floats]]
OPTIMUM_SCHEMA, SHARES_SCHEMA = "scaling-lab/schedule-optimum/1", "scaling-lab/annealing-shares/1"
# Pieces that the steps after the warm-up are cut into: where families are searched, and where rates are free.
SEARCHED, FREE, WARM = 600, 160, 32
# Steps after the warm-up that there is something to plan in.
LEAST_STEPS = 20
# Schedules looked at together: what they take in memory.
TOGETHER = 128
# Shares of the steps that may decay, and last rates over the peak, that a search begins with.
LEAST_DECAY = 0.005
DECAYS = np.unique(np.round(np.concatenate([np.geomspace(LEAST_DECAY, 0.1, 10), np.linspace(0.12, 1.0, 23)]), 4))
FLOORS = (0.0, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.22, 0.32, 0.5)
# A family that ends on a floor by a power of it never ends on zero.
EXPONENTIAL, LEAST_FLOOR = ("exp", "wsd-exp"), 1e-3
# Further numbers of a family that are searched, and between which ends.
SETTINGS: dict[str, dict[str, tuple[float, float]]] = {
    "poly": {"q": (0.1, 8.0)},
    "wsd-power": {"q": (0.3, 6.0)},
    "rex": {"d": (0.0, 0.98)},
    "cosine-power": {"p0": (0.01, 1000.0)},
    "two-stage": {"switch": (0.02, 0.999), "second": (0.0, 1.0)},
}
FAMILIES = (
    "constant", "linear", "cosine", "poly", "rex", "wsd", "wsd-cosine", "wsd-sqrt", "wsd-square", "wsd-exp",
    "wsd-mirror-cosine", "wsd-power",
)  # fmt: skip
MORE_FAMILIES = ("exp", "cosine-power", "two-stage")
# The last rate over the peak of the cosine that gains are over: what most published runs fall to.
AGAINST = 0.1
# The free form: rounds in which pieces are made short where the rate falls, steps of a round, and the nats that no
# step along the gradient could still win.
ROUNDS, STEPS, ENOUGH = 4, 500, 1e-7
# Stairs of a staircase at most, the nats that one more is added for, and those by which it is the free form itself.
MOST_STAIRS, LEAST_WON, SAME = 6, 1e-5, 2e-5
# Of the peak: what falls within SUDDEN_STEPS of a free form is told of as sudden; below ZERO a rate counts as none.
SUDDEN, SUDDEN_STEPS, ZERO = 0.3, 2, 1e-3
# A step along the imaginary axis, too small to move the real part by.
TINY = 1e-20
# The law whose value hangs on pieces of 100 updates of its own.
PIECED = "forward-momentum"


# ---------------------------------------------------------------------------------------- the end of many schedules


@dataclass(frozen=True)
class Setup:
    """A run to be planned: its fit, steps, peak and warm-up; `params` for a law of several sizes."""

    fit: CurveFit
    total: int
    peak: float
    warmup_steps: int
    params: float | None = None

    @cached_property
    def warm(self) -> tuple[Floats, Floats, float]:
        """Edges and rates of the warm-up's pieces, and the area before them."""
        if self.fit.warmup == "included" and self.warmup_steps:
            # Its first updates each alone: what a drop is worth may hang on the area so far.
            later = np.geomspace(WARM, max(self.warmup_steps, WARM), WARM + 1)
            edges = np.unique(np.round(np.minimum(np.concatenate([np.arange(WARM), later]), self.warmup_steps)))
            return edges[:-1], self.peak * edges[:-1] / self.warmup_steps, 0.0
        flat = Schedule("constant", self.total, self.peak, self.warmup_steps)
        area = History(flat.updates(), self.warmup_steps, self.fit.warmup).areas[self.warmup_steps]
        return np.zeros(0), np.zeros(0), float(area)

    def edges(self, pieces: int) -> Floats:
        """Steps from the warm-up's end to the last, evenly apart."""
        return np.unique(np.round(np.linspace(self.warmup_steps, self.total, pieces + 1)))

    def losses(self, edges: Floats, rates: Numbers) -> Numbers:
        """The last losses (B,) of schedules that are straight between rates (B, K + 1) at edges (K + 1,)."""
        parts = [self._ends(edges, rates[i : i + TOGETHER]) for i in range(0, len(rates), TOGETHER)]
        return np.concatenate(parts)

    def _ends(self, edges: Floats, rates: Numbers) -> Numbers:
        x = self.x(self.points(edges, rates))
        if not self.fit.members:
            return np.asarray(self.fit.entry.predict(x, **self.fit.values))
        return np.exp(sum(m.weight * np.log(m.law.predict(x, **m.values)) for m in self.fit.members))

    def points(self, edges: Floats, rates: Numbers) -> Points:
        """What a law is told of those ends."""
        before, rising, area = self.warm
        if len(before):
            edges = np.concatenate([before, edges])
            rates = np.concatenate([np.broadcast_to(rising, (len(rates), len(rising))), rates], axis=1)
        return _points(edges, rates, area, self.peak)

    def x(self, points: Points) -> dict[str, Any]:
        """The inputs of the law at points."""
        sized = {} if self.params is None else {"params": np.full(len(points), self.params)}
        return points.x | sized

    def end(self, edges: Floats, rates: Floats) -> float:
        """The last loss of one schedule."""
        return float(np.real(self.losses(edges, rates[None, :])[0]))

    def exact(self, schedule: Schedule) -> float:
        """The last loss of a schedule from all its updates."""
        return float(self.fit.at(self.fit.history(schedule), [self.total], self.params)[0])

    def all_exact(self, schedules: Sequence[Schedule], edges: Floats) -> Floats:
        """The last losses (B,) of named schedules, by pieces where the law can be."""
        if self.fit.law == PIECED:
            return np.array([self.exact(schedule) for schedule in schedules])
        return np.real(self.losses(edges, np.array([schedule.at(edges) for schedule in schedules])))


def _points(edges: Floats, rates: Numbers, area: float, peak: float) -> Points:
    """The ends of schedules (B,), straight between rates (B, K + 1) at edges (K + 1,): a drop in each piece's middle.

    `area` lies before the first edge.
    """
    count, length = len(rates), np.diff(edges)
    drop = rates[:, :-1] - rates[:, 1:]
    part = length * 0.5 * (rates[:, :-1] + rates[:, 1:]) - 0.5 * drop
    begun = area + np.cumsum(part, axis=1) - part
    total = begun[:, -1:] + part[:, -1:]
    # The middle of updates 1 … n is (n + 1) / 2, and (n + 1) / 2 of them follow, with itself.
    half = 0.5 * (length + 1.0)
    lr = rates[:, :-1] - drop * (half / length)
    later = half * 0.5 * (lr + rates[:, 1:])
    pairs = Pairs(
        drop=drop.ravel(),
        lr=lr.ravel(),
        share=((lr + 0.5 * drop / length) / peak).ravel(),
        since=(total - begun - part + later).ravel(),
        steps=np.broadcast_to(edges[-1] - edges[:-1] - half + 1.0, drop.shape).ravel(),
        area_then=(begun + part - later + lr).ravel(),
    )
    step = np.full(count, edges[-1])
    starts = np.arange(count) * len(length)
    return Points(step, total[:, 0], rates[:, -1], np.full(count, peak), np.zeros(count), pairs, starts)


# ------------------------------------------------------------------------------------------------------------ families


@dataclass(frozen=True)
class Best:
    """The best member of a family, its loss with the interval, and how much lower it is than the reference's.

    `edges` names the numbers that lie at an end of what was searched. A free form has `gap`, the nats that no further
    step could win by the law's slope there (of a staircase, what its last stair won), `sudden`, the share of the peak
    that falls within two steps, `idle`, the steps at no rate, and `like`, the nearest schedule with a name, off by
    `off` of the peak (root mean square).
    """

    family: str
    schedule: Schedule
    loss: float
    low: float
    high: float
    gain: Gain
    edges: tuple[str, ...] = ()
    gap: float | None = None
    sudden: float | None = None
    idle: int = 0
    like: Schedule | None = None
    off: float | None = None

    @property
    def last_rate(self) -> float:
        """The last rate over the peak."""
        return float(self.schedule.at(self.schedule.total) / self.schedule.lr_max)

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        own = {
            "family": self.family,
            "schedule": self.schedule.to_dict(),
            "spec": str(self.schedule),
            "loss": self.loss,
            "interval": [self.low, self.high],
            "gain": self.gain.to_dict(),
            "last_rate": self.last_rate,
            "at_an_end": list(self.edges),
        }
        if self.gap is None:
            return own
        like = {"spec": str(self.like), "off": self.off}
        return own | {"gap": self.gap, "sudden": self.sudden, "idle": self.idle, "like": like}


@dataclass(frozen=True)
class Optimum:
    """The best member of each family, lowest loss first, the free form beside them, and what the gains are against.

    `steep` is a staircase of sudden falls that the law takes for better still than the free form.
    """

    best: tuple[Best, ...]
    free: Best | None
    steep: Best | None
    against: Schedule
    against_loss: float
    law: str
    total: int
    peak: float
    warmup_steps: int
    level: float
    bias: Bias
    constraints: tuple[str, ...]
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        return {
            "schema": OPTIMUM_SCHEMA,
            "law": self.law,
            "steps": self.total,
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "level": self.level,
            "against": {"spec": str(self.against), "loss": self.against_loss},
            "families": [best.to_dict() for best in self.best],
            "free": None if self.free is None else self.free.to_dict(),
            "staircase": None if self.steep is None else self.steep.to_dict(),
            "bias": self.bias.to_dict(),
            "constraints": list(self.constraints),
            "warnings": [vars(notice) for notice in self.warnings],
            "notes": list(self.notes),
        }


def optimize_schedule(
    fit: CurveFit,
    steps: int,
    *,
    peak: float | None = None,
    warmup: float | None = None,
    final_lr: float | None = None,
    min_decay: int | None = None,
    families: Sequence[str] | None = None,
    free: bool = True,
    against: str | None = None,
    level: float = 0.9,
    params: float | None = None,
) -> Optimum:
    """The best schedules of so many steps under a fitted law: of each family, and of all rates that never rise.

    The peak is the highest fitted one, or one below it: these laws take any higher rate for a better one, and can't
    choose it. `warmup` (steps, or a share) is that of the fitted curves where they had one. `final_lr` holds the last
    rate, and is the lowest of the free form; `min_decay` are the least steps of a family's decay, and of the free form
    the least in which the peak may fall to zero. Raises UsageError for a peak above the fitted ones, BadInput for a law
    that knows no gain from a fall.
    """
    check_level(level)
    setup = setup_of(fit, steps, peak, warmup, params)
    floor = _floor(setup, final_lr)
    least = _least_decay(setup, min_decay)
    reference = _reference(setup, against, floor)
    if reference.total != setup.total:
        raise UsageError(f"--against {against} has {reference.total} steps, and the run {setup.total}")
    check_peak(fit, reference.lr_max, "--against")
    names, spared = _names(families, floor)
    bias = measure_bias(fit)
    told = _Telling(setup, bias, level, reference)
    found = [told.best(name, *_best_of(setup, name, floor, least)) for name in names]
    found.sort(key=lambda best: best.loss)
    freed, steep = _free(setup, found, floor or 0.0, min_decay, told) if free and fit.law != PIECED else (None, None)
    warnings = (
        *bias_warnings(bias),
        *longer(fit, setup.total),
        *_sudden(freed, steep),
        *lower(fit, [(best.family, best.schedule) for best in (found[:1] if found else [])]),
        *_seeds(found[0]),
    )
    constraints = _constraints(setup, final_lr, min_decay)
    notes = [_peak_note(setup), *spared]
    if free and freed is None:
        notes.append(f"{fit.law} counts falls in pieces of 100 updates: there is no free form of it")
    return Optimum(
        tuple(found), freed, steep, reference, told.loss, fit.law, setup.total, setup.peak, setup.warmup_steps, level,
        bias, constraints, warnings, tuple(notes),
    )  # fmt: skip


def setup_of(fit: CurveFit, steps: int, peak: float | None, warmup: float | None, params: float | None = None) -> Setup:
    """The run that is asked for; raises UsageError for a peak above the fitted ones, BadInput for an impossible run."""
    if fit.law == "lr-sum":
        raise BadInput(
            "lr-sum knows no gain from a falling rate: by its account the constant one is best",
            fix="fit annealing, multi-power or auto-curve",
        )
    top = fit.peak if peak is None else peak
    check_peak(fit, top, "--peak")
    length: float = own_warmup(fit) if warmup is None else warmup
    made = Schedule.parse("constant", total=steps, lr_max=top, warmup=length)
    if made.total - made.warmup_steps < LEAST_STEPS:
        left = made.total - made.warmup_steps
        raise UsageError(f"{made.total} steps leave {left} after the warm-up: a plan needs {LEAST_STEPS} at least")
    return Setup(fit, made.total, made.lr_max, made.warmup_steps, params)


def _names(families: Sequence[str] | None, floor: float | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The families to search, and notes of those that can't end on the rate that is held."""
    chosen = tuple(dict.fromkeys(families)) if families else FAMILIES
    for name in chosen:
        if name not in (*FAMILIES, *MORE_FAMILIES):
            raise UsageError(
                f"--family {name!r} is none that is searched; {nearest(name, (*FAMILIES, *MORE_FAMILIES))}"
            )
    never = tuple(name for name in chosen if floor is not None and floor < LEAST_FLOOR and name in EXPONENTIAL)
    names = tuple(name for name in chosen if name not in never)
    if not names:
        raise UsageError(f"{', '.join(never)} never falls to the last rate that is held; raise --final-lr")
    return names, tuple(f"{name} never falls as low as the last rate that is held, and is left out" for name in never)


def _floor(setup: Setup, final_lr: float | None) -> float | None:
    if final_lr is None:
        return None
    if not 0 <= final_lr <= setup.peak:
        raise UsageError(f"--final-lr {final_lr:g} is not between zero and the peak, {setup.peak:g}")
    return final_lr / setup.peak


def _least_decay(setup: Setup, min_decay: int | None) -> float:
    if min_decay is None:
        return LEAST_DECAY
    left = setup.total - setup.warmup_steps
    if not 1 <= min_decay <= left:
        raise UsageError(f"--min-decay {min_decay} is not between 1 and the {left} steps after the warm-up")
    return min_decay / left


def _reference(setup: Setup, against: str | None, floor: float | None) -> Schedule:
    """What gains are over: a cosine to the last rate that is held, else to a tenth of the peak, unless it is named."""
    own: dict[str, Any] = {"total": setup.total, "lr_max": setup.peak, "warmup_steps": setup.warmup_steps}
    if against is None:
        return Schedule("cosine", **own, floor=AGAINST if floor is None else floor)
    try:
        return Schedule.parse(against, **own)
    except BadInput as fault:
        if fault.file is not None:
            raise
        raise UsageError(f"--against {fault}") from None


@dataclass(frozen=True)
class _Telling:
    """Says of a schedule what is known of it: its loss with the interval, and its gain over the reference."""

    setup: Setup
    bias: Bias
    level: float
    reference: Schedule

    @cached_property
    def loss(self) -> float:
        return self.setup.exact(self.reference)

    @cached_property
    def draws(self) -> Floats:
        return self._draws(self.reference)

    def _draws(self, schedule: Schedule) -> Floats:
        fit, setup = self.setup.fit, self.setup
        return fit.at_draws(fit.history(schedule), [setup.total], setup.params)[:, 0]

    def best(self, family: str, schedule: Schedule, edges: tuple[str, ...] = ()) -> Best:
        fit, setup = self.setup.fit, self.setup
        found = fit.forecast(fit.history(schedule), [setup.total], self.level, setup.params)
        loss = float(found.loss[0])
        off = off_law(fit, loss)
        less = gain(self.loss - loss, self.draws - self._draws(schedule), self.bias, self.level, off, fit.seed)
        return Best(family, schedule, loss, float(found.low[0]), float(found.high[0]), less, edges)


def _best_of(setup: Setup, name: str, floor: float | None, least: float) -> tuple[Schedule, tuple[str, ...]]:
    """The family's best member, and which of its numbers lie at an end of what was searched."""
    from scipy.optimize import minimize

    ranges = _ranges(name, floor, least)
    edges = setup.edges(SEARCHED)

    def made(values: Sequence[float]) -> Schedule:
        return _member(setup, name, dict(zip(ranges, values, strict=True)), floor)

    grid = _grid(name, ranges)
    losses = setup.all_exact([made(values) for values in grid], edges)
    values = grid[int(np.argmin(losses))]
    if ranges:
        low, high = np.array(list(ranges.values())).T
        found = minimize(
            lambda v: float(setup.all_exact([made(np.clip(v, low, high))], edges)[0]),
            values,
            method="Nelder-Mead",
            bounds=list(zip(low, high, strict=True)),
            options={"xatol": 1e-4, "fatol": 1e-9, "maxiter": 400, "initial_simplex": _simplex(values, low, high)},
        )
        values = np.clip(found.x, low, high)
    ends = tuple(
        key for (key, (a, b)), v in zip(ranges.items(), values, strict=True) if min(v - a, b - v) <= 1e-3 * (b - a)
    )
    # A schedule to be read: the loss hangs on no more digits.
    return made([_short(value) for value in values]), ends


def _ranges(name: str, floor: float | None, least: float) -> dict[str, tuple[float, float]]:
    """The numbers of a family that are searched, with their ends."""
    uses = SCHEDULES[name].uses
    ranges: dict[str, tuple[float, float]] = {}
    if "decay" in uses:
        ranges["decay"] = (least, 1.0)
    if "floor" in uses and floor is None:
        ranges["floor"] = (LEAST_FLOOR if name in EXPONENTIAL else 0.0, 1.0)
    own = dict(SETTINGS.get(name, {}))
    if name == "two-stage" and floor is not None:
        del own["second"]
    return ranges | own


def _grid(name: str, ranges: Mapping[str, tuple[float, float]]) -> Floats:
    """Places (k, n) that a search begins with."""
    axes = []
    for key, (low, high) in ranges.items():
        if key == "decay":
            axes.append(np.unique(np.concatenate([[low], DECAYS[low < DECAYS]])))
        elif key in ("floor", "second"):
            axes.append(np.unique(np.maximum(FLOORS, low)))
        elif key == "q" and "decay" in ranges:
            axes.append(np.array([0.5, 1.0, 1.5, 2.0, 3.0]))
        else:
            axes.append(np.geomspace(low, high, 9) if low > 0 else np.linspace(low, high, 9))
    if not axes:
        return np.zeros((1, 0))
    return np.stack([part.ravel() for part in np.meshgrid(*axes, indexing="ij")], axis=1)


def _simplex(values: Floats, low: Floats, high: Floats) -> Floats:
    """Places (n + 1, n) about one, within the ends."""
    width = 0.08 * (high - low)
    step = np.where(values + width > high, -width, width)
    return np.vstack([values, values + np.diag(step)])


def _member(setup: Setup, name: str, values: Mapping[str, float], floor: float | None) -> Schedule:
    settings = {key: float(value) for key, value in values.items() if key not in ("decay", "floor")}
    held = 0.0 if floor is None else floor
    if name == "two-stage":
        settings.setdefault("second", held)
        start = setup.warmup_steps + 1
        # The switch is searched over the steps after the warm-up.
        settings["switch"] = float(round(start + settings["switch"] * (setup.total - start)))
    return Schedule(
        name, setup.total, setup.peak, setup.warmup_steps, float(values.get("floor", held)),
        float(values.get("decay", 0.2)), settings,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- free form


def _free(
    setup: Setup, found: Sequence[Best], floor: float, min_decay: int | None, told: _Telling
) -> tuple[Best, Best | None]:
    """The best schedule of all that never rise, and a staircase of sudden falls where that is lower still.

    The first is where small steps lead from the constant rate and from the best of the families. Where it is itself a
    sudden fall it is the staircase, and there is no second.
    """
    constant = Schedule("constant", setup.total, setup.peak, setup.warmup_steps)
    ends = [free_form(setup, start, floor, min_decay) for start in (constant, found[0].schedule)]
    edges, rates, gap = min(ends, key=lambda end: setup.end(end[0], end[1]))
    smooth = _described(setup, told, "free", edges, rates, gap)
    if min_decay is not None:
        return smooth, None
    steep = _described(setup, told, "staircase", *staircase(setup, floor))
    if abs(steep.loss - smooth.loss) < SAME:
        return replace(steep, family="free", gap=gap), None
    return smooth, steep if steep.loss < smooth.loss else None


def _described(setup: Setup, told: _Telling, name: str, edges: Floats, rates: Floats, gap: float) -> Best:
    schedule = _as_schedule(setup, edges, rates)
    after = schedule.updates()[setup.warmup_steps :] / setup.peak
    falls = np.concatenate([np.ones(SUDDEN_STEPS), after])
    like, off = _nearest(setup, edges, rates)
    return replace(
        told.best(name, schedule),
        gap=gap,
        sudden=float(np.max(falls[:-SUDDEN_STEPS] - falls[SUDDEN_STEPS:])),
        idle=int((after < ZERO).sum()),
        like=like,
        off=off,
    )


def staircase(setup: Setup, floor: float = 0.0) -> tuple[Floats, Floats, float]:
    """Edges, rates and what the last stair won, of the best schedule of a few falls of one step each.

    Stairs are added, one at a time in the middle of what the last one leaves, until another wins next to nothing.
    """
    from scipy.optimize import minimize

    stairs: Floats = np.zeros((0, 2))
    loss, won = np.inf, np.inf
    while len(stairs) < MOST_STAIRS and won > LEAST_WON:
        last = stairs[-1, 0] if len(stairs) else 0.0
        tried = [
            np.vstack([stairs, [last + share * (1.0 - last), left]])
            for share in (0.3, 0.5, 0.7, 0.85, 0.95)
            for left in (0.1, 0.4)
        ]
        start = min(tried, key=lambda one: _stairs_end(setup, one, floor))
        found = minimize(
            lambda v, shape=start.shape: _stairs_end(setup, v.reshape(shape), floor),
            start.ravel(),
            method="Nelder-Mead",
            bounds=[(0.0, 1.0)] * start.size,
            options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 600 * len(start), "adaptive": True},
        )
        won = loss - float(found.fun)
        if won > 0:
            ended = found.x.reshape(start.shape)
            stairs, loss = ended[np.argsort(ended[:, 0])], float(found.fun)
    edges, rates = _stairs(setup, stairs, floor, whole=True)
    return edges, rates, won


def _stairs(setup: Setup, stairs: Floats, floor: float, *, whole: bool = False) -> tuple[Floats, Floats]:
    """Edges and rates of stairs (m, 2): where they fall, as a share of the steps, and what share of the rate is left.

    `whole` puts them at whole steps; rates fall towards `floor` of the peak.
    """
    order = np.argsort(stairs[:, 0])
    span = setup.total - setup.warmup_steps
    places = np.minimum(stairs[order, 0], 1.0) * (span - len(order) - 1.0)
    # Each fall takes a step of its own.
    places = setup.warmup_steps + places + np.arange(len(order))
    if whole:
        places = np.round(places)
    left = setup.peak * (floor + (1.0 - floor) * np.cumprod(np.clip(stairs[order, 1], 0.0, 1.0)))
    before = np.concatenate([[setup.peak], left[:-1]])
    edges = np.concatenate([[setup.warmup_steps], np.column_stack([places, places + 1]).ravel(), [setup.total]])
    rates = np.concatenate([[setup.peak], np.column_stack([before, left]).ravel(), left[-1:]])
    kept = np.concatenate([[True], np.diff(edges) > 0])
    return edges[kept], rates[kept]


def _stairs_end(setup: Setup, stairs: Floats, floor: float) -> float:
    return setup.end(*_stairs(setup, stairs, floor))


def free_form(
    setup: Setup, start: Schedule, floor: float = 0.0, min_decay: int | None = None, pieces: int = FREE
) -> tuple[Floats, Floats, float]:
    """Edges (K + 1,), the best rates there that never rise, (K + 1,), and the nats that the slope could still win.

    The rate begins at the peak, and all its falls are at most the peak less `floor` of it; the pieces are made short
    where it falls.
    """
    edges = setup.edges(pieces)
    rates = np.maximum(start.at(edges) / setup.peak, floor)
    gap = np.inf
    for i in range(ROUNDS):
        if i:
            fresh = _finer(edges, rates, pieces)
            rates = np.interp(fresh, edges, rates)
            edges = fresh
        caps = np.ones(len(edges) - 1) if min_decay is None else np.minimum(np.diff(edges) / min_decay, 1.0)
        falls = _projected(np.maximum(-np.diff(rates), 0.0), caps, 1.0 - floor)
        falls, gap = _descend(_slope_of(setup, edges), falls, caps, 1.0 - floor)
        rates = 1.0 - np.concatenate([[0.0], np.cumsum(falls)])
    return edges, setup.peak * np.maximum(rates, 0.0), gap


def _finer(edges: Floats, rates: Floats, pieces: int) -> Floats:
    """As many edges, half of them where the rate falls."""
    length, falls = np.diff(edges), -np.diff(rates)
    near = falls + 0.5 * (np.concatenate([[0.0], falls[:-1]]) + np.concatenate([falls[1:], [0.0]]))
    weight = 0.5 * length / length.sum() + 0.5 * near / max(near.sum(), 1e-12)
    place = np.concatenate([[0.0], np.cumsum(weight)]) / weight.sum()
    return np.unique(np.round(np.interp(np.linspace(0, 1, pieces + 1), place, edges)))


def _slope_of(setup: Setup, edges: Floats) -> Slope:
    """The last loss and its slopes (K,) in the falls (K,) of each piece, shares of the peak.

    A step of 1e-20 along the imaginary axis gives the law's own derivative, to the last digit. Laws are a trend of the
    area less a sum over drops, so that a step in one drop's quantities moves one term; what the trend, the terms and
    the quantities are is linear in the falls.
    """
    parts = setup.fit.members
    laws = [(m.law, m.values, m.weight) for m in parts] or [(setup.fit.entry, setup.fit.values, 1.0)]
    terms = _Terms.of(setup, edges)

    def of(falls: Floats) -> tuple[float, Floats]:
        found = [terms.loss(falls, law, values) for law, values, _ in laws]
        if len(found) == 1:
            return found[0]
        logs = sum(weight * np.log(loss) for (loss, _), (_, _, weight) in zip(found, laws, strict=True))
        slopes = sum(weight * along / loss for (loss, along), (_, _, weight) in zip(found, laws, strict=True))
        return float(np.exp(logs)), np.exp(logs) * slopes

    return of


def slope_whole(setup: Setup, edges: Floats) -> Slope:
    """The same from the whole law, a step in each fall at a time: slower, and for any law of areas and drops."""

    def of(falls: Floats) -> tuple[float, Floats]:
        tried = np.concatenate([falls[None, :] + 0j, falls + 1j * TINY * np.eye(len(falls))])
        left = 1.0 - np.cumsum(tried, axis=1)
        rates = setup.peak * np.concatenate([np.ones((len(tried), 1)), left], axis=1)
        found = setup.losses(edges, rates)
        return float(found[0].real), found[1:].imag / TINY

    return of


@dataclass(frozen=True)
class _Terms:
    """What a law is told of the end of a schedule, as it depends on the falls (K,) of its pieces.

    The quantities `names` of P drops at no falls, (5, P), and how they change with each fall, (5, P, K); the area so,
    and the steps since each drop (P,), which do not.
    """

    setup: Setup
    base: Floats
    along: Floats
    area: float
    area_along: Floats
    steps: Floats
    names = ("drop", "lr", "share", "since", "area_then")

    @classmethod
    def of(cls, setup: Setup, edges: Floats) -> _Terms:
        count = len(edges) - 1
        falls = np.concatenate([np.zeros((1, count)), np.eye(count)])
        rates = setup.peak * (1.0 - np.concatenate([np.zeros((count + 1, 1)), np.cumsum(falls, axis=1)], axis=1))
        points = setup.points(edges, rates)
        found = np.array([getattr(points.pairs, name).reshape(count + 1, -1) for name in cls.names])
        steps = points.pairs.steps.reshape(count + 1, -1)[0]
        change = np.moveaxis(found[:, 1:] - found[:, :1], 1, 2)
        return cls(setup, found[:, 0], change, float(points.area[0]), points.area[1:] - points.area[0], steps)

    def loss(self, falls: Floats, law: Law, values: Mapping[str, float]) -> tuple[float, Floats]:
        """The last loss by a law, and its slopes (K,) in the falls (K,)."""
        now = self.base + self.along @ falls
        drops, kinds = now.shape[1], len(self.names)
        # A block of drops for each quantity with its step, one without, and last no drop at all, with a step in area.
        stepped = np.tile(now[:, None, :], (1, kinds + 1, 1)).astype(complex)
        stepped[np.arange(kinds), np.arange(kinds)] += 1j * TINY
        none = np.concatenate([[0.0], now[1:, 0]])[:, None]
        pairs = np.concatenate([stepped.reshape(kinds, -1), none, none], axis=1)
        count = pairs.shape[1]
        area = np.full(count, self.area + self.area_along @ falls, dtype=complex)
        area[-1] += 1j * TINY
        steps = np.concatenate([np.tile(self.steps, kinds + 1), self.steps[[0, 0]]])
        found = law.predict(self.setup.x(_single(self.setup, area, pairs, steps)), **values)
        trend = found[-2].real
        each = found[:-2].reshape(kinds + 1, drops)
        total = trend + float(np.sum(each[-1].real - trend))
        slopes = np.einsum("qp,qpk->k", each[:-1].imag / TINY, self.along)
        return total, slopes + found[-1].imag / TINY * self.area_along


def _single(setup: Setup, area: Numbers, pairs: Numbers, steps: Floats) -> Points:
    """Ends of schedules (n,) that have one drop each: its quantities (5, n), and the steps since, (n,)."""
    drop, lr, share, since, then = pairs
    end, peak, none = (np.full(len(area), value) for value in (float(setup.total), setup.peak, 0.0))
    return Points(end, area, lr, peak, none, Pairs(drop, lr, share, since, steps, then), np.arange(len(area)))


def _descend(slope: Slope, falls: Floats, caps: Floats, most: float) -> tuple[Floats, float]:
    """Falls (K,) between 0 and their caps, `most` in all, that make a loss least, by spectral projected gradients.

    Beside them what the slope could still win: no less than the true rest where the loss is convex in the falls.
    Birgin, Martínez & Raydan 2000, with the worst of the last ten losses as the one to beat.
    """
    loss, along = slope(falls)
    past, size = [loss], 1.0 / max(float(np.abs(along).max()), 1e-12)
    best, least = falls, loss
    for _ in range(STEPS):
        if _rest(falls, along, caps, most) < ENOUGH:
            break
        way = _projected(falls - size * along, caps, most) - falls
        down, share = float(along @ way), 1.0
        for _ in range(40):
            tried = falls + share * way
            then, slopes = slope(tried)
            if then <= max(past[-10:]) + 1e-4 * share * down:
                break
            share *= 0.5
        else:
            break
        moved, bent = tried - falls, slopes - along
        curved = float(moved @ bent)
        size = float(np.clip(moved @ moved / curved, 1e-6, 1e6)) if curved > 0 else 1e6
        falls, along = tried, slopes
        past.append(then)
        if then < least:
            best, least = falls, then
    return best, _rest(best, slope(best)[1], caps, most)


def _projected(falls: Floats, caps: Floats, most: float) -> Floats:
    """The nearest falls (K,) between 0 and caps (K,) whose sum is at most `most`."""
    inside = np.clip(falls, 0.0, caps)
    if inside.sum() <= most:
        return inside
    low, high = 0.0, float(falls.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.clip(falls - middle, 0.0, caps).sum() > most else (low, middle)
    return np.clip(falls - high, 0.0, caps)


def _rest(falls: Floats, along: Floats, caps: Floats, most: float) -> float:
    """What the loss could still fall by along its slopes (K,), within the bounds."""
    order = np.argsort(along)
    room = np.minimum(np.cumsum(caps[order]), most)
    taken = np.diff(np.concatenate([[0.0], room]))
    return float(along @ falls - np.minimum(along[order], 0.0) @ taken)


def _as_schedule(setup: Setup, edges: Floats, rates: Floats) -> Schedule:
    """The free-form schedule through the rates, with its warm-up; what lies on a line between others is left out."""
    begun = [(0.0, 0.0)] if setup.warmup_steps else []
    steps = np.concatenate([[s for s, _ in begun], edges])
    all_rates = np.concatenate([[r for _, r in begun], rates])
    slopes = np.diff(all_rates) / np.diff(steps)
    kept = np.concatenate([[True], np.abs(np.diff(slopes)) > 1e-9 * setup.peak, [True]])
    kept |= steps == setup.warmup_steps
    return Schedule(
        FREE_FORM, setup.total, warmup_steps=setup.warmup_steps, knots=tuple(int(s) for s in steps[kept]),
        rates=tuple(all_rates[kept].tolist()),
    )  # fmt: skip


def _short(value: float) -> float:
    """The value to four digits."""
    return float(f"{value:.4g}")


def _nearest(setup: Setup, edges: Floats, rates: Floats) -> tuple[Schedule, float]:
    """The schedule of constant rate and a decay as (1 − y)^q that is nearest to the rates, and how far off it is."""
    from scipy.optimize import least_squares

    even = setup.edges(SEARCHED)
    aim = np.interp(even, edges, rates) / setup.peak
    last = _short(np.clip(aim[-1], 0.0, 1.0))

    def made(v: Floats) -> Schedule:
        return Schedule("wsd-power", setup.total, setup.peak, setup.warmup_steps, last, float(v[0]), {"q": float(v[1])})

    def off(v: Floats) -> Floats:
        return made(v).at(even) / setup.peak - aim

    starts = [(decay, q) for decay in (0.1, 0.2, 0.35, 0.6) for q in (0.7, 1.5, 3.0)]
    ends = [least_squares(off, start, bounds=([0.005, 0.05], [1.0, 50.0])) for start in starts]
    best = min(ends, key=lambda end: float(end.cost))
    return made(np.array([_short(value) for value in best.x])), float(np.sqrt(np.mean(best.fun**2)))


# ------------------------------------------------------------------------------------------------------------- telling


def _sudden(free: Best | None, steep: Best | None) -> tuple[Notice, ...]:
    if free is None:
        return ()
    said = []
    for best in (free, steep) if steep is not None else (free,):
        parts = []
        if (best.sudden or 0.0) >= SUDDEN:
            parts.append(f"{best.sudden:.0%} of the peak falls within {SUDDEN_STEPS} steps")
        if best.idle > 1:
            parts.append(f"{best.idle:,} steps are at a rate of zero, which train nothing")
        if parts:
            lower = f", {free.loss - best.loss:.4f} nats lower still," if best is steep else ""
            said.append(
                f"the {'free form' if best is free else best.family}{lower} is degenerate: {' and '.join(parts)}"
            )
    if not said:
        return ()
    message = (
        f"{'; '.join(said)}; that is best by the formula, not known of training: take a family, or bound the fall with "
        "--min-decay and --final-lr"
    )
    return (Notice("SL341", severity("SL341"), message),)


def _seeds(best: Best) -> tuple[Notice, ...]:
    if best.gain.told:
        return ()
    message = (
        f"what {best.family} is expected to win over the reference, {best.gain.expected:.4f} nats, is not told from "
        f"nothing ({best.gain.low:.4f} to {best.gain.high:.4f})"
    )
    return (Notice("SL345", severity("SL345"), message),)


def _constraints(setup: Setup, final_lr: float | None, min_decay: int | None) -> tuple[str, ...]:
    said = [f"peak held at {setup.peak:g}", f"warm-up of {setup.warmup_steps:,} steps", "rates never rise after it"]
    said.append("last rate free" if final_lr is None else f"last rate held at {final_lr:g}")
    said.append(
        "no least length of the decay"
        if min_decay is None
        else f"decays of at least {min_decay:,} steps, the free form falling nowhere faster than that"
    )
    return tuple(said)


def _peak_note(setup: Setup) -> str:
    return (
        f"the peak stays at {setup.peak:g} (fitted up to {setup.fit.peak:g}): by any of these laws a higher one is "
        "always better, so that they can't choose it"
    )


# ----------------------------------------------------------------------------------------- the share that is annealed


@dataclass(frozen=True)
class Share:
    """The best share of the steps after the warm-up to anneal in, at one length of the run.

    From `low` to `high` the loss is within what seeds differ by. `shares` and `losses` (k,) are the whole profile;
    `constant` and `cosine` the losses of those schedules.
    """

    total: int
    share: float
    decay_steps: int
    loss: float
    low: float
    high: float
    constant: float
    cosine: float
    shares: Floats
    losses: Floats

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Shares:
    """The best share to anneal in against the length of the run, and from which length a cosine beats no annealing."""

    each: tuple[Share, ...]
    family: str
    floor: float
    law: str
    peak: float
    warmup_steps: int
    crossover: int | None
    bias: Bias
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        return {
            "schema": SHARES_SCHEMA,
            "law": self.law,
            "family": self.family,
            "floor": self.floor,
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "crossover": self.crossover,
            "shares": [share.to_dict() for share in self.each],
            "bias": self.bias.to_dict(),
            "warnings": [vars(notice) for notice in self.warnings],
            "notes": list(self.notes),
        }


def annealing_shares(
    fit: CurveFit,
    totals: Sequence[float],
    *,
    family: str = "wsd",
    peak: float | None = None,
    warmup: float | None = None,
    final_lr: float | None = None,
    min_decay: int | None = None,
    params: float | None = None,
) -> Shares:
    """The best share to anneal in, by a fitted law, for runs of each length; the last rate is zero unless given.

    Also the length from which a cosine to the same last rate ends below the constant rate, where it lies between the
    first and the last of the lengths.
    """
    if family not in FAMILIES or "decay" not in SCHEDULES[family].uses:
        known = [name for name in FAMILIES if "decay" in SCHEDULES[name].uses]
        raise UsageError(f"--family {family!r} has no share that anneals; {nearest(family, known)}")
    if not totals:
        raise UsageError("name lengths of a run, as --fractions 10K,20K,50K")
    ordered = sorted({int(total) for total in totals})
    setups = [setup_of(fit, total, peak, warmup, params) for total in ordered]
    floor = _floor(setups[0], final_lr) or 0.0
    _names([family], floor)
    each = tuple(_share(setup, family, floor, _least_decay(setup, min_decay)) for setup in setups)
    bias = measure_bias(fit)
    warnings = (*bias_warnings(bias), *longer(fit, ordered[-1]))
    return Shares(
        each, family, floor, fit.law, setups[0].peak, setups[0].warmup_steps, _crossover(setups, floor), bias, warnings,
        (_peak_note(setups[0]),),
    )  # fmt: skip


def _share(setup: Setup, family: str, floor: float, least: float) -> Share:
    from scipy.optimize import minimize_scalar

    edges = setup.edges(SEARCHED)

    def losses(shares: Sequence[float] | Floats) -> Floats:
        made = [_member(setup, family, {"decay": float(share)}, floor) for share in shares]
        return setup.all_exact(made, edges)

    shares = np.unique(np.concatenate([np.geomspace(least, 1.0, 80), np.linspace(least, 1.0, 81)]))
    found = losses(shares)
    at = int(np.argmin(found))
    around = (shares[max(at - 1, 0)], shares[min(at + 1, len(shares) - 1)])
    best = float(minimize_scalar(lambda s: losses([s])[0], bounds=around, method="bounded").x)
    lowest = float(losses([best])[0])
    if found[at] < lowest:
        best, lowest = float(shares[at]), float(found[at])
    near = shares[found <= lowest + SEED_SD]
    fixed = (setup.total, setup.peak, setup.warmup_steps)
    constant, cosine = setup.all_exact([Schedule("constant", *fixed), Schedule("cosine", *fixed, floor)], edges)
    return Share(
        setup.total, best, round(best * (setup.total - setup.warmup_steps)), lowest,
        float(min(near.min(initial=best), best)), float(max(near.max(initial=best), best)),
        float(constant), float(cosine), shares, found,
    )  # fmt: skip


def _crossover(setups: Sequence[Setup], floor: float) -> int | None:
    """The first length, to a step, from which a cosine ends below the constant rate; None where it is not between."""

    def behind(total: int) -> bool:
        setup = replace(setups[0], total=total)
        fixed = (total, setup.peak, setup.warmup_steps)
        made = [Schedule("cosine", *fixed, floor), Schedule("constant", *fixed)]
        cosine, constant = setup.all_exact(made, setup.edges(SEARCHED))
        return bool(cosine >= constant)

    low, high = setups[0].total, setups[-1].total
    if not behind(low) or behind(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if behind(middle) else (low, middle)
    return high
