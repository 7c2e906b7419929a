"""Learning-rate schedules as values and arrays: the one source for the trainer, the curve laws and the plots.

A schedule is a function of the step s and the horizon T = `total`. Warm-up is linear, from `warmup_from` of its end (0
unless said) at s = 0 to the whole at s = W exactly; what follows runs over the steps that are left, x = (s − W)/(T −
W), and where a schedule has a `floor` it ends on floor·lr_max at s = T exactly. The n-th of T updates takes the value
at s = n: the first update is never at 0, and with floor = 0 the last one is. Step 0 is before the first update.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BadInput, nearest
from .quantities import ALIASES, parse_number

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
FREE_FORM = "file"
# A table of more updates than this is of tokens, not of steps; its rates alone would fill a gigabyte.
MOST_UPDATES = 10**8
BETWEEN = ("linear", "constant")
_ALIASES = {
    "wsd-linear": "wsd",
    "trapezoid": "wsd",
    "slanted": "wsd",
    "wsd-1-sqrt": "wsd-sqrt",
    "wsdld": "wsd",
    "wsdcon": "two-stage",
    "8-1-1": "multistep",
    "811": "multistep",
    "one-cycle": "onecycle",
    "inverse-sqrt": "invsqrt",
    "inv-sqrt": "invsqrt",
    "infinite-cosine": "infinite",
    "polynomial": "poly",
}
# Where a file's name ends and its settings begin: a name may hold commas.
_SETTINGS = re.compile(r",(?=\s*[A-Za-z_]+\s*=)")
# What a setting of a spec may also be called.
_SPELT = {
    "steps": "total",
    "t": "total",
    "lr": "lr_max",
    "peak_lr": "lr_max",
    "warmup_steps": "warmup",
    "min_ratio": "floor",
}


@dataclass(frozen=True)
class Setting:
    """A further number of a schedule; `default` None must be given, `choices` are words instead of a number."""

    default: Value | None
    meaning: str
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()

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
            raise BadInput(f"{place} = {_written(value)} must be finite and lie in {self.least:g} … {self.most:g}")
        if len(numbers) > 1 and not many:
            raise BadInput(f"{place} = {_written(value)} is one number, not several")
        return tuple(numbers) if many else numbers[0]


@dataclass(frozen=True)
class Kind:
    """A family of schedules: `shape` gives the share of the peak at steps W … T.

    `uses` names which of floor and decay its formula has; `rises` is true where it brings its own warm-up, of which
    W = warmup_steps, where it is not 0, is the length.
    """

    shape: Callable[[Array, Schedule], Array]
    formula: str
    source: str
    uses: frozenset[str] = frozenset()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    rises: bool = False
    check: Callable[[Schedule], None] = lambda schedule: None


@dataclass(frozen=True)
class Schedule:
    """A learning rate for each of `total` updates; raises BadInput for what can't be a schedule.

    `lr_max` is the peak, `warmup_steps` W, `floor` the ratio of the last rate to the peak, `decay` the share of the
    steps after the warm-up in which the last decay happens (wsd family, minicpm, power, infinite); a kind that has no
    such number keeps 0 there. `settings` are the further numbers of its kind, kept as sorted pairs with their defaults
    filled in; a mapping may be given.

    A free-form schedule has the name "file", the `rates` themselves (raw, not shares of a peak) and the steps at which
    they stand (`knots`; none: one for each update 1 … T, or 0 … T); between two knots the rate is "linear", or stays at
    the earlier one ("constant"). Its lr_max and floor are then read off the rates; warmup_steps is what is stated.
    """

    name: str
    total: int
    lr_max: float = 1.0
    warmup_steps: int = 0
    floor: float = 0.0
    decay: float = 0.2
    settings: Any = ()
    warmup_from: float = 0.0
    knots: Any = ()
    rates: Any = ()
    between: str = "linear"

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "name", _named(self.name))
        put(self, "total", _whole(self.total, "total", least=1))
        put(self, "warmup_steps", _whole(self.warmup_steps, "warmup_steps", least=0))
        if not self.warmup_steps < self.total:
            raise BadInput(
                f"{self.warmup_steps} warm-up steps leave nothing of {self.total} steps", fix="shorten the warm-up"
            )
        if self.name == FREE_FORM:
            _free_form(self)
            return
        if len(self.rates) or len(self.knots):
            raise BadInput(f"{self.name} is a formula and takes no rates", fix=f"name it {FREE_FORM!r}")
        for name in ("lr_max", "floor", "decay", "warmup_from"):
            put(self, name, _finite(getattr(self, name), name))
        if self.lr_max <= 0:
            raise BadInput(f"lr_max = {self.lr_max:g}: a learning rate of zero or below trains nothing")
        kind = SCHEDULES[self.name]
        if not 0 <= self.floor <= 1:
            raise BadInput(f"floor = {self.floor:g} must lie in 0 … 1: it is the last rate over the peak")
        if not 0 <= self.decay <= 1:
            raise BadInput(f"decay = {self.decay:g} must lie above 0 and up to 1: it is a share of the steps")
        if not 0 <= self.warmup_from <= 1:
            raise BadInput(f"warmup_from = {self.warmup_from:g} must lie in 0 … 1: it is a share of the peak")
        for name in {"floor", "decay"} - kind.uses:
            put(self, name, 0.0)
        put(self, "settings", _settled(self.name, kind, self.settings))
        kind.check(self)

    @property
    def kind(self) -> Kind | None:
        """The family; None for a free-form schedule."""
        return SCHEDULES.get(self.name)

    def __getitem__(self, setting: str) -> Any:
        return dict(self.settings)[setting]

    @cached_property
    def _points(self) -> tuple[Array, Array]:
        return np.asarray(self.knots, dtype=np.float64), np.asarray(self.rates, dtype=np.float64)

    def at(self, steps: ArrayLike) -> Array:
        """The learning rate at each of `steps` (0 … total), float64, in the shape of `steps`."""
        step = np.asarray(steps, dtype=np.float64)
        if step.size and not (step.min() >= 0 and step.max() <= self.total):
            raise BadInput(f"steps {step.min():g} … {step.max():g} are outside 0 … {self.total}")
        kind, warmup = self.kind, self.warmup_steps
        if kind is None:
            knots, rates = self._points
            if self.between == "linear":
                return np.asarray(np.interp(step, knots, rates))
            return np.asarray(rates[np.maximum(np.searchsorted(knots, step, side="right") - 1, 0)])
        factor = kind.shape(np.maximum(step, 0.0 if kind.rises else warmup), self)
        if warmup and not kind.rises:
            top = kind.shape(np.array(float(warmup)), self)
            rise = self.warmup_from + (1 - self.warmup_from) * (step / warmup) if self.warmup_from else step / warmup
            factor = np.where(step < warmup, rise * top, factor)
        return np.asarray(self.lr_max * factor)

    def updates(self) -> Array:
        """The learning rates of the `total` updates, shape (total,): element n − 1 belongs to the n-th update.

        Raises BadInput where there are more than any run has.
        """
        return self._first(self.total)

    def _first(self, count: int) -> Array:
        if count > MOST_UPDATES:
            raise BadInput(f"{count:g} steps are more than {MOST_UPDATES:g}", fix="total counts steps, not tokens")
        return self.at(np.arange(1, count + 1))

    def area(self, step: int | None = None) -> float:
        """S1, the sum of the learning rates of the first `step` updates (default: all), warm-up included."""
        last = self.total if step is None else _whole(step, "step", least=0)
        return float(self._first(last).sum())

    def to_dict(self) -> dict[str, Any]:
        """JSON of the schedule, which `from_dict` reads back to an equal value."""
        own: dict[str, Any] = {"name": self.name, "total": self.total, "warmup_steps": self.warmup_steps}
        if self.name == FREE_FORM:
            return own | {"between": self.between, "knots": list(self.knots), "rates": list(self.rates)}
        own |= {"lr_max": self.lr_max, "floor": self.floor, "decay": self.decay, "warmup_from": self.warmup_from}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in self.settings}
        return own | {"settings": listed}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Schedule:
        """The schedule that `to_dict` wrote; raises BadInput on anything else."""
        known = set(cls.__dataclass_fields__)
        if not {"name", "total"} <= set(found) <= known:
            odd = sorted(set(found) - known) or sorted({"name", "total"} - set(found))
            raise BadInput(f"{', '.join(map(str, odd))}: not the fields of a schedule", fix="it has name, total, …")
        return cls(**found)

    @classmethod
    def logged(
        cls,
        steps: ArrayLike,
        rates: ArrayLike,
        *,
        warmup_steps: int = 0,
        between: str = "linear",
        file: str | None = None,
    ) -> Schedule:
        """The free-form schedule through logged points (step, rate), ascending, that reach back to step 0 or 1.

        A log that begins later misses its head, which is refused unless `warmup_steps` (at most the first logged step)
        is named: the head is then a line from 0 to the first logged rate at that step, held up to the first point.
        """
        step, rate = np.asarray(steps, dtype=np.float64), np.asarray(rates, dtype=np.float64)
        if step.shape != rate.shape or step.ndim != 1 or not step.size:
            raise BadInput(f"steps {step.shape} and rates {rate.shape} are not one rate for each step", file=file)
        if not (np.isfinite(step).all() and (step == np.round(step)).all() and (np.diff(step) > 0).all()):
            raise BadInput("steps are not whole numbers that rise", file=file, column="step", fix="sort the log")
        if step[0] > 1:
            if not 0 < warmup_steps <= step[0]:
                raise BadInput(
                    f"the first logged step is {step[0]:g}, so the rates before it are missing",
                    file=file,
                    fix=f"log them, or name a warm-up of at most {step[0]:g} steps (warmup=…)",
                )
            head = [(0.0, 0.0), (float(warmup_steps), rate[0])]
            head = head if warmup_steps < step[0] else head[:1]
            if between == "constant":
                # The rise is a line whatever holds between the points of the log.
                head = [(float(s), rate[0] * s / warmup_steps) for s in range(min(warmup_steps + 1, int(step[0])))]
            step = np.concatenate([[s for s, _ in head], step])
            rate = np.concatenate([[r for _, r in head], rate])
        return cls(
            FREE_FORM,
            int(step[-1]),
            warmup_steps=warmup_steps,
            knots=tuple(int(s) for s in step),
            rates=tuple(rate.tolist()),
            between=between,
        )

    @classmethod
    def parse(cls, text: str, **defaults: Any) -> Schedule:
        """The schedule that `cosine:total=24K,warmup=2160,floor=0.1,lr_max=3e-4` or `file:lr.csv` writes.

        `defaults` are fields (total, lr_max, …), or `warmup`, that the text may leave out; a schedule that has no such
        number takes none. A warm-up or another number of steps below 1 is a share of all steps; `decay_steps` stands
        for decay. Raises BadInput naming what is wrong.
        """
        name, _, rest = text.strip().partition(":")
        if name.strip().lower() == FREE_FORM:
            return _from_file(text, rest, defaults)
        given = _assignments(text, [part for part in rest.split(",") if part.strip()])
        kind_name = _named(name)
        fields: dict[str, Any] = dict(defaults)
        spare = fields.pop("warmup", None)
        kind = SCHEDULES[kind_name]
        known = {"total", "lr_max", "warmup", "warmup_from", *kind.uses, *kind.settings}
        known |= {"decay_steps"} if "decay" in kind.uses else set()
        for key in given:
            if key not in known:
                raise BadInput(f"{text!r}: {kind_name} has no setting {key!r}", fix=nearest(key, known))
        if not (given.get("total") or fields.get("total")):
            raise BadInput(f"{text!r} has no number of steps", fix=f"write {kind_name}:total=24000,…")
        own = {key: given.pop(key) for key in list(given) if key in kind.settings}
        steps = given.pop("decay_steps", None)
        if spare is not None:
            given.setdefault("warmup", spare)
        if steps is not None and "decay" in given:
            raise BadInput(f"{text!r} gives both decay and decay_steps", fix="give one of them")
        if "warmup" in given:
            fields["warmup_steps"] = _warmup(given.pop("warmup"), given.get("total", fields.get("total")))
        fields |= given
        fields["settings"] = {**dict(fields.get("settings", {})), **own}
        if steps is not None:
            left = _whole(fields["total"], "total", least=1) - int(fields.get("warmup_steps", 0))
            if not 0 < steps <= left:
                raise BadInput(f"{text!r}: decay_steps = {steps:g} must lie above 0 and up to {left}, what is left")
            fields["decay"] = steps / left
        return cls(kind_name, **fields)

    def __str__(self) -> str:
        """The spec that `parse` reads; of a free-form schedule its length and peak."""
        if self.kind is None:
            return f"{self.name} ({len(self.rates)} points to step {self.total}, peak {self.lr_max:g})"
        parts = [f"total={self.total}", f"lr_max={_written(self.lr_max)}"]
        parts += [f"warmup={self.warmup_steps}"] if self.warmup_steps else []
        parts += [f"warmup_from={_written(self.warmup_from)}"] if self.warmup_from else []
        parts += [f"{key}={_written(getattr(self, key))}" for key in sorted(self.kind.uses)]
        parts += [f"{key}={_written(value)}" for key, value in self.settings]
        return f"{self.name}:{','.join(parts)}"


# ---------------------------------------------------------------------------------------------------------- checking


def _named(name: Any) -> str:
    word = str(name).strip().lower().replace("_", "-")
    word = _ALIASES.get(word, word)
    if word not in SCHEDULES and word != FREE_FORM:
        raise BadInput(f"no schedule {str(name)!r}", fix=nearest(word, [*SCHEDULES, FREE_FORM, *_ALIASES]))
    return word


def _finite(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{name} = {value!r} is not a number") from None
    if not math.isfinite(number):
        raise BadInput(f"{name} = {number:g} is not a finite number")
    return number


def _whole(value: Any, name: str, least: int) -> int:
    number = _finite(value, name)
    if number != round(number) or number < least:
        raise BadInput(f"{name} = {number:g} is not a whole number of steps from {least} up")
    return round(number)


def _warmup(value: Any, total: Any) -> int:
    """Steps of a warm-up given as steps, or below 1 as a share of all steps."""
    number = _finite(value, "warmup")
    if 0 < number < 1:
        return round(number * _finite(total, "total"))
    return _whole(number, "warmup", least=0)


def _settled(name: str, kind: Kind, given: Any) -> tuple[tuple[str, Value], ...]:
    """The settings of a kind as sorted pairs, defaults filled in."""
    try:
        found = dict(given)
    except (TypeError, ValueError):
        raise BadInput(f"{name}: settings = {given!r} are not names with numbers") from None
    for key in found:
        if key not in kind.settings:
            known = nearest(str(key), kind.settings) if kind.settings else "it has none"
            raise BadInput(f"{name} has no setting {key!r}", fix=known)
    settled = {}
    for key, setting in kind.settings.items():
        value = found.get(key, setting.default)
        if value is None:
            raise BadInput(f"{name} needs {key}, {setting.meaning}", fix=f"write {name}:…,{key}=NUMBER")
        settled[key] = setting.check(f"{name}: {key}", value)
    return tuple(sorted(settled.items()))


def _free_form(schedule: Schedule) -> None:
    """Checks a free-form schedule and sets what is read off its rates."""
    put = object.__setattr__
    rates = tuple(float(rate) for rate in schedule.rates)
    knots = tuple(_whole(knot, "a knot", least=0) for knot in schedule.knots)
    if not knots:
        if len(rates) not in (schedule.total, schedule.total + 1):
            raise BadInput(
                f"{len(rates)} rates are not one for each of {schedule.total} updates", fix="give one for each update"
            )
        knots = tuple(range(1, schedule.total + 1)) if len(rates) == schedule.total else tuple(range(len(rates)))
    if schedule.between not in BETWEEN:
        raise BadInput(f"between = {schedule.between!r} is not known", fix=nearest(schedule.between, BETWEEN))
    if len(knots) != len(rates) or any(b <= a for a, b in itertools.pairwise(knots)):
        raise BadInput(f"{len(knots)} knots and {len(rates)} rates are not one rate for each of steps that rise")
    if knots[0] not in (0, 1) or knots[-1] != schedule.total:
        raise BadInput(
            f"rates from step {knots[0]} to {knots[-1]} leave an end of 1 … {schedule.total} without one",
            fix="give the rates of all updates",
        )
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise BadInput("a learning rate is negative or no finite number", column="lr")
    if not any(rates):
        raise BadInput("the learning rate is zero at every step", column="lr", fix="give the rates that trained")
    put(schedule, "rates", rates)
    put(schedule, "knots", knots)
    put(schedule, "lr_max", max(rates))
    put(schedule, "floor", rates[-1] / max(rates))
    put(schedule, "decay", 0.0)
    put(schedule, "settings", ())


def _written(value: Any) -> str:
    """A setting as a spec writes it: floats in full, without a bare .0."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    return "/".join(str(v).removesuffix(".0") for v in values)


