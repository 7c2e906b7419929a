"""The rest of a running curve as plain text for a terminal, whole or a line for each look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.forecast import RunForecast

# Where the interval of one logged point is so many times that of the mean of many, both are told.
NOISY = 1.2
# Places of a forecast that are printed where none was asked for.
PRINTED = 6


def forecast(found: RunForecast) -> str:
    """The forecast in full: where the run is, what the end will be, places between, and how past forecasts did."""
    step, loss = found.last
    total, value, low, high = found.end
    level = words.percent(found.level)
    unit = words.unit_of(found.target)
    target = words.clean(found.target)
    head = prose(
        f"{words.clean(found.run)}: step {step:,.0f} of {found.schedule.total:,}, {target} {loss:.4f}"
        f" ({words.rows(found.rows)})",
        f"schedule {found.schedule}",
        f"at the end, step {total:,.0f}: {words.fixed(value, low, high)}{f' {unit}' if unit else ''} "
        f"({level} interval {words.span(low, high)})",
    )
    # Worth a line only where points scatter more than the curve is in doubt.
    mean_low, mean_high = found.between
    noisy = high - low > NOISY * (mean_high - mean_low)
    tail = [_known(found), _follows(found)]
    if noisy:
        tail.insert(0, f"the mean of many points at the end: {words.span(mean_low, mean_high)}")
    if found.seconds is not None:
        tail.append(f"the rest takes {duration(found.seconds)} at the pace of the last points")
    parts = [head, _places(found, level)]
    if found.looks:
        parts.append(_looks(found, level))
    return "\n\n".join([*parts, prose(*tail)])


def line(found: RunForecast) -> str:
    """One look on one line: step, loss, the end with its interval, the time left, whether the run follows."""
    step, loss = found.last
    _, value, low, high = found.end
    parts = [
        f"step {step:,.0f} of {found.schedule.total:,}",
        f"{words.clean(found.target)} {loss:.4f}",
        f"end {words.fixed(value, low, high)} ({words.span(low, high)})",
    ]
    if found.seconds is not None:
        parts.append(f"left {duration(found.seconds)}")
    left = "lost" if found.lost is not None else found.left.kind if found.left else "as forecast"
    return "  ".join([*parts, "done" if found.done and left == "as forecast" else left])


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(whole / 3600), 24)
    return f"{days} d {hours} h"


def _places(found: RunForecast, level: str) -> str:
    count = len(found.step)
    shown = [i for i in range(count) if found.asked[i]]
    if not shown:
        shown = sorted({round((i + 1) * count / PRINTED) - 1 for i in range(PRINTED)} & set(range(count)))
    body = [
        (
            f"{found.step[i]:,.0f}",
            f"{found.lr[i]:.4g}",
            words.fixed(found.loss[i], found.low[i], found.high[i]),
            words.span(float(found.low[i]), float(found.high[i])),
        )
        for i in shown
    ]
    return table(("step", "learning rate", words.clean(found.target), f"{level} interval"), body, "rrrl")


def _looks(found: RunForecast, level: str) -> str:
    body = [
        (
            f"{look.step:,.0f}",
            words.fixed(look.loss, look.low, look.high),
            words.span(look.low, look.high),
            f"{look.loss - look.measured:+.4f}",
            "inside" if look.held else "outside",
        )
        for look in found.looks
    ]
    of = f"{found.looks[0].of:,.0f}"
    head = prose(f"what would have been forecast for step {of}, where {found.looks[0].measured:.4f} was measured")
    return f"{head}\n{table(('from step', 'forecast', f'{level} interval', 'error', 'measured is'), body, 'rrlrl')}"


def _known(found: RunForecast) -> str:
    shares = ", ".join(
        f"{name} {words.percent(w)}" for name, w in sorted(found.laws.items(), key=lambda item: -item[1])
    )
    what = f"laws and their weights: {shares}" if len(found.laws) > 1 else f"law: {next(iter(found.laws))}"
    return f"{what}; what is known beforehand: {found.known}; the interval is of one logged point"


def _follows(found: RunForecast) -> str:
    if found.lost is not None or found.left is not None:
        return "the run has left its forecast: see the warnings"
    watched = len(found.watch.stretches)
    if not watched:
        return "too few points to watch whether the run follows its forecast"
    return f"the run follows its forecasts: {watched} stretch{'' if watched == 1 else 'es'} looked at"
