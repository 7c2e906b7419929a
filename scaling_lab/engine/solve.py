"""Batched robust least squares: damped Newton with exact derivatives, and variable projection. Knows no law."""

from __future__ import annotations

import ctypes
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .dual import Dual

Floats = NDArray[np.float64]
Model = Callable[[Floats], Dual]
# Objective (b,), gradient (b, p), Hessian (b, p, p), and the Gauss-Newton diagonal (b, p) that damping uses.
Derivatives = tuple[Floats, Floats, Floats, Floats]

# What became of a start. A typed status and never an exception: one bad start must not stop four thousand good ones.
CONVERGED, MAX_ITERATIONS, NOT_FINITE, STALLED, AT_BOUND = 0, 1, 2, 3, 4
STATUS_NAMES = ("converged", "max iterations", "not finite", "stalled", "at bound")
# A parameter whose change by its own size (by one, of a logarithm) moves the residuals less than this share of what the
# strongest one does has run to zero or to infinity, and the start has settled there.
NOTHING = 1e-6
RUNAWAY = 1e15
L1_WIDTH = 1e-7
LEAST_DAMPING = 1e-14
# The width of the Huber objective, in log loss, of laws that have none of their own.
DELTA = 1e-3
# The longest step, in units of a logarithm or of a real coordinate's own size: beyond it the derivatives say nothing.
FAR_STEP = 3.0


@dataclass(frozen=True)
class Objective:
    """The sum over rows of weight * rho(residual); residuals are of log values or plain ones.

    huber: r²/2 up to delta, then delta * (|r| - delta/2). l2: r²/2. l1: |r|, minimised as a Huber of width L1_WIDTH
    divided by that width (the two differ by at most half of it a row).
    """

    name: Literal["huber", "l2", "l1"] = "huber"
    delta: float = DELTA
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

    def take(self, which: NDArray[np.intp]) -> Solutions:
        """Some of the starts, or some more than once."""
        return Solutions(self.theta[which], self.value[which], self.status[which], self.steps[which])

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


# mallopt's numbers of its settings in glibc's malloc.h, and their values in bytes: the first is the largest it takes.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGEST_KEPT, KEPT_FREE = 32 << 20, 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Lets this process keep the memory of freed arrays for the next ones, and says whether it could: on glibc only.

    Arrays of a batch are of some 100 kB to some MB, and there are dozens in each step. glibc hands such memory back and
    takes it anew each time, and the zeroing of its pages costs two to three times as much as the arithmetic.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, KEPT_FREE)
    )


class Kernel(ABC):
    """A model as the solver sees it: its own coordinates, and the derivatives of the objective in them.

    `logs` (p,) are the coordinates that are logarithms.
    `block` is how many numbers an array of a batch should hold.
    """

    logs: NDArray[np.bool_]
    block = 60_000

    def inward(self, theta: Floats) -> Floats:
        """The kernel's own coordinates (b, p) of theta."""
        return np.array(theta, dtype=float)

    def far(self, place: Floats, begun: Floats) -> Floats:
        """The longest step in each coordinate (b, p): beyond it the derivatives say nothing."""
        return FAR_STEP * _sizes(place, begun, self.logs)

    def outward(self, own: Floats) -> Floats:
        """Theta (b, p) of the kernel's own coordinates."""
        return own

    @abstractmethod
    def derivatives(
        self, theta: Floats, target: Floats, weights: Floats, objective: Objective, width: float, pull: Pull | None
    ) -> Derivatives:
        """Derivatives of the objective at b places; weights and target are (n,) or (b, n)."""


class ByDual(Kernel):
    """A kernel of any model (b, p) -> Dual (b, n); `real` says which coordinates are no logarithms, none by default.

    `part` is the model of some of the rows, where a table may be long. With `convex` the Hessian is the Gauss-Newton
    one, of rows that weigh less the further they lie outside a Huber width: never indefinite, and from afar the better
    guide. Near a minimum it is the slower one.
    """

    def __init__(
        self,
        model: Model,
        real: NDArray[np.bool_] | None = None,
        convex: bool = False,
        part: Callable[[Floats, slice], Dual] | None = None,
    ) -> None:
        self.model = model
        self.real = real
        self.convex = convex
        self.part = part

    def derivatives(
        self, theta: Floats, target: Floats, weights: Floats, objective: Objective, width: float, pull: Pull | None
    ) -> Derivatives:
        """See Kernel."""
        p = theta.shape[1]
        real = np.zeros(p, dtype=bool) if self.real is None else self.real
        self.logs = ~real
        n, part = target.shape[-1], self.part
        if part is None or n <= 2 * self.block:
            return _derivatives(self.model, theta, target, weights, objective, width, pull, self.convex)
        sums = sum_blocks(
            lambda keep: _derivatives(
                lambda t: part(t, keep),
                theta,
                target[..., keep],
                weights[..., keep],
                objective,
                width,
                None,
                self.convex,
            ),
            n,
            self.block,
        )
        return sums if pull is None else _pulled(sums, theta, pull)


