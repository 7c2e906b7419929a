"""What a law misses: a smooth Gaussian process over its inputs, fitted together with the law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..laws import Law
from ..quantities import quantity
from .coordinates import Coordinates
from .solve import thinned

Floats = NDArray[np.float64]

# Beyond this many rows the process sees an even selection along compute: its cost grows with the cube.
MOST_ROWS = 256
# What is assumed of its size and the noise (shares of the loss; of a plain target, of its unit) and of its lengths
# (factors e of an input) before the rows are seen, with standard deviations of their logarithms. Sizes of 1 % and
# lengths of a factor 4.5 are those of residuals of fitted laws on public tables.
SIZE, LENGTH, NOISE, RUN = (0.01, 1.0), (1.5, 0.5), (0.004, 1.0), (0.004, 1.0)
# No table's noise is trusted to be below this share of the loss: seeds alone differ by more.
LEAST_NOISE = 0.002
# A plain target may be of any size and sign, so that its own size says nothing: its unit is its standard deviation
# over the rows, divided by what that of the log loss is in sweeps over a wide range (.20 to .25 in the small runs of
# gadre, porian_rw and datablations_c4; .04 to .10 in five narrower public tables). A process of 1 % of the unit is then
# to such a target what one of 1 % is to a loss.
SWEEP_SPREAD = 0.2
# A share of a mixture, through its square root, counts as this many factors e from none to all: as much as the sizes
# of a sweep span. Near none a percent more matters most, which the square root knows and a logarithm overdoes.
SHARE_SPAN = 4.0
# The pull on a parameter of which nothing is known: ten factors e.
FLAT = 10.0


# Larger runs count a little more, as (C / largest C) to this power: where a law bends, it should fit those best that
# are nearest to what it will be asked.
COMPUTE_POWER = 0.3


def mild_weights(size: Floats, weights: Floats) -> Floats:
    """Weights (n,) times a mild power of compute (n,), with mean one."""
    found = weights * (size / size.max()) ** COMPUTE_POWER
    return np.asarray(found / found.mean())


def evenly(size: Floats, most: int) -> NDArray[np.intp]:
    """Which of n rows of sizes (n,) stand for all: every one, or `most`, both ends and one of each stretch between."""
    order = np.argsort(size, kind="stable")
    if len(size) > most:
        order = np.concatenate([order[:1], order[1:-1][thinned(len(size) - 2, most - 2)], order[-1:]])
    return np.sort(order)


def coordinate(name: str, values: Any) -> Any:
    """Values of an input, of any shape, where the process lives: the log of a size, the square root of a share."""
    domain = quantity(name).domain
    values = np.asarray(values, dtype=float)
    if domain == "positive":
        return np.log(values)
    if domain == "share":
        return SHARE_SPAN * np.sqrt(values)
    return np.log1p(values) if domain == "nonnegative" else values


def target_unit(on: str, y: Floats) -> float:
    """What the sizes of errors are measured in, from targets (n,): a share of the loss, or the unit of a plain one."""
    if on == "log":
        return 1.0
    spread = float(np.std(y))
    return spread / SWEEP_SPREAD if spread > 0 else 1.0


def is_size(name: str) -> bool:
    """Whether an input is one that grows without end, and no share or number of any sign."""
    return quantity(name).domain in ("positive", "nonnegative")


def run_size(flops: Floats | None, x: Mapping[str, Floats]) -> Floats:
    """How large each run is: its compute (n,), or the first size of its inputs where that is not known, else 1."""
    if flops is not None:
        return flops
    sizes = [values for name, values in x.items() if is_size(name)]
    return sizes[0] if sizes else np.ones(len(next(iter(x.values()))))


@dataclass(frozen=True)
class Scales:
    """The process's size and noise (standard deviations of log loss, or of a plain target), `run` that of what the rows
    of a run share.

    `lengths` are by input, in factors e. `run` is 0 where every row is a run of its own.
    """

    size: float
    lengths: Mapping[str, float]
    noise: float
    run: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As FIT.json has it."""
        return {"size": self.size, "lengths": dict(self.lengths), "noise": self.noise, "run": self.run}


