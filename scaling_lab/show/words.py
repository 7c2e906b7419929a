"""Numbers and sentences as people read them, the same in the terminal and on the page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..quantities import QUANTITIES, format_quantity, quantity

if TYPE_CHECKING:
    from ..engine.backtest import Scored
    from ..engine.predict import Predictions
    from ..engine.result import Fit

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SHORT = {"params": "parameters", "tokens": "tokens", "flops": "compute"}


def clean(text: object) -> str:
    """The text on one line, with control characters (which could steer a terminal) shown as a replacement mark."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in str(text))


def number(value: float | None, digits: int = 6) -> str:
    """A number with that many significant digits; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def percent(share: float | None) -> str:
    """A share in percent: two significant digits below ten, one decimal above; a dash where there is none.

    What lies just below 100 % is not shown as all of it.
    """
    if share is None or not math.isfinite(share):
        return "-"
    size = 100 * share
    if 99.95 <= size < 100:
        return f"{next(text for digits in range(2, 18) if float(text := f'{size:.{digits}f}') < 100)} %"
    return (
        f"{size:.2g} %" if abs(size) < 9.95 else f"{size:.0f} %" if abs(size - round(size)) < 0.05 else f"{size:.1f} %"
    )


def decimals(low: float, high: float) -> int:
    """How many decimals show half the distance of low and high with two digits and their middle with four.

    At most six, or as many as the middle's four digits take.
    """
    half, middle = abs(high - low) / 2, abs(high + low) / 2
    if not (math.isfinite(half) and middle > 0):
        return 4
    four = 3 - math.floor(math.log10(middle))
    two = 1 - math.floor(math.log10(half)) if half > 0 else 0
    return max(0, min(two, max(6, four)), four)


def fixed(value: float, low: float, high: float) -> str:
    """A value with as many decimals as its interval deserves; counts beyond ten thousand by their suffix."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1e4:
        return format_quantity(value)
    places = decimals(low, high)
    # Beyond a handful of zeros after the point nobody counts them.
    return f"{value:.{places}f}" if places <= 9 else f"{value:.3e}"


def span(low: float, high: float) -> str:
    """An interval's ends, with the digits that their distance deserves: 1.951 to 2.016."""
    return f"{fixed(low, low, high)} to {fixed(high, low, high)}"


def scientific(value: float, digits: int = 3) -> str:
    """A positive number as a power of ten with raised digits: 5.88·10²², 10¹⁸."""
    if not math.isfinite(value) or value == 0:
        return number(value)
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def amount(name: str, value: float) -> str:
    """An input as people say it: 7B parameters, 1.4T tokens, 5.88e22 FLOP."""
    if name == "flops":
        return f"{exponent(value)} FLOP"
    known = QUANTITIES.get(name)
    text = format_quantity(value)
    if name in _SHORT:
        return f"{text} {_SHORT[name]}"
    return f"{name} = {text}{f' {known.unit}' if known and known.unit not in ('', 'count') else ''}"


def exponent(value: float, digits: int = 3) -> str:
    """A number as people type it: 5.88e23, without the plus that Python writes."""
    return f"{value:.{digits}g}".replace("e+", "e")


def reach(name: str, low: float, high: float) -> str:
    """A range of an input: 57.3M to 16.2B, 1.4e18 to 1.3e22 FLOP."""
    if name in ("flops", *_SHORT):
        first = exponent(low) if name == "flops" else format_quantity(low)
        return f"{first} to {amount(name, high) if name not in ('params', 'tokens') else format_quantity(high)}"
    unit = quantity(name).unit
    return f"{format_quantity(low)} to {format_quantity(high)}{f' {unit}' if unit not in ('', 'count') else ''}"


def amounts(x: Mapping[str, float]) -> str:
    """Several inputs in one phrase: 7B parameters and 1.4T tokens."""
    parts = [amount(name, value) for name, value in x.items()]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def outside(factors: Mapping[str, float]) -> str:
    """How far a point lies outside the fitted range, as a phrase."""
    if not factors:
        return "inside the fitted range"
    ordered = sorted(factors.items(), key=lambda item: -item[1])
    # Two digits say all there is to say, but "by a factor 1" says nothing.
    parts = [f"{_SHORT.get(name, name)} by a factor {factor:.{3 if factor < 1.05 else 2}g}" for name, factor in ordered]
    return f"outside the fitted range: {', '.join(parts)}"


def unit_of(target: str) -> str:
    """The unit of a target column, empty where it has none or is not known."""
    return QUANTITIES[target].unit if target in QUANTITIES else ""


def label(name: str, about: Mapping[str, Any] | None = None) -> str:
    """An axis label for a quantity, with what N counts and the unit."""
    counts = (about or {}).get("counts", "")
    if name == "params" and counts and counts != "total":
        return f"parameters N ({counts})"
    known = {"params": "parameters N", "tokens": "training tokens D", "flops": "training compute C (FLOP)"}
    if name in known:
        return known[name]
    quantity = QUANTITIES.get(name)
    unit = quantity.unit if quantity and quantity.unit != "count" else ""
    return f"{clean(name)} ({unit})" if unit else clean(name)


def rows(account: Mapping[str, Any]) -> str:
    """How many rows were used, and what became of the others: 240 of 245 rows used; left out: 5 by --where."""
    dropped: Mapping[str, int] = account.get("dropped") or {}
    parts = [
        f"{n:,} by {clean(why)}" if why.startswith("--") else f"{n:,} ({clean(why)})" for why, n in dropped.items()
    ]
    left = f"; left out: {', '.join(parts)}" if parts else ""
    return f"{account['used']:,} of {plural(int(account['read']), 'row')} used{left}"


