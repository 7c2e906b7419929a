"""Batched robust least squares: damped Newton with exact derivatives, and variable projection. Knows no law."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from os import cpu_count
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .dual import Dual

Floats = NDArray[np.float64]
Model = Callable[[Floats], Dual]

# What became of a start. A typed status and never an exception: one bad start must not stop four thousand good ones.
CONVERGED, MAX_ITERATIONS, NOT_FINITE, STALLED = 0, 1, 2, 3
STATUS_NAMES = ("converged", "max iterations", "not finite", "stalled")
L1_WIDTH = 1e-7


@dataclass(frozen=True)
class Objective:
    """The sum over rows of weight * rho(residual); residuals are of log values or plain ones.

    huber: r²/2 up to delta, then delta * (|r| - delta/2). l2: r²/2. l1: |r|, minimised as a Huber of width L1_WIDTH
    divided by that width (the two differ by at most half of it a row).
    """

    name: Literal["huber", "l2", "l1"] = "huber"
    delta: float = 1e-3
    on: Literal["log", "plain"] = "log"

    @property
    def width(self) -> float:
        """Where rho turns from a square into a line."""
        return L1_WIDTH if self.name == "l1" else self.delta

    def terms(self, r: Floats, width: float | None = None) -> Floats:
        """rho(r), elementwise, at another width where one is given."""
        if self.name == "l2":
            return 0.5 * r * r
        width = self.width if width is None else width
        size = np.abs(r)
        inside = np.minimum(size, width)
        huber: Floats = inside * (size - 0.5 * inside)
        return huber / width if self.name == "l1" else huber

    def slopes(self, r: Floats, width: float) -> tuple[Floats, Floats]:
        """rho'(r) and rho''(r), elementwise."""
        if self.name == "l2":
            return r, np.ones_like(r)
        first, second = np.clip(r, -width, width), (np.abs(r) <= width).astype(float)
        return (first / width, second / width) if self.name == "l1" else (first, second)

    def residual(self, predicted: Floats, target: Floats) -> Floats:
        """Predicted minus measured, on the scale of the objective; `target` is on that scale already."""
        if self.on == "plain":
            return predicted - target
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(predicted) - target

    def scale(self, target: Floats) -> Floats:
        """Measured values on the scale of the objective."""
        return np.log(target) if self.on == "log" else target


@dataclass(frozen=True)
class Pull:
    """A quadratic pull on coordinates, added to an objective: sum of precision * (theta - center)² / 2, each (p,)."""

    center: Floats
    precision: Floats

    def value(self, theta: Floats) -> Floats:
        """What it adds at theta (b, p), shape (b,)."""
        return 0.5 * np.sum(self.precision * (theta - self.center) ** 2, axis=1)

    def times(self, factor: float) -> Pull:
        """The same pull, stronger or weaker."""
        return Pull(self.center, factor * self.precision)


@dataclass(frozen=True)
class Solutions:
    """Where B starts ended: theta (B, p), objective (B,), status (B,), Newton steps taken (B,)."""

    theta: Floats
    value: Floats
    status: NDArray[np.int8]
    steps: NDArray[np.int64]

    def better(self, other: Solutions) -> Solutions:
        """Start by start the one of the two that ended lower; self where they agree."""
        lower = np.where(np.isfinite(other.value), other.value, np.inf) < np.where(
            np.isfinite(self.value), self.value, np.inf
        ) * (1 - 1e-9)
        return Solutions(
            np.where(lower[:, None], other.theta, self.theta),
            np.where(lower, other.value, self.value),
            np.where(lower, other.status, self.status),
            np.where(lower, other.steps, self.steps),
        )

    @classmethod
    def join(cls, parts: Sequence[Solutions]) -> Solutions:
        """The same starts in one batch."""
        return cls(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("theta", "value", "status", "steps")))


