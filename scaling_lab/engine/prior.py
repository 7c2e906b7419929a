"""What is known of a law's parameters before its table is read: from the literature, or from another family's fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..tables import Rows
from .coordinates import Coordinates, inward
from .diagnostics import jacobian
from .discrepancy import LEAST_NOISE
from .solve import Objective, Pull, solve_positive, thinned

if TYPE_CHECKING:
    from .result import Fit

Floats = NDArray[np.float64]

# What residuals are taken to be before there are any.
FIRST_NOISE = 0.02
# How far the exponents of one family of runs are from another's, as a standard deviation of their logarithms: what
# chinchilla's alpha and beta show over the 15 corpora, recipes and ways of counting of five public collections (.4 and
# .4, with the fits' own errors, which this leaves out).
FAMILY_SD = 0.35


# Draws are refitted to other centers until a further step would gain less than this, in units of log likelihood, or for
# so many steps; so many numbers of derivatives are held at a time.
GAIN, STEPS, BLOCK = 1e-3, 100, 4_000_000


def objective_unit(objective: Objective, residual: Floats, weights: Floats, spent: float) -> float:
    """The objective's size that one e-fold of likelihood costs, from residuals (n,) of which `spent` were used up.

    Mean(weight * slope * residual): the variance for squares, delta times the mean size for Huber's lines. It grows
    with the weights (n,), as the objective does.
    """
    floor = float(objective.slopes(np.array([LEAST_NOISE]), objective.width)[0][0]) * LEAST_NOISE * np.mean(weights)
    slopes = objective.slopes(residual, objective.width)[0]
    return max(float(np.sum(weights * slopes * residual)) / max(len(residual) - spent, 1.0), float(floor))


def prior_of(coordinates: Coordinates, rows: Rows) -> tuple[Floats, Floats]:
    """Centers and standard deviations (p,) of the law's own priors in its coordinates; infinite where it has none."""
    center, sd = np.zeros(len(coordinates.free)), np.full(len(coordinates.free), np.inf)
    for i, p in enumerate(coordinates.free):
        if p.name in coordinates.law.priors:
            prior = coordinates.law.priors[p.name]
            value = prior.center * (float(rows.y.min()) if prior.of_lowest else 1.0)
            center[i] = float(inward(p, np.array(value)))
            sd[i] = prior.sd
    return center, sd


@dataclass(frozen=True)
class Borrowed:
    """Exponents of another family's fit: by name, the value and the standard deviation of its logarithm.

    `source` names the fit: its law, and the tables it was made from.
    """

    values: Mapping[str, float]
    sd: Mapping[str, float]
    source: Mapping[str, Any]

    @classmethod
    def of(cls, fit: Fit, family_sd: float = FAMILY_SD) -> Borrowed:
        """The dimensionless parameters above or below zero of a fit, which are its exponents.

        The doubt of each is the spread of its draws and `family_sd` together. Coefficients and floors are not borrowed:
        they hang on the tokenizer and the text.
        """
        if not (np.isfinite(family_sd) and family_sd > 0):
            raise UsageError(f"--prior-sd {family_sd:g} is not a number above zero")
        if fit.members:
            raise UsageError(f"--prior takes the fit of one law, and this is one of {fit.law}")
        values, sd = {}, {}
        for i, p in enumerate(fit.entry.params):
            if p.unit or not p.signed or p.reference:
                continue
            values[p.name] = fit.params[p.name].value
            own = float(np.std(np.log(np.abs(fit.draws[:, i])))) if len(fit.draws) > 1 else 0.0
            sd[p.name] = float(np.hypot(own, family_sd))
        return cls(values, sd, {"law": fit.law, "inputs": dict(fit.made_by.get("inputs", {}))})

    def pull(self, coordinates: Coordinates, unit: float) -> Pull:
        """Towards the borrowed values, where an objective of `unit` costs an e-fold of likelihood."""
        p = len(coordinates.free)
        center, precision = np.zeros(p), np.zeros(p)
        for i, param in enumerate(coordinates.free):
            if param.name in self.values and not param.unit:
                center[i] = np.log(abs(self.values[param.name]))
                precision[i] = unit / self.sd[param.name] ** 2
        if not precision.any():
            free = ", ".join(param.name for param in coordinates.free)
            raise UsageError(
                f"--prior: a fit of {self.source['law']} has {', '.join(self.values) or 'no exponent'}, and none of "
                f"{coordinates.law.name}'s free parameters ({free}) is among them"
            )
        return Pull(center, precision)

    def held(self, coordinates: Coordinates) -> Coordinates:
        """The coordinates with the borrowed exponents held: what the table has to tell by itself."""
        names = [p.name for p in coordinates.free if p.name in self.values and not p.unit]
        return Coordinates(coordinates.law, {**coordinates.fixed, **{name: self.values[name] for name in names}})

    def account(
        self, coordinates: Coordinates, theta: Floats, alone: Floats | None, share: Floats
    ) -> dict[str, dict[str, float | None]]:
        """For each borrowed exponent: the other family's value, this table's own, the one found, and how much is lent.

        `share` (p,) is the part of what is known of each that comes from the prior: 0 none, 1 all.
        """
        found = {}
        ours = coordinates.to_params(theta[None, :])
        own = None if alone is None else coordinates.to_params(alone[None, :])
        for i, param in enumerate(coordinates.free):
            if param.name in self.values and not param.unit:
                found[param.name] = {
                    "borrowed": self.values[param.name],
                    "sd": self.sd[param.name],
                    "alone": None if own is None else float(own[param.name][0, 0]),
                    "value": float(ours[param.name][0, 0]),
                    "share": float(share[i]),
                }
        return found


