"""A loss further along its own curve, by the families of learning curves weighed by inner backtests."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..autolrs import LEAST as AUTOLRS_LEAST
from ..autolrs import NAME as AUTOLRS
from ..autolrs import ShortForecast, autolrs_forecast
from ..engine.codes import severity
from ..engine.coordinates import Coordinates
from ..engine.fit import Settings, optimum
from ..engine.result import Notice
from ..engine.solve import Objective
from ..engine.uncertainty import LEAST_DRIFT
from ..errors import DidNotConverge, NotEnoughData, NotIdentified, UsageError
from ..laws import Law, get_law
from ..laws.learning import FAMILIES, PREFIX, SAME
from ..quantities import format_quantity
from ..smoothing import Smoothing, smoothed
from ..tables import Rows, Table
from .one_curve import DropFirst, OneCurve, read_curve, steady_until
from .stopping import Stopping, stopping

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

SCHEMA = "scaling-lab/extrapolate/1"
# What is weighed unless families are named: each curve once, whatever its other letters.
USUAL = tuple(name for name in FAMILIES if name not in SAME)
# A broken power law bends where it likes: it is weighed only where inner backtests ask for it, with errors below this
# share of the best other family's.
BROKEN, ASKED = "bnsl1", 0.5
# Where inner backtests cut the window, as shares of its length; the last is the one whose errors weigh the families:
# what comes after it is the last fifth.
CUTS, LAST = (0.3, 0.45, 0.6, 0.8), 0.8
# Errors are those of means over blocks of this share of the window, for neighbours on a curve err together.
BLOCK = 0.05
# Families count by their mean square error to minus one, as laws do in the automatic choice.
POWER = 2.0
# Families that differ by less than this share of the noise, over the window and at the place asked, are one.
ALIKE = 0.1
# Rows of a window that are fitted singly. Longer ones are fitted by means of neighbours, none of them wider than this.
MOST_ROWS, WIDEST = 400, 0.02
# Points that an inner backtest needs, and the widest the objective is square to (times the noise).
LEAST_POINTS, HUBER = 8, 2.0
MORE = "points of the curve"
LEAST_WIDTH = 1e-3
# Families nearer to each other than this share of the loss say the same.
LEAST_SPREAD = 1e-5
# How a full fit and one of an inner backtest are searched: starts, of which the best and random ones are followed.
FULL = Settings(starts=300, polish=(8, 4), audit=4, bootstrap=0)
INNER = Settings(starts=100, polish=(4, 2), audit=0, bootstrap=0)


@dataclass(frozen=True)
class Points:
    """What families are fitted to: losses (n,) at x (n,), each the mean of `weight` rows; `rows` are how many stood."""

    input: str
    x: Floats
    loss: Floats
    weight: Floats
    noise: float

    def between(self, low: float, high: float) -> Points:
        """Those above low, or at it, up to high."""
        keep = (self.x >= low) & (self.x <= high)
        return Points(self.input, self.x[keep], self.loss[keep], self.weight[keep], self.noise)

    @classmethod
    def of(cls, input: str, x: Floats, loss: Floats) -> Points:
        """The rows, or the means of neighbours where they are many; noise is that of log loss of a row."""
        noise = _row_noise(np.log(loss))
        if len(x) <= MOST_ROWS:
            return cls(input, x, loss, np.ones(len(x)), noise)
        gone = np.maximum(MOST_ROWS / len(x), np.diff(np.log(x), prepend=np.log(x[0])) / WIDEST)
        _, at = np.unique(np.floor(np.cumsum(gone)), return_inverse=True)
        count = np.bincount(at).astype(float)
        return cls(input, np.bincount(at, x) / count, np.bincount(at, loss) / count, count, noise)


def _row_noise(log_loss: Floats) -> float:
    """The noise of a row, from differences of neighbours, which the fall of the curve hardly moves."""
    if len(log_loss) < 4:
        return LEAST_WIDTH
    change = np.diff(log_loss)
    return float(np.median(np.abs(change - np.median(change))) * 1.4826 / math.sqrt(2.0))


@dataclass(frozen=True)
class Family:
    """One family on the window: parameters, weight, errors of inner backtests, and losses (m,) at the places asked.

    `validation` is the root of the mean square error of log loss over blocks of the last fifth, from a fit to what came
    before, NaN where there was none; `drift` its error for each factor e beyond the data, over all inner backtests.
    """

    name: str
    law: str
    params: Mapping[str, float]
    weight: float
    validation: float
    drift: float
    values: Floats

    def at(self, x: Floats) -> Floats:
        """Its losses (n,) at places (n,)."""
        law = get_law(self.law)
        return np.broadcast_to(np.asarray(law.predict({law.inputs[0]: x}, **self.params)), x.shape)


@dataclass(frozen=True)
class Ahead:
    """The loss at one place, its interval, and the standard deviations of log loss that it is made of."""

    at: float
    value: float
    interval: tuple[float, float]
    factor: float
    families: float
    drift: float
    noise: float


@dataclass(frozen=True)
class Extrapolation:
    """Losses further along a curve, family by family and together.

    `window` is from where to where the curve was fitted; `left_out` says why a family is not among them.
    """

    curve: OneCurve
    smoothing: Smoothing
    window: tuple[float, float]
    families: tuple[Family, ...]
    left_out: Mapping[str, str]
    ahead: tuple[Ahead, ...]
    noise: float
    level: float
    tested: float
    stop: Stopping | None = None
    warnings: tuple[Notice, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the curve."""
        return (*self.curve.notes, *([self.smoothing.note] if self.smoothing.note else []))

    def band(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """The loss and the ends of its interval, each (n,), at places (n,) of the curve or beyond."""
        found = [_together(self.families, self.window[1], float(at), self.noise, self.level) for at in x]
        return tuple(np.array(part) for part in zip(*((a.value, *a.interval) for a in found), strict=True))  # type: ignore[return-value]

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole."""
        return {
            "schema": SCHEMA,
            "input": self.curve.input,
            "rows": {"read": self.curve.read, "used": len(self.curve), "dropped": dict(self.curve.dropped)},
            "window": list(self.window),
            "smoothing": str(self.smoothing),
            "families": [
                {
                    "family": f.name,
                    "law": f.law,
                    "weight": f.weight,
                    "params": dict(f.params),
                    "validation": f.validation if math.isfinite(f.validation) else None,
                    "drift": f.drift,
                    "values": f.values.tolist(),
                }
                for f in self.families
            ],
            "left_out": dict(self.left_out),
            "points": [{**vars(a), "interval": list(a.interval), "level": self.level} for a in self.ahead],
            "noise": self.noise,
            "tested_factor": self.tested,
            "stop": None if self.stop is None else self.stop.to_dict(),
            "notes": list(self.notes),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def extrapolate(
    source: str | os.PathLike[str] | pd.DataFrame | Table | OneCurve,
    to: float | Sequence[float],
    *,
    family: Sequence[str] = (),
    along: str = "step",
    drop_first: str | float = "10%",
    smooth: str | Smoothing = "none",
    level: float = 0.9,
    stop: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
) -> Extrapolation:
    """The loss of a run at constant learning rate at a later step `to` (or several), with an interval.

    `family` names those to weigh (default: all). `stop` asks from where on the predictions moved by no more than that.
    Raises BadInput for what is no single rising curve, UsageError for a place that the curve has passed (unless `stop`
    asks about it), NotEnoughData where no family can be fitted.
    """
    way, drop = Smoothing.parse(smooth), DropFirst.parse(drop_first)
    if not 0 < level < 1:
        raise UsageError(f"a level of {level:g} is not between 0 and 1")
    curve = read_curve(source, along, mapping=mapping, where=where, drop_bad=drop_bad)
    names = _names(family, curve.input)
    targets = np.atleast_1d(np.asarray(to, dtype=float))
    _check_targets(curve, targets, passed=stop is not None)
    if len(curve) < 2:
        raise NotEnoughData(len(curve), 3, names[0], more=MORE)
    loss = smoothed(curve.loss, way)
    points = Points.of(curve.input, curve.x, loss)
    begin = drop.begin(curve.x)
    if begin >= curve.x[-1]:
        raise UsageError(f"--drop-first {drop} leaves nothing of a curve that ends at {curve.place(curve.x[-1])}")
    window = points.between(begin, float(curve.x[-1]))
    ahead_of = targets[targets > curve.x[-1]]
    families, left_out = _weighed(names, points, drop, ahead_of, asked=bool(family))
    if not families:
        raise _none_fitted(names, left_out, window, curve)
    noise = _noise(families, curve.keep(curve.x >= begin))
    cuts = _cuts(points, drop)
    tested = max((curve.x[-1] / cut for cut in cuts), default=1.0)
    found = tuple(_together(families, float(curve.x[-1]), float(at), noise, level) for at in ahead_of)
    stopped = None
    if stop is not None:
        stopped = stopping(points, drop, float(targets[-1]), stop, _trend, float(curve.x[-1]))
    return Extrapolation(
        curve=curve,
        smoothing=way,
        window=(float(window.x[0]), float(curve.x[-1])),
        families=families,
        left_out=left_out,
        ahead=found,
        noise=noise,
        level=level,
        tested=float(tested),
        stop=stopped,
        warnings=_warnings(curve, way, begin, window, found, tested, left_out, bool(cuts), names),
    )


def _none_fitted(
    names: Sequence[str], left_out: Mapping[str, str], window: Points, curve: OneCurve
) -> NotEnoughData | DidNotConverge:
    """Why no family was fitted: too few points for the one of fewest parameters, or what each says."""
    need, name = min((len(get_law(_law_name(n, curve.input)).params) + 1, n) for n in names)
    if len(window.x) < need:
        return NotEnoughData(len(window.x), need, name, f" ({len(curve)} before --drop-first)", more=MORE)
    return DidNotConverge(
        f"{curve.name}: no family could be fitted ({'; '.join(f'{n}: {why}' for n, why in left_out.items())})"
    )


def _names(family: Sequence[str], along: str) -> tuple[str, ...]:
    """The names of the laws to weigh, of the input."""
    if not family:
        return tuple(_of(name, along) for name in (*USUAL, BROKEN))
    return tuple(dict.fromkeys(AUTOLRS if name == AUTOLRS else _of(name, along) for name in family))


def _of(name: str, along: str) -> str:
    """The law of that name, of one input; raises UsageError for a law that is no curve in it."""
    law = get_law(name if name in _known() else f"{PREFIX}{name}" if f"{PREFIX}{name}" in _known() else name)
    if law.inputs != (along,) and law.over is not None and not law.shares and "@" not in name:
        law = law.over((along,))
    if law.inputs != (along,) or law.target != "loss":
        raise UsageError(f"--family {name} is a law of {law.target} in {', '.join(law.inputs)}, not of loss in {along}")
    plain = law.name.partition("@")[0]
    return plain if get_law(plain).inputs == (along,) else law.name


def _known() -> set[str]:
    from ..laws import LAWS

    return {alias for law in LAWS.values() for alias in (law.name, *law.aliases)}


def _check_targets(curve: OneCurve, targets: Floats, *, passed: bool) -> None:
    if not targets.size or not (np.isfinite(targets) & (targets > 0)).all():
        raise UsageError("give the place to extrapolate to, above zero: --to-step 72000")
    behind = targets[targets <= curve.x[-1]] if len(curve) else targets[:0]
    if behind.size and not passed:
        raise UsageError(
            f"the curve of {curve.name} already reaches {curve.place(float(curve.x[-1]))}: nothing to extrapolate to "
            f"at {format_quantity(float(behind[0]))}"
        )


# ------------------------------------------------------------------------------------------------------ one family


def fit_family(name: str, points: Points, settings: Settings = FULL) -> dict[str, float]:
    """The parameters of a law that fit points of a curve best, by Huber of log loss, or those of AutoLRS.

    The linear ones are solved for each start (variable projection). Raises NotEnoughData, NotIdentified or
    DidNotConverge.
    """
    if name == AUTOLRS:
        return _autolrs(points)
    law = get_law(name)
    coordinates = Coordinates.of(law, {}, {points.input: points.x})
    best = optimum(coordinates, _rows(law, points), _with_objective(settings, points))
    return {key: float(value[0, 0]) for key, value in coordinates.to_params(best.theta[None, :]).items()}


def _with_objective(settings: Settings, points: Points) -> Settings:
    return replace(settings, objective=Objective("huber", max(HUBER * points.noise, LEAST_WIDTH), "log"))


def _rows(law: Law, points: Points) -> Rows:
    """The points as the engine takes them."""
    n = len(points.x)
    return Rows(
        x={points.input: points.x},
        y=points.loss,
        group=np.arange(n),
        grouped=False,
        lines=np.arange(n),
        flops=None,
        weights=points.weight,
        inputs={points.input: {"column": points.input}},
        read=n,
        dropped={},
        skipped=(),
        notes=(),
        name="the curve",
        sha256="",
    )


def _autolrs(points: Points) -> dict[str, float]:
    if len(points.x) < AUTOLRS_LEAST:
        raise NotEnoughData(len(points.x), AUTOLRS_LEAST, AUTOLRS)
    found = autolrs_forecast(points.x, points.loss, float(points.x[-1])).params
    if not np.isfinite(found["a"]):
        raise DidNotConverge("its gain at the first step is beyond any number: the window lies too late for its length")
    return found


def _law_name(name: str, along: str) -> str:
    return _of("lc:exp3", along) if name == AUTOLRS else name


def _predict(name: str, along: str, params: Mapping[str, float], x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        found = np.asarray(get_law(_law_name(name, along)).predict({along: x}, **params), dtype=float)
    return np.broadcast_to(found, x.shape)


def _trend(points: Points) -> dict[str, float] | None:
    """The power law with a floor through a growing prefix, None where it can't be told."""
    try:
        return fit_family(_of("lc:pow3", points.input), points, INNER)
    except (NotEnoughData, NotIdentified, DidNotConverge):
        return None


# --------------------------------------------------------------------------------------------------- inner backtests


@dataclass(frozen=True)
class Inner:
    """Errors of log loss (b,) of means over blocks behind a cut, and how many factors e behind it each lies (b,)."""

    cut: float
    distance: Floats
    errors: Floats


def _cuts(points: Points, drop: DropFirst) -> list[float]:
    """The places where inner backtests cut a curve: as many as leave points enough on both sides."""
    first, last = float(points.x[0]), float(points.x[-1])
    found = []
    for share in CUTS:
        cut = first + share * (last - first)
        inside = points.between(drop.begin(np.array([first, cut])), cut)
        if len(inside.x) >= LEAST_POINTS and points.x[-1] > inside.x[-1]:
            found.append(cut)
    return found


def inner_backtests(name: str, points: Points, drop: DropFirst, cuts: Sequence[float]) -> list[Inner]:
    """What a family made of the rest of the curve, from each cut; cuts where it can't be fitted are left out."""
    first, last = float(points.x[0]), float(points.x[-1])
    found = []
    for cut in cuts:
        inside = points.between(drop.begin(np.array([first, cut])), cut)
        try:
            params = fit_family(name, inside, INNER)
        except (NotEnoughData, NotIdentified, DidNotConverge):
            continue
        behind = points.x > cut
        x, loss, weight = points.x[behind], points.loss[behind], points.weight[behind]
        error = np.log(_predict(name, points.input, params, x)) - np.log(loss)
        block = np.minimum((x - cut) / (BLOCK * (last - first)), (last - cut) / (BLOCK * (last - first)) - 1e-9)
        _, at = np.unique(np.floor(block), return_inverse=True)
        total = np.bincount(at, weight)
        place = np.bincount(at, weight * x) / total
        found.append(Inner(cut, np.log(place / cut), np.bincount(at, weight * error) / total))
    return [inner for inner in found if np.isfinite(inner.errors).all()]


def _drift(found: Sequence[Inner]) -> float:
    """The error for each factor e beyond the data: the root mean square over cuts of that of the furthest block.

    One cut or two may come out near zero by chance: each that could not be tried counts as LEAST_DRIFT, or as the
    others where they are larger.
    """
    rates = np.array([inner.errors[-1] / inner.distance[-1] for inner in found])
    missing = (len(CUTS) - len(rates)) / len(CUTS)
    seen = float(np.mean(rates**2)) if len(rates) else 0.0
    return math.sqrt((1 - missing) * seen + missing * max(seen, LEAST_DRIFT**2))


def _validation(found: Sequence[Inner], last_cut: float | None) -> float:
    """The root mean square error over the last fifth, NaN where it was not predicted."""
    inner = next((inner for inner in found if inner.cut == last_cut), None)
    return math.nan if inner is None else float(np.sqrt(np.mean(np.square(inner.errors))))


def _weighed(
    names: Sequence[str], points: Points, drop: DropFirst, targets: Floats, *, asked: bool
) -> tuple[tuple[Family, ...], dict[str, str]]:
    """The families that can be fitted, heaviest first, with their weights; and why the others can't."""
    window = points.between(drop.begin(points.x), float(points.x[-1]))
    cuts = _cuts(points, drop)
    last_cut = cuts[-1] if cuts and len(cuts) and math.isclose(cuts[-1], _share(points, LAST)) else None
    fitted: list[Family] = []
    left_out: dict[str, str] = {}
    for name in names:
        if fitted and not asked and name.partition("@")[0] == BROKEN:
            why = _unasked(name, points, drop, last_cut, fitted)
            if why:
                left_out[name] = why
                continue
        try:
            params = fit_family(name, window)
        except NotEnoughData as fault:
            left_out[name] = f"{fault.have} points, and it needs {fault.need}"
            continue
        except (NotIdentified, DidNotConverge) as fault:
            left_out[name] = str(fault)
            continue
        values = _predict(name, points.input, params, targets)
        if not (np.isfinite(values) & (values > 0)).all():
            left_out[name] = "no loss above zero where it was asked"
            continue
        inner = inner_backtests(name, points, drop, cuts)
        error = _validation(inner, last_cut)
        law = _law_name(name, points.input)
        fitted.append(Family(name, law, params, 0.0, error, _drift(inner), np.asarray(values)))
    if last_cut is not None:
        for family in [f for f in fitted if not math.isfinite(f.validation)]:
            left_out[family.name] = "it could not be fitted to the first four fifths of the window"
            fitted.remove(family)
    return _with_weights(fitted, window), left_out


def _share(points: Points, share: float) -> float:
    return float(points.x[0] + share * (points.x[-1] - points.x[0]))


def _unasked(name: str, points: Points, drop: DropFirst, last_cut: float | None, others: Sequence[Family]) -> str:
    """Why the broken power law is not weighed beside others: no inner backtest asks for it; empty where one does."""
    if last_cut is None:
        return "no inner backtest asks for a bend"
    best = min((f.validation for f in others if math.isfinite(f.validation)), default=math.inf)
    error = _validation(inner_backtests(name, points, drop, [last_cut]), last_cut)
    return "" if error < ASKED * best else "inner backtests do not ask for a bend"


def _with_weights(fitted: Sequence[Family], window: Points) -> tuple[Family, ...]:
    """The families with weights by their errors, heaviest first; those that are one curve share a weight."""
    if not fitted:
        return ()
    # Errors below what a block's mean can tell are equal.
    least = max(window.noise / math.sqrt(max(BLOCK * window.weight.sum(), 1.0)), 1e-9)
    errors = np.array([f.validation if math.isfinite(f.validation) else least for f in fitted])
    weight = np.maximum(errors, least) ** -POWER / _alike(fitted, window)
    weight = weight / weight.sum()
    found = [replace(f, weight=float(w)) for f, w in zip(fitted, weight, strict=True)]
    return tuple(sorted(found, key=lambda f: -f.weight))


def _alike(fitted: Sequence[Family], window: Points) -> Floats:
    """How many of the families are the curve that each is, itself counted (k,)."""
    curves = np.array([np.log(np.concatenate([f.at(window.x), f.values])) for f in fitted])
    apart = np.max(np.abs(curves[:, None, :] - curves[None, :, :]), axis=2)
    return np.asarray(np.sum(apart <= max(ALIKE * window.noise, 1e-6), axis=1), dtype=float)


# ---------------------------------------------------------------------------------------------------------- together


def _noise(families: Sequence[Family], curve: OneCurve) -> float:
    """The spread of log loss of single rows about the families' mean, over the later half of the window."""
    late = curve.x >= 0.5 * (curve.x[0] + curve.x[-1])
    x, loss = curve.x[late], curve.loss[late]
    mean = sum(f.weight * np.log(f.at(x)) for f in families)
    size = np.abs(np.log(loss) - mean)
    return float(max(np.median(size) * 1.4826, np.quantile(size, 0.9) / 1.6448536))


def _together(families: Sequence[Family], last: float, at: float, noise: float, level: float) -> Ahead:
    """The weighted mean of the families at a place, and the interval of the mixture of their errors."""
    beyond = max(math.log(at / last), 0.0)
    weight = np.array([f.weight for f in families])
    center = np.log(np.array([float(f.at(np.array([at]))[0]) for f in families]))
    drift = np.array([f.drift * beyond for f in families])
    mean = float(weight @ center)
    low, high = _mixture(weight, center, np.hypot(drift, noise), level)
    return Ahead(
        at=at,
        value=math.exp(mean),
        interval=(math.exp(min(low, mean)), math.exp(max(high, mean))),
        factor=at / last,
        families=float(np.sqrt(weight @ (center - mean) ** 2)),
        drift=float(np.sqrt(weight @ drift**2)),
        noise=noise,
    )


def _mixture(weight: Floats, center: Floats, sd: Floats, level: float) -> tuple[float, float]:
    """Both ends of the middle `level` of a mixture of normals."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    sd = np.maximum(sd, 1e-12)
    reach = 10.0 * float(sd.max())
    ends = float(center.min()) - reach, float(center.max()) + reach

    def quantile(share: float) -> float:
        return float(brentq(lambda t: float(weight @ norm.cdf((t - center) / sd)) - share, *ends, xtol=1e-12))

    return quantile(0.5 * (1 - level)), quantile(0.5 * (1 + level))


# ---------------------------------------------------------------------------------------------------------- warnings


def _warnings(
    curve: OneCurve,
    way: Smoothing,
    begin: float,
    window: Points,
    ahead: Sequence[Ahead],
    tested: float,
    left_out: Mapping[str, str],
    backtested: bool,
    names: Sequence[str],
) -> tuple[Notice, ...]:
    found = list(_rate_warnings(curve.keep(curve.x >= begin)))
    furthest = max((a.factor for a in ahead), default=1.0)
    if not backtested and ahead:
        say = (
            f"{len(window.x)} points are too few to hold any back: the families weigh the same, and the error is taken "
            f"to grow by {LEAST_DRIFT:g} of the loss for each factor e"
        )
        found.append(_notice("SL490", say))
    elif math.log(furthest) > 1.5 * math.log(tested):
        say = (
            f"{curve.place(max(a.at for a in ahead))} is {furthest:.3g} times as far as the curve goes, and inner "
            f"backtests tried a factor {tested:.3g} at most: the interval takes the error to go on growing as there"
        )
        found.append(_notice("SL487", say))
    wide = [a for a in ahead if a.families > max(a.drift, a.noise, LEAST_SPREAD)]
    if wide:
        say = (
            f"families that fit the curve about as well differ at {curve.place(wide[0].at)} by more than their own "
            f"errors (a standard deviation of {wide[0].families:.2g} of the loss)"
        )
        found.append(_notice("SL488", say))
    failed = {name: why for name, why in left_out.items() if "bend" not in why}
    if failed:
        found.append(_notice("SL489", "; ".join(f"{name} is left out: {why}" for name, why in failed.items())))
    if way.kind == "ema":
        say = (
            f"{way} lags behind a falling loss, and the prediction with it: a centred window:5% or gaussian:5 does not"
        )
        found.append(_notice("SL491", say))
    half = len(curve) // 2
    late = curve.keep(curve.x >= 0.8 * curve.x[-1])
    if half >= LEAST_POINTS and len(late) >= LEAST_POINTS and _rises(late, window.noise):
        found.append(_notice("SL492", f"the loss rises over the last fifth of {curve.name}: every family only falls"))
    if AUTOLRS in names:
        found.append(_notice("SL493", ShortForecast.CAUTION))
    return tuple(found)


def _notice(code: str, say: str) -> Notice:
    return Notice(code, severity(code), say)


def _rises(curve: OneCurve, noise: float) -> bool:
    """Whether the later half of a curve lies above the earlier by more than its noise, of means, can do."""
    middle = len(curve) // 2
    early, later = np.log(curve.loss[:middle]), np.log(curve.loss[middle:])
    doubt = 3.0 * math.hypot(*(max(noise, float(np.std(half))) / math.sqrt(len(half)) for half in (early, later)))
    return bool(later.mean() - early.mean() > doubt)


def _rate_warnings(curve: OneCurve) -> list[Notice]:
    """What the learning rate over the window forbids."""
    why = "these families know no learning rate and take its effect for the curve's own; `forecast` knows the schedule"
    if curve.lr is None:
        if curve.schedule and curve.schedule.lower() != "constant":
            return [_notice("SL485", f"the schedule of {curve.name} is {curve.schedule}: {why}")]
        if not curve.schedule:
            say = "no column lr: the learning rate is taken as constant, over the curve and beyond it"
            return [_notice("SL486", say)]
        return []
    moved = steady_until(curve)
    if moved is None:
        return []
    known = curve.lr[np.isfinite(curve.lr)]
    say = (
        f"the learning rate moves between {known.max():.3g} and {known.min():.3g} in the window, away from its peak "
        f"at {curve.place(moved)}: {why}. Fit the part before it: --where '{curve.input} < {moved:.10g}'"
    )
    return [_notice("SL485", say)]