def _assignments(text: str, parts: Sequence[str]) -> dict[str, Any]:
    """The NAME=VALUE pairs of a spec: numbers, a/b lists of numbers, or words."""
    found: dict[str, Any] = {}
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        key = _SPELT.get(name.lower(), name.lower())
        if not equals or not key or not value:
            raise BadInput(
                f"{text!r}: {part.strip()!r} is not NAME=VALUE", fix="write it as cosine:total=24K,floor=0.1"
            )
        if key in found:
            raise BadInput(f"{text!r} gives {key} twice", fix="give it once")
        pieces = value.split("/")
        try:
            numbers = tuple(parse_number(piece) for piece in pieces)
            found[key] = numbers if len(numbers) > 1 else numbers[0]
        except ValueError:
            if not re.fullmatch(r"[a-z][a-z-]*", value) or value in ("nan", "inf", "infinity"):
                raise BadInput(f"{text!r}: {name} = {value!r} is not a finite number") from None
            found[key] = value
    return found


# ------------------------------------------------------------------------------------------------------------- files


def file_of(text: str) -> str | None:
    """The file that a spec reads; None for a formula."""
    name, _, rest = text.strip().partition(":")
    return _SETTINGS.split(rest)[0].strip() if name.strip().lower() == FREE_FORM else None


