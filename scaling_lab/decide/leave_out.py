"""The fit without each run in turn, all as one batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..engine.diagnostics import check_identified, jacobian
from ..engine.fit import optimum
from ..engine.solve import STATUS_NAMES, Solutions, chunk_size, graduated, in_chunks, rounding, widths
from ..errors import LabError
from .refits import Choice, Decision, Failed, Work, choice_of, distance, ending, lean_optimum, residuals

Floats = NDArray[np.float64]
# Runs left out in turn: as many as this, and as cost about this many rows together.
MOST_RUNS, MOST_ROWS = 400, 1_000_000
# The batch's worst runs, and some others, are refitted once more from a grid of starts; of so few runs all are.
CONFIRMED, ALL, ROUNDS = (5, 3), 40, 3


def runs_in_turn(work: Work) -> tuple[list[tuple[str, NDArray[np.bool_]]], list[str]]:
    """(name, rows (n,) of the run) of the runs that are left out in turn, and a note where they are not all."""
    rows = work.rows
    ids, index = np.unique(rows.group.astype(str), return_inverse=True)
    if len(ids) < 2 or not work.coordinates.free:
        return [], ["no run is left out in turn: the table has one"] if len(ids) < 2 else []
    most = int(np.clip(MOST_ROWS // rows.used, 20, MOST_RUNS))
    chosen, notes = np.arange(len(ids)), []
    if len(ids) > most:
        chosen = np.argsort(-_influence(work, index, len(ids)), kind="stable")[:most]
        notes = [f"of {len(ids):,} runs the {most} that a linear estimate calls most influential are left out in turn"]
    out = []
    for run in chosen.tolist():
        mask = index == run
        place = f"run {ids[run]}" if rows.grouped else f"{work.source.place} {rows.lines[mask][0]}"
        out.append((f"without {place}", mask))
    return out, notes


def _influence(work: Work, index: NDArray[np.int64], count: int) -> Floats:
    """How far leaving each run out moves the decision (count,), by one Gauss-Newton step up to a common factor."""
    rows, objective, theta = work.rows, work.settings.objective, work.best.theta
    named = work.coordinates.to_params(theta[None, :])
    predicted = np.asarray(work.law.predict(dict(rows.x), **named))[0]
    jac = jacobian(work.coordinates, rows, theta[None, :])
    if objective.on == "plain":
        jac = jac * predicted[:, None]
    slope = objective.slopes(objective.residual(predicted, objective.scale(rows.y)), objective.width)[0]
    pulls = jac * (rows.weights * slope)[:, None]
    per_run = np.stack([np.bincount(index, pulls[:, i], count) for i in range(pulls.shape[1])], axis=1)
    towards = np.array([_slope_of_decision(work, i) for i in range(len(theta))])
    curvature = jac.T @ (jac * rows.weights[:, None])
    return np.abs(per_run @ (np.linalg.pinv(curvature, hermitian=True) @ towards))


def _slope_of_decision(work: Work, i: int, step: float = 1e-4) -> float:
    """The derivative of log tokens per parameter (of the loss, where nothing is split) towards a coordinate."""

    def value(shift: float) -> float:
        theta = work.best.theta + shift * (np.arange(len(work.best.theta)) == i)
        decision = work.aim.decide(work.law, work.coordinates.to_params(theta[None, :]))
        ratio = decision.tokens_per_param
        return decision.loss if ratio is None else math.log(ratio)

    return (value(step) - value(-step)) / (2 * step)


def leave_out_runs(
    work: Work, masks: Sequence[tuple[str, NDArray[np.bool_]]], others: Iterable[Choice]
) -> tuple[list[Choice], list[Failed], list[str]]:
    """The choices without each run, those that can't be made, and a note where the refits are in doubt.

    All are solved as one batch from the optimum and from the optima of the two choices that moved the decision most;
    the worst and a few others are then solved once more from a grid of starts. Where that finds a lower place, it
    joins the batch's starts.
    """
    able: list[tuple[str, NDArray[np.bool_]]] = []
    failed: list[Failed] = []
    for name, mask in masks:
        try:
            _check_able(work, mask)
            able.append((name, mask))
        except LabError as fault:
            failed.append(Failed(name, "run", str(fault)))
    if not able:
        return [], failed, []
    begun = [work.best.theta, *_far_optima(work, others)]
    out = np.array([mask for _, mask in able])
    notes: list[str] = []
    for attempt in range(ROUNDS):
        solved = _batch(work, out, np.array(begun))
        theta, status = solved.theta.copy(), solved.status.copy()
        lower = _confirm(work, out, theta, status)
        if not lower or len(out) <= ALL:
            break
        begun += lower
        if attempt == ROUNDS - 1:
            notes.append(
                f"{len(lower)} of {sum(CONFIRMED)} runs left out had a lower optimum than their first refits found; "
                "others may have too"
            )
    found: list[Choice] = []
    for i, (name, mask) in enumerate(able):
        note = ending(STATUS_NAMES[status[i]])
        rows = work.rows.used - int(mask.sum())
        try:
            found.append(choice_of(name, "run", rows, work.coordinates, theta[i], work.aim.decide, note))
        except LabError as fault:
            failed.append(Failed(name, "run", str(fault)))
    return found, failed, notes


def _check_able(work: Work, mask: NDArray[np.bool_]) -> None:
    """Raises what a fit without the rows of the mask would raise."""
    part = work.rows.take(~mask)
    if part.used < max(len(work.coordinates.free) + 1, 2):
        optimum(work.coordinates, part, work.settings)
    check_identified(work.coordinates, part)


def _far_optima(work: Work, others: Iterable[Choice]) -> list[Floats]:
    """The coordinates of the same law's two choices whose decisions lie furthest from the base, one on each side."""

    def height(choice: Choice) -> float:
        return choice.decision.tokens_per_param or choice.decision.loss

    same = [c for c in others if c.law == work.law.name and c.kind not in ("faulty solver", "solver", "count")]
    ends = [min(same, key=height), max(same, key=height)] if same else []
    named = [{p.name: np.array([end.values[p.name]]) for p in work.coordinates.free} for end in ends]
    return [work.coordinates.to_theta(values)[0] for values in named]


