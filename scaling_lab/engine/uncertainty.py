"""Resampled weights, the noise of the residuals, and how fast a law's error grows outside its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..laws import Law
from ..tables import Rows
from .result import Noise

Floats = NDArray[np.float64]

# Standard error of log loss for each factor e outside the fitted range that is assumed at least: a table whose inner
# backtests went well has been lucky as often as it was good. Measured on public tables; see docs/intervals.md.
LEAST_DRIFT = 0.01
CUTS = (0.4, 0.5, 0.6, 0.7, 0.8)
Z90 = 1.6448536269514722


def bootstrap_weights(groups: NDArray[np.generic], count: int, seed: int, least: int) -> tuple[NDArray[np.int32], int]:
    """How often each row counts in each of `count` resamples of whole groups, (count, n), and how many were redrawn.

    A resample with fewer than `least` distinct rows can't be fitted and is drawn again. All are drawn before any is
    fitted, so the numbers do not depend on how the work is shared out.
    """
    _, index = np.unique(groups.astype(str), return_inverse=True)
    kinds = int(index.max()) + 1
    rng = np.random.default_rng([seed, 1])
    out = np.empty((count, len(index)), dtype=np.int32)
    redrawn = 0
    for b in range(count):
        for _ in range(1000):
            times = np.bincount(rng.integers(0, kinds, kinds), minlength=kinds)
            if np.sum(times[index] > 0) >= min(least, len(index)):
                break
            redrawn += 1
        out[b] = times[index]
    return out, redrawn


def distance(x: Mapping[str, Floats], ranges: Mapping[str, Mapping[str, float]]) -> Floats:
    """By how many factors e each point (n,) lies outside the fitted range, in the input where it lies furthest."""
    out = np.zeros(len(next(iter(x.values()))))
    for name, values in x.items():
        if name in ranges and "min" in ranges[name]:
            low, high = ranges[name]["min"], ranges[name]["max"]
            out = np.maximum(out, np.maximum(np.log(values / high), np.log(low / values)))
    return out


def measure_noise(law: Law, rows: Rows, residuals: Floats, refit: Callable[[Rows], Floats | None]) -> Noise:
    """The residuals' spread, and the drift that inner backtests show.

    Each inner backtest fits the runs below a compute quantile and predicts those above; the largest drift that one of
    them needs is the answer, since one design says little. `refit` maps rows to parameters (1, P), or None.
    """
    sd = float(np.median(np.abs(residuals)) * 1.4826)
    sd = max(sd, float(np.quantile(np.abs(residuals), 0.9) / Z90))
    size = rows.flops if rows.flops is not None else rows.x[law.inputs[0]]
    # A run belongs to the side of its last row: its checkpoints would tell the fit about it.
    _, run = np.unique(rows.group.astype(str), return_inverse=True)
    reach = np.full(run.max() + 1, -np.inf)
    np.maximum.at(reach, run, size)
    needed = []
    for cut in CUTS:
        edge = np.quantile(size, cut)
        train, test = reach[run] <= edge, size > edge
        if test.sum() >= 3 and train.sum() >= 3:
            drift = _needed_drift(law, rows.take(train), rows.take(test), sd, refit)
            needed += [] if drift is None else [drift]
    return Noise(sd=sd, drift=max([LEAST_DRIFT, *needed]), cuts=len(needed))


def _needed_drift(
    law: Law, inside: Rows, outside: Rows, sd: float, refit: Callable[[Rows], Floats | None]
) -> float | None:
    """The drift with which 90 % intervals would have held 90 % of the rows outside; None where the fit can't say.

    An error e at distance d needs sqrt((e / 1.645)² - sd²) / d.
    """
    params = refit(inside)
    if params is None:
        return None
    named = {name: params[:, [i]] for i, name in enumerate(law.names)}
    predicted = np.asarray(law.predict(dict(outside.x), **named))[0]
    error = np.log(predicted / outside.y) if law.residual == "log" else predicted - outside.y
    far = distance({**outside.x, **_flops(outside)}, _ranges({**inside.x, **_flops(inside)}))
    # Rows just beyond the edge say nothing of growth with distance.
    use = far > 0.1
    if use.sum() < 3:
        return None
    return float(np.quantile(np.sqrt(np.maximum((error[use] / Z90) ** 2 - sd**2, 0)) / far[use], 0.9))


def _flops(rows: Rows) -> dict[str, Floats]:
    return {} if rows.flops is None else {"flops": rows.flops}


def _ranges(x: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    return {name: {"min": float(v.min()), "max": float(v.max())} for name, v in x.items()}
