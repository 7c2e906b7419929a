"""The ways in which a fit might have been made otherwise: what published answers have differed in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accounting import six_nd
from ..engine.fit import SAME_OPTIMUM
from ..engine.solve import (
    STATUS_NAMES,
    Objective,
    Solutions,
    chunk_size,
    graduated,
    in_chunks,
    one_blas_thread,
    rounding,
    widths,
)
from ..errors import LabError
from ..laws import Law, get_law
from ..quantities import ALIASES, QUANTITIES, format_quantity
from ..tables import Rows, column_numbers
from .refits import LEAN_POLISH, Case, Choice, Work, choice_of, ending, priced, residuals

Floats = NDArray[np.float64]
DELTAS = (1e-4, 1e-3, 1e-2)
# Points left out at one end, beside them a tenth of the points; and sizes left out.
FEW, SHARE = (1, 2, 3, 4, 5), 0.1
RUNGS = (1, 2, 3)
# Sizes within 1 % are one size read off a figure twice.
SAME_SIZE = 0.01
# Rows that --where left out are also put back one at a time, where they are no more than this.
ALONE = 10
# Starts of the solver that stops too early: in published fits the best of a grid was taken.
EARLY_STARTS = 20
TIED = {"chinchilla": ("chinchilla-tied", "alpha = beta"), "chinchilla-tied": ("chinchilla", "alpha and beta apart")}


def cases(work: Work) -> Iterator[Case]:
    """Every choice but the runs left out in turn."""
    yield from _objectives(work)
    yield from _solvers(work)
    yield from _counts(work)
    yield from _flops(work)
    yield from _ends(work)
    yield from _rungs(work)
    yield from _put_back(work)
    yield from _form(work)


def _objectives(work: Work) -> Iterator[Case]:
    base = work.settings.objective
    others = [Objective("huber", delta, base.on) for delta in DELTAS] + [
        Objective(n, base.delta, base.on) for n in ("l1", "l2")
    ]
    for other in others:
        same = other.name == base.name and (other.name != "huber" or other.delta == base.delta)
        if not same:
            word = f"Huber of delta {other.delta:g}" if other.name == "huber" else other.name.upper()
            yield _refit_case(work, f"objective {word}", "objective", objective=other)
    typical = float(np.median(work.rows.y))
    if base.on == "log":
        other = replace(base, on="plain", delta=base.delta * typical)
        name = f"residuals of the {work.law.target} itself, not of its logarithm"
        if base.name == "huber":
            name += f" (delta {other.delta:.3g}: the same share of it)"
        yield _refit_case(work, name, "objective", objective=other)
    elif (work.rows.y > 0).all():
        other = replace(base, on="log", delta=base.delta / typical)
        yield _refit_case(work, f"residuals of the {work.law.target}'s logarithm", "objective", objective=other)
    else:
        work.notes.append(f"residuals of the logarithm are not tried: {work.law.target} is not above zero in every row")


def _refit_case(work: Work, name: str, kind: str, **changed: Any) -> Case:
    return Case(name, kind, lambda: work.refit(name, kind, **changed))


def _counts(work: Work) -> Iterator[Case]:
    """The law's N taken from every other count of parameters that the table has."""
    if "params" not in work.law.inputs:
        return
    used = str(work.rows.inputs["params"]["column"])
    for column in map(str, work.source.table.frame.columns):
        canonical = ALIASES.get(column, column)
        if not canonical.startswith("params") or column == used:
            continue
        if canonical == "params_vocab":
            work.notes.append(f"N from {column} is not tried: it counts {QUANTITIES[canonical].meaning} alone")
            continue
        name = f"N counted as {column} (not {used})"
        yield Case(name, "count", lambda column=column, name=name: _recounted(work, name, column))  # type: ignore[misc]


def _recounted(work: Work, name: str, column: str) -> Choice:
    every = work.source.every_row(params=column)
    rows = every.take(np.isin(every.lines, work.rows.lines))
    lost = work.rows.used - rows.used
    return work.refit(name, "count", rows=rows, note=f"{lost} of the rows have no such count" if lost else "")


def _flops(work: Work) -> Iterator[Case]:
    """Compute as the table's own column counts it, or as 6 * params * tokens where the law takes that column."""
    table = work.source.read()
    if not {"params", "flops"} & set(work.law.inputs):
        return
    if not table.has("flops"):
        work.notes.append("the table has no flops of its own: compute is 6*params*tokens in every choice")
        return
    if work.law.inputs == ("params", "tokens") and work.rows.flops is not None:
        values, _ = column_numbers(table, "flops")
        own = values[np.isin(table.lines, work.rows.lines)]
        if not (np.isfinite(own) & (own > 0)).all():
            work.notes.append("the table's own flops are not tried: they can't be used in every row")
            return
        name = f"compute as column {table.columns.get('flops', 'flops')} counts it, not 6*params*tokens"
        budget = work.aim.at["flops"]
        share = own / six_nd(work.rows.x["params"], work.rows.x["tokens"])
        same = float(np.max(np.abs(share - 1))) < 1e-3
        note = "the column is 6*params*tokens" if same else f"about {np.median(share):.3g} times 6*params*tokens"
        yield Case(name, "flops", lambda: work.refit(name, "flops", decide=priced(work.rows, budget), note=note))
    elif "flops" in work.law.inputs and table.has("params") and table.has("tokens"):
        name = "compute as 6*params*tokens, not as the table counts it"
        yield Case(name, "flops", lambda: work.refit(name, "flops", rows=_six_nd_rows(work)))


