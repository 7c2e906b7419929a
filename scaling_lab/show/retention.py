"""What probes gained and what is left of it, as plain text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import prose, table

if TYPE_CHECKING:
    from ..decide.allocate import Quantile
    from ..decide.retention import Retention


def retention(found: Retention) -> str:
    """The gain of each injection, the forgetting curve, and what was left out."""
    level = f"{words.percent(found.level)} interval"
    gains = [(i + 1, words.number(gain.value, 4), _ends(gain)) for i, gain in enumerate(found.effectivity)]
    at = found.forgotten
    when = format_quantity(at.value) if math.isfinite(at.value) else "never"
    ends = "-" if not at.ci else " to ".join(format_quantity(e) if math.isfinite(e) else "never" for e in at.ci)
    body = [
        ("R_0", words.number(found.level_at_one.value, 4), _ends(found.level_at_one), "share left after one step"),
        ("a", words.number(found.decay.value, 4), _ends(found.decay), "share lost for each tenfold time"),
        ("forgotten", when, ends, "steps until nothing is left"),
    ]
    reach = f"{found.t.min():g} to {found.t.max():g} steps"
    account = (
        f"{words.plural(len(found.t), 'point')} of {words.plural(found.probes, 'probe')}, {reach} after the last best "
        f"reading; standard error of a, were points independent: {found.se:.2g}"
    )
    left = ", ".join(f"{why} ({count:,})" for why, count in found.left_out.items())
    tail = prose(account, *([f"left out: {left}"] if left else []), words.rows(found.rows))
    first = table(("injection", "gain (nats)", level), gains, "rrl")
    second = table(("R = R_0 - a*log10(t)", "value", level, "meaning"), body, "lrlp")
    return f"{first}\n\n{second}\n\n{tail}"


def _ends(found: Quantile) -> str:
    return "-" if not found.ci else f"{words.number(found.ci[0], 3)} to {words.number(found.ci[1], 3)}"
