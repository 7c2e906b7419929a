"""The covariance of the parameters of a robust fit from the derivatives at its optimum: the M-estimator's sandwich."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LabError
from .coordinates import Coordinates
from .solve import Objective

Floats = NDArray[np.float64]

# A parameter whose change by a factor e moves no row by more than this share of the target was driven to nothing.
NOTHING = 1e-6
# Scaled curvature in one direction below this share of the strongest: rounding, not information.
FLAT = 1e-13
# The residuals' scale is let vary over the inputs with a prior as strong as this many rows that say it does not.
PRIOR_ROWS = 5.0


class NoCovariance(LabError):
    """The derivatives at the optimum give no covariance; the message says why."""


@dataclass(frozen=True)
class Sandwich:
    """The parameters' covariance at an optimum theta (p,), for the q of them that move anything (`alive` (p,)).

    `hessian` (q, q) is the objective's expected curvature, `covariance` (q, q) the estimate's, both in search
    coordinates; a t with `df` degrees of freedom goes with it. `groups` is how many independent rows or runs there are,
    `curvature` whether the hessian holds the law's second derivatives (observed) or had to leave them out (expected).
    """

    theta: Floats
    alive: NDArray[np.bool_]
    hessian: Floats
    covariance: Floats
    df: int
    groups: int
    curvature: str

    @property
    def se(self) -> Floats:
        """Standard errors (p,) in search coordinates; NaN where a parameter moves nothing."""
        out = np.full(len(self.theta), np.nan)
        out[self.alive] = np.sqrt(np.diag(self.covariance))
        return out

    @property
    def dispersion(self) -> Floats:
        """Variance over inverse curvature (p,): twice a rise of the profiled objective over it is F(1, df).

        The rise of a log likelihood needs no such scale; that of a Huber or a squared error does (Kent 1982). Where a
        parameter moves nothing it is the mean over the others.
        """
        each = np.diag(self.covariance) / np.diag(inverse(self.hessian))
        out = np.full(len(self.theta), float(np.mean(each)))
        out[self.alive] = each
        return out

    def steps(self, count: int, rng: np.random.Generator) -> Floats:
        """Steps (count, p) from the optimum, multivariate t; a parameter that moves nothing stays."""
        half = root(self.covariance)
        z = rng.standard_normal((count, len(half))) @ half
        z *= np.sqrt(self.df / rng.chisquare(self.df, count))[:, None]
        out = np.zeros((count, len(self.theta)))
        out[:, self.alive] = z
        return out


def sandwich(
    coordinates: Coordinates,
    x: Mapping[str, Floats],
    y: Floats,
    weights: Floats,
    groups: NDArray[Any],
    objective: Objective,
    theta: Floats,
    *,
    scaled_by: Mapping[str, Floats] | None = None,
    known: tuple[Floats, Floats] | None = None,
) -> Sandwich:
    """The covariance at the optimum theta (p,) of rows (n,); rows of one group share their error.

    The noise's scale is let vary over `scaled_by` (n,), the inputs unless other columns are given. `known` is what
    parameters were drawn by: the precision (p,) in the objective's units, zero for the others, and their sd (p,).

    H^-1 B H^-1 (Huber 1967, White 1980) with three repairs, each measured in bench/intervals.py. H takes the mean slope
    of psi that noise of each row's own scale has, since almost no residual lies where a narrow Huber's psi rises. B
    takes the residuals that leaving the row out would leave (HC3: MacKinnon and White 1985), and where psi is at its
    limit n / (n - p). Grouped rows are summed before they are squared, times G / (G - p). Raises NoCovariance.
    """
    use = weights > 0
    x, y = {name: values[use] for name, values in x.items()}, y[use]
    weights, (_, group) = weights[use], np.unique(groups[use].astype(str), return_inverse=True)
    n, kinds = len(y), int(group.max()) + 1
    with np.errstate(all="ignore"):
        f = coordinates.model(x, theta[None, :])
        value = np.broadcast_to(f.value, (1, n))[0]
        r = objective.residual(value, objective.scale(y))
        per = value if objective.on == "log" else np.ones(n)
        jac = np.stack([np.broadcast_to(f.grad.get(i, 0.0), (1, n))[0] / per for i in range(len(theta))], axis=1)
    if not (np.isfinite(r).all() and np.isfinite(jac).all()):
        raise NoCovariance("the law's derivatives at the optimum are not finite")
    size = 1.0 if objective.on == "log" else float(np.mean(np.abs(y)))
    alive = np.max(np.abs(jac), axis=0) > NOTHING * size
    q = int(alive.sum())
    if not q:
        raise NoCovariance("no parameter moves the law at the optimum")
    if kinds <= q or (kinds < n and kinds < q + 2):
        raise NoCovariance(f"{kinds} {'runs' if kinds < n else 'rows'} are too few for {q} free parameters")
    psi = objective.slopes(r, objective.width)[0]
    varied = x if scaled_by is None else {name: values[use] for name, values in scaled_by.items()}
    slope = _mean_slopes(varied, r, q, objective)
    full = jac.T @ (jac * (weights * slope)[:, None])
    if known is not None:
        full += np.diag(known[0])
    expected = full[np.ix_(alive, alive)]
    # The mean of psi times the law's second derivatives, zero only where the law is right.
    bend = -(jac.T @ (jac * (weights * psi)[:, None])) if objective.on == "log" else np.zeros_like(full)
    for (i, j), second in f.hess.items():
        extra = float(np.sum(weights * psi * np.broadcast_to(second, (1, n))[0] / per))
        bend[i, j] += extra
        if i != j:
            bend[j, i] += extra
    observed = expected + bend[np.ix_(alive, alive)]
    kept = "observed" if _definite(observed) else "expected"
    hessian = observed if kept == "observed" else expected
    if not _definite(hessian):
        raise NoCovariance("the runs do not tell the parameters apart at the optimum")
    pulls = _pulls(jac[:, alive], weights, r, objective)
    sums = np.stack([np.bincount(group, column, kinds) for column in pulls.T], axis=1)
    bounded = 0.0 if objective.name == "l2" else float(np.mean(np.abs(r) > objective.width))
    taken = kinds / (kinds - q)
    if known is not None:
        # Had what they were drawn to been other by its sd, the optimum would have moved with it.
        sums = np.concatenate([sums, np.diag(known[0] * known[1])[:, alive][known[0] > 0]])
    if not _definite(np.asarray(sums.T @ sums)):
        raise NoCovariance("the residuals show no doubt of some parameter at the optimum, which stands on a ridge")
    # As the square of one matrix: of a product of three, rounding can make a variance that is below zero.
    half = sums @ inverse(hessian) * np.sqrt(taken if kinds < n else 1.0 + bounded * (taken - 1.0))
    return Sandwich(theta, alive, hessian, half.T @ half, kinds - q, kinds, kept)


def _pulls(jac: Floats, weights: Floats, r: Floats, objective: Objective) -> Floats:
    """Each row's pull (n, q) on the parameters, from the residual that a fit without the row would leave it."""
    q, _ = np.linalg.qr(jac * np.sqrt(weights)[:, None])
    # A row that alone tells a parameter has no residual to enlarge: its leverage of 1 only divides rounding.
    left = np.maximum(1.0 - np.sum(q * q, axis=1), 1.0 / len(r))
    psi = objective.slopes(r / left, objective.width)[0]
    return np.asarray(jac * (weights * psi)[:, None])