def _six_nd_rows(work: Work) -> Rows:
    table = work.source.read()
    keep = np.isin(table.lines, work.rows.lines)
    params, tokens = (column_numbers(table, name)[0][keep] for name in ("params", "tokens"))
    compute = six_nd(params, tokens)
    if not (np.isfinite(compute) & (compute > 0)).all():
        raise LabError("params or tokens can't be used in every row")
    return replace(work.rows, x={**work.rows.x, "flops": compute}, flops=compute)


def _size_of(work: Work) -> tuple[str, Floats]:
    """What says how large a run is, in words, and its values."""
    if work.rows.flops is not None:
        return "compute", work.rows.flops
    name = work.law.inputs[0]
    return name, work.rows.x[name]


def _ends(work: Work) -> Iterator[Case]:
    """The fit without the rows of lowest compute, and without those of highest loss."""
    rows, (word, size) = work.rows, _size_of(work)
    tenth = math.ceil(SHARE * rows.used)
    for kind, order, what in (
        (f"low {word}", np.argsort(size, kind="stable"), f"of lowest {word}"),
        (f"high {work.law.target}", np.argsort(-rows.y, kind="stable"), f"of highest {work.law.target}"),
    ):
        for count in (*FEW, *([tenth] if tenth > max(FEW) else [])):
            if count >= rows.used:
                continue
            share = f" ({100 * SHARE:g} %)" if count == tenth and tenth > max(FEW) else ""
            plural = "row" if count == 1 else f"{count} rows"
            keep = np.sort(order[count:])
            yield Case(
                name := f"without the {plural}{share} {what}",
                kind,
                lambda name=name, kind=kind, keep=keep: work.refit(name, kind, rows=rows.take(keep)),  # type: ignore[misc]
            )


def _rungs(work: Work) -> Iterator[Case]:
    """The fit without the smallest sizes (of a law that knows no sizes, the smallest values of its first input)."""
    rows = work.rows
    name = "params" if "params" in rows.x else work.law.inputs[0]
    if name == "flops":  # the rows of lowest compute are left out already
        return
    sizes = rows.x[name]
    order = np.argsort(sizes, kind="stable")
    rung = np.empty(rows.used, dtype=int)
    rung[order] = np.concatenate([[0], np.cumsum(np.diff(np.log(sizes[order])) > SAME_SIZE)])
    if not rung.max():
        work.notes.append(f"no smallest size is left out: the values of {name} are one, or run into one another")
    for count in RUNGS:
        if count > rung.max():
            break
        keep = np.flatnonzero(rung >= count)
        word = "size" if name == "params" else f"value of {name}"
        plural = word if count == 1 else f"{count} {word.replace('size', 'sizes').replace('value', 'values')}"
        text = f"without the smallest {plural} ({name} up to {format_quantity(float(sizes[rung < count].max()))})"
        yield Case(text, "rungs", lambda text=text, keep=keep: work.refit(text, "rungs", rows=rows.take(keep)))  # type: ignore[misc]


def _put_back(work: Work) -> Iterator[Case]:
    """The fit with the rows that --where left out: all of them, and each alone where they are few."""
    if work.source.where is None:
        return
    chosen = work.source.read().lines
    left = int(len(work.source.table.frame) - len(chosen))
    if not left:
        return
    if left > len(chosen):
        work.notes.append(
            f"the {left:,} rows that --where left out are not put back: they are more than the {len(chosen):,} it keeps"
        )
        return
    what = "row" if left == 1 else f"{left:,} rows"
    name = f"with the {what} that --where left out"
    yield Case(name, "put back", lambda: _with_rows(work, name, None))
    if 1 < left <= ALONE:
        everything = work.source.read(where=False).lines
        for line in everything[~np.isin(everything, chosen)].tolist():
            alone = f"with {work.source.place} {line}, which --where left out"
            yield Case(alone, "put back", lambda alone=alone, line=line: _with_rows(work, alone, line))  # type: ignore[misc]


