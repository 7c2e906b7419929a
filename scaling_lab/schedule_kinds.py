"""Families of learning-rate schedules: the share of the peak at each step, what each takes and what it refuses.

A family knows the steps after the warm-up; the rise before them, the peak and the checks that all share are those of
`schedules.Schedule`, and SCHEDULES is the registry that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, nearest

Array = NDArray[np.float64]
Value: TypeAlias = "float | str | tuple[float, ...]"

# Shares of the peak left at progress x of a decay, from 1 to 0: 2405.18392 (epfml/schedules-and-scaling).
DECAY_SHAPES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: 0.5 * (1 + np.cos(np.pi * x)),
    "sqrt": lambda x: 1 - np.sqrt(x),
    "square": lambda x: 1 - x * x,
    "mirror-cosine": lambda x: 2 * (1 - x) - 0.5 * (1 + np.cos(np.pi * x)),
}


class Asked(Protocol):
    """What a family reads of a schedule: its numbers as attributes, the settings of its kind by name."""

    @property
    def name(self) -> str: ...
    @property
    def total(self) -> int: ...
    @property
    def lr_max(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def floor(self) -> float: ...
    @property
    def decay(self) -> float: ...
    def __getitem__(self, setting: str) -> Any: ...


# The least number above 0, which stands for "above 0" in the range of a setting.
TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Setting:
    """A further number of a schedule; `default` None must be given, `choices` are words instead of a number.

    A `place` is a whole step or, below 1, a share of all steps.
    """

    default: Value | None
    meaning: str
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()
    place: bool = False

    def check(self, place: str, value: Any) -> Value:
        """The value as it is kept; raises BadInput where it can't be one."""
        if self.choices:
            if value not in self.choices:
                raise BadInput(f"{place} = {value!r} is not known", fix=nearest(str(value), self.choices))
            return str(value)
        many = isinstance(self.default, tuple)
        if isinstance(value, str):
            raise BadInput(f"{place} = {value!r} is not a number")
        numbers = [float(v) for v in (value if isinstance(value, (tuple, list)) else (value,))]
        if not all(math.isfinite(v) and self.least <= v <= self.most for v in numbers) or not numbers:
            low = "above 0 and up to" if self.least == TINY else f"in {self.least:g} …"
            raise BadInput(f"{place} = {written(value)} must be finite and lie {low} {self.most:g}")
        if self.place and any(v > 1 and v != round(v) for v in numbers):
            raise BadInput(f"{place} = {written(value)} is neither a whole step nor, below 1, a share of all steps")
        if len(numbers) > 1 and not many:
            raise BadInput(f"{place} = {written(value)} is one number, not several")
        return tuple(numbers) if many else numbers[0]


@dataclass(frozen=True)
class Kind:
    """A family of schedules: `shape` gives the share of the peak at steps W … T.

    `uses` names which of floor and decay its formula has; `rises` is true where it brings its own warm-up, of which
    W = warmup_steps, where it is not 0, is the length.
    """

    shape: Callable[[Array, Asked], Array]
    formula: str
    source: str
    uses: frozenset[str] = frozenset()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    rises: bool = False
    check: Callable[[Asked], None] = lambda schedule: None


