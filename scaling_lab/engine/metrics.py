"""How far predictions lie from measurements: one place for every figure of merit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Figures over n points, in the target's unit but for `mape` (a share: .01 is 1 %) and `r2`.

    `bias` is the mean of predicted minus measured; `r2` is against the mean of these very points, None where they
    are all alike or there is one.
    """

    n: int
    r2: float | None
    mae: float
    rmse: float
    mape: float
    bias: float


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
    )


def coverage(measured: Floats, low: Floats, high: Floats) -> float:
    """The share of measurements inside their intervals."""
    return float(np.mean((low <= measured) & (measured <= high)))
