"""How far predictions lie from measurements: one place for every figure of merit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Figures over n points, in the target's unit but for `mape` (a share: .01 is 1 %) and `r2`.

    `mape`, the mean absolute relative error, is the headline. `bias` is the mean of predicted minus measured; `r2` is
    against the mean of these very points, `spearman` the rank correlation of predicted and measured; each is None where
    there is one point or all are alike, `spearman` also in files written before it was measured.
    """

    n: int
    r2: float | None
    mae: float
    rmse: float
    mape: float
    bias: float
    spearman: float | None = None


def metrics(predicted: Floats, measured: Floats) -> Metrics:
    """The figures for two arrays (n,), n >= 1."""
    error = predicted - measured
    spread = float(np.sum((measured - measured.mean()) ** 2))
    return Metrics(
        n=len(measured),
        r2=1.0 - float(np.sum(error**2)) / spread if spread > 0 else None,
        mae=float(np.mean(np.abs(error))),
        rmse=float(np.sqrt(np.mean(error**2))),
        mape=float(np.mean(np.abs(error / measured))),
        bias=float(np.mean(error)),
        spearman=rank_correlation(predicted, measured),
    )


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's correlation of two arrays (n,), ties at their mean rank; None where either is all alike."""
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / size if size > 0 else None


def _ranks(values: Floats) -> Floats:
    """The rank (n,) of each value, from 1; equal ones share the mean of theirs."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[index])


# The field's bands of absolute relative error (Choshen et al. 2024, arXiv:2410.11840): about 4 % is what runs of one
# recipe differ by across families and seeds, and a law within 20 % can still rank choices of a recipe.
NOISE, USEFUL = 0.04, 0.20


def band(mape: float) -> str:
    """The field's word for a mean absolute relative error: noise, useful or poor; poor where it is not a number."""
    return "noise" if mape <= NOISE else "useful" if mape <= USEFUL else "poor"


def coverage(measured: Floats, low: Floats, high: Floats) -> float:
    """The share of measurements inside their intervals."""
    return float(np.mean((low <= measured) & (measured <= high)))


def interval_score(measured: Floats, low: Floats, high: Floats, level: float) -> float:
    """The mean score of central intervals at `level`, in the target's unit (Gneiting and Raftery 2007, eq. 43).

    Width plus 2 / (1 - level) times what lies outside: the least is reached by the true quantiles, so neither wide
    intervals nor missed points can be traded away.
    """
    outside = np.maximum(low - measured, 0.0) + np.maximum(measured - high, 0.0)
    return float(np.mean(high - low + 2.0 / (1.0 - level) * outside))