def written(value: Any) -> str:
    """A setting as a spec writes it: floats in full, without a bare .0."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    return "/".join(str(v).removesuffix(".0") for v in values)


# ------------------------------------------------------------------------------------------------------------ shapes


def _progress(step: Array, schedule: Asked) -> Array:
    """x, the share of the steps after the warm-up that is done."""
    return np.maximum(0.0, step - schedule.warmup_steps) / (schedule.total - schedule.warmup_steps)


def _length(value: float, schedule: Asked) -> float:
    """Steps of a setting given as steps, or below 1 as a share of all steps."""
    return value * schedule.total if value < 1 else value


def _count(value: float, schedule: Asked) -> int:
    """The whole step that a place is at."""
    return round(_length(value, schedule))


def _falling(shape: Callable[[Array], Array]) -> Callable[[Array, Asked], Array]:
    """From the peak to the floor by a shape of the progress."""
    return lambda step, schedule: schedule.floor + (1 - schedule.floor) * shape(_progress(step, schedule))


def _decaying(step: Array, schedule: Asked) -> Array:
    """How far the last decay has come, 0 before it begins."""
    return np.maximum(0.0, 1 - (1 - _progress(step, schedule)) / schedule.decay)


def _stable_then(shape: str) -> Callable[[Array, Asked], Array]:
    def stable_then_decay(step: Array, schedule: Asked) -> Array:
        return schedule.floor + (1 - schedule.floor) * DECAY_SHAPES[shape](_decaying(step, schedule))

    return stable_then_decay


def _constant(step: Array, schedule: Asked) -> Array:
    return np.ones_like(step)


def _cosine_power(step: Array, schedule: Asked) -> Array:
    half, rate = DECAY_SHAPES["cosine"](_progress(step, schedule)), math.log(schedule["p0"])
    share = np.expm1(half * rate) / math.expm1(rate) if rate else half
    return schedule.floor + (1 - schedule.floor) * share


def _exp(step: Array, schedule: Asked) -> Array:
    return np.asarray(schedule.floor ** _progress(step, schedule))


def _poly(step: Array, schedule: Asked) -> Array:
    return _falling(lambda x: (1 - x) ** schedule["q"])(step, schedule)


def _rex(step: Array, schedule: Asked) -> Array:
    d = schedule["d"]
    return _falling(lambda x: (1 - x) / (1 - d + d * (1 - x)))(step, schedule)


def _wsd_exp(step: Array, schedule: Asked) -> Array:
    return np.asarray(schedule.floor ** _decaying(step, schedule))


def _wsd_power(step: Array, schedule: Asked) -> Array:
    return schedule.floor + (1 - schedule.floor) * (1 - _decaying(step, schedule)) ** schedule["q"]


def _minicpm(step: Array, schedule: Asked) -> Array:
    start = schedule.total - schedule.decay * (schedule.total - schedule.warmup_steps)
    return np.asarray(0.5 ** (np.maximum(0.0, step - start) / _length(schedule["half_life"], schedule)))


def _multistep(step: Array, schedule: Asked) -> Array:
    edges = [_count(place, schedule) for place in schedule["at"]]
    return np.asarray((1.0, *schedule["to"]))[np.searchsorted(edges, step, side="right")]


def _two_stage(step: Array, schedule: Asked) -> Array:
    return np.where(step >= _count(schedule["switch"], schedule), schedule["second"], 1.0)


def _invsqrt(step: Array, schedule: Asked) -> Array:
    scale = _count(schedule["scale"], schedule) or schedule.warmup_steps
    return np.sqrt(scale / np.maximum(step, scale))


def _power_rate(step: Array, schedule: Asked) -> Array:
    """min(1, batch·a·n^b / lr_max) at n tokens seen."""
    tokens = step * schedule["batch"] * schedule["seq_len"]
    with np.errstate(divide="ignore"):
        return np.minimum(1.0, schedule["batch"] * schedule["a"] * tokens ** schedule["b"] / schedule.lr_max)


def _power(step: Array, schedule: Asked) -> Array:
    if not schedule.decay:
        return _power_rate(step, schedule)
    start = schedule.total - schedule.decay * (schedule.total - schedule.warmup_steps)
    y, shape = _decaying(step, schedule), schedule["shape"]
    left = schedule.floor + (1 - schedule.floor) * DECAY_SHAPES[shape](y) if shape != "exp" else schedule.floor**y
    return _power_rate(np.minimum(step, start), schedule) * left


def _cosine_between(high: float, low: float, x: Array) -> Array:
    return low + (high - low) * DECAY_SHAPES["cosine"](x)


def _onecycle(step: Array, schedule: Asked) -> Array:
    """torch's OneCycleLR, whose step k = n − 1 belongs to the n-th update; phases end at pct·T − 1 and T − 1."""
    first = 1 / schedule["div"]
    last = first / schedule["final_div"]
    rise = float(schedule.warmup_steps or schedule["pct"] * schedule.total) - 1
    done = np.maximum(step - 1, 0.0)
    between = _cosine_between if not schedule["linear"] else _line_between
    end = schedule.total - 1.0
    up = between(first, 1.0, done / rise if rise else np.ones_like(done))
    if not schedule["three_phase"]:
        return np.where(done <= rise, up, between(1.0, last, np.maximum(0.0, done - rise) / (end - rise)))
    low = 2 * rise
    down = between(1.0, first, np.maximum(0.0, done - rise) / rise)
    rest = between(first, last, np.maximum(0.0, done - low) / (end - low))
    return np.where(done <= rise, up, np.where(done <= low, down, rest))


