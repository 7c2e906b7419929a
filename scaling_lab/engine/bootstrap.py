"""Refits to resampled runs: what the parameters would have been with other runs of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DidNotConverge
from ..tables import Rows
from .coordinates import Coordinates
from .diagnostics import jacobian
from .solve import Objective, Solutions, chunk_size, graduated, in_chunks, rounding, settled, widths

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

# Resamples that are also fitted from the whole grid of starts: one that ends lower there shows that refits from the
# optimum alone stay in the wrong place.
AUDITED, AUDIT_STARTS = 16, 12
# A derivative matrix whose Gram matrix has eigenvalues further apart than this tells nothing of some direction.
RANK = 1e-13


@dataclass(frozen=True)
class Replicates:
    """What B refits are made to: rows count `weights` (B, n) times their own, `each` (n,), and aim at `target`.

    `target` is (n,) or (B, n).
    """

    weights: NDArray[Any]
    each: Floats
    target: Floats

    def part(self, keep: slice) -> tuple[Floats, Floats]:
        """Weights and targets of some of the refits."""
        return self.weights[keep] * self.each, self.target if self.target.ndim == 1 else self.target[keep]


def bootstrap(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    theta: Floats,
    starts: Floats,
    *,
    count: int,
    resample: str,
    seed: int,
    workers: int | None,
    progress: Progress | None,
) -> tuple[Floats, dict[str, Any]]:
    """Parameters (draws, P) of `count` refits, and an account of how they were drawn and how they ended.

    Runs (or rows) are drawn whole with replacement. A resample that can't tell every parameter is drawn again. Where
    most can't, single-row runs get new losses drawn about the fit instead, and runs of several rows get no draws at
    all: their checkpoints share one error, of which so few runs say nothing. `starts` are those of the main fit.
    """
    account: dict[str, Any] = {"n": count, "resample": resample, "failed": 0, "unconverged": 0, "redrawn": 0}
    if not coordinates.free:
        return np.empty((0, len(coordinates.law.names))), account | {"n": 0}
    if count == 0:
        return np.empty((0, len(coordinates.law.names))), account
    groups = rows.group if resample == "runs" else np.arange(rows.used)
    kinds = len(np.unique(groups.astype(str)))
    told = _rank_test(coordinates, rows, theta)
    weights, redrawn = bootstrap_weights(groups, count, seed, told)
    account["redrawn"] = redrawn
    target = objective.scale(rows.y)
    if kinds < len(coordinates.free) + 2 or redrawn > count:
        if kinds < rows.used:
            return np.empty((0, len(coordinates.law.names))), account | {"resample": "none: too few runs"}
        account["resample"] = "residuals"
        target = _new_losses(coordinates, rows, objective, theta, count, seed)
        weights = np.ones((count, rows.used), dtype=np.int32)
    replicates = Replicates(weights, rows.weights, target)
    others, missed = _audit(coordinates, rows, objective, theta, starts, replicates, workers)
    account |= {"audited": min(count, AUDITED), "missed": missed}
    begun = np.concatenate([theta[None, :], others])
    solved = _refit(coordinates, rows, objective, begun, replicates, workers, progress)
    with np.errstate(over="ignore"):
        draws = coordinates.to_array(solved.theta)
    finite = np.isfinite(solved.value) & np.isfinite(draws).all(axis=1)
    account["failed"] = int(np.sum(~finite))
    account["unconverged"] = int(np.sum(finite & (~settled(solved.status))))
    if not finite.any():
        raise DidNotConverge(f"{coordinates.law.name}: none of {count} bootstrap refits ended finite")
    return draws[finite], account


def bootstrap_weights(
    groups: NDArray[Any], count: int, seed: int, told: Callable[[NDArray[np.int32]], NDArray[np.bool_]]
) -> tuple[NDArray[np.int32], int]:
    """How often each row counts in each of `count` resamples of whole groups, (count, n), and how many were redrawn.

    `told` says of weights (B, n) which resamples can tell every parameter; the others are drawn again, until as many
    have been as were asked for: then resampling is the wrong tool, and the caller sees it in the count. All are drawn
    before any is fitted, so the numbers do not depend on how the work is shared out.
    """
    _, index = np.unique(groups.astype(str), return_inverse=True)
    kinds = int(index.max()) + 1
    rng = np.random.default_rng([seed, 1])
    out = np.empty((count, len(index)), dtype=np.int32)
    waiting, redrawn = np.arange(count), 0
    while redrawn <= count:
        for b in waiting:
            out[b] = np.bincount(rng.integers(0, kinds, kinds), minlength=kinds)[index]
        waiting = waiting[~told(out[waiting])]
        if waiting.size == 0:
            break
        redrawn += len(waiting)
    return out, redrawn


def _rank_test(coordinates: Coordinates, rows: Rows, theta: Floats) -> Callable[[NDArray[np.int32]], NDArray[np.bool_]]:
    """Which resamples' rows tell every parameter that all rows tell, by the rank of the derivatives at the optimum."""
    jac = jacobian(coordinates, rows, theta[None, :])
    length = np.linalg.norm(jac, axis=0)
    # A parameter at its bound moves nothing in any resample: it is no reason to draw again.
    jac = jac[:, length > 1e-9 * length.max()] / length[length > 1e-9 * length.max()]
    products = (jac[:, :, None] * jac[:, None, :]).reshape(rows.used, -1)
    p = jac.shape[1]

    def told(weights: NDArray[np.int32]) -> NDArray[np.bool_]:
        values = np.linalg.eigvalsh(((weights > 0) @ products).reshape(-1, p, p))
        return np.asarray(values[:, 0] > RANK * values[:, -1])

    return told