def _batch(work: Work, out: NDArray[np.bool_], begun: Floats) -> Solutions:
    """The best minimum without the rows of each mask (R, n) from each of the starts (k, p)."""
    rows, objective = work.rows, work.settings.objective
    target = objective.scale(rows.y)
    near = widths(objective, float(np.median(np.abs(residuals(work, begun[0])))))

    def solve(part: slice) -> Solutions:
        weights = np.where(out[part], 0.0, rows.weights)
        best: Solutions | None = None
        for i, start in enumerate(begun):
            theta = np.repeat(start[None, :], len(weights), axis=0)
            model = lambda t: work.coordinates.model(rows.x, t)  # noqa: E731
            found = graduated(model, theta, target, weights, objective, near if i == 0 else widths(objective))
            best = found if best is None else best.better(found)
        assert best is not None
        return best

    return in_chunks(solve, len(out), chunk_size(rows.used), work.settings.workers)


def _confirm(work: Work, out: NDArray[np.bool_], theta: Floats, status: NDArray[np.int8]) -> list[Floats]:
    """Optima (p,) of a few runs left out that lie lower than the batch found; theta and status take them in place."""
    base = work.aim.decide(work.law, work.coordinates.to_params(work.best.theta[None, :]))
    far = np.array([_reach(work, theta[i], base) for i in range(len(out))])
    order = np.argsort(-far, kind="stable")
    worst, random = CONFIRMED if len(out) > ALL else (ALL, 0)
    rng = np.random.default_rng([work.settings.seed, 4])
    lower: list[Floats] = []
    for i in [*order[:worst].tolist(), *rng.permutation(order[worst:])[:random].tolist()]:
        weights = np.where(out[i], 0.0, work.rows.weights)
        again = lean_optimum(work.coordinates, work.rows.take(~out[i]), work.settings)
        values = [float(weights @ work.settings.objective.terms(residuals(work, at))) for at in (theta[i], again.theta)]
        if not values[1] <= values[0] * (1 - 1e-9) - rounding(work.rows.used):
            continue
        if values[1] < values[0] * (1 - 1e-6):
            lower.append(again.theta)
        theta[i] = again.theta
        status[i] = STATUS_NAMES.index(again.account["best"])
    return lower


def _reach(work: Work, theta: Floats, base: Decision) -> float:
    """How far the decision at theta lies from the base; without end where there is none, so that it is looked at."""
    try:
        far, loss = distance(work.aim.decide(work.law, work.coordinates.to_params(theta[None, :])), base)
    except LabError:
        return math.inf
    return far or loss