def _line_between(high: float, low: float, x: Array) -> Array:
    return high + (low - high) * x


def _cycle(step: Array, schedule: Asked) -> Array:
    """Where in its cycle a step is, above 0 and up to 1: the last step of a cycle is in it, not in the next one."""
    length = schedule.total - schedule.warmup_steps
    ends = np.concatenate([[0.0], np.cumsum(_shares(schedule))]) * length
    # Sums of shares miss a whole step by a rounding error, and the step would begin the next cycle.
    whole = np.round(ends)
    ends = np.where(np.abs(ends - whole) < min(1e-9 * length, 0.25), whole, ends)
    ends[-1] = length
    done = np.maximum(0.0, step - schedule.warmup_steps)
    which = np.clip(np.searchsorted(ends, done, side="left") - 1, 0, ends.size - 2)
    return (done - ends[which]) / (ends[which + 1] - ends[which])


def _shares(schedule: Asked) -> Array:
    """Each cycle's length over all; nothing where there would be more cycles than steps."""
    cycles, mult = int(schedule["cycles"]), schedule["mult"]
    if cycles > schedule.total:
        return np.zeros(1)
    powers = np.arange(cycles) * math.log(mult)
    lengths = np.exp(powers - powers.max())
    return np.asarray(lengths / lengths.sum())


def _sgdr(step: Array, schedule: Asked) -> Array:
    return _cosine_between(1.0, schedule.floor, _cycle(step, schedule))


def _cyclic(step: Array, schedule: Asked) -> Array:
    return schedule.floor + (1 - schedule.floor) * (1 - np.abs(2 * _cycle(step, schedule) - 1))


def _infinite(shape: str) -> Callable[[Array, Asked], Array]:
    def cooldown(x: Array, schedule: Asked) -> Array:
        if shape != "invsqrt":
            return DECAY_SHAPES[shape](x)
        alpha = schedule["alpha"]
        return 1 - (1 / np.sqrt(1 + alpha * x) - 1) / (1 / math.sqrt(1 + alpha) - 1)

    def infinite(step: Array, schedule: Asked) -> Array:
        plateau = schedule["plateau"]
        x = np.minimum(1.0, _progress(step, schedule) / schedule["cooldown"])
        return (plateau + (1 - plateau) * cooldown(x, schedule)) * (schedule.floor / plateau) ** _decaying(
            step, schedule
        )

    return infinite


def _rewarm(step: Array, schedule: Asked) -> Array:
    switch, floor, peak = _count(schedule["switch"], schedule), schedule.floor, schedule["peak"]
    again, start = _count(schedule["rewarm"], schedule), schedule["start"]
    warmup = schedule.warmup_steps
    first = _cosine_between(1.0, floor, np.minimum(1.0, (step - warmup) / (switch - warmup)))
    rise = start + (peak - start) * (step - switch) / again if again else np.full_like(step, peak)
    second = _cosine_between(peak, floor, np.maximum(0.0, step - switch - again) / (schedule.total - switch - again))
    return np.where(step <= switch, first, np.where(step <= switch + again, rise, second))


# ----------------------------------------------------------------------------------------- checks of single schedules


def _decays(schedule: Asked) -> None:
    if not schedule.decay:
        raise BadInput(f"{schedule.name}: decay = 0 must lie above 0 and up to 1", fix="else it is constant")


def _has_floor(schedule: Asked) -> None:
    if not schedule.floor:
        raise BadInput(f"{schedule.name} decays exponentially and never reaches 0", fix="give a floor, as floor=0.1")


def _decays_to_floor(schedule: Asked) -> None:
    _decays(schedule)
    _has_floor(schedule)


def _check_multistep(schedule: Asked) -> None:
    edges = [_count(place, schedule) for place in schedule["at"]]
    if len(edges) != len(schedule["to"]):
        raise BadInput(f"{schedule.name}: {len(edges)} places (at) for {len(schedule['to'])} shares (to)")
    if any(b <= a for a, b in zip([schedule.warmup_steps, *edges], [*edges, schedule.total + 1], strict=True)):
        said = f"{written(schedule['at'])}, the steps {written(edges)}"
        raise BadInput(
            f"{schedule.name}: at = {said}, must rise from the warm-up's end, step {schedule.warmup_steps}, to step "
            f"{schedule.total}"
        )