def _new_losses(
    coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats, count: int, seed: int
) -> Floats:
    """Targets (count, n): the fit plus noise of the residuals' size, each replicate with a scale of its own.

    With n - p degrees of freedom the scale itself is in doubt: drawn as s * sqrt(df / chi²), the refits spread as
    Student's t.
    """
    params = coordinates.to_params(theta[None, :])
    fitted = objective.scale(np.asarray(coordinates.law.predict(dict(rows.x), **params))[0])
    df = max(rows.used - len(theta), 1)
    s = np.sqrt(np.sum((objective.scale(rows.y) - fitted) ** 2) / df)
    rng = np.random.default_rng([seed, 1])
    scale = s * np.sqrt(df / rng.chisquare(df, count))
    return np.asarray(fitted + scale[:, None] * rng.standard_normal((count, rows.used)))


def _refit(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    starts: Floats,
    replicates: Replicates,
    workers: int | None,
    progress: Progress | None,
) -> Solutions:
    """The best minimum of each replicate from each of the `starts` (k, p)."""
    kernel = coordinates.kernel(rows.x)
    count, size = len(replicates.weights), chunk_size(rows.used, kernel.block)
    fitted = np.asarray(coordinates.law.predict(dict(rows.x), **coordinates.to_params(starts[:1])))[0]
    near = widths(objective, float(np.median(np.abs(objective.residual(fitted, objective.scale(rows.y))))))
    far = widths(objective)
    parts = []
    for begin, end in pairwise([*range(0, count, 16 * size), count]):

        def solve(part: slice, begin: int = begin) -> Solutions:
            weights, target = replicates.part(slice(begin + part.start, begin + part.stop))
            best: Solutions | None = None
            for i, start in enumerate(starts):
                theta = np.repeat(start[None, :], part.stop - part.start, axis=0)
                ladder = near if i == 0 else far
                found = graduated(kernel, theta, target, weights, objective, ladder)
                best = found if best is None else best.better(found)
            assert best is not None
            return best

        parts.append(in_chunks(solve, end - begin, size, workers))
        if progress:
            progress("bootstrap", end, count)
    return Solutions.join(parts)


def _audit(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    theta: Floats,
    starts: Floats,
    replicates: Replicates,
    workers: int | None,
) -> tuple[Floats, int]:
    """Further starts (k, p) that the refits need, and how many of the audited ones needed them.

    The first replicates are fitted both from the optimum and from the best of the whole grid of starts. Where the
    grid never wins, no further start is needed.
    """
    count = min(len(replicates.weights), AUDITED)
    weights, target = replicates.part(slice(0, count))
    aims, size = np.broadcast_to(target, (count, rows.used)), chunk_size(rows.used)
    blocks = []
    # A block of starts at a time: all of them on a million rows would fill the memory.
    for at in range(0, len(starts), size):
        named = coordinates.to_params(starts[at : at + size])
        with np.errstate(all="ignore"):
            predicted = np.asarray(coordinates.law.predict(dict(rows.x), **named))
            terms = [
                objective.terms(objective.residual(predicted, aim)) @ w for aim, w in zip(aims, weights, strict=True)
            ]
        blocks.append(np.stack(terms))
    ranked = np.concatenate(blocks, axis=1)
    order = np.argsort(np.where(np.isfinite(ranked), ranked, np.inf), axis=1, kind="stable")[:, :AUDIT_STARTS]
    per = order.shape[1]
    begun = starts[order.ravel()]
    kernel = coordinates.kernel(rows.x)

    def solve(part: slice) -> Solutions:
        which = np.arange(part.start, part.stop) // per
        aim = target if target.ndim == 1 else target[which]
        return graduated(kernel, begun[part], aim, weights[which], objective, widths(objective))

    wide = in_chunks(solve, len(begun), chunk_size(rows.used, kernel.block), workers)
    values = np.where(np.isfinite(wide.value), wide.value, np.inf).reshape(count, per)
    best = np.argmin(values, axis=1)
    first = Replicates(replicates.weights[:count], replicates.each, target)
    local = _refit(coordinates, rows, objective, theta[None, :], first, workers, None)
    # A thousandth less, and more than rounding: a resample that the law fits exactly has nothing to miss.
    lower = values[np.arange(count), best] < local.value * (1 - 1e-3) - rounding(rows.used)
    found = wide.theta.reshape(count, per, -1)[np.arange(count), best]
    return found[lower][:6], int(np.sum(lower))