def _derivatives(
    model: Model,
    theta: Floats,
    target: Floats,
    weights: Floats,
    objective: Objective,
    width: float,
    pull: Pull | None,
    convex: bool = False,
) -> Derivatives:
    """Derivatives of the objective at theta (b, p), from a model's own."""
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
        if convex:
            curve = weights * np.where(r == 0, 1.0, first / r) * inverse * inverse
        else:
            curve = weights * (second + bend * first) * inverse * inverse
        weight = weights * inverse * inverse
        gradient, hessian, diagonal = f.sums(
            np.broadcast_to(slope, shape), np.broadcast_to(curve, shape), np.broadcast_to(weight, shape), p, convex
        )
        if objective.name == "l1":
            diagonal = diagonal / width
        found = np.where(np.isfinite(total), total, np.inf), gradient, hessian, diagonal
        return found if pull is None else _pulled(found, theta, pull)


def _pulled(found: Derivatives, theta: Floats, pull: Pull) -> Derivatives:
    """Derivatives of the objective with those of a pull on theta (b, p)."""
    total, gradient, hessian, diagonal = found
    force = pull.precision * (theta - pull.center)
    return total + pull.value(theta), gradient + force, hessian + np.diag(pull.precision), diagonal + pull.precision


def sum_blocks(derive: Callable[[slice], Derivatives], points: int, block: int) -> Derivatives:
    """Derivatives that are sums over rows, a block of rows at a time, so that a long table's arrays stay small."""
    total, gradient, hessian, diagonal = derive(slice(0, block))
    for at in range(block, points, block):
        more = derive(slice(at, at + block))
        total, gradient, hessian, diagonal = (
            total + more[0],
            gradient + more[1],
            hessian + more[2],
            diagonal + more[3],
        )
    return total, gradient, hessian, diagonal