@dataclass(frozen=True)
class Seen:
    """The rows that a process has seen: inputs (n,) by name, target (n,), weights (n,) and runs (n,) by number.

    The target is on the scale of the residuals, `on`: its logarithm, or itself. `unit` is that of the sizes of errors.
    """

    x: Mapping[str, Floats]
    y: Floats
    weights: Floats
    run: NDArray[np.int64]
    on: str
    unit: float

    @classmethod
    def of(cls, x: Mapping[str, Floats], y: Floats, size: Floats, run: NDArray[Any], weights: Floats, on: str) -> Seen:
        """All of n rows, or MOST_ROWS of them along their `size`, which is compute; each array is (n,)."""
        keep = evenly(size, MOST_ROWS)
        _, number = np.unique(run[keep].astype(str), return_inverse=True)
        weights = weights[keep] / np.mean(weights[keep])
        scaled = np.log(y[keep]) if on == "log" else y[keep]
        some = {name: values[keep] for name, values in x.items()}
        return cls(some, scaled, weights, np.asarray(number, dtype=np.int64), on, target_unit(on, y))

    @classmethod
    def of_points(cls, law: Law, points: Mapping[str, Any], inputs: tuple[str, ...] = ()) -> Seen:
        """Those of a fit's points: inputs, target, `run_id`, and `flops` and `weight` where there are any.

        The inputs are the law's own unless others are named.
        """
        x = {name: np.asarray(points[name], dtype=float) for name in inputs or law.inputs}
        size = run_size(np.asarray(points["flops"], dtype=float) if "flops" in points else None, x)
        y = np.asarray(points[law.target], dtype=float)
        weights = mild_weights(size, np.asarray(points.get("weight", np.ones(len(y))), dtype=float))
        return cls.of(x, y, size, np.asarray(points["run_id"]), weights, law.residual)

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs' names."""
        return tuple(self.x)

    @cached_property
    def places(self) -> Floats:
        """The rows' inputs (n, k) where the process lives."""
        return np.column_stack([coordinate(name, values) for name, values in self.x.items()])

    @property
    def grouped(self) -> bool:
        """Whether some run has several rows."""
        return int(self.run.max()) + 1 < len(self.run)

    @cached_property
    def _apart(self) -> Floats:
        """Squared distances (k, n, n) of the rows, input by input."""
        return np.asarray([(c[:, None] - c[None, :]) ** 2 for c in self.places.T])

    def covariance(self, scales: Scales) -> Floats:
        """Of the rows' targets about the law, (n, n)."""
        lengths = np.array([scales.lengths[name] for name in self.names])
        smooth = scales.size**2 * np.exp(-0.5 * np.tensordot(lengths**-2.0, self._apart, axes=1))
        same = (self.run[:, None] == self.run[None, :]) * scales.run**2 if scales.run else 0.0
        return np.asarray(smooth + same + np.diag(scales.noise**2 / self.weights))

    def across(self, scales: Scales, x: Mapping[str, Any]) -> Floats:
        """The process's covariance (..., n) of points of any one shape with the rows."""
        exponent: Any = 0.0
        for i, name in enumerate(self.names):
            place = coordinate(name, x[name])[..., None]
            exponent = exponent + ((place - self.places[:, i]) / scales.lengths[name]) ** 2
        return np.asarray(scales.size**2 * np.exp(-0.5 * exponent))