def _check_two_stage(schedule: Asked) -> None:
    switch = _count(schedule["switch"], schedule)
    if not schedule.warmup_steps < switch <= schedule.total:
        raise BadInput(
            f"two-stage: the switch at step {switch} is not between the warm-up's end and step {schedule.total}"
        )


def _check_minicpm(schedule: Asked) -> None:
    _decays(schedule)
    if _length(schedule["half_life"], schedule) < 1:
        raise BadInput(f"minicpm: a half-life of {schedule['half_life']:g} of {schedule.total} steps is less than one")


def _check_invsqrt(schedule: Asked) -> None:
    if not (schedule.warmup_steps or _count(schedule["scale"], schedule)):
        raise BadInput("invsqrt falls as the root of warmup / step and has no warm-up", fix="give warmup, or scale")


def _check_power(schedule: Asked) -> None:
    if schedule.decay and schedule["shape"] == "exp":
        _has_floor(schedule)


def _check_onecycle(schedule: Asked) -> None:
    for switch in ("three_phase", "linear"):
        if schedule[switch] not in (0, 1):
            raise BadInput(f"onecycle: {switch} = {schedule[switch]:g} is neither 0 nor 1")
    rise = (schedule.warmup_steps or schedule["pct"] * schedule.total) - 1
    room = 2 * rise if schedule["three_phase"] else rise
    if rise < 0 or room >= schedule.total - 1 or (schedule["three_phase"] and not rise):
        raise BadInput(f"onecycle: a rise of {rise + 1:g} of {schedule.total} steps leaves no room for its phases")


def _check_cycles(schedule: Asked) -> None:
    if schedule["cycles"] != round(schedule["cycles"]):
        raise BadInput(f"{schedule.name}: cycles = {schedule['cycles']:g} is not a whole number")
    shortest = (schedule.total - schedule.warmup_steps) * min(1.0, _shares(schedule).min(initial=1.0))
    if not shortest >= 2 * (1 - 1e-9):
        raise BadInput(f"{schedule.name}: a cycle of {schedule['cycles']:g} would be shorter than two steps")


def _check_cyclic(schedule: Asked) -> None:
    _check_cycles(schedule)
    if schedule.warmup_steps:
        raise BadInput("cyclic rises from its floor by itself", fix="leave the warm-up out (0 steps)")


def _check_infinite(schedule: Asked) -> None:
    _decays_to_floor(schedule)
    if schedule["cooldown"] + schedule.decay > 1 + 1e-12:
        raise BadInput(
            f"{schedule.name}: cooldown {schedule['cooldown']:g} and decay {schedule.decay:g} are more than all"
        )
    if schedule.floor > schedule["plateau"]:
        raise BadInput(f"{schedule.name}: floor = {schedule.floor:g} lies above plateau = {schedule['plateau']:g}")


def _check_rewarm(schedule: Asked) -> None:
    switch, again = _count(schedule["switch"], schedule), _count(schedule["rewarm"], schedule)
    if not schedule.warmup_steps < switch <= switch + again < schedule.total:
        raise BadInput(
            f"rewarm: warm-up to {schedule.warmup_steps}, new data from {switch} and re-warming to {switch + again} "
            f"must rise and end before step {schedule.total}"
        )
    if schedule.floor > schedule["peak"]:
        raise BadInput(f"rewarm: floor = {schedule.floor:g} lies above the second peak = {schedule['peak']:g}")


# -------------------------------------------------------------------------------------------------------- the registry

_FLOOR, _BOTH = frozenset({"floor"}), frozenset({"floor", "decay"})
_HAEGELE = "Hägele et al. 2024, arXiv:2405.18392"
_Q = Setting(1.5, "exponent of the decay", TINY, 100.0)
_CYCLES = {
    "cycles": Setting(4.0, "cycles in the steps after the warm-up", 1, 1e6),
    "mult": Setting(1.0, "length of each cycle over the one before", 1e-3, 1e3),
}
# Shares and lengths without a source are this project's choice.
_INFINITE = {
    "cooldown": Setting(0.3, "share of the steps after the warm-up that falls to the plateau", 1e-9, 1.0),
    "plateau": Setting(0.25, "the constant rate over the peak", 1e-12, 1.0),
}
_SECOND_TIME = "a step, or below 1 a share of all steps"