def lent(fit: Fit) -> list[str]:
    """What another family's fit lent to this one, a line for each exponent."""
    said = []
    for name, found in (fit.prior.get("params") or {}).items():
        own = "it can't tell" if found["alone"] is None else f"{found['alone']:.4g}"
        source = clean(fit.prior["source"]["law"])
        said.append(
            f"{name} is drawn to {found['borrowed']:.4g} of the {source} fit in --prior: alone this table says {own}, "
            f"together {found['value']:.4g}; {percent(found['share'])} of what is known is borrowed"
        )
    return said


def starts(fit: Fit) -> str:
    """How many starts were tried, followed and ended at the best optimum."""
    account = fit.starts
    followed = f"the {account.get('polished', account['n']):,} most promising"
    if account.get("audited"):
        followed += f" and {account['audited']:,} random ones"
    found = f"{account['converged']:,} converged, {account['at_best']:,} at the best optimum"
    return f"{plural(account['n'], 'start')} tried, {followed} followed: {found}"


# What a bootstrap fitted again, by the account's `resample`; another one names why nothing was.
REFITS = {
    "runs": "of resampled runs",
    "rows": "of resampled rows",
    "blocks": "of resampled blocks of neighbouring rows",
    "residuals": "to new losses drawn about the fit",
    "wild": "to new losses: the fit's, with the residuals of each run under a sign drawn anew",
    "parametric": "to new losses: the fit's, with normal errors",
}


def refits(account: Mapping[str, Any]) -> str:
    """How many refits a bootstrap made, and to what."""
    return f"{plural(int(account['n']), 'bootstrap refit')} {REFITS[account['resample']]}"


def bootstrap(fit: Fit) -> str:
    """What the parameters' intervals rest on, or that there are none."""
    if fit.intervals["method"] != "bootstrap":
        return _intervals(fit.intervals)
    account = fit.bootstrap
    if not account.get("n"):
        return "no bootstrap: the parameters have no intervals, and predictions leave their doubt out"
    if account["resample"] == "posterior":
        return (
            f"{plural(int(account['n']), 'draw')} of the posterior under weak priors, half about its own mean and half "
            "about the plain fit"
        )
    if account["resample"] not in REFITS:
        return (
            "no bootstrap: the runs are too few to resample and the rows of a run share its error; the parameters have "
            "no intervals, and predictions leave their doubt out"
        )
    unsettled = account.get("unconverged", 0)
    missed, audited = account.get("missed", 0), account.get("audited", 0)
    return (
        f"{refits(account)}: {account['failed']} failed{f', {unsettled} did not settle' if unsettled else ''}"
        f"{f'; {missed} of {audited} audited needed other starts, which all then had' if missed else ''}"
    )


def _intervals(account: Mapping[str, Any]) -> str:
    """What the intervals of another method than the bootstrap rest on."""
    method = account["method"]
    if "none" in account:
        return f"no intervals by {method}: {clean(account['none'])}; predictions leave the parameters' doubt out"
    if account.get("exact"):
        return "the law meets its rows to the last digit: they leave no doubt of the parameters"
    rest = f"{plural(int(account['n']), 'draw')}, {account['df']:,} degrees of freedom"
    if method == "emcee":
        walk = f"{account['walkers']} walkers of {account['steps']:,} steps"
        return f"intervals of the parameters by emcee: {rest}; {walk}, autocorrelation {account['autocorrelation']:.3g}"
    return f"intervals of the parameters by {method}: {rest}"


def ends(ci: tuple[float, float] | None) -> str:
    """An interval's ends; an end that the data leave open is said to be none."""
    if ci is None:
        return "-"
    low, high = (f"{end:.5g}" if math.isfinite(end) else "no bound" for end in ci)
    return f"{low} to {high}"


def objective(fit: Fit) -> str:
    """What was minimised, and its value at the optimum (summed over the rows used)."""
    kind = fit.objective
    name = f"Huber (delta {kind.delta:g})" if kind.name == "huber" else kind.name.upper()
    on = f"log {clean(fit.target)}" if kind.on == "log" else clean(fit.target)
    return f"{name} on {on}, summed over the rows: {fit.value:.6g}"


def asked(scored: Scored) -> str:
    """The law's name, with what was asked for where that came to another law, as auto may."""
    return scored.law if scored.law == scored.asked else f"{scored.asked} ({scored.law})"


def held_out(scored: Scored, by: str) -> str:
    """A backtest of one law as a sentence."""
    inside = round(scored.coverage * scored.test)
    from ..engine.backtest import CHANCE

    which = "drawn by chance" if by == CHANCE else f"with the smallest {_SHORT.get(by, clean(by))}"
    small = f"the {plural(scored.train, 'row')} {which}"
    return (
        f"Fitted to {small}, {asked(scored)} missed the other {scored.test:,} by {percent(scored.metrics.mape)} on "
        f"average; {inside:,} of them ({percent(scored.coverage)}) lay inside their {percent(scored.level)} intervals."
    )


def prediction(found: Predictions, i: int) -> str:
    """One prediction as a sentence: where, what, the interval, and how far outside the data."""
    low, high = float(found.low[i]), float(found.high[i])
    unit = unit_of(found.target)
    name = "a loss of" if found.target == "loss" else f"{clean(found.target)} ="
    return (
        f"{name} {fixed(float(found.value[i]), low, high)}{f' {unit}' if unit else ''} "
        f"({percent(found.level)} interval {span(low, high)})"
    )


def table_name(fit: Fit) -> str:
    """The file name of the table that was fitted, without its folder."""
    inputs: Sequence[str] = list((fit.made_by or {}).get("inputs", {}))
    # A DataFrame and stdin have no name of their own.
    return clean(PurePath(inputs[0]).name) if inputs and inputs[0] not in ("DataFrame", "stdin") else "the table"