def _from_file(text: str, rest: str, defaults: Mapping[str, Any]) -> Schedule:
    path, *parts = _SETTINGS.split(rest)
    if not path.strip():
        raise BadInput(f"{text!r} names no file", fix="write file:lr.csv, a table with columns step and lr")
    given = _assignments(text, parts)
    known = {"total", "warmup", "between", "step", "column"}
    for key in given:
        if key not in known:
            raise BadInput(f"{text!r}: a schedule from a file has no setting {key!r}", fix=nearest(key, known))
    steps, rates = read_rates(path.strip(), step=given.get("step", "step"), lr=given.get("column", "lr"))
    total = given.get("total", steps[-1])
    # What is logged from the first update on has its warm-up in it; a default is for logs that begin after theirs.
    spare = defaults.get("warmup", defaults.get("warmup_steps", 0)) if steps[0] > 1 else 0
    warmup = _warmup(given.get("warmup", spare), total)
    found = Schedule.logged(
        steps, rates, warmup_steps=warmup, between=given.get("between", "linear"), file=path.strip()
    )
    if _whole(total, "total", least=1) != found.total:
        raise BadInput(
            f"its last step is {found.total}, but total = {total:g}",
            file=path.strip(),
            fix="leave total out, or log the rates to the end",
        )
    return found


