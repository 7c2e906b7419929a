"""What the derivatives at an optimum tell: covariance, the weak direction, the pull of single runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tables import Rows
from .coordinates import Coordinates
from .solve import Objective, newton, one_blas_thread

Floats = NDArray[np.float64]

# A parameter whose change by a factor e moves no row by more than this share of the loss was driven to nothing.
NOTHING = 1e-6
MOST_ROWS = 20_000
Z90 = 1.6448536269514722


def slopes(coordinates: Coordinates, x: Mapping[str, Floats], theta: Floats, on: str) -> Floats:
    """Derivatives (n, p) of the prediction, or of its logarithm, towards theta (p,)."""
    with np.errstate(all="ignore"):
        f = coordinates.model(x, theta[None, :])
        n = len(next(iter(x.values())))
        scale = np.broadcast_to(f.value, (1, n))[0] if on == "log" else np.ones(n)
        return np.stack([np.broadcast_to(f.grad.get(i, 0.0), (1, n))[0] / scale for i in range(len(theta))], axis=1)


def spread(residuals: Floats, free: int, objective: Objective) -> float:
    """The standard deviation of a new run's error; of its middle nine tenths for the robust objectives."""
    n = len(residuals)
    inflation = math.sqrt(n / max(n - free, 1))
    if objective.name == "l2":
        return inflation * float(np.sqrt(np.mean(residuals**2)))
    size = np.abs(residuals)
    return inflation * max(float(np.median(size)) * 1.4826, float(np.quantile(size, 0.9)) / Z90)


def cost_of_robustness(sd: float, objective: Objective) -> tuple[float, float]:
    """E psi' and E psi² / (E psi')² / sd² for normal errors: how a robust objective's slope and variance compare."""
    if objective.name == "l2" or sd <= 0:
        return 1.0, 1.0
    c = objective.width / sd
    inside = math.erf(c / math.sqrt(2))
    density = math.exp(-c * c / 2) / math.sqrt(2 * math.pi)
    # E min(z², c²); below 1e-3 the difference of the first terms is rounding, and a width of zero gives pi / 2.
    square = inside - 2 * c * density + c * c * (1 - inside)
    return inside, square / inside**2 if c > 1e-3 else math.pi / 2


@dataclass(frozen=True)
class Local:
    """The quadratic picture at an optimum: derivatives (n, q) of the q parameters that move anything (`alive` (p,)).

    `covariance` (q, q) is theirs, in logarithms of positive parameters, for independent runs and the scatter `sd`;
    None where the rows can't tell them.
    """

    alive: NDArray[np.bool_]
    jac: Floats
    residuals: Floats
    sd: float
    covariance: Floats | None

    def doubt(self, jac: Floats) -> float:
        """The standard error of what moves with the parameters as jac (p,); infinite where the rows can't tell."""
        if self.covariance is None:
            return math.inf
        g = jac[self.alive]
        return math.sqrt(max(float(g @ self.covariance @ g), 0.0))


def local(coordinates: Coordinates, rows: Rows, theta: Floats, objective: Objective) -> Local | None:
    """The picture at theta (p,), or None where a derivative or a residual there is not finite."""
    if not coordinates.free:
        return None
    jac = slopes(coordinates, rows.x, theta, objective.on)
    with np.errstate(all="ignore"):
        predicted = np.asarray(coordinates.law.predict(dict(rows.x), **coordinates.to_params(theta[None, :])))
        residuals = objective.residual(np.broadcast_to(predicted, (1, rows.used))[0], objective.scale(rows.y))
    if not (np.isfinite(jac).all() and np.isfinite(residuals).all()):
        return None
    size = 1.0 if objective.on == "log" else float(np.mean(np.abs(rows.y))) or 1.0
    alive = np.max(np.abs(jac), axis=0, initial=0.0) > NOTHING * size
    sd = spread(residuals, int(alive.sum()), objective)
    covariance = _covariance(jac[:, alive], rows, residuals, sd, objective)
    return Local(alive, jac[:, alive], residuals, sd, covariance)


def _covariance(jac: Floats, rows: Rows, residuals: Floats, sd: float, objective: Objective) -> Floats | None:
    w = rows.weights
    scale = np.sqrt(np.mean(jac * jac, axis=0))
    if not jac.shape[1] or len(jac) <= jac.shape[1]:
        return None
    j = jac / scale
    inverse = _inverse((j * w[:, None]).T @ j)
    if inverse is None:
        return None
    middle = (j * (w * w)[:, None]).T @ j * shared_error(rows, residuals)
    out: Floats = inverse @ middle @ inverse * (sd * sd * cost_of_robustness(sd, objective)[1]) / np.outer(scale, scale)
    return out


def _inverse(matrix: Floats) -> Floats | None:
    """The inverse of a symmetric positive matrix; None where rounding has taken a direction."""
    values, vectors = np.linalg.eigh(matrix)
    if not values[0] > 1e-13 * values[-1]:
        return None
    return np.asarray((vectors / values) @ vectors.T)


def shared_error(rows: Rows, residuals: Floats) -> float:
    """How much larger the variance of a sum is because rows of one run share its error; 1 for single-row runs."""
    if not rows.grouped or rows.runs == rows.used:
        return 1.0
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    total = float(np.sum(residuals**2))
    return max(1.0, float(np.sum(np.bincount(run, residuals) ** 2)) / total) if total > 0 else 1.0


# ---------------------------------------------------------------------------------------------------- weak direction


