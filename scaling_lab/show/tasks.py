"""Task scores and two-step predictions as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..quantities import format_quantity
from . import words
from .terminal import predictions, prose, table

if TYPE_CHECKING:
    from ..decide.tasks import Curvature, Emergence, TaskCurve
    from ..engine.chain import Chained


def emergence(found: Emergence) -> str:
    """A row for each task: how far its score rises, how much of that in one jump, and what the test says."""
    from ..decide.tasks import MEANING

    heads = ("task", "scales", "rise", "breakthroughness", "linearity", "F bends", "verdict")
    body = [_row(curve) for curve in found.tasks]
    tests = [curve.curvature for curve in found.tasks if curve.curvature is not None]
    why = dict.fromkeys(curve.why for curve in found.tasks if curve.why)
    verdicts = dict.fromkeys(test.verdict for test in tests)
    notes = [
        "breakthroughness: rise / root of the median squared step; linearity: rise / root of the mean squared step, "
        "whose exact form in BIG-bench is unverified; neither is clipped",
        *(f"{verdict}: {MEANING[verdict]}" for verdict in verdicts),
        *([_about(tests)] if tests else []),
        *(f"no test: {reason}" for reason in why),
    ]
    head = f"{found.score} by {found.by}: {words.plural(len(found.tasks), 'task')}"
    return f"{head}\n\n{table(heads, body, 'lrrrrll')}\n\n{prose(*notes)}"


def _row(curve: TaskCurve) -> tuple[str, ...]:
    m, test = curve.smoothness, curve.curvature
    bend = "-" if test is None else f"{test.bend:.3g} ({_end(test.interval[0])} to {_end(test.interval[1])})"
    verdict = "-" if test is None else f"{test.verdict}, p = {words.number(test.p_value, 2)}"
    jumps = (words.number(m.breakthroughness, 3), words.number(m.linearity, 3))
    return (curve.task, str(m.scales), words.number(m.improvement, 3), *jumps, bend, verdict)


def _end(value: float | None) -> str:
    return "open" if value is None else f"{value:.3g}"


def _about(tests: Sequence[Curvature]) -> str:
    most = max(test.dispersion for test in tests)
    scatter = f"; counts scatter up to {most:.3g} times as draws do, which the intervals hold" if most > 1 else ""
    return f"F = log(-log pass rate); its bend by {tests[0].method}, at {words.percent(tests[0].level)}{scatter}"


def chained(found: Chained) -> str:
    """A row for each point through both steps, then what the first step alone predicts, then whose doubt it is."""
    names = list(found.inputs)
    level = f"{words.percent(found.level)} interval"
    body = []
    for i in range(len(found.value)):
        low, high = float(found.low[i]), float(found.high[i])
        where = [format_quantity(float(found.inputs[name][i])) for name in names]
        alone = words.span(float(found.second_low[i]), float(found.second_high[i]))
        body.append((*where, words.fixed(float(found.value[i]), low, high), words.span(low, high), alone))
    heads = (*names, found.target, level, f"were the {found.feeds} exact")
    both = table(heads, body, "r" * (len(names) + 1) + "ll")
    first = f"the first step, whose {found.first.target} the second takes as its {found.feeds}:"
    return f"{both}\n\n{prose(first)}\n{predictions(found.first)}"
