"""Refits to resampled runs: what the parameters would have been with other runs of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DidNotConverge, UsageError
from ..tables import Rows
from .coordinates import Coordinates, ends
from .resample import Sampler, sampler_of
from .solve import (
    Kernel,
    Objective,
    Pull,
    Solutions,
    chunk_size,
    gone_on,
    graduated,
    in_chunks,
    one_blas_thread,
    rounding,
    settled,
    thinned,
    widths,
)

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
Solver = Callable[[Floats, Floats, Floats, tuple[float, ...]], Solutions]
Further = Callable[[Solutions, Floats, Floats, Floats], Solutions]

# Further resamples, not counted among the replicates, that are fitted both from the optimum and from the best of the
# whole grid of starts: what they find is where every replicate may start, and one that ends lower from the grid shows
# that refits from the optimum alone stay in the wrong place. Fewer on so many numbers that each takes seconds.
SCOUTS, SCOUT_STARTS, SCOUT_NUMBERS = 16, 12, 400_000
# Numbers in the weights that a device is given at once.
DEVICE_NUMBERS = 20_000_000
# A refit that ran out of steps this share above the lowest of its replicate has more of them: it may yet be the lowest.
NEAR = 1e-3
# Of an interrupted bootstrap at least so many replicates are of use.
LEAST_KEPT = 20


@dataclass(frozen=True)
class Start:
    """Where refits may begin (k, p), the main optimum first, and those of them that every refit must try (m, p)."""

    known: Floats
    needed: Floats


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
    device: str = "cpu",
    pull: Pull | None = None,
) -> tuple[Floats, dict[str, Any]]:
    """Parameters (draws, P) of `count` refits, and an account of how they were drawn and how they ended.

    `resample` is one of RESAMPLES (engine/resample.py), `starts` are those of the main fit. Replicates are drawn and
    fitted block by block, so memory does not grow with their number. An interrupt keeps those that are done, if they
    are of any use, and says so in the account.
    """
    account: dict[str, Any] = {"n": count, "resample": resample, "failed": 0, "unconverged": 0, "redrawn": 0}
    nothing = np.empty((0, len(coordinates.law.names)))
    if not coordinates.free:
        return nothing, account | {"n": 0}
    if count == 0:
        return nothing, account
    sampler, account["resample"] = sampler_of(coordinates, rows, objective, theta, resample, seed)
    if sampler is None:
        return nothing, account
    kernel = coordinates.kernel(rows.x, float(np.median(np.abs(rows.y))))
    solver = _solver(coordinates, rows, objective, kernel, workers, device, pull)

    def further(ended: Solutions, weights: Floats, target: Floats, lowest: Floats) -> Solutions:
        if device != "cpu":
            return ended
        with one_blas_thread():
            return gone_on(kernel, ended, target, weights, objective, pull, below=lowest * (1 + NEAR))

    scouts, _ = sampler_of(coordinates, rows, objective, theta, resample, seed, stream=4)
    assert scouts is not None
    start, told = _scouted(coordinates, rows, objective, kernel, theta, starts, scouts, workers, pull)
    parts: list[Solutions] = []
    block = _block(rows, kernel, sampler, workers, device)
    try:
        for begin in range(0, count, block):
            weights, target, redrawn = sampler.draw(begin, min(begin + block, count))
            parts.append(_refit(coordinates, rows, objective, solver, further, start, weights, target))
            account["redrawn"] += redrawn
            if progress:
                progress("bootstrap", min(begin + block, count), count)
    except KeyboardInterrupt:
        if sum(len(part.value) for part in parts) < LEAST_KEPT:
            raise
        account |= {"interrupted": True, "asked": count}
    solved = Solutions.join(parts)
    with np.errstate(over="ignore"):
        draws = coordinates.to_array(solved.theta)
    finite = np.isfinite(solved.value) & coordinates.in_reach(ends(rows.x), solved.theta)
    account |= told | {"n": len(draws), "failed": int(np.sum(~finite))}
    account["unconverged"] = int(np.sum(finite & ~settled(solved.status)))
    if not finite.any():
        raise DidNotConverge(f"{coordinates.law.name}: none of {len(draws)} bootstrap refits ended finite")
    return draws[finite], account


def _block(rows: Rows, kernel: Kernel, sampler: Sampler, workers: int | None, device: str) -> int:
    """Replicates drawn and fitted together: a chunk for every worker, in whole families; far more on a device."""
    chunk = chunk_size(rows.used, kernel.block) * (workers or 1) if device == "cpu" else DEVICE_NUMBERS // rows.used
    return max(chunk // sampler.family, 1) * sampler.family


def _solver(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    kernel: Kernel,
    workers: int | None,
    device: str,
    pull: Pull | None,
) -> Solver:
    """What minimises from starts (k, p) for weights and targets (n,) or (k, n), by way of wider objectives."""
    size = chunk_size(rows.used, kernel.block)
    if device != "cpu" and pull is not None:
        raise UsageError(f"--device {device} refits without a prior; leave --prior or --device out")
    if device != "cpu":
        from .solve_cuda import TorchSolver

        return TorchSolver(coordinates, rows.x, objective, device, float(np.median(np.abs(rows.y))))

    def solve(begun: Floats, weights: Floats, target: Floats, ladder: tuple[float, ...]) -> Solutions:
        def part(keep: slice) -> Solutions:
            w = weights if weights.ndim == 1 else weights[keep]
            y = target if target.ndim == 1 else target[keep]
            return graduated(kernel, begun[keep], y, w, objective, ladder, pull)

        return in_chunks(part, len(begun), size, workers)

    return solve


def _refit(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    solver: Solver,
    further: Further,
    start: Start,
    weights: Floats,
    target: Floats,
) -> Solutions:
    """The best minimum of each replicate from the known place where its objective is lowest, and all needed ones."""
    count = len(weights) if weights.ndim == 2 else len(target)
    predicted = coordinates.predictor(rows.x)(start.known)
    scores = np.empty((count, len(start.known)))
    for i, values in enumerate(predicted):
        with np.errstate(all="ignore"):
            terms = objective.terms(objective.residual(values, target))
        scores[:, i] = weights @ terms if terms.ndim == 1 else np.sum(weights * terms, axis=1)
    first = start.known[np.argmin(np.where(np.isfinite(scores), scores, np.inf), axis=1)]
    spread = float(np.median(np.abs(objective.residual(predicted[0], objective.scale(rows.y)))))
    found = [solver(first, weights, target, widths(objective, spread))]
    for place in start.needed:
        found.append(solver(np.tile(place, (count, 1)), weights, target, widths(objective)))
    lowest = np.min([np.where(np.isfinite(ended.value), ended.value, np.inf) for ended in found], axis=0)
    best, *others = (further(ended, weights, target, lowest) for ended in found)
    for ended in others:
        best = best.better(ended)
    return best


def _scouted(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    kernel: Kernel,
    theta: Floats,
    starts: Floats,
    sampler: Sampler,
    workers: int | None,
    pull: Pull | None,
) -> tuple[Start, dict[str, int]]:
    """Where refits begin, as SCOUTS resamples of their own find it, and how many of those the optimum misled."""
    count = int(np.clip(SCOUT_NUMBERS // rows.used, 1, SCOUTS))
    per = min(SCOUT_STARTS if rows.used * SCOUTS <= SCOUT_NUMBERS else 3, len(starts))
    weights, target, _ = sampler.draw(0, count)
    order = _ranked(coordinates, rows, objective, starts, weights, target, count)[:, :per]
    which = np.concatenate([np.repeat(np.arange(count), per), np.arange(count)])
    begun = np.concatenate([starts[order.ravel()], np.tile(theta, (count, 1))])

    def solve(part: slice) -> Solutions:
        w = weights if weights.ndim == 1 else weights[which[part]]
        y = target if target.ndim == 1 else target[which[part]]
        return graduated(kernel, begun[part], y, w, objective, widths(objective), pull)

    found = in_chunks(solve, len(begun), chunk_size(rows.used, kernel.block), workers)
    values = np.where(np.isfinite(found.value), found.value, np.inf)
    wide, local = values[: count * per].reshape(count, per), values[count * per :]
    best = np.argmin(wide, axis=1)
    lowest = wide[np.arange(count), best]
    # A thousandth less, and more than rounding: a resample that the law fits exactly has nothing to miss.
    lower = lowest < local * (1 - 1e-3) - rounding(rows.used)
    places = found.theta[: count * per].reshape(count, per, -1)[np.arange(count), best]

    def reached(place: Floats, which: NDArray[np.intp]) -> Floats:
        """How low the resamples `which` come from one place."""
        w = weights if weights.ndim == 1 else weights[which]
        y = target if target.ndim == 1 else target[which]
        ended = graduated(kernel, np.tile(place, (len(which), 1)), y, w, objective, widths(objective), pull)
        return np.where(np.isfinite(ended.value), ended.value, np.inf)

    needed = _fewest(places, lowest, np.flatnonzero(lower), local, reached)[:6]
    ends = np.where((lowest < local)[:, None], places, found.theta[count * per :])
    known = np.concatenate([theta[None, :], ends[np.isfinite(np.minimum(lowest, local))]])
    if len(needed):
        needed = np.concatenate([theta[None, :], needed])
    return Start(known, needed), {"audited": count, "missed": int(np.sum(lower))}


def _fewest(
    places: Floats,
    lowest: Floats,
    missed: NDArray[np.intp],
    local: Floats,
    reached: Callable[[Floats, NDArray[np.intp]], Floats],
) -> Floats:
    """Of the places (k, p) with objectives `lowest` (k,), those that lead every missed resample down, worst miss first.

    Many of them lie in one valley: the first of those stands for all.
    """
    kept = []
    while missed.size:
        first = missed[np.argmax(local[missed] / np.maximum(lowest[missed], 1e-300))]
        kept.append(places[first])
        others = missed[missed != first]
        if not others.size:
            break
        missed = others[reached(places[first], others) > lowest[others] * (1 + 1e-3)]
    return np.array(kept).reshape(-1, places.shape[1])


def _ranked(
    coordinates: Coordinates,
    rows: Rows,
    objective: Objective,
    starts: Floats,
    weights: Floats,
    target: Floats,
    count: int,
) -> NDArray[np.intp]:
    """The starts in the order of each scout's objective, (count, starts); on some of the rows where there are many."""
    keep = thinned(rows.used)
    x = {name: values[keep] for name, values in rows.x.items()}
    weights, target = weights[..., keep], target[..., keep]
    predict, size, blocks = coordinates.predictor(x), chunk_size(len(keep)), []
    # A block of starts at a time: all of them at once would fill the memory.
    for at in range(0, len(starts), size):
        predicted = predict(starts[at : at + size])
        with np.errstate(all="ignore"):
            if target.ndim == 1:
                blocks.append((objective.terms(objective.residual(predicted, target)) @ weights.T).T)
                continue
            terms = [objective.terms(objective.residual(predicted, aim)) for aim in target]
        blocks.append(np.stack([term @ weights for term in terms]))
    scores = np.concatenate(blocks, axis=1)
    return np.argsort(np.where(np.isfinite(scores), scores, np.inf), axis=1, kind="stable")