def condition(found: Local) -> tuple[float, Floats]:
    """The condition number of the derivatives, columns scaled to one length, and the weak direction (q,).

    The direction is in logarithms of positive parameters, its largest entry 1.
    """
    if not found.jac.shape[1]:
        return 1.0, np.ones(0)
    length = np.linalg.norm(found.jac, axis=0)
    _, singular, directions = np.linalg.svd(found.jac / length, full_matrices=False)
    weak = directions[-1] / length
    number = float(singular[0] / singular[-1]) if singular[-1] > 0 else math.inf
    return number, weak / weak[np.argmax(np.abs(weak))]


# --------------------------------------------------------------------------------------------------------- influence


@dataclass(frozen=True)
class Influence:
    """What leaving one run out does: the run (its place among the sorted groups), what moves most, by how many of the
    standard errors that it has without the run, and the move in words."""

    run: int
    what: str
    times: float
    moved: str


def one_step(rows: Rows, found: Local, objective: Objective) -> tuple[NDArray[np.int64], Floats]:
    """The run (n,) of each row as a number, and the shift (runs, q) of the parameters without each run by one step."""
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    count = int(run.max()) + 1
    slope = cost_of_robustness(found.sd, objective)[0]
    psi = objective.slopes(found.residuals, objective.width)[0]
    if objective.name == "l1":
        psi = psi * objective.width
    pull = found.jac * (rows.weights * psi / slope)[:, None]
    scale = np.sqrt(np.mean(found.jac**2, axis=0))
    j = found.jac / scale
    q = j.shape[1]
    outer = ((j * rows.weights[:, None])[:, :, None] * j[:, None, :]).reshape(len(j), -1)
    own = np.stack([np.bincount(run, column, count) for column in outer.T], axis=1).reshape(count, q, q)
    total = own.sum(axis=0)
    pulls = np.stack([np.bincount(run, column, count) for column in pull.T], axis=1) / scale
    rest = total[None] - own + 1e-12 * np.trace(total) * np.eye(q)
    return run, np.linalg.solve(rest, pulls[:, :, None])[:, :, 0] / scale


def influence(
    coordinates: Coordinates,
    rows: Rows,
    theta: Floats,
    found: Local,
    objective: Objective,
    edge: Mapping[str, Floats],
    most: int,
) -> Influence | None:
    """The run without which the answer moves most, by a refit; None where the rows can't tell the parameters.

    None too beyond MOST_ROWS rows, among which one hardly counts and each refit costs seconds.
    The `most` runs that one Newton step ranks first are left out in turn. `edge` is the point (1,) whose prediction is
    watched beside the parameters.
    """
    if found.covariance is None or rows.used > MOST_ROWS or rows.runs < 3:
        return None
    run, shifts = one_step(rows, found, objective)
    at = slopes(coordinates, edge, theta, objective.on)[0]
    watched = np.vstack([np.eye(int(found.alive.sum())), at[found.alive]])
    se = np.sqrt(np.maximum(np.einsum("wi,ij,wj->w", watched, found.covariance, watched), 1e-300))
    size = np.max(np.abs(shifts @ watched.T) / se, axis=1)
    chosen = np.argsort(-size, kind="stable")[: min(most, rows.runs)]
    weights = rows.weights * (run[None, :] != chosen[:, None])
    target = objective.scale(rows.y)
    with one_blas_thread():
        refits = newton(
            lambda t: coordinates.model(rows.x, t),
            np.repeat(theta[None, :], len(chosen), 0),
            target,
            weights,
            objective,
            max_steps=40,
        )
    best: Influence | None = None
    free = [p for p, alive in zip(coordinates.free, found.alive, strict=True) if alive]
    for g, there, value in zip(chosen, refits.theta, refits.value, strict=True):
        without = local(coordinates, rows.take(run != g), there, objective) if np.isfinite(value) else None
        if without is None or without.covariance is None or (without.alive != found.alive).any():
            continue
        move = watched @ (there - theta)[found.alive]
        own = np.sqrt(np.maximum(np.einsum("wi,ij,wj->w", watched, without.covariance, watched), 1e-300))
        times = np.abs(move) / own
        k = int(np.argmax(times))
        if best is None or times[k] > best.times:
            log = objective.on == "log" if k == len(free) else free[k].signed
            moved = f"by {100 * math.expm1(min(move[k], 300.0)):+.3g} %" if log else f"by {move[k]:+.3g}"
            what = free[k].name if k < len(free) else "the prediction at the largest compute"
            best = Influence(int(g), what, float(times[k]), moved)
    return best


def quantile_ratio(df: int) -> float:
    """How much further out Student's t with df >= 2 degrees of freedom has its 99.5 % quantile than a normal has."""
    z = 2.5758293
    # Abramowitz and Stegun 26.7.5.
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return 1.0 + sum(term / df ** (k + 1) for k, term in enumerate(terms)) / z


# -------------------------------------------------------------------------------------------------------- held out


def mean_error(
    coordinates: Coordinates, inside: Rows, theta: Floats, outside: Rows, objective: Objective
) -> tuple[float, float] | None:
    """The mean error of a fit's predictions of other runs and its standard error, on the residuals' scale.

    The standard error holds the runs' scatter and the parameters' doubt; None where the fit can't tell them.
    """
    found = local(coordinates, inside, theta, objective)
    if found is None or found.covariance is None or found.sd <= 0:
        return None
    with np.errstate(all="ignore"):
        predicted = np.asarray(coordinates.law.predict(dict(outside.x), **coordinates.to_params(theta[None, :])))
        errors = objective.residual(np.broadcast_to(predicted, (1, outside.used))[0], objective.scale(outside.y))
    jac = slopes(coordinates, outside.x, theta, objective.on)
    if not (np.isfinite(errors).all() and np.isfinite(jac).all()):
        return None
    mean = float(np.mean(errors))
    scatter = found.sd * math.sqrt(shared_error(outside, errors - mean) / outside.used)
    return mean, math.hypot(scatter, found.doubt(jac.mean(axis=0)))
