"""Learning curves without a schedule: the families that extrapolate a loss in steps, written as falling losses."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..quantities import quantity
from .base import Law, Param, Power, Rule, register

# A predict function takes and returns arrays, or the dual numbers that stand in for them.
Array = Any
Floats = Any

PREFIX = "lc:"
_SOURCE = "Domhan, Springenberg and Hutter 2015, as in Adriaensen et al. 2023 (LC-PFN, automl/lcpfn)"
_NO_LR = (
    "It knows no learning rate: fit it to one run at a constant rate (after warm-up) and never extrapolate through a "
    "decay; `extrapolate` fits all families and weighs them, `forecast` knows the schedule. As an accuracy it is "
)
_FLOOR = "The floor needs a curve that comes near it: from a short one the floor and the exponent trade off."


@dataclass(frozen=True)
class _Shape:
    """One family, before it is of an input: its formula with x for that input."""

    name: str
    title: str
    predict: Callable[..., Array]
    formula: str
    params: tuple[Param, ...]
    linear: tuple[str, ...]
    identifiability: str
    accuracy: str
    source: str = _SOURCE
    aliases: tuple[str, ...] = ()
    powers: Callable[[str], tuple[Power, ...]] = lambda size: ()
    begin: Callable[[Floats, Floats], Mapping[str, Any]] | None = None
    from_zero: bool = False  # has a value where no step was taken
    more: str = ""


# Places of parameters that are in the input's own unit, filled in when the input is known.
_PLACE = "place"


def _place(name: str, meaning: str) -> Param:
    """A parameter that is a place along the input."""
    return Param(name, "", (1e-3, 1e13), meaning, along=_PLACE)


def _floor(name: str = "c") -> Param:
    return Param(name, "nats/token", (0.1, 10.0), "loss that is left after any number of steps")


def _gain(meaning: str, name: str = "a") -> Param:
    return Param(name, "nats/token", (1e-2, 1e6), meaning)


def _start(name: str) -> Param:
    return Param(name, "nats/token", (1.0, 12.0), "loss before the first step")


def _exponent(name: str, meaning: str, low: float = 0.05, high: float = 2.0) -> Param:
    return Param(name, "", (low, high), meaning)


# ------------------------------------------------------------------------------------------------------ the families


def _pow3(x: Array, c: Array, a: Array, alpha: Array) -> Array:
    return c + a * x**-alpha


def _pow4(x: Array, c: Array, a: Array, b: Array, alpha: Array) -> Array:
    return c + a * (x + b) ** -alpha


def _log_power(x: Array, a: Array, b: Array, c: Array) -> Array:
    return a / (1.0 + (x / b) ** c)


def _hill3(x: Array, theta: Array, kappa: Array, eta: Array) -> Array:
    return theta - theta * x**eta / (kappa**eta + x**eta)


def _loglog_linear(x: Array, a: Array, b: Array) -> Array:
    return -np.log(a * np.log(x / b))


def _vapour_pressure(x: Array, a: Array, b: Array, c: Array) -> Array:
    return a * np.exp(b / x) * x**-c


def _mmf(x: Array, alpha: Array, beta: Array, kappa: Array, delta: Array) -> Array:
    return alpha + (beta - alpha) / (1.0 + (kappa * x) ** delta)


def _weibull(x: Array, alpha: Array, beta: Array, kappa: Array, delta: Array) -> Array:
    return alpha + (beta - alpha) * np.exp(-((kappa * x) ** delta))


def _janoschek(x: Array, a: Array, beta: Array, k: Array, delta: Array) -> Array:
    return a + (beta - a) * np.exp(-k * x**delta)


def _exp3(x: Array, a: Array, b: Array, c: Array) -> Array:
    return a * np.exp(b * x) + c


def _exp4(x: Array, c: Array, a: Array, b: Array, alpha: Array) -> Array:
    return c + np.exp(b - a * x**alpha)


def _ilog2(x: Array, c: Array, a: Array) -> Array:
    return c + a / np.log(x + 1.0)


# ------------------------------------------------------------------------------------- places that a fit begins at


def _grid(x: Floats, exponents: tuple[float, ...], places: int = 12) -> tuple[Floats, Floats]:
    """Places along the input and exponents (k,), each with each; from far below the first step to the last."""
    ends = np.geomspace(float(np.min(x)) * 1e-3, float(np.max(x)), places)
    found = np.meshgrid(ends, np.array(exponents), indexing="ij")
    return found[0].ravel(), found[1].ravel()


_DELTAS = (0.15, 0.3, 0.5, 0.75, 1.0, 1.5)


def _levels(x: Floats, y: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Floor and start (k,) of the least squares of floor + (start - floor) * share, shares (k, n); both above zero."""
    low, high = float(np.min(y)), float(np.max(y))
    mean = share.mean(axis=1, keepdims=True)
    centred = share - mean
    size = np.sum(centred**2, axis=1)
    slope = np.sum(centred * (y - np.mean(y)), axis=1) / np.where(size > 0, size, 1.0)
    floor = np.clip(np.mean(y) - slope * mean[:, 0], 0.02 * low, low)
    return floor, np.clip(floor + slope, high, 1e6 * high)