def read_rates(path: str | Path, step: str = "step", lr: str = "lr") -> tuple[list[int], list[float]]:
    """The columns `step` and `lr` of a CSV or TSV file (.gz too), in order; raises BadInput with file, line, column."""
    file, where = Path(path), str(path)
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            lines = stream.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError, EOFError) as fault:
        why = getattr(fault, "strerror", None) or "not a text file"
        raise BadInput(f"can't be read: {why}", file=where, fix="give a CSV file with columns step and lr") from None
    rows = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    if not rows:
        raise BadInput("the file is empty", file=where, fix="give a CSV file with columns step and lr")
    own = [name.strip() for name in rows[0]]
    names = [name if name in (step, lr) else ALIASES.get(name.lower(), name) for name in own]
    for wanted in (step, lr):
        if names.count(wanted) != 1:
            raise BadInput(
                f"{names.count(wanted) or 'no'} columns are {wanted!r} among {', '.join(own[:12])}",
                file=where,
                line=1,
                fix="name the schedule instead, as cosine:total=24000, or give columns step and lr",
            )
    places = (names.index(step), names.index(lr))
    steps: list[int] = []
    rates: list[float] = []
    for number, row in enumerate(rows[1:], 2):
        if not row or not any(cell.strip() for cell in row):
            continue
        values = []
        for name, place in zip((step, lr), places, strict=True):
            try:
                values.append(parse_number(row[place].strip()))
            except (ValueError, IndexError):
                cell = row[place] if place < len(row) else ""
                raise BadInput(f"{cell!r} is not a number", file=where, line=number, column=name) from None
        if values[0] != round(values[0]) or (steps and values[0] <= steps[-1]):
            raise BadInput(
                f"step {values[0]:g} after {steps[-1] if steps else 'none'}: steps are whole numbers that rise",
                file=where,
                line=number,
                column=step,
                fix="sort the log and keep one row for each step",
            )
        steps.append(round(values[0]))
        rates.append(values[1])
    if not steps:
        raise BadInput("the file has a header and no rows", file=where)
    return steps, rates