def rounding(points: int) -> float:
    """The objective below which differences are rounding: a law that fits its rows exactly has no more to gain."""
    return 100.0 * points * float(np.finfo(float).eps) ** 2


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One BLAS thread inside: batched products of small matrices run several times slower with two that spin."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _derivatives(
    model: Model,
    theta: Floats,
    target: Floats,
    weights: Floats,
    objective: Objective,
    width: float,
    pull: Pull | None,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Objective (b,), gradient (b, p), Hessian (b, p, p), and the Gauss-Newton diagonal (b, p) that damping uses."""
    p = theta.shape[1]
    with np.errstate(all="ignore"):
        f = model(theta)
        shape = np.broadcast_shapes(f.value.shape, target.shape)
        value = np.broadcast_to(f.value, shape)
        r = objective.residual(value, target)
        first, second = objective.slopes(r, width)
        total = np.sum(weights * objective.terms(r, width), axis=1)
        inverse = 1.0 / value if objective.on == "log" else np.ones(())
        bend = -1.0 if objective.on == "log" else 0.0  # d² log f = f''/f - (f'/f)²
        slope = weights * first * inverse
        curve = weights * (second + bend * first) * inverse * inverse
        jac = np.stack([np.broadcast_to(f.grad.get(i, 0.0), shape) for i in range(p)], axis=1)
        gradient = (jac @ slope[:, :, None])[:, :, 0]
        hessian = (jac * curve[:, None, :]) @ jac.transpose(0, 2, 1)
        for (i, j), h in f.hess.items():
            extra = np.sum(slope * h, axis=1)
            hessian[:, i, j] += extra
            if i != j:
                hessian[:, j, i] += extra
        diagonal = np.sum((jac * jac) * (weights * inverse * inverse)[:, None, :], axis=2)
        if objective.name == "l1":
            diagonal = diagonal / width
        if pull is not None:
            total = total + pull.value(theta)
            gradient = gradient + pull.precision * (theta - pull.center)
            hessian = hessian + np.diag(pull.precision)
            diagonal = diagonal + pull.precision
    return np.where(np.isfinite(total), total, np.inf), gradient, hessian, diagonal


def newton(
    model: Model,
    theta: Floats,
    target: Floats,
    weights: Floats,
    objective: Objective,
    *,
    pull: Pull | None = None,
    width: float | None = None,
    tolerance: float = 1e-13,
    max_steps: int = 100,
) -> Solutions:
    """Local minima reached from theta (B, p), each start on its own damping.

    `model` maps (b, p) to a Dual (b, n) whose variables are the columns of theta; `weights` and `target`, on
    the objective's scale, are (n,) or (B, n). A start has converged when the decrease that its Newton step promises
    is below `tolerance` of its objective.
    """
    width = objective.width if width is None else width
    B, p = theta.shape
    theta = np.array(theta, dtype=float)
    shape = (B, target.shape[-1])
    weights, target = np.broadcast_to(weights, shape), np.broadcast_to(target, shape)
    floor = rounding(shape[1])
    value, gradient, hessian, diagonal = _derivatives(model, theta, target, weights, objective, width, pull)
    status = np.where(np.isfinite(value), MAX_ITERATIONS, NOT_FINITE).astype(np.int8)
    steps = np.zeros(B, dtype=np.int64)
    damping = np.full(B, 1e-3)
    live = np.flatnonzero(status == MAX_ITERATIONS)
    eye = np.eye(p)
    for _ in range(max_steps):
        if live.size == 0:
            break
        step, promised = _damped_steps(gradient[live], hessian[live], diagonal[live], damping[live], eye)
        small = (promised >= 0) & (promised <= tolerance * value[live] + floor) & (damping[live] < 1e-2)
        tried = theta[live] + step
        new = _derivatives(model, tried, target[live], weights[live], objective, width, pull)
        gain = value[live] - new[0]
        better = (promised > 0) & (gain > 0) & (gain >= 1e-4 * promised)
        took = live[better | (small & (gain >= 0))]
        pick = np.isin(live, took, assume_unique=True)
        theta[took] = tried[pick]
        value[took], gradient[took], hessian[took], diagonal[took] = (part[pick] for part in new)
        steps[live] += 1
        good = gain > 0.7 * promised
        damping[live] = np.where(
            better, damping[live] * np.where(good, 0.25, 0.7), np.maximum(damping[live] * 5.0, 1e-6)
        )
        damping[live] = np.maximum(damping[live], 1e-14)
        status[live[small]] = CONVERGED
        status[live[~small & (damping[live] > 1e12)]] = STALLED
        live = live[status[live] == MAX_ITERATIONS]
    return Solutions(theta, value, status, steps)


def _damped_steps(
    gradient: Floats, hessian: Floats, diagonal: Floats, damping: Floats, eye: Floats
) -> tuple[Floats, Floats]:
    """Steps that solve (H + damping * D) s = -g, in coordinates where D is one, and the decrease they promise.

    Where H is not positive definite there, it is shifted until it is: every step goes downhill. A place whose
    derivatives are not finite gets no step and a promise of -1.
    """
    scale = np.sqrt(np.maximum(diagonal, 1e-300))
    g = gradient / scale
    h = hessian / (scale[:, :, None] * scale[:, None, :])
    usable = np.isfinite(h).all(axis=(1, 2)) & np.isfinite(g).all(axis=1)
    h[~usable], g = eye, np.where(usable[:, None], g, 0.0)
    matrix = h + damping[:, None, None] * eye
    s = _solve(matrix, -g)
    uphill = (np.sum(g * s, axis=1) >= 0) & (np.abs(g).max(axis=1, initial=0.0) > 0)
    if uphill.any():
        values = np.linalg.eigvalsh(matrix[uphill])
        shift = 1e-2 * np.abs(values[:, -1]) - values[:, 0]
        s[uphill] = _solve(matrix[uphill] + shift[:, None, None] * eye, -g[uphill])
    # Far outside the place where the derivatives were taken they say nothing: three units of log parameter at most.
    step = s / scale
    length = np.max(np.abs(step), axis=1, initial=0.0)
    s *= np.minimum(1.0, 3.0 / np.maximum(length, 1e-300))[:, None]
    promised = -np.sum(g * s, axis=1) - 0.5 * np.sum(s * (h @ s[:, :, None])[:, :, 0], axis=1)
    return s / scale, np.where(usable, promised, -1.0)


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solutions (b, p) of symmetric matrix (b, p, p) times s = right (b, p); the shortest one where it is singular."""
    try:
        out = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # raised for the whole batch by a single exactly singular matrix
        out = (np.linalg.pinv(matrix, hermitian=True) @ right[:, :, None])[:, :, 0]
    return np.asarray(out, dtype=float)