def _begin_mmf(x: Floats, y: Floats) -> Mapping[str, Any]:
    place, delta = _grid(x, _DELTAS)
    share = 1.0 / (1.0 + (x / place[:, None]) ** delta[:, None])
    floor, start = _levels(x, y, share)
    return {"alpha": floor, "beta": start, "kappa": 1.0 / place, "delta": delta}


def _begin_weibull(x: Floats, y: Floats) -> Mapping[str, Any]:
    place, delta = _grid(x, _DELTAS)
    floor, start = _levels(x, y, np.exp(-((x / place[:, None]) ** delta[:, None])))
    return {"alpha": floor, "beta": start, "kappa": 1.0 / place, "delta": delta}


def _begin_janoschek(x: Floats, y: Floats) -> Mapping[str, Any]:
    found = _begin_weibull(x, y)
    delta = found["delta"]
    return {"a": found["alpha"], "beta": found["beta"], "k": found["kappa"] ** delta, "delta": delta}


def _begin_exp4(x: Floats, y: Floats) -> Mapping[str, Any]:
    found = _begin_weibull(x, y)
    delta, floor = found["delta"], found["alpha"]
    gain = np.maximum(found["beta"] - floor, 1e-3)
    return {"c": floor, "a": found["kappa"] ** delta, "b": np.log(gain), "alpha": delta}


def _begin_exp3(x: Floats, y: Floats) -> Mapping[str, Any]:
    place = np.geomspace(float(np.min(x)) * 0.1 + 1e-3 * float(np.ptp(x)), 3.0 * float(np.max(x)), 24)
    floor, start = _levels(x, y, np.exp(-x / place[:, None]))
    return {"a": np.maximum(start - floor, 1e-3), "b": -1.0 / place, "c": floor}


def _begin_loglog(x: Floats, y: Floats) -> Mapping[str, Any]:
    """exp(-loss) is a line in log(x): the one by least squares, and lines that bend away below the first point."""
    slope, at_one = np.polyfit(np.log(x), np.exp(-y), 1)
    first, spread = float(np.min(x)), np.geomspace(0.1, 30.0, 12)
    a = np.full(len(spread), max(float(slope), 1e-6)) * np.geomspace(0.5, 2.0, len(spread))
    b = first * np.exp(-spread)
    if slope > 0:
        own = float(np.exp(np.clip(-at_one / slope, -300.0, np.log(first) - 1e-3)))
        a, b = np.append(a, slope), np.append(b, own)
    return {"a": a, "b": b}