# ------------------------------------------------------------------------------------------------------------ shapes


def _progress(step: Array, schedule: Schedule) -> Array:
    """x, the share of the steps after the warm-up that is done."""
    return np.maximum(0.0, step - schedule.warmup_steps) / (schedule.total - schedule.warmup_steps)


def _count(value: float, schedule: Schedule) -> int:
    """Steps of a setting given as steps, or below 1 as a share of all steps."""
    return round(value * schedule.total) if value < 1 else round(value)


def _falling(shape: Callable[[Array], Array]) -> Callable[[Array, Schedule], Array]:
    """From the peak to the floor by a shape of the progress."""
    return lambda step, schedule: schedule.floor + (1 - schedule.floor) * shape(_progress(step, schedule))


def _decaying(step: Array, schedule: Schedule) -> Array:
    """How far the last decay has come, 0 before it begins."""
    return np.maximum(0.0, 1 - (1 - _progress(step, schedule)) / schedule.decay)


def _stable_then(shape: str) -> Callable[[Array, Schedule], Array]:
    def stable_then_decay(step: Array, schedule: Schedule) -> Array:
        return schedule.floor + (1 - schedule.floor) * DECAY_SHAPES[shape](_decaying(step, schedule))

    return stable_then_decay


def _constant(step: Array, schedule: Schedule) -> Array:
    return np.ones_like(step)


