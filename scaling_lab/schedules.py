"""Learning-rate schedules as values and arrays: the one source for the trainer, the curve laws and the plots.

A schedule is a function of the step s and the horizon T = `total`. Warm-up is linear, from `warmup_from` of its end (0
unless said) at s = 0 to the whole at s = W exactly; what follows runs over the steps that are left, x = (s − W)/(T −
W), and where a schedule has a `floor` it ends on floor·lr_max at s = T exactly (power: on that share of the rate at
which its decay begins). The n-th of T updates takes the value at s = n: with floor = 0 the last one is at 0. Step 0 is
before the first update.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import BadInput, nearest
from .quantities import ALIASES, parse_number
from .schedule_kinds import SCHEDULES, Array, Kind, Value, written

FREE_FORM = "file"
# A table of more updates than this is of tokens, not of steps; its rates alone would fill a gigabyte.
MOST_UPDATES = 10**8
BETWEEN = ("linear", "constant")
# Sums of squares of rates of any schedule stay finite, and above zero.
LEAST_PEAK = 1e-100
# A smaller share is less than a step of any run, and what is divided by it overflows.
LEAST_DECAY = 1e-12
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
        _check_peak(self.lr_max, "lr_max")
        kind = SCHEDULES[self.name]
        if not 0 <= self.floor <= 1:
            raise BadInput(f"floor = {self.floor:g} must lie in 0 … 1: it is the last rate over the peak")
        if not 0 <= self.decay <= 1:
            raise BadInput(
                f"decay = {self.decay:g} must lie above 0 and up to 1: it is a share of the steps",
                fix="a spec takes steps as decay_steps",
            )
        if 0 < self.decay < LEAST_DECAY:
            raise BadInput(f"decay = {self.decay:g} of the steps is less than any step", fix="give 1 step or more")
        if not 0 <= self.warmup_from <= 1:
            raise BadInput(f"warmup_from = {self.warmup_from:g} must lie in 0 … 1: it is a share of the peak")
        for name in {"floor", "decay"} - kind.uses:
            put(self, name, 0.0)
        put(self, "settings", _settled(self.name, kind, self.settings))
        kind.check(self)
        if self.warmup_from and (kind.rises or not self.warmup_steps):
            why = "brings its own rise" if kind.rises else "has no warm-up"
            raise BadInput(f"warmup_from = {self.warmup_from:g}: {self.name} {why}", fix="leave warmup_from out")
        if not self.warmup_steps and not self.at(1.0) and not self.updates().any():
            raise BadInput(f"{self.name} of {self.total} steps: the learning rate is zero at every update")

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
        if given.get("total", fields.get("total")) is None:
            raise BadInput(f"{text!r} has no number of steps", fix=f"write {kind_name}:total=24000,…")
        own = {key: given.pop(key) for key in list(given) if key in kind.settings}
        steps = _finite(given.pop("decay_steps"), "decay_steps") if "decay_steps" in given else None
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
        parts = [f"total={self.total}", f"lr_max={written(self.lr_max)}"]
        parts += [f"warmup={self.warmup_steps}"] if self.warmup_steps else []
        parts += [f"warmup_from={written(self.warmup_from)}"] if self.warmup_from else []
        parts += [f"{key}={written(getattr(self, key))}" for key in sorted(self.kind.uses)]
        parts += [f"{key}={written(value)}" for key, value in self.settings]
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


def _check_peak(peak: float, name: str) -> None:
    if peak <= 0:
        raise BadInput(f"{name} = {peak:g}: a learning rate of zero or below trains nothing")
    if not LEAST_PEAK <= peak <= 1 / LEAST_PEAK:
        raise BadInput(
            f"{name} = {peak:g} is no learning rate of any run: it must lie in {LEAST_PEAK:g} … {1 / LEAST_PEAK:g}"
        )


def _whole(value: Any, name: str, least: int) -> int:
    number = _finite(value, name)
    if number != round(number) or number < least:
        raise BadInput(f"{name} = {number:g} is not a whole number of steps from {least} up")
    return round(number)


def _warmup(value: Any, total: Any) -> int:
    """Steps of a warm-up given as steps, or below 1 as a share of all steps."""
    number = _finite(value, "warmup")
    if 0 < number < 1:
        steps = round(number * _finite(total, "total"))
        if not steps:
            raise BadInput(f"warmup = {number:g} of {total:g} steps is less than one", fix="leave it out, or give more")
        return steps
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
    _check_peak(max(rates), "the highest rate")
    put(schedule, "rates", rates)
    put(schedule, "knots", knots)
    put(schedule, "lr_max", max(rates))
    put(schedule, "floor", rates[-1] / max(rates))
    put(schedule, "decay", 0.0)
    put(schedule, "settings", ())


def _assignments(text: str, parts: Sequence[str], texts: Sequence[str] = ()) -> dict[str, Any]:
    """The NAME=VALUE pairs of a spec: numbers, a/b lists of numbers, or words; those named in `texts` as they stand."""
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
        if key in texts:
            found[key] = value
            continue
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


def left_out(text: str) -> frozenset[str]:
    """Which of total, lr_max, warmup and floor a spec would take from the defaults of `Schedule.parse`."""
    name, _, rest = text.strip().partition(":")
    free = name.strip().lower() == FREE_FORM
    parts = _SETTINGS.split(rest)[1:] if free else [part for part in rest.split(",") if part.strip()]
    given = _assignments(text, parts, texts=("step", "column") if free else ())
    takes = {"warmup"} if free else {"total", "lr_max", "warmup", *({"floor"} & SCHEDULES[_named(name)].uses)}
    return frozenset(takes - set(given))


def _from_file(text: str, rest: str, defaults: Mapping[str, Any]) -> Schedule:
    path, *parts = _SETTINGS.split(rest)
    if not path.strip():
        raise BadInput(f"{text!r} names no file", fix="write file:lr.csv, a table with columns step and lr")
    given = _assignments(text, parts, texts=("step", "column"))
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
    where = str(path)
    rows = _cells(Path(path), where)
    own = [name.strip() for name in rows[0]]
    names = [name if name in (step, lr) else ALIASES.get(name.lower(), name) for name in own]
    for wanted in (step, lr):
        if names.count(wanted) != 1:
            raise BadInput(
                f"{names.count(wanted) or 'no'} columns are {wanted!r} among {', '.join(own[:12]) or 'none'}",
                file=where,
                line=1,
                fix="say which it is, as file:lr.csv,step=NAME,column=NAME, or name the schedule, as cosine:total=24K",
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


def _cells(file: Path, where: str) -> list[list[str]]:
    """The cells of a CSV or TSV file, the header first."""
    fix = "give a CSV file with columns step and lr"
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            lines = stream.read().decode("utf-8-sig").splitlines()
        rows = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise BadInput(f"the gzip data is damaged or cut short ({fault})", file=where, fix="copy it again") from None
    except OSError as fault:
        raise BadInput(f"can't be read: {fault.strerror or fault}", file=where, fix=fix) from None
    except (UnicodeDecodeError, csv.Error):
        raise BadInput("can't be read: not a CSV file of UTF-8 text", file=where, fix=fix) from None
    if not rows:
        raise BadInput("the file is empty", file=where, fix=fix)
    return rows