def graduated(
    model: Model,
    theta: Floats,
    target: Floats,
    weights: Floats,
    objective: Objective,
    widths: Sequence[float],
    pull: Pull | None = None,
) -> Solutions:
    """Minima of the objective, reached through wider and smoother ones first.

    A Huber term of width 1e-3 under residuals of 1e-2 is nearly |r|: its surface has a kink for every row, and Newton
    steps from afar zigzag between them. Each wider objective leads close to the next one's minimum.
    """
    for width in widths:
        # A wider Huber term is larger by about the ratio of the widths: the pull keeps its share of the whole.
        held = None if pull is None else pull.times(width / objective.width)
        theta = newton(
            model, theta, target, weights, objective, pull=held, width=width, tolerance=1e-6, max_steps=40
        ).theta
    return newton(model, theta, target, weights, objective, pull=pull)


def widths(objective: Objective, spread: float = 0.1) -> tuple[float, ...]:
    """The wider Huber widths that lead to the objective's own, from where residuals are about `spread`.

    Thirds, down to twice the objective's width; at l1's width each kink is a valley of its own, and only small steps
    down the ladder stay in the right one.
    """
    if objective.name == "l2":
        return ()
    rungs = np.geomspace(spread / 3, 1e-6, 24) if objective.name == "l1" else spread / 3.0 ** np.arange(1, 12)
    return tuple(float(w) for w in rungs if w > 2 * objective.width)


def chunk_size(points: int) -> int:
    """Starts solved together: about 30,000 numbers an array, which stay in a core's cache."""
    return int(np.clip(30_000 // max(points, 1), 1, 256))


def in_chunks(
    solve: Callable[[slice], Solutions], count: int, size: int = 128, workers: int | None = None
) -> Solutions:
    """The solutions of `count` starts, solved `size` at a time on `workers` threads, in order.

    Chunks keep the arrays of a batch inside a core's cache, and numpy lets other threads run meanwhile. The numbers
    do not depend on the number of workers.
    """
    slices = [slice(at, min(at + size, count)) for at in range(0, count, size)]
    workers = min(workers or cpu_count() or 1, len(slices))
    with one_blas_thread():
        if workers <= 1:
            return Solutions.join([solve(part) for part in slices])
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(solve, part) for part in slices]
            try:
                return Solutions.join([job.result() for job in jobs])
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def nonnegative_least_squares(basis: Floats, target: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Coefficients (G, k) >= 0 and squared error (G,) of target (n,) on each of G bases (G, k, n), rows weighted.

    All subsets of the k columns are solved and the best feasible one is kept: exact, and for k up to 4 cheaper in a
    batch than an active-set loop.
    """
    G, k, _ = basis.shape
    size = np.sqrt(np.mean(basis * basis, axis=2))
    size[size == 0] = 1.0
    scaled = basis / size[:, :, None]
    gram = (scaled * weights) @ scaled.transpose(0, 2, 1)
    moment = scaled @ (weights * target)
    base = float(np.sum(weights * target * target))
    best, coefficients = np.full(G, base), np.zeros((G, k))
    for count in range(1, k + 1):
        for subset in combinations(range(k), count):
            at = np.array(subset)
            part = gram[:, at[:, None], at] + 1e-14 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(count)
            solved = _solve(part, moment[:, at])
            error = base - np.sum(solved * moment[:, at], axis=1)
            take = (solved >= 0).all(axis=1) & (error < best)
            best[take] = error[take]
            coefficients[take] = 0.0
            coefficients[take[:, None] & np.isin(np.arange(k), at)[None, :]] = solved[take].ravel()
    return coefficients / size, best