def information(coordinates: Coordinates, rows: Rows, theta: Floats, sd: float, precision: Floats) -> Floats:
    """The share (p,) of the information on each coordinate that a prior of that precision lends."""
    jac = jacobian(coordinates, rows, theta[None, :])
    if coordinates.law.residual == "plain":
        jac = jac * coordinates.predictor(rows.x)(theta[None, :])[0][:, None]
    data = (jac * _known(coordinates, rows, sd)[:, None]).T @ jac
    covariance = np.linalg.pinv(data + np.diag(precision), hermitian=True)
    return np.asarray(np.clip(np.diag(covariance) * precision, 0.0, 1.0))


def _known(coordinates: Coordinates, rows: Rows, sd: float) -> Floats:
    """What one squared residual of each row (n,) counts in log likelihood, where residuals have the deviation `sd`."""
    least = LEAST_NOISE
    if coordinates.law.residual == "plain":  # there `sd` is that of the target itself, not of its logarithm
        least = LEAST_NOISE * float(np.mean(np.abs(rows.y)))
    # Only the ratios of weights mean anything: a row of mean weight is one measurement.
    return np.asarray(rows.weights / np.mean(rows.weights) * (rows.runs / rows.used) / max(sd, least) ** 2)


def with_centers_anew(
    coordinates: Coordinates, rows: Rows, theta: Floats, sd: float, precision: Floats, normal: Floats
) -> Floats:
    """Where fits theta (B, p) would have ended, had the prior's centers lain elsewhere by normal numbers (B, p).

    Those count in the prior's own standard deviations. What a fit knows of its rows is taken as squares about its own
    predictions; to first order the answer is a linear map of the numbers, but along a bent ridge that leaves the data.
    Of a large table some rows stand for all.
    """
    kept = thinned(rows.used)
    known, rows = _known(coordinates, rows, sd)[kept] * (rows.used / len(kept)), rows.take(kept)
    size = max(1, BLOCK // (rows.used * theta.shape[1]))
    parts = [slice(at, at + size) for at in range(0, len(theta), size)]
    found = [_recentered(coordinates, rows, theta[part], known, precision, normal[part]) for part in parts]
    return np.concatenate(found) if found else theta


def _recentered(
    coordinates: Coordinates, rows: Rows, theta: Floats, known: Floats, precision: Floats, normal: Floats
) -> Floats:
    """Levenberg-Marquardt steps from theta (B, p), all of them at once; a draw is done where a step gains nothing."""
    free = precision > 0
    center = theta + np.where(free, normal / np.sqrt(np.where(free, precision, 1.0)), 0.0)
    own = _scaled(coordinates, rows, theta)[0]

    def missed(place: Floats, which: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        value, jac = _scaled(coordinates, rows, place)
        apart, off = value - own[which], place - center[which]
        with np.errstate(all="ignore"):
            size = 0.5 * np.sum(known * apart**2, axis=1) + 0.5 * np.sum(precision * off**2, axis=1)
            slope = np.einsum("bn,bnp->bp", known * apart, jac) + precision * off
        return np.where(np.isfinite(size), size, np.inf), slope, jac

    place, damping = theta.copy(), np.full(len(theta), 1e-6)
    going = np.arange(len(theta))
    value, slope, jac = missed(place, going)
    for _ in range(STEPS):
        square = np.einsum("bnp,n,bnq->bpq", jac, known, jac, optimize=True) + np.diag(precision)
        diagonal = np.einsum("bpp->bp", square)
        step, pivot = solve_positive(square + _diagonal(damping[going, None] * diagonal + 1e-12), -slope)
        gain = -np.sum(slope * step, axis=1) / 2
        tried, new_slope, new_jac = missed(place[going] + step, going)
        better = (tried < value) & (pivot > 0)
        place[going] += np.where(better[:, None], step, 0.0)
        damping[going] *= np.where(better, 0.1, 10.0)
        slope = np.where(better[:, None], new_slope, slope)
        jac = np.where(better[:, None, None], new_jac, jac)
        value = np.where(better, tried, value)
        more = (gain > GAIN) & (damping[going] < 1e12)
        going, value, slope, jac = going[more], value[more], slope[more], jac[more]
        if not going.size:
            break
    return place


def _diagonal(values: Floats) -> Floats:
    """Matrices (b, p, p) of diagonals (b, p)."""
    return values[:, :, None] * np.eye(values.shape[1])


def _scaled(coordinates: Coordinates, rows: Rows, theta: Floats) -> tuple[Floats, Floats]:
    """Predictions (B, n) on the scale of the residuals, and their derivatives (B, n, p)."""
    shape = (len(theta), rows.used)
    with np.errstate(all="ignore"):
        found = coordinates.model(rows.x, theta)
        value = np.broadcast_to(found.value, shape)
        slopes = [np.broadcast_to(found.grad.get(i, 0.0), shape) for i in range(theta.shape[1])]
        if coordinates.law.residual == "log":
            return np.log(value), np.stack(slopes, axis=2) / value[:, :, None]
    return value, np.stack(slopes, axis=2)