def newton(
    model: Model | Kernel,
    theta: Floats,
    target: Floats,
    weights: Floats,
    objective: Objective,
    *,
    pull: Pull | None = None,
    width: float | None = None,
    tolerance: float = 1e-13,
    max_steps: int = 100,
    damping: float = 1e-3,
) -> Solutions:
    """Local minima reached from theta (B, p), each start on its own damping.

    `model` is a kernel, or maps (b, p) to a Dual (b, n) whose variables are the columns of theta; `weights` and
    `target`, on the objective's scale, are (n,) or (B, n). A start has converged when the decrease that its Newton
    step promises is below `tolerance` of its objective.
    """
    kernel = model if isinstance(model, Kernel) else ByDual(model)
    width = objective.width if width is None else width
    B = len(theta)
    with np.errstate(all="ignore"):
        place = kernel.inward(theta)
    begun = place.copy()
    floor = rounding(target.shape[-1])
    # Predictions are rounded too, which moves an objective of value v by about eps * |f| * the sum of w * |rho'|, where
    # the sum is at most sqrt(2 v * the sum of w): a step that promises less can't be judged by what it gains.
    noise = np.finfo(float).eps * max(1.0, float(np.max(np.abs(target), initial=0.0)))
    mass = np.max(np.sum(weights, axis=-1), initial=0.0) / (width if objective.name == "l1" else 1.0)
    noise *= float(np.sqrt(2.0 * mass))
    value, gradient, hessian, diagonal = kernel.derivatives(place, target, weights, objective, width, pull)
    status = np.where(np.isfinite(value), MAX_ITERATIONS, NOT_FINITE).astype(np.int8)
    steps = np.zeros(B, dtype=np.int64)
    held, growth = np.full(B, damping), np.full(B, 5.0)
    live = np.flatnonzero(status == MAX_ITERATIONS)
    for _ in range(max_steps):
        if live.size == 0:
            break
        every = live.size == B
        was, damped = value[live], held[live]
        cap = kernel.far(place[live], begun[live])
        step, promised, firmness = _damped_steps(gradient[live], hessian[live], diagonal[live], damped, cap)
        slack = np.maximum(tolerance * was, noise * np.sqrt(was)) + floor
        small = (promised >= 0) & (promised <= slack) & (damped < 1e-2)
        # A damped step promises little along a weak direction, however far the way: the damping goes first.
        done = small & (damped <= np.maximum(1e-2 * firmness, LEAST_DAMPING))
        tried = place[live] + step
        new = kernel.derivatives(
            tried,
            target if target.ndim == 1 or every else target[live],
            weights if weights.ndim == 1 or every else weights[live],
            objective,
            width,
            pull,
        )
        gain = was - new[0]
        better = (promised > 0) & (gain > 0) & (gain >= 1e-4 * promised)
        # The last step promises less than rounding shows, yet doubles the digits of the parameters.
        pick = better | (small & (gain >= -10.0 * slack))
        took = live[pick]
        place[took] = tried[pick]
        value[took], gradient[took], hessian[took], diagonal[took] = (part[pick] for part in new)
        steps[live] += 1
        good = gain > 0.7 * promised
        raised = np.maximum(damped, 1e-12) * growth[live]
        growth[live] = np.where(better, 5.0, 2.0 * growth[live])
        damped = np.where(better, damped * np.where(good, 0.25, 0.7), raised)
        damped = np.where(small, held[live] * 1e-2, damped)
        held[live] = np.maximum(damped, LEAST_DAMPING)
        over = live[done]
        status[over] = np.where(_at_bound(diagonal[over], place[over], begun[over], kernel.logs), AT_BOUND, CONVERGED)
        status[live[~small & (damped > 1e12)]] = STALLED
        live = live[status[live] == MAX_ITERATIONS]
    return Solutions(kernel.outward(place), value, status, steps)