def _cosine_power(step: Array, schedule: Schedule) -> Array:
    half, rate = DECAY_SHAPES["cosine"](_progress(step, schedule)), math.log(schedule["p0"])
    share = np.expm1(half * rate) / math.expm1(rate) if rate else half
    return schedule.floor + (1 - schedule.floor) * share


def _exp(step: Array, schedule: Schedule) -> Array:
    return np.asarray(schedule.floor ** _progress(step, schedule))


def _poly(step: Array, schedule: Schedule) -> Array:
    return _falling(lambda x: (1 - x) ** schedule["q"])(step, schedule)


def _rex(step: Array, schedule: Schedule) -> Array:
    d = schedule["d"]
    return _falling(lambda x: (1 - x) / (1 - d + d * (1 - x)))(step, schedule)


def _wsd_exp(step: Array, schedule: Schedule) -> Array:
    return np.asarray(schedule.floor ** _decaying(step, schedule))


def _wsd_power(step: Array, schedule: Schedule) -> Array:
    return schedule.floor + (1 - schedule.floor) * (1 - _decaying(step, schedule)) ** schedule["q"]


def _minicpm(step: Array, schedule: Schedule) -> Array:
    start = schedule.total - schedule.decay * (schedule.total - schedule.warmup_steps)
    return np.asarray(0.5 ** (np.maximum(0.0, step - start) / _count(schedule["half_life"], schedule)))


def _multistep(step: Array, schedule: Schedule) -> Array:
    edges = [_count(place, schedule) for place in schedule["at"]]
    return np.asarray((1.0, *schedule["to"]))[np.searchsorted(edges, step, side="right")]


def _two_stage(step: Array, schedule: Schedule) -> Array:
    return np.where(step >= _count(schedule["switch"], schedule), schedule["second"], 1.0)


def _invsqrt(step: Array, schedule: Schedule) -> Array:
    scale = _count(schedule["scale"], schedule) or schedule.warmup_steps
    return np.sqrt(scale / np.maximum(step, scale))


def _power_rate(step: Array, schedule: Schedule) -> Array:
    """min(1, batch·a·n^b / lr_max) at n tokens seen."""
    tokens = step * schedule["batch"] * schedule["seq_len"]
    with np.errstate(divide="ignore"):
        return np.minimum(1.0, schedule["batch"] * schedule["a"] * tokens ** schedule["b"] / schedule.lr_max)


def _power(step: Array, schedule: Schedule) -> Array:
    if not schedule.decay:
        return _power_rate(step, schedule)
    start = schedule.total - schedule.decay * (schedule.total - schedule.warmup_steps)
    y, shape = _decaying(step, schedule), schedule["shape"]
    left = schedule.floor + (1 - schedule.floor) * DECAY_SHAPES[shape](y) if shape != "exp" else schedule.floor**y
    return _power_rate(np.minimum(step, start), schedule) * left


def _cosine_between(high: float, low: float, x: Array) -> Array:
    return low + (high - low) * DECAY_SHAPES["cosine"](x)


def _onecycle(step: Array, schedule: Schedule) -> Array:
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


def _cycle(step: Array, schedule: Schedule) -> Array:
    """Where in its cycle a step is, above 0 and up to 1: the last step of a cycle is in it, not in the next one."""
    cycles = int(schedule["cycles"])
    ends = np.concatenate([[0.0], np.cumsum(_shares(schedule))])
    ends[-1] = 1.0
    x = _progress(step, schedule)
    which = np.clip(np.searchsorted(ends, x, side="left") - 1, 0, cycles - 1)
    return (x - ends[which]) / (ends[which + 1] - ends[which])


def _shares(schedule: Schedule) -> Array:
    """Each cycle's length over all; nothing where there would be more cycles than steps."""
    cycles, mult = int(schedule["cycles"]), schedule["mult"]
    if cycles > schedule.total:
        return np.zeros(1)
    powers = np.arange(cycles) * math.log(mult)
    lengths = np.exp(powers - powers.max())
    return np.asarray(lengths / lengths.sum())


def _sgdr(step: Array, schedule: Schedule) -> Array:
    return _cosine_between(1.0, schedule.floor, _cycle(step, schedule))


def _cyclic(step: Array, schedule: Schedule) -> Array:
    return schedule.floor + (1 - schedule.floor) * (1 - np.abs(2 * _cycle(step, schedule) - 1))


