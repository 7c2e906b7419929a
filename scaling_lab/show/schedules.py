"""Learning-rate schedules as plain text: their rates in places, a line of marks, and their ranking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from ..schedules import SCHEDULES
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.schedules import Floats, Listed, Listing, Refined

# Eight heights of a mark, and what stands for them where the terminal can't write them.
_MARKS, _PLAIN = "▁▂▃▄▅▆▇█", "_.-:=+*#"
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def catalogue() -> str:
    """The names of all schedules with their formulas and settings."""
    body = []
    for name, kind in SCHEDULES.items():
        own = [f"{key}={_default(setting.default)}" for key, setting in kind.settings.items()]
        body.append((name, kind.formula, ", ".join([*sorted(kind.uses), *own])))
    tail = prose(
        "x is the share of the steps after the warm-up that is done, y that of the decay, floor the last rate over the "
        "peak; every schedule takes total, lr_max, warmup and warmup_from too",
        "file:LR.csv is the schedule of a log with columns step and lr; sources: schedule show SPEC, or --json",
    )
    return f"{table(('schedule', 'over the peak', 'settings (? must be given)'), body, 'llp')}\n\n{tail}"


def shown(listing: Listing) -> str:
    """Each schedule in full: what it is, its marks, its rates in a few places."""
    return "\n\n".join(_one(entry) for entry in listing.each)


def _one(entry: Listed) -> str:
    made, rates = entry.schedule, entry.rates
    about = [entry.label] if entry.label == str(made) else [entry.label, f"= {made}"]
    kind = made.kind
    about += [f"{made.name}: {kind.formula}; {kind.source}"] if kind and kind.source != "-" else []
    warmup = "no warm-up" if not made.warmup_steps else f"warm-up of {words.plural(made.warmup_steps, 'update')}"
    facts = (
        f"{words.plural(made.total, 'update')}, {warmup}, peak {rate(rates.max())}, last {rate(rates[-1])} "
        f"({words.percent(rates[-1] / rates.max())} of the peak)"
    )
    area = (
        f"S1, the sum of all rates: {rates.sum():.6g} ({words.percent(rates.mean() / rates.max())} of peak x updates)"
    )
    if made.warmup_steps:
        area += f"; of the warm-up {made.area(made.warmup_steps):.6g}"
    return f"{prose(*about, facts, area)}\n\n{marks(rates, 72)}\n\n{_places(entry)}"


def _places(entry: Listed) -> str:
    made = entry.schedule
    steps = sorted({*(round(share * made.total) for share in _SHARES), *filter(None, (made.warmup_steps,))})
    sums = np.concatenate([[0.0], np.cumsum(entry.rates)])
    body = [
        (f"{step:,}", words.percent(step / made.total), rate(float(made.at(step))), f"{sums[step]:.6g}")
        for step in steps
    ]
    return table(("step", "done", "rate", "S1 up to it"), body, "rrrr")


def compared(listing: Listing) -> str:
    """The schedules side by side, and where they are ranked each with its bound and the peak it wants."""
    body = []
    for entry in listing.each:
        rates = entry.rates
        body.append(
            (
                entry.label,
                f"{entry.schedule.total:,}",
                f"{entry.schedule.warmup_steps:,}",
                rate(rates.max()),
                rate(rates[-1]),
                f"{rates.sum():.4g}",
                marks(rates, 24),
            )
        )
    sides = table(("schedule", "steps", "warm-up", "peak", "last", "S1", "over its steps"), body, "lrrrrrl")
    return f"{sides}\n\n{_ranking(listing)}" if listing.ranked else sides


def _ranking(listing: Listing) -> str:
    best = listing.each[0].bound
    assert best is not None
    body, kept = [], any(entry.kept is not None for entry in listing.each)
    for entry in listing.each:
        assert entry.bound is not None
        more: tuple[str, ...] = () if entry.lr is None else (rate(entry.lr),)
        if kept:
            more += ("-" if entry.kept is None else words.percent(entry.kept / best.value - 1),)
        body.append((entry.label, words.percent(entry.bound.value / best.value - 1), f"{entry.peak_ratio:.3f}", *more))
    heads = ["least bound first", "above the best", f"peak over that of {listing.first}"]
    heads += [] if listing.tuned_lr is None else [f"peak, if {rate(listing.tuned_lr)} is best for {listing.first}"]
    heads += ["with its own peak"] if kept else []
    tail = prose(
        "the bound is of the last iterate of convex problems (arXiv:2501.18965): it ranks schedules and says how their "
        "best peaks compare, and it predicts no loss"
    )
    return f"{table(heads, body, 'l' + 'r' * (len(heads) - 1))}\n\n{tail}"


def refined(found: Refined) -> str:
    """What the refinement was made of, and the named schedule nearest to it."""
    rise = f"warm-up of {words.percent(found.warmup)}" if round(found.warmup * found.schedule.total) else "no warm-up"
    rule = "1/G of L1 norms" if found.optimizer == "adam" else "1/G^2 of L2 norms"
    return prose(
        f"refined for {found.optimizer} (weights {rule}) from {words.plural(found.norms, 'gradient norm')}, smoothed: "
        f"{found.smooth}; arXiv:2310.07831",
        f"nearest schedule with a name: {found.spec} ({rise}, exponent "
        f"{found.exponent:.3g}; off by {words.percent(found.off)} of the peak, root mean square)",
    )


def marks(rates: Floats, columns: int) -> str:
    """The rates (T,) as a line of marks, each as high as the mean rate of its part of the run over the peak."""
    means = [part.mean() / rates.max() for part in np.array_split(rates, min(columns, rates.size))]
    heights = _MARKS if _writes(_MARKS) else _PLAIN
    return "".join(heights[min(int(mean * len(heights)), len(heights) - 1)] for mean in means)


def _writes(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def rate(value: float) -> str:
    """A learning rate as people type it: 3e-4, 0.0015."""
    text = f"{float(value):.4g}"
    if "e" in text or not 0 < abs(value) < 1e-3:
        return text.replace("e-0", "e-").replace("e+0", "e")
    mantissa, _, exponent = f"{float(value):.3e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _default(value: object) -> str:
    if value is None:
        return "?"
    if isinstance(value, tuple):
        return "/".join(f"{v:.3g}" for v in value)
    return value if isinstance(value, str) else f"{value:g}"