def settled(status: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which starts ended at a minimum, inside or at a bound."""
    return np.asarray((status == CONVERGED) | (status == AT_BOUND))


def _sizes(place: Floats, begun: Floats, logs: NDArray[np.bool_]) -> Floats:
    """What a large change of each coordinate (b, p) is: one of a logarithm, a real one's own size or its first one.

    A real coordinate that is and was zero has no size yet: 1.
    """
    if logs.all():
        return np.ones_like(place)
    own = np.maximum(np.abs(place), np.abs(begun))
    return np.where(logs | (own == 0), 1.0, own)


def _at_bound(diagonal: Floats, place: Floats, begun: Floats, logs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which places (b, p) have a parameter that has run to zero or infinity: changed by its own size it moves nothing.

    A parameter that is truly zero has run nowhere: its size is what it began at.
    """
    told = diagonal * _sizes(place, begun, logs) ** 2
    return np.asarray((told <= NOTHING**2 * np.max(told, axis=1, keepdims=True, initial=0.0)).any(axis=1))


def _damped_steps(
    gradient: Floats, hessian: Floats, diagonal: Floats, damping: Floats, cap: Floats
) -> tuple[Floats, Floats, Floats]:
    """Steps that solve (H + damping * D) s = -g, in coordinates where D is one, the decrease they promise, and the
    least pivot of H: about its least eigenvalue, zero where it is not positive definite.

    Where H is not positive definite there, it is shifted until it is: every step goes downhill. A place whose
    derivatives are not finite gets no step and a promise of -1.
    """
    scale = np.sqrt(np.maximum(diagonal, 1e-300))
    with np.errstate(all="ignore"):  # infinite over infinite, where the derivatives are no use anyway
        g = gradient / scale
        h = hessian / scale[:, :, None]
        h /= scale[:, None, :]
    # What moves no row has no step of its own, and second derivatives that are what rounding left of a sum of zero.
    idle = diagonal <= 1e-300
    if idle.any():
        g = np.where(idle, 0.0, g)
        h[idle[:, :, None] | idle[:, None, :]] = 0.0
    every = np.arange(g.shape[1])
    # Sums over the matrix stay finite, as do products with it.
    usable = np.asarray((np.abs(h) < 1e150).all(axis=(1, 2)) & np.isfinite(g).all(axis=1))
    if not usable.all():
        h[~usable], g = np.eye(len(every)), np.where(usable[:, None], g, 0.0)
    matrix = h.copy()
    matrix[:, every, every] += damping[:, None]
    s, pivot = solve_positive(matrix, -g)
    if not (pivot > 0).all():
        bent = np.flatnonzero(~(pivot > 0))
        values = np.linalg.eigvalsh(matrix[bent])
        shift = 1e-2 * np.abs(values[:, -1]) - np.minimum(values[:, 0], 0.0)
        matrix[bent[:, None], every, every] += shift[:, None]
        s[bent] = _solve(matrix[bent], -g[bent])
    with np.errstate(over="ignore"):  # an infinite step, which the cap makes none
        step = s / scale
    s *= (1.0 / np.maximum(np.max(np.abs(step) / cap, axis=1, initial=0.0), 1.0))[:, None]
    with np.errstate(all="ignore"):
        promised = -np.sum(g * s, axis=1) - 0.5 * np.sum(s * (h @ s[:, :, None])[:, :, 0], axis=1)
    # Numbers from 1 to 1e140, of a term driven to nothing, leave no step that could be worked out.
    usable &= np.isfinite(promised)
    s = np.where(usable[:, None], s, 0.0)
    return s / scale, np.where(usable, promised, -1.0), np.where(pivot > 0, pivot, 0.0)


def solve_positive(matrix: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Solutions (b, p) of symmetric matrix (b, p, p) times s = right (b, p), and the least pivot of each matrix.

    A matrix whose least pivot is not above zero is not positive definite, and its solution is zero. Several times
    faster than numpy's for many small matrices.
    """
    # Copies: a contiguous view of a single matrix would be worked on in place.
    left, s = np.array(matrix.transpose(1, 2, 0), order="C"), np.array(right.T, order="C")
    p = len(left)
    least = np.full(left.shape[2], np.inf)
    with np.errstate(all="ignore"):
        for j in range(p):
            pivot = left[j, j]
            least = np.minimum(least, pivot)
            if j + 1 < p:
                share = left[j + 1 :, j] / pivot
                left[j + 1 :, j + 1 :] -= share[:, None] * left[None, j, j + 1 :]
                s[j + 1 :] -= share * s[j]
        for j in range(p - 1, -1, -1):
            if j + 1 < p:
                s[j] -= np.sum(left[j, j + 1 :] * s[j + 1 :], axis=0)
            s[j] /= left[j, j]
    out: Floats = s.T
    return np.where((least > 0)[:, None], out, 0.0), least


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solutions (b, p) of symmetric matrix (b, p, p) times s = right (b, p); the shortest one where it is singular."""
    try:
        out = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # raised for the whole batch by a single exactly singular matrix
        out = (np.linalg.pinv(matrix, hermitian=True) @ right[:, :, None])[:, :, 0]
    return np.asarray(out, dtype=float)


def graduated(
    model: Model | Kernel,
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


def gone_on(
    kernel: Model | Kernel,
    ended: Solutions,
    target: Floats,
    weights: Floats,
    objective: Objective,
    pull: Pull | None = None,
    most: int | None = None,
    below: Floats | None = None,
) -> Solutions:
    """The same starts, where those that ran out of steps (the `most` lowest of them) have had three times as many more.

    With `below` (b,) only those that ended no higher than that.
    A term that the data drive to nothing is slow to go: all others settle between each two steps of its own.
    """
    slow = np.flatnonzero((ended.status == MAX_ITERATIONS) & (True if below is None else ended.value <= below))
    slow = slow[np.argsort(ended.value[slow], kind="stable")][:most]
    if not slow.size:
        return ended
    more = newton(
        kernel,
        ended.theta[slow],
        target if target.ndim == 1 else target[slow],
        weights if weights.ndim == 1 else weights[slow],
        objective,
        pull=pull,
        max_steps=300,
    )
    both = Solutions.join([ended, replace(more, steps=ended.steps[slow] + more.steps)])
    which = np.arange(len(ended.value))
    which[slow] = len(ended.value) + np.arange(len(slow))
    return both.take(which)


def from_afar(
    kernel: ByDual, theta: Floats, target: Floats, weights: Floats, objective: Objective, *, max_steps: int = 1000
) -> Solutions:
    """Minima reached from places that may be far away, by Gauss-Newton steps first and exact ones last.

    From afar the exact Hessian leads to the nearest place without slope, which may be a saddle or a ridge where two
    terms have merged; the Gauss-Newton one goes on to where the rows are met.
    """
    convex = ByDual(kernel.model, kernel.real, convex=True)
    near = newton(convex, theta, target, weights, objective, tolerance=1e-8, max_steps=max_steps // 2, damping=0.1)
    ended = newton(kernel, near.theta, target, weights, objective, max_steps=max_steps - max_steps // 2)
    # Two parameters that run off together hold each other where one alone would show: how far they went tells them.
    real = np.zeros(theta.shape[1], dtype=bool) if kernel.real is None else kernel.real
    away = (real & (theta != 0) & (np.abs(ended.theta) > RUNAWAY * np.abs(theta))).any(axis=1)
    status = np.where(away & (ended.status == CONVERGED), AT_BOUND, ended.status).astype(np.int8)
    return replace(ended, status=status, steps=ended.steps + near.steps)


def widths(objective: Objective, spread: float = 0.1) -> tuple[float, ...]:
    """The wider Huber widths that lead to the objective's own, from where residuals are about `spread`.

    Thirds, down to twice the objective's width; at l1's width each kink is a valley of its own, and only small steps
    down the ladder stay in the right one.
    """
    if objective.name == "l2":
        return ()
    if objective.name == "l1" and spread / 3 <= 1e-6:  # a law that meets most rows to the last digits
        return (1e-6,)
    rungs = np.geomspace(spread / 3, 1e-6, 24) if objective.name == "l1" else spread / 3.0 ** np.arange(1, 12)
    return tuple(float(w) for w in rungs if w > 2 * objective.width)


def chunk_size(points: int, block: int = Kernel.block) -> int:
    """Starts solved together: about `block` numbers an array, which stay in a core's cache."""
    return int(np.clip(block // max(points, 1), 1, block // 100))


def thinned(points: int, most: int = 5_000) -> NDArray[np.intp]:
    """Which of so many rows stand for all of them, in order: every one, or `most`, one at random of each stretch.

    One of every k rows would see a single size or recipe of a table whose rows alternate between k of them.
    """
    every = np.arange(points, dtype=np.intp)
    if points <= most:
        return every
    if points < 2 * most:
        return np.delete(every, thinned(points, points - most))
    edges = np.arange(most + 1, dtype=np.intp) * points // most
    return np.random.default_rng(0).integers(edges[:-1], edges[1:])


def in_chunks(
    solve: Callable[[slice], Solutions], count: int, size: int = 128, workers: int | None = None
) -> Solutions:
    """The solutions of `count` starts, solved `size` at a time on `workers` threads, in order.

    Chunks keep the arrays of a batch inside a core's cache, and numpy lets other threads run meanwhile. The numbers
    do not depend on the number of workers.
    """
    keep_freed_memory()
    slices = [slice(at, min(at + size, count)) for at in range(0, count, size)]
    workers = min(workers or 1, len(slices))
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

    All subsets of the k columns are solved, where all k together are not feasible, and the best feasible one is kept:
    exact, and for k up to 4 cheaper in a batch than an active-set loop.
    """
    G, k, _ = basis.shape
    size = np.sqrt(np.mean(basis * basis, axis=2))
    size[size == 0] = 1.0
    scaled = basis / size[:, :, None]
    gram = (scaled * weights) @ scaled.transpose(0, 2, 1)
    moment = scaled @ (weights * target)
    base = float(np.sum(weights * target * target))
    best, coefficients = np.full(G, base), np.zeros((G, k))
    gram += 1e-14 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(k)
    # Where the solution of all columns has no negative part it is the best there is.
    left = np.arange(G)
    for count in range(k, 0, -1):
        for subset in combinations(range(k), count):
            at = np.array(subset)
            solved, pivot = solve_positive(gram[left[:, None, None], at[:, None], at], moment[left[:, None], at])
            error = base - np.sum(solved * moment[left[:, None], at], axis=1)
            take = (pivot > 0) & (solved >= 0).all(axis=1) & (error < best[left])
            best[left[take]] = error[take]
            coefficients[left[take]] = 0.0
            coefficients[left[take][:, None], at] = solved[take]
        if count == k:
            left = left[(coefficients[left] == 0).any(axis=1)]
    return coefficients / size, best