@dataclass(frozen=True)
class Posterior:
    """What rows say of a law and of the process about it: coordinates (p,), their covariance (p, p), the scales."""

    theta: Floats
    covariance: Floats
    scales: Scales

    def predictive(self, coordinates: Coordinates, seen: Seen, x: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """The mean and the standard deviation (m,) of a new run at inputs (m,), on the scale of the residuals."""
        rows, jac_rows = _law(coordinates, seen.x, self.theta)
        new, jac_new = _law(coordinates, x, self.theta)
        factor = (np.asarray(np.linalg.cholesky(seen.covariance(self.scales))), True)
        across = seen.across(self.scales, x)
        known = scipy.linalg.cho_solve(factor, across.T).T
        mean = new + known @ (seen.y - rows)
        moved = jac_new - known @ jac_rows
        # Few rows that lie on the law by luck, or by rounding, are no runs without noise.
        noise = max(self.scales.noise**2 + self.scales.run**2, (LEAST_NOISE * seen.unit) ** 2)
        variance = self.scales.size**2 - np.sum(known * across, axis=1) + noise
        variance = variance + np.sum((moved @ self.covariance) * moved, axis=1)
        return np.asarray(mean), np.sqrt(np.maximum(variance, noise))

    def to_dict(self) -> dict[str, Any]:
        """As FIT.json has it."""
        return {"theta": self.theta, "covariance": self.covariance, "scales": self.scales.to_dict()}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Posterior:
        """That of FIT.json."""
        theta, covariance = np.array(found["theta"], dtype=float), np.array(found["covariance"], dtype=float)
        return cls(theta, covariance, Scales(**found["scales"]))


def fit_with_discrepancy(
    coordinates: Coordinates, seen: Seen, center: Floats, sd: Floats, theta: Floats, rounds: int = 2
) -> tuple[Floats, Floats, Scales]:
    """Coordinates (p,) of the law, their covariance (p, p), and the scales of the process about it.

    Scales are the most probable ones with the law's coordinates integrated out about `theta` (p,), which is then moved
    to the most probable law given the scales; `rounds` times over. `sd` (p,) is infinite where nothing is known.
    """
    known = np.isfinite(sd)
    scales = _scales(seen, _assumed(seen)[0])
    chol = np.asarray(np.linalg.cholesky(seen.covariance(scales)))
    for _ in range(rounds):
        spread = np.where(known, sd, FLAT)
        middle = np.where(known, center, theta)
        scales = _most_probable(coordinates, seen, middle, spread, theta)
        chol = np.asarray(np.linalg.cholesky(seen.covariance(scales)))
        theta = _gauss_newton(coordinates, seen, chol, middle, sd, theta)
    _, jac = _law(coordinates, seen.x, theta)
    white = scipy.linalg.solve_triangular(chol, jac, lower=True)
    spread = np.where(known, sd, FLAT)
    return theta, np.linalg.inv(white.T @ white + np.diag(spread**-2.0)), scales


def _scales(seen: Seen, log: Floats) -> Scales:
    sizes = np.exp(log)
    k = len(seen.names)
    lengths = {name: float(sizes[1 + i]) for i, name in enumerate(seen.names)}
    return Scales(float(sizes[0]), lengths, float(sizes[k + 1]), float(sizes[k + 2]) if seen.grouped else 0.0)


def _assumed(seen: Seen) -> tuple[Floats, Floats]:
    """Means and standard deviations (k + 3,) of the logarithms of the scales before the rows are seen."""
    k = len(seen.names)
    center = np.log([SIZE[0] * seen.unit, *[LENGTH[0]] * k, NOISE[0] * seen.unit, RUN[0] * seen.unit])
    return center, np.array([SIZE[1], *[LENGTH[1]] * k, NOISE[1], RUN[1]])


def _law(coordinates: Coordinates, x: Mapping[str, Floats], theta: Floats) -> tuple[Floats, Floats]:
    """The law (n,) at inputs (n,) on the scale of its residuals, and its derivatives (n, p)."""
    f = coordinates.model(x, theta[None, :])
    shape = (1, len(next(iter(x.values()))))
    value = np.broadcast_to(f.value, shape)[0]
    columns = np.stack([np.broadcast_to(f.grad.get(i, 0.0), shape)[0] for i in range(len(theta))], axis=1)
    return (value, columns) if coordinates.law.residual == "plain" else (np.log(value), columns / value[:, None])


def _most_probable(coordinates: Coordinates, seen: Seen, middle: Floats, spread: Floats, theta: Floats) -> Scales:
    """The scales of largest posterior density, the law being linear about theta with a normal prior."""
    law, jac = _law(coordinates, seen.x, theta)
    residual = seen.y - law - jac @ (middle - theta)
    law_part = (jac * spread**2) @ jac.T
    k = len(seen.names)
    about, width = _assumed(seen)
    count = k + 2 + int(seen.grouped)
    same = (seen.run[:, None] == seen.run[None, :]).astype(float)
    eye = np.diag(1.0 / seen.weights)

    def cost(log: Floats) -> tuple[float, Floats]:
        scales = _scales(seen, np.append(log, about[count:]))
        lengths = np.array([scales.lengths[name] for name in seen.names])
        smooth = scales.size**2 * np.exp(-0.5 * np.tensordot(lengths**-2.0, seen._apart, axes=1))
        whole = smooth + scales.noise**2 * eye + scales.run**2 * same + law_part
        try:
            chol = np.linalg.cholesky(whole)
        except np.linalg.LinAlgError:  # scales so small that rounding decides: not where the search should end
            return 1e10, np.zeros(count)
        inverse = scipy.linalg.cho_solve((chol, True), np.eye(len(residual)))
        pulled = inverse @ residual
        odds = (log - about[:count]) / width[:count]
        value = 0.5 * residual @ pulled + np.sum(np.log(np.diag(chol))) + 0.5 * odds @ odds
        # d cost / d h = (tr(S^-1 dS) - a' dS a) / 2
        slope = inverse - np.outer(pulled, pulled)
        parts = [2 * smooth, *(smooth * d / s**2 for d, s in zip(seen._apart, lengths, strict=True))]
        parts += [2 * scales.noise**2 * eye, 2 * scales.run**2 * same]
        gradient = np.array([0.5 * np.sum(slope * part) for part in parts[:count]]) + odds / width[:count]
        return float(value), gradient

    bounds = [(a - 4 * w, a + 4 * w) for a, w in zip(about[:count], width[:count], strict=True)]
    found = minimize(cost, about[:count], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    return _scales(seen, np.append(found.x, about[count:]))


def _gauss_newton(
    coordinates: Coordinates, seen: Seen, chol: Floats, middle: Floats, spread: Floats, theta: Floats
) -> Floats:
    """The most probable coordinates (p,) given the rows' covariance, by damped Gauss-Newton steps."""
    precision = spread**-2.0

    def cost(at: Floats) -> tuple[float, Floats, Floats]:
        with np.errstate(all="ignore"):
            law, jac = _law(coordinates, seen.x, at)
        if not (np.isfinite(law).all() and np.isfinite(jac).all()):
            return np.inf, law, jac
        white = scipy.linalg.solve_triangular(chol, np.column_stack([seen.y - law, jac]), lower=True)
        with np.errstate(over="ignore", invalid="ignore"):  # a step so long costs without end, and is not taken
            value = 0.5 * float(white[:, 0] @ white[:, 0] + np.sum(precision * (at - middle) ** 2))
        return value, white[:, 0], white[:, 1:]

    value, residual, jac = cost(theta)
    damping = 1e-3
    for _ in range(50):
        hessian = jac.T @ jac + np.diag(precision)
        downhill = jac.T @ residual - precision * (theta - middle)
        step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian) + 1e-300), downhill)
        tried = cost(theta + step)
        if tried[0] < value:
            settled = value - tried[0] < 1e-8
            theta, damping = theta + step, damping * 0.3
            value, residual, jac = tried
            if settled:
                break
        else:
            damping *= 5.0
            if damping > 1e8:
                break
    return theta