def _infinite(shape: str) -> Callable[[Array, Schedule], Array]:
    def cooldown(x: Array, schedule: Schedule) -> Array:
        if shape != "invsqrt":
            return DECAY_SHAPES[shape](x)
        alpha = schedule["alpha"]
        return 1 - (1 / np.sqrt(1 + alpha * x) - 1) / (1 / math.sqrt(1 + alpha) - 1)

    def infinite(step: Array, schedule: Schedule) -> Array:
        plateau = schedule["plateau"]
        x = np.minimum(1.0, _progress(step, schedule) / schedule["cooldown"])
        return (plateau + (1 - plateau) * cooldown(x, schedule)) * (schedule.floor / plateau) ** _decaying(
            step, schedule
        )

    return infinite


def _rewarm(step: Array, schedule: Schedule) -> Array:
    switch, floor, peak = _count(schedule["switch"], schedule), schedule.floor, schedule["peak"]
    again, start = _count(schedule["rewarm"], schedule), schedule["start"]
    warmup = schedule.warmup_steps
    first = _cosine_between(1.0, floor, np.minimum(1.0, (step - warmup) / (switch - warmup)))
    rise = start + (peak - start) * (step - switch) / again if again else np.full_like(step, peak)
    second = _cosine_between(peak, floor, np.maximum(0.0, step - switch - again) / (schedule.total - switch - again))
    return np.where(step <= switch, first, np.where(step <= switch + again, rise, second))


# ----------------------------------------------------------------------------------------- checks of single schedules


def _decays(schedule: Schedule) -> None:
    if not schedule.decay:
        raise BadInput(f"{schedule.name}: decay = 0 must lie above 0 and up to 1", fix="else it is constant")


def _has_floor(schedule: Schedule) -> None:
    if not schedule.floor:
        raise BadInput(f"{schedule.name} decays exponentially and never reaches 0", fix="give a floor, as floor=0.1")


def _decays_to_floor(schedule: Schedule) -> None:
    _decays(schedule)
    _has_floor(schedule)


def _check_multistep(schedule: Schedule) -> None:
    edges = [_count(place, schedule) for place in schedule["at"]]
    if len(edges) != len(schedule["to"]):
        raise BadInput(f"{schedule.name}: {len(edges)} places (at) for {len(schedule['to'])} shares (to)")
    if any(b <= a for a, b in zip([schedule.warmup_steps, *edges], [*edges, schedule.total + 1], strict=True)):
        raise BadInput(
            f"{schedule.name}: at = {_written(schedule['at'])} must rise from the warm-up's end to the last step"
        )


def _check_two_stage(schedule: Schedule) -> None:
    switch = _count(schedule["switch"], schedule)
    if not schedule.warmup_steps < switch <= schedule.total:
        raise BadInput(
            f"two-stage: the switch at step {switch} is not between the warm-up's end and step {schedule.total}"
        )


def _check_minicpm(schedule: Schedule) -> None:
    _decays(schedule)
    if not _count(schedule["half_life"], schedule):
        raise BadInput(f"minicpm: a half-life of {schedule['half_life']:g} of {schedule.total} steps is less than one")


def _check_invsqrt(schedule: Schedule) -> None:
    if not (schedule.warmup_steps or _count(schedule["scale"], schedule)):
        raise BadInput("invsqrt falls as the root of warmup / step and has no warm-up", fix="give warmup, or scale")


def _check_power(schedule: Schedule) -> None:
    if schedule.decay and schedule["shape"] == "exp":
        _has_floor(schedule)


def _check_onecycle(schedule: Schedule) -> None:
    for switch in ("three_phase", "linear"):
        if schedule[switch] not in (0, 1):
            raise BadInput(f"onecycle: {switch} = {schedule[switch]:g} is neither 0 nor 1")
    rise = (schedule.warmup_steps or schedule["pct"] * schedule.total) - 1
    room = 2 * rise if schedule["three_phase"] else rise
    if rise < 0 or room >= schedule.total - 1 or (schedule["three_phase"] and not rise):
        raise BadInput(f"onecycle: a rise of {rise + 1:g} of {schedule.total} steps leaves no room for its phases")


def _check_cycles(schedule: Schedule) -> None:
    if schedule["cycles"] != round(schedule["cycles"]):
        raise BadInput(f"{schedule.name}: cycles = {schedule['cycles']:g} is not a whole number")
    shortest = (schedule.total - schedule.warmup_steps) * min(1.0, _shares(schedule).min(initial=1.0))
    if not shortest >= 1:
        raise BadInput(f"{schedule.name}: a cycle of {schedule['cycles']:g} would be shorter than one step")


def _check_cyclic(schedule: Schedule) -> None:
    _check_cycles(schedule)
    if schedule.warmup_steps:
        raise BadInput("cyclic rises from its floor by itself", fix="leave the warm-up out (0 steps)")


