"""Mixtures carried to another size: every mixture's own loss there, by power laws that share their exponent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from scipy.stats import t as student

from ..engine.uncertainty import LEAST_DRIFT
from ..errors import UsageError

Floats = NDArray[np.float64]
# Exponents of the loss in params that are looked through.
EXPONENTS = (1e-3, 10.0)


@dataclass(frozen=True)
class Grown:
    """Losses (m,) of mixtures at another size, with intervals, and the exponent that they share.

    `low` and `high` hold the doubt of the fit, one run's noise, and the drift that every prediction outside its runs is
    given at least; they are infinite where no run is left over to tell noise from.
    """

    value: Floats
    low: Floats
    high: Floats
    exponent: float


def across_sizes(params: Floats, losses: Floats, at: float, level: float = 0.9) -> Grown:
    """Each mixture's loss at another size: floor + height * params**-exponent, all mixtures sharing the exponent.

    The first step of the data mixing laws (Ye et al. 2024, arXiv:2403.16952, which has an exponent for each mixture:
    give one at a time). `losses` (m, s) are of m mixtures at the s sizes of `params`, three or more; least squares,
    floors and heights zero or above. Raises UsageError for what are no sizes or losses.
    """
    size, loss = np.asarray(params, dtype=float), np.atleast_2d(np.asarray(losses, dtype=float))
    if loss.shape[1] != len(size) or len(np.unique(size)) < 3:
        raise UsageError("give the losses of each mixture at three or more different sizes, a column for each size")
    if not ((size > 0).all() and at > 0 and np.isfinite([*size, at]).all() and np.isfinite(loss).all()):
        raise UsageError("sizes are numbers above zero, and every mixture needs a loss at every size")
    if not 0 < level < 1:
        raise UsageError(f"a level of {level:g} is not between 0 and 1")
    middle = math.exp(float(np.mean(np.log(size))))

    def missed(log_exponent: float) -> float:
        return float(_floors(size / middle, loss, math.exp(log_exponent))[1].sum())

    grid = np.log(np.geomspace(*EXPONENTS, 200))
    lowest = int(np.argmin([missed(v) for v in grid]))
    ends = grid[max(lowest - 1, 0)], grid[min(lowest + 1, len(grid) - 1)]
    exponent = math.exp(float(minimize_scalar(missed, bounds=ends, method="bounded", options={"xatol": 1e-10}).x))
    both, rest = _floors(size / middle, loss, exponent)
    value = both[:, 0] + both[:, 1] * (at / middle) ** -exponent
    half = _doubt(size / middle, at / middle, both, exponent, float(rest.sum()), level)
    outside = max(math.log(at / size.max()), math.log(size.min() / at), 0.0)
    half = np.hypot(half, norm.ppf((1 + level) / 2) * LEAST_DRIFT * outside * value)
    return Grown(value, value - half, value + half, exponent)


def _floors(size: Floats, loss: Floats, exponent: float) -> tuple[Floats, Floats]:
    """Floor and height (m, 2) of each mixture at an exponent, both zero or above, and squared residuals (m,)."""
    power = size**-exponent
    apart = power - power.mean()
    height = np.maximum((loss - loss.mean(axis=1, keepdims=True)) @ apart / (apart @ apart), 0.0)
    floor = loss.mean(axis=1) - height * power.mean()
    alone = floor < 0
    height = np.where(alone, loss @ power / (power @ power), height)
    floor = np.where(alone, 0.0, floor)
    rest = np.sum((loss - floor[:, None] - height[:, None] * power) ** 2, axis=1)
    return np.column_stack([floor, height]), rest


def _doubt(size: Floats, at: float, both: Floats, exponent: float, rest: float, level: float) -> Floats:
    """Half the width (m,) of an interval for a new run of each mixture: Student's t, to first order in the fit."""
    count, points = len(both), len(both) * len(size)
    left = points - 2 * count - 1
    if left < 1:
        return np.full(count, np.inf)
    power = size**-exponent
    jac = np.zeros((points, 2 * count + 1))
    for i, (_, height) in enumerate(both):
        rows = slice(i * len(size), (i + 1) * len(size))
        jac[rows, 2 * i], jac[rows, 2 * i + 1], jac[rows, -1] = 1.0, power, -height * power * np.log(size)
    known = np.linalg.pinv(jac.T @ jac, hermitian=True)
    slope = np.zeros((count, 2 * count + 1))
    every = np.arange(count)
    there = at**-exponent
    slope[every, 2 * every], slope[every, 2 * every + 1] = 1.0, there
    slope[:, -1] = -both[:, 1] * there * math.log(at)
    variance = rest / left * (1 + np.einsum("ij,jk,ik->i", slope, known, slope))
    return np.asarray(student.ppf((1 + level) / 2, left) * np.sqrt(variance))