_SHAPES = (
    _Shape(
        name="pow3",
        title="Power law with a floor",
        predict=_pow3,
        formula="c + a * x**-alpha",
        params=(_floor(), _gain("gain at x = 1"), _exponent("alpha", "how fast the gain falls")),
        linear=("c", "a"),
        powers=lambda size: (Power("c"), Power("a", size, "alpha", -1)),
        identifiability=_FLOOR,
        accuracy="c - a*x**-alpha",
        more="LC-PFN draws log(alpha) about 0 with a spread of 2, on curves scaled to 0 to 1.",
    ),
    _Shape(
        name="pow4",
        title="Power law with a floor, of shifted steps",
        predict=_pow4,
        formula="c + a * (x + b)**-alpha",
        params=(
            _floor(),
            _gain("gain at x + b = 1"),
            _place("b", "how far before the first step the power law begins"),
            _exponent("alpha", "how fast the gain falls"),
        ),
        linear=("c", "a"),
        identifiability=f"{_FLOOR} The shift b shows only in the early part of the curve.",
        accuracy="c - (a*x + b)**-alpha, which is this with a**-alpha for a and b / a for b",
    ),
    _Shape(
        name="log-power",
        title="Logistic curve in log steps, without a floor",
        predict=_log_power,
        formula="a / (1 + (x / b)**c)",
        params=(
            _start("a"),
            _place("b", "where the loss is half of what it was before the first step"),
            _exponent("c", "exponent of the fall"),
        ),
        linear=("a",),
        aliases=("lc:log_power",),
        identifiability=(
            "a and b show only where the curve is logged about as early as b; later it is a power law, of a * b**c."
        ),
        accuracy="a / (1 + (x / exp(b))**c), rising, with c below zero",
        from_zero=True,
    ),
    _Shape(
        name="hill3",
        title="Hill curve, without a floor",
        predict=_hill3,
        formula="theta - theta * x**eta / (kappa**eta + x**eta)",
        params=(
            _start("theta"),
            _place("kappa", "where half of the loss is gone"),
            _exponent("eta", "Hill exponent"),
        ),
        linear=("theta",),
        identifiability=(
            "theta and kappa show only where the curve is logged about as early as kappa; later it is a power law."
        ),
        accuracy="theta * x**eta / (kappa**eta + x**eta)",
        from_zero=True,
        more="The same curve as lc:log-power, in other letters: theta = a, kappa = b, eta = c.",
    ),
    _Shape(
        name="loglog-linear",
        title="Likelihood that rises with log steps",
        predict=_loglog_linear,
        formula="-log(a * log(x / b))",
        params=(
            Param("a", "", (1e-4, 0.1), "how much exp(-loss) rises for each factor e of steps"),
            Param("b", "", (1e-6, 1e3), "where exp(-loss) would be zero, before the first point"),
        ),
        linear=(),
        aliases=("lc:loglog_linear",),
        begin=_begin_loglog,
        identifiability="Two points a factor apart tell both; b lies below every point of the curve.",
        accuracy="log(a*log(x) + b)",
        more="exp(-loss), the mean chance of the right token in the geometric sense, is a line in log(x).",
    ),
    _Shape(
        name="vapour-pressure",
        title="Vapour pressure",
        predict=_vapour_pressure,
        formula="a * exp(b / x) * x**-c",
        params=(
            _gain("loss at x = 1 but for the early steps"),
            _place("b", "how long the early, steeper fall lasts"),
            _exponent("c", "exponent later", 0.01, 0.5),
        ),
        linear=("a",),
        aliases=("lc:vapor-pressure", "lc:vapor_pressure"),
        identifiability="b shows only in the early part of the curve. There is no floor: late it is a power law.",
        accuracy="exp(a + b/x + c*log(x))",
    ),
    _Shape(
        name="mmf",
        title="Morgan-Mercer-Flodin",
        predict=_mmf,
        formula="alpha + (beta - alpha) / (1 + (kappa * x)**delta)",
        params=(
            _floor("alpha"),
            _start("beta"),
            Param("kappa", "", (1e-12, 1e2), "one over the place where half of the gain is reached"),
            _exponent("delta", "exponent of the fall"),
        ),
        linear=("alpha", "beta"),
        aliases=("lc:hill",),
        begin=_begin_mmf,
        identifiability=(
            f"{_FLOOR} The start beta and kappa show only where the curve is logged about as early as 1 / kappa: "
            "later it is lc:pow3, and they run off together."
        ),
        accuracy="alpha - (alpha - beta) / (1 + (kappa*x)**delta)",
        from_zero=True,
        more="The Hill basis of ifBO is this curve too.",
    ),
    _Shape(
        name="weibull",
        title="Weibull",
        predict=_weibull,
        formula="alpha + (beta - alpha) * exp(-(kappa * x)**delta)",
        params=(
            _floor("alpha"),
            _start("beta"),
            Param("kappa", "", (1e-12, 1e2), "one over the place where the gain has come down to 1/e"),
            _exponent("delta", "1 is exponential; below it the fall is long drawn out"),
        ),
        linear=("alpha", "beta"),
        begin=_begin_weibull,
        identifiability=f"{_FLOOR} Where the curve begins late, start and floor trade off with kappa and delta.",
        accuracy="alpha - (alpha - beta)*exp(-(kappa*x)**delta)",
        from_zero=True,
        more="The same curve as lc:janoschek with k = kappa**delta, and as lc:exp4.",
    ),
    _Shape(
        name="janoschek",
        title="Janoschek",
        predict=_janoschek,
        formula="a + (beta - a) * exp(-k * x**delta)",
        params=(
            _floor("a"),
            _start("beta"),
            Param("k", "", (1e-12, 1e1), "rate of the fall, in steps to minus delta"),
            _exponent("delta", "1 is exponential; below it the fall is long drawn out"),
        ),
        linear=("a", "beta"),
        begin=_begin_janoschek,
        identifiability=f"{_FLOOR} Where the curve begins late, start and floor trade off with k and delta.",
        accuracy="a - (a - beta)*exp(-k*x**delta)",
        from_zero=True,
        more="LC-PFN draws log(delta) about 0 with a spread of 0.5, on curves scaled to 0 to 1.",
    ),
    _Shape(
        name="exp3",
        title="Exponential with a floor (the forecast of AutoLRS)",
        predict=_exp3,
        formula="a * exp(b * x) + c",
        params=(
            _gain("gain at x = 0"),
            Param("b", "", (-1.0, -1e-13), "rate: minus one over the steps in which the gain falls by e", "negative"),
            _floor(),
        ),
        linear=("a", "c"),
        source="Jin et al. 2021, arXiv:2105.10762 (AutoLRS), section 4",
        aliases=("lc:exponential",),
        begin=_begin_exp3,
        identifiability="The floor needs a curve some times as long as the gain takes to fall by e.",
        accuracy="c - a*exp(b*x)",
        from_zero=True,
        more="Good for short horizons only: a loss goes on falling long after an exponential has come to rest.",
    ),
    _Shape(
        name="exp4",
        title="Stretched exponential with a floor",
        predict=_exp4,
        formula="c + exp(b - a * x**alpha)",
        params=(
            _floor(),
            Param("a", "", (1e-12, 1e1), "rate of the fall, in steps to minus alpha"),
            Param("b", "", (-3.0, 3.0), "logarithm of the gain at x = 0", domain="real"),
            _exponent("alpha", "1 is exponential; below it the fall is long drawn out"),
        ),
        linear=("c",),
        begin=_begin_exp4,
        identifiability=f"{_FLOOR} Where the curve begins late, b and a trade off with alpha.",
        accuracy="c - exp(-a*x**alpha + b)",
        from_zero=True,
    ),
    _Shape(
        name="ilog2",
        title="One over log steps",
        predict=_ilog2,
        formula="c + a / log(x + 1)",
        params=(_floor(), _gain("gain where log(x + 1) = 1")),
        linear=("c", "a"),
        identifiability="Two points a factor apart tell both.",
        accuracy="c - a/log(x + 1)",
        more="It hangs on the unit of x: steps and thousands of steps are two curves.",
    ),
)
_BY_NAME = {shape.name: shape for shape in _SHAPES}
# Families that are one curve in other letters: the first stands for all of them where families are weighed.
SAME = {"lc:hill3": "lc:log-power", "lc:weibull": "lc:janoschek", "lc:exp4": "lc:janoschek"}