def _mean_slopes(x: Mapping[str, Floats], r: Floats, free: int, objective: Objective) -> Floats:
    """The mean slope (n,) of psi at each row, under noise shaped as all residuals are, of that row's own scale.

    The scale is a second-order polynomial in the inputs' logarithms, fitted to log|r| and shrunk (PRIOR_ROWS). The
    `free` smallest residuals are left out: a narrow objective passes through as many rows as it has parameters,
    whatever the noise, and would take that for a peak of the density (as quantile regression's sparsity does).
    """
    n = len(r)
    if objective.name == "l2":
        return np.ones(n)
    size = np.maximum(np.abs(r), np.finfo(float).eps)
    kept = np.argsort(size, kind="stable")[free:]
    scale = _scales(x, np.log(size), kept)
    u = (r / scale)[kept]
    spread = 1.4826 * float(np.median(np.abs(u)))
    window = 1.06 * spread * n**-0.2  # Silverman's rule for a density's width
    if len(u) > 400:
        u = np.quantile(u, (np.arange(400) + 0.5) / 400)
    grid = np.geomspace(scale.min(), scale.max() * (1 + 1e-12), 128)
    half = np.maximum(window * grid, objective.width)[:, None]
    at = grid[:, None] * u
    rise = objective.slopes(at + half, objective.width)[0] - objective.slopes(at - half, objective.width)[0]
    slopes = np.mean(rise / (2 * half), axis=1)
    return np.asarray(np.interp(np.log(scale), np.log(grid), slopes))


def _scales(x: Mapping[str, Floats], log_size: Floats, kept: NDArray[np.int64]) -> Floats:
    """The scale (n,) of each row's noise up to a factor they share."""
    logs = [np.log(values) for values in x.values()]
    logs = [(values - values.mean()) / values.std() for values in logs if np.std(values) > 1e-9]
    columns = [*logs, *(logs[i] * logs[j] for i in range(len(logs)) for j in range(i, len(logs)))]
    columns = [(c - c[kept].mean()) / c[kept].std() for c in columns if np.std(c[kept]) > 1e-9]
    level = float(np.mean(log_size[kept]))
    if not columns:
        return np.full(len(log_size), np.exp(level))
    z = np.stack(columns, axis=1)
    gram = z[kept].T @ z[kept] + PRIOR_ROWS * np.eye(z.shape[1])
    return np.asarray(np.exp(level + z @ np.linalg.solve(gram, z[kept].T @ (log_size[kept] - level))))


def _definite(matrix: Floats) -> bool:
    diagonal = np.diag(matrix)
    if not (np.isfinite(matrix).all() and (diagonal > 0).all()):
        return False
    values = np.linalg.eigvalsh(matrix / np.sqrt(np.outer(diagonal, diagonal)))
    return bool(values[0] > FLAT * values[-1])


def inverse(matrix: Floats) -> Floats:
    """The inverse of a positive definite matrix, scaled first: its parameters differ by orders of magnitude."""
    scale = np.sqrt(np.diag(matrix))
    return np.asarray(np.linalg.inv(matrix / np.outer(scale, scale)) / np.outer(scale, scale))


def root(matrix: Floats) -> Floats:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