def _wsd(shape: str, left: str, source: str = _HAEGELE) -> Kind:
    return Kind(_stable_then(shape), f"1, then {left} of the decay", source, _BOTH, check=_decays)


# Every schedule that needs no file.
SCHEDULES: dict[str, Kind] = {
    "constant": Kind(_constant, "1", "-"),
    "linear": Kind(
        _falling(DECAY_SHAPES["linear"]), "1 - (1-floor)*x", "Defazio et al. 2023, arXiv:2310.07831", _FLOOR
    ),
    "cosine": Kind(
        _falling(DECAY_SHAPES["cosine"]), "floor + (1-floor)*(1+cos(pi*x))/2", "Loshchilov & Hutter 2017", _FLOOR
    ),
    "cosine-power": Kind(
        _cosine_power,
        "(p0**c-1)/(p0-1), c = (1+cos(pi*x))/2; floor",
        "sharpDARTS, arXiv:1903.09900",
        _FLOOR,
        {"p0": Setting(10.0, "its base: 1 gives the cosine (10 for ImageNet, 2 for CIFAR)", TINY, 1e300)},
    ),
    "poly": Kind(
        _poly, "floor + (1-floor)*(1-x)**q", "-", _FLOOR, {"q": Setting(1.0, "exponent of the decay", TINY, 100.0)}
    ),
    "exp": Kind(_exp, "floor**x", "-", _FLOOR, check=_has_floor),
    "wsd": _wsd("linear", "1-y"),
    "wsd-cosine": _wsd("cosine", "(1+cos(pi*y))/2"),
    "wsd-sqrt": _wsd("sqrt", "1-sqrt(y)"),
    "wsd-square": _wsd("square", "1-y**2"),
    "wsd-exp": Kind(_wsd_exp, "1, then floor**y of the decay", _HAEGELE, _BOTH, check=_decays_to_floor),
    "wsd-mirror-cosine": _wsd("mirror-cosine", "2*(1-y) - (1+cos(pi*y))/2"),
    "wsd-power": Kind(
        _wsd_power,
        "1, then (1-y)**q of the decay",
        "Luo et al. 2025, arXiv:2503.12811 (q = 1.5)",
        _BOTH,
        {"q": _Q},
        check=_decays,
    ),
    "minicpm": Kind(
        _minicpm,
        "1, then 0.5**((s-S)/half_life) of the decay",
        "Hu et al. 2024, arXiv:2404.06395",
        frozenset({"decay"}),
        {"half_life": Setting(5000.0, f"steps in which the rate halves: {_SECOND_TIME}", 1e-6, 1e15)},
        check=_check_minicpm,
    ),
    "rex": Kind(
        _rex,
        "z/(1-d+d*z), z = 1-x; floor",
        "REX, arXiv:2107.04197; d of IvanVassi/REX_LR",
        _FLOOR,
        {"d": Setting(0.5, "how late it falls: 0.5 is the paper's, 0.9 the repository's", 0.0, 0.999)},
    ),
    "multistep": Kind(
        _multistep,
        "1, then each share `to` from its step `at` on",
        "DeepSeek LLM, arXiv:2401.02954 (80/10/10)",
        settings={
            "at": Setting((0.8, 0.9), f"where it drops: {_SECOND_TIME}", 0.0, 1e15, place=True),
            "to": Setting((math.sqrt(0.1), 0.1), "the rate after each drop, over the peak", 0.0, 1e6),
        },
        check=_check_multistep,
    ),
    "multistep-30-60-90": Kind(
        _multistep,
        "1, then a tenth more at 30, 60 and 90 %",
        "-",
        settings={
            "at": Setting((0.3, 0.6, 0.9), f"where it drops: {_SECOND_TIME}", 0.0, 1e15, place=True),
            "to": Setting((0.1, 0.01, 0.001), "the rate after each drop, over the peak", 0.0, 1e6),
        },
        check=_check_multistep,
    ),
    "two-stage": Kind(
        _two_stage,
        "1, then `second` from step `switch` on",
        "Luo et al. 2025, arXiv:2503.12811",
        settings={
            "switch": Setting(0.5, f"where the second stage begins: {_SECOND_TIME}", 0.0, 1e15, place=True),
            "second": Setting(0.3, "the second rate over the peak", 0.0, 1e6),
        },
        check=_check_two_stage,
    ),
    "onecycle": Kind(
        _onecycle,
        "from 1/div up to 1, down to 1/(div*final_div)",
        "Smith & Topin 2018, arXiv:1708.07120; torch.optim.lr_scheduler.OneCycleLR",
        settings={
            "pct": Setting(0.3, "share of all steps that rises, where no warm-up is given", 1e-9, 1.0),
            "div": Setting(25.0, "the peak over the first rate", 1.0, 1e12),
            "final_div": Setting(1e4, "the first rate over the last", 1.0, 1e12),
            "three_phase": Setting(0.0, "1: down to the first rate as fast as up, then to the last", 0, 1),
            "linear": Setting(0.0, "1: lines instead of cosines", 0, 1),
        },
        rises=True,
        check=_check_onecycle,
    ),
    "invsqrt": Kind(
        _invsqrt,
        "sqrt(W/max(s, W))",
        "Vaswani et al. 2017, arXiv:1706.03762",
        settings={"scale": Setting(0.0, f"W where it is not the warm-up: {_SECOND_TIME}", 0.0, 1e15, place=True)},
        check=_check_invsqrt,
    ),
    "power": Kind(
        _power,
        "min(1, batch*a*n**b/lr_max) at n tokens, decay",
        "Shen et al. 2024, arXiv:2408.13359",
        _BOTH,
        {
            "a": Setting(4.0, "amplitude for one sequence", TINY, 1e12),
            "b": Setting(-0.51, "exponent of the tokens", -10.0, 0.0),
            "batch": Setting(None, "sequences in a batch", 1e-9, 1e12),
            "seq_len": Setting(4096.0, "tokens in a sequence", 1, 1e12),
            "shape": Setting("linear", "shape of the decay", choices=(*DECAY_SHAPES, "exp")),
        },
        check=_check_power,
    ),
    "infinite": Kind(
        _infinite("cosine"),
        "cosine to the plateau, flat, plateau*(floor/plateau)**y",
        "Ibrahim et al. 2024, arXiv:2403.08763",
        _BOTH,
        _INFINITE,
        check=_check_infinite,
    ),
    "infinite-linear": Kind(
        _infinite("linear"),
        "line to the plateau, flat, plateau*(floor/plateau)**y",
        "arXiv:2503.02844",
        _BOTH,
        _INFINITE,
        check=_check_infinite,
    ),
    "infinite-invsqrt": Kind(
        _infinite("invsqrt"),
        "1/sqrt(1+alpha*x) to the plateau, flat, plateau*(floor/plateau)**y",
        "Ibrahim et al. 2024, arXiv:2403.08763",
        _BOTH,
        {**_INFINITE, "alpha": Setting(10.0, "how steep the inverse root is", 1e-9, 1e9)},
        check=_check_infinite,
    ),
    "rewarm": Kind(
        _rewarm,
        "cosine; from `switch` up to `peak`, cosine again",
        "Gupta et al. 2023, arXiv:2308.04014",
        _FLOOR,
        {
            "switch": Setting(0.5, f"where the new data begins: {_SECOND_TIME}", 0.0, 1e15, place=True),
            "rewarm": Setting(0.01, f"length of the re-warming: {_SECOND_TIME}", 0.0, 1e15, place=True),
            "start": Setting(0.0, "where the re-warming starts, over the first peak", 0.0, 1e6),
            "peak": Setting(1.0, "the second peak over the first", 1e-12, 1e6),
        },
        check=_check_rewarm,
    ),
    "sgdr": Kind(
        _sgdr, "a cosine to the floor in each cycle", "SGDR, arXiv:1608.03983", _FLOOR, _CYCLES, check=_check_cycles
    ),
    "cyclic": Kind(
        _cyclic,
        "floor up to 1 and back in each cycle",
        "Smith 2017, arXiv:1506.01186",
        _FLOOR,
        _CYCLES,
        check=_check_cyclic,
    ),
}