def _param(param: Param, size: str) -> Param:
    """The parameter with its unit, now that the input is known."""
    unit = quantity(size).unit
    if param.along == _PLACE:
        return Param(param.name, unit, param.start, param.meaning, along=size)
    return param


def _of(shape: _Shape, size: str, name: str) -> Law:
    def predict(x: dict[str, Array], **params: Array) -> Array:
        return shape.predict(x[size], **params)

    def begin(x: Mapping[str, Any], y: Any) -> Mapping[str, Any]:
        assert shape.begin is not None
        return shape.begin(np.asarray(x[size]), np.asarray(y))

    says = f"{size} is 0, where the law has no value: leave it out with --where '{size} > 0'"
    return Law(
        name=name,
        title=f"Learning curve in {size}: {shape.title}",
        source=shape.source,
        family="curve",
        inputs=(size,),
        params=tuple(_param(p, size) for p in shape.params),
        formula=_with(shape.formula, size),
        predict=predict,
        linear=shape.linear,
        powers=shape.powers(size),
        identifiability=shape.identifiability,
        aliases=shape.aliases if name == PREFIX + shape.name else (),
        rules=() if shape.from_zero else (Rule(lambda x: np.asarray(x[size]) > 0, says),),
        over=functools.partial(_over, shape.name),
        cautions=_cautions,
        begin=begin if shape.begin is not None else None,
        notes=f"Of any one input: {PREFIX}{shape.name}@tokens. {_NO_LR}{shape.accuracy}. {shape.more}".strip(),
    )


def _cautions(x: Mapping[str, Any], values: Mapping[str, float]) -> tuple[str, ...]:
    """What holds of every prediction that a fit of one curve's rows makes."""
    return (
        "the interval is of this one family, as if the curve were of it, and the law knows no learning rate: "
        "`extrapolate` weighs the families by their errors on the curve itself, `forecast` knows the schedule",
    )


def _with(formula: str, size: str) -> str:
    """The formula with the input's name for x, which stands alone in it."""
    return re.sub(r"\bx\b", size, formula)


@functools.cache
def _over(name: str, inputs: tuple[str, ...]) -> Law:
    return _of(_BY_NAME[name], inputs[0], f"{PREFIX}{name}@{inputs[0]}")


for _shape in _SHAPES:
    register(_of(_shape, "step", PREFIX + _shape.name))

FAMILIES: tuple[str, ...] = tuple(PREFIX + shape.name for shape in _SHAPES)