def _with_rows(work: Work, name: str, line: int | None) -> Choice:
    """The choice with all the rows that --where left out, or with that on one line."""
    chosen, every = work.source.read().lines, work.source.every_row()
    used = np.isin(every.lines, work.rows.lines)
    if used.sum() < work.rows.used:
        raise LabError("beside them some of the rows in use can't be used any more: they tell one run's loss otherwise")
    extra = ~np.isin(every.lines, chosen) if line is None else every.lines == line
    if not extra.any():
        raise LabError("what the law needs is missing or impossible there")
    lost = len(work.source.table.frame) - len(chosen) - int(extra.sum())
    note = f"{lost} more can't be used" if line is None and lost else ""
    return work.refit(name, "put back", rows=every.take(used | extra), note=note)


def _form(work: Work) -> Iterator[Case]:
    """The law with its two exponents tied, or a tied law with them apart."""
    if work.law.name in TIED:
        other, word = TIED[work.law.name]
        name = f"law {other}: {word}"
        yield Case(name, "form", lambda: _other_law(work, name, get_law(other)))


def _other_law(work: Work, name: str, law: Law) -> Choice:
    strange = [held for held in work.settings.fix if held not in law.names]
    if strange or "alpha" in work.settings.fix:
        raise LabError(f"--fix holds {', '.join(work.settings.fix)}, which the exponents' tie changes the meaning of")
    return work.refit(name, "form", law=law)


# ---------------------------------------------------------------------------------------------------------- solvers


def _solvers(work: Work) -> Iterator[Case]:
    """The mean in place of the sum: for a solver that converges, and for one that stops at a fixed tolerance."""
    if not work.coordinates.free:
        return
    name = "mean over the rows, not the sum; solver run to its end"
    yield Case(name, "solver", lambda: _mean_converged(work, name))
    early = (
        f"mean over the rows, solver stopped early (L-BFGS-B with its default tolerances, best of {EARLY_STARTS} "
        "random starts)"
    )
    yield Case(early, "faulty solver", lambda: _mean_stopped(work, early))


def _mean_converged(work: Work, name: str) -> Choice:
    """The mean minimised from starts of its own: it has the sum's optimum, whatever its size."""
    rows, objective = work.rows, work.settings.objective
    rng = np.random.default_rng([work.settings.seed, 2])
    begun = work.best.grid[rng.permutation(len(work.best.grid))[: sum(LEAN_POLISH)]]
    mean = rows.weights / np.sum(rows.weights)

    def solve(part: slice) -> Solutions:
        model = lambda t: work.coordinates.model(rows.x, t)  # noqa: E731
        return graduated(model, begun[part], objective.scale(rows.y), mean, objective, widths(objective))

    ended = in_chunks(solve, len(begun), chunk_size(rows.used), work.settings.workers)
    values = np.where(np.isfinite(ended.value), ended.value, np.inf)
    first = int(np.argmin(values))
    theta, note = ended.theta[first], ending(STATUS_NAMES[ended.status[first]])
    known = float(mean @ objective.terms(residuals(work, work.best.theta)))
    if not values[first] <= known * (1 + SAME_OPTIMUM) + rounding(rows.used):
        raise LabError(
            f"none of {len(begun)} starts drawn at random reaches the optimum, which says nothing of the mean"
        )
    return choice_of(name, "solver", rows.used, work.coordinates, theta, work.aim.decide, note)


def _mean_stopped(work: Work, name: str) -> Choice:
    """Where scipy's L-BFGS-B stops on the mean with its default tolerances, 2e-9 in value and 1e-5 in slope."""
    from scipy.optimize import minimize

    rows, objective, coordinates = work.rows, work.settings.objective, work.coordinates
    target, mean = objective.scale(rows.y), rows.weights / np.sum(rows.weights)

    def value_and_slope(theta: Floats) -> tuple[float, Floats]:
        with np.errstate(all="ignore"):
            f = coordinates.model(rows.x, theta[None, :])
            r = objective.residual(np.broadcast_to(f.value, (1, rows.used)), target)[0]
            pull = mean * objective.slopes(r, objective.width)[0]
            pull = pull / f.value[0] if objective.on == "log" else pull
            slope = np.array([np.sum(pull * f.grad.get(i, 0.0)) for i in range(len(theta))])
            value = float(mean @ objective.terms(r))
        # The line search steps back from a place that is not finite.
        return (value, slope) if np.isfinite(slope).all() and math.isfinite(value) else (1e300, np.zeros(len(theta)))

    rng = np.random.default_rng([work.settings.seed, 3])
    begun = coordinates.random(EARLY_STARTS, rng)
    with one_blas_thread():
        ended = [minimize(value_and_slope, start, jac=True, method="L-BFGS-B") for start in begun]
    best = min(ended, key=lambda end: float(end.fun))
    if best.fun >= 1e300:
        raise LabError("no random start has a finite objective")
    reached = float(best.fun) / max(value_and_slope(work.best.theta)[0], 1e-300)
    note = f"objective {reached:.5g} times that of the optimum"
    return choice_of(name, "faulty solver", rows.used, coordinates, np.asarray(best.x), work.aim.decide, note)