def _check_infinite(schedule: Schedule) -> None:
    _decays_to_floor(schedule)
    if schedule["cooldown"] + schedule.decay > 1:
        raise BadInput(
            f"{schedule.name}: cooldown {schedule['cooldown']:g} and decay {schedule.decay:g} are more than all"
        )
    if schedule.floor > schedule["plateau"]:
        raise BadInput(f"{schedule.name}: floor = {schedule.floor:g} lies above plateau = {schedule['plateau']:g}")


def _check_rewarm(schedule: Schedule) -> None:
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
_TINY = float(np.finfo(float).tiny)
_Q = Setting(1.5, "exponent of the decay", _TINY, 100.0)
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
        {"p0": Setting(10.0, "its base: 1 gives the cosine (10 for ImageNet, 2 for CIFAR)", _TINY, 1e300)},
    ),
    "poly": Kind(
        _poly, "floor + (1-floor)*(1-x)**q", "-", _FLOOR, {"q": Setting(1.0, "exponent of the decay", _TINY, 100.0)}
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
            "at": Setting((0.8, 0.9), f"where it drops: {_SECOND_TIME}", 1e-9, 1e15),
            "to": Setting((math.sqrt(0.1), 0.1), "the rate after each drop, over the peak", 0.0, 1e6),
        },
        check=_check_multistep,
    ),
    "multistep-30-60-90": Kind(
        _multistep,
        "1, then a tenth more at 30, 60 and 90 %",
        "-",
        settings={
            "at": Setting((0.3, 0.6, 0.9), f"where it drops: {_SECOND_TIME}", 1e-9, 1e15),
            "to": Setting((0.1, 0.01, 0.001), "the rate after each drop, over the peak", 0.0, 1e6),
        },
        check=_check_multistep,
    ),
    "two-stage": Kind(
        _two_stage,
        "1, then `second` from step `switch` on",
        "Luo et al. 2025, arXiv:2503.12811",
        settings={
            "switch": Setting(0.5, f"where the second stage begins: {_SECOND_TIME}", 1e-9, 1e15),
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
        settings={"scale": Setting(0.0, f"W where it is not the warm-up: {_SECOND_TIME}", 0.0, 1e15)},
        check=_check_invsqrt,
    ),
    "power": Kind(
        _power,
        "min(1, batch*a*n**b/lr_max) at n tokens, decay",
        "Shen et al. 2024, arXiv:2408.13359",
        _BOTH,
        {
            "a": Setting(4.0, "amplitude for one sequence", _TINY, 1e12),
            "b": Setting(-0.51, "exponent of the tokens", -10.0, 0.0),
            "batch": Setting(None, "sequences in a batch", 1e-9, 1e12),
            "seq_len": Setting(4096.0, "tokens in a sequence", 1, 1e12),
            "shape": Setting("linear", "shape of the decay", choices=(*DECAY_SHAPES, "exp")),
        },
        check=_check_power,
    ),
    "infinite": Kind(
        _infinite("cosine"),
        "cosine to the plateau, flat, floor**y",
        "Ibrahim et al. 2024, arXiv:2403.08763",
        _BOTH,
        _INFINITE,
        check=_check_infinite,
    ),
    "infinite-linear": Kind(
        _infinite("linear"),
        "line to the plateau, flat, floor**y",
        "arXiv:2503.02844",
        _BOTH,
        _INFINITE,
        check=_check_infinite,
    ),
    "infinite-invsqrt": Kind(
        _infinite("invsqrt"),
        "1/sqrt(1+alpha*x) to the plateau, flat, floor**y",
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
            "switch": Setting(0.5, f"where the new data begins: {_SECOND_TIME}", 1e-9, 1e15),
            "rewarm": Setting(0.01, f"length of the re-warming: {_SECOND_TIME}", 0.0, 1e15),
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


# ------------------------------------------------------------------------------------------------------- for a trainer


def learning_rates(
    schedule: str,
    steps: ArrayLike,
    total: int,
    *,
    lr_max: float = 1.0,
    warmup_steps: int = 0,
    floor: float = 0.0,
    decay: float = 0.2,
    **settings: Any,
) -> Array:
    """The learning rate at each of `steps` (0 … total), float64, in the shape of `steps`: Schedule(…).at(steps)."""
    made = Schedule(schedule, total, lr_max, warmup_steps, floor, decay, settings)
    return made.at(steps)


def update_rates(schedule: str, total: int, **settings: Any) -> Array:
    """The learning rates of the `total` updates of a run, shape (total,): element n − 1 belongs to the n-th update."""
    return learning_rates(schedule, np.arange(1, total + 1), total, **settings)
